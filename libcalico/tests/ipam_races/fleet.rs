//! A fleet.
