//! JSON as the other side of the protocol reads and writes it, which is Go's way: names match in any
//! letter case, `null` is the same as an absent member, the last of several members of one name
//! counts, and documents are indented by 4 blanks.

mod members;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::PrettyFormatter};

use crate::{Error, code};

pub(crate) use members::find;
pub use members::{member, members_mut};

/// Decodes a document: at most 128 levels deep, with the last of duplicate members.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Reads a typed value; the message of a failure starts with the path of the member at fault.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    typed_at("", value)
}

/// Reads a member of a network configuration that a plugin keeps as a [`Value`]; absent or null, it
/// is the default. `path` is where it stands.
pub fn read_member<T: DeserializeOwned + Default>(
    path: &str,
    value: Option<&Value>,
) -> Result<T, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(T::default()) };
    typed_at(path, value.clone()).map_err(|cause| {
        Error::new(code::DECODING_FAILURE, format!("network configuration: {cause}"))
    })
}

/// The same for a value that stands at `at`; empty if it is the whole document.
pub(crate) fn typed_at<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(members::Lenient(value)).map_err(|error| {
        let inner = error.path();
        let path = match inner.iter().next() {
            None => at.to_owned(),
            Some(serde_path_to_error::Segment::Seq { .. }) => format!("{at}{inner}"),
            Some(_) if at.is_empty() => inner.to_string(),
            Some(_) => format!("{at}.{inner}"),
        };
        let cause = match is_secret(&path) {
            // The text of the inner error quotes the value.
            true => "value of a wrong type or form".to_owned(),
            false => crate::error::excerpt(&error.inner().to_string()),
        };
        if path.is_empty() { cause } else { format!("{path}: {cause}") }
    })
}

fn is_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ["token", "password", "secret", "key", "auth"].iter().any(|word| path.contains(word))
}

/// Writes a value with 4 blanks a level and no final newline.
pub(crate) fn pretty<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::with_capacity(512);
    let formatter = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Our own types hold nothing that JSON cannot express, and a vector takes every byte.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok(), "{written:?}");
    String::from_utf8(bytes).unwrap_or_default()
}

/// Writes a value on one line, with the newline.
pub(crate) fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_duplicate_counts() {
        assert_eq!(decode(br#"{"a": 1, "a": 2}"#).unwrap(), json!({"a": 2}));
    }

    #[test]
    fn depth_is_limited() {
        assert!(decode("[".repeat(1 << 20).as_bytes()).is_err());
        assert!(decode(format!("{}1{}", "[".repeat(100), "]".repeat(100)).as_bytes()).is_ok());
    }

    #[derive(Deserialize, Debug)]
    struct Sample {
        #[serde(rename = "outer")]
        _outer: Vec<Inner>,
    }

    #[derive(Deserialize, Debug)]
    struct Inner {
        #[serde(rename = "mtu", default)]
        _mtu: u32,
        #[serde(rename = "k8s_auth_token", default)]
        _token: String,
    }

    #[test]
    fn a_wrong_member_is_named_with_its_path() {
        let message = typed::<Sample>(json!({"outer": [{}, {"mtu": "big"}]})).unwrap_err();
        assert!(message.starts_with("outer[1].mtu: "), "{message}");
        assert!(message.contains("\"big\""), "{message}");
    }

    #[test]
    fn a_secret_is_not_quoted() {
        let message = typed::<Sample>(json!({"outer": [{"k8s_auth_token": 4711}]})).unwrap_err();
        assert!(message.starts_with("outer[0].k8s_auth_token: "), "{message}");
        assert!(!message.contains("4711"), "{message}");
    }
}
