//! One document: the parser's events become a JSON value.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

use super::YamlError;
use super::scalar::{Scalar, resolve};
use crate::output::number::go_float;

/// How deep lists and maps may lie in one another. (The JSON reader has the same limit.)
const MAX_DEPTH: usize = 100;

/// How many values aliases may stand for, all together.
const MAX_ALIASED: usize = 100_000;

/// The key that merges another map in.
const MERGE: &str = "<<";

/// Reads a document whose first line has this number in its file.
pub fn read(text: &str, first_line: usize) -> Result<Value, YamlError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        first_line,
        anchors: HashMap::new(),
        aliased: 0,
    };
    let mut value = Value::Null;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(value),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => {
                if !value.is_null() {
                    let reason = "a second document begins without a line of \"---\"".to_owned();
                    return Err(YamlError::Syntax { line: reader.line(&span), reason });
                }
                value = reader.value(event, &span, 0)?;
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    first_line: usize,
    anchors: HashMap<usize, Value>,
    aliased: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax(&self, error: &ScanError) -> YamlError {
        let line = self.first_line + error.marker().line().saturating_sub(1);
        YamlError::Syntax { line, reason: error.info().to_owned() }
    }

    fn line(&self, span: &Span) -> usize {
        self.first_line + span.start.line().saturating_sub(1)
    }

    fn value(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Value, YamlError> {
        let line = self.line(span);
        if depth > MAX_DEPTH {
            return Err(YamlError::TooDeep { line });
        }
        let (value, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), line)?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "seq", line)?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "map", line)?;
                (self.mapping(depth)?, anchor)
            }
            _ => (Value::Null, 0),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Value, YamlError> {
        let reason = || "an alias stands for a value that it is part of".to_owned();
        let value = self
            .anchors
            .get(&anchor)
            .ok_or_else(|| YamlError::Syntax { line, reason: reason() })?;
        self.aliased += size(value);
        match self.aliased > MAX_ALIASED {
            true => Err(YamlError::TooManyAliases { line }),
            false => Ok(value.clone()),
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(Value::Array(list)),
                (event, span) => list.push(self.value(event, &span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, YamlError> {
        let mut map = Map::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = self.line(&span);
            let plain = matches!(&event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => break,
                event => key_text(self.value(event, &span, depth + 1)?, line)?,
            };
            let (event, span) = self.next()?;
            let value = self.value(event, &span, depth + 1)?;
            if plain && key == MERGE {
                merged.push((value, line));
            } else if map.insert(key.clone(), value).is_some() {
                return Err(YamlError::DuplicateKey { line, key });
            }
        }
        // What the map says itself wins over what it merges in, and so does the earlier map.
        for (value, line) in merged {
            let maps = match value {
                Value::Array(maps) => maps,
                map => vec![map],
            };
            for other in maps {
                let Value::Object(other) = other else {
                    let reason = "only a map can be merged into a map".to_owned();
                    return Err(YamlError::Syntax { line, reason });
                };
                for (key, value) in other {
                    map.entry(key).or_insert(value);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// How many values there are in a value.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// COMPAT: a key `n` is the boolean, and its text `false`, as upstream has it.
fn key_text(key: Value, line: usize) -> Result<String, YamlError> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => go_float(float),
            None => number.to_string(),
        }),
        _ => Err(YamlError::Key { line }),
    }
}

fn check_collection_tag(tag: Option<&Tag>, expected: &str, line: usize) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(YamlError::Tag { line, tag: tag_text(tag) })
        }
        _ => Ok(()),
    }
}

fn tag_text(tag: &Tag) -> String {
    match tag.is_yaml_core_schema() {
        true => format!("!!{}", tag.suffix),
        false => format!("{}{}", tag.handle, tag.suffix),
    }
}

fn scalar(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Value, YamlError> {
    let not_as_tagged = |wanted| YamlError::NotAsTagged { line, text: text.to_owned(), wanted };
    let string = || Value::String(text.to_owned());
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => plain(text, line),
            _ => Ok(string()),
        };
    };
    if !tag.is_yaml_core_schema() {
        let said = tag_text(tag);
        let empty = text.is_empty() && style == ScalarStyle::Plain;
        return match said.as_str() {
            "!" => Ok(string()),
            // A selector such as !has(x), which was meant as text.
            said if empty && tag.handle == "!" => Ok(Value::String(said.to_owned())),
            _ => Err(YamlError::Tag { line, tag: said }),
        };
    }
    match (tag.suffix.as_str(), resolve(text)) {
        ("str", _) => Ok(string()),
        ("null", Scalar::Null) => Ok(Value::Null),
        ("null", _) => Err(not_as_tagged("null")),
        ("bool", Scalar::Bool(value)) => Ok(Value::Bool(value)),
        ("bool", _) => Err(not_as_tagged("boolean")),
        ("int", Scalar::Int(_)) => plain(text, line),
        ("int", _) => Err(not_as_tagged("whole number")),
        ("float", Scalar::Int(_) | Scalar::Float(_)) => plain(text, line),
        ("float", _) => Err(not_as_tagged("number")),
        _ => Err(YamlError::Tag { line, tag: tag_text(tag) }),
    }
}

fn plain(text: &str, line: usize) -> Result<Value, YamlError> {
    let no_json = || YamlError::Number { line, text: text.to_owned() };
    Ok(match resolve(text) {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Int(value) => Value::Number(Number::from_i128(value).ok_or_else(no_json)?),
        Scalar::Float(value) => Value::Number(Number::from_f64(value).ok_or_else(no_json)?),
        Scalar::Timestamp | Scalar::Text => Value::String(text.to_owned()),
    })
}
