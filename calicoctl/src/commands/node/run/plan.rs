//! What the store lacks for this node to work (`reference/bgp-node.md` sections 6.1 to 6.4). Pure:
//! from what was read to a list of guarded changes, which are committed together.
//!
//! All that is written goes into one commit that also writes ClusterInformation as it is: of two
//! nodes that start at once one finds it changed and looks again, so that they neither get the same
//! address nor two default pools.

use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::bootstrap::{self, Present, SetUp};
use libcalico::client::{ClientError, check_fits, decode_document, prepare_create, prepare_update};
use libcalico::ipam::IpamConfig;
use libcalico::resources::node::{NodeBgpSpec, OrchRef};
use libcalico::resources::{
    AnyResource, ClusterInformation, IpPool, IpPoolSpec, IpamConfiguration, IpamConfigurationSpec,
    Kind, Node, NodeSpec,
};
use libcalico::store::{Change, Document, Guard, Key, Prefix, Query};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::detect::{DetectError, Detected, owner};
use super::interfaces::Interface;
use super::options::{Options, PoolOptions, Wanted};

/// What is known of this host.
pub struct Host<'a> {
    /// The node's name.
    pub name: &'a str,
    /// What is wanted.
    pub options: &'a Options,
    /// Its interfaces.
    pub interfaces: &'a [Interface],
    /// What the methods found, of IPv4 and of IPv6.
    pub detected: &'a [Result<Detected, DetectError>; 2],
    /// Whether its kernel has IPv6.
    pub has_ipv6: bool,
    /// Whether the store is an etcd.
    pub is_etcd: bool,
}

/// Why a node can't be registered.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error(
        "the datastore is locked (ClusterInformation \"default\" has datastoreReady: false): an \
         upgrade or a migration is going on; it ends with `calicoctl datastore migrate unlock`"
    )]
    Locked,
    #[error("Calico node '{node}' is already using the IPv{version} address {address}.")]
    Taken { node: String, version: u8, address: IpAddr },
    #[error("failed to autodetect an IPv{version} address: {reason}")]
    NotDetected { version: u8, reason: String },
    #[error("the node has no IP address: {reason}; give one with --ip or --ip6")]
    NoAddress { reason: String },
}

/// What is to be written, and what is said.
#[derive(Debug, Default)]
pub struct Plan {
    /// All or nothing; empty where nothing is missing.
    pub changes: Vec<Change>,
    /// What was found out, a line each.
    pub notes: Vec<String>,
    /// Why it ends here; the changes then only take back an address.
    pub refusal: Option<Refusal>,
}

/// What is in the store.
pub struct Found {
    present: Present,
    cluster: Option<Document>,
    pools: Vec<IpPool>,
    nodes: Vec<Node>,
    blocks: Vec<IpNet>,
    configurations: Vec<Key>,
    ipam: Option<IpamConfig>,
}

/// The configurations that every cluster begins with.
const CONFIGURATIONS: [Kind; 3] =
    [Kind::BgpConfiguration, Kind::FelixConfiguration, Kind::IpamConfiguration];

/// What to read for [`Found::from_results`].
pub fn queries(node: &str) -> Vec<Query> {
    let mut queries = bootstrap::queries("");
    queries.extend([
        Query::Prefix(Prefix::kind(Kind::IpPool)),
        Query::Prefix(Prefix::kind(Kind::Node)),
        Query::Keys(Prefix::Blocks(None)),
        Query::Key(Key::IpamConfig),
        Query::Key(Key::global(Kind::FelixConfiguration, own(node))),
    ]);
    queries.extend(CONFIGURATIONS.map(|kind| Query::Key(Key::global(kind, "default"))));
    queries
}

/// The name of a configuration of one node.
fn own(node: &str) -> String {
    format!("node.{node}")
}

impl Found {
    /// The answers to [`queries`], in their order. Without any, an empty store.
    pub fn from_results(results: &[Vec<Document>]) -> Result<Found, ClientError> {
        let answer = |at: usize| results.get(at).map(Vec::as_slice).unwrap_or_default();
        let ipam = answer(6).first().map(|document| IpamConfig::decode(&document.value));
        Ok(Found {
            present: Present::from_results(results.get(..3).unwrap_or_default())?,
            cluster: answer(0).first().cloned(),
            pools: answer(3).iter().map(decode_document).collect::<Result<_, _>>()?,
            nodes: answer(4).iter().map(decode_document).collect::<Result<_, _>>()?,
            blocks: answer(5)
                .iter()
                .filter_map(|document| match document.key {
                    Key::Block(net) => Some(net),
                    _ => None,
                })
                .collect(),
            ipam: ipam.and_then(Result::ok),
            configurations: results
                .iter()
                .skip(7)
                .flatten()
                .map(|document| document.key.clone())
                .collect(),
        })
    }
}

/// Decides what has to be written.
pub fn plan(
    host: &Host<'_>,
    found: &Found,
    now: OffsetDateTime,
    mut new_uuid: impl FnMut() -> Uuid,
) -> Result<Plan, ClientError> {
    if found.present.cluster.as_ref().is_some_and(|c| c.spec.datastore_ready == Some(false)) {
        return Ok(Plan { refusal: Some(Refusal::Locked), ..Plan::default() });
    }
    let mut plan = Plan::default();
    let stored = found.nodes.iter().find(|node| node.metadata.name == host.name);
    let node = node(host, stored, &found.nodes, &mut plan);
    if plan.refusal.is_none() {
        plan.changes = bootstrap::plan(&found.present, SetUp::Cluster, now, &mut new_uuid)?;
        // What is written already gets it in a second commit.
        let cluster = Key::global(Kind::ClusterInformation, "default");
        if plan.changes.iter().all(|change| change.key != cluster) {
            plan.changes.extend(cluster_type(host, found)?);
        }
        for (mut pool, why) in pools(host, found, new_uuid()) {
            check_fits(&pool, &found.pools, found.blocks.iter().copied())?;
            plan.notes.push(why);
            plan.changes.push(prepare_create(&mut pool, now, new_uuid())?);
        }
        for mut configuration in configurations(host, found) {
            plan.changes.push(prepare_create(&mut configuration, now, new_uuid())?);
        }
        if !found.configurations.contains(&Key::global(Kind::IpamConfiguration, "default")) {
            let mut configuration = ipam_configuration(found);
            plan.changes.push(prepare_create(&mut configuration, now, new_uuid())?);
        }
    }
    match (node, stored) {
        (Some(mut node), None) => {
            plan.changes.push(prepare_create(&mut node, now, new_uuid())?);
        }
        (Some(mut node), Some(stored)) if node != *stored => {
            plan.changes.push(prepare_update(&mut node, Some(stored))?);
        }
        _ => {}
    }
    if !plan.changes.is_empty() {
        plan.changes.extend(turnstile(found, &plan.changes));
    }
    Ok(plan)
}

/// ClusterInformation as it is, unless it is written anyway.
fn turnstile(found: &Found, changes: &[Change]) -> Option<Change> {
    let cluster = found.cluster.clone()?;
    let is_written = changes.iter().any(|change| change.key == cluster.key);
    (!is_written).then(|| Change::update(cluster.key, cluster.revision, cluster.value))
}

/// Whether a change is only there to keep others out.
pub fn is_turnstile(found: &Found, change: &Change) -> bool {
    let cluster = found.cluster.as_ref();
    cluster.is_some_and(|cluster| {
        Change::update(cluster.key.clone(), cluster.revision, cluster.value.clone()) == *change
    })
}

/// How a change is told: `create Node(node-a)`.
pub fn describe(change: &Change) -> String {
    let verb = if change.guard == Guard::Absent { "create" } else { "update" };
    match &change.key {
        Key::Resource { kind, name, .. } => format!("{verb} {}({name})", kind.name()),
        other => format!("{verb} {other:?}"),
    }
}

/// What becomes of the Node; nothing where none may be written.
fn node(host: &Host<'_>, stored: Option<&Node>, all: &[Node], plan: &mut Plan) -> Option<Node> {
    let new = || Node::new(host.name, NodeSpec::default());
    let mut node = stored.cloned().unwrap_or_else(new);
    if let Some(name) = &host.options.k8s_node {
        let orchestrator = "k8s".to_owned();
        node.spec.orch_refs.retain(|known| known.orchestrator != orchestrator);
        let node_name = name.clone();
        node.spec.orch_refs.push(OrchRef { node_name, orchestrator, ..OrchRef::default() });
    }
    if !host.options.has_network {
        return Some(node);
    }
    let bgp = node.spec.bgp.get_or_insert_default();
    if let Some(number) = host.options.as_number {
        bgp.as_number = Some(number);
    }
    let mut reasons = Vec::new();
    for (family, version) in [(0, 4), (1, 6)] {
        let others = all.iter().filter(|other| other.metadata.name != host.name);
        match address(host, family, version, bgp, others, plan, &mut reasons) {
            Ok(Some(text)) => *slot(bgp, version) = text,
            Ok(None) => {}
            Err(refusal) => {
                plan.refusal = Some(refusal);
                // Somebody else may have the address that this node can't keep.
                let is_detected = host.options.wanted.get(family) == Some(&Wanted::Autodetect);
                return stored.filter(|_| is_detected).map(|stored| without(stored, version));
            }
        }
    }
    if bgp.ipv4_address.is_empty() && bgp.ipv6_address.is_empty() {
        let reason = match reasons.is_empty() {
            true => "none is wanted".to_owned(),
            false => reasons.join("; "),
        };
        plan.refusal = Some(Refusal::NoAddress { reason });
        return None;
    }
    Some(node)
}

fn slot(bgp: &mut NodeBgpSpec, version: u8) -> &mut String {
    if version == 4 { &mut bgp.ipv4_address } else { &mut bgp.ipv6_address }
}

/// The node without its address of this family.
fn without(stored: &Node, version: u8) -> Node {
    let mut node = stored.clone();
    if let Some(bgp) = &mut node.spec.bgp {
        slot(bgp, version).clear();
        if *bgp == NodeBgpSpec::default() {
            node.spec.bgp = None;
        }
    }
    node
}

/// The address of a family as it shall be; nothing where it stays as it is.
fn address<'a>(
    host: &Host<'_>,
    family: usize,
    version: u8,
    bgp: &mut NodeBgpSpec,
    others: impl Iterator<Item = &'a Node>,
    plan: &mut Plan,
    reasons: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let stored = slot(bgp, version).clone();
    let (Some(wanted), Some(detected)) =
        (host.options.wanted.get(family), host.detected.get(family))
    else {
        return Ok(None);
    };
    let (net, source) = match (wanted, detected) {
        (Wanted::Nothing, _) => return Ok(Some(String::new())),
        (Wanted::Keep, _) if !stored.is_empty() => match parse(&stored) {
            Some(net) => (net, "as stored".to_owned()),
            None => return Ok(None),
        },
        (Wanted::Keep, _) if version == 6 => return Ok(None),
        (Wanted::Keep | Wanted::Autodetect, Ok(Detected { net, interface })) => {
            (*net, format!("autodetected on {interface}"))
        }
        (Wanted::Keep, Err(error)) => {
            reasons.push(error.to_string());
            return Ok(None);
        }
        (Wanted::Autodetect, Err(error)) => {
            return Err(Refusal::NotDetected { version, reason: error.to_string() });
        }
        (Wanted::Address(address), _) => match owner(host.interfaces, *address) {
            Some(found) => (found.net, format!("of {}", found.interface)),
            None => (IpNet::from(*address), FOREIGN.to_owned()),
        },
        (Wanted::Net(net), _) => match owner(host.interfaces, net.addr()) {
            Some(found) => (*net, format!("of {}", found.interface)),
            None => (*net, FOREIGN.to_owned()),
        },
    };
    if !host.options.may_share_addresses {
        free(net.addr(), version, others)?;
    }
    plan.notes.push(format!("IPv{version} address: {net} ({source})"));
    Ok(Some(if source == "as stored" { stored } else { net.to_string() }))
}

/// Said of an address that this host doesn't have: it may get it later.
const FOREIGN: &str = "warning: no interface of this host has it";

/// Fails when another node has the address.
fn free<'a>(
    address: IpAddr,
    version: u8,
    others: impl Iterator<Item = &'a Node>,
) -> Result<(), Refusal> {
    for other in others {
        let Some(bgp) = &other.spec.bgp else { continue };
        let theirs = if version == 4 { &bgp.ipv4_address } else { &bgp.ipv6_address };
        if parse(theirs).is_some_and(|net| net.addr() == address) {
            let node = other.metadata.name.clone();
            return Err(Refusal::Taken { node, version, address });
        }
    }
    Ok(())
}

/// An address with or without the length of its prefix.
fn parse(text: &str) -> Option<IpNet> {
    let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(bare)
}

/// The default pools of the families that have no pool, and what is said of them.
fn pools(host: &Host<'_>, found: &Found, random: Uuid) -> Vec<(IpPool, String)> {
    let mut pools = Vec::new();
    for (options, is_v6) in host.options.pools.iter().zip([false, true]) {
        let has_pool = found
            .pools
            .iter()
            .any(|pool| pool.spec.net().is_some_and(|net| net.addr().is_ipv6() == is_v6));
        let Some(options) = options.as_ref().filter(|_| !has_pool && (!is_v6 || host.has_ipv6))
        else {
            continue;
        };
        let name = if is_v6 { bootstrap::IPV6_POOL } else { bootstrap::IPV4_POOL };
        let chosen = || match is_v6 {
            true => Some(bootstrap::random_ipv6_pool(random).into()),
            false => bootstrap::free_ipv4_pool(&addresses(host)).map(IpNet::V4),
        };
        match options.cidr.or_else(chosen) {
            Some(cidr) => {
                let why = format!("default pool {name}: {cidr}");
                pools.push((IpPool::new(name, pool(options, cidr)), why));
            }
            None => continue,
        }
    }
    pools
}

fn pool(options: &PoolOptions, cidr: IpNet) -> IpPoolSpec {
    IpPoolSpec {
        cidr: cidr.to_string(),
        block_size: options.block_size,
        ipip_mode: Some(options.ipip.clone()),
        vxlan_mode: Some(options.vxlan.clone()),
        nat_outgoing: options.nat_outgoing,
        node_selector: options.node_selector.clone(),
        disable_bgp_export: options.disable_bgp_export,
        ..IpPoolSpec::default()
    }
}

/// The addresses with which a default pool may clash: those of pods are out of pools.
fn addresses(host: &Host<'_>) -> Vec<IpAddr> {
    let own = host.interfaces.iter().filter(|interface| !interface.name.starts_with("cali"));
    own.flat_map(|interface| &interface.addresses).map(IpNet::addr).collect()
}

/// The configurations that are missing.
fn configurations(host: &Host<'_>, found: &Found) -> Vec<AnyResource> {
    let mut all = vec![
        AnyResource::new(Kind::BgpConfiguration, "default", json!({"logSeverityScreen": "Info"})),
        AnyResource::new(
            Kind::FelixConfiguration,
            "default",
            json!({"logSeverityScreen": "Info", "reportingInterval": "0s"}),
        ),
    ];
    if host.is_etcd {
        // Pods may reach their host: its own firewall decides.
        let spec = json!({"defaultEndpointToHostAction": "Return"});
        all.push(AnyResource::new(Kind::FelixConfiguration, own(host.name), spec));
    }
    all.retain(|one| !found.configurations.contains(&Key::global(one.kind, &*one.metadata.name)));
    all
}

/// The resource that operators see says what IPAM really goes by, which is another object.
fn ipam_configuration(found: &Found) -> IpamConfiguration {
    let stored = found.ipam.clone().unwrap_or_default();
    let spec = IpamConfigurationSpec {
        strict_affinity: stored.strict_affinity,
        auto_allocate_blocks: stored.auto_allocate_blocks,
        max_blocks_per_host: stored.max_blocks_per_host,
        ip_cooldown_seconds: stored.ip_cooldown_seconds,
        ..IpamConfigurationSpec::default()
    };
    IpamConfiguration::new("default", spec)
}

/// ClusterInformation with what the cluster is made of.
fn cluster_type(host: &Host<'_>, found: &Found) -> Result<Option<Change>, ClientError> {
    let Some(cluster) = &found.present.cluster else { return Ok(None) };
    let stored = &cluster.spec.cluster_type;
    let mut parts: Vec<&str> = stored.split(',').filter(|part| !part.is_empty()).collect();
    let known = parts.len();
    for part in &host.options.cluster_type {
        if !parts.contains(&part.as_str()) {
            parts.push(part);
        }
    }
    if parts.len() == known {
        return Ok(None);
    }
    let mut filled: ClusterInformation = cluster.clone();
    filled.spec.cluster_type = parts.join(",");
    Ok(Some(prepare_update(&mut filled, Some(cluster))?))
}

#[cfg(test)]
mod tests;
