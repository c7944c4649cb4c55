//! The crate against the real kernel: every test makes its own namespaces, which end with it.
//! Needs root. Touches nothing of the machine's own network, not even when the crate is broken: the
//! first namespace that a test asks for takes the test's thread out of the machine's own one.

mod addressing;
mod namespaces;
mod pairs;
mod removal;
mod settings;
mod simulated;
