//! YAML as upstream prints it, byte for byte: sorted keys, lists at their key's own indent, quotes
//! where a YAML 1.1 reader would see something else, folded lines.

mod scalar;

use std::cmp::Ordering;

use libcalico::resources::codec;
use serde::Serialize;
use serde_json::{Map, Value};

use super::number::go_float;
use scalar::Style;

/// The blanks of one level.
const INDENT: usize = 2;

/// A text after whose length a line is folded at the next blank.
const WIDTH: usize = 80;

/// Keys that are longer get a line of their own.
const LONGEST_KEY: usize = 128;

/// A value as YAML, with a newline at the end.
pub fn to_string<T: Serialize>(value: &T) -> String {
    // By way of the stored form, whose floats and omissions are upstream's.
    let value = serde_json::from_slice(&codec::encode(value)).unwrap_or(Value::Null);
    let mut writer = Writer::default();
    match &value {
        Value::Object(map) if !map.is_empty() => writer.mapping(map, 0),
        Value::Array(list) if !list.is_empty() => writer.sequence(list, 0),
        scalar => writer.scalar(scalar, INDENT),
    }
    writer.out.push('\n');
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn text(&mut self, text: &str) {
        text.chars().for_each(|c| self.put(c));
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.column = 0;
        (0..indent).for_each(|_| self.put(' '));
    }

    fn mapping(&mut self, map: &Map<String, Value>, indent: usize) {
        let mut members: Vec<(&String, &Value)> = map.iter().collect();
        members.sort_by(|a, b| compare_keys(a.0, b.0));
        for (at, (key, value)) in members.into_iter().enumerate() {
            if at > 0 {
                self.new_line(indent);
            }
            if key.len() > LONGEST_KEY {
                self.text("? ");
                self.string(key, indent + INDENT, true);
                self.new_line(indent);
            } else {
                self.string(key, indent + INDENT, true);
            }
            self.put(':');
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.new_line(indent + INDENT);
                    self.mapping(map, indent + INDENT);
                }
                Value::Array(list) if !list.is_empty() => {
                    self.new_line(indent);
                    self.sequence(list, indent);
                }
                scalar => {
                    self.put(' ');
                    self.scalar(scalar, indent + INDENT);
                }
            }
        }
    }

    fn sequence(&mut self, list: &[Value], indent: usize) {
        for (at, value) in list.iter().enumerate() {
            if at > 0 {
                self.new_line(indent);
            }
            self.text("- ");
            match value {
                Value::Object(map) if !map.is_empty() => self.mapping(map, indent + INDENT),
                Value::Array(list) if !list.is_empty() => self.sequence(list, indent + INDENT),
                scalar => self.scalar(scalar, indent + INDENT),
            }
        }
    }

    /// Anything on one line, or text. Further lines begin at `indent`.
    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::String(text) => self.string(text, indent, false),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => self.text(&go_float(float)),
                None => self.text(&number.to_string()),
            },
            Value::Array(_) => self.text("[]"),
            Value::Object(_) => self.text("{}"),
            other => self.text(&other.to_string()),
        }
    }

    fn string(&mut self, text: &str, indent: usize, is_key: bool) {
        match scalar::style_of(text, is_key) {
            Style::Plain => self.folded(text, indent, is_key),
            Style::Single => {
                self.put('\'');
                // The quotes within are doubled; they have no influence on where lines end.
                self.folded_quoted(text, indent, is_key);
                self.put('\'');
            }
            Style::Double => self.double(text, indent, is_key),
            Style::Literal => self.literal(text, indent),
        }
    }

    /// Text in which a single blank may become the end of a line.
    fn folded(&mut self, text: &str, indent: usize, is_key: bool) {
        let mut after_blank = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let may_break = !is_key && c == ' ' && !after_blank && chars.peek() != Some(&' ');
            match may_break && self.column > WIDTH {
                true => self.new_line(indent),
                false => self.put(c),
            }
            after_blank = c == ' ';
        }
    }

    fn folded_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        let mut after_blank = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            let inside =
                at > 0 && chars.peek().is_some_and(|(_, next)| *next != ' ') && !after_blank;
            match !is_key && c == ' ' && inside && self.column > WIDTH {
                true => self.new_line(indent),
                false => {
                    if c == '\'' {
                        self.put(c);
                    }
                    self.put(c);
                }
            }
            after_blank = c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize, is_key: bool) {
        self.put('"');
        let mut after_blank = false;
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            if let Some(escape) = scalar::escape(c) {
                self.text(&escape);
                after_blank = false;
                continue;
            }
            let inside = at > 0 && next.is_some() && !after_blank;
            match !is_key && c == ' ' && inside && self.column > WIDTH {
                true => {
                    self.new_line(indent);
                    if next == Some(' ') {
                        self.put('\\');
                    }
                }
                false => self.put(c),
            }
            after_blank = c == ' ';
        }
        self.put('"');
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put('|');
        if text.starts_with([' ', '\n']) {
            self.text(&INDENT.to_string());
        }
        let rest = text.strip_suffix('\n');
        match rest {
            None => self.put('-'),
            Some(rest) if rest.is_empty() || rest.ends_with('\n') => self.put('+'),
            Some(_) => {}
        }
        for line in rest.unwrap_or(text).split('\n') {
            match line.is_empty() {
                true => self.new_line(0),
                false => self.new_line(indent),
            }
            self.text(line);
        }
    }
}

/// The order of keys: letter by letter; what is no letter comes first; numbers count as numbers.
fn compare_keys(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(x, y)| x != y) else {
        return a.len().cmp(&b.len());
    };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // A zero within a number is a digit of it; one at its beginning is none.
    let within = a[..at].iter().rev().take_while(|c| c.is_numeric()).any(|c| *c != '0');
    let leading = u64::from((x == '0' || y == '0') && within);
    let number = |text: &[char]| {
        let digits = text.iter().take_while(|c| c.is_ascii_digit());
        let digits: Vec<u64> = digits.filter_map(|c| c.to_digit(10)).map(u64::from).collect();
        let value =
            digits.iter().fold(leading, |sum, digit| sum.saturating_mul(10).saturating_add(*digit));
        (value, digits.len())
    };
    number(&a[at..]).cmp(&number(&b[at..])).then(x.cmp(&y))
}

#[cfg(test)]
mod tests;
