//! What a person gives to a command: files in YAML or JSON.

pub mod yaml;
