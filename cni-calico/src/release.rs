//! The store's part of DEL: the endpoint goes, and its addresses, in one commit.

use std::time::Instant;

use cni_ipam::fault;
use cni_ipam::identity::Identity;
use libcalico::ipam::{Allocator, IpamError, ReleaseGuard};
use libcalico::resources::{DecodeError, WorkloadEndpoint};
use libcalico::store::{Change, Document, Query, Store, StoreError};

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
    /// The stored endpoint can't be read.
    #[error(transparent)]
    Endpoint(#[from] DecodeError),
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
            ReleaseError::Endpoint(error) => fault::damaged(&error),
        }
    }
}

/// What is to be taken back.
pub struct Release<'a> {
    /// Whose it is.
    pub identity: &'a Identity,
    /// Its endpoint; none if its identifiers make no name, so that there can't be one.
    pub endpoint: Option<&'a EndpointId>,
    /// Whether its addresses are from our own IPAM.
    pub own_ipam: bool,
}

impl Release<'_> {
    /// Asks for the endpoints of the workload.
    pub fn query(&self) -> Option<Query> {
        self.endpoint.map(EndpointId::query)
    }

    /// Tells the endpoints apart.
    pub fn find(&self, documents: &[Document]) -> Result<Found, DecodeError> {
        match self.endpoint {
            Some(endpoint) => endpoint.find(documents),
            None => Ok(Found::default()),
        }
    }

    /// Takes endpoint and addresses back. `found` is what was read of the endpoints; what has
    /// changed since is read again. That nothing is there is fine.
    pub async fn carry_out(
        &self,
        store: &dyn Store,
        found: Found,
        deadline: Instant,
    ) -> Result<(), ReleaseError> {
        let mut found = found;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.commit(store, &found, deadline).await {
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
        Ok(self.find(snapshot.results.first().map(Vec::as_slice).unwrap_or_default())?)
    }

    async fn commit(
        &self,
        store: &dyn Store,
        found: &Found,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        // Of a pod, the endpoint may be a later sandbox's: then only the addresses go.
        let mine = found
            .mine
            .as_ref()
            .filter(|mine| self.endpoint.is_some_and(|endpoint| endpoint.owns(&mine.endpoint)));
        let delete =
            mine.map(|mine| Change::delete(mine.document.key.clone(), mine.document.revision));
        let allocator = Allocator::new(store);
        if !self.own_ipam {
            return allocator
                .release_by_handle(&[], None, Vec::from_iter(delete), deadline)
                .await
                .map(drop);
        }
        let siblings = found.siblings.iter().map(|sibling| &sibling.endpoint);
        if siblings.into_iter().any(|sibling| self.shares_handle(sibling)) {
            // The handle is another interface's too: only this one's addresses go.
            return self.release_some(&allocator, mine, delete, deadline).await;
        }
        allocator
            .release_by_handle(&self.identity.handles(), None, Vec::from_iter(delete), deadline)
            .await
            .map(drop)
    }

    fn shares_handle(&self, sibling: &WorkloadEndpoint) -> bool {
        sibling.spec.container_id == self.identity.container_id
            && sibling.spec.profiles.contains(&self.identity.network)
    }

    async fn release_some(
        &self,
        allocator: &Allocator<'_>,
        mine: Option<&Stored>,
        delete: Option<Change>,
        deadline: Instant,
    ) -> Result<(), IpamError> {
        let options: Vec<ReleaseGuard> = mine
            .map(|mine| endpoint::addresses(&mine.endpoint))
            .unwrap_or_default()
            .into_iter()
            .map(|address| ReleaseGuard {
                address,
                handle: Some(self.identity.handle()),
                sequence_number: None,
            })
            .collect();
        allocator.release_ips(&options, deadline).await?;
        allocator.release_by_handle(&[], None, Vec::from_iter(delete), deadline).await.map(drop)
    }
}
