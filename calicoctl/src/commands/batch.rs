//! Many resources, one answer (`reference/calicoctl.md` section 4.2): how many were handled, and
//! all that went wrong.

use std::io::Write;
use std::process::ExitCode;

use libcalico::resources::{AnyResource, Kind};

use super::Outcome;

/// The word of a command, as it wants to be read.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// `create`.
    pub base: &'static str,
    /// `created`.
    pub past: &'static str,
}

/// What became of some resources.
#[derive(Debug)]
pub struct Batch {
    kind: Option<Kind>,
    requested: usize,
    failed: usize,
    errors: Vec<String>,
}

impl Batch {
    /// Of these resources, none of which has been handled yet.
    pub fn of(resources: &[AnyResource]) -> Batch {
        Batch::of_kinds(resources.iter().map(|resource| resource.kind))
    }

    /// Of resources of these kinds.
    pub fn of_kinds(kinds: impl IntoIterator<Item = Kind>) -> Batch {
        let mut kinds = kinds.into_iter();
        let first = kinds.next();
        let (mut same, mut requested) = (true, usize::from(first.is_some()));
        for kind in kinds {
            same &= Some(kind) == first;
            requested += 1;
        }
        Batch { kind: first.filter(|_| same), requested, failed: 0, errors: Vec::new() }
    }

    /// Notes that one of them wasn't handled.
    pub fn failed(&mut self, error: String) {
        self.failed += 1;
        self.errors.push(error);
    }

    /// Notes that this many weren't even tried.
    pub fn not_tried(&mut self, count: usize) {
        if count > 0 {
            self.failed += count;
            self.errors.push(format!("{count} more were not tried"));
        }
    }

    /// Prints what became of them: one line.
    pub fn report(&self, verb: Verb) -> Outcome {
        let (kind, failed) = (self.kind(), self.failed);
        let handled = self.requested.saturating_sub(failed);
        let errors = self.errors.join(" ");
        let Verb { base, past } = verb;
        if failed == 0 {
            let mut out = std::io::stdout().lock();
            writeln!(out, "Successfully {past} {handled} {kind}resource(s)")?;
            return Ok(ExitCode::SUCCESS);
        }
        match (handled, failed) {
            (0, 1) => eprintln!("failed to {base} {kind}resource: [{errors}]"),
            (0, _) => eprintln!("failed to {base} any {kind}resources: [{errors}]"),
            _ => eprintln!(
                "failed to {base} {kind}resource: [{errors}]; {past} {handled} of {} resources",
                self.requested
            ),
        }
        Ok(ExitCode::FAILURE)
    }

    /// Prints what became of them: a line for those that were handled, and one for each other.
    pub fn report_each(&self, verb: Verb) -> Outcome {
        let (kind, failed) = (self.kind(), self.failed);
        let handled = self.requested.saturating_sub(failed);
        if handled > 0 {
            let mut out = std::io::stdout().lock();
            writeln!(out, "Successfully {} {handled} {kind}resource(s)", verb.past)?;
        }
        for error in &self.errors {
            eprintln!("Failed to {} {kind}resource: {error}", verb.base);
        }
        match failed {
            0 => Ok(ExitCode::SUCCESS),
            _ => Ok(ExitCode::FAILURE),
        }
    }

    /// The kind that they all are of, with a blank behind.
    fn kind(&self) -> String {
        self.kind.map(|kind| format!("'{}' ", kind.name())).unwrap_or_default()
    }
}

/// Prints that there was nothing to do, which is fine.
pub fn nothing() -> Outcome {
    writeln!(std::io::stdout().lock(), "No resources specified")?;
    Ok(ExitCode::SUCCESS)
}
