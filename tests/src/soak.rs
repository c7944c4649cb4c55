//! `scripts/soak`: a runtime's work on several nodes while everything around it fails; then a verdict
//! over the history of it.
//!
//! [`soak`] makes a plan out of a seed: the faults with their times, and what each worker does next.
//! Workers attach, check and delete containers and run GC, and some of their processes are killed or
//! stopped; meanwhile members of the etcd, wires, clocks and disks fail. When the time is over all is
//! mended, every container that isn't attached for certain is deleted, and everything is looked at.
//! [`judge`] then decides from what was recorded: see there for what must hold.

mod history;
mod judge;
mod nemesis;
mod plan;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::network::Backend;
use crate::scene::Scene;
use history::{History, Moment, Outcome};
use judge::{judge, late_commits};
use plan::Plan;
use worker::Worker;
use world::{Node, World};

/// How many workers there are: of a cluster's each node, and of a host on its own.
const WORKERS: (usize, usize) = (2, 4);
/// How many calls pay all that a node may owe.
const PAYMENTS: usize = 20;

/// Soaks a store for a while and writes the history into a file; what happened, in words, if
/// nothing was wrong.
pub fn soak(
    scene: &Scene,
    backend: Backend,
    seed: u64,
    length: Duration,
    file: &Path,
) -> Result<String> {
    let world = World::new(scene, backend, file)?;
    let plan = Plan::new(seed, length, world.nodes.len(), world.members.len());
    eprintln!("{backend:?}, {} s, {plan}", length.as_secs());
    let workers = if backend == Backend::Etcd { WORKERS.0 } else { WORKERS.1 };
    let mut workers: Vec<Worker<'_>> = (0..world.nodes.len() * workers)
        .map(|number| {
            let node = &world.nodes[number / workers];
            let name = format!("{}w{}", node.host.name(), number % workers);
            Worker::new(&world, node, plan.worker(number), &name)
        })
        .collect();
    disturbed(&world, &plan, &mut workers, length)?;
    settle(&world, &mut workers)?;
    let history = world.history.finish()?;
    let wrong = judge(&history);
    ensure!(wrong.is_empty(), "seed {seed}: {}\nhistory: {}", wrong.join("\n"), file.display());
    summary(&history)
}

/// The workers work and the faults happen.
fn disturbed(
    world: &World,
    plan: &Plan,
    workers: &mut [Worker<'_>],
    length: Duration,
) -> Result<()> {
    let end = Instant::now() + length;
    thread::scope(|scope| {
        let tracks = plan.tracks.iter().map(|track| scope.spawn(|| nemesis::haunt(world, track)));
        let tracks: Vec<_> = tracks.collect();
        let working = workers.iter_mut().map(|worker| {
            scope.spawn(move || -> Result<()> {
                while Instant::now() < end {
                    worker.step()?;
                }
                Ok(())
            })
        });
        let outcome = join(working.collect());
        world.end();
        // What they have begun they mend first.
        join(tracks).and(outcome).map(drop)
    })
}

/// Everything works again: the runtime tidies up, and all is looked at.
fn settle(world: &World, workers: &mut [Worker<'_>]) -> Result<()> {
    world.dump().context("the store doesn't come back")?;
    each(workers, |worker| worker.tidy())?;
    let mut problems = Vec::new();
    for node in &world.nodes {
        problems.extend(pay(world, node)?);
    }
    problems.extend(each(workers, |worker| worker.inspect())?.into_iter().flatten());
    world.look(Moment::Healed, problems)?;
    for node in &world.nodes {
        collect(world, node)?;
    }
    let problems = each(workers, |worker| worker.inspect())?.into_iter().flatten().collect();
    world.look(Moment::Collected, problems)?;
    each(workers, |worker| worker.leave())?;
    world.look(Moment::Ended, Vec::new())
}

/// GC of a node, until it has done everything.
fn collect(world: &World, node: &Node) -> Result<()> {
    for _ in 0..worker::ATTEMPTS {
        if let Outcome::Done(_) = world.gc(node, plan::Fate::Whole)? {
            return Ok(());
        }
    }
    bail!("GC of {} failed {} times", node.host.name(), worker::ATTEMPTS)
}

/// Lets a node pay what its DELs owe to the store, a few with each call.
fn pay(world: &World, node: &Node) -> Result<Option<String>> {
    let nobody = world::Target { container: "nobody".into(), pod: None };
    for _ in 0..PAYMENTS {
        if world.owed(node)? == 0 {
            return Ok(None);
        }
        world.call(node, history::Verb::Del, &nobody, None, plan::Fate::Whole)?;
    }
    Ok(Some(format!("{} still owes {} releases", node.host.name(), world.owed(node)?)))
}

/// Does something with all workers at once.
fn each<'a, T: Send>(
    workers: &mut [Worker<'a>],
    work: impl Fn(&mut Worker<'a>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads = workers.iter_mut().map(|worker| scope.spawn(move || work(worker)));
        join(threads.collect())
    })
}

fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().ok().context("panic")?).collect()
}

/// How many calls of each verb ended how, and the faults.
fn summary(history: &History) -> Result<String> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for call in &history.calls {
        let outcome = match &call.outcome {
            Outcome::Done(_) => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::Killed => "killed",
        };
        *counts.entry((call.verb.name(), outcome)).or_default() += 1;
    }
    if history.calls.is_empty() {
        bail!("nothing was done");
    }
    let mut text = format!("{} calls:", history.calls.len());
    for ((verb, outcome), count) in counts {
        write!(text, " {verb} {outcome} {count},")?;
    }
    let late = late_commits(history);
    write!(text, " {} faults; {late} late commits, taken back by GC", history.troubles.len())?;
    Ok(text)
}
