//! What an automatic assignment would do, and why. The choice of pools, the limits and the search
//! are those of the assignment itself; only the commit is left out.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::{AutoAssignOperation, Facts, report};
use crate::ipam::block::Block;
use crate::ipam::config::IpamConfig;
use crate::ipam::error::{IpamError, PoolReport};
use crate::ipam::operation::{self, Preview};
use crate::ipam::pool::{Labels, PassedOver, Pool};
use crate::ipam::request::AutoAssign;
use crate::ipam::stage::Env;
use crate::ipam::view::{Fact, View};
use crate::selector::Selector;
use crate::store::{Action, AffinityOwner, Change, Family, Guard, Key, Prefix, Query, Store};

/// What a new workload would get, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The node's labels, which pools select by.
    pub node_labels: Labels,
    /// What the cluster's allocators go by.
    pub config: IpamConfig,
    /// The most blocks that the node may have.
    pub block_limit: u64,
    /// The pools that would be searched, in their order.
    pub offers: Vec<PoolOffer>,
    /// The others.
    pub refusals: Vec<PoolRefusal>,
    /// The address that would be given now, or why there is none.
    pub next: Result<NextAddress, IpamError>,
}

/// A pool that would be searched.
#[derive(Debug, Clone)]
pub struct PoolOffer {
    /// The pool.
    pub pool: Pool,
    /// How full it is, as the node sees it.
    pub report: PoolReport,
    /// The blocks of it that the node owns.
    pub own_blocks: Vec<IpNet>,
    /// Addresses that could be given out of the node's own blocks.
    pub free_own: u64,
}

/// A pool that would be passed over.
#[derive(Debug, Clone)]
pub struct PoolRefusal {
    /// The pool.
    pub pool: Pool,
    /// Why.
    pub why: PassedOver,
    /// The terms of its selector that the labels don't meet.
    pub unmet: Vec<String>,
}

/// The address that would be given next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAddress {
    /// The address.
    pub address: IpAddr,
    /// Its block.
    pub block: IpNet,
    /// The name of its pool.
    pub pool: Option<String>,
    /// How the node comes by it.
    pub how: HowTaken,
}

/// How a node comes by an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HowTaken {
    /// Out of a block that it owns.
    Own,
    /// Out of a block that it claims for this, which didn't exist.
    Claimed,
    /// Out of an empty block that it takes over from its owner, or from nobody.
    TakenOver(Option<String>),
    /// Out of a block of somebody else, or of nobody, which stays theirs.
    Borrowed(Option<String>),
}

/// Explains one family of a request.
pub(crate) async fn explain(
    store: &dyn Store,
    request: &AutoAssign,
    family: Family,
    now: OffsetDateTime,
    deadline: Instant,
) -> Result<Explanation, IpamError> {
    let wanted = |of| u32::from(of == family);
    let request = AutoAssign { v4: wanted(Family::V4), v6: wanted(Family::V6), ..request.clone() };
    let mut operation = AutoAssignOperation::new(&request, None)?;
    let more = [Query::Prefix(Prefix::Blocks(Some(family)))];
    let env = Env { now, seed: 0 };
    let (view, preview) = operation::preview(store, &mut operation, &more, env, deadline).await?;
    let facts = Facts::new(&request, &view)?;
    let next = match preview {
        Preview::Fails(IpamError::Store(error)) => return Err(IpamError::Store(error)),
        Preview::Fails(error) => Err(error),
        Preview::Commit(changes) => next_address(&operation, &changes, &facts.owner, &view),
        Preview::Done(_) => Err(IpamError::InvalidRequest("the handle has its addresses already")),
    };
    let (offered, passed_over) = match facts.choose_pools(family) {
        Ok(choice) => (choice.pools, choice.passed_over),
        Err(
            IpamError::NoQualifiedPool { passed_over, .. }
            | IpamError::NoPoolForHost { passed_over, .. },
        ) => (Vec::new(), passed_over),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let offers = offered.into_iter().map(|pool| offer(pool, &facts, &view)).collect();
    let refusals = passed_over
        .into_iter()
        .filter_map(|(name, _, why)| {
            let pool = facts.pools.iter().find(|pool| pool.name == name)?.clone();
            let unmet = unmet(&pool, why, &facts);
            Some(PoolRefusal { pool, why, unmet })
        })
        .collect();
    Ok(Explanation {
        block_limit: facts.block_limit(),
        node_labels: facts.labels,
        config: facts.config,
        offers,
        refusals,
        next,
    })
}

fn offer(pool: Pool, facts: &Facts<'_>, view: &View) -> PoolOffer {
    let own = || {
        view.all_blocks()
            .filter(|block| pool.cidr.contains(&block.cidr) && block.is_owned_by(&facts.owner))
    };
    let own_blocks: BTreeSet<IpNet> = own().map(|block| block.cidr).collect();
    let free_own = own().map(|block| block.free_count(&facts.filter) as u64).sum();
    let report = report(&pool, facts, view);
    PoolOffer { pool, report, own_blocks: own_blocks.into_iter().collect(), free_own }
}

fn unmet(pool: &Pool, why: PassedOver, facts: &Facts<'_>) -> Vec<String> {
    let none = Labels::new();
    let (selector, labels) = match why {
        PassedOver::Node => (&pool.node_selector, &facts.labels),
        PassedOver::Namespace => {
            let labels = facts.request.namespace_labels.as_ref().unwrap_or(&none);
            (&pool.namespace_selector, labels)
        }
        _ => return Vec::new(),
    };
    Selector::parse(selector).map(|selector| selector.unmet(labels)).unwrap_or_default()
}

/// Reads out of the planned changes how the address is come by.
fn next_address(
    operation: &AutoAssignOperation<'_>,
    changes: &[Change],
    owner: &AffinityOwner,
    view: &View,
) -> Result<NextAddress, IpamError> {
    let taken = operation.next.as_ref().and_then(|(assignment, _)| assignment.addresses().next());
    let taken = taken.ok_or(IpamError::InvalidRequest("no address would be taken"))?;
    let planned = changes.iter().find_map(|change| match (&change.key, &change.action) {
        (Key::Block(cidr), Action::Put(value)) if cidr.contains(&taken.address) => {
            Some((*cidr, change.guard, Block::decode(value).ok()?))
        }
        _ => None,
    });
    let (block, guard, after) =
        planned.ok_or(IpamError::InvalidRequest("no block would be written"))?;
    let before = match view.block(block) {
        Fact::Present(_, before) => before.affinity.clone(),
        _ => None,
    };
    let how = match (guard, after.is_owned_by(owner)) {
        (Guard::Absent, _) => HowTaken::Claimed,
        (_, false) => HowTaken::Borrowed(after.affinity),
        (_, true) if before == after.affinity => HowTaken::Own,
        (_, true) => HowTaken::TakenOver(before),
    };
    Ok(NextAddress { address: taken.address, block, pool: taken.pool.clone(), how })
}
