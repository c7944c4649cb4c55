//! A look into an object that is only a value: what isn't there reads as Go's zero value.

use serde_json::Value;

/// An object, or what should be one.
#[derive(Clone, Copy)]
pub(super) struct View<'a>(pub &'a Value);

impl<'a> View<'a> {
    /// Whether the field is there.
    pub fn has(self, field: &str) -> bool {
        self.0.get(field).is_some_and(|value| !value.is_null())
    }

    /// The object in the field; an empty one if there is none.
    pub fn object(self, field: &str) -> View<'a> {
        View(self.0.get(field).unwrap_or(&Value::Null))
    }

    /// The text in the field.
    pub fn text(self, field: &str) -> &'a str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// The boolean in the field.
    pub fn flag(self, field: &str) -> bool {
        self.0.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The whole number in the field.
    pub fn whole(self, field: &str) -> i64 {
        self.0.get(field).and_then(Value::as_i64).unwrap_or_default()
    }

    /// The entries of the list in the field.
    pub fn list(self, field: &str) -> &'a [Value] {
        self.0.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The texts in the list in the field.
    pub fn texts(self, field: &str) -> impl Iterator<Item = &'a str> {
        self.list(field).iter().filter_map(Value::as_str)
    }

    /// The field as messages show it.
    pub fn shown(self, field: &str) -> String {
        shown(self.0.get(field).unwrap_or(&Value::Null))
    }
}

/// A value as messages show it: text without quotes.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
