//! Nodes: one that goes takes along what belongs to it (`reference/datamodel.md` 7.3).
//!
//! Upstream's order is kept, so that whatever an interrupted deletion left is found by the next one:
//! addresses before the endpoints that name them, the Node last. Unlike upstream, an address that
//! somebody else has by now is kept, and the tunnels' IPv6 addresses go, too.

use std::net::IpAddr;
use std::time::Instant;

use super::{ATTEMPTS, Client, ClientError, id};
use crate::ipam::{Allocator, Claim};
use crate::names::{Tunnel, WorkloadEndpointName, legacy_cni_handle_id, legacy_k8s_handle_id};
use crate::resources::{AnyResource, Kind, Node, Object, WorkloadEndpoint};
use crate::store::{
    AffinityOwner, Change, Committed, Document, Key, MAX_CHANGES, Prefix, Query, Revision,
    StoreErrorKind,
};

/// How many endpoints are read and deleted at once, and how many addresses released.
// PERF: addresses with a handle each, in a block each, still fit into one commit.
const AT_ONCE: usize = 48;

impl Client {
    /// Removes a node with its endpoints, their addresses and those of its tunnels, its blocks, its
    /// host endpoints, and the BGP peers and configurations of this node alone. Returns what the
    /// Node was: that at `revision`, or whatever is there.
    ///
    /// What is missing is no failure, and neither is the Node: a deletion that was interrupted is
    /// finished by another one. An address only goes if IPAM has it recorded for this node and for
    /// the endpoint's container: those of virtual machines stay, since they outlive their pods.
    pub async fn delete_node(
        &self,
        name: &str,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<Option<Node>, ClientError> {
        let key = Key::global(Kind::Node, name);
        let document = self.read_document(&key, deadline).await?;
        if let (Some(asked), Some(found)) = (revision, &document)
            && found.revision != asked
        {
            return Err(ClientError::Conflict { id: id(&key) });
        }
        let node = document.as_ref().map(Node::decode).transpose()?;
        self.delete_endpoints(name, deadline).await?;

        let allocator = Allocator::new(&*self.store);
        let handles: Vec<String> =
            Tunnel::ALL.iter().map(|tunnel| tunnel.handle_id(name)).collect();
        // By address first: the handle's object may be gone while the address is not.
        let tunnels = node.as_ref().map(|node| tunnel_claims(node, &handles)).unwrap_or_default();
        self.release(&tunnels, deadline).await?;
        allocator.release_by_handle(&handles, None, Vec::new(), deadline).await?;
        allocator.remove_host(&AffinityOwner::host(name), deadline).await?;

        self.delete_records(name, revision, deadline).await?;
        Ok(node)
    }

    /// Removes a node's endpoints, after their addresses.
    async fn delete_endpoints(&self, node: &str, deadline: Instant) -> Result<(), ClientError> {
        let by_node =
            WorkloadEndpointName { node: node.to_owned(), ..WorkloadEndpointName::default() };
        let is_named_so = |key: &Key| match key {
            Key::Resource { name, .. } => by_node.matches(name).unwrap_or_default(),
            _ => false,
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Their names stand in all namespaces: only the keys are read of all nodes.
            let keys = Query::Keys(Prefix::kind(Kind::WorkloadEndpoint));
            let found = self.store.read(&[keys], deadline).await?.results.into_iter().flatten();
            let keys: Vec<Key> = found.map(|found| found.key).filter(is_named_so).collect();
            let mut changed = None;
            for part in keys.chunks(AT_ONCE) {
                let queries: Vec<Query> = part.iter().cloned().map(Query::Key).collect();
                let found = self.store.read(&queries, deadline).await?.results;
                let found: Vec<Document> = found.into_iter().flatten().collect();
                let endpoints: Vec<WorkloadEndpoint> =
                    found.iter().filter_map(|document| endpoint_of(node, document)).collect();
                let claims: Vec<Claim> = endpoints.iter().flat_map(endpoint_claims).collect();
                self.release(&claims, deadline).await?;
                let changes: Vec<Change> = endpoints.iter().map(deletion).collect();
                if !self.delete_all(&changes, deadline).await? {
                    changed = changes.into_iter().next().map(|change| change.key);
                }
            }
            match changed {
                None => return Ok(()),
                Some(key) if attempts == ATTEMPTS => {
                    return Err(ClientError::Conflict { id: id(&key) });
                }
                Some(_) => {}
            }
        }
    }

    /// Removes what only names the node, and the Node.
    async fn delete_records(
        &self,
        name: &str,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        let node = Key::global(Kind::Node, name);
        let own = format!("node.{name}");
        let queries = [
            Query::Prefix(Prefix::kind(Kind::BgpPeer)),
            Query::Key(Key::global(Kind::FelixConfiguration, &own)),
            Query::Key(Key::global(Kind::BgpConfiguration, &own)),
            Query::Prefix(Prefix::kind(Kind::HostEndpoint)),
            Query::Key(node.clone()),
        ];
        for _ in 0..ATTEMPTS {
            let found = self.store.read(&queries, deadline).await?.results.into_iter().flatten();
            let of_node: Vec<Document> = found.filter(|found| belongs_to(name, found)).collect();
            let changes: Vec<Change> = of_node
                .iter()
                .map(|found| match revision {
                    Some(revision) if found.key == node => Change::delete(node.clone(), revision),
                    _ => Change::delete(found.key.clone(), found.revision),
                })
                .collect();
            // The Node is the last one: parts before it may go without it.
            if self.delete_all(&changes, deadline).await? {
                return Ok(());
            }
        }
        Err(ClientError::Conflict { id: id(&node) })
    }

    /// Deletes as much as fits into a commit, one after the other. Answers whether all of it went;
    /// if not, somebody changed a part of it, and the rest has to be read again.
    async fn delete_all(&self, changes: &[Change], deadline: Instant) -> Result<bool, ClientError> {
        for part in changes.chunks(MAX_CHANGES) {
            match self.store.commit(part, deadline).await {
                Ok(Committed::Done(_)) => {}
                Ok(Committed::Conflict(_)) => return Ok(false),
                Err(error) if error.kind == StoreErrorKind::Unknown => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Releases what its claims still hold for.
    async fn release(&self, claims: &[Claim], deadline: Instant) -> Result<(), ClientError> {
        let allocator = Allocator::new(&*self.store);
        for part in claims.chunks(AT_ONCE) {
            let outcome = allocator.release_claimed(part, deadline).await?;
            for ip in outcome.kept {
                tracing::info!("address {ip} is kept: it is recorded for somebody else");
            }
            if let Some(error) = outcome.error {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

fn deletion(endpoint: &WorkloadEndpoint) -> Change {
    Change::delete(endpoint.key(), endpoint.metadata.revision().unwrap_or_default())
}

/// The endpoint, if it is one of the node: names alone don't tell.
fn endpoint_of(node: &str, document: &Document) -> Option<WorkloadEndpoint> {
    let read = WorkloadEndpoint::decode(document);
    let endpoint = read.inspect_err(|error| tracing::warn!("left where it is: {error}")).ok()?;
    (endpoint.spec.node == node).then_some(endpoint)
}

/// What an endpoint says to have of IPAM.
fn endpoint_claims(endpoint: &WorkloadEndpoint) -> Vec<Claim> {
    let spec = &endpoint.spec;
    let legacy = match spec.orchestrator.as_str() {
        "k8s" => legacy_k8s_handle_id(&endpoint.metadata.namespace, &spec.pod),
        _ => legacy_cni_handle_id(&spec.container_id).to_owned(),
    };
    let handles: Vec<String> = Some(legacy).filter(|id| !id.is_empty()).into_iter().collect();
    let networks = spec.ip_networks.iter();
    networks
        .filter_map(|network| address(network))
        .map(|address| Claim {
            address,
            node: spec.node.clone(),
            handles: handles.clone(),
            container_id: spec.container_id.clone(),
        })
        .collect()
}

/// What a node says to have for its tunnels.
fn tunnel_claims(node: &Node, handles: &[String]) -> Vec<Claim> {
    let (bgp, wireguard) = (node.spec.bgp.as_ref(), node.spec.wireguard.as_ref());
    let addresses = [
        bgp.map(|bgp| &bgp.ipv4_ipip_tunnel_addr),
        Some(&node.spec.ipv4_vxlan_tunnel_addr),
        Some(&node.spec.ipv6_vxlan_tunnel_addr),
        wireguard.map(|wireguard| &wireguard.interface_ipv4_address),
        wireguard.map(|wireguard| &wireguard.interface_ipv6_address),
    ];
    let claim = |address| Claim {
        address,
        node: node.metadata.name.clone(),
        handles: handles.to_vec(),
        container_id: String::new(),
    };
    addresses.into_iter().flatten().filter_map(|text| address(text)).map(claim).collect()
}

/// An address, with or without a prefix length.
fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next().and_then(|address| address.parse().ok())
}

/// Whether a document is of this node alone, of those that were read for it.
fn belongs_to(node: &str, document: &Document) -> bool {
    match &document.key {
        Key::Resource { kind: Kind::BgpPeer | Kind::HostEndpoint, .. } => {
            let read = AnyResource::decode(document);
            read.is_ok_and(|object| object.spec.get("node").is_some_and(|of| of == node))
        }
        _ => true,
    }
}
