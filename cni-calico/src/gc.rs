//! GC: what the network still has of containers that are gone (`reference/cni-plugin.md` section
//! 5.9). Goes on past errors and reports them together.

use std::collections::BTreeSet;
use std::time::Instant;

use cni::{Attachment, Error, Request, code};
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::identity::{Identity, Workload};
use cni_ipam::run::Deadline;
use cni_ipam::{fault, gc as ipam_gc, lock, node};
use libcalico::resources::{Kind, WorkloadEndpoint};
use libcalico::store::{Prefix, Query};
use netutils::Netlink;

use crate::attachment::OWN_IPAM;
use crate::conf::Conf;
use crate::dataplane::{self, HOST_MAC};
use crate::delegate::Delegate;
use crate::endpoint::{EndpointId, Stored};
use crate::host_link::{self, HostLink, Marked, Owner};
use crate::owed;
use crate::release::Release;

/// Removes what is in no valid attachment.
pub async fn gc(conf: Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    let node = node::name(&conf.shared)?;
    let valid = Valid(request.config.valid_attachments()?);
    let network = &request.config.name;
    let mut problems = Vec::new();
    let host = Netlink::open().map_err(|error| dataplane::fault(&error))?;
    if let Err(error) = links(&host, network, &valid, &mut problems).await {
        problems.push(error.msg);
    }
    let datastore = datastore::open(&conf.shared, &node)?;
    let own_ipam = conf.shared.ipam.kind == OWN_IPAM;
    let work = Gc {
        network,
        node: &node,
        valid: &valid,
        own_ipam,
        datastore: &datastore,
        host: &host,
        end,
    };
    if let Err(error) = work.store(&conf, &mut problems).await {
        problems.push(error.msg);
    }
    if !own_ipam && !conf.shared.ipam.kind.is_empty() {
        problems.extend(Delegate::find(request)?.gc(end).await.err().map(|error| error.msg));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            code::GC,
            format!("{} things of network {network} could not be removed", problems.len()),
        )
        .details(problems.join("; "))),
    }
}

/// The attachments that stay.
struct Valid(Vec<Attachment>);

impl Valid {
    fn has(&self, container_id: &str, ifname: Option<&str>) -> bool {
        self.0.iter().any(|valid| {
            valid.container_id == container_id && ifname.is_none_or(|name| valid.ifname == name)
        })
    }

    fn containers(&self) -> BTreeSet<String> {
        self.0.iter().map(|valid| valid.container_id.clone()).collect()
    }
}

/// Removes the links that are marked as this network's and not valid, and those whose maker was
/// killed before it marked them.
async fn links(
    host: &Netlink,
    network: &str,
    valid: &Valid,
    problems: &mut Vec<String>,
) -> Result<(), Error> {
    for link in host.links().await.map_err(|error| dataplane::fault(&error))? {
        let is_stale = match host_link::marked(&link) {
            Some(Marked { network: of, container_id, ifname }) => {
                of == network && !valid.has(container_id, Some(ifname))
            }
            // Of whatever network it was to be, nobody can use it.
            None => link.mac == Some(HOST_MAC) && link.is_stillborn(),
        };
        if !is_stale {
            continue;
        }
        match dataplane::remove(host, link.index).await {
            Ok(_) => {
                tracing::info!(link = link.name, "removed the link of a container that is gone")
            }
            Err(error) => problems.push(format!("{}: {}", link.name, error.msg)),
        }
    }
    Ok(())
}

struct Gc<'a> {
    network: &'a str,
    node: &'a str,
    valid: &'a Valid,
    own_ipam: bool,
    datastore: &'a Datastore,
    host: &'a Netlink,
    end: Deadline,
}

impl Gc<'_> {
    async fn store(&self, conf: &Conf, problems: &mut Vec<String>) -> Result<(), Error> {
        let deadline = self.end.end();
        let store = &*self.datastore.store;
        let endpoints = Query::Prefix(Prefix::kind(Kind::WorkloadEndpoint));
        let queries = [datastore::readiness_query(), endpoints];
        let snapshot =
            store.read(&queries, deadline).await.map_err(|error| fault::store(&error))?;
        let mut results = snapshot.results.into_iter();
        let cluster = results.next().unwrap_or_default();
        if self.datastore.is_fresh(&cluster) {
            return Ok(());
        }
        datastore::ensure_ready(&cluster, store)?;
        let _lock = lock::acquire(&conf.shared.ipam_lock_file, self.end).await;
        owed::settle(self.network, self.node, self.datastore, self.end).await;
        for document in results.next().unwrap_or_default() {
            let Stored { endpoint, .. } = Stored::read_damaged(&document);
            if !self.is_stale(&endpoint) {
                continue;
            }
            if let Err(error) = self.release(&endpoint, deadline).await {
                problems
                    .push(format!("WorkloadEndpoint {}: {}", endpoint.metadata.name, error.msg));
            }
        }
        if self.own_ipam {
            let containers = self.valid.containers();
            problems.extend(
                ipam_gc::collect(store, self.network, self.node, &containers, deadline).await?,
            );
        }
        Ok(())
    }

    /// Whether an endpoint is this network's, on this node, and of no valid attachment.
    fn is_stale(&self, endpoint: &WorkloadEndpoint) -> bool {
        let spec = &endpoint.spec;
        let is_pod = spec.orchestrator == "k8s";
        // A pod's endpoint keeps its name when a later sandbox calls the interface otherwise.
        let ifname = Some(spec.endpoint.as_str()).filter(|_| !is_pod);
        spec.node == self.node
            && (is_pod || spec.orchestrator == "cni")
            && spec.profiles.iter().any(|profile| profile == self.network)
            && !spec.container_id.is_empty()
            && !self.valid.has(&spec.container_id, ifname)
    }

    /// Takes back what a container has that is gone: its link first, which nobody marked if upstream
    /// made it.
    async fn release(&self, stale: &WorkloadEndpoint, deadline: Instant) -> Result<(), Error> {
        let spec = &stale.spec;
        let namespace = stale.metadata.namespace.clone();
        let identity = Identity {
            workload: match spec.orchestrator.as_str() {
                "k8s" => Workload::Pod { namespace, name: spec.pod.clone() },
                _ => Workload::Container { namespace },
            },
            container_id: spec.container_id.clone(),
            ifname: spec.endpoint.clone(),
            node: self.node.into(),
            network: self.network.into(),
        };
        let names = HostLink::here(&identity)?;
        for link in names.find(self.host, Some(&spec.interface_name)).await? {
            if names.owner(&link) != Owner::Another {
                dataplane::remove(self.host, link.index).await?;
            }
        }
        let endpoint = EndpointId::of(&identity)?;
        let release =
            Release { identity: &identity, endpoint: Some(&endpoint), own_ipam: self.own_ipam };
        let store = &*self.datastore.store;
        let found = release.read(store, deadline).await.map_err(Error::from)?;
        release.carry_out(store, found, None, deadline).await.map_err(Error::from)
    }
}
