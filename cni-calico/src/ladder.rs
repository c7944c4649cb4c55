//! What an ADD has begun, and how to take it back: in reverse, each rung knowing its own way down.
//!
//! A rung is put up *before* its step is tried, so an ADD that is interrupted in the middle of a
//! step takes that one back too. What a killed process leaves behind is what DEL, GC or the next ADD
//! removes: every object names the container.

use std::sync::{Mutex, PoisonError};

use cni_ipam::datastore::Datastore;
use cni_ipam::run;
use libcalico::ipam::{Allocator, IpamError};
use libcalico::resources::{Object, WorkloadEndpoint};
use libcalico::store::{Action, Change, Document, Guard, Query};

use crate::attachment::Attachment;
use crate::dataplane::{HOST_MAC, Sockets};
use crate::delegate::Delegate;
use crate::host_link::Owner;

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// What was begun.
pub struct Ladder<'a> {
    attachment: &'a Attachment,
    datastore: &'a Datastore,
    sockets: &'a Sockets,
    rungs: Mutex<Rungs>,
}

#[derive(Default)]
struct Rungs {
    link: Option<String>,
    store: Option<StoreRung>,
    delegate: Option<Delegate>,
}

/// The commit of addresses and endpoint.
#[derive(Clone)]
pub struct StoreRung {
    /// The endpoint as it was before.
    pub previous: Option<Document>,
    /// Whether the handle's addresses were assigned by this ADD.
    pub releases: bool,
}

impl<'a> Ladder<'a> {
    /// Nothing begun yet.
    pub fn new(
        attachment: &'a Attachment,
        datastore: &'a Datastore,
        sockets: &'a Sockets,
    ) -> Ladder<'a> {
        Ladder { attachment, datastore, sockets, rungs: Mutex::default() }
    }

    /// A link of this name is about to be made.
    pub fn begin_link(&self, name: &str) {
        self.rungs(|rungs| rungs.link = Some(name.to_owned()));
    }

    /// Addresses and endpoint are about to be committed.
    pub fn begin_store(&self, rung: StoreRung) {
        self.rungs(|rungs| rungs.store = Some(rung));
    }

    /// Another plugin is about to be asked for addresses.
    pub fn begin_delegate(&self, delegate: &Delegate) {
        self.rungs(|rungs| rungs.delegate = Some(delegate.clone()));
    }

    fn rungs<T>(&self, change: impl FnOnce(&mut Rungs) -> T) -> T {
        change(&mut self.rungs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes everything back. What can't be is logged: the error that led here is the one to report,
    /// and the runtime's DEL comes back to it.
    pub async fn descend(&self) {
        let rungs = self.rungs(std::mem::take);
        // The link first: an address must not be given to somebody else while a link has it.
        if let Some(name) = rungs.link {
            self.remove_link(&name).await;
        }
        if let Some(rung) = rungs.store
            && let Err(error) = self.restore(&rung).await
        {
            tracing::error!("undoing the endpoint and its addresses: {error}");
        }
        if let Some(delegate) = rungs.delegate
            && let Err(error) = delegate.del().await
        {
            tracing::error!("undoing {}: {error}", delegate.name());
        }
    }

    async fn remove_link(&self, name: &str) {
        match self.sockets.host.link(name).await {
            Ok(Some(link)) => {
                // Not marked yet: ours if it looks like ours, since its name was free before.
                let ours = match self.attachment.host_link.owner(&link) {
                    Owner::Ours => true,
                    Owner::Another => false,
                    Owner::Unknown => link.mac == Some(HOST_MAC),
                };
                if ours {
                    self.sockets.undo(link.index).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!("undoing the link {name}: {error}"),
        }
    }

    /// Puts the endpoint back as it was, and releases what this ADD was given, in one commit.
    async fn restore(&self, rung: &StoreRung) -> Result<(), IpamError> {
        let deadline = run::deadline(run::DEL_STORE_LIMIT);
        let handles = match rung.releases {
            true => vec![self.attachment.identity.handle()],
            false => Vec::new(),
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let change = self.endpoint_change(rung, deadline).await?;
            let extra = Vec::from_iter(change);
            let outcome = Allocator::new(&*self.datastore.store)
                .release_by_handle(&handles, None, extra, deadline)
                .await;
            match outcome {
                Err(IpamError::CompanionConflict(_)) if attempt < ATTEMPTS => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// The change that takes the endpoint back, if it is the one that this ADD wrote.
    async fn endpoint_change(
        &self,
        rung: &StoreRung,
        deadline: std::time::Instant,
    ) -> Result<Option<Change>, IpamError> {
        let key = match &rung.previous {
            Some(previous) => previous.key.clone(),
            None => self.attachment.endpoint.key(),
        };
        let snapshot = self.datastore.store.read(&[Query::Key(key)], deadline).await?;
        let Some(present) = snapshot.results.into_iter().flatten().next() else {
            return Ok(None);
        };
        if rung.previous.as_ref().is_some_and(|previous| previous.revision == present.revision) {
            return Ok(None);
        }
        let ours = WorkloadEndpoint::decode(&present)
            .is_ok_and(|endpoint| self.attachment.endpoint.owns(&endpoint));
        let action = match &rung.previous {
            Some(previous) => Action::Put(previous.value.clone()),
            None => Action::Delete,
        };
        let guard = Guard::Revision(present.revision);
        Ok(ours.then_some(Change { key: present.key, guard, action }))
    }
}
