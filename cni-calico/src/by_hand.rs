//! Containers that an operator attaches with `calicoctl container`, when no runtime speaks CNI for
//! them (`reference/calicoctl.md` section 2.2).
//!
//! The wiring is ADD's and DEL's own code. What differs is the identity: the orchestrator is
//! `docker`, the container is the workload, and handle and link bear a network's name that none of
//! CNI's can have. Who works on a container holds a lock on its namespace, which is left nowhere.

mod address;

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use cni::Error;
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::identity::{BY_HAND, Identity};
use cni_ipam::request::{self, Addresses};
use cni_ipam::run::Deadline;
use cni_ipam::{add as ipam_add, fault, lock, run};
use libcalico::clock;
use libcalico::ipam::{AutoAssign, PoolRef};
use libcalico::resources::WorkloadEndpoint;
use libcalico::resources::time::go_timestamp;
use libcalico::store::{Document, Key, Query};
use netutils::{Device, Netlink, Netns, NetnsError, sysctl};

use crate::add::{self, Shape, Source};
use crate::attachment::Attachment;
use crate::dataplane::{self, Sockets};
use crate::del::local::Local;
use crate::endpoint::{EndpointId, Stored};
use crate::host_link::{self, HostLink, Owner};
use crate::owed;
use crate::release::Release;
use crate::unmarked::Evidence;

/// How long another call that works on the same container is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a change may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Why a container was not changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ByHandError {
    #[error("the container has an endpoint already: {name}")]
    Attached { name: String },
    #[error("the container has no endpoint")]
    NotAttached,
    #[error("the container has several interfaces ({}): name one with --interface", ifnames.join(", "))]
    Several { ifnames: Vec<String> },
    #[error("the container doesn't have the address {ip}")]
    NotAssigned { ip: IpAddr },
    #[error("the container has an interface {ifname} already: name another one with --interface")]
    InterfaceTaken { ifname: String },
    #[error(
        "the interface {ifname} of the container is gone: remove the container and add it again"
    )]
    InterfaceGone { ifname: String },
    #[error("{path} is the host's own network namespace: a container needs one of its own")]
    HostNamespace { path: String },
    #[error("somebody else is working on the container: {0}; try again")]
    Busy(std::io::Error),
    #[error("this host's kernel has IPv6 switched off (/proc/sys/net/ipv6 is missing)")]
    NoIpv6,
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Fault(#[from] Error),
}

/// Which address a container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// This one.
    This(IpAddr),
    /// Any IPv4 address: of this pool, or of any.
    Ipv4(Option<PoolRef>),
    /// Any IPv6 address: of this pool, or of any.
    Ipv6(Option<PoolRef>),
}

impl Ask {
    fn is_ipv6(&self) -> bool {
        match self {
            Ask::This(ip) => ip.is_ipv6(),
            Ask::Ipv4(_) => false,
            Ask::Ipv6(_) => true,
        }
    }

    /// The request to IPAM. `reuse`: whether addresses that the container has already will do.
    fn request(&self, identity: &Identity, reuse: bool) -> Addresses {
        let now = clock::now();
        let (v6, pool) = match self {
            Ask::This(ip) => return request::these(&[*ip], identity, now),
            Ask::Ipv4(pool) => (false, pool),
            Ask::Ipv6(pool) => (true, pool),
        };
        let pools = Vec::from_iter(pool.clone());
        let (v4_pools, v6_pools) = if v6 { (Vec::new(), pools) } else { (pools, Vec::new()) };
        Addresses::Any(AutoAssign {
            handle: Some(identity.handle()),
            attributes: identity.attributes(go_timestamp(now)),
            v4: (!v6).into(),
            v6: v6.into(),
            v4_pools,
            v6_pools,
            reuse,
            ..AutoAssign::new(identity.node.clone())
        })
    }
}

/// A container on this node.
pub struct ByHand {
    datastore: Datastore,
    node: String,
    container_id: String,
}

impl ByHand {
    /// The container with this id: letters, digits and dashes.
    pub fn new(datastore: Datastore, node: &str, container_id: &str) -> ByHand {
        ByHand { datastore, node: node.to_owned(), container_id: container_id.to_owned() }
    }

    /// Its endpoints.
    pub async fn endpoints(&self) -> Result<Vec<WorkloadEndpoint>, ByHandError> {
        let stored = self.stored().await?;
        Ok(stored.into_iter().map(|stored| stored.endpoint).collect())
    }

    /// Refuses a container that has an endpoint already. Sets up a fresh embedded store.
    pub async fn ensure_new(&self) -> Result<(), ByHandError> {
        let query = self.id("eth0")?.query();
        let deadline = run::deadline(run::STORE_LIMIT);
        let read = ipam_add::read(&self.datastore, &self.node, vec![query], None, deadline).await?;
        datastore::ensure_ready(&read.cluster, &*self.datastore.store)?;
        match self.sort(read.own.first().map(Vec::as_slice).unwrap_or_default())?.pop() {
            Some(stored) => Err(ByHandError::Attached { name: stored.endpoint.metadata.name }),
            None => Ok(()),
        }
    }

    /// Wires the container: interface, address and endpoint, or nothing of it. The endpoint gets
    /// the label.
    pub async fn add(
        &self,
        netns: &Path,
        ifname: &str,
        ask: &Ask,
        label: Option<(String, String)>,
    ) -> Result<Vec<IpAddr>, ByHandError> {
        check_ipv6(ask)?;
        let netns = open(netns)?;
        let _alone = alone(&netns).await?;
        self.ensure_new().await?;
        let mut attachment = Attachment::by_hand(self.identity(ifname))?;
        attachment.labels.extend(label);
        let sockets = Sockets::open(netns)?;
        if let Some(link) = sockets.container.link(ifname).await.map_err(kernel)? {
            let end = dataplane::host_end(&sockets.host, &sockets.netns, &link).await;
            // What an earlier call left when it was killed is replaced.
            let end = end.map_err(kernel)?;
            if !end.is_some_and(|end| attachment.host_link.owner(&end) == Owner::Ours) {
                return Err(ByHandError::InterfaceTaken { ifname: ifname.to_owned() });
            }
        }
        let source = Source::Own(ask.request(&attachment.identity, true));
        let shape = Shape {
            mtu: attachment.conf.mtu()?,
            device: Device::Veth,
            queues: attachment.conf.queues()?,
            mac: attachment.mac()?,
        };
        let (now, end) = (clock::now(), Deadline::after(LIMIT));
        let attached =
            add::attach(&attachment, &self.datastore, &sockets, &source, shape, now, end).await?;
        Ok(attached.addresses)
    }

    /// Takes back all that the container has, also what a killed call left. `netns` may be gone.
    /// Answers whether there was anything.
    pub async fn remove(&self, netns: Option<&Path>) -> Result<bool, ByHandError> {
        let opened = netns.and_then(|path| open(path).ok());
        let _alone = match &opened {
            Some(netns) => Some(alone(netns).await?),
            None => None,
        };
        let endpoints = self.stored().await?;
        let host = Netlink::open().map_err(kernel)?;
        let mut ifnames: BTreeSet<String> =
            endpoints.iter().map(|stored| stored.endpoint.spec.endpoint.clone()).collect();
        ifnames.extend(self.linked(&host, opened.as_ref()).await?);
        let mut found = !ifnames.is_empty();
        for ifname in &ifnames {
            let stored = endpoints.iter().find(|stored| stored.endpoint.spec.endpoint == *ifname);
            let evidence = match stored {
                Some(stored) => Evidence::of(&stored.endpoint),
                None => Evidence { by_name: true, ..Evidence::default() },
            };
            self.remove_link(ifname, &evidence, opened.as_ref()).await?;
        }
        // Addresses without an endpoint go by their handle, whatever the interface was called.
        if ifnames.is_empty() {
            ifnames.insert("eth0".to_owned());
            found = self.has_addresses().await?;
        }
        for ifname in &ifnames {
            self.release(ifname).await?;
        }
        owed::settle(BY_HAND, &self.node, &self.datastore, Deadline::after(LIMIT)).await;
        Ok(found)
    }

    async fn remove_link(
        &self,
        ifname: &str,
        evidence: &Evidence,
        netns: Option<&Netns>,
    ) -> Result<(), ByHandError> {
        let host_link = HostLink::here(&self.identity(ifname))?;
        let local = Local { host_link: &host_link, ifname, netns };
        let host = local.remove_marked().await?;
        let links = local.unmarked(&host, evidence.stored.as_deref()).await?;
        local.remove_unmarked(&host, &links, evidence).await?;
        Ok(())
    }

    async fn release(&self, ifname: &str) -> Result<(), ByHandError> {
        let identity = self.identity(ifname);
        let endpoint = EndpointId::of(&identity)?;
        let release = Release { identity: &identity, endpoint: Some(&endpoint), own_ipam: true };
        let store = &*self.datastore.store;
        let deadline = run::deadline(run::STORE_LIMIT);
        let found = release.read(store, deadline).await.map_err(Error::from)?;
        release.carry_out(store, found, None, deadline).await.map_err(Error::from)?;
        Ok(())
    }

    /// The names of the container's interfaces that are marked as ours; and of those in its
    /// namespace that a killed call had no time to mark.
    async fn linked(
        &self,
        host: &Netlink,
        netns: Option<&Netns>,
    ) -> Result<Vec<String>, ByHandError> {
        let mut ifnames = Vec::new();
        for link in host.links().await.map_err(kernel)? {
            if let Some(marked) = host_link::marked(&link)
                && marked.network == BY_HAND
                && marked.container_id == self.container_id
            {
                ifnames.push(marked.ifname.to_owned());
            }
        }
        let Some(netns) = netns else { return Ok(ifnames) };
        let container = Netlink::open_in(netns).map_err(kernel)?;
        for link in container.links().await.map_err(kernel)? {
            let Some(end) = dataplane::host_end(host, netns, &link).await.map_err(kernel)? else {
                continue;
            };
            if end.alias.is_none()
                && let Ok(names) = HostLink::here(&self.identity(&link.name))
                && (names.name == end.name || names.alternate.as_ref() == Some(&end.name))
            {
                ifnames.push(link.name);
            }
        }
        Ok(ifnames)
    }

    async fn has_addresses(&self) -> Result<bool, ByHandError> {
        let handle = Query::Key(Key::Handle(self.identity("eth0").handle()));
        Ok(!self.read(handle).await?.is_empty())
    }

    fn identity(&self, ifname: &str) -> Identity {
        Identity::by_hand(&self.node, &self.container_id, ifname)
    }

    fn id(&self, ifname: &str) -> Result<EndpointId, ByHandError> {
        Ok(EndpointId::of(&self.identity(ifname))?)
    }

    async fn stored(&self) -> Result<Vec<Stored>, ByHandError> {
        let documents = self.read(self.id("eth0")?.query()).await?;
        self.sort(&documents)
    }

    fn sort(&self, documents: &[Document]) -> Result<Vec<Stored>, ByHandError> {
        let found = self.id("eth0")?.find_damaged(documents);
        Ok(found.mine.into_iter().chain(found.siblings).collect())
    }

    /// Reads from a store that is ready, or that nobody has set up yet.
    async fn read(&self, query: Query) -> Result<Vec<Document>, ByHandError> {
        let queries = [datastore::readiness_query(), query];
        let deadline = run::deadline(run::STORE_LIMIT);
        let store = &*self.datastore.store;
        let snapshot =
            store.read(&queries, deadline).await.map_err(|error| fault::store(&error))?;
        let mut results = snapshot.results.into_iter();
        let cluster = results.next().unwrap_or_default();
        if self.datastore.is_fresh(&cluster) {
            return Ok(Vec::new());
        }
        datastore::ensure_ready(&cluster, store)?;
        Ok(results.next().unwrap_or_default())
    }
}

fn check_ipv6(ask: &Ask) -> Result<(), ByHandError> {
    match ask.is_ipv6() && !sysctl::ipv6_is_available() {
        true => Err(ByHandError::NoIpv6),
        false => Ok(()),
    }
}

/// Opens a container's namespace; the host's own is refused.
fn open(path: &Path) -> Result<Netns, ByHandError> {
    let netns = Netns::open(path)?;
    match netns.is_same(&Netns::current()?) {
        true => Err(ByHandError::HostNamespace { path: path.display().to_string() }),
        false => Ok(netns),
    }
}

/// Waits until nobody else works on the container: a lock of the namespace itself, which goes with
/// its holder.
async fn alone(netns: &Netns) -> Result<lock::Held, ByHandError> {
    let file = netns.as_fd().try_clone_to_owned().map_err(ByHandError::Busy)?;
    lock::hold(File::from(file), PATIENCE).await.map_err(ByHandError::Busy)
}

fn kernel(error: netutils::NetlinkError) -> ByHandError {
    ByHandError::Fault(dataplane::fault(&error))
}
