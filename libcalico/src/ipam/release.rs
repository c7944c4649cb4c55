//! Giving addresses back (`reference/ipam.md` section 8): by handle, by address, and what has
//! cooled down. Blocks, handles and, where the block goes, its affinity change in one commit (T4).

mod by_address;
mod by_handle;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address;
use super::error::IpamError;
use super::operation::{Operation, Step};
use super::pool::Pool;
use super::stage::{Env, Fate, Order, Stage};
use super::view::{Fact, View};
use crate::resources::Kind;
use crate::store::{AffinityType, Key, Prefix, Query};

pub(crate) use by_address::ReleaseIps;
pub use by_address::{Claim, ReleaseOutcome};
pub(crate) use by_handle::ReleaseByHandle;

/// What has to be read before addresses of these handles are released, at one revision.
pub fn release_queries(handles: &[String]) -> Vec<Query> {
    let mut queries = vec![Query::Key(Key::IpamConfig), Query::Prefix(Prefix::kind(Kind::IpPool))];
    queries.extend(handles.iter().map(|id| Query::Key(Key::Handle(id.clone()))));
    queries
}

/// Asks for the blocks where these addresses could be, whatever their pools: read together with
/// [`release_queries`] they spare a release the second read.
pub fn possible_block_queries(addresses: &[IpAddr]) -> Vec<Query> {
    let blocks: BTreeSet<IpNet> =
        addresses.iter().flat_map(|ip| address::possible_blocks(*ip)).collect();
    // PERF: a container has one address of each family; with many, the second read is cheaper.
    blocks.into_iter().take(32).map(|cidr| Query::Key(Key::Block(cidr))).collect()
}

/// Lets an empty block go if nobody owns it, or if its pool stopped selecting its owner; then the
/// affinity goes, too. The node is only read when the pool doesn't select every node. Nothing here
/// fails the release.
fn dispose(stage: &mut Stage<'_>, pools: &[Pool], cidr: IpNet, needs: &mut BTreeSet<Key>) {
    let view = stage.view;
    let Fact::Present(_, staged) = stage.block(cidr) else { return };
    if !staged.block.is_empty() {
        return;
    }
    if staged.block.affinity.is_none() {
        staged.fate = Fate::Delete;
        return;
    }
    // Nodes select pools; a virtual owner has no labels that could stop matching.
    let Some(owner) = staged.block.owner().filter(|owner| owner.kind == AffinityType::Host) else {
        return;
    };
    let pool = pools.iter().find(|pool| pool.is_enabled() && pool.cidr.contains(&cidr));
    let Some(pool) = pool.filter(|pool| !pool.selects_every_node()) else { return };
    let selected = match view.node(&owner.name) {
        Fact::Present(_, labels) => pool.selects_node(labels).unwrap_or(true),
        Fact::Unknown => {
            needs.insert(Key::global(Kind::Node, &owner.name));
            needs.insert(Key::Affinity(owner.clone(), cidr));
            return;
        }
        Fact::Absent | Fact::Damaged => true,
    };
    if selected {
        return;
    }
    if matches!(view.affinity(&owner, cidr), Fact::Unknown) {
        needs.insert(Key::Affinity(owner, cidr));
        return;
    }
    staged.fate = Fate::Delete;
    stage.delete_affinity(&owner, cidr);
}

/// Frees what has cooled down in blocks that nobody else writes (8.6); an ownerless block that is
/// empty then goes.
pub(crate) struct CollectCold<'a> {
    blocks: &'a [IpNet],
    freed: usize,
    next: usize,
}

impl<'a> CollectCold<'a> {
    pub(crate) fn new(blocks: &'a [IpNet]) -> CollectCold<'a> {
        CollectCold { blocks, freed: 0, next: 0 }
    }
}

impl Operation for CollectCold<'_> {
    type Answer = usize;

    fn name(&self) -> &'static str {
        "collect cooled addresses"
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![Query::Key(Key::IpamConfig)];
        queries.extend(self.blocks.iter().map(|cidr| Query::Key(Key::Block(cidr.trunc()))));
        queries
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<usize>, IpamError> {
        let mut stage = Stage::new(view, env, view.config()?.ip_cooldown_seconds);
        self.next = 0;
        for cidr in self.blocks.iter().map(IpNet::trunc) {
            let Fact::Present(_, stored) = view.block(cidr) else { continue };
            if !stage.has_room() {
                break;
            }
            let Fact::Present(_, staged) = stage.block(cidr) else { continue };
            let freed = staged.block.unallocated.len() - stored.unallocated.len();
            if freed > 0 {
                staged.touch();
                self.next += freed;
            }
            if staged.block.is_empty() && staged.block.affinity.is_none() {
                staged.fate = Fate::Delete;
            }
        }
        if stage.is_idle() {
            return Ok(Step::Done(self.freed));
        }
        let changes = stage.into_changes(Order::Give);
        let own = changes.len();
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        // Asked again: blocks that didn't fit into this commit come next, else nothing is left.
        self.freed += self.next;
    }
}
