//! Repairs of a store that contradicts itself, as far as they are provably safe
//! (`reference/ipam.md` 13.1 and 13.2). Pure: it gets every document at one revision and answers
//! guarded changes. Each repair is one commit; whoever changes one of its documents first wins, and
//! the repair is planned anew from what is there then.
//!
//! Blocks are the authority: an address that a block says is allocated stays so, and nothing here
//! touches one. What an upstream process may be in the middle of (its sequences of writes are no
//! transactions) is left to it, unless the datastore is locked or its node is gone.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use time::OffsetDateTime;

use super::affinity::{Affinity, AffinityState, owner_text};
use super::block::{Block, WINDOWS_RESERVED_HANDLE};
use super::handle::Handle;
use super::pool::Pool;
use crate::resources::Kind;
use crate::store::{Action, AffinityOwner, AffinityType, Change, Document, Guard, Key, Revision};

/// One repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// What it does, with the names of all that takes part.
    pub text: String,
    /// The commit that does it.
    pub changes: Vec<Change>,
}

/// What can be repaired, and what is left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The repairs. Two may touch the same document: then the second one is for the next plan.
    pub repairs: Vec<Repair>,
    /// What is wrong and stays so, with the reason and the next step.
    pub left_alone: Vec<String>,
}

/// Plans the repairs of a store. `locked` says that the datastore is locked, so that nobody is in
/// the middle of an allocation.
pub fn plan(documents: &[Document], locked: bool, now: OffsetDateTime) -> Plan {
    let mut planner = Planner::new(documents, locked, now);
    planner.blocks();
    planner.affinities();
    planner.handles();
    planner.plan
}

struct Planner {
    blocks: BTreeMap<IpNet, (Revision, Block)>,
    /// Blocks that can't be read, and why.
    damaged: BTreeSet<IpNet>,
    affinities: BTreeMap<(AffinityOwner, IpNet), (Revision, Affinity)>,
    handles: BTreeMap<String, (Revision, Handle)>,
    nodes: BTreeSet<String>,
    pools: Vec<Pool>,
    locked: bool,
    now: OffsetDateTime,
    plan: Plan,
}

impl Planner {
    fn new(documents: &[Document], locked: bool, now: OffsetDateTime) -> Planner {
        let mut planner = Planner {
            blocks: BTreeMap::new(),
            damaged: BTreeSet::new(),
            affinities: BTreeMap::new(),
            handles: BTreeMap::new(),
            nodes: BTreeSet::new(),
            pools: Vec::new(),
            locked,
            now,
            plan: Plan::default(),
        };
        for document in documents {
            planner.read(document);
        }
        planner
    }

    fn read(&mut self, document: &Document) {
        let (revision, value) = (document.revision, &document.value);
        match &document.key {
            Key::Block(cidr) => match serde_json::from_slice::<Block>(value) {
                Ok(block) if block.cidr.trunc() == *cidr => {
                    self.blocks.insert(*cidr, (revision, block));
                }
                Ok(block) => {
                    self.damaged.insert(*cidr);
                    let text = format!("block {cidr} says that it is {}", block.cidr);
                    self.leave(text, "compare it with a backup");
                }
                Err(error) => {
                    self.damaged.insert(*cidr);
                    self.leave(format!("block {cidr}: {error}"), "compare it with a backup");
                }
            },
            Key::Affinity(owner, cidr) => match Affinity::decode(value) {
                Ok(affinity) => {
                    self.affinities.insert((owner.clone(), *cidr), (revision, affinity));
                }
                Err(error) => {
                    let text = format!("affinity of {} for {cidr}: {error}", owner.name);
                    self.leave(text, "compare it with a backup");
                }
            },
            Key::Handle(id) => match Handle::decode(value) {
                Ok(handle) => {
                    self.handles.insert(id.clone(), (revision, handle));
                }
                Err(error) => {
                    self.leave(format!("handle {id}: {error}"), "compare it with a backup")
                }
            },
            Key::Resource { kind: Kind::Node, name, .. } => {
                self.nodes.insert(name.clone());
            }
            Key::Resource { kind: Kind::IpPool, name, .. } => match Pool::from_document(document) {
                Ok(pool) => self.pools.push(pool),
                Err(error) => self.leave(format!("pool {name}: {error}"), "correct the pool"),
            },
            _ => {}
        }
    }

    fn leave(&mut self, what: String, next: &str) {
        self.plan.left_alone.push(format!("{what}: {next}"));
    }

    fn repair(&mut self, text: String, changes: Vec<Change>) {
        self.plan.repairs.push(Repair { text, changes });
    }

    /// Whether an owner can't be in the middle of anything.
    fn is_gone(&self, owner: &AffinityOwner) -> bool {
        owner.kind == AffinityType::Host && !self.nodes.contains(&owner.name)
    }

    /// The guard under which an owner stays gone.
    fn stays_gone(&self, owner: &AffinityOwner) -> Change {
        let key = Key::global(Kind::Node, &owner.name);
        Change { key, guard: Guard::Absent, action: Action::Check }
    }

    fn blocks(&mut self) {
        let blocks: Vec<(IpNet, Revision, Block)> = self
            .blocks
            .iter()
            .map(|(cidr, (revision, block))| (*cidr, *revision, block.clone()))
            .collect();
        for (cidr, revision, block) in blocks {
            let mut sound = block.clone();
            if !sound.rebuild_lists() {
                self.damaged.insert(cidr);
                let text = format!("block {cidr}: {}", block.problems().join(", "));
                self.leave(text, "who has these addresses is lost; compare it with a backup");
                continue;
            }
            if sound != block {
                sound.sequence_number = sound.sequence_number.saturating_add(1);
                let text = format!(
                    "block {cidr}: wrote its free list, records and sequence numbers anew from its \
                     allocations"
                );
                let change = Change::update(Key::Block(cidr), revision, sound.encode());
                self.repair(text, vec![change]);
                continue;
            }
            self.ownership(cidr, revision, block);
        }
    }

    /// A block and its owner's affinity.
    fn ownership(&mut self, cidr: IpNet, revision: Revision, mut block: Block) {
        let in_pool = self.pools.iter().any(|pool| pool.cidr.contains(&cidr));
        let owner = block.owner();
        if block.is_empty() && (block.affinity.is_none() || !in_pool) {
            let why = if in_pool { "empty and ownerless" } else { "empty and in no pool" };
            let mut changes = vec![Change::delete(Key::Block(cidr), revision)];
            if let Some(owner) = owner {
                changes.push(self.delete_affinity(&owner, cidr));
            }
            self.repair(format!("block {cidr}: deleted, as it was {why}"), changes);
            return;
        }
        if !in_pool {
            let text = format!("block {cidr} is in no pool and has addresses in use");
            self.leave(text, "its workloads have to be recreated");
        }
        let Some(owner) = owner else {
            if let Some(affinity) = &block.affinity {
                let text = format!("block {cidr} belongs to {affinity:?}, which is no owner");
                self.leave(text, "compare it with a backup");
            }
            return;
        };
        let affinity = self.affinities.get(&(owner.clone(), cidr));
        let state = affinity.map(|(_, affinity)| affinity.state.clone());
        if state.as_ref().is_some_and(AffinityState::is_confirmed) {
            return;
        }
        let guard = affinity.map_or(Guard::Absent, |(revision, _)| Guard::Revision(*revision));
        let name = owner_text(&owner);
        let finish = state == Some(AffinityState::PendingDeletion) && self.is_gone(&owner);
        // Whoever is about to claim or to give up the block holds its old revision, and has to look
        // again once it is written.
        block.sequence_number = block.sequence_number.saturating_add(1);
        let key = Key::Affinity(owner.clone(), cidr);
        if finish {
            let mut changes = vec![self.stays_gone(&owner)];
            if block.is_empty() {
                changes.push(Change::delete(Key::Block(cidr), revision));
            } else {
                block.set_owner(None, self.now);
                changes.push(Change::update(Key::Block(cidr), revision, block.encode()));
            }
            changes.push(Change { key, guard, action: Action::Delete });
            let text = format!("block {cidr}: finished its release by {name}, which is gone");
            self.repair(text, changes);
            return;
        }
        let action = Action::Put(Affinity::confirmed().encode());
        let changes = vec![
            Change::update(Key::Block(cidr), revision, block.encode()),
            Change { key, guard, action },
        ];
        self.repair(format!("block {cidr}: confirmed that it belongs to {name}"), changes);
    }

    fn delete_affinity(&self, owner: &AffinityOwner, cidr: IpNet) -> Change {
        let key = Key::Affinity(owner.clone(), cidr);
        match self.affinities.get(&(owner.clone(), cidr)) {
            Some((revision, _)) => Change::delete(key, *revision),
            None => Change { key, guard: Guard::Absent, action: Action::Check },
        }
    }

    /// Affinities for blocks that their owner hasn't got.
    fn affinities(&mut self) {
        let stale: Vec<(AffinityOwner, IpNet, AffinityState)> = self
            .affinities
            .iter()
            .filter(|((_, cidr), _)| !self.damaged.contains(cidr))
            .filter(|((owner, cidr), _)| {
                !self.blocks.get(cidr).is_some_and(|(_, block)| block.is_owned_by(owner))
            })
            .map(|((owner, cidr), (_, affinity))| (owner.clone(), *cidr, affinity.state.clone()))
            .collect();
        for (owner, cidr, state) in stale {
            let name = owner_text(&owner);
            let mut changes = vec![self.delete_affinity(&owner, cidr)];
            let text = match self.blocks.get(&cidr) {
                Some((revision, block)) => {
                    let (key, guard) = (Key::Block(cidr), Guard::Revision(*revision));
                    changes.push(Change { key, guard, action: Action::Check });
                    let has = block.affinity.as_deref().unwrap_or("nobody");
                    format!("affinity of {name} for {cidr}: deleted, as {has} has the block")
                }
                None => {
                    let key = Key::Block(cidr);
                    changes.push(Change { key, guard: Guard::Absent, action: Action::Check });
                    // Between a pending affinity and its block an upstream claim is under way.
                    let under_way = !matches!(
                        state,
                        AffinityState::Confirmed
                            | AffinityState::Unset
                            | AffinityState::PendingDeletion
                    );
                    if under_way && self.is_gone(&owner) {
                        changes.push(self.stays_gone(&owner));
                    } else if under_way && !self.locked {
                        let text = format!("{name} may be about to claim {cidr}");
                        self.leave(text, "lock the datastore to be sure that it is not");
                        continue;
                    }
                    format!("affinity of {name} for {cidr}: deleted, as there is no such block")
                }
            };
            self.repair(text, changes);
        }
    }

    /// Handles whose counts aren't those of the blocks.
    fn handles(&mut self) {
        let mut truth: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for (cidr, (_, block)) in &self.blocks {
            for (_, record) in block.allocated() {
                let id = record.handle().filter(|id| {
                    !id.eq_ignore_ascii_case(WINDOWS_RESERVED_HANDLE)
                        && !id.is_empty()
                        && !id.contains('/')
                });
                if let Some(id) = id {
                    *truth
                        .entry(id.to_owned())
                        .or_default()
                        .entry(cidr.to_string())
                        .or_default() += 1;
                }
            }
        }
        let ids: BTreeSet<String> = truth.keys().chain(self.handles.keys()).cloned().collect();
        for id in ids {
            let exact = truth.remove(&id).unwrap_or_default();
            self.handle(&id, exact);
        }
    }

    fn handle(&mut self, id: &str, mut exact: BTreeMap<String, i64>) {
        let stored = self.handles.get(id).cloned();
        let (guard, mut handle) = match stored {
            Some((revision, handle)) => (Guard::Revision(revision), handle),
            None => (Guard::Absent, Handle::default()),
        };
        // What a block that can't be read holds of it nobody knows: such a count stays.
        for (name, count) in &handle.block {
            let unknown = name.parse().map_or(true, |cidr: IpNet| self.damaged.contains(&cidr));
            if unknown {
                exact.insert(name.clone(), *count);
            }
        }
        if handle.block == exact && !(exact.is_empty() && guard != Guard::Absent) {
            return;
        }
        let named: BTreeSet<&String> = handle.block.keys().chain(exact.keys()).collect();
        let mut changes = Vec::new();
        for name in named {
            let Ok(cidr) = name.parse::<IpNet>() else { continue };
            let cidr = cidr.trunc();
            let key = Key::Block(cidr);
            let counted = handle.block.get(name).copied().unwrap_or(0);
            match self.blocks.get(&cidr) {
                None if self.damaged.contains(&cidr) => {}
                None => changes.push(Change { key, guard: Guard::Absent, action: Action::Check }),
                Some((revision, block)) if counted > exact.get(name).copied().unwrap_or(0) => {
                    // An upstream process may have counted what it is about to write: once the
                    // block is another one it looks again, and counts again.
                    let mut block = block.clone();
                    block.sequence_number = block.sequence_number.saturating_add(1);
                    changes.push(Change::update(key, *revision, block.encode()));
                }
                Some((revision, _)) => {
                    let guard = Guard::Revision(*revision);
                    changes.push(Change { key, guard, action: Action::Check });
                }
            }
        }
        let key = Key::Handle(id.to_owned());
        let text = if exact.is_empty() {
            changes.push(Change { key, guard, action: Action::Delete });
            format!("handle {id}: deleted, as it has no address")
        } else {
            let total: i64 = exact.values().sum();
            let text = match guard {
                Guard::Absent => format!("handle {id}: made anew for its {total} addresses"),
                _ => format!("handle {id}: counts its {total} addresses now"),
            };
            handle.block = exact;
            changes.push(Change { key, guard, action: Action::Put(handle.encode()) });
            text
        };
        if changes.len() > crate::store::MAX_CHANGES {
            self.leave(format!("handle {id} names {} blocks", changes.len()), "too many at once");
            return;
        }
        self.repair(text, changes);
    }
}

#[cfg(test)]
mod tests;
