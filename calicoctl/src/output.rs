//! How answers are printed.

pub mod bordered;
