//! The search for free addresses of one family: what the handle has, the host's own blocks, new
//! and empty blocks, blocks of others (`reference/ipam.md` 3.3 to 3.8, 4.2, 5.3). It goes as far as
//! what is known, and says what it has to know next.

use std::collections::BTreeSet;

use ipnet::IpNet;
use time::Duration;

use super::{Choice, Facts};
use crate::ipam::block::{Block, HostReserved};
use crate::ipam::error::IpamError;
use crate::ipam::pool::{self, Pool};
use crate::ipam::request::Assigned;
use crate::ipam::stage::{Fate, Stage};
use crate::ipam::view::Fact;
use crate::ipam::walk::Walk;
use crate::store::{AffinityOwner, Family, Key};

/// For how long an empty block stays with its owner before another host may take it.
const MIN_RECLAIM_AGE: Duration = Duration::seconds(60);

/// The most blocks that are read at once, and about how many bytes of them: a full block takes
/// some 300 bytes an address.
const MAX_BATCH: u128 = 64;
const BATCH_BYTES: u128 = 1 << 20;
const BYTES_PER_ADDRESS: u128 = 300;
/// The first candidates for a new block that are read.
const FIRST_BATCH: u128 = 4;

/// How a search ended.
pub(super) enum End {
    /// Everything was found.
    Satisfied,
    /// More has to be read: `needs`.
    Unknown,
    /// The commit is full; another one can take more.
    NoRoom,
    /// There is no more, for the reason that upstream would give.
    Short(String),
    /// The host may not claim another block.
    Limit(u64),
    /// Blocks may not be claimed automatically.
    MayNotClaim,
}

/// What the handle has already.
#[derive(Default)]
pub(super) struct Existing {
    pub addresses: Vec<Assigned>,
    /// How many more the handle may have.
    pub most_more: Option<usize>,
    /// Its blocks have to be read first: `needs`.
    pub unknown: bool,
}

pub(super) struct Search<'s, 'v> {
    family: Family,
    facts: &'s Facts<'s>,
    choice: &'s Choice,
    stage: &'s mut Stage<'v>,
    wanted: usize,
    /// Blocks of the host in the pools.
    owned: BTreeSet<IpNet>,
    /// Blocks that were searched already.
    tried: BTreeSet<IpNet>,
    pub taken: Vec<Assigned>,
    pub needs: BTreeSet<Key>,
}

impl<'s, 'v> Search<'s, 'v> {
    pub(super) fn new(
        family: Family,
        facts: &'s Facts<'s>,
        choice: &'s Choice,
        stage: &'s mut Stage<'v>,
    ) -> Search<'s, 'v> {
        Search {
            family,
            facts,
            choice,
            stage,
            wanted: 0,
            owned: BTreeSet::new(),
            tried: BTreeSet::new(),
            taken: Vec::new(),
            needs: BTreeSet::new(),
        }
    }

    /// The addresses that the handle has already, as far as the request wants to know them.
    pub(super) fn existing(&mut self, wanted: usize) -> Result<Existing, IpamError> {
        let mut existing = Existing::default();
        let request = self.facts.request;
        let asked = request.reuse || request.max_per_handle.is_some();
        let Some(id) = request.handle.as_deref().filter(|_| asked) else { return Ok(existing) };
        let Fact::Present(_, handle) = self.stage.view.handle(id) else { return Ok(existing) };
        let blocks: Vec<IpNet> =
            handle.blocks().filter(|block| Family::of(block) == self.family).collect();
        let mut found = Vec::new();
        for cidr in &blocks {
            match self.stage.block(*cidr) {
                Fact::Unknown => {
                    self.needs.insert(Key::Block(*cidr));
                }
                Fact::Present(_, staged) => {
                    for ip in staged.block.addresses_of(id) {
                        found.push((ip, staged.block.sequence_of(ip)?, *cidr));
                    }
                }
                Fact::Absent | Fact::Damaged => {}
            }
        }
        if !self.needs.is_empty() {
            // The host's own blocks are read in the same round trip.
            self.own_blocks()?;
            existing.unknown = true;
            return Ok(existing);
        }
        found.sort();
        let max = request.max_per_handle.map(|max| max as usize);
        if request.reuse || max.is_some_and(|max| found.len() + wanted > max) {
            for (ip, sequence_number, cidr) in found.iter().take(wanted) {
                if let Fact::Present(_, staged) = self.stage.block(*cidr) {
                    staged.check();
                }
                existing.addresses.push(Assigned {
                    address: *ip,
                    block_prefix_len: if request.reuse {
                        cidr.prefix_len()
                    } else {
                        cidr.max_prefix_len()
                    },
                    pool: pool::name_of(&self.facts.pools, *ip),
                    sequence_number: *sequence_number,
                    reused: true,
                });
            }
        }
        if let Some(max) = max {
            existing.most_more = Some(max.saturating_sub(found.len()));
            if existing.addresses.len() < wanted {
                self.void_overcounts(id, &blocks);
            }
        }
        Ok(existing)
    }

    /// Where the handle counts more than its block holds, an upstream process may be about to
    /// write the address. Writing the block makes it look again, so that both together don't
    /// exceed the handle's maximum.
    fn void_overcounts(&mut self, id: &str, blocks: &[IpNet]) {
        let Fact::Present(_, handle) = self.stage.view.handle(id) else { return };
        for cidr in blocks {
            let counted = handle.block.get(&cidr.to_string()).copied().unwrap_or(0);
            if let Fact::Present(_, staged) = self.stage.block(*cidr)
                && counted > staged.block.addresses_of(id).len() as i64
            {
                staged.touch();
            }
        }
    }

    /// Searches for this many addresses.
    pub(super) fn run(&mut self, wanted: usize) -> Result<End, IpamError> {
        self.wanted = wanted;
        if wanted > 0
            && let Some(end) = self.take_from_likely()?
        {
            return Ok(end);
        }
        let own = self.own_blocks()?;
        if wanted == 0 {
            self.needs.clear();
            return Ok(End::Satisfied);
        }
        if !self.needs.is_empty() {
            return Ok(End::Unknown);
        }
        for cidr in own {
            if !self.tried.contains(&cidr)
                && let Some(end) = self.take_from_own(cidr)?
            {
                return Ok(end);
            }
        }
        if let Some(end) = self.claim()? {
            return Ok(end);
        }
        if self.facts.config.strict_affinity {
            return Ok(End::Short(
                "No more free affine blocks and strict affinity enabled".to_owned(),
            ));
        }
        self.borrow()
    }

    /// Takes from the blocks that the caller expects to have room, before the host's other blocks are
    /// known: a node with a thousand containers has a dozen full ones. `None` where that isn't enough.
    fn take_from_likely(&mut self) -> Result<Option<End>, IpamError> {
        let likely = &self.facts.request.likely_blocks;
        if likely.is_empty() {
            return Ok(None);
        }
        let (own, given_up) = self.affine()?;
        // Those that are to be given up have to be read anyway.
        if !given_up.is_empty() {
            return Ok(None);
        }
        for cidr in likely.iter().filter(|cidr| own.contains(cidr)) {
            if let Some(end) = self.take_from_own(*cidr)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// The host's own blocks in the chosen pools, in the order of their keys. Blocks whose pool
    /// stopped selecting the node are given up on the way, if they are empty.
    fn own_blocks(&mut self) -> Result<Vec<IpNet>, IpamError> {
        let (own, given_up) = self.affine()?;
        self.owned.extend(&own);
        for cidr in own.iter().chain(&given_up) {
            if matches!(self.stage.view.block(*cidr), Fact::Unknown) {
                self.needs.insert(Key::Block(*cidr));
            }
        }
        if self.needs.is_empty() {
            for cidr in given_up {
                self.give_up(cidr);
            }
        }
        Ok(own)
    }

    /// The blocks that the host has an affinity for: those in the chosen pools, and those whose pool
    /// stopped selecting the node.
    fn affine(&self) -> Result<(Vec<IpNet>, Vec<IpNet>), IpamError> {
        let facts = self.facts;
        let (mut own, mut given_up) = (Vec::new(), Vec::new());
        for cidr in self.stage.view.affinities_of(&facts.owner, Some(self.family)) {
            if self.choice.pools.iter().any(|pool| pool.cidr.contains(&cidr)) {
                own.push(cidr);
            } else if let Some(pool) =
                facts.pools.iter().find(|pool| pool.is_enabled() && pool.cidr.contains(&cidr))
                && !pool.selects_node(&facts.labels)?
            {
                given_up.push(cidr);
            }
        }
        Ok((own, given_up))
    }

    /// Gives an own empty block back, with its affinity (T5).
    fn give_up(&mut self, cidr: IpNet) {
        let owner = &self.facts.owner;
        if self.stage.has_room()
            && let Fact::Present(_, staged) = self.stage.block(cidr)
            && staged.block.is_owned_by(owner)
            && staged.block.is_empty()
        {
            staged.fate = Fate::Delete;
            self.stage.delete_affinity(owner, cidr);
        }
    }

    /// Takes from a block that the host has an affinity for, and repairs what is half-done.
    fn take_from_own(&mut self, cidr: IpNet) -> Result<Option<End>, IpamError> {
        if self.facts.filter.covers(cidr) {
            return Ok(None);
        }
        if !self.stage.has_room() {
            return Ok(Some(End::NoRoom));
        }
        let owner = &self.facts.owner;
        match self.stage.view.block(cidr) {
            Fact::Present(_, block) if block.is_owned_by(owner) => {
                Ok(self.take(cidr, true)?.then_some(End::Satisfied))
            }
            Fact::Present(..) => {
                // Somebody else's, or nobody's: the affinity is stale. The walk may still come to
                // the block and take it in place.
                self.stage.delete_affinity(owner, cidr);
                self.owned.remove(&cidr);
                Ok(None)
            }
            Fact::Absent => Ok(self.take_new(cidr)?.then_some(End::Satisfied)),
            Fact::Unknown | Fact::Damaged => Ok(None),
        }
    }

    /// New blocks, then empty ones of others. `None` when there are none left.
    fn claim(&mut self) -> Result<Option<End>, IpamError> {
        let facts = self.facts;
        let mut empty = Vec::new();
        for pool in &self.choice.pools {
            for (position, cidr) in self.walk(pool).unreserved(&facts.filter).enumerate() {
                if let Some(end) = self.may_not_claim() {
                    return Ok(Some(end));
                }
                if self.tried.contains(&cidr) {
                    continue;
                }
                let taken = match self.stage.view.block(cidr) {
                    Fact::Unknown => {
                        self.need_candidates(pool, position);
                        return Ok(Some(End::Unknown));
                    }
                    Fact::Absent => self.take_new(cidr)?,
                    Fact::Present(_, block) if block.is_owned_by(&facts.owner) => {
                        // Ours, though no affinity was seen: another process of this host has
                        // just claimed it, or the affinity was lost.
                        self.owned.insert(cidr);
                        self.take(cidr, true)?
                    }
                    Fact::Present(_, block) => {
                        if may_be_empty(block) {
                            empty.push(cidr);
                        }
                        false
                    }
                    Fact::Damaged => false,
                };
                if taken {
                    return Ok(Some(End::Satisfied));
                }
            }
        }
        self.reclaim(empty)
    }

    /// Takes empty blocks over from others (T3).
    fn reclaim(&mut self, empty: Vec<IpNet>) -> Result<Option<End>, IpamError> {
        let candidates: Vec<(IpNet, Option<AffinityOwner>)> =
            empty.into_iter().filter_map(|cidr| self.reclaimable(cidr)).collect();
        for (cidr, owner) in candidates {
            if let Some(end) = self.may_not_claim() {
                return Ok(Some(end));
            }
            if let Some(owner) = owner
                && matches!(self.stage.view.affinity(&owner, cidr), Fact::Unknown)
            {
                self.needs.insert(Key::Affinity(owner, cidr));
                self.need_own_affinity(cidr);
                return Ok(Some(End::Unknown));
            }
            let reserved = self.host_reserved().cloned();
            self.stage.claim_empty(cidr, &self.facts.owner, reserved.as_ref());
            self.owned.insert(cidr);
            self.check_pool_of(cidr);
            if self.take(cidr, false)? {
                return Ok(Some(End::Satisfied));
            }
        }
        Ok(None)
    }

    /// Whether an empty block may change hands, and from whom.
    fn reclaimable(&mut self, cidr: IpNet) -> Option<(IpNet, Option<AffinityOwner>)> {
        let (now, filter) = (self.stage.env.now, &self.facts.filter);
        let Fact::Present(_, staged) = self.stage.block(cidr) else { return None };
        let block = &staged.block;
        // A clock that runs ahead must not keep its blocks for ever: a claim far in the future
        // counts as old, too.
        let old = block.owned_for(now).is_none_or(|age| age.abs() > MIN_RECLAIM_AGE);
        let owner = block.owner();
        let readable = owner.is_some() || block.affinity.is_none();
        (block.is_empty() && old && readable && block.free_count(filter) > 0)
            .then_some((cidr, owner))
    }

    /// Takes from others' blocks. Whoever comes here has walked all pools to their end.
    fn borrow(&mut self) -> Result<End, IpamError> {
        let facts = self.facts;
        let mut walked = Vec::new();
        for pool in &self.choice.pools {
            for cidr in self.walk(pool).unreserved(&facts.filter) {
                if self.tried.contains(&cidr) {
                    continue;
                }
                if !self.stage.has_room() {
                    return Ok(End::NoRoom);
                }
                let has_some = matches!(self.stage.view.block(cidr),
                    Fact::Present(_, block) if may_have_free(block));
                if has_some && self.take(cidr, false)? {
                    return Ok(End::Satisfied);
                }
            }
            walked.push(pool.cidr.to_string());
        }
        Ok(End::Short(format!("No IPs available in pools: [{}]", walked.join(" "))))
    }

    /// Takes from a block that doesn't exist yet (T2).
    fn take_new(&mut self, cidr: IpNet) -> Result<bool, IpamError> {
        let reserved = self.host_reserved().cloned();
        self.stage.claim_absent(cidr, &self.facts.owner, reserved.as_ref());
        self.owned.insert(cidr);
        self.check_pool_of(cidr);
        self.take(cidr, false)
    }

    /// Takes what is free and wanted. Answers whether nothing more is wanted.
    fn take(&mut self, cidr: IpNet, own: bool) -> Result<bool, IpamError> {
        self.tried.insert(cidr);
        let facts = self.facts;
        let request = facts.request;
        let Fact::Present(_, staged) = self.stage.block(cidr) else { return Ok(false) };
        let ips = staged.block.auto_assign(
            self.wanted - self.taken.len(),
            request.handle.as_deref(),
            &request.attributes,
            &facts.filter,
        );
        if ips.is_empty() {
            return Ok(false);
        }
        staged.touch();
        let sequence_number = staged.block.sequence_number;
        if own {
            self.stage.confirm_affinity(&facts.owner, cidr);
        }
        if let Some(handle) = &request.handle {
            self.stage.handle(handle)?.add(cidr, ips.len());
        }
        self.taken.extend(ips.into_iter().map(|address| Assigned {
            address,
            block_prefix_len: cidr.prefix_len(),
            pool: pool::name_of(&facts.pools, address),
            sequence_number,
            reused: false,
        }));
        Ok(self.taken.len() >= self.wanted)
    }

    /// A pool must still be as it was read when a block of it is claimed: that closes the race
    /// with the deletion of the pool.
    fn check_pool_of(&mut self, cidr: IpNet) {
        if let Some(pool) = self.choice.pools.iter().find(|pool| pool.cidr.contains(&cidr)) {
            let (key, guard) = self.stage.view.pool_guard(&pool.name);
            self.stage.check(key, guard);
        }
    }

    fn walk(&self, pool: &Pool) -> Walk {
        Walk::new(&self.facts.request.host, pool.cidr, pool.block_size, self.stage.env.seed)
    }

    /// Asks for the next candidates of a pool, more each time.
    fn need_candidates(&mut self, pool: &Pool, position: usize) {
        let size = 1u128.checked_shl(u32::from(pool.cidr.max_prefix_len() - pool.block_size));
        let size = size.unwrap_or(u128::MAX);
        let missing = (self.wanted - self.taken.len()) as u128;
        let most = (BATCH_BYTES / size.saturating_mul(BYTES_PER_ADDRESS)).clamp(1, MAX_BATCH);
        let batch = FIRST_BATCH.max(position as u128).max(missing.div_ceil(size)).min(most);
        let candidates: Vec<Key> = self
            .walk(pool)
            .unreserved(&self.facts.filter)
            .skip(position)
            .take(batch as usize)
            .filter(|cidr| matches!(self.stage.view.block(*cidr), Fact::Unknown))
            .map(Key::Block)
            .collect();
        self.needs.extend(candidates);
    }

    /// The own affinity of a block that is taken over in place, if it isn't known.
    fn need_own_affinity(&mut self, cidr: IpNet) {
        let owner = &self.facts.owner;
        if matches!(self.stage.view.affinity(owner, cidr), Fact::Unknown) {
            self.needs.insert(Key::Affinity(owner.clone(), cidr));
        }
    }

    fn may_not_claim(&self) -> Option<End> {
        let config = &self.facts.config;
        if !config.auto_allocate_blocks {
            return Some(End::MayNotClaim);
        }
        let limit = self.facts.block_limit();
        if self.owned.len() as u64 >= limit {
            return Some(End::Limit(limit));
        }
        (!self.stage.has_room()).then_some(End::NoRoom)
    }

    fn host_reserved(&self) -> Option<&'s HostReserved> {
        let request = self.facts.request;
        match self.family {
            Family::V4 => request.host_reserved_v4.as_ref(),
            Family::V6 => request.host_reserved_v6.as_ref(),
        }
    }
}

/// Whether a block could be empty once what has cooled down is collected.
fn may_be_empty(block: &Block) -> bool {
    block.is_empty() || block.allocations.iter().flatten().count() == block.cooling_count()
}

/// Whether a block could have something free once what has cooled down is collected.
fn may_have_free(block: &Block) -> bool {
    !block.unallocated.is_empty() || block.cooling_count() > 0
}
