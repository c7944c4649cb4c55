//! The time of day, as far as documents tell of it: when something was made, released or claimed.
//! Deadlines go by [`std::time::Instant`], which no correction of the clock moves.

use time::{Duration, OffsetDateTime};

/// Now; in a build with fault points as wrong as a test wants it.
#[expect(clippy::disallowed_methods, reason = "here is what takes its place")]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_add(Duration::seconds(fault_points::clock_error!()))
}
