//! What must hold after every write (`reference/ipam.md` 13.1), followed from the writes themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::ipam::Block;
use libcalico::ipam::affinity::{Affinity, AffinityState, owner_text};
use libcalico::ipam::block::WINDOWS_RESERVED_HANDLE;
use libcalico::ipam::handle::{Handle, sanitize};
use libcalico::store::{Action, AffinityOwner, Change, Guard, Key};

/// What is stored, who was told what, and what was wrong with it.
#[derive(Default)]
pub struct Monitor {
    /// Which seats are upstream's.
    upstream: BTreeSet<usize>,
    /// A process of upstream's takes part, or did before.
    pub mixed: bool,
    blocks: BTreeMap<IpNet, Block>,
    affinities: BTreeMap<(AffinityOwner, IpNet), AffinityState>,
    handles: BTreeMap<String, Handle>,
    /// The last sequence number of blocks that were deleted, and when that was.
    gone: BTreeMap<IpNet, (u64, i64)>,
    /// Every address that was ever given, with its sequence number.
    given: BTreeSet<(IpAddr, u64)>,
    /// Who was told that it has which address.
    holders: BTreeMap<IpAddr, String>,
    /// The same, and what is no longer so.
    known: BTreeMap<String, Vec<(IpAddr, u64)>>,
    /// How many releases of each handle are under way.
    releasing: BTreeMap<String, usize>,
    /// How many releases of each handle have ended.
    ended: BTreeMap<String, usize>,
    /// Blocks whose affinity one of ours removed while a process of upstream's was about to create
    /// them.
    orphans: BTreeSet<IpNet>,
    /// For how many seconds released addresses cool down, and since when those do that still do.
    cooldown: i64,
    cooling: BTreeMap<IpAddr, i64>,
    /// What handles count too much.
    excess: BTreeMap<(String, IpNet), i64>,
    /// A process of upstream's has lost a race.
    upstream_lost: bool,
    pub violations: Vec<String>,
}

impl Monitor {
    pub fn new(upstream: impl IntoIterator<Item = usize>, mixed: bool, cooldown: i64) -> Monitor {
        Monitor { upstream: upstream.into_iter().collect(), mixed, cooldown, ..Monitor::default() }
    }

    pub fn violate(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Whether upstream may have left something half-done though it lives: it has lost a race, after
    /// which it doesn't always go on.
    pub fn is_excused(&self) -> bool {
        self.upstream_lost || !self.orphans.is_empty()
    }

    /// A commit lost a race.
    pub fn lost(&mut self, seat: usize, changes: &[Change]) {
        let guarded = changes.iter().any(|change| matches!(change.guard, Guard::Revision(_)));
        self.upstream_lost |= guarded && self.upstream.contains(&seat);
    }

    /// How many releases of a handle have ended so far.
    pub fn releases_ended(&self, handle: &str) -> usize {
        self.ended.get(handle).copied().unwrap_or_default()
    }

    /// A process of upstream's lost the creation of a block, and then found it gone: it fails and
    /// leaves its pending affinity.
    pub fn gives_up(&mut self) {
        self.upstream_lost = true;
    }

    /// An actor was told that a handle has an address now. `ended` is how many releases of the
    /// handle had ended when it began to ask: one that ran meanwhile may have taken from a request
    /// of several commits what an early one of them had got.
    pub fn told(&mut self, handle: &str, address: IpAddr, sequence_number: u64, ended: usize) {
        self.known.entry(handle.to_owned()).or_default().push((address, sequence_number));
        let is_releasing = self.releasing.get(handle).is_some_and(|count| *count > 0);
        if is_releasing || self.releases_ended(handle) != ended {
            return;
        }
        if let Some(other) = self.holders.insert(address, handle.to_owned())
            && other != handle
        {
            self.violate(format!("I1: {address} was given to {handle}, and {other} has it"));
        }
        let block = self.blocks.values().find(|block| block.cidr.contains(&address));
        if block.is_none_or(|block| block.sequence_of(address) != Ok(sequence_number)) {
            self.violate(format!("{handle} was told a wrong sequence number of {address}"));
        }
        self.check_holders();
    }

    /// A release of a handle begins.
    pub fn releases(&mut self, handle: &str) {
        self.holders.retain(|_, holder| holder != handle);
        *self.releasing.entry(handle.to_owned()).or_default() += 1;
    }

    /// A release of a handle ended; when nobody else could give it addresses, nothing is left.
    pub fn released(&mut self, handle: &str, all: bool) {
        *self.releasing.entry(handle.to_owned()).or_default() -= 1;
        *self.ended.entry(handle.to_owned()).or_default() += 1;
        if all {
            let left: Vec<IpAddr> =
                self.blocks.values().flat_map(|block| block.addresses_of(handle)).collect();
            if !left.is_empty() {
                self.violate(format!("{handle} was released and still has {left:?}"));
            }
        }
    }

    /// All that was ever told of a handle: addresses with their sequence numbers.
    pub fn known(&self, handle: &str) -> Vec<(IpAddr, u64)> {
        self.known.get(handle).cloned().unwrap_or_default()
    }

    /// Takes in a commit that was planned at one time and made at another.
    pub fn committed(&mut self, seat: usize, changes: &[Change], planned: i64, now: i64) {
        let upstream = self.upstream.contains(&seat);
        if upstream && changes.len() != 1 {
            self.violate(format!("upstream writes one key at a time, not {}", changes.len()));
        }
        for change in changes {
            match (&change.key, &change.action) {
                (_, Action::Check) => {}
                (Key::Block(cidr), Action::Put(value)) => match Block::decode(value) {
                    Ok(block) => self.put_block(*cidr, block, planned),
                    Err(error) => self.violate(format!("I2: {error}")),
                },
                (Key::Block(cidr), Action::Delete) => {
                    if let Some(block) = self.blocks.remove(cidr) {
                        self.gone.insert(*cidr, (block.sequence_number, now));
                        let wanted: Vec<&str> = block
                            .allocated()
                            .filter_map(|(_, record)| record.handle().filter(|id| !is_windows(id)))
                            .filter(|id| self.releasing.get(*id).is_none_or(|count| *count == 0))
                            .collect();
                        if !wanted.is_empty() {
                            let text = format!("I1: {cidr} was deleted, and {wanted:?} had it");
                            self.violate(text);
                        }
                    }
                    self.orphans.remove(cidr);
                }
                (Key::Affinity(owner, cidr), Action::Put(value)) => {
                    let state = Affinity::decode(value).map(|affinity| affinity.state);
                    let state = state.unwrap_or(AffinityState::Other("unreadable".to_owned()));
                    if !upstream && state != AffinityState::Confirmed {
                        self.violate(format!("ours wrote an affinity that is {state:?}"));
                    }
                    self.affinities.insert((owner.clone(), *cidr), state);
                    if self.blocks.get(cidr).is_some_and(|block| block.is_owned_by(owner)) {
                        self.orphans.remove(cidr);
                    }
                }
                (Key::Affinity(owner, cidr), Action::Delete) => {
                    self.affinities.remove(&(owner.clone(), *cidr));
                }
                (Key::Handle(id), Action::Put(value)) => match Handle::decode(value) {
                    Ok(handle) => drop(self.handles.insert(id.clone(), handle)),
                    Err(error) => self.violate(format!("handle {id}: {error}")),
                },
                (Key::Handle(id), Action::Delete) => drop(self.handles.remove(id)),
                _ => {}
            }
        }
        self.check_affinities(upstream, changes);
        self.check_handles(upstream);
        self.check_holders();
    }

    fn put_block(&mut self, cidr: IpNet, block: Block, planned: i64) {
        let mut found = Vec::new();
        let old = self.blocks.get(&cidr);
        // I7. A block that was planned while another one of its network still was there may start
        // lower; its addresses still never come with the same number twice.
        if let Some(old) = old
            && block.sequence_number <= old.sequence_number
        {
            let (old, new) = (old.sequence_number, block.sequence_number);
            found.push(format!("I7: the sequence number of {cidr} goes from {old} to {new}"));
        }
        if let (None, Some((last, when))) = (old, self.gone.get(&cidr))
            && planned > *when
            && block.sequence_number <= *last
        {
            found.push(format!("I7: {cidr} was made again with a lower sequence number"));
        }
        // I9. A block that is taken over with what Windows kept in it is laid out anew.
        let anew = |old: &Block| old.affinity != block.affinity && keeps_for_windows(old, &block);
        if let Some(old) = old.filter(|old| !anew(old)) {
            let free: BTreeSet<u32> = block.unallocated.iter().copied().collect();
            let kept = old.unallocated.iter().copied().filter(|ordinal| free.contains(ordinal));
            if !block.unallocated.starts_with(&kept.collect::<Vec<u32>>()) {
                let (old, new) = (&old.unallocated, &block.unallocated);
                found.push(format!("I9: the free ones of {cidr} go from {old:?} to {new:?}"));
            }
        }
        let cools = |address: IpAddr| {
            let record = block.record(address).ok().flatten();
            record.is_some_and(|record| record.released_at.is_some())
        };
        // Times are stored in whole seconds.
        let least = (self.cooldown - 1) * 1_000_000_000;
        self.cooling.retain(|address, since| {
            let over = cidr.contains(address) && !cools(*address);
            if over && planned - *since < least {
                found.push(format!("{address} was free before it had cooled down"));
            }
            !over
        });
        for (address, record) in block.allocated() {
            if record.released_at.is_some() {
                self.cooling.entry(address).or_insert(planned);
            }
            let before = old.and_then(|old| old.record(address).ok().flatten());
            let sequence = block.sequence_of(address).unwrap_or(0);
            let new = before.is_none_or(|before| {
                before.released_at.is_some() || before.handle().is_some_and(is_windows)
            });
            if record.released_at.is_some() || record.handle().is_some_and(is_windows) {
                continue;
            }
            if new && !self.given.insert((address, sequence)) {
                found.push(format!("I7: {address} was given out under {sequence} twice"));
            }
            if let Some(before) = before.filter(|_| !new)
                && before.handle() != record.handle()
            {
                found.push(format!("I1: {address} went from {before:?} to {record:?} at once"));
            }
        }
        for ordinal in block.sequence_number_for_allocation.iter().flatten().map(|(key, _)| key) {
            let allocated = ordinal.parse::<usize>().ok().and_then(|at| block.allocations.get(at));
            if !allocated.is_some_and(Option::is_some) {
                found.push(format!("I2: {cidr} has a sequence number of free ordinal {ordinal}"));
            }
        }
        if block.cidr != cidr {
            found.push(format!("I2: the block at {cidr} says that it is {}", block.cidr));
        }
        self.violations.extend(found);
        self.blocks.insert(cidr, block);
    }

    fn has_affinity(&self, block: &Block) -> bool {
        block.owner().is_some_and(|owner| self.affinities.contains_key(&(owner, block.cidr)))
    }

    /// I3, I4 and I5.
    fn check_affinities(&mut self, upstream: bool, changes: &[Change]) {
        let mut found = Vec::new();
        let lone: Vec<IpNet> = self
            .blocks
            .values()
            .filter(|block| block.affinity.is_some() && !self.has_affinity(block))
            .map(|block| block.cidr)
            .filter(|cidr| !self.orphans.contains(cidr))
            .collect();
        for cidr in lone {
            // Ours removed the pending affinity of a block that didn't exist, while its owner was
            // about to create it (15.4, T5).
            let created = matches!(changes, [change] if change.key == Key::Block(cidr)
                && change.guard == Guard::Absent);
            if upstream && created {
                self.orphans.insert(cidr);
            } else {
                found.push(format!("I3: the owner of {cidr} has no affinity"));
            }
        }
        for ((owner, cidr), state) in &self.affinities {
            let block = self.blocks.get(cidr);
            let owned = block.is_some_and(|block| block.is_owned_by(owner));
            if state.is_confirmed() && !owned {
                let has = block.and_then(|block| block.affinity.clone());
                let owner = owner_text(owner);
                found.push(format!("I4, I5: {owner} has {cidr} confirmed, which {has:?} owns"));
            }
            if !self.mixed && !state.is_confirmed() {
                found.push(format!("the affinity of {} for {cidr} is {state:?}", owner.name));
            }
        }
        self.violations.extend(found);
    }

    /// I6. A handle may count too much, but ours never make it so.
    fn check_handles(&mut self, upstream: bool) {
        let mut truth: BTreeMap<(&str, IpNet), i64> = BTreeMap::new();
        for block in self.blocks.values() {
            for (_, record) in block.allocated() {
                if let Some(id) = record.handle().filter(|id| !is_windows(id)) {
                    *truth.entry((id, block.cidr)).or_default() += 1;
                }
            }
        }
        let mut found = Vec::new();
        for ((id, cidr), count) in &truth {
            let handle = self.handles.get(sanitize(id));
            let counted = handle.and_then(|handle| handle.block.get(&cidr.to_string()));
            if counted.is_none_or(|counted| counted < count) {
                found.push(format!("I6: {id} counts {counted:?} of its {count} in {cidr}"));
            }
        }
        let mut excess = BTreeMap::new();
        for (id, handle) in &self.handles {
            for (text, counted) in &handle.block {
                let cidr: IpNet = text.parse().expect("a network");
                let over = counted - truth.get(&(id, cidr)).copied().unwrap_or(0);
                let before = self.excess.get(&(id.clone(), cidr)).copied().unwrap_or(0);
                if over > before && !upstream {
                    found.push(format!("I6: ours count {over} too many of {id} in {cidr}"));
                }
                if over != 0 {
                    excess.insert((id.clone(), cidr), over);
                }
            }
        }
        self.excess = excess;
        self.violations.extend(found);
    }

    /// I1: whoever was told that it has an address has it.
    fn check_holders(&mut self) {
        let mut found = Vec::new();
        for (address, holder) in &self.holders {
            let block = self.blocks.values().find(|block| block.cidr.contains(address));
            let record = block.and_then(|block| block.record(*address).ok().flatten());
            if record.and_then(|record| record.handle()) != Some(holder) {
                found.push(format!("I1: {holder} was told that it has {address}, and has not"));
            }
        }
        self.violations.extend(found);
    }
}

/// What Windows reserves is counted by no handle.
fn is_windows(handle: &str) -> bool {
    handle == WINDOWS_RESERVED_HANDLE
}

fn keeps_for_windows(old: &Block, new: &Block) -> bool {
    let mut records = old.allocated().chain(new.allocated());
    records.any(|(_, record)| record.handle().is_some_and(is_windows))
}
