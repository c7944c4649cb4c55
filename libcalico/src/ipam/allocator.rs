//! The allocator: runs operations against a store. Everything that decides is in the operations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::assign::{AutoAssignOperation, Explanation, explain};
use super::block::ReleaseGuard;
use super::claim::{ClaimAffinity, Claimed, EnsureBlock};
use super::config::IpamConfig;
use super::error::IpamError;
use super::operation::{self, Operation, Preview};
use super::owner::{
    AssignmentAttributes, IpsByHandle, OwnerUpdates, ReadAttributes, SetOwnerAttributes,
};
use super::pool::PoolRef;
use super::release::{Claim, CollectCold, ReleaseByHandle, ReleaseIps, ReleaseOutcome};
use super::request::{AssignIp, Assigned, Assignment, AutoAssign, Companion, check_name};
use super::specific::AssignIpOperation;
use super::stage::Env;
use super::surrender::{Conditions, Surrender, Which, legacy_marker};
use super::utilization::{ReadConfig, ReadUtilization, Utilization};
use crate::clock;
use crate::store::{
    Action, AffinityOwner, Change, Committed, Family, Guard, Key, Revision, Snapshot, Store,
};

/// Gives out addresses of a cluster's pools, and takes them back. Every call ends by its deadline.
#[derive(Clone)]
pub struct Allocator<'a> {
    store: &'a dyn Store,
    clock: Arc<dyn Fn() -> OffsetDateTime + Send + Sync>,
}

impl<'a> Allocator<'a> {
    /// An allocator on a store.
    pub fn new(store: &'a dyn Store) -> Allocator<'a> {
        Allocator { store, clock: Arc::new(clock::now) }
    }

    /// The same with another clock, for tests.
    pub fn with_clock(
        store: &'a dyn Store,
        clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static,
    ) -> Allocator<'a> {
        Allocator { store, clock: Arc::new(clock) }
    }

    /// Assigns addresses out of the pools that fit. `prefetched` are the answers to
    /// [`AutoAssign::queries`]. The companion's changes are part of the commit that takes the last
    /// address; when one of their guards fails the call fails with
    /// [`IpamError::CompanionConflict`] and that commit takes nothing.
    pub async fn auto_assign(
        &self,
        request: &AutoAssign,
        prefetched: Option<Snapshot>,
        companion: Option<Companion<'_>>,
        deadline: Instant,
    ) -> Result<Assignment, IpamError> {
        self.run(AutoAssignOperation::new(request, companion)?, prefetched, deadline).await
    }

    /// What [`Allocator::auto_assign`] would do for one family of a request, and why: the same
    /// decisions, of which nothing is committed. Reads every block of the family.
    pub async fn explain(
        &self,
        request: &AutoAssign,
        family: Family,
        deadline: Instant,
    ) -> Result<Explanation, IpamError> {
        explain(self.store, request, family, (self.clock)(), deadline).await
    }

    /// What [`Allocator::assign_ip`] would do: the address's block, or why it fails. Nothing is
    /// committed.
    pub async fn would_assign_ip(
        &self,
        request: &AssignIp,
        deadline: Instant,
    ) -> Result<Result<IpNet, IpamError>, IpamError> {
        let requests = std::slice::from_ref(request);
        let mut operation = AssignIpOperation::new(requests, None)?;
        let env = Env { now: (self.clock)(), seed: 0 };
        let (_, preview) =
            operation::preview(self.store, &mut operation, &[], env, deadline).await?;
        let block = |changes: Vec<Change>| {
            changes.into_iter().find_map(|change| match change.key {
                Key::Block(cidr) => Some(cidr),
                _ => None,
            })
        };
        Ok(match preview {
            Preview::Fails(IpamError::Store(error)) => return Err(IpamError::Store(error)),
            Preview::Fails(error) => Err(error),
            Preview::Commit(changes) => Ok(block(changes).unwrap_or(IpNet::from(request.ip))),
            Preview::Done(_) => Ok(IpNet::from(request.ip)),
        })
    }

    /// Assigns one address. `prefetched` are the answers to [`AssignIp::queries`].
    pub async fn assign_ip(
        &self,
        request: &AssignIp,
        prefetched: Option<Snapshot>,
        companion: Option<Companion<'_>>,
        deadline: Instant,
    ) -> Result<Assigned, IpamError> {
        let requests = std::slice::from_ref(request);
        let assigned = self.assign_ips(requests, prefetched, companion, deadline).await?;
        assigned.into_iter().next().ok_or(IpamError::InvalidRequest("no address was requested"))
    }

    /// Assigns several addresses in one commit, in the order of the requests; all or none.
    /// `prefetched` are the answers to [`AssignIp::queries_of`].
    pub async fn assign_ips(
        &self,
        requests: &[AssignIp],
        prefetched: Option<Snapshot>,
        companion: Option<Companion<'_>>,
        deadline: Instant,
    ) -> Result<Vec<Assigned>, IpamError> {
        self.run(AssignIpOperation::new(requests, companion)?, prefetched, deadline).await
    }

    /// Releases all that these handles have, and answers what that was. A handle that doesn't
    /// exist is no failure. `prefetched` are the answers to
    /// [`release_queries`](super::release_queries); the `extra` changes are part of the last
    /// commit, which there also is when nothing is to be released.
    pub async fn release_by_handle(
        &self,
        handles: &[String],
        prefetched: Option<Snapshot>,
        extra: Vec<Change>,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, IpamError> {
        self.release_by_handle_of(handles, &[], prefetched, extra, deadline).await
    }

    /// The same, for a caller that remembers addresses of the handles, which may be wrong: their
    /// blocks are read together with the handles, which spares a round trip. `prefetched` are the
    /// answers to [`release_queries`](super::release_queries) and then
    /// [`possible_block_queries`](super::possible_block_queries).
    pub async fn release_by_handle_of(
        &self,
        handles: &[String],
        likely: &[IpAddr],
        prefetched: Option<Snapshot>,
        extra: Vec<Change>,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, IpamError> {
        for id in handles {
            check_name("handle", id)?;
        }
        let release = ReleaseByHandle::new(handles, extra).likely(likely);
        self.run(release, prefetched, deadline).await
    }

    /// Releases single addresses, each only if its guards hold.
    pub async fn release_ips(
        &self,
        guards: &[ReleaseGuard],
        deadline: Instant,
    ) -> Result<ReleaseOutcome, IpamError> {
        self.run(ReleaseIps::new(guards), None, deadline).await
    }

    /// Releases addresses of which it is only known who had them: each if what is recorded of it
    /// agrees at the moment of the release. What somebody else has by now is kept.
    pub async fn release_claimed(
        &self,
        claims: &[Claim],
        deadline: Instant,
    ) -> Result<ReleaseOutcome, IpamError> {
        self.run(ReleaseIps::claimed(claims), None, deadline).await
    }

    /// Frees what has cooled down in these blocks; answers how many addresses that was. Blocks do
    /// this themselves whenever they are written: it is for those that nobody writes.
    pub async fn garbage_collect_cold_ips(
        &self,
        blocks: &[ipnet::IpNet],
        deadline: Instant,
    ) -> Result<usize, IpamError> {
        self.run(CollectCold::new(blocks), None, deadline).await
    }

    /// The addresses that a handle has. A handle that doesn't exist is a failure.
    pub async fn ips_by_handle(
        &self,
        handle: &str,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, IpamError> {
        check_name("handle", handle)?;
        self.run(IpsByHandle(handle), None, deadline).await
    }

    /// What is recorded of an allocated address, also in a disabled pool.
    pub async fn assignment_attributes(
        &self,
        ip: IpAddr,
        deadline: Instant,
    ) -> Result<AssignmentAttributes, IpamError> {
        self.run(ReadAttributes(ip), None, deadline).await
    }

    /// Changes the owners of an address that a handle has, if the preconditions hold.
    pub async fn set_owner_attributes(
        &self,
        ip: IpAddr,
        handle: &str,
        updates: &OwnerUpdates,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        self.run(SetOwnerAttributes::new(ip, handle, updates)?, None, deadline).await
    }

    /// The configuration, and the revision of the object that holds it. Without an object it is
    /// the default, which isn't stored.
    pub async fn config(
        &self,
        deadline: Instant,
    ) -> Result<(IpamConfig, Option<Revision>), IpamError> {
        self.run(ReadConfig, None, deadline).await
    }

    /// Replaces the configuration, unless it was changed since it was read at `revision`.
    pub async fn set_config(
        &self,
        config: &IpamConfig,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        if let Some(problem) = config.problem() {
            return Err(IpamError::InvalidRequest(problem));
        }
        let guard = revision.map_or(Guard::Absent, Guard::Revision);
        let action = Action::Put(config.encode());
        let change = Change { key: Key::IpamConfig, guard, action };
        match self.store.commit(&[change], deadline).await? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict(_) => Err(IpamError::ConfigChanged),
        }
    }

    /// Claims every block of a network for an owner; answers which it has then, and which somebody
    /// else has.
    pub async fn claim_affinity(
        &self,
        cidr: IpNet,
        owner: &AffinityOwner,
        deadline: Instant,
    ) -> Result<Claimed, IpamError> {
        self.run(ClaimAffinity::new(cidr, owner)?, None, deadline).await
    }

    /// Finds an own block, or claims one, in each family that the request reserves ends of blocks
    /// for. What the request says of addresses doesn't count.
    pub async fn ensure_block(
        &self,
        request: &AutoAssign,
        deadline: Instant,
    ) -> Result<Vec<(Family, IpNet)>, IpamError> {
        self.run(EnsureBlock::new(request)?, None, deadline).await
    }

    /// Gives up an owner's blocks inside a network of an enabled pool.
    pub async fn release_affinity(
        &self,
        cidr: IpNet,
        owner: &AffinityOwner,
        must_be_empty: bool,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        self.surrender(Which::Within(owner.clone(), cidr.trunc()), must_be_empty, deadline).await
    }

    /// Gives up one block of an owner; with a sequence number, only if the block is still as it
    /// was then.
    pub async fn release_owned_block(
        &self,
        block: IpNet,
        owner: &AffinityOwner,
        must_be_empty: bool,
        sequence_number: Option<u64>,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        let which = Which::One(owner.clone(), block.trunc());
        let conditions = Conditions { must_be_empty, sequence_number };
        self.run(Surrender::new(which, conditions, None), None, deadline).await
    }

    /// Gives up a block, whoever owns it.
    pub async fn release_block_affinity(
        &self,
        block: IpNet,
        must_be_empty: bool,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        self.surrender(Which::Block(block.trunc()), must_be_empty, deadline).await
    }

    /// Gives up all blocks of an owner. Those that can't be given up don't keep the others.
    pub async fn release_host_affinities(
        &self,
        owner: &AffinityOwner,
        must_be_empty: bool,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        check_name("host", &owner.name)?;
        self.surrender(Which::Owner(owner.clone()), must_be_empty, deadline).await
    }

    /// Gives up all blocks inside a pool, of nodes and of others. Addresses stay allocated.
    pub async fn release_pool_affinities(
        &self,
        pool: IpNet,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        self.surrender(Which::Pool(pool.trunc()), false, deadline).await
    }

    /// Gives up all blocks of a host that is no more. Its addresses stay allocated.
    pub async fn remove_host(
        &self,
        owner: &AffinityOwner,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        check_name("host", &owner.name)?;
        let extra = legacy_marker(&owner.name);
        let surrender =
            Surrender::new(Which::Owner(owner.clone()), Conditions::default(), Some(extra));
        self.run(surrender, None, deadline).await
    }

    /// How full pools are; all pools when none is named. Reads every block.
    pub async fn utilization(
        &self,
        pools: &[PoolRef],
        deadline: Instant,
    ) -> Result<Utilization, IpamError> {
        self.run(ReadUtilization(pools), None, deadline).await
    }

    async fn surrender(
        &self,
        which: Which,
        must_be_empty: bool,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        let conditions = Conditions { must_be_empty, sequence_number: None };
        self.run(Surrender::new(which, conditions, None), None, deadline).await
    }

    async fn run<O: Operation>(
        &self,
        mut operation: O,
        prefetched: Option<Snapshot>,
        deadline: Instant,
    ) -> Result<O::Answer, IpamError> {
        operation::run(self.store, &mut operation, prefetched, &*self.clock, deadline).await
    }
}
