//! The functions of templates.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::TemplateError;
use super::value::{compare, is_true, text};
use crate::kinds::{Facts, cut};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function(&'static str);

/// Their names.
const NAMES: [&str; 17] = [
    "and",
    "config",
    "eq",
    "ge",
    "gt",
    "index",
    "join",
    "joinAndTruncate",
    "le",
    "len",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "println",
];

impl Function {
    /// The function of this name.
    pub fn named(name: &str) -> Option<Function> {
        NAMES.iter().find(|known| **known == name).map(|name| Function(name))
    }

    /// Whether one of its arguments may decide, so that the others aren't looked at.
    pub fn decides_early(self) -> bool {
        matches!(self.0, "and" | "or")
    }

    /// Whether it comes to this argument, whatever stands behind.
    pub fn is_decided_by(self, value: &Value) -> bool {
        match self.0 {
            "and" => !is_true(value),
            "or" => is_true(value),
            _ => false,
        }
    }

    /// What it makes of its arguments.
    pub fn call(self, arguments: &[Value], facts: &Facts) -> Result<Value, TemplateError> {
        let Function(function) = self;
        let fail = |reason: &str| TemplateError::Call { function, reason: reason.to_owned() };
        match (function, arguments) {
            ("and" | "or", [.., last]) => {
                let decides = |value: &&Value| self.is_decided_by(value);
                Ok(arguments.iter().find(decides).unwrap_or(last).clone())
            }
            ("not", [value]) => Ok((!is_true(value)).into()),
            ("eq", [first, others @ ..]) if !others.is_empty() => {
                let same = |other| compare(first, other) == Some(Ordering::Equal);
                Ok(others.iter().any(same).into())
            }
            ("ne", [a, b]) => Ok((compare(a, b) != Some(Ordering::Equal)).into()),
            ("lt" | "le" | "gt" | "ge", [a, b]) => {
                let order = compare(a, b).ok_or_else(|| fail("these values can't be compared"))?;
                Ok(match function {
                    "lt" => order.is_lt(),
                    "le" => order.is_le(),
                    "gt" => order.is_gt(),
                    _ => order.is_ge(),
                }
                .into())
            }
            ("len", [value]) => match value {
                Value::Null => Ok(0.into()),
                Value::String(text) => Ok(text.len().into()),
                Value::Array(list) => Ok(list.len().into()),
                Value::Object(map) => Ok(map.len().into()),
                _ => Err(fail("only texts, lists and maps have a length")),
            },
            ("index", [value, keys @ ..]) => {
                keys.iter().try_fold(value.clone(), |value, key| match (&value, key) {
                    (Value::Array(list), Value::Number(at)) => at
                        .as_u64()
                        .and_then(|at| list.get(usize::try_from(at).ok()?).cloned())
                        .ok_or_else(|| fail("the list has no such element")),
                    (Value::Object(map), Value::String(key)) => {
                        Ok(map.get(key).cloned().unwrap_or_default())
                    }
                    (Value::Null, Value::String(_)) => Ok(Value::Null),
                    _ => Err(fail("only lists and maps have elements")),
                })
            }
            ("join", [list, Value::String(between)]) => {
                join(list, between).map(Value::from).ok_or_else(|| fail("it wants a list"))
            }
            ("joinAndTruncate", [list, Value::String(between), Value::Number(limit)]) => {
                let limit = limit.as_u64().and_then(|limit| usize::try_from(limit).ok());
                let limit = limit.ok_or_else(|| fail("its limit is no length"))?;
                let joined = join(list, between).ok_or_else(|| fail("it wants a list"))?;
                Ok(if limit == 0 { joined } else { cut(&joined, limit) }.into())
            }
            ("config", [Value::String(name)]) if name.eq_ignore_ascii_case("asnumber") => {
                Ok(facts.as_number.into())
            }
            ("config", _) => Err(fail("it only knows \"asnumber\"")),
            ("print", values) => Ok(values.iter().map(text).collect::<String>().into()),
            ("println", values) => {
                Ok((values.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into())
            }
            ("printf", [Value::String(format), values @ ..]) => {
                printf(format, values).map(Value::from).map_err(|reason| fail(&reason))
            }
            _ => Err(fail("wrong arguments")),
        }
    }
}

fn join(list: &Value, between: &str) -> Option<String> {
    match list {
        Value::Null => Some(String::new()),
        Value::Array(list) => Some(list.iter().map(text).collect::<Vec<_>>().join(between)),
        _ => None,
    }
}

/// `%s`, `%v`, `%d`, `%q`, `%t`, `%f`, `%x` with flags, width and precision; `%%`.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (mut left, mut zero) = (false, false);
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ')) {
            left |= flag == '-';
            zero |= flag == '0';
        }
        let width = digits(&mut chars);
        let precision = chars.next_if_eq(&'.').map(|_| digits(&mut chars));
        let verb = chars.next().ok_or("it ends in %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("there are more verbs than values")?;
        let shown = match (verb, value) {
            ('v', value) => text(value),
            ('s', value) => match precision {
                Some(most) => text(value).chars().take(most).collect(),
                None => text(value),
            },
            ('q', value) => format!("{:?}", text(value)),
            ('t', Value::Bool(_) | Value::Null) => is_true(value).to_string(),
            ('d', Value::Null) => "0".to_owned(),
            ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
            ('x', Value::Number(number)) if number.is_u64() => {
                format!("{:x}", number.as_u64().unwrap_or_default())
            }
            ('f', Value::Number(number)) => {
                format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or_default())
            }
            (verb, value) => return Err(format!("%{verb} can't show {}", text(value))),
        };
        let blanks = width.saturating_sub(shown.chars().count());
        out.push_str(&match (left, zero && matches!(value, Value::Number(_))) {
            (true, _) => format!("{shown}{:blanks$}", ""),
            (false, true) => format!("{}{shown}", "0".repeat(blanks)),
            (false, false) => format!("{:blanks$}{shown}", ""),
        });
    }
    match values.next() {
        Some(_) => Err("there are more values than verbs".to_owned()),
        None => Ok(out),
    }
}

/// A width or precision, which stays within reason.
fn digits(chars: &mut Peekable<Chars<'_>>) -> usize {
    let mut number: usize = 0;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        number = (number * 10 + digit as usize).min(1000);
    }
    number
}
