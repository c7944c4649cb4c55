//! Every step of upstream's IPAM plugin that was recorded, played with ours: before the step the
//! store holds what upstream's held; the result must be the same bytes, and what failed must fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, Network, on_both_stores};

use crate::networks;

on_both_stores! {
    recorded_steps_give_the_same_bytes
}

type State = BTreeMap<String, Value>;

fn recorded_steps_give_the_same_bytes(network: &Network) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ipam");
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let (mut steps, mut stored) = (0, network.store().dump()?.0);
    for file in files {
        let trace: Value = serde_json::from_slice(&fs::read(file.path())?)?;
        let name = file.file_name().to_string_lossy().replace(".json", "");
        let mut before = state(&trace["initial"]).context("no initial state")?;
        for (index, step) in trace["steps"].as_array().context("no steps")?.iter().enumerate() {
            if step["do"]["program"] == "calico-ipam" {
                let mut before = before.clone();
                if step["note"].as_str().is_some_and(|note| note.ends_with("within the cooldown")) {
                    release_now(network, &mut before)?;
                }
                hold(network, &mut stored, &before)?;
                let answer = call(network, &step["do"])?.run()?;
                compare(step, &answer, &before)
                    .with_context(|| format!("step {index} of {name}: {answer:#?}"))?;
                stored = network.store().dump()?.0;
                steps += 1;
            }
            // Only IPAM's own objects and pools are listed after a step.
            if let Some(after) = state(&step["after"]) {
                before
                    .retain(|key, _| !key.contains("/calico/ipam/") && !key.contains("/ippools/"));
                before.extend(after);
            }
            change_nodes(&step["do"], &mut before)?;
        }
    }
    ensure!(steps > 150, "only {steps} steps were played");
    // What upstream leaves half-done is in some of these states: it is not ours to be judged.
    hold(network, &mut stored, &State::new())
}

/// What was released a moment before the step was so now.
fn release_now(network: &Network, state: &mut State) -> Result<()> {
    let now = network.host().run(["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?;
    for value in state.values_mut() {
        let records = value.get_mut("attributes").and_then(Value::as_array_mut);
        for record in records.into_iter().flatten() {
            if record["releasedAt"].is_string() {
                record["releasedAt"] = json!(now.trim());
            }
        }
    }
    Ok(())
}

/// Lets the store hold this and nothing else.
fn hold(network: &Network, stored: &mut State, wanted: &State) -> Result<()> {
    let gone = stored.keys().filter(|key| !wanted.contains_key(*key));
    let mut changes: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
    for (key, value) in wanted {
        if stored.get(key) != Some(value) {
            changes.push((key.clone(), Some(value.clone())));
        }
    }
    network.store().write(&changes)?;
    *stored = wanted.clone();
    Ok(())
}

fn call(network: &Network, step: &Value) -> Result<Call> {
    let mut config: Value = serde_json::from_str(step["stdin"].as_str().context("no stdin")?)?;
    let ours = network.config()?;
    for member in ["datastore_type", "etcd_endpoints"] {
        config[member] = ours.get(member).cloned().unwrap_or(json!(""));
    }
    let mut call = network.ipam("ADD")?.config(&config);
    for (name, value) in step["env"].as_object().context("no environment")? {
        call = call.env(name, value.as_str().context("no text")?);
    }
    Ok(call)
}

fn compare(step: &Value, answer: &Answer, before: &State) -> Result<()> {
    if step["exit"] != 0 {
        let (code, message) = answer.error()?;
        // Upstream says 999 to everything; ours is one that tells what to do.
        ensure!(matches!(code, 4 | 7 | 11 | 104), "code {code}: {message}");
        return Ok(());
    }
    ensure!(answer.exit == Some(0), "failed");
    let is_add = step["do"]["env"]["CNI_COMMAND"] == "ADD";
    if is_add && !step["do"]["env"].to_string().contains("IP=") && has_addresses(step, before)? {
        // Upstream gives one more; ours answers what it has, since a runtime may repeat an ADD
        // whose answer was lost.
        return repeated(step, answer, before);
    }
    let (ours, theirs) = (answer.stdout.trim_end(), step["stdout"].as_str().unwrap_or_default());
    // Blocks of one address start where the clock says: then only the form is the same.
    let by_clock = before.values().any(|value| value["spec"]["blockSize"] == 32);
    let shape = |text: &str| match by_clock {
        true => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
        false => text.to_owned(),
    };
    if shape(ours) != shape(theirs) {
        bail!("not upstream's bytes:\n{theirs}");
    }
    Ok(())
}

/// The handle of a step's container, as it is stored.
fn handle<'a>(step: &Value, before: &'a State) -> Result<Option<&'a Value>> {
    let config: Value = serde_json::from_str(step["do"]["stdin"].as_str().context("no stdin")?)?;
    let network = config["name"].as_str().context("no name")?;
    let id = step["do"]["env"]["CNI_CONTAINERID"].as_str().context("no container")?;
    Ok(before.get(&format!("/calico/ipam/v2/handle/{network}.{id}")))
}

fn has_addresses(step: &Value, before: &State) -> Result<bool> {
    Ok(handle(step, before)?.is_some())
}

/// The answer must be an address of a block that the handle counts.
fn repeated(step: &Value, answer: &Answer, before: &State) -> Result<()> {
    let result: Value = serde_json::from_str(&answer.stdout)?;
    let blocks = &handle(step, before)?.context("no handle")?["block"];
    for network in networks(&result)? {
        ensure!(blocks.get(network.trunc().to_string()).is_some(), "{network} is not in {blocks}");
    }
    Ok(())
}

fn state(documents: &Value) -> Option<State> {
    let documents = documents.as_array()?.iter().map(|document| {
        let value = serde_json::from_str(document["value"].as_str()?).ok()?;
        Some((document["key"].as_str()?.to_owned(), value))
    });
    documents.collect()
}

/// What calicoctl did to nodes, which the traces don't list.
fn change_nodes(step: &Value, state: &mut State) -> Result<()> {
    let argv: Vec<&str> =
        step["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let key = |name: &str| format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
    match argv.as_slice() {
        ["label", "node", name, label, ..] => {
            let (label, value) = label.split_once('=').context("no label")?;
            state.get_mut(&key(name)).context("no node")?["metadata"]["labels"][label] =
                json!(value);
        }
        ["delete", "node", name, ..] => {
            state.remove(&key(name));
        }
        _ => {}
    }
    Ok(())
}
