//! For tests: traces recorded from upstream's programs, see `tests/golden/README.md`.

use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/cni");

/// The names of all traces.
pub(crate) fn files() -> Vec<String> {
    std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect()
}

/// The steps of a trace.
pub(crate) fn steps(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{FOLDER}/{file}")).unwrap();
    let mut trace: Value = serde_json::from_str(&text).unwrap();
    match trace["steps"].take() {
        Value::Array(steps) => steps,
        other => panic!("{file}: steps is {other}"),
    }
}
