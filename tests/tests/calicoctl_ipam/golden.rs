//! Every step of upstream's `calicoctl ipam` that was recorded, played with ours: before the step
//! the store holds what upstream's held; what is printed and what is stored afterwards must be the
//! same. Where ours is better on purpose, [`deviation`] says so and why.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Answer, Ctl, Network, RESOURCES, on_both_stores};

on_both_stores! {
    recorded_steps_print_and_store_the_same
}

type State = BTreeMap<String, Value>;

fn recorded_steps_print_and_store_the_same(network: &Network) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ipam");
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut player = Player { network, stored: network.store().dump()?.0, steps: 0 };
    for file in files {
        let trace: Value = serde_json::from_slice(&fs::read(file.path())?)?;
        let name = file.file_name().to_string_lossy().replace(".json", "");
        player.play(&name, &trace)?;
    }
    ensure!(player.steps > 75, "only {} steps were played", player.steps);
    // What upstream leaves half-done is in some of these states: it is not ours to be judged.
    player.hold(&State::new())
}

struct Player<'a> {
    network: &'a Network,
    /// What the store holds.
    stored: State,
    steps: usize,
}

impl Player<'_> {
    fn play(&mut self, name: &str, trace: &Value) -> Result<()> {
        let mut before = state(&trace["initial"]).context("no initial state")?;
        for (index, step) in trace["steps"].as_array().context("no steps")?.iter().enumerate() {
            let argv = words(&step["do"]["argv"]);
            let mut after = before.clone();
            if let Some(listed) = state(&step["after"]) {
                after.retain(|key, _| !is_listed(key));
                after.extend(listed);
            }
            let ours = matches!(argv.as_slice(), ["ipam", ..] | ["datastore", ..]);
            if step["do"]["program"] == "calicoctl" && ours {
                self.steps += 1;
                self.step((name, index), step, &before, &mut after)
                    .with_context(|| format!("step {index} of {name}: {argv:?}"))?;
            }
            change_others(&step["do"], &mut after)?;
            before = after;
        }
        Ok(())
    }

    /// Plays one step. What is listed nowhere, like the lock, is taken from our store.
    fn step(
        &mut self,
        at: (&str, usize),
        step: &Value,
        before: &State,
        after: &mut State,
    ) -> Result<()> {
        let (mut before, mut wanted) = (before.clone(), after.clone());
        if at.0 == "h-cooldown" && (1..14).contains(&at.1) {
            // The addresses were released a moment ago, and cool down for longer than this takes.
            still_cooling(self.network, &mut before)?;
            still_cooling(self.network, &mut wanted)?;
        }
        self.hold(&before)?;
        let argv = words(&step["do"]["argv"]);
        let answer = Ctl::new(self.network.store(), argv.iter().copied()).run()?;
        self.stored = self.network.store().dump()?.0;
        compare_answer(at, step, &answer)?;
        let (mut ours, mut theirs) = (masked(&self.stored), masked(&wanted));
        deviation_of_store(at, &mut ours, &mut theirs);
        for key in ours.keys().chain(theirs.keys()).filter(|key| is_listed(key)) {
            let (ours, theirs) = (ours.get(key), theirs.get(key));
            ensure!(ours == theirs, "{key}:\n{ours:?}\nis stored, upstream has\n{theirs:?}");
        }
        if let Some(report) = step["file_report.json"].as_str() {
            self.compare_report(report)?;
        }
        let cluster = format!("{RESOURCES}/clusterinformations/default");
        if let Some(value) = self.stored.get(&cluster) {
            after.insert(cluster, value.clone());
        }
        Ok(())
    }

    /// The report must be the same text, but for the cluster's revision.
    fn compare_report(&self, theirs: &str) -> Result<()> {
        let file = self.network.host().path("/var/lib/operator/report.json");
        let ours = fs::read_to_string(file).context("no report")?;
        let mask = |text: &str| -> Vec<String> {
            let varies = |line: &&str| !line.contains("Revision") && !line.contains("GUID");
            text.lines().filter(varies).map(str::to_owned).collect()
        };
        ensure!(mask(&ours) == mask(theirs), "the report is\n{ours}\nupstream's is\n{theirs}");
        Ok(())
    }

    /// Lets the store hold this and nothing else.
    fn hold(&mut self, wanted: &State) -> Result<()> {
        let gone = self.stored.keys().filter(|key| !wanted.contains_key(*key));
        let mut changes: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
        for (key, value) in wanted {
            if self.stored.get(key) != Some(value) {
                changes.push((key.clone(), Some(value.clone())));
            }
        }
        self.network.store().write(&changes)?;
        self.stored = wanted.clone();
        Ok(())
    }
}

/// What the traces list after a step.
fn is_listed(key: &str) -> bool {
    key.contains("/calico/ipam/") || key.contains("/ippools/") || key.contains("/ipamconfig")
}

fn compare_answer(at: (&str, usize), step: &Value, answer: &Answer) -> Result<()> {
    if at == ("f-check-no-config", 0) {
        // Upstream needs a KubeControllersConfiguration; ours doesn't look at Services at all.
        ensure!(
            answer.exit == Some(0) && answer.stdout.ends_with("found 0 problems.\n"),
            "{answer:?}"
        );
        return Ok(());
    }
    let exit = step["exit"].as_i64().context("no exit status")?;
    ensure!(answer.exit.map(i64::from) == Some(exit), "exit status {exit}: {answer:?}");
    if exit != 0 {
        ensure!(answer.stdout.is_empty() && answer.stderr.lines().count() == 1, "{answer:?}");
        return Ok(());
    }
    let (ours, theirs) = (answer.stdout.clone(), step["stdout"].as_str().unwrap_or_default());
    let (ours, theirs) = deviation(at, ours, theirs.to_owned());
    ensure!(sorted(&ours) == sorted(&theirs), "ours:\n{ours}\nupstream's:\n{theirs}");
    Ok(())
}

/// Where ours prints something else on purpose.
fn deviation(at: (&str, usize), ours: String, theirs: String) -> (String, String) {
    let line = |text: &str, with: &str| -> String {
        text.lines().filter(|line| line.contains(with)).collect::<Vec<_>>().join("\n")
    };
    if theirs.contains("(*ipam.VMAddressPersistence)(") {
        // Upstream prints where the value lies in memory; ours prints the value.
        let row = |text: &str| -> Vec<String> {
            let cells = text.lines().filter(|line| line.starts_with('|'));
            let cells = cells.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            cells.filter(|line| !line.contains("Persistence")).collect()
        };
        let expected = "KubeVirtVMAddressPersistence";
        assert!(["Enabled", "Disabled"].iter().any(|word| line(&ours, expected).contains(word)));
        return (row(&ours).join("\n"), row(&theirs).join("\n"));
    }
    match at {
        // Upstream counts addresses that have cooled down as in use until somebody writes the
        // block; ours counts what the next allocation finds.
        ("h-cooldown", 15) => {
            assert!(line(&ours, "IP Pool").contains("2 (50%)"), "{ours}");
            (String::new(), String::new())
        }
        // Ours says why, after upstream's words.
        ("f-show-check", 42) => {
            let cut = |text: String| -> String {
                let cut =
                    |line: &str| line.split("10.66.0.9").next().unwrap_or_default().to_owned();
                text.lines().map(cut).collect::<Vec<_>>().join("\n")
            };
            assert!(ours.contains("update conflict: 10.66.0.9 "), "{ours}");
            (cut(ours), cut(theirs))
        }
        // The consistency checker finds what upstream doesn't look at: a handle that counts too
        // much or too little, an endpoint's address that two have.
        _ if ours.contains("Comparing blocks, affinities") => {
            let (mut kept, mut further) = (Vec::new(), false);
            for line in ours.lines() {
                further |= line.starts_with("Comparing blocks, affinities");
                let is_further = further && !line.starts_with("Check complete");
                if !is_further && !line.starts_with("Check complete") {
                    kept.push(line);
                }
            }
            let theirs: Vec<_> =
                theirs.lines().filter(|line| !line.starts_with("Check complete")).collect();
            (kept.join("\n"), theirs.join("\n"))
        }
        _ => (ours, theirs),
    }
}

/// Where ours stores something else on purpose.
fn deviation_of_store(at: (&str, usize), ours: &mut State, theirs: &mut State) {
    let handle = "/calico/ipam/v2/handle/net-1.cont-1".to_owned();
    match at {
        // The handle counted one address too few: upstream deletes it with the first one, and the
        // second can't be found by it any more. Ours keeps it until the last one goes.
        ("f-show-check", 41) => {
            assert_eq!(ours[&handle]["block"], json!({"10.66.0.8/30": 1}));
            ours.remove(&handle);
            theirs.remove(&handle);
        }
        // A split that is refused changes nothing; upstream has disabled the pool by then.
        ("f-split", 3) => {
            let pool = format!("{RESOURCES}/ippools/pool-a");
            assert_eq!(ours[&pool]["spec"].get("disabled"), None);
            ours.remove(&pool);
            theirs.remove(&pool);
        }
        _ => {}
    }
}

/// The lines, where those that are indented stand in their order: upstream's is by chance.
fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut run = Vec::new();
    for line in text.lines().map(str::to_owned) {
        if line.starts_with("  ") {
            run.push(line);
        } else {
            run.sort();
            lines.append(&mut run);
            lines.push(line);
        }
    }
    run.sort();
    lines.append(&mut run);
    lines
}

/// Everything that varies between two runs is blank.
fn masked(state: &State) -> State {
    let mut state = state.clone();
    state.values_mut().for_each(blank);
    state
}

fn blank(value: &mut Value) {
    const VARY: [&str; 3] = ["uid", "creationTimestamp", "releasedAt"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VARY.contains(&name.as_str()) {
                    *member = json!("varies");
                } else {
                    blank(member);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(blank),
        _ => {}
    }
}

fn still_cooling(network: &Network, state: &mut State) -> Result<()> {
    let now = network.host().run(["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?;
    for value in state.values_mut() {
        if value["ipCooldownSeconds"].is_u64() {
            value["ipCooldownSeconds"] = json!(1000);
        }
        let records = value.get_mut("attributes").and_then(Value::as_array_mut);
        for record in records.into_iter().flatten() {
            if record["releasedAt"].is_string() {
                record["releasedAt"] = json!(now.trim());
            }
        }
    }
    Ok(())
}

fn words(argv: &Value) -> Vec<&str> {
    argv.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn state(documents: &Value) -> Option<State> {
    let documents = documents.as_array()?.iter().map(|document| {
        let value = serde_json::from_str(document["value"].as_str()?).ok()?;
        Some((document["key"].as_str()?.to_owned(), value))
    });
    documents.collect()
}

/// What other commands did to objects that the traces don't list.
fn change_others(step: &Value, state: &mut State) -> Result<()> {
    let node = |name: &str| format!("{RESOURCES}/nodes/{name}");
    match words(&step["argv"]).as_slice() {
        ["label", "node", name, label, ..] => {
            let (label, value) = label.split_once('=').context("no label")?;
            let node = state.get_mut(&node(name)).context("no node")?;
            node["metadata"]["labels"][label] = json!(value);
        }
        ["delete", "node", name, ..] => {
            state.remove(&node(name));
        }
        ["create", "-f", "-"] => {
            let yaml = step["stdin"].as_str().unwrap_or_default();
            // Those that a check looks at are written so.
            if yaml.contains("kind: WorkloadEndpoint") && yaml.contains("ipNetworks: [") {
                let (key, endpoint) = endpoint(yaml)?;
                state.insert(key, endpoint);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The endpoint of the few lines that the traces make one of.
fn endpoint(yaml: &str) -> Result<(String, Value)> {
    let field = |name: &str| -> Result<&str> {
        let mut lines = yaml.lines().filter_map(|line| line.trim().split_once(": "));
        let found = lines.find(|(field, _)| *field == name);
        Ok(found.with_context(|| format!("no {name} in {yaml}"))?.1)
    };
    let (name, namespace) = (field("name")?, field("namespace")?);
    let networks = field("ipNetworks")?.trim_matches(['[', ']']);
    let value = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"node": field("node")?, "orchestrator": field("orchestrator")?,
                 "containerID": field("containerID")?, "endpoint": field("endpoint")?,
                 "ipNetworks": [networks]},
    });
    Ok((format!("{RESOURCES}/workloadendpoints/{namespace}/{name}"), value))
}
