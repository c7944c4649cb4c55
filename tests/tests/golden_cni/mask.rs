//! Masking of what varies between two runs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Tree;
use crate::fixed::HOST_MAC;

/// What the masking of one side's stores has to remember: the first sequence number of each block.
/// Upstream starts it at the clock; only the differences are fixed.
#[derive(Clone, Default)]
pub struct Masks {
    first: BTreeMap<String, i128>,
}

impl Masks {
    /// The content of a store with everything masked. The order of members stays, and counts.
    pub fn tree(&mut self, pairs: &[(String, String)]) -> Tree {
        self.first.retain(|key, _| pairs.iter().any(|(other, _)| other == key));
        pairs.iter().map(|(key, value)| self.document(key.clone(), value)).collect()
    }

    fn document(&mut self, key: String, value: &str) -> (String, String) {
        let Ok(mut document) = serde_json::from_str::<Value>(value) else {
            return (key, value.to_owned());
        };
        blank(&mut document);
        if let Some(number) = document.get("sequenceNumber").and_then(Value::as_u64) {
            let first = *self.first.entry(key.clone()).or_insert(number.into());
            relative(&mut document["sequenceNumber"], first);
            let members = document["sequenceNumberForAllocation"].as_object_mut();
            for member in members.into_iter().flat_map(Map::values_mut) {
                relative(member, first);
            }
        }
        (key, document.to_string())
    }
}

fn relative(number: &mut Value, first: i128) {
    if let Some(value) = number.as_u64() {
        *number = Value::from(format!("first{:+}", i128::from(value) - first));
    }
}

/// Blanks the members that are times, random or of one kernel.
fn blank(value: &mut Value) {
    const VARY: [&str; 7] = [
        "uid",
        "creationTimestamp",
        "affinity_claim_time",
        "releasedAt",
        "timestamp",
        "clusterGUID",
        "mac",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VARY.contains(&name.as_str()) && member.is_string() {
                    *member = Value::from("*");
                } else {
                    blank(member);
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(blank),
        _ => {}
    }
}

/// The text of a result without its random MAC addresses.
pub fn result(text: &str) -> String {
    let member = "\"mac\": \"";
    let mut parts = text.split(member);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(member);
        let rest = part.trim_start_matches(|c: char| c.is_ascii_hexdigit() || c == ':');
        let is_fixed = part.starts_with(HOST_MAC);
        masked.push_str(if is_fixed { HOST_MAC } else { "*" });
        masked.push_str(rest);
    }
    masked
}
