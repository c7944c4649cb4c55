//! Upstream's own traces, replayed with our binaries on a real etcd: `tests/golden/cni/`.
//!
//! A trace begins with the content of a store; each step is a call, with upstream's answer, the
//! store after it, and what the kernel showed. What varies between runs is masked. Where we differ
//! on purpose, [`DEVIATIONS`] says so, with the number of the fix in
//! `reference/cni-plugin.md` section 10.

#[path = "golden_cni/codes.rs"]
mod codes;
#[path = "golden_cni/deviations.rs"]
mod deviations;
#[path = "golden_cni/fixed.rs"]
mod fixed;
#[path = "golden_cni/kernel.rs"]
mod kernel;
#[path = "golden_cni/mask.rs"]
mod mask;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Call, Etcd, EtcdMode, Host, Pod, Scene, scene};

use deviations::{DEVIATIONS, Part};
use mask::Masks;

macro_rules! traces {
    ($($test:ident => $file:literal,)*) => {
        const FILES: &[&str] = &[$($file),*];
        $(#[test]
        fn $test() {
            scene(concat!("golden-", $file), |scene| replay(scene, $file));
        })*
    };
}

traces! {
    del_without_namespace => "cni-del-without-namespace",
    mtu_and_options => "cni-mtu-options",
    repeated_add => "cni-repeat",
    two_pods => "cni-two-pods",
    no_cluster_information => "errors-no-clusterinfo",
    no_nodename_file => "errors-no-nodename-file",
    no_pool => "errors-no-pool",
    not_ready => "errors-not-ready",
    errors => "errors",
    host_local => "host-local",
    k8s_without_policy => "k8s-no-policy",
    k8s_profile_exists => "k8s-profile-exists",
    k8s_requested_address => "k8s-requested-ip",
    k8s_two_containers => "k8s-two-containers",
    labels => "labels",
    v0_1_0_dual => "version-0.1.0-dual",
    v0_1_0_v4 => "version-0.1.0-v4",
    v0_1_0_v6 => "version-0.1.0-v6",
    v0_2_0_dual => "version-0.2.0-dual",
    v0_2_0_v4 => "version-0.2.0-v4",
    v0_2_0_v6 => "version-0.2.0-v6",
    v0_3_0_dual => "version-0.3.0-dual",
    v0_3_0_v4 => "version-0.3.0-v4",
    v0_3_0_v6 => "version-0.3.0-v6",
    v0_3_1_dual => "version-0.3.1-dual",
    v0_3_1_v4 => "version-0.3.1-v4",
    v0_3_1_v6 => "version-0.3.1-v6",
    v0_4_0_dual => "version-0.4.0-dual",
    v0_4_0_v4 => "version-0.4.0-v4",
    v0_4_0_v6 => "version-0.4.0-v6",
    v1_0_0_dual => "version-1.0.0-dual",
    v1_0_0_v4 => "version-1.0.0-v4",
    v1_0_0_v6 => "version-1.0.0-v6",
    version_command => "version-command",
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/cni"))
}

/// Every trace that is there is replayed, and every deviation names one that is and its fix.
#[test]
fn every_file_is_replayed() {
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("golden files")
        .map(|entry| entry.expect("golden file").path())
        .map(|path| path.file_stem().expect("name").to_string_lossy().into_owned())
        .collect();
    let replayed: BTreeSet<String> = FILES.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(there, replayed);
    for deviation in DEVIATIONS {
        assert!(replayed.contains(deviation.file), "no trace {}", deviation.file);
        assert!((1..=44).contains(&deviation.fix), "{}: no fix {}", deviation.file, deviation.fix);
    }
}

/// The masked content of a store.
type Tree = BTreeMap<String, String>;

fn replay(scene: &Scene, file: &str) -> Result<()> {
    let text = std::fs::read_to_string(folder().join(format!("{file}.json")))?;
    let trace: Value = serde_json::from_str(&text)?;
    let host = scene.host("replay")?;
    // Upstream's ran on a host that forwards.
    host.set_sysctl("ipv4/ip_forward", "1")?;
    if file != "errors-no-nodename-file" {
        host.write("/var/lib/calico/nodename", "node-1")?;
    }
    let etcd = Etcd::start(&host, EtcdMode::Plain)?;
    for (key, value) in pairs(&trace["initial"])? {
        etcd.put(&key, &value)?;
    }
    let steps = trace["steps"].as_array().context("no steps")?;
    let pods: BTreeMap<String, Pod> = ["cart-0", "cart-1"]
        .into_iter()
        .map(|name| Ok((name.to_owned(), host.pod(name)?)))
        .collect::<Result<_>>()?;

    let (mut failures, mut excused) = (Vec::new(), BTreeSet::new());
    let (mut theirs, mut ours) = (Masks::default(), Masks::default());
    let mut stored = pairs(&trace["initial"])?;
    let mut results: BTreeMap<String, Value> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        let mut differs = |part: Part, what: String| {
            if DEVIATIONS.iter().any(|deviation| deviation.covers(file, number, part)) {
                excused.insert((number, part));
            } else {
                failures.push(format!("step {number}, {part:?}: {what}"));
            }
        };
        // Each step begins where upstream's began, also where we did more or less before.
        let expected = theirs.tree(&stored);
        if ours.tree(&etcd.get_prefix("/calico/")?) != expected {
            etcd.delete_prefix("/calico/")?;
            for (key, value) in &stored {
                etcd.put(key, value)?;
            }
            ours = theirs.clone();
        }
        let before = etcd.get_prefix("/calico/")?;
        let call = call(&host, step, results.get(&container(step)))?;
        let answer = call.run()?;
        let failed = answer.exit != Some(0);
        if step["after"] != "unchanged" {
            stored = pairs(&step["after"])?;
        }
        let expected = theirs.tree(&stored);
        if failed {
            let (code, _) = answer.error().with_context(|| format!("step {number}"))?;
            if step["exit"] == 0 {
                differs(Part::Exit, format!("refused, upstream not: {}", answer.stdout));
            }
            if let Some(why) = codes::difference(step, code) {
                differs(Part::Code, why);
            }
            // Upstream leaves a block behind at times; we leave everything as it was.
            let unchanged = ours.clone().tree(&before);
            for line in differences(&unchanged, &ours.tree(&etcd.get_prefix("/calico/")?)) {
                differs(Part::Store, format!("failed with {}, and left {line}", answer.stdout));
            }
            continue;
        }
        if step["exit"] != 0 {
            differs(Part::Exit, format!("done, upstream refused: {}", answer.stdout));
            undo(file, number, &call)?;
            continue;
        }
        if step["do"]["env"]["CNI_COMMAND"] == "ADD" {
            results.insert(container(step), serde_json::from_str(&answer.stdout)?);
        }
        if let Some(expected) = fixed::result(step)? {
            let (upstream, own) = (mask::result(&expected), mask::result(&answer.stdout));
            if upstream != own {
                differs(Part::Result, format!("{own}\nupstream: {upstream}"));
            }
        }
        let found = ours.tree(&etcd.get_prefix("/calico/")?);
        for line in differences(&expected, &found) {
            differs(Part::Store, line);
        }
        if let Some(upstream) = step.get("kernel") {
            for line in kernel::differences(upstream, &host, &pods)? {
                differs(Part::Kernel, line);
            }
        }
        undo(file, number, &call)?;
    }
    for unused in DEVIATIONS.iter().flat_map(|deviation| deviation.unused(file, &excused)) {
        failures.push(unused);
    }
    ensure!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// Takes back what only ours has done.
fn undo(file: &str, step: usize, call: &Call) -> Result<()> {
    let wanted = |deviation: &&deviations::Deviation| {
        deviation.undo && deviation.file == file && deviation.steps.contains(&step)
    };
    match DEVIATIONS.iter().find(wanted) {
        Some(_) => call.verb("DEL").done(),
        None => Ok(()),
    }
}

fn container(step: &Value) -> String {
    step["do"]["env"]["CNI_CONTAINERID"].as_str().unwrap_or_default().to_owned()
}

/// The call of a step. Where upstream's got its own earlier result, with its MAC addresses, ours
/// gets ours.
fn call(host: &Arc<Host>, step: &Value, result: Option<&Value>) -> Result<Call> {
    let program = step["do"]["program"].as_str().context("no program")?;
    let mut call = Call::new(host, program, "");
    for name in ["CNI_COMMAND", "CNI_PATH", "CNI_CONTAINERID", "CNI_IFNAME"] {
        call = call.without(name);
    }
    for (name, value) in step["do"]["env"].as_object().context("no environment")? {
        call = call.env(name, value.as_str().context("variable")?);
    }
    let stdin = step["do"]["stdin"].as_str().context("no input")?;
    if let (Ok(mut config), Some(result)) = (serde_json::from_str::<Value>(stdin), result)
        && config.get("prevResult").is_some()
    {
        config["prevResult"] = result.clone();
        return Ok(call.config(&config));
    }
    Ok(call.stdin(stdin))
}

fn pairs(list: &Value) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let list = list.as_array().context("no list of keys")?;
    list.iter().map(|pair| Ok((text(&pair["key"])?, text(&pair["value"])?))).collect()
}

fn differences(expected: &Tree, found: &Tree) -> Vec<String> {
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter(|key| expected.get(*key) != found.get(*key))
        .map(|key| {
            let show = |tree: &Tree| tree.get(key).map_or("nothing", String::as_str).to_owned();
            format!("{key}\n  ours:     {}\n  upstream: {}", show(found), show(expected))
        })
        .collect()
}
