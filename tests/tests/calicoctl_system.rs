//! What upstream's own system tests of `calicoctl` demand of the program that they drive, case by
//! case and under their names, on both stores (`reference/calicoctl.md` section 11).
//!
//! As in those tests, standard output and standard error are one text. The cases that need a
//! Kubernetes API are left out; those of addresses are in `calicoctl_ipam`.

#[path = "calicoctl_system/crud.rs"]
mod crud;
#[path = "calicoctl_system/datastore.rs"]
mod datastore;
#[path = "calicoctl_system/flags.rs"]
mod flags;
#[path = "calicoctl_system/invalid.rs"]
mod invalid;
#[path = "calicoctl_system/namespaces.rs"]
mod namespaces;
#[path = "calicoctl_system/objects.rs"]
mod objects;
#[path = "calicoctl_system/tables.rs"]
mod tables;
#[path = "calicoctl_system/versions.rs"]
mod versions;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network};

/// A case, by the name that it has upstream.
type Case = (&'static str, fn(&Network) -> Result<()>);

/// Plays cases, each on an empty store, and tells of all that fail.
fn play(network: &Network, cases: &[Case]) -> Result<()> {
    let mut failures = Vec::new();
    for (name, case) in cases {
        let keys = network.store().dump()?.0.into_keys();
        network.store().write(&keys.map(|key| (key, None)).collect::<Vec<_>>())?;
        if let Err(error) = case(network) {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => bail!("{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n\n")),
    }
}

/// What a call said.
#[derive(Debug)]
struct Said {
    line: String,
    failed: bool,
    /// Standard output.
    out: String,
    /// Standard output, and standard error behind it.
    all: String,
}

fn run(line: &str, ctl: &Ctl) -> Result<Said> {
    let answer = ctl.run()?;
    let failed = match answer.exit {
        Some(0) => false,
        Some(1) => true,
        _ => bail!("{line}: {answer:#?}"),
    };
    let all = answer.stdout.clone() + &answer.stderr;
    Ok(Said { line: line.to_owned(), failed, out: answer.stdout, all })
}

/// Calls without a file.
fn call(network: &Network, line: &str) -> Result<Said> {
    run(line, &network.ctl(line).also("--allow-version-mismatch"))
}

/// Calls with a file of YAML, as a person would write it.
fn with(network: &Network, line: &str, data: &Value) -> Result<Said> {
    let mut text = String::new();
    yaml(data, 0, &mut text);
    with_text(network, line, &text)
}

/// Calls with a file of JSON.
fn with_json(network: &Network, line: &str, data: &Value) -> Result<Said> {
    with_text(network, line, &format!("{data:#}"))
}

/// Calls with a file whose name says nothing of its content.
fn with_text(network: &Network, line: &str, text: &str) -> Result<Said> {
    let line = format!("{line} -f input-data");
    run(&line, &network.ctl(&line).file("input-data", text)?)
}

/// Calls with data on standard input.
fn piped(network: &Network, line: &str, data: &Value) -> Result<Said> {
    let mut text = String::new();
    yaml(data, 0, &mut text);
    run(line, &network.ctl(line).also("-f").also("-").stdin(text))
}

impl Said {
    fn fine(self) -> Result<Said> {
        ensure!(!self.failed, "{}: {}", self.line, self.all);
        Ok(self)
    }

    /// That it failed, and said so.
    fn error(self, text: &str) -> Result<Said> {
        ensure!(self.failed, "{} did not fail: {}", self.line, self.all);
        self.contains(text)
    }

    fn contains(self, text: &str) -> Result<Said> {
        ensure!(self.all.contains(text), "{}: {}\nnot {text}", self.line, self.all);
        Ok(self)
    }

    fn lacks(self, text: &str) -> Result<Said> {
        ensure!(!self.all.contains(text), "{}: {}\nhas {text}", self.line, self.all);
        Ok(self)
    }

    fn is(self, text: &str) -> Result<Said> {
        ensure!(self.all == text, "{}:\n{}not:\n{text}", self.line, self.all);
        Ok(self)
    }
}

/// What `get` with these words shows, as JSON.
fn shown(network: &Network, words: &str) -> Result<Value> {
    let said = call(network, &format!("get {words} -o json"))?.fine()?;
    serde_json::from_str(&said.out).context(said.out)
}

/// What `get` with these words shows, as YAML text.
fn saved(network: &Network, words: &str) -> Result<String> {
    Ok(call(network, &format!("get {words} -o yaml"))?.fine()?.out)
}

/// That an object is stored as it was handed in, with its defaults.
fn is_stored(network: &Network, words: &str, data: &Value) -> Result<()> {
    let found = cleaned(&shown(network, words)?);
    ensure!(found == *data, "get {words}: {found:#}\nnot {data:#}");
    Ok(())
}

/// That a list holds these objects, in this order.
fn is_list(network: &Network, words: &str, kind: &str, items: &[&Value]) -> Result<()> {
    let list = json!({
        "apiVersion": "projectcalico.org/v3", "kind": format!("{kind}List"), "metadata": {},
        "items": items,
    });
    let mut found = cleaned(&shown(network, words)?);
    // Of the list itself there is only the revision, which is left out with the others.
    found["metadata"] = json!({});
    ensure!(found == list, "get {words}: {found:#}\nnot {list:#}");
    Ok(())
}

/// Without what the store gives, and what is empty.
fn cleaned(value: &Value) -> Value {
    const GIVEN: [&str; 3] = ["creationTimestamp", "resourceVersion", "uid"];
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(name, _)| !GIVEN.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), cleaned(value)))
            .filter(|(_, value)| !value.is_null() && *value != json!({}))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list.iter().map(cleaned).collect(),
        other => other.clone(),
    }
}

/// Writes a value as block YAML.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    let member = |value: &Value, out: &mut String| match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            yaml(value, indent + 2, out);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            yaml(value, indent + 2, out);
        }
        other => *out += &format!(" {other}\n"),
    };
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                *out += &format!("{pad}{name}:");
                member(value, out);
            }
        }
        Value::Array(list) => {
            for value in list {
                *out += &format!("{pad}-");
                member(value, out);
            }
        }
        other => *out += &format!("{other}\n"),
    }
}
