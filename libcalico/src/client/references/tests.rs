//! What must be there, and what isn't ours, on a store in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, ClientError, ErrorKind};
use crate::resources::{AnyResource, Kind, TierSpec};
use crate::store::MemoryStore;

const GNP: Kind = Kind::GlobalNetworkPolicy;

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn client() -> (MemoryStore, Client) {
    let store = MemoryStore::new();
    (store.clone(), Client::new(Arc::new(store)))
}

fn object(kind: Kind, name: &str, spec: Value) -> AnyResource {
    let mut object = AnyResource::new(kind, name, spec);
    if kind.namespaced() {
        object.metadata.namespace = "shop".to_owned();
    }
    object
}

#[tokio::test]
async fn a_policy_needs_its_tier_when_it_is_created() {
    let (_, client) = client();
    let lost = object(GNP, "p", json!({ "tier": "nope" }));
    let error = client.create(lost.clone(), deadline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("resource does not exist: Tier(nope)"), "{error}");
    assert_eq!(client.apply(lost, deadline()).await.unwrap_err().kind(), ErrorKind::NotFound);

    // The tiers that every cluster has come along.
    let created = client.create(object(GNP, "p", json!({})), deadline()).await.unwrap();
    assert_eq!(created.metadata.labels["projectcalico.org/tier"], "default");
    client.get::<TierSpec>("", "default", deadline()).await.unwrap();
    // COMPAT: as upstream, a move isn't checked.
    let moved = object(GNP, "p", json!({ "tier": "nope" }));
    let moved = client.apply(moved, deadline()).await.unwrap();
    assert_eq!(moved.metadata.labels["projectcalico.org/tier"], "nope");
    assert_eq!(moved.metadata.uid, created.metadata.uid);
    let again = client.create(object(GNP, "p", json!({})), deadline()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_tier_that_changes_before_the_commit_is_looked_at_again() {
    let (store, client) = client();
    client.create(object(Kind::Tier, "ops", json!({})), deadline()).await.unwrap();
    let (path, value) = store.dump().into_iter().next().unwrap();
    let (hold, goal) = (store.hold(), store.commits() + 1);
    let interfere = async {
        while store.commits() < goal {
            tokio::task::yield_now().await;
        }
        store.put_raw(&path, &value);
        drop(hold);
    };
    let policy = object(GNP, "p", json!({ "tier": "ops" }));
    let (created, ()) = tokio::join!(client.create(policy, deadline()), interfere);
    created.unwrap();
    assert_eq!(store.commits(), goal + 1, "the first commit found another tier than was read");
}

#[tokio::test]
async fn the_filters_of_a_peer_must_be_there_on_every_write() {
    let (store, client) = client();
    let peer = |filters: Value| {
        object(Kind::BgpPeer, "p", json!({ "peerIP": "10.0.0.1", "filters": filters }))
    };
    for name in ["a", "b"] {
        client.create(object(Kind::BgpFilter, name, json!({})), deadline()).await.unwrap();
    }
    let error = client.create(peer(json!(["y", "a", "x"])), deadline()).await.unwrap_err();
    let expected = "BGPPeer(p): error with field BGPPeer.Spec.Filters = 'x, y' (BGPFilter(s) not \
                    found)";
    assert_eq!(error.to_string(), expected);
    client.create(peer(json!(["b", "a", "b"])), deadline()).await.unwrap();
    assert!(client.apply(peer(json!(["x"])), deadline()).await.is_err());
    client.apply(peer(json!(["a"])), deadline()).await.unwrap();
    assert_eq!(store.dump().len(), 3);
}

#[tokio::test]
async fn what_is_kubernetes_own_is_refused() {
    let (store, client) = client();
    let policy = object(Kind::NetworkPolicy, "knp.default.x", json!({}));
    let refused = |error: ClientError| match error {
        ClientError::NotSupported { operation, reason, .. } => {
            assert_eq!(
                reason,
                "kubernetes network policies must be managed through the kubernetes API"
            );
            operation
        }
        other => panic!("{other}"),
    };
    let created = client.create(policy.clone(), deadline()).await;
    assert_eq!(refused(created.unwrap_err()), "Create");
    let deleted = client.delete_any(Kind::NetworkPolicy, "shop", "knp.default.x", None, deadline());
    assert_eq!(refused(deleted.await.unwrap_err()), "Delete");
    let applied = client.apply(policy, deadline()).await.unwrap_err();
    assert_eq!(applied.kind(), ErrorKind::NotFound, "apply only says that it isn't there");
    assert!(store.dump().is_empty());

    crate::bootstrap::ensure_initialised(&store, deadline()).await.unwrap();
    let deleted = client.delete_any(Kind::ClusterInformation, "", "default", None, deadline());
    assert!(matches!(deleted.await, Err(ClientError::NotSupported { operation: "Delete", .. })));
}

#[tokio::test]
async fn a_policy_carries_its_name_and_is_shown_without() {
    let (store, client) = client();
    let path = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/default.old";
    let value = br#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"default.old"},"spec":{}}"#;
    store.put_raw(path, value);
    let created = client.create(object(GNP, "default.new", json!({})), deadline()).await.unwrap();
    assert!(created.metadata.annotations.is_empty());
    let stored = store.dump().into_iter().find(|(path, _)| path.ends_with("default.new")).unwrap();
    let stored = String::from_utf8(stored.1).unwrap();
    assert!(
        stored.contains(r#""projectcalico.org/metadata":"{\"name\":\"default.new\"}""#),
        "{stored}"
    );

    let list = client.list_any(GNP, None, deadline()).await.unwrap().items;
    let shown: Vec<(&str, &str)> = list
        .iter()
        .map(|policy| {
            let labels = &policy.metadata.labels;
            (policy.metadata.name.as_str(), labels["projectcalico.org/tier"].as_str())
        })
        .collect();
    // What an older release stored is shown by its short name.
    assert_eq!(shown, [("default.new", "default"), ("old", "default")]);
}
