//! Releasing single addresses, each with its guards (`reference/ipam.md` 8.1).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::dispose;
use crate::ipam::address;
use crate::ipam::block::{AttributeRecord, ReleaseGuard};
use crate::ipam::error::IpamError;
use crate::ipam::handle;
use crate::ipam::operation::{Operation, Step};
use crate::ipam::pool::Pool;
use crate::ipam::stage::{Env, Order, Stage};
use crate::ipam::view::{Fact, View};
use crate::resources::Kind;
use crate::store::{Key, Prefix, Query};

/// What a release by address did. Blocks fail one by one: what is in neither list belongs to a
/// block whose guards failed.
#[derive(Debug, Clone, Default)]
pub struct ReleaseOutcome {
    /// Addresses that were free already.
    pub unallocated: Vec<IpAddr>,
    /// What was done, those that were free included.
    pub processed: Vec<ReleaseGuard>,
    /// What somebody else has by now; only of a release of claims.
    pub kept: Vec<IpAddr>,
    /// The first failure.
    pub error: Option<IpamError>,
}

/// Says that an address was given to a container, or to a tunnel, of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// The node, as the attribute `node` of the address names it.
    pub node: String,
    /// The handles under which it may have been given.
    pub handles: Vec<String>,
    /// The container, whose handle in any network will do; empty for none.
    pub container_id: String,
}

impl Claim {
    /// Whether what is recorded of the address agrees.
    fn agrees(&self, record: &AttributeRecord) -> bool {
        let given_to = record.handle().unwrap_or_default();
        let network = given_to.strip_suffix(&self.container_id);
        let of_container =
            !self.container_id.is_empty() && network.is_some_and(|rest| rest.ends_with('.'));
        let node = record.secondary.get(ATTRIBUTE_NODE);
        node == Some(&self.node)
            && (of_container || self.handles.iter().any(|id| handle::sanitize(id) == given_to))
    }
}

/// The attribute that names the node for which an address was given.
const ATTRIBUTE_NODE: &str = "node";

/// Releases addresses.
pub(crate) struct ReleaseIps {
    /// What is left to do, each address once.
    guards: BTreeMap<IpAddr, ReleaseGuard>,
    /// Of these addresses, what doesn't agree stays.
    claims: BTreeMap<IpAddr, Claim>,
    outcome: ReleaseOutcome,
    /// What the commit of the last step releases.
    next: Vec<ReleaseGuard>,
}

impl ReleaseIps {
    /// Of an address that is named twice, the last guard counts.
    pub(crate) fn new(guards: &[ReleaseGuard]) -> ReleaseIps {
        let guards = guards.iter().map(|guard| (guard.address, guard.clone())).collect();
        let (claims, outcome) = (BTreeMap::new(), ReleaseOutcome::default());
        ReleaseIps { guards, claims, outcome, next: Vec::new() }
    }

    /// Releases what agrees with its claim, and leaves the rest.
    pub(crate) fn claimed(claims: &[Claim]) -> ReleaseIps {
        let guard = |claim: &Claim| ReleaseGuard {
            address: claim.address,
            handle: None,
            sequence_number: None,
        };
        let guards: Vec<ReleaseGuard> = claims.iter().map(guard).collect();
        let claims = claims.iter().map(|claim| (claim.address, claim.clone())).collect();
        ReleaseIps { claims, ..ReleaseIps::new(&guards) }
    }

    /// Whether somebody else has an address by now. The commit only happens on the block that this
    /// was seen in.
    fn is_anothers(&self, ip: IpAddr, cidr: IpNet, view: &View) -> bool {
        let Some(claim) = self.claims.get(&ip) else { return false };
        let Fact::Present(_, block) = view.block(cidr) else { return false };
        let record = block.record(ip).ok().flatten();
        record.is_some_and(|record| record.released_at.is_none() && !claim.agrees(record))
    }

    /// The block of an address: where its pool says, else wherever one is found. `Err` names what
    /// has to be read.
    fn block_of(ip: IpAddr, view: &View, pools: &[Pool]) -> Result<Option<IpNet>, Vec<Key>> {
        let pool = pools.iter().find(|pool| pool.cidr.contains(&ip));
        let first = pool.and_then(|pool| address::block_of(ip, pool.block_size));
        if let Some(cidr) = first {
            match view.block(cidr) {
                Fact::Unknown => return Err(vec![Key::Block(cidr)]),
                Fact::Absent => {}
                Fact::Present(..) | Fact::Damaged => return Ok(Some(cidr)),
            }
        }
        // The pool is gone, or has come back with blocks of another size.
        let all: Vec<IpNet> = address::possible_blocks(ip).collect();
        let unknown: Vec<Key> = all
            .iter()
            .filter(|cidr| matches!(view.block(**cidr), Fact::Unknown))
            .map(|cidr| Key::Block(*cidr))
            .collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let exists = |cidr: &IpNet| matches!(view.block(*cidr), Fact::Present(..) | Fact::Damaged);
        Ok(all.into_iter().find(exists))
    }

    /// Plans the release in one block.
    fn release(
        &mut self,
        cidr: IpNet,
        guards: &[ReleaseGuard],
        stage: &mut Stage<'_>,
        pools: &[Pool],
        needs: &mut BTreeSet<Key>,
        cooldown: i64,
    ) -> Result<(), IpamError> {
        let now = stage.env.now;
        let Fact::Present(_, staged) = stage.sound_block(cidr)? else { return Ok(()) };
        let released = staged.block.release(guards, now, cooldown)?;
        let counts: Vec<(String, usize, usize)> = released
            .handles
            .into_iter()
            .map(|(id, count)| {
                let left = staged.block.addresses_of(&id).len();
                (id, count, left)
            })
            .collect();
        if !released.released.is_empty() {
            staged.touch();
            for (id, count, left) in counts {
                match stage.view.handle(&id) {
                    Fact::Unknown => {
                        needs.insert(Key::Handle(id));
                    }
                    // A handle that is missing or can't be read must not keep the address.
                    Fact::Absent | Fact::Damaged => {}
                    Fact::Present(..) => stage.handle(&id)?.subtract(cidr, count, left),
                }
            }
            dispose(stage, pools, cidr, needs);
        }
        Ok(())
    }
}

impl Operation for ReleaseIps {
    type Answer = ReleaseOutcome;

    fn name(&self) -> &'static str {
        "release addresses"
    }

    fn queries(&self) -> Vec<Query> {
        let handles: BTreeSet<&str> =
            self.guards.values().filter_map(|guard| guard.handle.as_deref()).collect();
        let mut queries =
            vec![Query::Key(Key::IpamConfig), Query::Prefix(Prefix::kind(Kind::IpPool))];
        queries.extend(
            handles
                .into_iter()
                .map(handle::sanitize)
                .filter(|id| !id.is_empty() && !id.contains('/'))
                .take(64)
                .map(|id| Query::Key(Key::Handle(id.to_owned()))),
        );
        queries
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<ReleaseOutcome>, IpamError> {
        let cooldown = view.config()?.ip_cooldown_seconds;
        let pools = view.pools();
        let mut needs = BTreeSet::new();
        let mut by_block: BTreeMap<IpNet, Vec<ReleaseGuard>> = BTreeMap::new();
        let (mut nowhere, mut kept) = (Vec::new(), Vec::new());
        for guard in self.guards.values() {
            match Self::block_of(guard.address, view, &pools) {
                Ok(Some(cidr)) if self.is_anothers(guard.address, cidr, view) => {
                    kept.push(guard.address);
                }
                Ok(Some(cidr)) => by_block.entry(cidr).or_default().push(guard.clone()),
                Ok(None) => nowhere.push(guard.clone()),
                Err(unknown) => needs.extend(unknown),
            }
        }
        if !needs.is_empty() {
            // Large requests are read in parts.
            return Ok(Step::Read(needs.into_iter().take(64).map(Query::Key).collect()));
        }
        for ip in kept {
            self.guards.remove(&ip);
            self.outcome.kept.push(ip);
        }
        for guard in nowhere {
            self.outcome.unallocated.push(guard.address);
            self.done(guard);
        }
        let mut stage = Stage::new(view, env, cooldown);
        self.next.clear();
        let mut failed = Vec::new();
        for (cidr, guards) in by_block {
            if !stage.has_room() {
                break;
            }
            match self.release(cidr, &guards, &mut stage, &pools, &mut needs, cooldown) {
                Ok(()) => self.next.extend(guards),
                Err(error) => failed.push((guards, error)),
            }
        }
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        for (guards, error) in failed {
            self.outcome.error.get_or_insert(error);
            for guard in guards {
                self.guards.remove(&guard.address);
            }
        }
        let free = |guard: &ReleaseGuard| is_free(view, &pools, guard.address);
        let (unallocated, taken): (Vec<_>, Vec<_>) = self.next.drain(..).partition(free);
        for guard in unallocated {
            self.outcome.unallocated.push(guard.address);
            self.done(guard);
        }
        if taken.is_empty() {
            return Ok(Step::Done(std::mem::take(&mut self.outcome)));
        }
        self.next = taken;
        let changes = stage.into_changes(Order::Give);
        let own = changes.len();
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        for guard in std::mem::take(&mut self.next) {
            self.done(guard);
        }
    }
}

impl ReleaseIps {
    fn done(&mut self, guard: ReleaseGuard) {
        self.guards.remove(&guard.address);
        self.outcome.processed.push(guard);
    }
}

/// Whether an address is free, or only cools down.
fn is_free(view: &View, pools: &[Pool], ip: IpAddr) -> bool {
    let Ok(Some(cidr)) = ReleaseIps::block_of(ip, view, pools) else { return true };
    match view.block(cidr) {
        Fact::Present(_, block) => {
            let record = block.record(ip).ok().flatten();
            record.is_none_or(|record| record.released_at.is_some())
        }
        _ => true,
    }
}
