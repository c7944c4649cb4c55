//! The recorded flows, played with ours: exit status, standard output, the lines on standard error,
//! and what is stored then.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Answer, Ctl, Network, RESOURCES, Stores, on_both_stores};

use crate::{empty, mask};

on_both_stores! {
    recorded_flows_are_repeated
}

/// The recording.
const FLOWS: &str = include_str!("../../golden/cli.json");

/// Where we do something else on purpose: the flow, a part of what the step is about or else of its
/// arguments, and what must be different.
const BETTER: &[(&str, &str, Better)] = &[
    // Upstream crashes; we say what is missing.
    ("get-nothing", "no kind", Better::Fails),
    ("multi-document", "no file", Better::Fails),
    // Upstream says how far it came on standard output, and counts wrongly (section 9, 3).
    ("create-replace-delete", "replace missing", Better::Quiet),
    ("multi-document", "second is missing", Better::Quiet),
    ("saved-list-applies-back", "the same with replace", Better::Quiet),
    // Upstream takes every word for a type (section 4.6).
    ("patch", "unknown type", Better::Fails),
    // Upstream drops the second label without a word.
    (
        "label",
        "two labels",
        Better::Prints(
            "Successfully set label x on node node-1\nSuccessfully set label y on node node-1\n",
        ),
    ),
    // Upstream writes these on standard output (section 9, 9).
    ("config-file", "no such file", Better::Quiet),
    ("config-file", "unknown field", Better::Quiet),
    ("config-file", "wrong kind", Better::Quiet),
    ("config-file", "wrong apiVersion", Better::Quiet),
];

/// What we do instead.
enum Better {
    /// Fails with one line.
    Fails,
    /// Fails with one line on standard error and none on standard output.
    Quiet,
    /// Succeeds, and prints this.
    Prints(&'static str),
}

fn recorded_flows_are_repeated(network: &Network) -> Result<()> {
    let recording: Value = serde_json::from_str(FLOWS)?;
    let (mut steps, mut exceptions, mut differences) = (0, 0, Vec::new());
    for flow in recording["flows"].as_array().context("no flows")? {
        let name = flow["name"].as_str().context("a flow without a name")?;
        empty(network)?;
        let mut revisions = Revisions::default();
        for step in flow["steps"].as_array().context("no steps")? {
            let argv: Vec<&str> = step["argv"]
                .as_array()
                .context("no argv")?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            // The lock has tests of its own.
            if argv.first() == Some(&"datastore") {
                continue;
            }
            prepare(network, step)?;
            let answer = call(network, step, &argv, &revisions)?.run()?;
            revisions.learn(step, &answer);
            steps += 1;
            let better = better(name, step, &argv);
            exceptions += usize::from(better.is_some());
            let compared = match better {
                Some(better) => judge(better, &answer),
                None => compare(step, &answer, network),
            };
            if let Err(error) = compared {
                differences.push(format!("{name}: {}: {error:#}\n{answer:#?}", argv.join(" ")));
            }
        }
    }
    empty(network)?;
    ensure!(differences.is_empty(), "{}", differences.join("\n\n"));
    ensure!(steps > 130, "only {steps} steps were played");
    ensure!(exceptions == BETTER.len(), "{exceptions} exceptions of {}", BETTER.len());
    Ok(())
}

fn better(flow: &str, step: &Value, argv: &[&str]) -> Option<&'static Better> {
    let about = step["about"].as_str().unwrap_or_default();
    let words = format!("{} {about}", argv.first().unwrap_or(&""));
    let is_it = |known: &&(&str, &str, Better)| {
        let (of, part, _) = known;
        *of == flow && (about == *part || words == *part)
    };
    BETTER.iter().find(is_it).map(|(_, _, better)| better)
}

/// What was done behind the back of `calicoctl`.
fn prepare(network: &Network, step: &Value) -> Result<()> {
    let about = step["about"].as_str().unwrap_or_default();
    if about.contains("by editing etcd") {
        let key = format!("{RESOURCES}/clusterinformations/default");
        network.store().change(&key, |cluster| {
            cluster["spec"]["calicoVersion"] = "v3.1.0".into();
        })?;
    }
    Ok(())
}

/// Which revision of ours a recorded one is.
#[derive(Default)]
struct Revisions(Vec<(String, String)>);

impl Revisions {
    fn learn(&mut self, step: &Value, answer: &Answer) {
        let recorded = step["stdout"].as_str().unwrap_or_default().lines();
        let pairs = recorded.zip(answer.stdout.lines());
        self.0.extend(
            pairs
                .filter(|(line, _)| line.contains("resourceVersion: "))
                .map(|(recorded, ours)| (recorded.trim().to_owned(), ours.trim().to_owned())),
        );
    }

    /// A saved text with our revisions instead of the recorded ones.
    fn translate(&self, text: &str) -> String {
        let line = |line: &str| {
            let known = self.0.iter().find(|(recorded, _)| line.trim() == recorded);
            known.map_or_else(|| line.to_owned(), |(recorded, ours)| line.replace(recorded, ours))
        };
        text.lines().map(|text| line(text) + "\n").collect()
    }
}

fn call(network: &Network, step: &Value, argv: &[&str], revisions: &Revisions) -> Result<Ctl> {
    let mut ctl = Ctl::new(network.store(), argv);
    for (name, content) in step["files"].as_object().into_iter().flatten() {
        let content = content.as_str().context("file without content")?;
        ctl = ctl.file(
            name,
            &match network.store() {
                Stores::Etcd(_) => content.to_owned(),
                // The same file for the other store.
                Stores::Local(_) => content
                    .replace("datastoreType: etcdv3", "datastoreType: local")
                    .replace("  etcdEndpoints: http://127.0.0.1:2379\n", ""),
            },
        )?;
    }
    for (name, value) in step["env"].as_object().into_iter().flatten() {
        ctl = ctl.env(name, value.as_str().context("variable without a value")?);
    }
    Ok(ctl.stdin(revisions.translate(step["stdin"].as_str().unwrap_or_default())))
}

fn judge(better: &Better, answer: &Answer) -> Result<()> {
    match better {
        Better::Fails | Better::Quiet => {
            ensure!(answer.exit == Some(1), "exit status");
            ensure!(answer.stdout.is_empty(), "standard output");
            ensure!(answer.stderr.lines().count() == 1, "standard error");
        }
        Better::Prints(expected) => {
            ensure!(answer.exit == Some(0), "exit status");
            ensure!(answer.stdout == *expected, "standard output");
        }
    }
    Ok(())
}

fn compare(step: &Value, answer: &Answer, network: &Network) -> Result<()> {
    ensure!(answer.exit.map(Value::from).as_ref() == Some(&step["exit"]), "exit {}", step["exit"]);
    if let Some(expected) = step["stdout"].as_str() {
        let expected = mask::text(expected);
        ensure!(mask::text(&answer.stdout) == expected, "expected on stdout:\n{expected}");
    }
    let lines = |text: &str| Some(text.lines().count() as u64);
    if let Some(count) = step["stdout_lines"].as_u64() {
        ensure!(lines(&answer.stdout) == Some(count), "expected {count} lines on stdout");
    }
    match step["stderr_lines"].as_u64() {
        Some(count @ (0 | 1 | 4)) => {
            ensure!(lines(&answer.stderr) == Some(count), "expected {count} lines on stderr");
        }
        Some(_) => ensure!(!answer.stderr.is_empty(), "nothing on stderr"),
        None => ensure!(answer.stderr.is_empty(), "something on stderr"),
    }
    let stored = network.store().dump()?;
    for pair in step["etcd"].as_array().into_iter().flatten() {
        let key = pair["key"].as_str().context("no key")?;
        let expected: Value = serde_json::from_str(pair["value"].as_str().context("no value")?)?;
        let expected = mask::document(&expected).to_string();
        let found = stored.0.get(key).map(|value| mask::document(value).to_string());
        ensure!(found.as_ref() == Some(&expected), "stored as {key}: {found:?}\nnot {expected}");
    }
    Ok(())
}
