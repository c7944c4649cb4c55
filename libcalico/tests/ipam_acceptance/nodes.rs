//! Nodes that go, with what they had: the cascade of a deletion (`reference/datamodel.md` 7.3), which
//! upstream gets wrong in two ways (weak point 16).

use std::collections::BTreeMap;
use std::net::IpAddr;

use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::ipam::{AutoAssign, IntendedUse};
use libcalico::names::Tunnel;
use libcalico::resources::{Kind, NodeSpec};
use libcalico::store::{AffinityOwner, Fault, Key, Prefix, StoreError, StoreErrorKind};
use serde_json::{Value, json};

use crate::cluster::{Cluster, pool, soon};
use crate::rows;

fn client(cluster: &Cluster) -> Client {
    Client::new(cluster.store.clone())
}

/// One address of each family for a handle, recorded for a node.
async fn assigned(cluster: &Cluster, node: &str, handle: &str) -> [IpAddr; 2] {
    let request = AutoAssign {
        v4: 1,
        v6: 1,
        handle: Some(handle.into()),
        attributes: BTreeMap::from([("node".into(), node.into())]),
        intended_use: IntendedUse::Workload,
        ..AutoAssign::new(node)
    };
    let assigned = cluster.auto(&request).await.expect("assigned");
    [assigned.v4.addresses[0].address, assigned.v6.addresses[0].address]
}

async fn resource(cluster: &Cluster, kind: Kind, name: &str, spec: Value) {
    let value = json!({ "kind": kind.name(), "metadata": { "name": name }, "spec": spec });
    cluster.put(Key::global(kind, name), value.to_string().into_bytes()).await;
}

/// The endpoint of a container that says to have these addresses.
async fn endpoint(cluster: &Cluster, node: &str, container: &str, addresses: &[IpAddr]) {
    let name = format!("{}-cni-{container}-eth0", node.replace('-', "--"));
    let networks: Vec<String> = addresses
        .iter()
        .map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }))
        .collect();
    let value = json!({
        "kind": "WorkloadEndpoint",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "orchestrator": "cni", "node": node, "containerID": container, "endpoint": "eth0",
            "ipNetworks": networks, "profiles": ["net1"], "interfaceName": "cali1",
        },
    });
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", name);
    cluster.put(key, value.to_string().into_bytes()).await;
}

/// Two pools, and two nodes of which the name of one begins that of the other; each has two
/// containers, all tunnels, and whatever else names a node.
async fn two_nodes(cluster: &Cluster) {
    cluster.pool(pool("pool4", "10.0.0.0/24").block_size(28)).await;
    cluster.pool(pool("pool6", "fd00::/112")).await;
    for node in ["n1", "n1-x"] {
        cluster.node(node, &[]).await;
        for container in ["c1", "c2"] {
            let had = assigned(cluster, node, &format!("net1.{container}{node}")).await;
            endpoint(cluster, node, &format!("{container}{node}"), &had).await;
        }
        for tunnel in Tunnel::ALL {
            assigned(cluster, node, &tunnel.handle_id(node)).await;
        }
        for kind in [Kind::BgpPeer, Kind::HostEndpoint] {
            resource(cluster, kind, &format!("of-{node}"), json!({ "node": node })).await;
        }
        for kind in [Kind::FelixConfiguration, Kind::BgpConfiguration] {
            resource(cluster, kind, &format!("node.{node}"), json!({})).await;
        }
    }
    resource(cluster, Kind::BgpPeer, "of-all", json!({})).await;
}

/// Everything in the store, as keys, that has to do with a node of this name.
async fn traces(cluster: &Cluster, node: &str) -> Vec<Key> {
    let own = |name: &str| {
        name == node
            || name == format!("of-{node}")
            || name == format!("node.{node}")
            || name.starts_with(&format!("{}-cni-", node.replace('-', "--")))
            || name.ends_with(&format!("addr-{node}"))
            || name == format!("net1.c1{node}")
            || name == format!("net1.c2{node}")
    };
    let keys = cluster.all(Prefix::All).await.into_iter().map(|found| found.key);
    keys.filter(|key| match key {
        Key::Resource { name, .. } | Key::Handle(name) => own(name),
        Key::Affinity(owner, _) => owner.name == node,
        _ => false,
    })
    .collect()
}

rows! {
    async fn a_node_goes_with_all_that_it_has(cluster) {
        two_nodes(cluster).await;
        let others = traces(cluster, "n1-x").await;
        assert_eq!((traces(cluster, "n1").await.len(), others.len()), (16, 16));
        let client = client(cluster);
        let gone = client.delete_node("n1", None, soon()).await.expect("it goes").expect("it was");
        assert_eq!(gone.metadata.name, "n1");
        assert_eq!(traces(cluster, "n1").await, []);
        assert_eq!(traces(cluster, "n1-x").await, others, "nothing of another node");
        for cidr in cluster.affinities(&AffinityOwner::host("n1-x")).await {
            let block = cluster.block(&cidr.to_string()).await.expect("its block");
            assert_eq!(block.allocated().count(), 7);
        }
        assert_eq!(cluster.blocks().await.len(), 2, "the blocks of the other node");
        assert_eq!(cluster.all(Prefix::kind(Kind::BgpPeer)).await.len(), 2);

        let again = client.delete_node("n1", None, soon()).await.expect("nothing is left to do");
        assert_eq!(again, None);
        assert_eq!(traces(cluster, "n1-x").await, others);
    }

    /// Upstream releases by address, whoever has it by now, and forgets IPv6 tunnels.
    async fn weak16_an_address_that_somebody_else_has_by_now_is_kept(cluster) {
        cluster.pool(pool("pool4", "10.0.0.0/24").block_size(28)).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        cluster.nodes(&["n1", "n2"]).await;
        // Each of these endpoints stayed behind, and its addresses were given to: another
        // container, the same id on another node, a virtual machine.
        for (container, node, handle) in
            [("c1", "n1", "net1.c9"), ("c2", "n2", "net1.c2"), ("c3", "n1", "net1.vmi.shop.vm")]
        {
            let had = assigned(cluster, node, handle).await;
            endpoint(cluster, "n1", container, &had).await;
        }
        let own = assigned(cluster, "n1", "net1.c4").await;
        endpoint(cluster, "n1", "c4", &own).await;
        // A free address, and one of no pool.
        endpoint(cluster, "n1", "c5", &["10.0.0.250".parse().expect("an address")]).await;
        endpoint(cluster, "n1", "c6", &["192.0.2.1".parse().expect("an address")]).await;
        client(cluster).delete_node("n1", None, soon()).await.expect("it goes");
        assert_eq!(cluster.handles().await, ["net1.c2", "net1.c9", "net1.vmi.shop.vm"]);
        for handle in ["net1.c2", "net1.c9", "net1.vmi.shop.vm"] {
            let kept = cluster.allocator().ips_by_handle(handle, soon()).await.expect("kept");
            assert_eq!(kept.len(), 2, "{handle}");
        }
        assert!(cluster.all(Prefix::kind(Kind::WorkloadEndpoint)).await.is_empty());
        assert!(cluster.affinities(&AffinityOwner::host("n1")).await.is_empty());
    }

    async fn a_tunnel_whose_handle_is_gone_is_released_by_its_address(cluster) {
        cluster.pool(pool("pool4", "10.0.0.0/24").block_size(28)).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        cluster.nodes(&["n1"]).await;
        let handle = Tunnel::VxlanV6.handle_id("n1");
        let [_, v6] = assigned(cluster, "n1", &handle).await;
        let [v4, _] = assigned(cluster, "n1", &Tunnel::Ipip.handle_id("n1")).await;
        let spec = json!({
            "ipv6VXLANTunnelAddr": v6.to_string(), "bgp": { "ipv4IPIPTunnelAddr": v4.to_string() },
        });
        resource(cluster, Kind::Node, "n1", spec).await;
        cluster.delete(Key::Handle(handle)).await;
        client(cluster).delete_node("n1", None, soon()).await.expect("it goes");
        let free = |ip: IpAddr| async move {
            let read = cluster.allocator().assignment_attributes(ip, soon()).await;
            assert!(read.is_err(), "{ip} is free");
        };
        free(v6).await;
        free(v4).await;
        // The IPv4 address that nothing named any more is in an ownerless block.
        for block in cluster.blocks().await {
            for (ip, _) in block.allocated() {
                cluster.release_ip(ip).await;
            }
        }
    }
}

rows! { only on memory:
    async fn a_node_is_deleted_at_its_revision_and_by_no_other_way(cluster) {
        two_nodes(cluster).await;
        let client = client(cluster);
        let plain = client.delete::<NodeSpec>("", "n1", None, soon()).await.expect_err("refused");
        assert!(matches!(plain, ClientError::NotSupported { .. }), "{plain}");
        assert!(plain.to_string().contains("Node(n1)"), "{plain}");
        let before = cluster.watched().store.dump();
        let error = client.delete_node("n1", Some(1), soon()).await.expect_err("stale");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(cluster.watched().store.dump(), before, "nothing was touched");
        let node = client.get::<NodeSpec>("", "n1", soon()).await.expect("a node");
        let gone = client.delete_node("n1", node.metadata.revision(), soon()).await.expect("gone");
        assert_eq!(gone, Some(node));
    }

    async fn weak16_an_address_that_changes_hands_meanwhile_is_kept(cluster) {
        cluster.pool(pool("pool4", "10.0.0.0/30").block_size(30)).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        cluster.nodes(&["n1"]).await;
        let had = assigned(cluster, "n1", "net1.c1").await;
        endpoint(cluster, "n1", "c1", &had[..1]).await;
        // Between the read of the block and its commit, the address goes to another container.
        cluster.before_commit(|store| {
            let path = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30";
            let text = String::from_utf8(store.dump()[path].clone()).expect("JSON");
            store.put_raw(path, text.replace("net1.c1", "net1.c9").as_bytes());
            let path = "/calico/ipam/v2/handle/net1.";
            let handle = store.dump()[&format!("{path}c1")].clone();
            store.put_raw(&format!("{path}c9"), &handle);
        });
        client(cluster).delete_node("n1", None, soon()).await.expect("it goes");
        let block = cluster.block("10.0.0.0/30").await.expect("it is in use");
        assert_eq!(block.addresses_of("net1.c9"), had[..1]);
        for handle in ["net1.c1", "net1.c9"] {
            cluster.release(handle).await;
        }
    }

    async fn an_endpoint_that_changes_meanwhile_is_looked_at_again(cluster) {
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        cluster.nodes(&["n1"]).await;
        let [v4, v6] = assigned(cluster, "n1", "net1.c1").await;
        endpoint(cluster, "n1", "c1", &[v4]).await;
        cluster.before_commit(|_| {});
        // Just before it is deleted, it names a second address.
        cluster.before_commit(move |store| {
            let found = store.dump().into_iter().find(|(path, _)| path.contains("/workloadend"));
            let (path, value) = found.expect("an endpoint");
            let both = format!("{v4}/32\",\"{v6}/128");
            let text = String::from_utf8(value).expect("JSON").replace(&format!("{v4}/32"), &both);
            store.put_raw(&path, text.as_bytes());
        });
        client(cluster).delete_node("n1", None, soon()).await.expect("it goes");
        assert!(cluster.handles().await.is_empty() && cluster.blocks().await.is_empty());
        assert!(cluster.all(Prefix::kind(Kind::WorkloadEndpoint)).await.is_empty());
    }

    async fn a_deletion_that_breaks_off_anywhere_is_finished_by_the_next(_cluster) {
        let fail = Fault::Fail(StoreError::new(StoreErrorKind::Unavailable, "gone"));
        for lost in [fail, Fault::LoseRequest, Fault::LoseAnswer] {
            for nth in 1..30 {
                let cluster = &Cluster::memory();
                two_nodes(cluster).await;
                let commits = cluster.watched().store.commits();
                cluster.watched().store.inject(nth, lost.clone());
                let first = client(cluster).delete_node("n1", None, soon()).await;
                let reached = cluster.watched().store.commits() - commits >= nth;
                assert!(first.is_err() || !matches!(lost, Fault::Fail(_)) || !reached);
                if first.is_err() {
                    client(cluster).delete_node("n1", None, soon()).await.expect("finished");
                }
                assert_eq!(traces(cluster, "n1").await, [], "{lost:?} of commit {nth}: {first:?}");
                cluster.consistent().await;
                if !reached {
                    assert!(nth > 3, "there are several commits");
                    break;
                }
            }
        }
    }
}
