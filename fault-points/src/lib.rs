//! Fault points: named places, before and after each effect of a program, at which a test stops it.
//!
//! ```
//! # fn send() {}
//! fault_points::reach!("store.commit");
//! send();
//! fault_points::reach!("store.committed");
//! ```
//!
//! The environment variable [`VARIABLE`] says what happens at them:
//!
//! | value | effect |
//! |---|---|
//! | `trace <file>` | the name of each point that is reached is appended to the file, a line each |
//! | `kill <name> <n>` | the process kills itself when it reaches the point for the nth time |
//! | `stop <name> <n>` | the process stops itself (`SIGSTOP`), until somebody sends `SIGCONT` |
//!
//! The kernel has one clock for all processes, so a test that wants a wrong one for some gives them
//! the environment variable [`CLOCK`]: the seconds by which theirs is ahead, or behind.
//!
//! A point is only there where `debug_assertions` are: in a release build the macro expands to
//! nothing, and no name is in the binary (`tests/cost.rs`, and `scripts/build` looks again).

#[cfg(debug_assertions)]
mod active;
mod reach;

#[cfg(debug_assertions)]
#[doc(hidden)]
pub use active::{clock_error, reached};

/// The environment variable that says what happens at the points.
pub const VARIABLE: &str = "CALICO_RS_FAULT";

/// The environment variable that says by how many seconds the clock is wrong.
pub const CLOCK: &str = "CALICO_RS_CLOCK";
