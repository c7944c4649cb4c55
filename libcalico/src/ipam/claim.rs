//! Claiming blocks for an owner without taking addresses (`reference/ipam.md` section 10): all
//! blocks of a network, or just one block that the host can use.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::assign::Facts;
use super::error::IpamError;
use super::operation::{Operation, Step};
use super::pool::Pool;
use super::request::{AutoAssign, check_name};
use super::stage::{Env, Order, Stage};
use super::view::{Fact, View};
use super::walk::Walk;
use crate::resources::Kind;
use crate::store::{AffinityOwner, Family, Key, Prefix, Query};

/// The most blocks of one claim: a /10 of /26 blocks.
const MAX_BLOCKS: u128 = 1 << 16;
/// How many blocks are read and claimed at once.
const BATCH: usize = 32;

/// What became of the blocks of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// These are the owner's now, or were before.
    pub claimed: Vec<IpNet>,
    /// These are somebody else's.
    pub failed: Vec<IpNet>,
}

/// The pool of a network whose blocks are to be claimed or released.
pub(super) fn pool_of(cidr: IpNet, view: &View) -> Result<Pool, IpamError> {
    let mut pools = view.pools().into_iter().filter(Pool::is_enabled);
    let pool = pools
        .find(|pool| pool.cidr.contains(&cidr.network()))
        .ok_or(IpamError::CidrOutside { cidr })?;
    if cidr.prefix_len() > pool.block_size {
        return Err(IpamError::CidrTooSmall { cidr });
    }
    Ok(pool)
}

/// Claims every block of a network.
pub(crate) struct ClaimAffinity<'a> {
    cidr: IpNet,
    owner: &'a AffinityOwner,
    outcome: Claimed,
    /// The position of the next block, and what the commit of the last step does.
    position: u128,
    next: Option<(Claimed, u128)>,
}

impl<'a> ClaimAffinity<'a> {
    pub(crate) fn new(
        cidr: IpNet,
        owner: &'a AffinityOwner,
    ) -> Result<ClaimAffinity<'a>, IpamError> {
        check_name("host", &owner.name)?;
        let cidr = cidr.trunc();
        Ok(ClaimAffinity { cidr, owner, outcome: Claimed::default(), position: 0, next: None })
    }

    /// Claims one block, if it may. Answers whether it is the owner's then.
    fn claim(&self, block: IpNet, pool: &Pool, stage: &mut Stage<'_>) -> Result<bool, IpamError> {
        let confirmed = matches!(stage.view.affinity(self.owner, block),
            Fact::Present(_, affinity) if affinity.state.is_confirmed());
        match stage.sound_block(block)? {
            Fact::Present(_, staged) if staged.block.is_owned_by(self.owner) => {
                if !confirmed {
                    // Whoever is about to give it up has to look again.
                    staged.touch();
                    stage.confirm_affinity(self.owner, block);
                }
                return Ok(true);
            }
            Fact::Present(_, staged)
                if staged.block.affinity.is_none() && staged.block.is_empty() =>
            {
                stage.claim_empty(block, self.owner, None);
            }
            Fact::Present(..) => {
                if matches!(stage.view.affinity(self.owner, block), Fact::Present(..)) {
                    stage.delete_affinity(self.owner, block);
                }
                return Ok(false);
            }
            _ => {
                stage.claim_absent(block, self.owner, None);
            }
        }
        let (key, guard) = stage.view.pool_guard(&pool.name);
        stage.check(key, guard);
        Ok(true)
    }
}

impl Operation for ClaimAffinity<'_> {
    type Answer = Claimed;

    fn name(&self) -> &'static str {
        "claim blocks"
    }

    fn queries(&self) -> Vec<Query> {
        let family = Family::of(&self.cidr);
        vec![
            Query::Key(Key::IpamConfig),
            Query::Prefix(Prefix::kind(Kind::IpPool)),
            Query::Prefix(Prefix::Affinities(self.owner.clone(), Some(family))),
        ]
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Claimed>, IpamError> {
        let pool = pool_of(self.cidr, view)?;
        let blocks = Walk::ascending(self.cidr, pool.block_size);
        if blocks.count() > MAX_BLOCKS {
            return Err(IpamError::Invalid {
                field: "cidr",
                value: self.cidr.to_string(),
                problem: format!("it has {} blocks: claim {MAX_BLOCKS} at most", blocks.count()),
            });
        }
        let cooldown = view.config()?.ip_cooldown_seconds;
        loop {
            let batch: Vec<IpNet> =
                (self.position..).map_while(|at| blocks.nth(at)).take(BATCH).collect();
            if batch.is_empty() {
                return Ok(Step::Done(std::mem::take(&mut self.outcome)));
            }
            let unknown: Vec<Query> = batch
                .iter()
                .filter(|block| matches!(view.block(**block), Fact::Unknown))
                .map(|block| Query::Key(Key::Block(*block)))
                .collect();
            if !unknown.is_empty() {
                return Ok(Step::Read(unknown));
            }
            let mut stage = Stage::new(view, env, cooldown);
            let mut outcome = Claimed::default();
            for block in &batch {
                match self.claim(*block, &pool, &mut stage)? {
                    true => outcome.claimed.push(*block),
                    false => outcome.failed.push(*block),
                }
            }
            self.next = Some((outcome, batch.len() as u128));
            if !stage.is_idle() {
                let changes = stage.into_changes(Order::Take);
                let own = changes.len();
                return Ok(Step::Commit { changes, own });
            }
            self.committed();
        }
    }

    fn committed(&mut self) {
        if let Some((outcome, blocks)) = self.next.take() {
            self.outcome.claimed.extend(outcome.claimed);
            self.outcome.failed.extend(outcome.failed);
            self.position += blocks;
        }
    }
}

/// Finds or claims one block of each family that the request reserves ends of blocks for; the
/// limit of blocks doesn't bind it.
pub(crate) struct EnsureBlock<'a> {
    request: &'a AutoAssign,
    next: Vec<(Family, IpNet)>,
    finished: bool,
}

impl<'a> EnsureBlock<'a> {
    pub(crate) fn new(request: &'a AutoAssign) -> Result<EnsureBlock<'a>, IpamError> {
        check_name("host", &request.host)?;
        Ok(EnsureBlock { request, next: Vec::new(), finished: false })
    }

    fn families(&self) -> impl Iterator<Item = Family> {
        let v4 = self.request.host_reserved_v4.as_ref().map(|_| Family::V4);
        let v6 = self.request.host_reserved_v6.as_ref().map(|_| Family::V6);
        v4.into_iter().chain(v6)
    }

    /// One family: an own block, else the first of the walk that is free.
    fn find(
        facts: &Facts<'_>,
        family: Family,
        stage: &mut Stage<'_>,
        needs: &mut BTreeSet<Key>,
    ) -> Result<Option<IpNet>, IpamError> {
        let choice = facts.choose_pools(family)?;
        let reserved = match family {
            Family::V4 => facts.request.host_reserved_v4.as_ref(),
            Family::V6 => facts.request.host_reserved_v6.as_ref(),
        };
        let (view, seed) = (stage.view, stage.env.seed);
        let own = view.affinities_of(&facts.owner, Some(family));
        for pool in &choice.pools {
            let walk = Walk::new(&facts.request.host, pool.cidr, pool.block_size, seed);
            let inside = own.iter().copied().filter(|cidr| pool.cidr.contains(cidr));
            let candidates = inside.chain(walk.unreserved(&facts.filter));
            for cidr in candidates.filter(|cidr| !facts.filter.covers(*cidr)) {
                match stage.block(cidr) {
                    Fact::Unknown => {
                        needs.insert(Key::Block(cidr));
                        return Ok(None);
                    }
                    Fact::Present(_, staged) if staged.block.is_owned_by(&facts.owner) => {
                        let affinity = view.affinity(&facts.owner, cidr);
                        if !matches!(affinity, Fact::Present(_, a) if a.state.is_confirmed()) {
                            staged.touch();
                            stage.confirm_affinity(&facts.owner, cidr);
                        }
                        return Ok(Some(cidr));
                    }
                    Fact::Absent => {
                        stage.claim_absent(cidr, &facts.owner, reserved);
                        let (key, guard) = view.pool_guard(&pool.name);
                        stage.check(key, guard);
                        return Ok(Some(cidr));
                    }
                    Fact::Present(..) | Fact::Damaged => {}
                }
            }
        }
        Ok(None)
    }
}

impl Operation for EnsureBlock<'_> {
    /// The block of each family that was asked for, IPv4 first.
    type Answer = Vec<(Family, IpNet)>;

    fn name(&self) -> &'static str {
        "find or claim a block"
    }

    fn queries(&self) -> Vec<Query> {
        let owner = self.request.owner();
        let mut queries = vec![
            Query::Key(Key::IpamConfig),
            Query::Prefix(Prefix::kind(Kind::IpReservation)),
            Query::Prefix(Prefix::kind(Kind::IpPool)),
            Query::Key(Key::global(Kind::Node, &self.request.host)),
        ];
        queries.extend(
            self.families()
                .map(|family| Query::Prefix(Prefix::Affinities(owner.clone(), Some(family)))),
        );
        queries
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Self::Answer>, IpamError> {
        if self.finished {
            return Ok(Step::Done(std::mem::take(&mut self.next)));
        }
        let facts = Facts::new(self.request, view)?;
        let mut stage = Stage::new(view, env, facts.config.ip_cooldown_seconds);
        let (mut needs, mut found) = (BTreeSet::new(), Vec::new());
        for family in self.families() {
            match Self::find(&facts, family, &mut stage, &mut needs)? {
                Some(block) => found.push((family, block)),
                None if needs.is_empty() => {
                    return Err(IpamError::NotFound {
                        what: format!("a block for node {}", self.request.host),
                        detail: "no free blocks; see calicoctl ipam show --show-blocks",
                    });
                }
                None => {}
            }
        }
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        self.next = found;
        if stage.is_idle() {
            return Ok(Step::Done(std::mem::take(&mut self.next)));
        }
        let changes = stage.into_changes(Order::Take);
        let own = changes.len();
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        self.finished = true;
    }
}
