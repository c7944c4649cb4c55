//! The values of a template: JSON, in which Go's names of fields are found.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::TemplateError;
use crate::output::number::go_float;

/// The members of a resource or of a list of them.
const ENVELOPE: [&str; 6] = ["kind", "apiVersion", "metadata", "spec", "status", "items"];

/// The members of their metadata, which Go also finds without naming it.
const METADATA: [&str; 14] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A field of a value. Null stands for whatever is empty: JSON leaves out Go's empty fields.
pub fn field(value: &Value, name: &str) -> Result<Value, TemplateError> {
    let no_field = |what| TemplateError::Field { field: name.to_owned(), what };
    let map = match value {
        Value::Null => return Ok(Value::Null),
        Value::Object(map) => map,
        Value::Array(_) => return Err(no_field("a list")),
        Value::String(_) => return Err(no_field("a text")),
        Value::Bool(_) => return Err(no_field("a boolean")),
        Value::Number(_) => return Err(no_field("a number")),
    };
    let is_envelope = map.contains_key("kind") && map.contains_key("apiVersion");
    if !is_envelope {
        return Ok(member(map, name).cloned().unwrap_or_default());
    }
    let is = |known: &&str| known.eq_ignore_ascii_case(name);
    let metadata = map.get("metadata").and_then(Value::as_object);
    match name {
        "ObjectMeta" | "ListMeta" => Ok(map.get("metadata").cloned().unwrap_or_default()),
        "TypeMeta" => Ok(value.clone()),
        _ if ENVELOPE.iter().any(is) => Ok(member(map, name).cloned().unwrap_or_default()),
        _ if METADATA.iter().any(is) => {
            let found = metadata.and_then(|metadata| member(metadata, name));
            Ok(found.cloned().unwrap_or_default())
        }
        _ => Err(no_field("a resource")),
    }
}

/// A member by its name, or else by its name in another case.
fn member<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let same = || map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    map.get(name).or_else(|| same().map(|(_, value)| value))
}

/// Whether `if` takes it for true: what is not empty.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => go_float(float),
            None => number.to_string(),
        },
        Value::Array(list) => {
            format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let mut pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

/// How two values compare; nothing when they can't. What is empty equals the empty value of every
/// type.
pub fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Null, Value::String(b)) => Some("".cmp(b)),
        (Value::String(a), Value::Null) => Some(a.as_str().cmp("")),
        (Value::Null, Value::Bool(b)) => Some(false.cmp(b)),
        (Value::Bool(a), Value::Null) => Some(a.cmp(&false)),
        (Value::Null, Value::Number(b)) => 0.0.partial_cmp(&b.as_f64()?),
        (Value::Number(a), Value::Null) => a.as_f64()?.partial_cmp(&0.0),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}
