//! 16.9 claims and configuration; 16.11 races.
