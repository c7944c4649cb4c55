//! The bootstrap against what upstream writes into an empty store, and its races.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::client::ErrorKind;
use crate::clock;
use crate::resources::{Object, encode};
use crate::store::{Action, Fault, Guard, MemoryStore, Revision};

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn host() -> Bootstrap {
    Bootstrap {
        node_name: "node-1".into(),
        ipv4_pool: Some("10.65.0.0/16".parse().unwrap()),
        ipv6_pool: Some("fd00:65::/64".parse().unwrap()),
    }
}

/// A value without what differs from run to run.
fn mask(value: &[u8]) -> String {
    let mut masked: Value = serde_json::from_slice(value).unwrap();
    for path in ["/metadata/uid", "/metadata/creationTimestamp", "/spec/clusterGUID"] {
        if let Some(field) = masked.pointer_mut(path) {
            *field = Value::from("masked");
        }
    }
    String::from_utf8(encode(&masked)).unwrap()
}

fn masked(documents: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    documents.into_iter().map(|(path, value)| (path, mask(&value))).collect()
}

/// Puts a ClusterInformation with this spec into a store.
fn put_cluster(store: &MemoryStore, spec: &str) -> Revision {
    let value = format!(
        r#"{{"metadata":{{"name":"default","uid":"u","creationTimestamp":"2026-01-02T03:04:05Z"}},"spec":{spec}}}"#
    );
    let key = Key::global(Kind::ClusterInformation, "default");
    store.put_raw(&key.path().unwrap(), value.as_bytes())
}

async fn cluster(store: &MemoryStore) -> ClusterInformation {
    let snapshot = store.read(&queries(""), deadline()).await.unwrap();
    Present::from_results(&snapshot.results).unwrap().cluster.unwrap()
}

#[tokio::test]
async fn an_empty_store_gets_what_upstream_puts_there() {
    #[derive(Deserialize)]
    struct Golden {
        etcd: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        key: String,
        value: String,
    }
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/objects/_initialisation.json"))
            .unwrap();
    let entries = golden.etcd.into_iter().filter(|entry| !entry.key.contains("globalnetworksets"));
    let expected: BTreeMap<_, _> =
        entries.map(|entry| (entry.key, mask(entry.value.as_bytes()))).collect();
    assert_eq!(expected.len(), 4);

    let store = MemoryStore::new();
    ensure_initialised(&store, deadline()).await.unwrap();
    assert_eq!(masked(store.dump()), expected);
    let guid = cluster(&store).await.spec.cluster_guid;
    assert!(guid.len() == 32 && guid.bytes().all(|b| b.is_ascii_hexdigit()), "{guid}");

    let (before, commits) = (store.dump(), store.commits());
    ensure_initialised(&store, deadline()).await.unwrap();
    assert_eq!((store.dump(), store.commits(), commits), (before, 1, 1));
}

#[tokio::test]
async fn what_is_missing_is_filled_in_and_a_lock_stays() {
    let store = MemoryStore::new();
    put_cluster(&store, r#"{"clusterType":"k8s","datastoreReady":false,"novel":1}"#);
    ensure_initialised(&store, deadline()).await.unwrap();
    let locked = cluster(&store).await;
    assert_eq!(locked.spec.datastore_ready, Some(false));
    assert_eq!((locked.spec.cluster_guid.len(), locked.spec.cluster_type.as_str()), (32, "k8s"));
    assert_eq!(locked.metadata.uid, "u");
    assert!(String::from_utf8(locked.encode()).unwrap().contains(r#""novel":1"#));

    let store = MemoryStore::new();
    put_cluster(&store, r#"{"clusterGUID":"0123456789abcdef0123456789abcdef"}"#);
    ensure_initialised(&store, deadline()).await.unwrap();
    let filled = cluster(&store).await;
    assert_eq!(filled.spec.datastore_ready, Some(true));
    assert_eq!(filled.spec.cluster_guid, "0123456789abcdef0123456789abcdef");
}

#[tokio::test]
async fn a_host_gets_all_it_needs_in_one_commit_and_once() {
    let store = MemoryStore::new();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    let root = "/calico/resources/v3/projectcalico.org/";
    let names = [
        "clusterinformations/default",
        "ippools/default-ipv4-ippool",
        "ippools/default-ipv6-ippool",
        "nodes/node-1",
        "tiers/default",
        "tiers/kube-admin",
        "tiers/kube-baseline",
    ];
    let dump = masked(store.dump());
    let expected: Vec<String> = names.iter().map(|name| format!("{root}{name}")).collect();
    assert_eq!(dump.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(
        dump[&format!("{root}ippools/default-ipv4-ippool")],
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"default-ipv4-ippool","uid":"masked","creationTimestamp":"masked"},"spec":{"cidr":"10.65.0.0/16","vxlanMode":"Never","ipipMode":"Never","natOutgoing":true,"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}"#
    );
    assert!(dump[&format!("{root}ippools/default-ipv6-ippool")].contains(r#""blockSize":122"#));
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!((store.commits(), store.reads()), (1, 2));
}

#[tokio::test]
async fn of_many_processes_one_writes_and_the_others_find_it_done() {
    let store = MemoryStore::new();
    let hold = store.hold();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { bootstrap_local(&store, &host(), deadline()).await })
        })
        .collect();
    while store.commits() < 8 {
        tokio::task::yield_now().await;
    }
    drop(hold);
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((store.commits(), store.dump().len()), (8, 7));
    let snapshot = store.read(&queries("node-1"), deadline()).await.unwrap();
    assert_eq!(snapshot.revision, 2, "one commit was made");
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let store = MemoryStore::new();
        store.inject(1, fault);
        bootstrap_local(&store, &host(), deadline()).await.unwrap();
        assert_eq!(store.dump().len(), 7);
        assert_eq!(store.read(&queries(""), deadline()).await.unwrap().revision, 2);
    }
}

#[tokio::test]
async fn a_pool_that_was_deleted_does_not_come_back() {
    let store = MemoryStore::new();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    let delete = |name| Change {
        key: Key::global(Kind::IpPool, name),
        guard: Guard::Any,
        action: Action::Delete,
    };
    store.commit(&[delete(IPV4_POOL), delete(IPV6_POOL)], deadline()).await.unwrap();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert!(!store.dump().keys().any(|path| path.contains("/ippools/")));

    let other = Bootstrap { node_name: "node-2".into(), ..host() };
    bootstrap_local(&store, &other, deadline()).await.unwrap();
    let dump = store.dump();
    assert!(dump.keys().any(|path| path.ends_with("/nodes/node-2")));
    assert!(!dump.keys().any(|path| path.contains("/ippools/")));
}

#[tokio::test]
async fn pools_that_somebody_made_before_are_left_alone() {
    let store = MemoryStore::new();
    store.put_raw("/calico/resources/v3/projectcalico.org/ippools/mine", b"{}");
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!(store.dump().keys().filter(|path| path.contains("/ippools/")).count(), 1);
}

/// What an operator's first command leaves in an embedded store.
async fn begun_by_an_operator(store: &MemoryStore) {
    let (now, present) = (clock::now(), Present::default());
    let changes = plan(&present, SetUp::Operator, now, Uuid::new_v4).unwrap();
    store.commit(&changes, deadline()).await.unwrap();
    assert!(is_undecided(&cluster(store).await));
}

fn pools_of(store: &MemoryStore) -> usize {
    store.dump().keys().filter(|path| path.contains("/ippools/")).count()
}

#[tokio::test]
async fn the_first_container_brings_pools_in_where_an_operator_has_made_none() {
    let store = MemoryStore::new();
    begun_by_an_operator(&store).await;
    // The Node may be the operator's own.
    let node = Key::global(Kind::Node, "node-1").path().unwrap();
    store.put_raw(&node, br#"{"metadata":{"name":"node-1"},"spec":{}}"#);
    let guid = cluster(&store).await.spec.cluster_guid;
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!(pools_of(&store), 2);
    let cluster = cluster(&store).await;
    assert!(!is_undecided(&cluster) && cluster.spec.cluster_guid == guid);
}

#[tokio::test]
async fn a_pool_of_the_operators_is_his_decision_even_when_it_is_gone() {
    let store = MemoryStore::new();
    begun_by_an_operator(&store).await;
    let client = crate::client::Client::new(std::sync::Arc::new(store.clone()));
    let spec = IpPoolSpec { cidr: "10.9.0.0/16".to_owned(), ..IpPoolSpec::default() };
    client.create(IpPool::new("mine", spec), deadline()).await.unwrap();
    client.delete_pool("mine", None, async |_| Ok(()), deadline()).await.unwrap();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!(pools_of(&store), 0);
}

#[tokio::test]
async fn a_locked_store_gets_no_pools_until_it_is_unlocked() {
    let store = MemoryStore::new();
    begun_by_an_operator(&store).await;
    let revision = store.read(&queries(""), deadline()).await.unwrap().results[0][0].revision;
    let set_ready = |ready, cluster: &ClusterInformation, revision| {
        let mut cluster = cluster.clone();
        cluster.spec.datastore_ready = Some(ready);
        Change::update(cluster.key(), revision, cluster.encode())
    };
    let locked = set_ready(false, &cluster(&store).await, revision);
    let Ok(Committed::Done(revision)) = store.commit(&[locked], deadline()).await else {
        panic!("the store could not be locked")
    };
    let before = store.dump();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!(store.dump(), before);
    let unlocked = set_ready(true, &cluster(&store).await, revision);
    store.commit(&[unlocked], deadline()).await.unwrap();
    bootstrap_local(&store, &host(), deadline()).await.unwrap();
    assert_eq!(pools_of(&store), 2);
}

#[tokio::test]
async fn a_node_name_or_a_range_that_cannot_be_stored_is_named() {
    let store = MemoryStore::new();
    for (bad, expected) in [
        (Bootstrap { node_name: "Node_1".into(), ..host() }, "Metadata.Name = 'Node_1'"),
        (Bootstrap { ipv4_pool: Some("10.0.0.0/30".parse().unwrap()), ..host() }, "too small"),
        (
            Bootstrap { ipv4_pool: Some("10.0.0.1/16".parse().unwrap()), ..host() },
            "IPPool CIDR is not strictly masked",
        ),
    ] {
        let error = bootstrap_local(&store, &bad, deadline()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(store.dump().is_empty());
}

#[test]
fn the_default_pool_keeps_clear_of_the_hosts_own_networks() {
    let pool = |host: &[&str]| {
        let host: Vec<IpAddr> = host.iter().map(|address| address.parse().unwrap()).collect();
        free_ipv4_pool(&host).map(|net| net.to_string())
    };
    assert_eq!(pool(&["127.0.0.1", "10.0.0.4"]).as_deref(), Some("192.168.0.0/16"));
    assert_eq!(pool(&["192.168.1.20"]).as_deref(), Some("172.16.0.0/16"));
    assert_eq!(pool(&["192.168.1.20", "172.16.0.1", "::1"]).as_deref(), Some("172.17.0.0/16"));
    let mut all: Vec<String> = (16..=31).map(|second| format!("172.{second}.9.9")).collect();
    all.push("192.168.255.255".to_owned());
    let with = |more: &[&'static str]| {
        let all: Vec<&str> = all.iter().map(String::as_str).chain(more.iter().copied()).collect();
        pool(&all)
    };
    assert_eq!(with(&[]).as_deref(), Some("10.244.0.0/16"));
    assert_eq!(with(&["10.244.0.1", "10.112.0.1"]), None);
}

#[test]
fn a_cluster_gets_a_unique_local_range() {
    let range = random_ipv6_pool(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
    assert_eq!(range.to_string(), "fd01:203:405::/48");
}
