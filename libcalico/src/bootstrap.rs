//! What a datastore must hold before anything works (`reference/datamodel.md` section 12):
//! ClusterInformation and the tiers; for the embedded store also this node and a default pool of
//! each family.
//!
//! [`queries`], [`Present`] and [`plan`] are pure, so that a caller can put them into a read and a
//! commit of its own. [`ensure_initialised`] and [`bootstrap_local`] are thin shells around them:
//! one read when nothing is missing, and one commit, all or nothing, when something is.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::client::{ClientError, decode_document, prepare_create, prepare_update};
use crate::clock;
use crate::resources::{
    ClusterInformation, ClusterInformationSpec, IpPool, IpPoolSpec, Kind, Node, NodeSpec, Object,
    tier,
};
use crate::store::{Change, Committed, Document, Key, Prefix, Query, Store, StoreErrorKind};

/// The name of the default IPv4 pool, as upstream's node agent names it.
pub const IPV4_POOL: &str = "default-ipv4-ippool";

/// The name of the default IPv6 pool.
pub const IPV6_POOL: &str = "default-ipv6-ippool";

/// The range of the default IPv6 pool of a host on its own. Clusters get one of their own: see
/// [`random_ipv6_pool`].
pub const IPV6_POOL_CIDR: &str = "fd80:24e2:f998:72d6::/64";

/// The annotation of an embedded store's ClusterInformation while nobody has decided on pools: an
/// operator has written something into it, but neither a pool nor a container has been there. The
/// first of these two takes it away.
const UNDECIDED: &str = "calico-rs/default-pools";

/// How often a commit that somebody else's crossed is planned again.
const ATTEMPTS: usize = 10;

/// What the embedded store of one host begins with, beside what every store does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// This node.
    pub node_name: String,
    /// The range of the default IPv4 pool; `None` for no such pool.
    pub ipv4_pool: Option<Ipv4Net>,
    /// The range of the default IPv6 pool; `None` for no such pool.
    pub ipv6_pool: Option<Ipv6Net>,
}

/// For whom a store is set up.
#[derive(Debug, Clone, Copy)]
pub enum SetUp<'a> {
    /// A cluster. Its pools are made elsewhere, or not at all.
    Cluster,
    /// A host that has no container yet: default pools come with the first one, unless there are
    /// others by then.
    Operator,
    /// A host with its first container.
    Host(&'a Bootstrap),
}

/// What is there already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Present {
    /// The cluster's information.
    pub cluster: Option<ClusterInformation>,
    /// The names of the tiers.
    pub tiers: BTreeSet<String>,
    /// Whether there is any pool.
    pub any_pool: bool,
    /// Whether this node is there.
    pub node: bool,
}

/// What to read for [`Present::from_results`]; `node_name` is empty where no node is wanted.
pub fn queries(node_name: &str) -> Vec<Query> {
    let mut queries = vec![
        Query::Key(Key::global(Kind::ClusterInformation, "default")),
        Query::Keys(Prefix::kind(Kind::Tier)),
        Query::Keys(Prefix::kind(Kind::IpPool)),
    ];
    if !node_name.is_empty() {
        queries.push(Query::Key(Key::global(Kind::Node, node_name)));
    }
    queries
}

impl Present {
    /// The answers to [`queries`], in their order.
    pub fn from_results(results: &[Vec<Document>]) -> Result<Present, ClientError> {
        let answer = |at: usize| results.get(at).map(Vec::as_slice).unwrap_or_default();
        let tiers = answer(1).iter().filter_map(|document| match &document.key {
            Key::Resource { name, .. } => Some(name.clone()),
            _ => None,
        });
        Ok(Present {
            cluster: answer(0).first().map(decode_document).transpose()?,
            tiers: tiers.collect(),
            any_pool: !answer(2).is_empty(),
            node: !answer(3).is_empty(),
        })
    }
}

/// The changes that bring in what is missing; none when nothing is.
///
/// Default pools are only made in a store that never had a pool: who deletes one later doesn't want
/// it back.
pub fn plan(
    present: &Present,
    set_up: SetUp<'_>,
    now: OffsetDateTime,
    mut new_uuid: impl FnMut() -> Uuid,
) -> Result<Vec<Change>, ClientError> {
    let mut changes = Vec::new();
    match &present.cluster {
        None => {
            let spec = ClusterInformationSpec {
                cluster_guid: new_uuid().simple().to_string(),
                datastore_ready: Some(true),
                ..ClusterInformationSpec::default()
            };
            let mut cluster = ClusterInformation::new("default", spec);
            if let SetUp::Operator = set_up {
                cluster.metadata.annotations.insert(UNDECIDED.to_owned(), "pending".to_owned());
            }
            changes.push(prepare_create(&mut cluster, now, new_uuid())?);
        }
        Some(cluster) => {
            let mut filled = cluster.clone();
            if filled.spec.cluster_guid.is_empty() {
                filled.spec.cluster_guid = new_uuid().simple().to_string();
            }
            // An explicit false is a lock, and stays.
            let is_ready = *filled.spec.datastore_ready.get_or_insert(true);
            if is_ready && !matches!(set_up, SetUp::Operator) {
                decide(&mut filled);
            }
            if filled != *cluster {
                changes.push(prepare_update(&mut filled, Some(cluster))?);
            }
        }
    }
    for mut tier in tier::built_in().filter(|tier| !present.tiers.contains(&tier.metadata.name)) {
        changes.push(prepare_create(&mut tier, now, new_uuid())?);
    }
    let SetUp::Host(bootstrap) = set_up else { return Ok(changes) };
    let cluster = present.cluster.as_ref();
    if cluster.is_some_and(|cluster| cluster.spec.datastore_ready == Some(false)) {
        return Ok(changes);
    }
    if !present.node {
        let mut node = Node::new(&bootstrap.node_name, NodeSpec::default());
        changes.push(prepare_create(&mut node, now, new_uuid())?);
    }
    if cluster.is_none_or(is_undecided) && !present.any_pool {
        for mut pool in default_pools(bootstrap) {
            changes.push(prepare_create(&mut pool, now, new_uuid())?);
        }
    }
    Ok(changes)
}

/// Whether the first container is still to bring the default pools in.
pub fn is_undecided(cluster: &ClusterInformation) -> bool {
    cluster.metadata.annotations.contains_key(UNDECIDED)
}

/// Notes that somebody has decided on pools.
pub fn decide(cluster: &mut ClusterInformation) {
    cluster.metadata.annotations.remove(UNDECIDED);
}

/// ClusterInformation as it is stored together with a pool of somebody's own.
pub(crate) fn decided(cluster: &Document) -> Vec<u8> {
    match ClusterInformation::decode(cluster).ok().filter(is_undecided) {
        Some(mut information) => {
            decide(&mut information);
            information.encode()
        }
        None => cluster.value.clone(),
    }
}

/// The default pools. What leaves an IPv4 pool gets the node's address, as pods have private ones;
/// IPv6 is left as it is, as upstream does.
fn default_pools(bootstrap: &Bootstrap) -> impl Iterator<Item = IpPool> {
    let pool = |name: &str, net: IpNet, nat_outgoing: bool| {
        let spec = IpPoolSpec { cidr: net.to_string(), nat_outgoing, ..IpPoolSpec::default() };
        IpPool::new(name, spec)
    };
    let v4 = bootstrap.ipv4_pool.map(|net| pool(IPV4_POOL, net.into(), true));
    let v6 = bootstrap.ipv6_pool.map(|net| pool(IPV6_POOL, net.into(), false));
    v4.into_iter().chain(v6)
}

/// The range for a default IPv4 pool: 192.168.0.0/16, or the first of 172.16.0.0/16 to
/// 172.31.0.0/16, 10.244.0.0/16 and 10.112.0.0/16 in which the host has no address. (The last two
/// are ours.)
pub fn free_ipv4_pool(host: &[IpAddr]) -> Option<Ipv4Net> {
    let private = (16..=31).map(|second| Ipv4Addr::new(172, second, 0, 0));
    std::iter::once(Ipv4Addr::new(192, 168, 0, 0))
        .chain(private)
        .chain([Ipv4Addr::new(10, 244, 0, 0), Ipv4Addr::new(10, 112, 0, 0)])
        .filter_map(|network| Ipv4Net::new(network, 16).ok())
        .find(|range| !host.iter().any(|address| IpNet::V4(*range).contains(address)))
}

/// The range for the default IPv6 pool of a cluster: one that nobody else has, `fdXX:…::/48`.
pub fn random_ipv6_pool(random: Uuid) -> Ipv6Net {
    let [a, b, c, d, e, ..] = *random.as_bytes();
    let bytes = [0xfd, a, b, c, d, e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Ipv6Net::new_assert(Ipv6Addr::from(bytes), 48)
}

/// Sees to it that ClusterInformation and the tiers are there.
pub async fn ensure_initialised(store: &dyn Store, deadline: Instant) -> Result<(), ClientError> {
    let set_up = if store.is_embedded() { SetUp::Operator } else { SetUp::Cluster };
    run(store, set_up, "", deadline).await
}

/// Sees to it that an embedded store holds all that a host needs. Many processes may do so at
/// once: one of them writes, the others find it done.
pub async fn bootstrap_local(
    store: &dyn Store,
    bootstrap: &Bootstrap,
    deadline: Instant,
) -> Result<(), ClientError> {
    run(store, SetUp::Host(bootstrap), &bootstrap.node_name, deadline).await
}

async fn run(
    store: &dyn Store,
    set_up: SetUp<'_>,
    node_name: &str,
    deadline: Instant,
) -> Result<(), ClientError> {
    for _ in 0..ATTEMPTS {
        let snapshot = store.read(&queries(node_name), deadline).await?;
        let present = Present::from_results(&snapshot.results)?;
        let changes = plan(&present, set_up, clock::now(), Uuid::new_v4)?;
        if changes.is_empty() {
            return Ok(());
        }
        match store.commit(&changes, deadline).await {
            Ok(Committed::Done(_)) => return Ok(()),
            Ok(Committed::Conflict(_)) => {}
            // Whether it was made, the next read shows.
            Err(error) if error.kind == StoreErrorKind::Unknown => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ClientError::Conflict { id: "ClusterInformation(default)".to_owned() })
}
