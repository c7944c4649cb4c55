//! The network configurations that the project ships, in `conf/`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// One of the lists in `conf/`: `standalone`, `etcd`, `etcd-tls`.
pub fn conflist(name: &str) -> Result<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let path = root.join("conf").join(format!("{name}.conflist"));
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

/// The configuration that a runtime hands to the first plugin of a list: its entry with the name
/// and version of the list.
pub fn plugin_of(list: &Value) -> Result<Value> {
    let mut config = list["plugins"][0].as_object().context("the list has no plugin")?.clone();
    for member in ["cniVersion", "name"] {
        config.insert(member.to_owned(), list[member].clone());
    }
    Ok(Value::Object(config))
}
