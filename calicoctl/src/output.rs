//! How answers are printed.

pub mod bordered;
pub mod format;
pub mod json;
pub mod number;
pub mod table;
pub mod template;
pub mod yaml;
