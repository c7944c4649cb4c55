//! What operators hand in.

pub mod yaml;
