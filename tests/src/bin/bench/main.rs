//! `scripts/bench`: how long ADD and DEL take, where the time goes, and what it is held against.
//!
//! Every rival has hosts of its own: an empty one, and one with a crowd of pods. All take turns in
//! one run, so that noise falls on all alike. Quote the ratios: milliseconds are this machine's and
//! this minute's. The result is printed, written to `target/bench/bench.json` (its shape is
//! [`report::Report`]) and drawn.
//!
//! | module | what it does |
//! |---|---|
//! | [`site`] | who is measured, and on which hosts |
//! | [`launch`], [`rounds`] | calls, alone and many at once, in turns |
//! | [`breakdown`], [`footprint`], [`machine`] | where time goes, what is taken, what it ran on |
//! | [`statistics`], [`targets`] | what the numbers say |
//! | [`report`], [`table`], [`chart`], [`readme`] | telling it |
#![allow(clippy::disallowed_macros, reason = "a report on standard output is what this is for")]

mod breakdown;
mod chart;
mod footprint;
mod launch;
mod machine;
mod options;
mod readme;
mod report;
mod rounds;
mod site;
mod statistics;
mod table;
mod targets;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use libcalico::clock;
use rand::SeedableRng;
use rand::rngs::StdRng;

use breakdown::{Counts, Steps};
use footprint::Footprint;
use machine::Machine;
use options::Options;
use report::{Report, SHAPE};
use rounds::{Measured, Stage};
use site::{Rival, Site};
use targets::Evidence;

/// Nothing waits for ever: a run that takes longer is ended, and with it all that it has started.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How many calls a breakdown is the median of.
const STEPS: (usize, usize) = (20, 60);

fn main() {
    let options = Options::parse();
    if let Err(error) = run(&options) {
        eprintln!("bench: {error:#}");
        exit(1);
    }
}

fn run(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let json = options.out.join("bench.json");
    let report = if options.show {
        let text = fs::read_to_string(&json).with_context(|| json.display().to_string())?;
        serde_json::from_str(&text).with_context(|| json.display().to_string())?
    } else {
        let report = limited(|| measured(options))?;
        fs::write(&json, serde_json::to_string(&report)?)
            .with_context(|| json.display().to_string())?;
        report
    };
    print!("{}", report.text());
    let machine = report.machine.line();
    for (name, svg) in [
        ("latency.svg", chart::of_rivals(&report.cases, &machine)),
        ("crowd.svg", chart::of_crowds(&report.cases, &machine)),
    ] {
        let path = options.out.join(name);
        fs::write(&path, svg).with_context(|| path.display().to_string())?;
    }
    println!("\n{}/: bench.json, latency.svg, crowd.svg", options.out.display());
    if options.readme {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
        readme::write(&root.join("README.md"), &report.readme())?;
    }
    Ok(())
}

/// Runs `body`, and ends the whole process if that takes too long.
fn limited<T>(body: impl FnOnce() -> T) -> T {
    let (done, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("bench: not done after {} minutes: ended", LIMIT.as_secs() / 60);
            exit(1);
        }
    });
    let result = body();
    drop(done);
    result
}

fn measured(options: &Options) -> Result<Report> {
    let mut report = None;
    // A failure panics in there, with the folder that tells more.
    tests::scene("bench", |scene| {
        report = Some(measure(options, scene)?);
        Ok(())
    });
    report.context("nothing was measured")
}

fn measure(options: &Options, scene: &tests::Scene) -> Result<Report> {
    let begun = Instant::now();
    let say = |what: &str| eprintln!("{:5.0} s  {what}", begun.elapsed().as_secs_f64());
    let machine = Machine::here(scene.dir())?;
    let mut notes = Vec::new();

    let mut stages: Vec<Stage> = Vec::new();
    let mut growths: Vec<(Rival, f64)> = Vec::new();
    for rival in Rival::ALL {
        let has_crowd = options.pods > 0
            && (!options.quick || matches!(rival, Rival::Floor | Rival::Local | Rival::Etcd));
        for crowd in if has_crowd { vec![0, options.pods] } else { vec![0] } {
            let site = Site::new(scene, rival, crowd)?;
            let crowd = site.crowd;
            say(&format!("{}: a host with {crowd} pods", rival.name()));
            let before = footprint::store_bytes(&site)?;
            let stage = Stage::prepare(site, options.most_calls())?;
            let after = footprint::store_bytes(&stage.site)?;
            if let (Some(before), Some(after), 1..) = (before, after, crowd) {
                growths.push((rival, after.saturating_sub(before) as f64 / crowd as f64));
            }
            if crowd > 0 && crowd < options.pods {
                notes.push(format!(
                    "{}: {crowd} pods, since a bridge of Linux has 1,023 ports at most.",
                    rival.name()
                ));
            }
            stages.push(stage);
        }
        if options.pods > 0 && !has_crowd {
            notes.push(format!("{}: no full host with --quick.", rival.name()));
        }
    }

    let mut random = StdRng::seed_from_u64(options.seed);
    let mut times: Vec<Measured> = Vec::new();
    let mut begin = 0;
    for &workers in &options.workers {
        let effort = options.effort(workers);
        let each = effort.each;
        say(&format!("up to {} rounds with {workers} at a time, {each} calls each", effort.rounds));
        let played = rounds::play(&stages, workers, effort, begin, &mut random)?;
        let rounds = played.first().map_or(0, |one| one.add.rate.len());
        if rounds < effort.rounds {
            notes.push(format!(
                "{workers} at a time: {rounds} rounds instead of {}, since the machine is slow or busy.",
                effort.rounds
            ));
        }
        times.extend(played);
        begin += 1000;
    }

    say("where the time goes");
    let is_empty = |stage: &&Stage| stage.site.crowd == 0;
    let has_strace = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_strace {
        notes.push("strace isn't installed: system calls were not counted.".to_owned());
    }
    let (mut steps, mut counts, mut footprints) = (Vec::new(), Vec::new(), Vec::new());
    for stage in stages.iter().filter(is_empty) {
        let rival = stage.site.rival;
        if rival.is_ours() {
            let calls = if options.quick { STEPS.0 } else { STEPS.1 };
            let calls = options.rounds.map_or(calls, |rounds| rounds.min(calls));
            steps.extend(Steps::of(stage, calls, begin)?);
        }
        counts.extend(Counts::of(stage, has_strace, &options.out, begin + 100)?);
        let growth = growths.iter().find(|(who, _)| *who == rival).map(|(_, bytes)| *bytes);
        footprints.push(Footprint::of(stage, growth, begin + 200)?);
    }

    let evidence = Evidence { measured: &times, counts: &counts, footprints: &footprints };
    let targets = evidence.targets();
    say("ending the hosts");
    Ok(Report {
        shape: SHAPE,
        date: clock::now().date().to_string(),
        commit: commit(),
        command: std::env::args().skip(1).fold("scripts/bench".to_owned(), |line, argument| {
            if argument == "--readme" { line } else { format!("{line} {argument}") }
        }),
        machine,
        cases: report::cases(&times),
        steps,
        counts,
        footprints,
        targets,
        notes,
    })
}

/// What the repository's state is called; nothing where there is no repository.
fn commit() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
