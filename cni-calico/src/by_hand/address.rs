//! One address more, or one less, of a container that is attached.

use std::net::IpAddr;
use std::path::Path;

use cni::{Error, code};
use cni_ipam::run::Deadline;
use cni_ipam::{add as ipam_add, fault, run};
use ipnet::IpNet;
use libcalico::ipam::{Allocator, Assigned, IpamError, ReleaseGuard};
use libcalico::store::{Change, Committed};
use netutils::Link;

use super::{Ask, ByHand, ByHandError, LIMIT, alone, check_ipv6, kernel, open};
use crate::dataplane::Sockets;
use crate::endpoint::{self, Stored};

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

impl ByHand {
    /// Gives the container one more address, or nothing.
    pub async fn add_address(
        &self,
        netns: &Path,
        ifname: Option<&str>,
        ask: &Ask,
    ) -> Result<IpAddr, ByHandError> {
        check_ipv6(ask)?;
        let netns = open(netns)?;
        let _alone = alone(&netns).await?;
        let before = self.only(ifname).await?;
        let sockets = Sockets::open(netns)?;
        let outcome = tokio::select! {
            biased;
            why = run::interrupted(Deadline::after(LIMIT)) => {
                Err(why.error("what it began is undone").into())
            }
            outcome = self.extend(&sockets, &before, ask) => outcome,
        };
        if outcome.is_err()
            && let Err(error) = self.shrink_to(&sockets, &before).await
        {
            tracing::error!("undoing: {error}");
        }
        outcome
    }

    /// Takes an address from the container; also one that a killed call left half removed.
    pub async fn remove_address(
        &self,
        netns: &Path,
        ifname: Option<&str>,
        ip: IpAddr,
    ) -> Result<(), ByHandError> {
        let netns = open(netns)?;
        let _alone = alone(&netns).await?;
        let stored = self.only(ifname).await?;
        let sockets = Sockets::open(netns)?;
        let is_listed = endpoint::addresses(&stored.endpoint).contains(&ip);
        if !is_listed && !self.handle_has(ip).await? {
            return Err(ByHandError::NotAssigned { ip });
        }
        self.take(&sockets, stored, ip).await
    }

    /// The container's endpoint: that of the interface, or else the only one.
    async fn only(&self, ifname: Option<&str>) -> Result<Stored, ByHandError> {
        let mut stored = self.stored().await?;
        if let Some(ifname) = ifname {
            stored.retain(|stored| stored.endpoint.spec.endpoint == ifname);
        }
        match (stored.pop(), stored.as_slice()) {
            (None, _) => Err(ByHandError::NotAttached),
            (Some(only), []) => Ok(only),
            (Some(last), others) => {
                let all = others.iter().chain([&last]);
                let ifnames = all.map(|stored| stored.endpoint.spec.endpoint.clone()).collect();
                Err(ByHandError::Several { ifnames })
            }
        }
    }

    async fn extend(
        &self,
        sockets: &Sockets,
        before: &Stored,
        ask: &Ask,
    ) -> Result<IpAddr, ByHandError> {
        let ifname = &before.endpoint.spec.endpoint;
        let (Some(host), Some(container)) = ends(sockets, before).await? else {
            return Err(ByHandError::InterfaceGone { ifname: ifname.clone() });
        };
        let address = self.assign(before, ask).await?;
        let had = endpoint::addresses(&before.endpoint);
        let is_first = !had.iter().any(|other| other.is_ipv4() == address.is_ipv4());
        sockets.add_one(&host, &container, address, is_first).await?;
        Ok(address)
    }

    /// Takes an address out of IPAM; that the endpoint has it is part of the commit.
    async fn assign(&self, before: &Stored, ask: &Ask) -> Result<IpAddr, ByHandError> {
        let wanted = ask.request(&self.identity(&before.endpoint.spec.endpoint), false);
        let mut stored = before.clone();
        for _ in 0..ATTEMPTS {
            let companion = |assigned: &[Assigned]| -> Vec<Change> {
                let change = stored.edited(|spec| {
                    let nets = assigned.iter().map(|one| IpNet::from(one.address).to_string());
                    spec.ip_networks.extend(nets);
                });
                change.into_iter().collect()
            };
            // What could be invalid about the endpoint shows without an address too.
            stored.edited(|_| {}).map_err(invalid)?;
            let deadline = run::deadline(run::STORE_LIMIT);
            let store = &*self.datastore.store;
            match ipam_add::assign(store, &wanted, None, Some(&companion), deadline).await {
                Ok(assigned) => match assigned.first() {
                    Some(one) => return Ok(one.address),
                    None => break,
                },
                Err(IpamError::CompanionConflict(_)) => {
                    stored = self.only(Some(&before.endpoint.spec.endpoint)).await?;
                }
                Err(error) => return Err(fault::ipam(&error).into()),
            }
        }
        Err(overtaken())
    }

    /// Takes back the addresses that the endpoint has and hadn't before.
    async fn shrink_to(&self, sockets: &Sockets, before: &Stored) -> Result<(), ByHandError> {
        let had = endpoint::addresses(&before.endpoint);
        let now = self.only(Some(&before.endpoint.spec.endpoint)).await?;
        let mut added = endpoint::addresses(&now.endpoint);
        added.retain(|address| !had.contains(address));
        for ip in added {
            let stored = self.only(Some(&before.endpoint.spec.endpoint)).await?;
            self.take(sockets, stored, ip).await?;
        }
        Ok(())
    }

    /// Takes an address: from the endpoint, from the links, and last out of IPAM, so that nobody
    /// gets it while a link has it.
    async fn take(&self, sockets: &Sockets, stored: Stored, ip: IpAddr) -> Result<(), ByHandError> {
        let (host, container) = ends(sockets, &stored).await?;
        let identity = self.identity(&stored.endpoint.spec.endpoint);
        let left = self.strike(stored, ip).await?;
        sockets.remove_one(host.as_ref(), container.as_ref(), ip, &left).await?;
        let allocator = Allocator::new(&*self.datastore.store);
        let deadline = run::deadline(run::STORE_LIMIT);
        let guard =
            ReleaseGuard { address: ip, handle: Some(identity.handle()), sequence_number: None };
        let outcome = allocator.release_ips(&[guard], deadline).await;
        match outcome.map(|outcome| outcome.error) {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(fault::ipam(&error).into()),
        }
    }

    /// Strikes an address out of the endpoint; those that are left.
    async fn strike(&self, stored: Stored, ip: IpAddr) -> Result<Vec<IpAddr>, ByHandError> {
        let ifname = stored.endpoint.spec.endpoint.clone();
        let mut stored = stored;
        for _ in 0..ATTEMPTS {
            let mut left = endpoint::addresses(&stored.endpoint);
            left.retain(|other| *other != ip);
            let change = stored.edited(|spec| {
                spec.ip_networks = left.iter().map(|ip| IpNet::from(*ip).to_string()).collect();
            });
            let change = change.map_err(invalid)?;
            let deadline = run::deadline(run::STORE_LIMIT);
            match self.datastore.store.commit(&[change], deadline).await {
                Ok(Committed::Done(_)) => return Ok(left),
                Ok(Committed::Conflict(_)) => stored = self.only(Some(&ifname)).await?,
                Err(error) => return Err(fault::store(&error).into()),
            }
        }
        Err(overtaken())
    }

    async fn handle_has(&self, ip: IpAddr) -> Result<bool, ByHandError> {
        let allocator = Allocator::new(&*self.datastore.store);
        let handle = self.identity("eth0").handle();
        match allocator.ips_by_handle(&handle, run::deadline(run::STORE_LIMIT)).await {
            Ok(addresses) => Ok(addresses.contains(&ip)),
            Err(error) if cni_ipam::check::is_unknown(&error) => Ok(false),
            Err(error) => Err(fault::ipam(&error).into()),
        }
    }
}

/// Both ends of an endpoint's pair, as far as they are there.
async fn ends(
    sockets: &Sockets,
    stored: &Stored,
) -> Result<(Option<Link>, Option<Link>), ByHandError> {
    let spec = &stored.endpoint.spec;
    let container = sockets.container.link(&spec.endpoint).await.map_err(kernel)?;
    let host = sockets.host.link(&spec.interface_name).await.map_err(kernel)?;
    Ok((host, container))
}

fn invalid(error: libcalico::resources::ValidationError) -> ByHandError {
    Error::new(code::INVALID_CONFIG, error.to_string()).into()
}

fn overtaken() -> ByHandError {
    let message = "the WorkloadEndpoint was changed by somebody else meanwhile: try again";
    Error::new(code::TRY_AGAIN_LATER, message).into()
}
