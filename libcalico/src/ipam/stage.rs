//! The changes of one commit while they are decided: copies of blocks, handles and affinities,
//! each with the guard under which it was read. A block that is written has its sequence number
//! raised by one (`reference/ipam.md` 15.4, rule c).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::affinity::Affinity;
use super::block::{Block, HostReserved};
use super::error::IpamError;
use super::handle::Handle;
use super::view::{Fact, View};
use crate::store::{Action, AffinityOwner, Change, Guard, Key};

/// The most changes of one commit. Etcd takes 128; the caller's own come on top of these.
pub(crate) const MAX_CHANGES: usize = 112;
/// The most bytes of the blocks of one commit. Etcd takes 1.5 MiB a request.
pub(crate) const MAX_BYTES: usize = 1_200_000;

/// The moment and the chance that an operation goes by, passed in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Env {
    /// The present time.
    pub now: OffsetDateTime,
    /// Decides where the walk through a pool of single addresses starts.
    pub seed: u64,
}

/// What becomes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was only looked at.
    None,
    /// It must still be as it was read.
    Check,
    /// It is written.
    Write,
    /// It is deleted.
    Delete,
}

/// A copy of a block, collected.
#[derive(Debug, Clone)]
pub(crate) struct StagedBlock {
    pub block: Block,
    pub fate: Fate,
    guard: Guard,
    /// Whether writing it raises its sequence number: not the first write of an empty block.
    raise: bool,
}

/// The changes of one commit.
pub(crate) struct Stage<'v> {
    pub view: &'v View,
    pub env: Env,
    cooldown: i64,
    blocks: BTreeMap<IpNet, StagedBlock>,
    affinities: BTreeMap<(AffinityOwner, IpNet), (Guard, Action)>,
    handles: BTreeMap<String, (Guard, Handle)>,
    checks: BTreeMap<Key, Guard>,
}

/// In which order the changes stand, for stores that make them one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The handle first: it may count too much, never too little.
    Take,
    /// The handle last, for the same reason.
    Give,
}

impl<'v> Stage<'v> {
    pub(crate) fn new(view: &'v View, env: Env, cooldown: i64) -> Stage<'v> {
        Stage {
            view,
            env,
            cooldown,
            blocks: BTreeMap::new(),
            affinities: BTreeMap::new(),
            handles: BTreeMap::new(),
            checks: BTreeMap::new(),
        }
    }

    /// A copy of a block with what has cooled down collected; the same copy each time.
    pub(crate) fn block(&mut self, cidr: IpNet) -> Fact<&mut StagedBlock> {
        match self.blocks.entry(cidr) {
            Entry::Occupied(entry) => {
                let staged = entry.into_mut();
                if staged.fate == Fate::Delete {
                    return Fact::Absent;
                }
                Fact::Present(0, staged)
            }
            Entry::Vacant(entry) => match self.view.block(cidr) {
                Fact::Present(revision, block) => {
                    let mut block = Block::clone(block);
                    block.collect(self.env.now, self.cooldown);
                    let guard = Guard::Revision(revision);
                    let staged = StagedBlock { block, fate: Fate::None, guard, raise: true };
                    Fact::Present(revision, entry.insert(staged))
                }
                Fact::Unknown => Fact::Unknown,
                Fact::Absent => Fact::Absent,
                Fact::Damaged => Fact::Damaged,
            },
        }
    }

    /// Like [`Stage::block`], where a damaged block is a failure.
    pub(crate) fn sound_block(&mut self, cidr: IpNet) -> Result<Fact<&mut StagedBlock>, IpamError> {
        if matches!(self.view.block(cidr), Fact::Damaged) {
            return Err(self.view.damaged(&Key::Block(cidr), &format!("block {cidr}")));
        }
        Ok(self.block(cidr))
    }

    /// Creates a block that doesn't exist, with the affinity of its owner (T2).
    pub(crate) fn claim_absent(
        &mut self,
        cidr: IpNet,
        owner: &AffinityOwner,
        reserved: Option<&HostReserved>,
    ) -> &mut StagedBlock {
        self.put_affinity(owner, cidr);
        let block = Block::new(cidr, Some(owner), reserved, self.env.now);
        let staged = StagedBlock { block, fate: Fate::Write, guard: Guard::Absent, raise: false };
        self.blocks.entry(cidr).insert_entry(staged).into_mut()
    }

    /// Hands an empty block to a new owner, with both affinities (T3). Its free addresses keep
    /// their order, unless what Windows reserved in it has to be undone or made.
    pub(crate) fn claim_empty(
        &mut self,
        cidr: IpNet,
        owner: &AffinityOwner,
        reserved: Option<&HostReserved>,
    ) {
        let now = self.env.now;
        let Fact::Present(_, staged) = self.block(cidr) else { return };
        let old_owner = staged.block.owner();
        if reserved.is_some() || staged.block.allocations.iter().any(Option::is_some) {
            let mut fresh = Block::new(cidr, Some(owner), reserved, now);
            fresh.sequence_number = fresh.sequence_number.max(staged.block.sequence_number);
            staged.block = fresh;
        } else {
            staged.block.set_owner(Some(owner), now);
        }
        staged.fate = Fate::Write;
        if let Some(old_owner) = old_owner.filter(|old| old != owner) {
            let guard = self.view.affinity(&old_owner, cidr).guard();
            let action = if guard == Guard::Absent { Action::Check } else { Action::Delete };
            self.affinities.insert((old_owner, cidr), (guard, action));
        }
        self.put_affinity(owner, cidr);
    }

    /// Confirms the affinity of an owner, unless it is.
    pub(crate) fn confirm_affinity(&mut self, owner: &AffinityOwner, cidr: IpNet) {
        match self.view.affinity(owner, cidr) {
            Fact::Present(_, affinity) if affinity.state.is_confirmed() && !affinity.deleted => {}
            _ => self.put_affinity(owner, cidr),
        }
    }

    fn put_affinity(&mut self, owner: &AffinityOwner, cidr: IpNet) {
        let guard = self.view.affinity(owner, cidr).guard();
        let value = Affinity::confirmed().encode();
        self.affinities.insert((owner.clone(), cidr), (guard, Action::Put(value)));
    }

    /// Deletes an affinity as it was read; one that isn't there must stay so.
    pub(crate) fn delete_affinity(&mut self, owner: &AffinityOwner, cidr: IpNet) {
        let guard = self.view.affinity(owner, cidr).guard();
        let action = if guard == Guard::Absent { Action::Check } else { Action::Delete };
        self.affinities.insert((owner.clone(), cidr), (guard, action));
    }

    /// A handle, to be changed; an empty one when there is none.
    pub(crate) fn handle(&mut self, id: &str) -> Result<&mut Handle, IpamError> {
        let fact = self.view.handle(id);
        let guard = fact.guard();
        let handle = match fact {
            Fact::Present(_, handle) => handle.clone(),
            Fact::Damaged => {
                let what = format!("handle {id}");
                return Err(self.view.damaged(&Key::Handle(id.to_owned()), &what));
            }
            Fact::Unknown | Fact::Absent => Handle::default(),
        };
        Ok(&mut self.handles.entry(id.to_owned()).or_insert((guard, handle)).1)
    }

    /// Commits only if this still holds.
    pub(crate) fn check(&mut self, key: Key, guard: Guard) {
        self.checks.insert(key, guard);
    }

    /// Commits only if there still is no such block. One that this commit deletes has its guard.
    pub(crate) fn check_absent(&mut self, cidr: IpNet) {
        if !self.blocks.contains_key(&cidr) {
            self.checks.insert(Key::Block(cidr), Guard::Absent);
        }
    }

    /// Whether another block with all that belongs to it still fits.
    pub(crate) fn has_room(&self) -> bool {
        // A block takes at most itself, two affinities and the check of its pool; then the handle.
        let (mut blocks, mut bytes) = (0, 0);
        for staged in self.blocks.values().filter(|staged| staged.fate != Fate::None) {
            blocks += 1;
            bytes += staged.block.allocations.len() * 40 + staged.block.records().len() * 300;
        }
        let changes = blocks + self.affinities.len() + self.handles.len() + self.checks.len();
        changes + 5 <= MAX_CHANGES && bytes < MAX_BYTES
    }

    /// Whether nothing would change.
    pub(crate) fn is_idle(&self) -> bool {
        self.affinities.values().all(|(_, action)| *action == Action::Check)
            && self.handles.is_empty()
            && self.blocks.values().all(|staged| matches!(staged.fate, Fate::None | Fate::Check))
    }

    /// The commit.
    pub(crate) fn into_changes(self, order: Order) -> Vec<Change> {
        let checks: Vec<Change> = self
            .checks
            .into_iter()
            .map(|(key, guard)| Change { key, guard, action: Action::Check })
            .collect();
        let handles = self.handles.into_iter().filter_map(|(id, (guard, handle))| {
            let action = match (handle.is_empty(), guard) {
                (true, Guard::Absent) => return None,
                (true, _) => Action::Delete,
                (false, _) => Action::Put(handle.encode()),
            };
            Some(Change { key: Key::Handle(id), guard, action })
        });
        let blocks = self.blocks.into_iter().filter_map(|(cidr, staged)| staged.into_change(cidr));
        let affinities = self.affinities.into_iter().map(|((owner, cidr), (guard, action))| {
            Change { key: Key::Affinity(owner, cidr), guard, action }
        });
        match order {
            Order::Take => {
                checks.into_iter().chain(handles).chain(affinities).chain(blocks).collect()
            }
            Order::Give => {
                checks.into_iter().chain(blocks).chain(affinities).chain(handles).collect()
            }
        }
    }
}

impl StagedBlock {
    /// Its content changed: write it.
    pub(crate) fn touch(&mut self) {
        self.fate = Fate::Write;
        self.raise = true;
    }

    /// It has to stay as it was read.
    pub(crate) fn check(&mut self) {
        if self.fate == Fate::None {
            self.fate = Fate::Check;
        }
    }

    fn into_change(mut self, cidr: IpNet) -> Option<Change> {
        let action = match self.fate {
            Fate::None => return None,
            Fate::Check => Action::Check,
            Fate::Delete => Action::Delete,
            Fate::Write => {
                if self.raise {
                    self.block.sequence_number = self.block.sequence_number.saturating_add(1);
                }
                Action::Put(self.block.encode())
            }
        };
        Some(Change { key: Key::Block(cidr), guard: self.guard, action })
    }
}
