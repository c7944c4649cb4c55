//! Times as they stand in blocks: RFC 3339, UTC, whole seconds.

use time::OffsetDateTime;

use crate::resources::time::{parse_rfc3339, rfc3339};

/// A time in the form that upstream writes.
pub(crate) fn format(at: OffsetDateTime) -> String {
    rfc3339(at)
}

/// Reads a time; one that can't be read counts as unknown.
pub(crate) fn parse(text: &str) -> Option<OffsetDateTime> {
    parse_rfc3339(text).ok()
}

/// Nanoseconds since 1970: what the sequence number of a new block starts with.
pub(crate) fn unix_nanos(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_is_dropped() {
        let at =
            OffsetDateTime::from_unix_timestamp_nanos(1_787_405_600_999_999_999).expect("a time");
        assert_eq!(format(at), "2026-08-22T13:33:20Z");
        assert_eq!(parse("2026-08-22T13:33:20Z").map(unix_nanos), Some(1_787_405_600_000_000_000));
    }
}
