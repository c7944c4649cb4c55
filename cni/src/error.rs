//! The error object of the protocol and its codes (`cni-plugin.md` section 5.7).

use serde::{Deserialize, Serialize};

use crate::Version;

/// The codes of error objects. Below 100 they are the specification's, from 100 on the plugin's.
pub mod code {
    /// The configuration's version, or a verb in that version, is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported; the message has its key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container does not exist; the runtime has nothing to clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` variable is missing or invalid; the message names it.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO_FAILURE: u32 = 5;
    /// Something that should be JSON of a known shape is not.
    pub const DECODING_FAILURE: u32 = 6;
    /// The network configuration says something impossible.
    pub const INVALID_CONFIG: u32 = 7;
    /// `CNI_NETNS` is no network namespace, or the host's own (an extension of the CNI library).
    pub const INVALID_NETNS: u32 = 8;
    /// A passing trouble: the runtime should try again.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: no ADD can be served.
    pub const PLUGIN_NOT_AVAILABLE: u32 = 50;
    /// STATUS: no ADD can be served, and running containers may be cut off.
    pub const LIMITED_CONNECTIVITY: u32 = 51;
    /// The plugin could not start, or its self-test failed.
    pub const START_UP: u32 = 100;
    /// The kernel refused what the plugin set up.
    pub const DATAPLANE: u32 = 101;
    /// A route of the host is already there and leads elsewhere.
    pub const HOST_ROUTE_CONFLICT: u32 = 102;
    /// A write to the datastore failed.
    pub const DATASTORE_WRITE: u32 = 103;
    /// A delegate (the IPAM plugin) failed without an error object of its own.
    pub const DELEGATION: u32 = 104;
    /// The first of ten codes (110 to 119) for what CHECK found.
    pub const CHECK: u32 = 110;
    /// GC could not remove everything.
    pub const GC: u32 = 120;
    /// A defect of the plugin itself.
    pub const INTERNAL: u32 = 999;
}

/// The answer of a verb that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{msg}")]
pub struct Error {
    /// What kind of failure: see [`code`].
    pub code: u32,
    /// What failed, in one line.
    pub msg: String,
    /// More about it; left out of the answer when empty.
    pub details: String,
}

/// The error object as it stands on standard output.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(rename = "code")]
    code: u32,
    #[serde(rename = "msg")]
    msg: &'a str,
    #[serde(rename = "details", skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

/// An error object of another plugin. Only the code is demanded: old plugins leave the rest out.
#[derive(Deserialize)]
struct Received {
    #[serde(rename = "code")]
    code: u32,
    #[serde(rename = "msg", default)]
    msg: String,
    #[serde(rename = "details", default)]
    details: String,
}

impl Error {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Error { code, msg: msg.into(), details: String::new() }
    }

    /// The same error with details.
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The error object in a version of the protocol: its shape is the same in all of them.
    pub fn to_json(&self, version: Version) -> String {
        crate::json::pretty(&Answer {
            cni_version: version.as_str(),
            code: self.code,
            msg: &self.msg,
            details: &self.details,
        })
    }

    /// Reads the error object of another plugin; `None` if the bytes are none.
    ///
    /// An object with code 0, which means success, is none either.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let value = crate::json::decode(bytes).ok()?;
        let received: Received = crate::json::typed(value).ok()?;
        (received.code != 0).then_some(Error {
            code: received.code,
            msg: received.msg,
            details: received.details,
        })
    }
}

/// The start of a text that came from outside, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const LIMIT: usize = 128;
    match text.char_indices().nth(LIMIT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_four_members_in_order() {
        let error = Error::new(code::TRY_AGAIN_LATER, "datastore not ready").details("node n1");
        assert_eq!(
            error.to_json(Version::V1_0_0),
            "{\n    \"cniVersion\": \"1.0.0\",\n    \"code\": 11,\n    \"msg\": \"datastore not ready\",\n    \"details\": \"node n1\"\n}"
        );
    }

    #[test]
    fn empty_details_are_left_out() {
        let error = Error::new(code::INVALID_CONFIG, "say \"name\"");
        assert_eq!(
            error.to_json(Version::V0_2_0),
            "{\n    \"cniVersion\": \"0.2.0\",\n    \"code\": 7,\n    \"msg\": \"say \\\"name\\\"\"\n}"
        );
    }

    #[test]
    fn an_error_survives_its_own_json() {
        let error = Error::new(104, "a\nb\u{1}").details("ü");
        assert_eq!(Error::from_json(error.to_json(Version::LATEST).as_bytes()), Some(error));
    }

    #[test]
    fn what_other_plugins_print_is_read() {
        let read = |text: &str| Error::from_json(text.as_bytes());
        assert_eq!(read(r#"{"code": 999, "msg": "m"}"#), Some(Error::new(999, "m")));
        assert_eq!(read(r#"{"code": 5, "msg": null, "details": null}"#), Some(Error::new(5, "")));
        for text in ["", "{}", "OK", "[]", r#"{"code": 0}"#, r#"{"code": -1}"#, r#"{"msg": "m"}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn excerpts_end_between_characters() {
        assert_eq!(excerpt("abc"), "abc");
        assert_eq!(excerpt(&"ü".repeat(1000)), format!("{}...", "ü".repeat(128)));
    }
}
