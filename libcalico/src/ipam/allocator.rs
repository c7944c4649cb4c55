//! The allocator: runs operations against a store. Everything that decides is in the operations.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use super::assign::AutoAssignOperation;
use super::block::ReleaseGuard;
use super::error::IpamError;
use super::operation::{self, Operation};
use super::release::{CollectCold, ReleaseByHandle, ReleaseIps, ReleaseOutcome};
use super::request::{AssignIp, Assigned, Assignment, AutoAssign, Companion, check_name};
use super::specific::AssignIpOperation;
use crate::store::{Change, Snapshot, Store};

/// Gives out addresses of a cluster's pools, and takes them back. Every call ends by its deadline.
#[derive(Clone)]
pub struct Allocator<'a> {
    store: &'a dyn Store,
    clock: Arc<dyn Fn() -> OffsetDateTime + Send + Sync>,
}

impl<'a> Allocator<'a> {
    /// An allocator on a store.
    pub fn new(store: &'a dyn Store) -> Allocator<'a> {
        Allocator { store, clock: Arc::new(OffsetDateTime::now_utc) }
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

    /// Assigns one address. `prefetched` are the answers to [`AssignIp::queries`].
    pub async fn assign_ip(
        &self,
        request: &AssignIp,
        prefetched: Option<Snapshot>,
        companion: Option<Companion<'_>>,
        deadline: Instant,
    ) -> Result<Assigned, IpamError> {
        self.run(AssignIpOperation::new(request, companion)?, prefetched, deadline).await
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
        for id in handles {
            check_name("handle", id)?;
        }
        self.run(ReleaseByHandle::new(handles, extra), prefetched, deadline).await
    }

    /// Releases single addresses, each only if its guards hold.
    pub async fn release_ips(
        &self,
        guards: &[ReleaseGuard],
        deadline: Instant,
    ) -> Result<ReleaseOutcome, IpamError> {
        self.run(ReleaseIps::new(guards), None, deadline).await
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

    pub(super) async fn run<O: Operation>(
        &self,
        mut operation: O,
        prefetched: Option<Snapshot>,
        deadline: Instant,
    ) -> Result<O::Answer, IpamError> {
        operation::run(self.store, &mut operation, prefetched, &*self.clock, deadline).await
    }
}
