//! The crate against the real kernel: every test makes its own namespaces, which end with it.
//! Needs root; touches nothing of the machine's own network.

mod addressing;
mod namespaces;
mod pairs;
mod removal;
mod settings;
mod simulated;
