//! The client on a store in memory: semantics, races and lost answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::json;

use super::*;
use crate::resources::{
    IpPool, IpPoolSpec, IpReservation, IpReservationSpec, NodeSpec, Profile, ProfileSpec, Tier,
    TierSpec, WorkloadEndpoint, WorkloadEndpointSpec,
};
use crate::store::{Fault, MemoryStore};

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn client() -> (MemoryStore, Client) {
    let store = MemoryStore::new();
    (store.clone(), Client::new(Arc::new(store)))
}

fn reservation(name: &str, cidr: &str) -> IpReservation {
    let spec =
        IpReservationSpec { reserved_cidrs: vec![cidr.to_owned()], ..IpReservationSpec::default() };
    IpReservation::new(name, spec)
}

fn pool(name: &str, cidr: &str) -> IpPool {
    IpPool::new(name, IpPoolSpec { cidr: cidr.to_owned(), ..IpPoolSpec::default() })
}

fn endpoint() -> WorkloadEndpoint {
    let spec = WorkloadEndpointSpec {
        orchestrator: "cni".into(),
        node: "node-1".into(),
        container_id: "abc".into(),
        endpoint: "eth0".into(),
        interface_name: "caliabc".into(),
        ip_networks: vec!["10.65.0.1/32".into()],
        ..WorkloadEndpointSpec::default()
    };
    let mut endpoint = WorkloadEndpoint::new("", spec);
    endpoint.metadata.namespace = "default".into();
    endpoint
}

/// Holds commits until `count` of them wait. (Called at once, awaited beside those that commit.)
fn hold_until_waiting(store: &MemoryStore, count: u64) -> impl Future<Output = ()> {
    let (hold, goal, store) = (store.hold(), store.commits() + count, store.clone());
    async move {
        while store.commits() < goal {
            tokio::task::yield_now().await;
        }
        drop(hold);
    }
}

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let (store, client) = client();
    let created = client.create(reservation("r", "10.0.0.0/30"), deadline()).await.unwrap();
    assert_eq!(created.metadata.revision(), Some(2));
    assert!(created.metadata.uid.parse::<Uuid>().is_ok_and(|uid| uid.get_version_num() == 4));
    let read = client.get::<IpReservationSpec>("", "r", deadline()).await.unwrap();
    assert_eq!(read, created);
    let stored = store.dump().into_values().next().unwrap();
    assert!(!String::from_utf8(stored).unwrap().contains("resourceVersion"));

    let again = client.create(reservation("r", "10.0.0.0/30"), deadline()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);

    let mut changed = read.clone();
    changed.spec.reserved_cidrs.push("10.0.1.0/30".into());
    let updated = client.update(changed.clone(), deadline()).await.unwrap();
    assert_eq!(updated.metadata.uid, created.metadata.uid);
    let stale = client.update(changed, deadline()).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict);

    let stale = client.delete::<IpReservationSpec>("", "r", Some(2), deadline()).await;
    assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
    let deleted = client.delete::<IpReservationSpec>("", "r", None, deadline()).await.unwrap();
    assert_eq!(deleted, updated);
    assert!(store.dump().is_empty());
    let gone = client.delete::<IpReservationSpec>("", "r", None, deadline()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert!(gone.to_string().contains("IPReservation(r)"), "{gone}");
    let gone = client.update(updated, deadline()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_a_request_must_and_must_not_set_is_told_in_one_error() {
    let (store, client) = client();
    let mut object = reservation("", "10.0.0.0/30");
    object.metadata.resource_version = "5".into();
    object.metadata.namespace = "shop".into();
    object.metadata.labels.insert("a b".into(), "c".into());
    let error = client.create(object, deadline()).await.unwrap_err().to_string();
    for part in [
        "IPReservation(): error with the following fields:",
        "\n-  Metadata.Name = '' (field must be set for a Create request)",
        "\n-  Metadata.ResourceVersion = '5' (field must not be set for a Create request)",
        "\n-  Metadata.Namespace = 'shop' (",
        "\n-  Metadata.Labels = 'a b' (",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = client.apply(reservation("", "10.0.0.0/30"), deadline()).await.unwrap_err();
    assert!(error.to_string().contains("Metadata.Name = ''"), "{error}");
    let error = client.update(reservation("r", "10.0.0.0/30"), deadline()).await.unwrap_err();
    for field in ["Metadata.UID", "Metadata.CreationTimestamp", "Metadata.ResourceVersion"] {
        let expected = format!("{field} = '' (field must be set for an Update request)");
        assert!(error.to_string().contains(&expected), "{error}");
    }
    let mut endpoint = endpoint();
    endpoint.metadata.namespace.clear();
    let error = client.create(endpoint, deadline()).await.unwrap_err().to_string();
    assert!(error.contains("namespace is not specified on namespaced resource"), "{error}");
    assert_eq!((store.commits(), error.lines().count()), (0, 1));
}

#[tokio::test]
async fn an_endpoint_gets_its_labels_and_must_have_its_name() {
    let (_, client) = client();
    let created = client.create(endpoint(), deadline()).await.unwrap();
    assert_eq!(created.metadata.name, "node--1-cni-abc-eth0");
    assert_eq!(created.metadata.labels["projectcalico.org/namespace"], "default");
    assert_eq!(created.metadata.labels["projectcalico.org/orchestrator"], "cni");
    let mut changed = endpoint();
    changed.spec.ip_networks.push("fd00::1/128".into());
    let applied = client.apply(changed, deadline()).await.unwrap();
    assert_eq!(applied.metadata.uid, created.metadata.uid);
    let mut other = endpoint();
    other.metadata.name = "x".into();
    let error = client.create(other, deadline()).await.unwrap_err().to_string();
    assert!(error.contains("expected name node--1-cni-abc-eth0"), "{error}");
    let mut upper = endpoint();
    upper.spec.container_id = "ABC".into();
    assert_eq!(
        client.create(upper, deadline()).await.unwrap_err().kind(),
        ErrorKind::Invalid,
        "a CNI container id is part of the name"
    );
}

#[tokio::test]
async fn a_list_is_ordered_and_leaves_out_what_cannot_be_read() {
    let (store, client) = client();
    for name in ["b", "a"] {
        client.create(reservation(name, "10.0.0.0/30"), deadline()).await.unwrap();
    }
    store.put_raw("/calico/resources/v3/projectcalico.org/ipreservations/aa", b"{");
    let list = client.list::<IpReservationSpec>(None, deadline()).await.unwrap();
    let names: Vec<_> = list.items.iter().map(|item| item.metadata.name.as_str()).collect();
    assert_eq!((names, list.revision), (vec!["a", "b"], 4));
    let any = client.list_any(Kind::IpReservation, None, deadline()).await.unwrap();
    assert_eq!(any.items.len(), 2);
    assert_eq!(any.items[0].metadata, list.items[0].metadata);
    let unreadable = client.get::<IpReservationSpec>("", "aa", deadline()).await.unwrap_err();
    assert_eq!(unreadable.kind(), ErrorKind::Internal);

    client.create(endpoint(), deadline()).await.unwrap();
    let here = client.list::<WorkloadEndpointSpec>(Some("default"), deadline()).await.unwrap();
    let there = client.list::<WorkloadEndpointSpec>(Some("shop"), deadline()).await.unwrap();
    assert_eq!((here.items.len(), there.items.len()), (1, 0));
}

#[tokio::test]
async fn the_profile_that_allows_everything_is_always_there_and_never_stored() {
    let (store, client) = client();
    let name = profile::DEFAULT_ALLOW;
    let read = client.get::<ProfileSpec>("", name, deadline()).await.unwrap();
    assert_eq!(read, Profile::default_allow());
    client.create(Profile::for_network("net-1", false), deadline()).await.unwrap();
    let list = client.list::<ProfileSpec>(None, deadline()).await.unwrap();
    let names: Vec<_> = list.items.iter().map(|item| item.metadata.name.as_str()).collect();
    assert_eq!(names, ["net-1", name]);
    let create = client.create(Profile::new(name, ProfileSpec::default()), deadline()).await;
    assert_eq!(create.unwrap_err().kind(), ErrorKind::Invalid);
    let update = client.apply(read, deadline()).await;
    assert_eq!(update.unwrap_err().kind(), ErrorKind::Invalid);
    let delete = client.delete::<ProfileSpec>("", name, None, deadline()).await;
    assert_eq!(delete.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.dump().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    let (store, client) = client();
    store.inject(1, Fault::LoseAnswer);
    let created = client.create(reservation("r", "10.0.0.0/30"), deadline()).await.unwrap();
    assert_eq!(created.metadata.revision(), Some(2));
    store.inject(1, Fault::LoseRequest);
    let lost = client.create(reservation("s", "10.0.0.0/30"), deadline()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Unavailable);
    store.inject(1, Fault::LoseAnswer);
    client.delete::<IpReservationSpec>("", "r", None, deadline()).await.unwrap();
    assert!(store.dump().is_empty());

    bootstrap::ensure_initialised(&store, deadline()).await.unwrap();
    store.inject(1, Fault::LoseAnswer);
    let created = client.create(pool("a", "10.65.0.0/16"), deadline()).await.unwrap();
    assert_eq!(client.get::<IpPoolSpec>("", "a", deadline()).await.unwrap(), created);
}

#[tokio::test]
async fn two_that_apply_at_once_both_come_through() {
    let (store, client) = client();
    let (one, two) = (reservation("r", "10.0.0.0/30"), reservation("r", "10.0.1.0/30"));
    let release = hold_until_waiting(&store, 2);
    let (one, two, ()) =
        tokio::join!(client.apply(one, deadline()), client.apply(two, deadline()), release,);
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.metadata.uid, two.metadata.uid);
    assert_eq!(one.metadata.creation_timestamp, two.metadata.creation_timestamp);
    assert_ne!(one.metadata.revision(), two.metadata.revision());
}

#[tokio::test]
async fn a_pool_must_fit_to_the_pools_and_blocks_that_are_there() {
    let (store, client) = client();
    client.create(pool("a", "10.65.0.0/16"), deadline()).await.unwrap();
    let error = client.create(pool("b", "10.65.1.0/24"), deadline()).await.unwrap_err();
    let expected = "IPPool(b) CIDR overlaps with IPPool(a) CIDR 10.65.0.0/16";
    assert!(error.to_string().contains(expected), "{error}");
    let same = client.create(pool("a", "10.65.0.0/16"), deadline()).await.unwrap_err();
    assert_eq!(same.kind(), ErrorKind::AlreadyExists);

    store.put_raw("/calico/ipam/v2/assignment/ipv4/block/10.66.0.64-28", b"{}");
    let error = client.create(pool("b", "10.66.0.0/24"), deadline()).await.unwrap_err();
    let expected = "IPPool blocksSize conflicts with existing allocations that use a different \
                    blockSize";
    assert!(error.to_string().contains(expected), "{error}");
    let mut fitting = pool("b", "10.66.0.0/24");
    fitting.spec.block_size = 28;
    client.create(fitting, deadline()).await.unwrap();
    client.create(pool("v6", "fd00:65::/64"), deadline()).await.unwrap();
}

#[tokio::test]
async fn of_two_overlapping_pools_that_are_created_at_once_one_is_refused() {
    let (store, client) = client();
    bootstrap::ensure_initialised(&store, deadline()).await.unwrap();
    let release = hold_until_waiting(&store, 2);
    let (one, two, ()) = tokio::join!(
        client.create(pool("a", "10.65.0.0/16"), deadline()),
        client.create(pool("b", "10.65.1.0/24"), deadline()),
        release,
    );
    let refused = one.as_ref().err().or(two.as_ref().err()).unwrap();
    assert!(refused.to_string().contains("CIDR overlaps with"), "{refused}");
    assert!(one.is_ok() || two.is_ok());
    assert_eq!(client.list::<IpPoolSpec>(None, deadline()).await.unwrap().items.len(), 1);

    let release = hold_until_waiting(&store, 2);
    let (one, two, ()) = tokio::join!(
        client.create(pool("c", "10.67.0.0/16"), deadline()),
        client.create(pool("c", "10.67.0.0/16"), deadline()),
        release,
    );
    let refused = one.as_ref().err().or(two.as_ref().err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert!(one.is_ok() || two.is_ok());
}

#[tokio::test]
async fn a_pool_is_disabled_then_released_then_deleted() {
    let (store, client) = client();
    client.create(pool("a", "10.65.0.0/16"), deadline()).await.unwrap();
    let plain = client.delete::<IpPoolSpec>("", "a", None, deadline()).await.unwrap_err();
    assert!(matches!(plain, ClientError::NotSupported { .. }), "{plain}");

    let failing = async |_| Err(StoreError::new(StoreErrorKind::Unavailable, "gone"));
    let error = client.delete_pool("a", None, failing, deadline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let left = client.get::<IpPoolSpec>("", "a", deadline()).await.unwrap();
    assert!(left.spec.disabled, "a second attempt goes on from here");

    let stale = Some(left.metadata.revision().unwrap() - 1);
    let error = client.delete_pool("a", stale, async |_| Ok(()), deadline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);

    let enable = async |_| {
        let mut pool = client.get::<IpPoolSpec>("", "a", deadline()).await.unwrap();
        pool.spec.disabled = false;
        client.update(pool, deadline()).await.unwrap();
        Ok(())
    };
    let error = client.delete_pool("a", None, enable, deadline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "whoever took it back into use wins");

    let mut released = None;
    let release = async |net: IpNet| {
        let pool = client.get::<IpPoolSpec>("", "a", deadline()).await.unwrap();
        released = Some((net.to_string(), pool.spec.disabled));
        Ok(())
    };
    client.delete_pool("a", None, release, deadline()).await.unwrap();
    assert_eq!(released, Some(("10.65.0.0/16".to_owned(), true)));
    assert!(store.dump().keys().all(|path| !path.contains("/ippools/")));
}

#[tokio::test]
async fn a_tier_stays_while_it_is_needed() {
    let (store, client) = client();
    let deletion = async |name| client.delete::<TierSpec>("", name, None, deadline()).await;
    client.create(Tier::new("ops", TierSpec::default()), deadline()).await.unwrap();
    let policy = AnyResource::new(Kind::GlobalNetworkPolicy, "p", json!({ "tier": "ops" }));
    client.create(policy, deadline()).await.unwrap();
    let error = deletion("ops").await.unwrap_err().to_string();
    assert!(error.ends_with("Tier(ops): Cannot delete a non-empty tier"), "{error}");
    let kind = Kind::GlobalNetworkPolicy;
    client.delete_any(kind, "", "p", None, deadline()).await.unwrap();
    deletion("ops").await.unwrap();
    let error = deletion("kube-admin").await.unwrap_err().to_string();
    assert!(error.ends_with("Cannot delete kube-admin tier"), "{error}");
    assert!(store.dump().is_empty());
}

#[tokio::test]
async fn the_first_node_brings_the_cluster_along() {
    let (store, client) = client();
    let node = crate::resources::Node::new("n1", NodeSpec::default());
    client.create(node, deadline()).await.unwrap();
    assert_eq!(store.dump().len(), 5, "{:?}", store.dump().keys());
}
