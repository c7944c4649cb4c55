//! `scripts/bench` measures what it says and writes what it promises. How long anything took is
//! nobody's verdict here.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A run that is as small as one can be: two rounds, three pods in the crowd.
#[test]
fn a_small_run_measures_everybody_and_writes_json_and_pictures() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "--quick",
            "--rounds",
            "2",
            "--pods",
            "3",
            "--workers",
            "1,2",
            "--calls",
            "2",
            "--out",
        ])
        .arg(folder.path())
        .env("CALICO_RS_BIN_DIR", tests::binary_dir()?)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let wide =
        said.lines().filter(|line| line.starts_with('|')).find(|line| line.chars().count() > 120);
    ensure!(wide.is_none(), "too wide: {wide:?}");

    let text = fs::read_to_string(folder.path().join("bench.json"))?;
    let report: Value = serde_json::from_str(&text)?;
    ensure!(report["shape"] == 1, "{}", report["shape"]);
    let list = |name: &str| report[name].as_array().with_context(|| format!("no {name}"));
    for rival in ["floor", "local", "etcd", "etcd-tls", "ptp", "bridge"] {
        ensure!(said.contains(if rival == "ptp" {
            "ptp + host-local"
        } else {
            rival.split('-').next().unwrap_or(rival)
        }));
        for verb in ["ADD", "DEL"] {
            for (workers, calls) in [(1, 2), (2, 4)] {
                let has_crowd = ["floor", "local", "etcd"].contains(&rival);
                for pods in if has_crowd { &[0, 3][..] } else { &[0] } {
                    let case = list("cases")?.iter().find(|case| {
                        case["rival"] == rival
                            && case["verb"] == verb
                            && case["workers"] == workers
                            && case["pods"] == *pods
                    });
                    let case = case.with_context(|| format!("{rival} {verb} {workers} {pods}"))?;
                    let latencies = case["latencies_ms"].as_array().context("no latencies")?;
                    ensure!(latencies.len() == calls, "{case}");
                    let positive = |name: &str| case[name].as_f64().is_some_and(|it| it > 0.0);
                    ensure!(["p50_ms", "p95_ms", "p99_ms"].into_iter().all(positive), "{case}");
                    ensure!(case["cpu_ms"]["median"].as_f64().is_some_and(|it| it > 0.0), "{case}");
                    // It is no measure of itself, and has no crowd.
                    let has_peer = rival != "ptp" && *pods == 0;
                    ensure!(case["latency_to_ptp"].is_null() != has_peer, "{case}");
                }
            }
            let count = list("counts")?
                .iter()
                .find(|count| count["rival"] == rival && count["verb"] == verb)
                .with_context(|| format!("no counts of {rival}"))?;
            // Where there is no strace, the report says so.
            ensure!(
                count["syscalls"].is_null() == said.contains("strace isn't installed"),
                "{count}"
            );
            ensure!(count["requests"].is_null() != (rival == "etcd"), "{count}");
        }
        let footprint = list("footprints")?.iter().find(|one| one["rival"] == rival);
        let footprint = footprint.with_context(|| format!("no footprint of {rival}"))?;
        ensure!(footprint["peak_kib"].as_f64().is_some_and(|kib| kib > 100.0), "{footprint}");
    }
    let of_ours = list("steps")?.iter().filter(|steps| {
        let names = steps["steps"].as_array().into_iter().flatten();
        names.filter_map(|step| step[0].as_str()).any(|name| name == "read")
    });
    ensure!(of_ours.count() == 6, "steps: {}", report["steps"]);
    let targets = list("targets")?;
    let is_open =
        |what: &str| targets.iter().any(|it| it["what"] == what && it["is_met"].is_null());
    ensure!(!is_open("ADD, local store, against ptp") && !is_open("requests to etcd of an ADD"));
    ensure!(targets.iter().any(|it| it["is_met"].is_null()), "32 workers were not asked for");

    for name in ["latency.svg", "crowd.svg"] {
        let text = fs::read_to_string(folder.path().join(name))?;
        let picture = roxmltree::Document::parse(&text).context(name)?;
        let curves = picture.descendants().filter(|node| node.has_attribute("stroke-linejoin"));
        // Two numbers of workers, two verbs; six rivals, or three on two hosts each.
        let expected = 2 * 2 * 6;
        ensure!(curves.count() == expected, "{name}: {text}");
    }
    Ok(())
}
