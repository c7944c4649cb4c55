//! The store's part of ADD: addresses, endpoint and profile.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use cni::{Error, code};
use cni_ipam::request::Addresses;
use cni_ipam::{add as ipam_add, check as ipam_check, fault, run};
use libcalico::ipam::{self, IpamError};
use libcalico::store::{Change, Committed, Snapshot};
use netutils::Mac;
use tokio::sync::oneshot;

use super::{ATTEMPTS, Add, Known, Source, invalid_object, overtaken};
use crate::attachment::Attachment;
use crate::endpoint::{self, Contents, Found};
use crate::ladder::{Releases, StoreRung};
use crate::pod_inputs::Held;

/// What the endpoint will say of the pair.
#[derive(Clone, Copy)]
pub(super) struct Ends<'a> {
    pub(super) host_link: &'a str,
    pub(super) mac: Mac,
}

/// Where it is told which addresses are about to be committed: the kernel can be given them
/// meanwhile. Whether they are the final ones shows when the commit is done.
pub(super) struct Decision(Mutex<Option<oneshot::Sender<Vec<IpAddr>>>>);

impl Decision {
    /// A decision, and where it shows; an error shows there where none was made.
    pub(super) fn open() -> (Decision, oneshot::Receiver<Vec<IpAddr>>) {
        let (sender, receiver) = oneshot::channel();
        (Decision(Mutex::new(Some(sender))), receiver)
    }

    /// Tells it; the first time only.
    fn tell(&self, addresses: &[IpAddr]) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody listens where there is no pair.
            let _ = sender.send(addresses.to_vec());
        }
    }
}

/// What was assigned.
#[derive(Default)]
pub(super) struct Assigned {
    pub(super) addresses: Vec<IpAddr>,
    /// The same as our own IPAM tells it; empty where that was not asked.
    pub(super) by_ipam: Vec<ipam::Assigned>,
    pub(super) dns: cni::Dns,
}

/// Why nothing was assigned.
pub(super) enum Failure {
    /// Somebody changed the endpoint or the profile since we read it: read again.
    Conflict,
    /// For good.
    Error(Error),
}

impl Add<'_> {
    /// Gets addresses, and writes the endpoint and the profile.
    pub(super) async fn assign(
        &self,
        source: &Source,
        prefetched: Option<Snapshot>,
        known: &Known,
        ends: Ends<'_>,
        decision: Decision,
    ) -> Result<Assigned, Failure> {
        // What could be invalid about the objects shows without addresses too.
        self.changes(known, ends, &[])?;
        let mut rung = StoreRung {
            previous: known.found.mine.as_ref().map(|mine| mine.document.clone()),
            releases: Releases::Nothing,
            from_former: self.held_by_former(known),
        };
        if let Some(addresses) = self.kept(source, known).await? {
            self.ladder.begin_store(rung);
            decision.tell(&addresses);
            self.write(source, known, ends, &addresses).await?;
            return Ok(Assigned { addresses, ..Assigned::default() });
        }
        match source {
            Source::Own(wanted) => {
                let handle = self.attachment.identity.handle();
                let had = prefetched.as_ref().is_some_and(|all| ipam_add::has_handle(all, &handle));
                rung.releases = if had { Releases::Added } else { Releases::Handle };
                self.ladder.begin_store(rung);
                self.take(wanted, prefetched, known, ends, &decision).await
            }
            Source::Pod(addresses) => {
                self.ladder.begin_store(rung);
                decision.tell(addresses);
                self.write(source, known, ends, addresses).await?;
                Ok(Assigned { addresses: addresses.clone(), ..Assigned::default() })
            }
            Source::Delegate(delegate) => {
                self.ladder.begin_store(rung);
                self.ladder.begin_delegate(delegate);
                let result = delegate.add(self.end).await?;
                let addresses: Vec<IpAddr> =
                    result.ips.iter().map(|ip| ip.address.addr()).collect();
                if addresses.is_empty() {
                    let message = format!(
                        "IPAM plugin {} gave no address: see its part of the configuration, \"ipam\"",
                        delegate.name()
                    );
                    return Err(Error::new(code::DELEGATION, message).into());
                }
                decision.tell(&addresses);
                self.write(source, known, ends, &addresses).await?;
                Ok(Assigned { addresses, dns: result.dns, ..Assigned::default() })
            }
        }
    }

    /// The addresses that the container has by its endpoint, where asking again would give it
    /// others or none: IPAM hands a handle's addresses out again only if they are all of one
    /// interface, a requested address only once, and many another plugin refuses a repetition. Only
    /// those that IPAM still has: the endpoint may be what a killed DEL left.
    async fn kept(&self, source: &Source, known: &Known) -> Result<Option<Vec<IpAddr>>, Error> {
        let Found { mine: Some(mine), siblings } = &known.found else { return Ok(None) };
        let identity = &self.attachment.identity;
        let addresses = endpoint::addresses(&mine.endpoint);
        if mine.endpoint.spec.container_id != identity.container_id || addresses.is_empty() {
            return Ok(None);
        }
        match source {
            Source::Own(Addresses::Any(_)) if siblings.is_empty() => Ok(None),
            Source::Pod(_) => Ok(None),
            Source::Own(_) => {
                let held = addresses.clone();
                match ipam_check::holds(&*self.datastore.store, identity, held, self.end).await {
                    Ok(()) => Ok(Some(addresses)),
                    Err(error) if error.code == code::CHECK => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Source::Delegate(delegate) => {
                if delegate.has(&addresses, self.end).await {
                    return Ok(Some(addresses));
                }
                // A DEL that was killed half way gave them back, perhaps. What is left of them would
                // be in the way of an ADD.
                delegate.del(self.end).await?;
                Ok(None)
            }
        }
    }

    /// Takes addresses out of our own IPAM; endpoint and profile are part of its commit.
    async fn take(
        &self,
        wanted: &Addresses,
        prefetched: Option<Snapshot>,
        known: &Known,
        ends: Ends<'_>,
        decision: &Decision,
    ) -> Result<Assigned, Failure> {
        let companion = |assigned: &[ipam::Assigned]| {
            let addresses: Vec<IpAddr> = assigned.iter().map(|one| one.address).collect();
            decision.tell(&addresses);
            self.changes(known, ends, &addresses).unwrap_or_default()
        };
        // A container's second interface in the same network gets addresses of its own.
        let mut wanted = wanted.reusing(known.found.siblings.is_empty());
        if let Some(Held { handle, addresses }) = self.held_by_former(known) {
            wanted = wanted.taking(&addresses, &handle);
        }
        let _on_its_way = self.ladder.committing();
        let assigned = ipam_add::assign(
            &*self.datastore.store,
            &wanted,
            prefetched,
            Some(&companion),
            self.end.within(run::STORE_LIMIT),
        )
        .await
        .map_err(|error| match error {
            IpamError::CompanionConflict(_) => Failure::Conflict,
            error => Failure::Error(fault::ipam(&error)),
        })?;
        let addresses = assigned.iter().map(|assigned| assigned.address).collect();
        Ok(Assigned { addresses, by_ipam: assigned, ..Assigned::default() })
    }

    /// The addresses that the pod names and its former sandbox still has, whose DEL may come later or
    /// never.
    fn held_by_former(&self, known: &Known) -> Option<Held> {
        let Attachment { pod, identity, .. } = self.attachment;
        pod.held_by(&known.found.mine.as_ref()?.endpoint, identity)
    }

    /// The changes that write the endpoint and, where it is missing, the profile.
    fn changes(
        &self,
        known: &Known,
        ends: Ends<'_>,
        addresses: &[IpAddr],
    ) -> Result<Vec<Change>, Error> {
        let contents = Contents {
            labels: &self.attachment.labels,
            pod: &self.attachment.pod,
            addresses,
            host_link: ends.host_link,
            mac: ends.mac,
            now: self.now,
        };
        let mine = known.found.mine.as_ref();
        let endpoint = self.attachment.endpoint.write(mine, &contents);
        let endpoint = endpoint.map_err(|error| invalid_object(&error))?;
        Ok(std::iter::once(endpoint).chain(self.profile(known)?).collect())
    }

    /// The change that makes the network's profile, if there is none.
    pub(super) fn profile(&self, known: &Known) -> Result<Option<Change>, Error> {
        if known.has_profile || !self.attachment.makes_profile() {
            return Ok(None);
        }
        endpoint::create_profile(&self.attachment.identity, self.now)
            .map(Some)
            .map_err(|error| invalid_object(&error))
    }

    /// Commits the changes on their own, for addresses that are there already.
    async fn write(
        &self,
        source: &Source,
        known: &Known,
        ends: Ends<'_>,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let deadline = self.end.within(run::STORE_LIMIT);
        let mut changes = self.changes(known, ends, addresses)?;
        let _on_its_way = self.ladder.committing();
        for _ in 0..ATTEMPTS {
            match self.datastore.store.commit(&changes, deadline).await {
                Ok(Committed::Done(_)) => return Ok(()),
                Ok(Committed::Conflict(_)) => {
                    let (known, _) = self.read(source).await?;
                    changes = self.changes(&known, ends, addresses)?;
                }
                Err(error) => return Err(fault::store(&error)),
            }
        }
        Err(overtaken())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Conflict => overtaken(),
            Failure::Error(error) => error,
        }
    }
}
