//! Fault points of the programs under test: which ones a call reaches, and stopping it at one.
//!
//! The binaries must have been built with debug assertions; the crate `fault-points` tells more.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;

use crate::plugin::{Call, Running};

/// The environment variable that says what happens at the points.
pub(crate) const VARIABLE: &str = "CALICO_RS_FAULT";

/// How many cases are played at once.
const AT_ONCE: usize = 4;

/// Does something with each index below a number, a few at once.
pub fn each_of(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            work(index).with_context(|| format!("case {index}"))?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| anyhow!("panic")).and_then(|outcome| outcome)
        })
    })
}

/// A point that a call reaches: its name, and the how many-th time it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The name in the source.
    pub name: String,
    /// 1 for the first time.
    pub count: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.name, self.count)
    }
}

impl Call {
    /// Runs the plugin to its end, whatever that is; the points that it reaches, in their order.
    pub fn points(&self) -> Result<Vec<Point>> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let inside = format!("/run/points-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.clone().env(VARIABLE, &format!("trace {inside}")).run()?;
        let path = self.host().path(&inside);
        let text = fs::read_to_string(&path).context("no points: is this a release build?")?;
        fs::remove_file(path)?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let points = text.lines().map(|name| {
            let count = counts.entry(name).or_default();
            *count += 1;
            Point { name: name.to_owned(), count: *count }
        });
        Ok(points.collect())
    }

    /// Runs the plugin, which kills itself at a point. Tells whether it came to the point: two steps
    /// that overlap don't always come in the same order, nor each time when a step is repeated.
    pub fn killed_at(&self, point: &Point) -> Result<bool> {
        let answer = self.clone().env(VARIABLE, &format!("kill {point}")).run()?;
        ensure!(
            answer.exit.is_none() || answer.exit == Some(0) || answer.error().is_ok(),
            "killed at {point}: {answer:#?}"
        );
        Ok(answer.exit.is_none())
    }

    /// Starts the plugin and waits until it has stopped at a point. None if it ended without coming
    /// to it.
    pub fn stopped_at(&self, point: &Point) -> Result<Option<Running>> {
        let running = self.clone().env(VARIABLE, &format!("stop {point}")).start()?;
        match running.has_stopped()? {
            true => Ok(Some(running)),
            false => running.answer().map(|_| None),
        }
    }
}

impl Running {
    /// Lets a stopped plugin go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }
}
