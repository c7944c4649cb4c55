//! Judges a history: what must hold whatever happened. Pure.
//!
//! A container owns its addresses *for certain* from the answer of its ADD until the start of the
//! next call that may take them from it: its DEL, a GC that isn't told to keep it, an ADD of it that
//! doesn't succeed. Before and after it may own some, or may not: nobody can know.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::history::{Call, History, Moment, Outcome, Picture, Time, Verb};

/// CNI's code of what may work later.
const TRY_AGAIN_LATER: u64 = 11;
/// CNI's code of a GC that could not do everything.
const GC: u64 = 120;
/// A call that took so long found the machine slow, or the cluster at odds: no fault of its own.
const LONG: Time = 5_000_000;
/// For how long a fault that is over excuses a call: servers elect a leader, connections are made.
const AFTERMATH: Time = 5_000_000;

/// A time in which a container has its addresses for certain.
#[derive(Debug)]
struct Tenure<'a> {
    container: &'a str,
    addresses: &'a BTreeSet<IpAddr>,
    from: Time,
    /// `None` if nothing ended it.
    until: Option<Time>,
}

impl Tenure<'_> {
    fn overlaps(&self, other: &Tenure<'_>) -> bool {
        self.until.is_none_or(|until| until > other.from)
            && other.until.is_none_or(|until| until > self.from)
    }

    fn covers(&self, call: &Call) -> bool {
        self.from <= call.start && self.until.is_none_or(|until| until >= call.end)
    }
}

/// Everything that was wrong; empty if all was well.
pub fn judge(history: &History) -> Vec<String> {
    let tenures = tenures(&history.calls);
    let mut wrong = Vec::new();
    wrong.extend(two_owners(&tenures));
    wrong.extend(changed_addresses(&tenures));
    wrong.extend(history.calls.iter().filter_map(|call| failure(history, &tenures, call)));
    for picture in &history.pictures {
        wrong.extend(pictured(history, &tenures, picture));
    }
    for moment in [Moment::Healed, Moment::Collected, Moment::Ended] {
        if !history.pictures.iter().any(|picture| picture.moment == moment) {
            wrong.push(format!("the history ends before {moment:?}"));
        }
    }
    wrong
}

/// How many addresses were still held once all was healed, by containers that were deleted: commits
/// of killed processes, which a server made later. GC takes them back.
pub fn late_commits(history: &History) -> usize {
    let tenures = tenures(&history.calls);
    let healed = history.pictures.iter().filter(|picture| picture.moment == Moment::Healed);
    let late = |picture: &Picture| {
        let owned = owned(&tenures, picture.at);
        picture.held.keys().filter(|address| !owned.contains_key(address)).count()
    };
    healed.map(late).sum()
}

fn tenures(calls: &[Call]) -> Vec<Tenure<'_>> {
    let mut calls: Vec<&Call> = calls.iter().collect();
    calls.sort_by_key(|call| call.start);
    let mut tenures: Vec<Tenure<'_>> = Vec::new();
    // The tenure of each container that has one now, with its node.
    let mut open: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for call in calls {
        match (call.verb, &call.outcome) {
            (Verb::Check, _) => {}
            (Verb::Gc, _) => open.retain(|container, (tenure, node)| {
                let stays = *node != call.node || call.valid.contains(*container);
                if !stays {
                    tenures[*tenure].until = Some(call.start);
                }
                stays
            }),
            (Verb::Add, Outcome::Done(addresses)) => {
                let container = call.container.as_str();
                // Asked again, it answers what it has; a tenure begins that must be like the last.
                if let Some((tenure, _)) = open.insert(container, (tenures.len(), &call.node)) {
                    tenures[tenure].until = Some(call.end);
                }
                tenures.push(Tenure { container, addresses, from: call.end, until: None });
            }
            (Verb::Add | Verb::Del, _) => {
                if let Some((tenure, _)) = open.remove(call.container.as_str()) {
                    tenures[tenure].until = Some(call.start);
                }
            }
        }
    }
    tenures
}

/// No address has two owners at any time.
fn two_owners(tenures: &[Tenure<'_>]) -> Vec<String> {
    let mut by_address: BTreeMap<IpAddr, Vec<&Tenure<'_>>> = BTreeMap::new();
    for tenure in tenures {
        for address in tenure.addresses {
            by_address.entry(*address).or_default().push(tenure);
        }
    }
    let mut wrong = Vec::new();
    for (address, owners) in by_address {
        for (index, one) in owners.iter().enumerate() {
            for other in owners.iter().skip(index + 1) {
                if one.container != other.container && one.overlaps(other) {
                    wrong.push(format!("{address} had two owners at once: {one:?} and {other:?}"));
                }
            }
        }
    }
    wrong
}

/// An ADD of what is attached answers the same addresses.
fn changed_addresses(tenures: &[Tenure<'_>]) -> Vec<String> {
    let mut last: BTreeMap<&str, &Tenure<'_>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for tenure in tenures {
        let before = last.insert(tenure.container, tenure);
        let Some(before) = before.filter(|before| before.until == Some(tenure.from)) else {
            continue;
        };
        if before.addresses != tenure.addresses {
            wrong.push(format!("an ADD that was repeated changed {before:?} to {tenure:?}"));
        }
    }
    wrong
}

/// A call may fail with "try again later" while a fault lasts, and in no other way.
fn failure(history: &History, tenures: &[Tenure<'_>], call: &Call) -> Option<String> {
    let Outcome::Failed { code, message } = &call.outcome else { return None };
    let excused = call.end - call.start >= LONG
        || history.troubles.iter().any(|trouble| {
            trouble.excuses && trouble.start <= call.end && call.start <= trouble.end + AFTERMATH
        });
    let what = format!(
        "{} of {} on {} ({}), {} to {} us: {code} {message}",
        call.verb.name(),
        call.container,
        call.node,
        call.fate,
        call.start,
        call.end
    );
    let tells_of_store = message.contains("etcd: ") || message.contains("local store ");
    let known =
        *code == TRY_AGAIN_LATER || (call.verb == Verb::Gc && *code == GC && tells_of_store);
    if call.verb == Verb::Check && !known {
        // It tells the truth of what something else has disturbed.
        let is_well =
            tenures.iter().any(|tenure| tenure.container == call.container && tenure.covers(call));
        return is_well.then(|| format!("CHECK failed for a container that is well: {what}"));
    }
    match (known, excused) {
        (true, true) => None,
        (true, false) => Some(format!("failed while nothing was wrong: {what}")),
        (false, _) => Some(format!("failed in a way that trying again doesn't mend: {what}")),
    }
}

/// The addresses that are owned at a time, and by whom.
fn owned<'a>(tenures: &[Tenure<'a>], at: Time) -> BTreeMap<IpAddr, &'a str> {
    let now = tenures
        .iter()
        .filter(|tenure| tenure.from <= at && tenure.until.is_none_or(|until| until > at));
    now.flat_map(|tenure| tenure.addresses.iter().map(|address| (*address, tenure.container)))
        .collect()
}

/// What a picture shows is what the runtime believes.
fn pictured(history: &History, tenures: &[Tenure<'_>], picture: &Picture) -> Vec<String> {
    let moment = picture.moment;
    let mut wrong: Vec<String> =
        picture.problems.iter().map(|problem| format!("{moment:?}: {problem}")).collect();
    let live = owned(tenures, picture.at);
    let containers: BTreeSet<&str> = live.values().copied().collect();
    // What a dead process has sent to a server may be carried out after the runtime's DEL.
    let may_come_late = |container: &str| {
        moment == Moment::Healed
            && history.has_server
            && history.calls.iter().any(|call| {
                call.container == container
                    && call.verb == Verb::Add
                    && !matches!(call.outcome, Outcome::Done(_))
            })
    };
    for (address, container) in &picture.held {
        if live.get(address) != Some(&container.as_str()) && !may_come_late(container) {
            wrong.push(format!("{moment:?}: {address} is held for {container}, who gave it back"));
        }
    }
    for (address, container) in &live {
        if picture.held.get(address).map(String::as_str) != Some(container) {
            wrong.push(format!("{moment:?}: {address} of {container} isn't held for it"));
        }
    }
    for container in &picture.endpoints {
        if !containers.contains(container.as_str()) && !may_come_late(container) {
            wrong.push(format!("{moment:?}: {container} has an endpoint and is gone"));
        }
    }
    for container in containers {
        if !picture.endpoints.contains(container) {
            wrong.push(format!("{moment:?}: {container} has no endpoint"));
        }
    }
    wrong
}

#[cfg(test)]
mod tests;
