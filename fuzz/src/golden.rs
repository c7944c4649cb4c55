//! Seeds out of `tests/golden`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What the golden files hold of stored documents whose key begins so, each once.
pub fn documents(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    visit_all(&mut |value| {
        if let (Some(key), Some(text)) = (value["key"].as_str(), value["value"].as_str())
            && key.starts_with(prefix)
            && !found.iter().any(|(known, _)| known == key)
        {
            found.push((key.to_owned(), text.as_bytes().to_vec()));
        }
    });
    found
}

/// The objects of the golden files that have all of these members, `most` at most.
pub fn objects_with(members: &[&str], most: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    visit_all(&mut |value| {
        if value.is_object() && members.iter().all(|name| value.get(name).is_some()) {
            found.push(value.to_string().into_bytes());
        }
    });
    found.sort();
    found.dedup();
    let step = found.len().div_ceil(most.max(1)).max(1);
    found.into_iter().step_by(step).collect()
}

fn visit_all(visitor: &mut impl FnMut(&Value)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for path in files(&root) {
        let text = fs::read_to_string(&path).expect("a golden file");
        if let Ok(value) = serde_json::from_str(&text) {
            visit(&value, visitor);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the golden files") {
        let path = entry.expect("a golden file").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Visits a value and all in it, also what stands as JSON in a text.
fn visit(value: &Value, visitor: &mut impl FnMut(&Value)) {
    visitor(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, visitor)),
        Value::Object(members) => members.values().for_each(|member| visit(member, visitor)),
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Ok(inner) = serde_json::from_str(text) {
                visit(&inner, visitor);
            }
        }
        _ => {}
    }
}
