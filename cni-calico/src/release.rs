//! The store's part of DEL: the endpoint goes, and its addresses, in one commit.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use cni_ipam::fault;
use cni_ipam::identity::{Identity, Workload};
use libcalico::ipam::{
    Allocator, IpamError, ReleaseGuard, possible_block_queries, release_queries,
};
use libcalico::names;
use libcalico::store::{Change, Document, Query, Snapshot, Store, StoreError};

use crate::endpoint::{self, EndpointId, Found, Stored};

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// Why the store's part failed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// IPAM.
    #[error(transparent)]
    Ipam(IpamError),
}

impl From<IpamError> for ReleaseError {
    fn from(error: IpamError) -> ReleaseError {
        match error {
            IpamError::Store(error) => ReleaseError::Store(error),
            error => ReleaseError::Ipam(error),
        }
    }
}

impl From<ReleaseError> for cni::Error {
    fn from(error: ReleaseError) -> cni::Error {
        match error {
            ReleaseError::Store(error) => fault::store(&error),
            ReleaseError::Ipam(error) => fault::ipam(&error),
        }
    }
}

/// What is to be taken back.
#[derive(Clone, Copy)]
pub struct Release<'a> {
    /// Whose it is.
    pub identity: &'a Identity,
    /// Its endpoint; none if its identifiers make no name, so that there can't be one.
    pub endpoint: Option<&'a EndpointId>,
    /// Whether its addresses are from our own IPAM.
    pub own_ipam: bool,
}

/// How many are taken back together: a commit has so much room beside IPAM's own changes.
pub const TOGETHER: usize = 16;

/// What of a release goes in one commit.
struct Share {
    handles: Vec<String>,
    /// Of the endpoint, where it is the container's.
    delete: Option<Change>,
}

/// What was read for IPAM together with the endpoints: it spares a release its own reading.
pub struct Prefetched {
    /// The addresses that the runtime remembers of ADD.
    pub remembered: Vec<IpAddr>,
    /// The answers to [`Release::ipam_queries`].
    pub snapshot: Snapshot,
}

impl Release<'_> {
    /// Asks for what IPAM has to know first.
    pub fn ipam_queries(&self, remembered: &[IpAddr]) -> Vec<Query> {
        if !self.own_ipam {
            return Vec::new();
        }
        let mut queries = release_queries(&self.identity.handles());
        queries.extend(possible_block_queries(remembered));
        queries
    }

    /// Asks for the endpoints of the workload.
    pub fn query(&self) -> Option<Query> {
        self.endpoint.map(EndpointId::query)
    }

    /// Tells the endpoints apart.
    pub fn find(&self, documents: &[Document]) -> Found {
        self.endpoint.map(|endpoint| endpoint.find_damaged(documents)).unwrap_or_default()
    }

    /// Takes endpoint and addresses back. `found` is what was read of the endpoints; what has
    /// changed since is read again. That nothing is there is fine.
    pub async fn carry_out(
        &self,
        store: &dyn Store,
        found: Found,
        prefetched: Option<Prefetched>,
        deadline: Instant,
    ) -> Result<(), ReleaseError> {
        let (mut found, mut prefetched) = (found, prefetched);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.commit(store, &found, prefetched.take(), deadline).await {
                Err(IpamError::CompanionConflict(_)) if attempt < ATTEMPTS => {
                    found = self.read(store, deadline).await?;
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Reads the endpoints.
    pub async fn read(&self, store: &dyn Store, deadline: Instant) -> Result<Found, ReleaseError> {
        let Some(query) = self.query() else { return Ok(Found::default()) };
        let snapshot = store.read(&[query], deadline).await?;
        Ok(self.find(snapshot.results.first().map(Vec::as_slice).unwrap_or_default()))
    }

    /// Takes several back in one commit, of at most [`TOGETHER`]: each of them whole or not at all.
    pub async fn carry_out_together(
        releases: &[Release<'_>],
        store: &dyn Store,
        deadline: Instant,
    ) -> Result<(), ReleaseError> {
        let queries: Vec<Query> = releases.iter().filter_map(Release::query).collect();
        let snapshot = store.read(&queries, deadline).await?;
        let mut answers = snapshot.results.into_iter();
        let allocator = Allocator::new(store);
        let (mut handles, mut deletes) = (Vec::new(), Vec::new());
        for release in releases {
            let answer = release.query().and_then(|_| answers.next()).unwrap_or_default();
            let share = release.share(&allocator, &release.find(&answer), deadline).await?;
            handles.extend(share.handles);
            deletes.extend(share.delete);
        }
        allocator.release_by_handle(&handles, None, deletes, deadline).await?;
        Ok(())
    }

    async fn commit(
        &self,
        store: &dyn Store,
        found: &Found,
        prefetched: Option<Prefetched>,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        let allocator = Allocator::new(store);
        let Share { handles, delete } = self.share(&allocator, found, deadline).await?;
        // What was read was about the handles of this network alone.
        let prefetched = prefetched.filter(|_| handles == self.identity.handles());
        let (remembered, snapshot) = match prefetched {
            Some(Prefetched { remembered, snapshot }) => (remembered, Some(snapshot)),
            None => (Vec::new(), None),
        };
        let delete = Vec::from_iter(delete);
        allocator
            .release_by_handle_of(&handles, &remembered, snapshot, delete, deadline)
            .await
            .map(drop)
    }

    /// What of it goes in one commit. Addresses whose handle is another interface's of the container
    /// too are released at once: of that handle only those go.
    async fn share(
        &self,
        allocator: &Allocator<'_>,
        found: &Found,
        deadline: Instant,
    ) -> Result<Share, IpamError> {
        // Of a pod, the endpoint may be a later sandbox's: then only the addresses go.
        let mine = found
            .mine
            .as_ref()
            .filter(|mine| self.endpoint.is_some_and(|endpoint| endpoint.owns(&mine.endpoint)));
        let delete =
            mine.map(|mine| Change::delete(mine.document.key.clone(), mine.document.revision));
        let mut handles = Vec::new();
        if self.own_ipam {
            let (shared, own) = self.networks(mine, &found.siblings);
            for network in shared {
                self.release_some(allocator, network, mine, deadline).await?;
            }
            for network in own {
                match network == self.identity.network {
                    true => handles.extend(self.identity.handles()),
                    false => handles.push(names::handle_id(network, &self.identity.container_id)),
                }
            }
        }
        Ok(Share { handles, delete })
    }

    /// The networks that the interface is in: those whose handle is also a sibling's, and those
    /// whose handle is this interface's alone.
    fn networks<'a>(
        &'a self,
        mine: Option<&'a Stored>,
        siblings: &[Stored],
    ) -> (Vec<&'a str>, Vec<&'a str>) {
        // A profile is named like a network of CNI's; of what was made by hand that means nothing.
        let profiles = mine
            .filter(|_| self.identity.workload != Workload::ByHand)
            .map(|mine| mine.endpoint.spec.profiles.as_slice())
            .unwrap_or_default();
        let networks: BTreeSet<&str> = std::iter::once(self.identity.network.as_str())
            .chain(profiles.iter().map(String::as_str))
            .collect();
        networks.into_iter().partition(|network| {
            siblings.iter().any(|sibling| {
                let spec = &sibling.endpoint.spec;
                spec.container_id == self.identity.container_id
                    && (self.identity.workload == Workload::ByHand
                        || spec.profiles.iter().any(|profile| profile == network))
            })
        })
    }

    async fn release_some(
        &self,
        allocator: &Allocator<'_>,
        network: &str,
        mine: Option<&Stored>,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        let handle = names::handle_id(network, &self.identity.container_id);
        let addresses = mine.map(|mine| endpoint::addresses(&mine.endpoint)).unwrap_or_default();
        release_addresses(allocator, &handle, &addresses, deadline).await
    }
}

/// Releases single addresses of a handle; what the handle doesn't have is left alone.
pub async fn release_addresses(
    allocator: &Allocator<'_>,
    handle: &str,
    addresses: &[IpAddr],
    deadline: Instant,
) -> Result<(), IpamError> {
    let guard = |address: &IpAddr| ReleaseGuard {
        address: *address,
        handle: Some(handle.to_owned()),
        sequence_number: None,
    };
    let guards: Vec<ReleaseGuard> = addresses.iter().map(guard).collect();
    if let Some(error) = allocator.release_ips(&guards, deadline).await?.error {
        tracing::warn!("not released: {error}");
    }
    Ok(())
}
