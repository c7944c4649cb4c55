//! Reads values by a table of fields: into Go's types, in Go's order, without what Go leaves out.

use serde_json::{Map, Value};

use super::field::{Field, Literal, Omit, Shape};
use super::path::Path;
use super::{InputError, scalar};

/// What becomes of fields that no table knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// They are errors: a person made a mistake.
    Refused,
    /// They stay, after those that are known: another release wrote them.
    Kept,
}

/// Reads one document.
pub(super) struct Reader {
    pub unknown: Unknown,
    /// Whether defaults are filled in.
    pub defaults: bool,
    /// Where it is, for messages.
    pub path: Path,
}

impl Reader {
    /// An object with these fields. Their names match in any letter case, as Go has it.
    pub fn object(
        &mut self,
        fields: &'static [Field],
        input: Value,
    ) -> Result<Map<String, Value>, InputError> {
        let input = match input {
            Value::Object(input) => input,
            Value::Null => Map::new(),
            other => return Err(self.wrong("an object", &other)),
        };
        let mut given: Vec<Option<Value>> = Vec::new();
        given.resize_with(fields.len(), || None);
        let (mut others, mut unknown) = (Map::new(), None);
        for (name, value) in input {
            let slot = position(fields, &name).and_then(|at| given.get_mut(at));
            match (slot, self.unknown) {
                (Some(slot @ None), _) => *slot = Some(value),
                (Some(Some(_)), _) => {
                    return Err(InputError::Twice { path: self.path.to(&name) });
                }
                (None, Unknown::Kept) => {
                    others.insert(name, value);
                }
                (None, Unknown::Refused) => {
                    let (path, among) = (self.path.to(&name), fields.iter().map(|f| f.name));
                    let (field, among) = (name, among.collect());
                    unknown.get_or_insert(InputError::UnknownField { field, path, among });
                }
            }
        }
        let mut object = Map::new();
        for (field, value) in fields.iter().zip(given) {
            let outer = self.path.enter(field.name);
            let value = self.field(field, value.unwrap_or(Value::Null))?;
            self.path.leave(outer);
            if let Some(value) = value {
                object.insert(field.name.to_owned(), value);
            }
        }
        object.extend(others);
        // COMPAT: a value of a wrong type is told before a field that isn't known.
        unknown.map_or(Ok(object), Err)
    }

    /// The value of a field; `None` when it isn't written.
    fn field(&mut self, field: &Field, value: Value) -> Result<Option<Value>, InputError> {
        let value = match value {
            Value::Null => None,
            value => Some(self.value(&field.shape, value)?),
        };
        let value = value.filter(|value| field.omit != Omit::Zero || !is_zero(value));
        Ok(match (value, &field.default, field.omit) {
            (Some(value), ..) => Some(value),
            (None, Some(Literal::Text(text)), _) if self.defaults => Some(Value::from(*text)),
            (None, Some(Literal::Whole(number)), _) if self.defaults => Some(Value::from(*number)),
            (None, _, Omit::Never) => Some(self.zero(&field.shape)?),
            (None, ..) => None,
        })
    }

    /// A value that is there.
    fn value(&mut self, shape: &Shape, value: Value) -> Result<Value, InputError> {
        let read = match shape {
            Shape::Text => scalar::text(&value).map(Value::from),
            Shape::Flag => value.is_boolean().then(|| value.clone()),
            Shape::Whole(min, max) => scalar::whole(&value)
                .filter(|number| (*min..=*max).contains(number))
                .map(Value::from),
            Shape::Number => scalar::number(&value),
            Shape::AsNumber => scalar::as_number(&value).map(Value::from),
            Shape::Port => scalar::port(&value),
            Shape::ByteOrName => scalar::byte_or_name(&value),
            Shape::NumberOrText => scalar::number_or_text(&value),
            Shape::Duration => scalar::duration(&value).map(Value::from),
            Shape::Time => scalar::time(&value).map(Value::from),
            Shape::Map => return self.map(value),
            Shape::List(entry) => return self.list(entry, value),
            Shape::Object(fields) => return self.object(fields, value).map(Value::Object),
            Shape::Free => return Ok(value),
        };
        read.ok_or_else(|| {
            let mut error = self.wrong(expected(shape), &value);
            if let InputError::WrongType { found, .. } = &mut error
                && let Some(why) = scalar::why_not(shape, &value)
            {
                *found += &format!(" ({why})");
            }
            error
        })
    }

    /// Text by text, in the order of the keys.
    fn map(&mut self, value: Value) -> Result<Value, InputError> {
        let Value::Object(entries) = value else { return Err(self.wrong("an object", &value)) };
        let mut read: Vec<(String, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let outer = self.path.enter(&key);
            let text = match value {
                Value::Null => Some(String::new()),
                ref value => scalar::text(value),
            };
            let text = text.ok_or_else(|| self.wrong("text", &value))?;
            self.path.leave(outer);
            read.push((key, Value::from(text)));
        }
        read.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(Value::Object(read.into_iter().collect()))
    }

    fn list(&mut self, entry: &'static Field, value: Value) -> Result<Value, InputError> {
        let Value::Array(entries) = value else { return Err(self.wrong("a list", &value)) };
        let mut read = Vec::with_capacity(entries.len());
        for (at, value) in entries.into_iter().enumerate() {
            let outer = self.path.enter_entry(at);
            read.push(match value {
                Value::Null => self.zero(&entry.shape)?,
                value => self.value(&entry.shape, value)?,
            });
            self.path.leave(outer);
        }
        Ok(Value::Array(read))
    }

    /// What Go has where nothing was given.
    fn zero(&mut self, shape: &Shape) -> Result<Value, InputError> {
        Ok(match shape {
            Shape::Text => Value::from(""),
            Shape::Flag => Value::from(false),
            Shape::Duration => Value::from("0s"),
            Shape::Object(fields) => Value::Object(self.object(fields, Value::Null)?),
            Shape::Time | Shape::Map | Shape::List(_) | Shape::Free => Value::Null,
            Shape::Whole(..)
            | Shape::Number
            | Shape::AsNumber
            | Shape::Port
            | Shape::ByteOrName
            | Shape::NumberOrText => Value::from(0),
        })
    }

    fn wrong(&self, expected: &'static str, found: &Value) -> InputError {
        let found = match found {
            Value::Null => "nothing".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => format!("the number {number}"),
            Value::String(text) => format!("the text {:?}", scalar::shortened(text)),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        InputError::WrongType { path: self.path.to_string(), expected, found }
    }
}

/// The field of this name: exactly, or in any letter case.
fn position(fields: &[Field], name: &str) -> Option<usize> {
    let exact = fields.iter().position(|field| field.name == name);
    exact.or_else(|| fields.iter().position(|field| field.name.eq_ignore_ascii_case(name)))
}

/// Whether Go's omitempty leaves it out.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text => "text",
        Shape::Flag => "true or false",
        Shape::Whole(i64::MIN, _) => "a whole number",
        Shape::Whole(0, 255) => "a whole number from 0 to 255",
        Shape::Whole(0, 65535) => "a whole number from 0 to 65535",
        Shape::Whole(0, _) => "a whole number from 0 to 4294967295",
        Shape::Whole(..) => "a whole number of 32 bits",
        Shape::Number => "a number",
        Shape::AsNumber => "an AS number, like 64512 or \"1.10\", of at most 4294967295",
        Shape::Port => "a port: 0 to 65535, a range like \"1000:2000\", or a name",
        Shape::ByteOrName => "a number from 0 to 255, or a name",
        Shape::NumberOrText => "a number or text",
        Shape::Duration => "a duration with its unit, like 90s or 1h30m",
        Shape::Time => "a time like 2026-08-22T13:33:20Z",
        Shape::Map | Shape::Object(_) => "an object",
        Shape::List(_) => "a list",
        Shape::Free => "anything",
    }
}
