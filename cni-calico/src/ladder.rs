//! What an ADD has begun, and how to take it back: in reverse, each rung knowing its own way down.
//!
//! A rung is put up *before* its step is tried, so an ADD that is interrupted in the middle of a
//! step takes that one back too. What a killed process leaves behind is what DEL, GC or the next ADD
//! removes: every object names the container.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use cni_ipam::datastore::Datastore;
use cni_ipam::request::{self, Addresses};
use cni_ipam::run;
use libcalico::clock;
use libcalico::ipam::{Allocator, IpamError, IpamErrorKind};
use libcalico::store::{Action, Change, Document, Guard, Query};

use crate::attachment::Attachment;
use crate::dataplane::{HOST_MAC, Sockets};
use crate::delegate::Delegate;
use crate::endpoint::{self, Stored};
use crate::host_link::Owner;
use crate::pod_inputs::Held;
use crate::release::Release;
use crate::{owed, release};

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// What was begun.
pub struct Ladder<'a> {
    attachment: &'a Attachment,
    datastore: &'a Datastore,
    sockets: &'a Sockets,
    rungs: Mutex<Rungs>,
    /// Whether a commit is on its way to the store.
    committing: AtomicBool,
}

/// A commit that is on its way; it has arrived, or failed, when this is dropped.
pub struct Committing<'a>(&'a AtomicBool);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
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
    /// What of the addresses this ADD was given.
    pub releases: Releases,
    /// What it takes from a former sandbox, which has it again when this ADD fails.
    pub from_former: Option<Held>,
}

/// Which addresses go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Releases {
    /// None: they are another plugin's, or the container had them before.
    Nothing,
    /// All of the handle: there was no handle before.
    Handle,
    /// Those that the endpoint has now and hadn't before: the handle is another interface's too.
    Added,
}

impl<'a> Ladder<'a> {
    /// Nothing begun yet.
    pub fn new(
        attachment: &'a Attachment,
        datastore: &'a Datastore,
        sockets: &'a Sockets,
    ) -> Ladder<'a> {
        let (rungs, committing) = Default::default();
        Ladder { attachment, datastore, sockets, rungs, committing }
    }

    /// A link of this name is about to be made.
    pub fn begin_link(&self, name: &str) {
        self.rungs(|rungs| rungs.link = Some(name.to_owned()));
    }

    /// The link was not made.
    pub fn forget_link(&self) {
        self.rungs(|rungs| rungs.link = None);
    }

    /// Addresses and endpoint are about to be committed.
    pub fn begin_store(&self, rung: StoreRung) {
        self.rungs(|rungs| rungs.store = Some(rung));
    }

    /// A commit is about to be sent.
    pub fn committing(&self) -> Committing<'_> {
        self.committing.store(true, Ordering::Relaxed);
        Committing(&self.committing)
    }

    /// Ready while no commit is on its way. It wakes nobody: whoever polls the commit polls this too.
    pub async fn no_commit(&self) {
        poll_fn(|_| match self.committing.load(Ordering::Relaxed) {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
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
            self.owe(&error);
        }
        if let Some(delegate) = rungs.delegate
            && let Err(error) = delegate.undo().await
        {
            tracing::error!("undoing {}: {error}", delegate.name());
        }
    }

    /// Whether the commit was made can't be known while the store is away: who reaches it next
    /// looks after it.
    fn owe(&self, error: &IpamError) {
        let Attachment { identity, endpoint, conf, .. } = self.attachment;
        let own_ipam = self.attachment.has_own_ipam();
        let release = Release { identity, endpoint: Some(endpoint), own_ipam };
        if error.kind() == IpamErrorKind::Unavailable
            && conf.own.defers_release()
            && let Err(error) = owed::leave(&release, &self.datastore.store.describe())
        {
            tracing::error!("no note of it could be left: {error}");
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
        let allocator = Allocator::new(&*self.datastore.store);
        let handle = self.attachment.identity.handle();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let written = self.written(rung, deadline).await?;
            // One commit took the addresses and wrote the endpoint. Had it not been made, the former
            // sandbox might be gone by now, and nobody would release what it is given.
            if written.is_some()
                && let Some(former) = &rung.from_former
            {
                self.hand_back(former, &allocator, deadline).await?;
            }
            if let Some(written) = &written
                && rung.releases == Releases::Added
            {
                let before: Vec<IpAddr> = rung
                    .previous
                    .as_ref()
                    .map(|previous| endpoint::addresses(&Stored::read_damaged(previous).endpoint))
                    .unwrap_or_default();
                let mut added = endpoint::addresses(&written.endpoint);
                added.retain(|address| !before.contains(address));
                release::release_addresses(&allocator, &handle, &added, deadline).await?;
            }
            let handles = match rung.releases {
                Releases::Handle => std::slice::from_ref(&handle),
                Releases::Added | Releases::Nothing => &[],
            };
            let extra = written.map(|written| Change {
                guard: Guard::Revision(written.document.revision),
                key: written.document.key,
                action: match &rung.previous {
                    Some(previous) => Action::Put(previous.value.clone()),
                    None => Action::Delete,
                },
            });
            let outcome =
                allocator.release_by_handle(handles, None, Vec::from_iter(extra), deadline).await;
            match outcome {
                Err(IpamError::CompanionConflict(_)) if attempt < ATTEMPTS => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Gives a former sandbox the addresses again that this ADD took from it.
    async fn hand_back(
        &self,
        former: &Held,
        allocator: &Allocator<'_>,
        deadline: std::time::Instant,
    ) -> Result<(), IpamError> {
        let identity = &self.attachment.identity;
        let now = clock::now();
        let Addresses::These(mut requests) = request::these(&former.addresses, identity, now)
        else {
            return Ok(());
        };
        for request in &mut requests {
            request.from = request.handle.replace(former.handle.clone());
            // It has them, if this is tried again.
            request.reuse = true;
        }
        match allocator.assign_ips(&requests, None, None, deadline).await {
            Err(error) if error.kind() != IpamErrorKind::Unavailable => {
                tracing::warn!("addresses of the former sandbox are not given back: {error}");
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// The endpoint as this ADD wrote it, if it did.
    async fn written(
        &self,
        rung: &StoreRung,
        deadline: std::time::Instant,
    ) -> Result<Option<Stored>, IpamError> {
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
        let stored = Stored::read_damaged(&present);
        Ok(Some(stored).filter(|stored| self.attachment.endpoint.owns(&stored.endpoint)))
    }
}
