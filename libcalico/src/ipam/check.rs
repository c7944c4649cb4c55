//! Is a whole store consistent? Checks blocks, affinities, handles, pools and endpoints against each
//! other (`reference/ipam.md` 13.1 and `reference/datamodel.md` 6.3). Pure: it gets every document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::affinity::{Affinity, AffinityState, owner_text};
use super::block::Block;
use super::config::IpamConfig;
use super::handle::Handle;
use super::pool::Pool;
use super::reservation::{overlap, parse_network};
use crate::resources::Kind;
use crate::store::{AffinityOwner, Document, Key};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Allowed, but space or keys are wasted: a handle counts too much, an empty block has no owner.
    Waste,
    /// A sequence of writes of upstream's was interrupted; the next allocation repairs it.
    HalfDone,
    /// What must never be: an address that two have, or that nobody can release.
    Broken,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The invariant or rule, like `I6`.
    pub rule: &'static str,
    /// What is wrong, with the names of all that takes part.
    pub text: String,
    /// Whether the lines of upstream's own check tell it, too.
    pub told_by_upstream: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.severity, self.rule, self.text)
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The findings, the worst first.
    pub problems: Vec<Problem>,
    /// How many blocks there are.
    pub blocks: usize,
    /// How many addresses are in use.
    pub in_use: usize,
    /// How many cool down.
    pub cooling: usize,
}

impl Report {
    /// The findings of at least this severity.
    pub fn at_least(&self, severity: Severity) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.severity >= severity)
    }
}

#[derive(Default)]
struct Store {
    blocks: BTreeMap<IpNet, Block>,
    affinities: BTreeMap<(AffinityOwner, IpNet), Affinity>,
    handles: BTreeMap<String, Handle>,
    pools: Vec<Pool>,
    /// Addresses of endpoints, with the name of the endpoint.
    endpoints: Vec<(IpAddr, String)>,
    problems: Vec<Problem>,
}

/// Checks every document of a store, as [`Prefix::All`](crate::store::Prefix::All) lists them.
pub fn check(documents: &[Document]) -> Report {
    let mut store = Store::default();
    for document in documents {
        store.read(document);
    }
    store.check_blocks();
    store.check_affinities();
    store.check_handles();
    store.check_endpoints();
    let allocated = || store.blocks.values().flat_map(Block::allocated);
    let cooling = allocated().filter(|(_, record)| record.released_at.is_some()).count();
    let in_use = allocated().count() - cooling;
    let mut problems = store.problems;
    problems.sort_by(|a, b| b.cmp(a));
    Report { problems, blocks: store.blocks.len(), in_use, cooling }
}

impl Store {
    fn find(&mut self, severity: Severity, rule: &'static str, text: String) {
        self.problems.push(Problem { severity, rule, text, told_by_upstream: false });
    }

    fn read(&mut self, document: &Document) {
        let value = &document.value;
        let damaged = match &document.key {
            Key::Block(cidr) => match Block::decode(value) {
                Ok(block) if block.cidr.trunc() == *cidr => {
                    self.blocks.insert(*cidr, block);
                    None
                }
                Ok(block) => Some(format!("block {cidr} says that it is {}", block.cidr)),
                Err(error) => Some(error.to_string()),
            },
            Key::Affinity(owner, cidr) => match Affinity::decode(value) {
                Ok(affinity) => {
                    self.affinities.insert((owner.clone(), *cidr), affinity);
                    None
                }
                Err(error) => Some(format!("affinity of {} for {cidr}: {error}", owner.name)),
            },
            Key::Handle(id) => match Handle::decode(value) {
                Ok(handle) => {
                    self.handles.insert(id.clone(), handle);
                    None
                }
                Err(error) => Some(format!("handle {id}: {error}")),
            },
            Key::IpamConfig => IpamConfig::decode(value)
                .err()
                .map(|error| format!("the IPAM configuration: {error}")),
            Key::Resource { kind: Kind::IpPool, name, .. } => match Pool::from_document(document) {
                Ok(pool) => {
                    self.pools.push(pool);
                    None
                }
                Err(error) => Some(format!("pool {name}: {error}")),
            },
            Key::Resource { kind: Kind::WorkloadEndpoint, namespace, name } => {
                let namespace = namespace.as_deref().unwrap_or_default();
                let endpoint = format!("{namespace}/{name}");
                self.endpoints
                    .extend(endpoint_addresses(value).into_iter().map(|ip| (ip, endpoint.clone())));
                None
            }
            _ => None,
        };
        if let Some(text) = damaged {
            let told_by_upstream = matches!(document.key, Key::Block(_));
            let problem =
                Problem { severity: Severity::Broken, rule: "I2", text, told_by_upstream };
            self.problems.push(problem);
        }
    }

    fn check_blocks(&mut self) {
        let mut found = Vec::new();
        let mut broken = |severity, rule, text| {
            // Upstream looks at records that nothing refers to, not at sequence numbers.
            let told_by_upstream = (severity, rule) == (Severity::Waste, "6.3");
            found.push(Problem { severity, rule, text, told_by_upstream });
        };
        let cidrs: Vec<IpNet> = self.blocks.keys().copied().collect();
        for (index, cidr) in cidrs.iter().enumerate() {
            for other in cidrs.iter().skip(index + 1).filter(|other| overlap(*cidr, **other) > 0) {
                broken(Severity::Broken, "I1", format!("blocks {cidr} and {other} overlap"));
            }
        }
        for (cidr, block) in &self.blocks {
            let used: BTreeSet<u32> = block.allocations.iter().copied().flatten().collect();
            for (index, _) in block.records().iter().enumerate() {
                if !used.contains(&(index as u32)) {
                    let text = format!("block {cidr}: nothing refers to record {index}");
                    broken(Severity::Waste, "6.3", text);
                }
            }
            for ordinal in block.sequence_number_for_allocation.iter().flatten().map(|(key, _)| key)
            {
                let allocated = ordinal.parse::<usize>().is_ok_and(|ordinal| {
                    block.allocations.get(ordinal).is_some_and(Option::is_some)
                });
                if !allocated {
                    let text =
                        format!("block {cidr}: a sequence number for free ordinal {ordinal}");
                    broken(Severity::Broken, "6.3", text);
                }
            }
            match &block.affinity {
                None if block.is_empty() => {
                    broken(Severity::Waste, "W16", format!("block {cidr} is empty and ownerless"));
                }
                None => {}
                Some(owner) => match block.owner() {
                    Some(owner) if self.affinities.contains_key(&(owner.clone(), *cidr)) => {}
                    _ => {
                        let text = format!("block {cidr} belongs to {owner}, who has no affinity");
                        broken(Severity::HalfDone, "I3", text);
                    }
                },
            }
            if !self.pools.iter().any(|pool| pool.cidr.contains(cidr)) {
                broken(Severity::Waste, "orphan", format!("block {cidr} is in no pool"));
            }
        }
        self.problems.extend(found);
    }

    fn check_affinities(&mut self) {
        let mut found = Vec::new();
        for ((owner, cidr), affinity) in &self.affinities {
            let name = owner_text(owner);
            let block = self.blocks.get(cidr);
            let owned = block.is_some_and(|block| block.is_owned_by(owner));
            let text = match (&affinity.state, owned) {
                (state, true) if state.is_confirmed() => continue,
                (AffinityState::Pending, _) => format!("{name} is about to claim {cidr}"),
                (AffinityState::PendingDeletion, _) => format!("{name} is about to give up {cidr}"),
                (_, true) => format!("{name} has {cidr} in an unknown state"),
                (_, false) => match block {
                    None => format!("{name} has an affinity for {cidr}, which doesn't exist"),
                    Some(block) => format!(
                        "{name} has an affinity for {cidr}, which belongs to {}",
                        block.affinity.as_deref().unwrap_or("nobody")
                    ),
                },
            };
            let severity = Severity::HalfDone;
            found.push(Problem { severity, rule: "I4", text, told_by_upstream: false });
        }
        self.problems.extend(found);
    }

    fn check_handles(&mut self) {
        let mut truth: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (cidr, block) in &self.blocks {
            for (_, record) in block.allocated() {
                if let Some(id) = record.handle().filter(|id| !is_windows(id)) {
                    *truth.entry((id.to_owned(), cidr.to_string())).or_default() += 1;
                }
            }
        }
        for ((id, cidr), count) in &truth {
            let counted = self.handles.get(id).and_then(|handle| handle.block.get(cidr)).copied();
            if counted.unwrap_or(0) < *count {
                let text = format!(
                    "handle {id} counts {} of its {count} addresses in block {cidr}",
                    counted.unwrap_or(0)
                );
                self.find(Severity::Broken, "I6", text);
            }
        }
        let holders: BTreeSet<&String> = truth.keys().map(|(id, _)| id).collect();
        let mut over = Vec::new();
        for (id, handle) in &self.handles {
            // Upstream looks at handles that have no address at all, not at their counts.
            let told_by_upstream = !holders.contains(id);
            if handle.is_empty() {
                over.push((format!("handle {id} has nothing"), told_by_upstream));
            }
            for (cidr, counted) in &handle.block {
                let count = truth.get(&(id.clone(), cidr.clone())).copied().unwrap_or(0);
                if *counted > count {
                    let text = format!(
                        "handle {id} counts {counted} addresses in block {cidr}, which holds {count}"
                    );
                    over.push((text, told_by_upstream));
                }
            }
        }
        for (text, told_by_upstream) in over {
            let severity = Severity::Waste;
            self.problems.push(Problem { severity, rule: "W4", text, told_by_upstream });
        }
    }

    fn check_endpoints(&mut self) {
        let mut found = Vec::new();
        let mut users: BTreeMap<IpAddr, &String> = BTreeMap::new();
        for (ip, endpoint) in &self.endpoints {
            if let Some(other) = users.insert(*ip, endpoint).filter(|other| *other != endpoint) {
                let text = format!("endpoints {other} and {endpoint} both use {ip}");
                let severity = Severity::Broken;
                found.push(Problem { severity, rule: "I1", text, told_by_upstream: false });
            }
            let in_pool = self.pools.iter().any(|pool| pool.cidr.contains(ip));
            let allocated = self.blocks.values().filter(|block| block.cidr.contains(ip)).any(|block| {
                matches!(block.record(*ip), Ok(Some(record)) if record.released_at.is_none())
            });
            if in_pool && !allocated {
                let text = format!("endpoint {endpoint} uses {ip}, which is not allocated");
                let severity = Severity::Broken;
                found.push(Problem { severity, rule: "I1", text, told_by_upstream: true });
            }
        }
        self.problems.extend(found);
    }
}

fn is_windows(handle: &str) -> bool {
    handle.eq_ignore_ascii_case(super::block::WINDOWS_RESERVED_HANDLE)
}

fn endpoint_addresses(value: &[u8]) -> Vec<IpAddr> {
    #[derive(Deserialize)]
    struct Resource {
        #[serde(rename = "spec", default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(rename = "ipNetworks", default)]
        networks: Option<Vec<String>>,
    }
    let resource = serde_json::from_slice::<Resource>(value).ok();
    let texts = resource.and_then(|resource| resource.spec.networks).unwrap_or_default();
    texts.iter().filter_map(|text| parse_network(text)).map(|net| net.addr()).collect()
}

#[cfg(test)]
mod tests;
