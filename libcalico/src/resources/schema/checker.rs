//! Applies the rules of a table of fields to an object whose shape was read.
//!
//! Upstream has two layers of rules with two ways to name a field: its Go validators say `PeerIP`,
//! its schemas `spec.exportV4[0].action`. A field of ours has one name and is named once; where
//! that is Go's and the field stands deeper, the error has its path, too.

use serde_json::{Map, Value};

use super::field::{Check, Field, Shape};
use super::path::Path;
use super::view::shown;
use crate::resources::metadata::{StringMap, validate_annotations, validate_labels};
use crate::resources::validation::FieldErrors;
use crate::selector::Selector;

/// The most characters of a selector.
const MAX_SELECTOR: usize = 1024;

/// Checks one document.
pub(super) struct Checker<'a> {
    pub errors: &'a mut FieldErrors,
    pub path: Path,
}

impl Checker<'_> {
    /// An object with these fields.
    pub fn object(&mut self, fields: &[Field], value: &Value) {
        for field in fields {
            let outer = self.path.enter(field.name);
            let label = field.label.map(str::to_owned);
            match value.get(field.name) {
                None | Some(Value::Null) => self.missing(field, label),
                Some(value) => self.value(field, label, value),
            }
            self.path.leave(outer);
        }
    }

    fn missing(&mut self, field: &Field, label: Option<String>) {
        if field.checks.iter().any(|check| matches!(check, Check::Required)) {
            self.add(&label, &Value::Null, "must be set");
        }
    }

    /// A value that is there.
    fn value(&mut self, field: &Field, label: Option<String>, value: &Value) {
        let required = field.checks.iter().any(|check| matches!(check, Check::Required));
        if required && value == "" {
            return self.missing(field, label);
        }
        // Of the rules of one value the first that it breaks says enough.
        let mut broken =
            field.checks.iter().filter_map(|check| Some((check, broken(check, value)?)));
        match broken.next() {
            // COMPAT: of a range, upstream names the end that is no port.
            Some((Check::Port, reason)) => self.add(&label, &Value::from(0), &reason),
            Some((_, reason)) => self.add(&label, value, &reason),
            None => {}
        }
        field.checks.iter().for_each(|check| self.maps(check, &label, value));
        match (&field.shape, value) {
            (Shape::Object(fields), value) => self.object(fields, value),
            (Shape::List(entry), Value::Array(values)) => {
                for (at, value) in values.iter().enumerate() {
                    let outer = self.path.enter_entry(at);
                    let label = match (entry.label, &label) {
                        (Some(own), _) => Some(own.to_owned()),
                        (None, Some(list)) => Some(format!("{list}[{at}]")),
                        (None, None) => None,
                    };
                    self.value(entry, label, value);
                    self.path.leave(outer);
                }
            }
            _ => {}
        }
    }

    /// Rules of maps, which name the entry that breaks them.
    fn maps(&mut self, check: &Check, label: &Option<String>, value: &Value) {
        let Value::Object(entries) = value else { return };
        let field = label.clone().unwrap_or_else(|| self.path.to_string());
        match check {
            Check::Labels => validate_labels(&field, &texts(entries), self.errors),
            Check::Annotations => {
                validate_annotations(&field, &texts(entries), self.errors);
            }
            _ => {}
        }
    }

    /// Notes what is wrong with the value here.
    pub fn add(&mut self, label: &Option<String>, value: &Value, reason: &str) {
        match label {
            None => self.errors.add(self.path.to_string(), shown(value), reason),
            Some(label) if self.path.is_short() => self.errors.add(label, shown(value), reason),
            Some(label) => {
                self.errors.add_at(self.path.to_string(), label, shown(value), reason);
            }
        }
    }
}

fn texts(entries: &Map<String, Value>) -> StringMap {
    entries.iter().map(|(key, value)| (key.clone(), shown(value))).collect()
}

/// Why a value breaks a rule; `None` when it doesn't.
fn broken(check: &Check, value: &Value) -> Option<String> {
    let text = value.as_str().unwrap_or_default();
    let items = value.as_array().map(Vec::len).unwrap_or_default();
    let number = value.as_i64().unwrap_or_default();
    match check {
        Check::OneOf(words) if !words.contains(&text) => Some(format!("must be {}", either(words))),
        Check::AnyCase(words)
            if !text.is_empty() && !words.iter().any(|word| word.eq_ignore_ascii_case(text)) =>
        {
            Some(format!("must be {}", either(words)))
        }
        Check::Form(fits, reason) if !fits(text) => Some((*reason).to_owned()),
        Check::Selector => selector(text),
        Check::MaxLength(most) if text.chars().count() > *most => {
            Some(format!("must have at most {most} characters"))
        }
        Check::Range(least, i64::MAX) if number < *least => {
            Some(format!("must be at least {least}"))
        }
        Check::Range(least, most) if !(*least..=*most).contains(&number) => {
            Some(format!("must be {least} to {most}"))
        }
        Check::Number(numbers) if !numbers.contains(&number) => {
            let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
            Some(format!("must be {}", numbers.join(" or ")))
        }
        Check::MinItems(least) if items < *least => {
            Some(format!("must have at least {least} entries"))
        }
        Check::MaxItems(most) if items > *most => Some(format!("must have at most {most} entries")),
        Check::Distinct => repeated(value).map(|entry| format!("has {entry} twice")),
        Check::Port if *value == 0 || text.starts_with("0:") => {
            Some("port range invalid, port number must be between 1 and 65535".to_owned())
        }
        Check::Protocol => protocol(value),
        _ => None,
    }
}

/// `A, B or C`.
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What a selector of a field that isn't a namespace selector of a rule must be.
fn selector(text: &str) -> Option<String> {
    if let Some(reason) = unreadable_selector(text) {
        return Some(reason);
    }
    text.contains("global(").then(|| "global() cannot be used here".to_owned())
}

/// Why a selector is none at all.
pub(super) fn unreadable_selector(text: &str) -> Option<String> {
    if text.chars().count() > MAX_SELECTOR {
        return Some(format!("must have at most {MAX_SELECTOR} characters"));
    }
    Selector::parse(text).err().map(|error| error.to_string())
}

fn repeated(value: &Value) -> Option<String> {
    let entries = value.as_array()?;
    let repeated = |at: usize, entry: &Value| entries.iter().take(at).any(|other| other == entry);
    entries
        .iter()
        .enumerate()
        .find(|(at, entry)| repeated(*at, entry))
        .map(|(_, entry)| shown(entry))
}

fn protocol(value: &Value) -> Option<String> {
    let known = match value.as_str() {
        Some(name) => matches!(name, "TCP" | "UDP" | "ICMP" | "ICMPv6" | "SCTP" | "UDPLite"),
        None => *value != 0,
    };
    (!known).then(|| "must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or 1 to 255".to_owned())
}
