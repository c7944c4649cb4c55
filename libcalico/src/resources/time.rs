//! Points in time as Go writes them (`reference/datamodel.md` sections 2 and 6.5).

use serde::{Deserialize, Deserializer, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// `2026-08-22T13:33:20Z`: UTC in whole seconds, as `metav1.Time` is stored.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// `2026-08-22 13:33:20.123456789 +0000 UTC`: what Go prints of a UTC time. The fraction has no
/// trailing zeros, and isn't there at all when it is zero.
pub fn go_timestamp(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let fraction = match at.nanosecond() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction} +0000 UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads an RFC 3339 time, with or without a fraction, in any offset.
pub fn parse_rfc3339(text: &str) -> Result<OffsetDateTime, time::error::Parse> {
    OffsetDateTime::parse(text, &Rfc3339)
}

/// For `#[serde(with)]` on an `Option<OffsetDateTime>`: null and absent are `None`.
pub mod optional {
    use super::*;

    /// Writes [`rfc3339`], or null.
    pub fn serialize<S: Serializer>(
        at: &Option<OffsetDateTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.serialize_str(&rfc3339(*at)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads an RFC 3339 time or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<OffsetDateTime>, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            Some(text) => parse_rfc3339(&text).map(Some).map_err(|cause| {
                serde::de::Error::custom(format!("time {text:?} is not RFC 3339: {cause}"))
            }),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_does() {
        let at = parse_rfc3339("2026-11-21T16:09:16.289597430+01:00").unwrap();
        assert_eq!(go_timestamp(at), "2026-11-21 15:09:16.28959743 +0000 UTC");
        assert_eq!(rfc3339(at), "2026-11-21T15:09:16Z");
        let whole = parse_rfc3339("2026-11-21T15:09:16Z").unwrap();
        assert_eq!(go_timestamp(whole), "2026-11-21 15:09:16 +0000 UTC");
        let small = parse_rfc3339("2026-11-21T15:09:16.000000001Z").unwrap();
        assert_eq!(go_timestamp(small), "2026-11-21 15:09:16.000000001 +0000 UTC");
    }
}
