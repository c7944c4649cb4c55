//! YAML to JSON as upstream's calicoctl has it: YAML 1.1 scalars, the first mistake is the answer.
//! Just enough for the golden inputs; calicoctl has its own.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// The documents of a text: each a value, or why there is none. Documents without any content are
/// left out, as upstream does between two markers.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut documents = Vec::new();
    let mut events = Parser::new_from_str(text);
    let mut next = move || -> Result<Event<'_>, String> {
        match events.next() {
            Some(Ok((event, _))) => Ok(event),
            Some(Err(error)) => Err(error.to_string()),
            None => Ok(Event::StreamEnd),
        }
    };
    loop {
        match next()? {
            Event::StreamEnd => return Ok(documents),
            Event::DocumentStart(_) => {
                let first = next()?;
                let value = node(first, &mut next)?;
                if !value.is_null() {
                    documents.push(value);
                }
            }
            _ => {}
        }
    }
}

fn node<'a>(
    event: Event<'a>,
    next: &mut impl FnMut() -> Result<Event<'a>, String>,
) -> Result<Value, String> {
    match event {
        // COMPAT: a tag that nobody knows hides its empty value: upstream reads null.
        Event::Scalar(text, ScalarStyle::Plain, _, _) => plain(&text),
        Event::Scalar(text, ..) => Ok(Value::from(text.as_ref())),
        Event::SequenceStart(..) => {
            let mut entries = Vec::new();
            loop {
                match next()? {
                    Event::SequenceEnd => return Ok(Value::Array(entries)),
                    entry => entries.push(node(entry, next)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                let key = match next()? {
                    Event::MappingEnd => return Ok(Value::Object(entries)),
                    key => match node(key, next)? {
                        Value::String(key) => key,
                        key => key.to_string(),
                    },
                };
                let first = next()?;
                let value = node(first, next)?;
                if entries.insert(key.clone(), value).is_some() {
                    return Err(format!("key {key:?} is there twice"));
                }
            }
        }
        other => Err(format!("unexpected {other:?}")),
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Result<Value, String> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::from(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::from(false)
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | "-.inf" => return Err(format!("{text} is no JSON")),
        _ => number(text).unwrap_or_else(|| Value::from(text)),
    })
}

fn number(text: &str) -> Option<Value> {
    let digits = text.trim_start_matches(['-', '+']);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Value::from(whole));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Value::from(whole));
    }
    let float =
        digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = float.then(|| text.parse::<f64>().ok()).flatten()?;
    Number::from_f64(float).map(Value::Number)
}
