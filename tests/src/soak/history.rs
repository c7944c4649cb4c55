//! What happened: every call with its start, its end and its answer, and every fault with its time.
//! A file of it has one JSON object a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

/// Microseconds since the beginning.
pub type Time = u64;

/// A verb of CNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Attaches a container.
    Add,
    /// Detaches it.
    Del,
    /// Compares it with what is there.
    Check,
    /// Removes what isn't valid.
    Gc,
}

impl Verb {
    /// `CNI_COMMAND`.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Gc => "GC",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It succeeded; an ADD with these addresses.
    Done(BTreeSet<IpAddr>),
    /// It failed.
    Failed {
        /// CNI's code; 0 if it answered no error object.
        code: u64,
        /// What it said.
        message: String,
    },
    /// It was killed.
    Killed,
}

/// A call of a plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// The node that it ran on.
    pub node: String,
    /// What it did.
    pub verb: Verb,
    /// The container; empty for GC.
    pub container: String,
    /// The containers that GC was told to keep.
    pub valid: BTreeSet<String>,
    /// What was done to its process.
    pub fate: String,
    /// Just before its process was started.
    pub start: Time,
    /// Just after its process had ended.
    pub end: Time,
    /// How it ended.
    pub outcome: Outcome,
}

/// A fault and when it was.
#[derive(Debug, Clone, Serialize)]
pub struct Trouble {
    /// Its kind, and whom it hit.
    pub what: String,
    /// Whether calls may fail while it lasts.
    pub excuses: bool,
    /// When it began.
    pub start: Time,
    /// When it was over.
    pub end: Time,
}

/// The moments at the end at which everything is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// All faults are over, and every container that isn't attached for certain was deleted.
    Healed,
    /// A GC has kept those that are attached.
    Collected,
    /// They were deleted.
    Ended,
}

/// What is there at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct Picture {
    /// Which.
    pub moment: Moment,
    /// When.
    pub at: Time,
    /// The containers that hold an address, by the store's blocks.
    pub held: BTreeMap<IpAddr, String>,
    /// The containers that have an endpoint.
    pub endpoints: BTreeSet<String>,
    /// What the consistency checker, the kernel and the file system say that should not be.
    pub problems: Vec<String>,
}

/// Everything that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The calls, in the order of their ends.
    pub calls: Vec<Call>,
    /// The faults.
    pub troubles: Vec<Trouble>,
    /// The pictures.
    pub pictures: Vec<Picture>,
    /// Whether a commit may be made after the process that sent it is dead: another process has it.
    pub has_server: bool,
}

/// Writes a history while it happens.
#[derive(Debug)]
pub(super) struct Recorder {
    began: Instant,
    state: Mutex<(History, BufWriter<File>)>,
}

impl Recorder {
    pub(super) fn new(path: &Path, has_server: bool) -> Result<Recorder> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let history = History { has_server, ..History::default() };
        Ok(Recorder { began: Instant::now(), state: Mutex::new((history, BufWriter::new(file))) })
    }

    pub(super) fn now(&self) -> Time {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(Time::MAX)
    }

    pub(super) fn call(&self, call: Call) -> Result<()> {
        let mut state = self.state.lock().expect("no holder panics");
        writeln!(state.1, "{}", json!({"call": call}))?;
        state.0.calls.push(call);
        Ok(())
    }

    pub(super) fn trouble(&self, trouble: Trouble) -> Result<()> {
        let mut state = self.state.lock().expect("no holder panics");
        writeln!(state.1, "{}", json!({"fault": trouble}))?;
        state.0.troubles.push(trouble);
        Ok(())
    }

    pub(super) fn picture(&self, picture: Picture) -> Result<()> {
        let mut state = self.state.lock().expect("no holder panics");
        writeln!(state.1, "{}", json!({"picture": picture}))?;
        state.0.pictures.push(picture);
        Ok(())
    }

    /// The end: what was recorded.
    pub(super) fn finish(self) -> Result<History> {
        let (history, mut file) = self.state.into_inner().expect("no holder panics");
        file.flush()?;
        Ok(history)
    }
}
