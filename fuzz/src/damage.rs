//! Seeds, and what is done to them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// One step of damage. An index is taken modulo what there is.
#[derive(Debug, Clone)]
enum Damage {
    /// A value somewhere in the document becomes another one.
    Replace(Index, Index),
    /// A member or an item goes.
    Remove(Index),
    /// A value is copied over another one.
    Copy(Index, Index),
    /// A member gets another name.
    Rename(Index, Index),
    /// A value is wrapped so many times.
    Nest(Index, u8),
    /// An item or a character is there so many times.
    Many(Index, u16),
    /// A byte becomes another one.
    Byte(Index, u8),
    /// Bytes go.
    Cut(Index, u8),
    /// Everything from here on goes.
    End(Index),
    /// A word is put between two bytes.
    Insert(Index, Index),
    /// The rest is another seed's.
    Splice(Index, Index, Index),
}

/// No input grows beyond this: what would is left as it was. A few steps could make gigabytes, and
/// the time that those take says nothing of the parser.
const SIZE_MAX: usize = 128 << 10;

/// Words that parsers trip over.
const WORDS: &[&str] = &[
    "",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775808",
    "-9223372036854775809",
    "0.5",
    "/",
    "..",
    "../",
    "%",
    "%2f",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "\u{202e}",
    "=",
    ";",
    "==",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "((((((((",
    "in",
    "not in",
    "has(",
    "all()",
    "global()",
    "contains",
    "starts with",
    "'",
    "''",
    "{'a'}",
    "\0",
    "\n",
    "\r\n",
    "\t",
    " ",
    "@",
    "://",
    "http://",
    "https://[::1",
    "[::",
    "]:",
    ":99999",
    ":0",
    "::",
    "0.0.0.0/0",
    "::/0",
    "255.255.255.255/33",
    "10.0.0.0/-1",
    "1.2.3.4.5",
    "fe80::1%eth0",
    ",,,",
    "1.1.0",
    "0.4.0",
    "2.0.0",
    "calico",
    "etcdv3",
    "local",
    "kubernetes",
    "k8s",
];

/// Damaged documents, out of these.
pub fn damaged(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let index = any::<Index>;
    let step = prop_oneof![
        (index(), index()).prop_map(|(at, with)| Damage::Replace(at, with)),
        index().prop_map(Damage::Remove),
        (index(), index()).prop_map(|(from, to)| Damage::Copy(from, to)),
        (index(), index()).prop_map(|(at, with)| Damage::Rename(at, with)),
        (index(), any::<u8>()).prop_map(|(at, depth)| Damage::Nest(at, depth)),
        (index(), 0..2000_u16).prop_map(|(at, count)| Damage::Many(at, count)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, count)| Damage::Cut(at, count)),
        index().prop_map(Damage::End),
        (index(), index()).prop_map(|(at, word)| Damage::Insert(at, word)),
        (index(), index(), index()).prop_map(|(at, seed, from)| Damage::Splice(at, seed, from)),
    ];
    (index(), vec(step, 1..8)).prop_map(move |(seed, steps)| {
        let mut bytes = seed.get(&seeds).clone();
        for step in steps {
            let before = bytes.clone();
            apply(&mut bytes, &step, &seeds);
            if bytes.len() > SIZE_MAX {
                bytes = before;
            }
        }
        bytes
    })
}

fn apply(bytes: &mut Vec<u8>, step: &Damage, seeds: &[Vec<u8>]) {
    let at = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
    match step {
        Damage::Byte(place, byte) => {
            let place = at(place, bytes);
            if let Some(one) = bytes.get_mut(place) {
                *one = *byte;
            }
        }
        Damage::Cut(place, count) => {
            let from = at(place, bytes);
            bytes.drain(from..bytes.len().min(from + usize::from(*count)));
        }
        Damage::End(place) => bytes.truncate(at(place, bytes)),
        Damage::Insert(place, word) => {
            let place = at(place, bytes);
            bytes.splice(place..place, word.get(WORDS).bytes());
        }
        Damage::Splice(place, seed, from) => {
            let (place, other) = (at(place, bytes), seed.get(seeds));
            let from = from.index(other.len() + 1);
            bytes.truncate(place);
            bytes.extend_from_slice(&other[from..]);
        }
        step => {
            let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else {
                // No document: the same for bytes.
                if let Damage::Many(place, count) = step {
                    let place = at(place, bytes);
                    if let Some(byte) = bytes.get(place).copied() {
                        bytes.splice(place..place, std::iter::repeat_n(byte, usize::from(*count)));
                    }
                }
                return;
            };
            structure(&mut document, step);
            if let Ok(text) = serde_json::to_vec(&document) {
                *bytes = text;
            }
        }
    }
}

/// Damage to a document that keeps it a document.
fn structure(document: &mut Value, step: &Damage) {
    let count = count(document);
    let pick = |index: &Index| index.index(count);
    match step {
        Damage::Replace(at, with) => {
            let values = other_values();
            *node(document, pick(at)) = with.get(&values).clone();
        }
        Damage::Copy(from, to) => {
            let copy = node(document, pick(from)).clone();
            *node(document, pick(to)) = copy;
        }
        Damage::Remove(at) => match node(document, pick(at)) {
            Value::Object(members) => {
                if let Some(name) = members.keys().nth(pick(at) % members.len().max(1)).cloned() {
                    members.remove(&name);
                }
            }
            Value::Array(items) => {
                items.pop();
            }
            other => *other = Value::Null,
        },
        Damage::Rename(at, with) => {
            if let Value::Object(members) = node(document, pick(at))
                && let Some(name) = members.keys().next().cloned()
                && let Some(member) = members.remove(&name)
            {
                members.insert((*with.get(WORDS)).to_owned(), member);
            }
        }
        Damage::Nest(at, depth) => {
            let place = node(document, pick(at));
            for level in 0..*depth {
                let inner = place.take();
                *place = if level % 2 == 0 { json!([inner]) } else { json!({"a": inner}) };
            }
        }
        Damage::Many(at, count) => match node(document, pick(at)) {
            Value::Array(items) => {
                let item = items.first().cloned().unwrap_or_default();
                let most = SIZE_MAX / item.to_string().len().max(1);
                items.extend(std::iter::repeat_n(item, usize::from(*count).min(most)));
            }
            Value::String(text) => *text = text.repeat(usize::from(*count % 64)),
            _ => {}
        },
        _ => {}
    }
}

fn other_values() -> Vec<Value> {
    let mut values = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!({}),
        json!([]),
        json!([null]),
        json!({"": null}),
        json!("x".repeat(70_000)),
    ];
    values.extend(WORDS.iter().map(|word| json!(word)));
    values
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The nth value of a document, itself the first.
fn node(value: &mut Value, at: usize) -> &mut Value {
    if at == 0 {
        return value;
    }
    let mut left = at - 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        let size = count(child);
        if left < size {
            return node(child, left);
        }
        left -= size;
    }
    unreachable!("the number is below the count")
}
