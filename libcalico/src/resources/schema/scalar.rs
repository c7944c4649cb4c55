//! Single values as Go reads and writes them (`reference/datamodel.md` section 7.9,
//! `reference/calicoctl.md` section 3.4). Each function returns the canonical spelling, or `None`.

use serde_json::{Number, Value};

use super::field::Shape;
use super::go;
use crate::resources::time::{parse_rfc3339, rfc3339};

/// Text. What YAML took for a number or a boolean becomes text again, in Go's spelling.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(go::general),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, which may have come as a float.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let number = value.as_number()?;
    number.as_i64().or_else(|| exact(number.as_f64()?))
}

/// The float as a whole number, if it is one and every smaller one can be told from its neighbour.
fn exact(number: f64) -> Option<i64> {
    let fits = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    fits.then_some(number as i64)
}

/// A float; whole where it is one, as Go writes it.
pub(super) fn number(value: &Value) -> Option<Value> {
    let number = value.as_f64()?;
    let whole = exact(number).map(Value::from);
    whole.or_else(|| Number::from_f64(number).map(Value::Number))
}

/// An AS number: a number, its text, or two halves of 16 bits with a dot between.
pub(super) fn as_number(value: &Value) -> Option<u32> {
    let Value::String(text) = value else { return whole(value).and_then(|n| n.try_into().ok()) };
    match text.split_once('.') {
        Some((high, low)) => {
            Some(u32::from(digits::<u16>(high)?) << 16 | u32::from(digits::<u16>(low)?))
        }
        None => digits(text),
    }
}

/// A number of digits alone.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A port, a range `first:last`, or a name. A range of one is that port.
pub(super) fn port(value: &Value) -> Option<Value> {
    let Value::String(text) = value else {
        return whole(value).and_then(|number| u16::try_from(number).ok()).map(Value::from);
    };
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return digits::<u16>(text).map(Value::from);
    }
    if let Some((first, last)) = text.split_once(':') {
        let (first, last) = (digits::<u16>(first)?, digits::<u16>(last)?);
        return match first.cmp(&last) {
            std::cmp::Ordering::Less => Some(Value::from(format!("{first}:{last}"))),
            std::cmp::Ordering::Equal => Some(Value::from(first)),
            std::cmp::Ordering::Greater => None,
        };
    }
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (text.len() <= 128 && text.bytes().all(in_name)).then(|| Value::from(text.as_str()))
}

/// What upstream says of a value that doesn't fit its shape, where others look for its words.
pub(super) fn why_not(shape: &Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        // COMPAT: the words of Go's decoder, which upstream's own tests look for.
        (Shape::AsNumber, Value::Number(_)) => {
            Some("cannot unmarshal number into Go value of type string".to_owned())
        }
        (Shape::Port, Value::Number(number)) => {
            Some(format!("cannot unmarshal number {number} into Go value of type uint16"))
        }
        (Shape::Port, Value::String(text)) => {
            let (first, last) = text.split_once(':')?;
            Some(match (digits::<u16>(first), digits::<u16>(last)) {
                (None, _) => format!("invalid minimum port number in range ({text})"),
                (_, None) => format!("invalid maximum port number in range ({text})"),
                (Some(first), Some(last)) => format!(
                    "minimum port number ({first}) is greater than maximum port number ({last}) in \
                     port range"
                ),
            })
        }
        _ => None,
    }
}

/// A number below 256, also as text, or a name.
pub(super) fn byte_or_name(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => {
            Some(digits::<u8>(text).map_or_else(|| Value::from(text.as_str()), Value::from))
        }
        value => whole(value).and_then(|number| u8::try_from(number).ok()).map(Value::from),
    }
}

/// A number of 32 bits or text, each as it is.
pub(super) fn number_or_text(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => Some(Value::from(text.as_str())),
        value => whole(value).and_then(|number| i32::try_from(number).ok()).map(Value::from),
    }
}

/// A duration, in Go's spelling: `120s` becomes `2m0s`.
pub(super) fn duration(value: &Value) -> Option<String> {
    go::parse_duration(value.as_str()?).map(go::duration)
}

/// A time, in UTC and whole seconds.
pub(super) fn time(value: &Value) -> Option<String> {
    parse_rfc3339(value.as_str()?).ok().map(rfc3339)
}

/// The beginning of a text, for messages.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
