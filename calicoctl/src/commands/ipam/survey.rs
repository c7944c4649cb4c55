//! One look at all that IPAM is about: pools, blocks, handles and those who use addresses, as they
//! were at one revision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use crate::progress::doing;
use ipnet::IpNet;
use libcalico::client::Client;
use libcalico::ipam::block::{AttributeRecord, WINDOWS_RESERVED_HANDLE};
use libcalico::ipam::config::IpamConfig;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::reservation::{AddressFilter, reserved_networks};
use libcalico::ipam::{Block, Pool};
use libcalico::resources::{ClusterInformation, Kind, Node, Object, WorkloadEndpoint};
use libcalico::store::{AffinityType, Document, Key, Prefix, Query, Revision};
use serde_json::Value;

/// What there is.
pub struct Survey {
    /// Every document, for the consistency checker.
    pub documents: Vec<Document>,
    /// What the allocators go by.
    pub config: IpamConfig,
    /// The cluster, with its revision.
    pub cluster: Option<ClusterInformation>,
    /// The pools, in the order of their names.
    pub pools: Vec<Pool>,
    /// What reservations keep out of automatic assignment.
    pub reserved: AddressFilter,
    /// The blocks, in ascending order; damaged ones too, as far as they can be read.
    pub blocks: BTreeMap<IpNet, Block>,
    /// Blocks that can't be read at all.
    pub unreadable: BTreeSet<IpNet>,
    /// The handles with their revisions.
    pub handles: BTreeMap<String, (Revision, Handle)>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The endpoints of workloads.
    pub endpoints: Vec<WorkloadEndpoint>,
    /// Whether addresses are given to Services, which only the Kubernetes API knows.
    pub serves_load_balancers: bool,
}

/// Those who use an address, as texts like `Workload(default/name)`.
pub type Users = BTreeMap<IpAddr, Vec<String>>;

impl Survey {
    /// Reads it, at one revision.
    pub async fn read(client: &Client, deadline: Instant) -> anyhow::Result<Survey> {
        let kind = |kind| Query::Prefix(Prefix::kind(kind));
        let queries = [
            Query::Key(Key::IpamConfig),
            Query::Key(Key::global(Kind::ClusterInformation, "default")),
            Query::Key(Key::global(Kind::KubeControllersConfiguration, "default")),
            kind(Kind::IpPool),
            kind(Kind::IpReservation),
            kind(Kind::Node),
            kind(Kind::WorkloadEndpoint),
            Query::Prefix(Prefix::Blocks(None)),
            Query::Prefix(Prefix::AllAffinities(AffinityType::Host)),
            Query::Prefix(Prefix::AllAffinities(AffinityType::Virtual)),
            Query::Prefix(Prefix::Handles(String::new())),
        ];
        let read = client.store().read(&queries, deadline);
        let snapshot = doing("reading the datastore", read).await?;
        Ok(Survey::of(snapshot.results.into_iter().flatten().collect()))
    }

    /// What these documents say.
    pub fn of(documents: Vec<Document>) -> Survey {
        let mut survey = Survey {
            documents: Vec::new(),
            config: IpamConfig::default(),
            cluster: None,
            pools: Vec::new(),
            reserved: AddressFilter::default(),
            blocks: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            handles: BTreeMap::new(),
            nodes: Vec::new(),
            endpoints: Vec::new(),
            serves_load_balancers: false,
        };
        let mut reserved = Vec::new();
        for document in &documents {
            survey.take_in(document, &mut reserved);
        }
        survey.reserved = AddressFilter::new(reserved);
        survey.documents = documents;
        survey
    }

    /// Takes in a document. What can't be read is left to the checker.
    fn take_in(&mut self, document: &Document, reserved: &mut Vec<IpNet>) {
        let value = &document.value;
        match &document.key {
            Key::IpamConfig => {
                self.config = IpamConfig::decode(value).unwrap_or_default();
            }
            Key::Block(cidr) => match serde_json::from_slice::<Block>(value) {
                Ok(block) if block.cidr.trunc() == *cidr => {
                    self.blocks.insert(*cidr, block);
                }
                _ => {
                    self.unreadable.insert(*cidr);
                }
            },
            Key::Handle(id) => {
                if let Ok(handle) = Handle::decode(value) {
                    self.handles.insert(id.clone(), (document.revision, handle));
                }
            }
            Key::Resource { kind, .. } => match kind {
                Kind::ClusterInformation => {
                    self.cluster = ClusterInformation::decode(document).ok();
                }
                Kind::IpPool => self.pools.extend(Pool::from_document(document)),
                Kind::IpReservation => reserved.extend(reserved_networks(value)),
                Kind::Node => self.nodes.extend(Node::decode(document)),
                Kind::WorkloadEndpoint => self.endpoints.extend(WorkloadEndpoint::decode(document)),
                Kind::KubeControllersConfiguration => {
                    let value: Value = serde_json::from_slice(value).unwrap_or_default();
                    let controllers = &value["spec"]["controllers"];
                    self.serves_load_balancers = controllers["loadBalancer"].is_object();
                }
                _ => {}
            },
            Key::Affinity(..) | Key::LegacyHost(_) => {}
        }
    }

    /// Whether the datastore is locked.
    pub fn is_locked(&self) -> bool {
        is_locked(self.cluster.as_ref())
    }

    /// The addresses of endpoints.
    pub fn workload_users(&self) -> Users {
        let mut users = Users::new();
        for endpoint in &self.endpoints {
            let metadata = &endpoint.metadata;
            let user = format!("Workload({}/{})", metadata.namespace, metadata.name);
            for network in &endpoint.spec.ip_networks {
                if let Some(ip) = address(network) {
                    users.entry(ip).or_default().push(user.clone());
                }
            }
        }
        users
    }

    /// The addresses of nodes' tunnels, of every kind and family.
    pub fn tunnel_users(&self) -> Users {
        let mut users = Users::new();
        for node in &self.nodes {
            let spec = &node.spec;
            let wireguard = spec.wireguard.as_ref();
            let texts = [
                spec.bgp.as_ref().map(|bgp| &bgp.ipv4_ipip_tunnel_addr),
                Some(&spec.ipv4_vxlan_tunnel_addr),
                Some(&spec.ipv6_vxlan_tunnel_addr),
                wireguard.map(|wireguard| &wireguard.interface_ipv4_address),
                wireguard.map(|wireguard| &wireguard.interface_ipv6_address),
            ];
            for ip in texts.into_iter().flatten().filter_map(|text| address(text)) {
                users.entry(ip).or_default().push(format!("Node({})", node.metadata.name));
            }
        }
        users
    }

    /// Everyone who uses an address, as far as the datastore tells. What is given to a Service can't
    /// be looked up without the Kubernetes API and counts as used; so does what Windows keeps.
    pub fn users(&self) -> Users {
        let mut users = self.workload_users();
        for (ip, tunnels) in self.tunnel_users() {
            users.entry(ip).or_default().extend(tunnels);
        }
        for (ip, record) in self.blocks.values().flat_map(Block::allocated) {
            if let Some(user) = unseen_user(record) {
                users.entry(ip).or_default().push(user);
            }
        }
        users
    }
}

/// Whether a cluster's datastore is locked.
pub fn is_locked(cluster: Option<&ClusterInformation>) -> bool {
    cluster.is_some_and(|cluster| cluster.spec.datastore_ready == Some(false))
}

/// A user that no object of the datastore shows.
pub fn unseen_user(record: &AttributeRecord) -> Option<String> {
    let attribute = |name: &str| record.secondary.get(name).map_or("", String::as_str);
    if record.handle().is_some_and(|id| id.eq_ignore_ascii_case(WINDOWS_RESERVED_HANDLE)) {
        return Some("Reserved for Windows".to_owned());
    }
    (attribute("type") == "LoadBalancer")
        .then(|| format!("Service({}/{})", attribute("namespace"), attribute("service")))
}

/// The address of a text like `10.0.0.1/32` or `10.0.0.1`.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse()).ok()
}
