//! JSON as the other side of the protocol reads and writes it, which is Go's way: `null` is the
//! same as an absent member, the last of several members of one name counts, and documents are
//! indented by 4 blanks.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::PrettyFormatter};

/// Decodes a document: at most 128 levels deep, with the last of duplicate members.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// The value without the members of objects, at any depth, that are `null`.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| (name, without_nulls(member)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Reads a typed value; the message of a failure starts with the path of the member at fault.
pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        if is_secret(&path) {
            // The text of the inner error quotes the value.
            format!("{path}: value of a wrong type or form")
        } else {
            format!("{path}: {}", crate::error::excerpt(&error.inner().to_string()))
        }
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
    fn nulls_are_dropped_from_objects_only() {
        let value = json!({"a": null, "b": {"c": null, "d": [1, null, {"e": null}]}});
        assert_eq!(without_nulls(value), json!({"b": {"d": [1, null, {}]}}));
    }

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
