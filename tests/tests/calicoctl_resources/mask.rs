//! What varies between two runs.

use serde_json::{Value, json};

/// Members whose values vary.
const VARY: [&str; 4] = ["resourceVersion", "uid", "creationTimestamp", "clusterGUID"];

/// The labels of our own versions.
const VERSIONS: [&str; 2] = ["Client Version:", "Git commit:"];

/// What was printed, without the values that vary.
pub fn text(printed: &str) -> String {
    let mut masked = String::new();
    for line in printed.split_inclusive('\n') {
        let name = line.trim_start().trim_start_matches(['-', ' ', '"']);
        let varies = VARY.iter().find(|known| {
            let rest = name.strip_prefix(**known).unwrap_or_default();
            rest.starts_with(": ") || rest.starts_with("\": ")
        });
        let version = VERSIONS.iter().any(|label| line.starts_with(label));
        match (varies.is_some() || version, line.split_once(':')) {
            (true, Some((name, _))) => {
                let comma = if line.trim_end().ends_with(',') { "," } else { "" };
                masked += &format!("{name}: (masked){comma}\n");
            }
            _ => masked += line,
        }
    }
    masked
}

/// What an embedded store says beyond upstream's, until there is a pool or a container.
fn is_undecided() -> Value {
    json!({"calico-rs/default-pools": "pending"})
}

/// A stored document without the values that vary. The order of members stays, and counts.
pub fn document(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, member)| *name != "annotations" || **member != is_undecided())
            .map(|(name, member)| match VARY.contains(&name.as_str()) {
                true => (name.clone(), "(masked)".into()),
                false => (name.clone(), document(member)),
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(document).collect(),
        other => other.clone(),
    }
}
