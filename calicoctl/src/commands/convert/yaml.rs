//! As much YAML as old resources need, until the commands on resources bring a reader and a writer
//! for all of it: no anchors, and keys in alphabetical order when written.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value, json};

/// What is no YAML, or more than is read here.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct YamlError {
    line: usize,
    reason: String,
}

/// The documents of a text. Those that say nothing are left out.
pub fn parse(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), line: 1 };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(documents),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => documents.push(reader.value(event)?),
        }
        documents.retain(|document| !document.is_null());
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Event<'a>, YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                let (line, reason) = (error.marker().line(), error.info().to_owned());
                Err(YamlError { line, reason })
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn value(&mut self, event: Event<'a>) -> Result<Value, YamlError> {
        match event {
            // An unquoted `!has(x)` is a tag on nothing: the text was meant.
            Event::Scalar(text, ScalarStyle::Plain, _, Some(tag)) if text.is_empty() => {
                Ok(json!(format!("{}{}", tag.handle, tag.suffix)))
            }
            Event::Scalar(text, ScalarStyle::Plain, _, None) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(json!(text)),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd | Event::StreamEnd => return Ok(Value::Array(list)),
                        event => list.push(self.value(event)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map = Map::new();
                loop {
                    let key = match self.next()? {
                        Event::MappingEnd | Event::StreamEnd => return Ok(Value::Object(map)),
                        Event::Scalar(text, ..) => text.into_owned(),
                        _ => return Err(self.refuse("a key must be a word or a text".to_owned())),
                    };
                    let event = self.next()?;
                    let value = self.value(event)?;
                    if map.insert(key.clone(), value).is_some() {
                        return Err(self.refuse(format!("key {key:?} is there twice")));
                    }
                }
            }
            _ => Err(self.refuse("aliases are not read here".to_owned())),
        }
    }

    fn refuse(&self, reason: String) -> YamlError {
        YamlError { line: self.line, reason }
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "on" | "On" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "off" | "Off" => Value::Bool(false),
        text => match text.parse::<i64>() {
            Ok(number) if !text.starts_with('+') => json!(number),
            _ if text.contains('.') && !text.contains(['n', 'N', 'i', 'I']) => {
                text.parse::<f64>().map_or_else(|_| json!(text), |number| json!(number))
            }
            _ => json!(text),
        },
    }
}

/// A value as YAML.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

fn write(out: &mut String, value: &Value, indent: usize) {
    let blanks = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            for (at, (key, value)) in fields.into_iter().enumerate() {
                // The first field stands behind the dash of a list.
                let before = if at == 0 && out.ends_with("- ") { "" } else { &blanks };
                out.push_str(&format!("{before}{}:", scalar(&json!(key))));
                nested(out, value, indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                out.push_str(&format!("{blanks}- "));
                write(out, value, indent + 2);
            }
        }
        value => out.push_str(&format!("{}\n", scalar(value))),
    }
}

/// What stands behind a field's colon.
fn nested(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            write(out, value, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            write(out, value, indent);
        }
        value => out.push_str(&format!(" {}\n", scalar(value))),
    }
}

fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_odd = |c: char| !c.is_ascii_alphanumeric() && !"-_./ ()='|&{},:".contains(c);
    let is_special = text.starts_with(|c: char| !c.is_ascii_alphanumeric() && c != '/')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(is_odd);
    match plain(text) == *value && !is_special {
        true => text.clone(),
        // Texts in double quotes mean the same in JSON and in YAML.
        false => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let value = json!({"b": [{"x": 1, "a": ["1", 2.5, true, "true", null]}, "!has(x)", [], {}],
            "a": {"k: v": "", "t": "a == 'b' && c in {'d', 'e'}", "n": "a\nb", "colon": "fd00::1/64"}});
        let text = to_string(&value);
        assert!(text.starts_with("a:\n  colon: fd00::1/64\n"), "{text}");
        assert!(text.contains("\nb:\n- a:\n  - \"1\"\n"), "{text}");
        assert_eq!(parse(&text).unwrap(), [value], "{text}");
    }

    #[test]
    fn documents_are_read_as_people_write_them() {
        let text = "# old\n- apiVersion: v1\n  metadata:\n    tags: [a, 1]\n  on: yes\n---\n---\nsel: !has(x)\n";
        let expected = [
            json!([{"apiVersion": "v1", "metadata": {"tags": ["a", 1]}, "on": true}]),
            json!({"sel": "!has(x)"}),
        ];
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(
            parse("a: 1\na: 2").unwrap_err().to_string(),
            "line 2: key \"a\" is there twice"
        );
        assert!(parse("a: [").is_err() && parse("a: *b").is_err());
    }
}
