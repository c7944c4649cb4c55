//! What all conversions share: the envelope, texts, errors.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::commands::v1_names;

/// Why an object can't be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConvertError {
    #[error("unknown resource type ({kind}) and/or version ({version})")]
    Unknown { kind: String, version: String },
    #[error("{kind}: {reason}")]
    Shape { kind: String, reason: String },
    #[error("{field} {value:?} {reason}")]
    Value { field: &'static str, value: String, reason: &'static str },
    #[error("{kind}: {field} is missing")]
    Missing { kind: &'static str, field: &'static str },
    #[error("a document must be an object or a list of objects")]
    NoObject,
}

impl ConvertError {
    /// A value that makes no sense.
    pub fn value(field: &'static str, value: &str, reason: &'static str) -> ConvertError {
        ConvertError::Value { field, value: value.to_owned(), reason }
    }
}

/// Labels or annotations, whose values may have been written without quotes.
pub type Texts = BTreeMap<String, Text>;

/// A text, or a number or truth value that stands for one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Text(#[serde(deserialize_with = "text")] pub String);

/// Reads a text, or a number or truth value as the text that it was.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("expected a text")),
    }
}

/// Reads a part of an object strictly.
pub fn read<T: DeserializeOwned + Default>(
    kind: &str,
    part: Option<&Value>,
) -> Result<T, ConvertError> {
    match part {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| ConvertError::Shape {
            kind: kind.to_owned(),
            reason: error.to_string(),
        }),
    }
}

/// Sets a field, unless it is empty.
pub fn put(map: &mut Map<String, Value>, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    if !is_empty {
        map.insert(name.to_owned(), value);
    }
}

/// The metadata of a converted object.
#[derive(Debug, Default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its labels.
    pub labels: Texts,
    /// Its annotations.
    pub annotations: Texts,
}

/// An object of v3.
pub fn object(kind: &str, metadata: Metadata, spec: Map<String, Value>) -> Value {
    let texts = |texts: Texts| {
        let texts =
            texts.into_iter().map(|(key, Text(value))| (v1_names::label(&key), json!(value)));
        Value::Object(texts.collect())
    };
    let mut converted = Map::new();
    put(&mut converted, "name", json!(metadata.name));
    put(&mut converted, "namespace", json!(metadata.namespace));
    put(&mut converted, "labels", texts(metadata.labels));
    put(&mut converted, "annotations", texts(metadata.annotations));
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": converted, "spec": spec
    })
}
