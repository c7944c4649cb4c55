//! GC: what the network still has of containers that are gone (`reference/cni-plugin.md` section
//! 5.9). Goes on past errors and reports them together.

use std::collections::BTreeSet;
use std::time::Instant;

use cni::{Attachment, Error, Request, code};
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::identity::{Identity, Workload};
use cni_ipam::run::Deadline;
use cni_ipam::{fault, gc as ipam_gc, lock, node};
use libcalico::names;
use libcalico::resources::{Kind, WorkloadEndpoint};
use libcalico::store::{Document, Key, Prefix, Query};
use netutils::{Link, Netlink};

use crate::attachment::OWN_IPAM;
use crate::conf::Conf;
use crate::dataplane::{self, HOST_MAC};
use crate::delegate::Delegate;
use crate::endpoint::{EndpointId, Stored};
use crate::host_link::{self, HostLink, Marked, Owner};
use crate::release::{Release, TOGETHER};
use crate::{owed, unmarked};

/// Removes what is in no valid attachment.
pub async fn gc(conf: Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    let node = node::name(&conf.shared)?;
    let valid = Valid(request.config.valid_attachments()?);
    let network = &request.config.name;
    let mut problems = Vec::new();
    let host = Netlink::open().map_err(|error| dataplane::fault(&error))?;
    let abandoned = links(&host, network, &valid, &mut problems).await.unwrap_or_else(|error| {
        problems.push(error.msg);
        Vec::new()
    });
    let datastore = datastore::open(&conf.shared, &node)?;
    let own_ipam = conf.shared.ipam.kind == OWN_IPAM;
    let work = Gc {
        network,
        node: &node,
        valid: &valid,
        own_ipam,
        datastore: &datastore,
        host: &host,
        abandoned: &abandoned,
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
/// killed before it marked them. Answers those that nobody marked and that may be abandoned.
async fn links(
    host: &Netlink,
    network: &str,
    valid: &Valid,
    problems: &mut Vec<String>,
) -> Result<Vec<Link>, Error> {
    let mut abandoned = Vec::new();
    for link in host.links().await.map_err(|error| dataplane::fault(&error))? {
        let is_stale = match host_link::marked(&link) {
            Some(Marked { network: of, container_id, ifname }) => {
                of == network && !valid.has(container_id, Some(ifname))
            }
            // Of whatever network it was to be, nobody can use it.
            None => link.mac == Some(HOST_MAC) && link.is_stillborn(),
        };
        if is_stale {
            remove(host, &link, problems).await;
        } else if unmarked::is_abandoned(&link) {
            abandoned.push(link);
        }
    }
    Ok(abandoned)
}

async fn remove(host: &Netlink, link: &Link, problems: &mut Vec<String>) {
    match dataplane::remove(host, link.index).await {
        Ok(()) => tracing::info!(link = link.name, "removed the link of a container that is gone"),
        Err(error) => problems.push(format!("{}: {}", link.name, error.msg)),
    }
}

struct Gc<'a> {
    network: &'a str,
    node: &'a str,
    valid: &'a Valid,
    own_ipam: bool,
    datastore: &'a Datastore,
    host: &'a Netlink,
    /// Links that nobody marked, and that no carrier shows to be in use.
    abandoned: &'a [Link],
    end: Deadline,
}

impl Gc<'_> {
    async fn store(&self, conf: &Conf, problems: &mut Vec<String>) -> Result<(), Error> {
        let deadline = self.end.end();
        let store = &*self.datastore.store;
        let endpoints = Query::Prefix(Prefix::kind(Kind::WorkloadEndpoint));
        let handles = Query::Keys(Prefix::Handles(names::handle_id(self.network, "")));
        let queries = [datastore::readiness_query(), endpoints, handles];
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
        let documents = results.next().unwrap_or_default();
        let handles = results.next().unwrap_or_default();
        let handles: BTreeSet<Key> = handles.into_iter().map(|document| document.key).collect();
        let endpoints = documents.iter().map(|document| Stored::read_damaged(document).endpoint);
        let stale: Vec<WorkloadEndpoint> =
            endpoints.filter(|endpoint| self.is_stale(endpoint, &handles)).collect();
        for some in stale.chunks(TOGETHER) {
            self.release(some, deadline, problems).await;
        }
        self.remove_abandoned(&documents, problems).await?;
        if self.own_ipam {
            let containers = self.valid.containers();
            problems.extend(
                ipam_gc::collect(store, self.network, self.node, &containers, deadline).await?,
            );
        }
        Ok(())
    }

    /// Removes the links that no endpoint of this node names, of whatever network: upstream's plugin
    /// leaves them where its ADD fails. That was all looked at when we began; what is being made is
    /// in use by now, or has its endpoint.
    async fn remove_abandoned(
        &self,
        documents: &[Document],
        problems: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut in_use = BTreeSet::new();
        for document in documents {
            let Ok(Stored { endpoint, .. }) = Stored::read(document) else {
                // It may be any link's.
                return Ok(());
            };
            if endpoint.spec.node == self.node {
                in_use.insert(endpoint.spec.interface_name);
            }
        }
        in_use.extend(self.valid.0.iter().map(|one| names::cni_host_link(&one.container_id)));
        for link in self.abandoned.iter().filter(|link| !in_use.contains(&link.name)) {
            let now = self.host.link_by_index(link.index).await;
            match now.map_err(|error| dataplane::fault(&error))? {
                Some(now) if now.name == link.name && unmarked::is_abandoned(&now) => {
                    remove(self.host, &now, problems).await;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether an endpoint is this network's, on this node, and of no valid attachment. It is the
    /// network's if it has its profile or, since pods may have those of their namespace instead, if
    /// its container has addresses of it.
    fn is_stale(&self, endpoint: &WorkloadEndpoint, handles: &BTreeSet<Key>) -> bool {
        let spec = &endpoint.spec;
        let is_pod = spec.orchestrator == "k8s";
        // A pod's endpoint keeps its name when a later sandbox calls the interface otherwise.
        let ifname = Some(spec.endpoint.as_str()).filter(|_| !is_pod);
        spec.node == self.node
            && (is_pod || spec.orchestrator == "cni")
            && (spec.profiles.iter().any(|profile| profile == self.network)
                || handles
                    .contains(&Key::Handle(names::handle_id(self.network, &spec.container_id))))
            && !spec.container_id.is_empty()
            && !self.valid.has(&spec.container_id, ifname)
    }

    /// Takes back what containers have that are gone: their links first, then the rest of all of them
    /// together. Where that fails it is tried again one by one: what one of them is refused for keeps
    /// none of the others.
    async fn release(
        &self,
        stale: &[WorkloadEndpoint],
        deadline: Instant,
        problems: &mut Vec<String>,
    ) {
        let mut told = |stale: &WorkloadEndpoint, error: Error| {
            problems.push(format!("WorkloadEndpoint {}: {}", stale.metadata.name, error.msg));
        };
        let mut unlinked = Vec::new();
        for stale in stale {
            let identity = self.identity(stale);
            match self.unlink(&identity, stale).await {
                Ok(endpoint) => unlinked.push((stale, identity, endpoint)),
                Err(error) => told(stale, error),
            }
        }
        let own_ipam = self.own_ipam;
        let releases: Vec<Release<'_>> = unlinked
            .iter()
            .map(|(_, identity, endpoint)| Release { identity, endpoint: Some(endpoint), own_ipam })
            .collect();
        let store = &*self.datastore.store;
        if Release::carry_out_together(&releases, store, deadline).await.is_ok() {
            return;
        }
        for (release, (stale, ..)) in releases.iter().zip(&unlinked) {
            let outcome = match release.read(store, deadline).await {
                Ok(found) => release.carry_out(store, found, None, deadline).await,
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                told(stale, error.into());
            }
        }
    }

    /// Whose an endpoint of this network is.
    fn identity(&self, stale: &WorkloadEndpoint) -> Identity {
        let spec = &stale.spec;
        let namespace = stale.metadata.namespace.clone();
        Identity {
            workload: match spec.orchestrator.as_str() {
                "k8s" => Workload::Pod { namespace, name: spec.pod.clone() },
                _ => Workload::Container { namespace },
            },
            container_id: spec.container_id.clone(),
            ifname: spec.endpoint.clone(),
            node: self.node.into(),
            network: self.network.into(),
        }
    }

    /// Removes the link of a container that is gone, which nobody marked if upstream made it.
    async fn unlink(
        &self,
        identity: &Identity,
        stale: &WorkloadEndpoint,
    ) -> Result<EndpointId, Error> {
        let names = HostLink::here(identity)?;
        for link in names.find(self.host, Some(&stale.spec.interface_name)).await? {
            if names.owner(&link) != Owner::Another {
                dataplane::remove(self.host, link.index).await?;
            }
        }
        EndpointId::of(identity)
    }
}
