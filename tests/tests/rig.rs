//! The harness itself, proven with Debian's `ptp` and `host-local`: a rig that can't see a leak
//! would pass every test.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    Backend, Before, Call, Etcd, EtcdMode, Host, LIMIT, Network, Pod, Scene, Stores, objects, scene,
};

fn ptp() -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "plain", "type": "ptp",
        "ipam": {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": "/var/lib/cni/networks"}
    })
}

fn address(result: &Value) -> Result<IpAddr> {
    let text = result["ips"][0]["address"].as_str().context("no address")?;
    Ok(text.split('/').next().context("empty address")?.parse()?)
}

#[test]
fn a_pod_of_ptp_reaches_its_host_and_leaves_nothing() {
    scene("ptp", |scene| {
        let host = scene.host("node-a")?;
        let before = Before::of(&host, &Stores::Local(host.clone()))?;
        let pod = host.pod("p1")?;
        let call = Call::new(&host, "ptp", "ADD").pod(&pod).config(&ptp());
        let to = address(&call.result()?)?;
        host.ping(to)?;
        // Without a route out, ptp's pod knows its gateway alone.
        pod.ping("10.1.0.1".parse()?)?;
        ensure!(!before.left()?.is_empty(), "a working pod is not seen as a leak");
        call.verb("DEL").done()?;
        before.nothing_left()
    });
}

#[test]
fn a_leak_is_seen() {
    scene("leak", |scene| {
        let host = scene.host("node-a")?;
        let before = Before::of(&host, &Stores::Local(host.clone()))?;
        for (make, undo) in [
            ("ip link add stray0 type bridge", "ip link del stray0"),
            ("ip address add 192.0.2.9/24 dev uplink0", "ip address del 192.0.2.9/24 dev uplink0"),
            ("ip route add 10.9.0.1/32 dev uplink0", "ip route del 10.9.0.1/32"),
            ("ip -6 route add fd00::1/128 dev uplink0", "ip -6 route del fd00::1/128"),
            (
                "ip neigh add 192.0.2.8 lladdr 02:00:00:00:00:01 dev uplink0",
                "ip neigh del 192.0.2.8 dev uplink0",
            ),
        ] {
            host.run(make.split(' '))?;
            ensure!(!before.left()?.is_empty(), "not seen: {make}");
            host.run(undo.split(' '))?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

/// A store that contradicts itself fails a test that is content otherwise.
#[test]
fn a_contradiction_in_the_store_is_seen() {
    for backend in [Backend::Local, Backend::Etcd] {
        let content = |scene: &Scene| {
            let network = Network::without_pools(scene, backend)?;
            network.put([objects::pool("pool-a", "10.65.0.0/16", 26)])?;
            let before = network.before()?;
            before.nothing_left()?;
            // A handle that has nothing, as a release that was half-done would leave it.
            let handle = json!({"block": {}, "deleted": false});
            network.put([("/calico/ipam/v2/handle/calico.c1".to_owned(), handle)])?;
            ensure!(before.nothing_left().is_err(), "not seen");
            Ok(())
        };
        let failed = catch_unwind(AssertUnwindSafe(|| scene("contradiction", content)));
        let message = failed.expect_err("the test passed");
        let message = message.downcast_ref::<String>().expect("a message");
        assert!(message.contains("handle calico.c1 has nothing"), "{message}");
        let (_, kept) = message.split_once("kept ").expect("a directory");
        std::fs::remove_dir_all(kept).expect("it can be removed");
    }
}

#[test]
fn a_host_has_no_way_out_and_hosts_can_be_wired() {
    scene("wire", |scene| {
        let (a, b) = (scene.host("node-a")?, scene.host("node-b")?);
        ensure!(a.run(["hostname"])?.trim() == "node-a");
        let out = "1.1.1.1".parse()?;
        ensure!(a.ping(out).is_err(), "there is a way out");
        ensure!(a.run(["ip", "route", "get", "1.1.1.1"]).is_err(), "there is a route out");
        ensure!(a.ping(b.v4()).is_err(), "hosts reach each other without a wire");
        a.wire(&b, "wire0")?;
        let give = |host: &Host, address: &str| {
            host.run(["ip", "address", "add", address, "dev", "wire0"]).map(drop)
        };
        give(&a, "198.51.100.1/30")?;
        give(&b, "198.51.100.2/30")?;
        a.ping("198.51.100.2".parse()?)
    });
}

#[test]
fn a_pod_is_isolated_and_its_processes_end_with_the_host() {
    scene("processes", |scene| {
        let host = scene.host("node-a")?;
        let pod: Pod = host.pod("p1")?;
        ensure!(pod.ip("link")?.as_array().is_some_and(|links| links.len() == 1), "more than lo");
        host.run(["setsid", "--fork", "sleep", "1000"])?;
        // It returns when the child has begun, not when it has become the other program.
        let begun = Instant::now();
        while !host.processes()?.iter().any(|(_, line)| line.ends_with("sleep 1000")) {
            ensure!(begun.elapsed() < LIMIT, "not running");
            thread::yield_now();
        }
        pod.remove()
    });
}

#[test]
fn every_kind_of_etcd_answers_and_can_be_read() {
    scene("etcd", |scene| {
        for mode in [EtcdMode::Plain, EtcdMode::Tls, EtcdMode::Password] {
            let host = scene.host(&format!("{mode:?}").to_lowercase())?;
            let etcd = Etcd::start(&host, mode)?;
            etcd.put("/calico/x", "{\"a\":1}")?;
            etcd.put("/calico/y", "-no json")?;
            etcd.kill()?;
            etcd.restart()?;
            let dump = Stores::Etcd(etcd.clone()).dump()?;
            ensure!(dump.0["/calico/x"] == json!({"a": 1}), "{mode:?}: {dump:?}");
            ensure!(dump.0["/calico/y"] == json!("-no json"), "{mode:?}: {dump:?}");
            etcd.delete_prefix("/calico/x")?;
            ensure!(etcd.get_prefix("/calico/")?.len() == 1);
        }
        Ok(())
    });
}
