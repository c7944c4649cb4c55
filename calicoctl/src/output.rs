//! How answers are printed.

pub mod bordered;
pub mod json;
pub mod number;
pub mod yaml;
