//! Section 9.2, what needs no API server: pods by their `K8S_POD_*` arguments.

use anyhow::{Context, ensure};
use serde_json::json;
use tests::{Kernel, Network, addresses, on_each_store, scene};

use super::{first_route_is_the_containers, host_local, is_up, link, sandbox};

/// The host's end for the pod `test/test-pod-1`.
const LINK: &str = "cali618a041cd51";

#[test]
fn k1_a_plain_pod_with_an_address_of_host_local() {
    scene("k1", |scene| {
        let mut network = Network::etcd(scene)?;
        host_local(&mut network)?;
        let host = network.host().clone();
        let before = network.before()?;
        let pod = host.pod("p1")?;
        let result = sandbox(&network, "ADD", "test-pod-1", "x1", &pod)?.result()?;
        let ip = addresses(&result)?[0].to_string();
        let (key, endpoint) = network.store().endpoint("-eth0")?;
        ensure!(key.ends_with("/workloadendpoints/test/node--a-k8s-test--pod--1-eth0"), "{key}");
        let kernel = Kernel::of_pod(&pod)?;
        ensure!(
            endpoint["spec"]
                == json!({
                    "orchestrator": "k8s", "node": "node-a", "containerID": "x1",
                    "pod": "test-pod-1", "endpoint": "eth0",
                    "ipNetworks": [format!("{ip}/32")], "profiles": ["net1"],
                    "interfaceName": LINK, "mac": link(&kernel, "eth0")?["address"],
                }),
            "{endpoint:#}"
        );
        ensure!(
            endpoint["metadata"]["labels"]
                == json!({
                    "projectcalico.org/namespace": "test",
                    "projectcalico.org/orchestrator": "k8s",
                })
        );
        let outside = Kernel::of_host(&host)?;
        ensure!(is_up(&link(&outside, LINK)?));
        for (setting, value) in [
            (format!("ipv4/conf/{LINK}/route_localnet"), "1"),
            (format!("ipv4/neigh/{LINK}/proxy_delay"), "0"),
            (format!("ipv4/conf/{LINK}/proxy_arp"), "1"),
            (format!("ipv4/conf/{LINK}/forwarding"), "1"),
            (format!("ipv6/conf/{LINK}/accept_ra"), "0"),
        ] {
            ensure!(host.sysctl(&setting)? == value, "{setting}");
        }
        first_route_is_the_containers(&outside, LINK, &ip)?;
        network.check_pod_of(&addresses(&result)?, &pod)?;
        sandbox(&network, "DEL", "test-pod-1", "x1", &pod)?.done()?;
        before.nothing_left()
    });
}

#[test]
fn k3_a_stale_host_link_is_replaced() {
    on_each_store("k3", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for alias in ["", "uplink of rack 7", "calico-rs:calico/x0/eth0"] {
            let add = format!("ip link add {LINK} type veth peer name other");
            network.host().run(add.split(' '))?;
            network.host().run(["ip", "link", "set", LINK, "alias", alias])?;
            let result = sandbox(network, "ADD", "test-pod-1", "x1", &pod)?.result()?;
            network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
            sandbox(network, "DEL", "test-pod-1", "x1", &pod)?.done()?;
            before.nothing_left().with_context(|| alias.to_owned())?;
        }
        Ok(())
    });
}

#[test]
fn k4_k5_the_mtu_is_the_files_or_the_configurations() {
    on_each_store("k4", |network| {
        let before = network.before()?;
        network.host().write("/var/lib/calico/mtu", "3000\n")?;
        for (number, (configured, expected)) in
            [(None, 3000), (Some(0), 3000), (Some(3001), 3001), (Some(4000), 4000)]
                .into_iter()
                .enumerate()
        {
            let pod = network.host().pod(&format!("p{number}"))?;
            let id = format!("x{number}");
            let mut config = network.config()?;
            if let Some(mtu) = configured {
                config["mtu"] = json!(mtu);
            }
            let add = sandbox(network, "ADD", "test-pod-1", &id, &pod)?.config(&config);
            let result = add.result()?;
            for (kernel, name) in
                [(Kernel::of_pod(&pod)?, "eth0"), (Kernel::of_host(network.host())?, LINK)]
            {
                ensure!(link(&kernel, name)?["mtu"] == expected, "{name}: not {expected}");
            }
            for interface in result["interfaces"].as_array().context("no interfaces")? {
                ensure!(interface["mtu"] == expected, "{interface}");
            }
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        // Without both it is the kernel's, and the answer says so.
        std::fs::remove_file(network.host().path("/var/lib/calico/mtu"))?;
        let pod = network.host().pod("p9")?;
        let add = sandbox(network, "ADD", "test-pod-1", "x9", &pod)?;
        ensure!(add.result()?["interfaces"][1]["mtu"] == 1500);
        add.verb("DEL").done()
    });
}

/// A number that no interface can have is refused before anything is touched.
#[test]
fn k4_a_bad_number_in_the_file_is_refused() {
    on_each_store("k4-bad", |network| {
        let pod = network.host().pod("p1")?;
        // A local store is there, as after the first container.
        network.add(&pod, "c0")?;
        network.del(&pod, "c0")?;
        let before = network.before()?;
        for (content, code) in
            [("many", 6), ("", 6), ("20", 7), ("1279", 7), ("70000", 7), ("-1", 7)]
        {
            network.host().write("/var/lib/calico/mtu", content)?;
            let add = network.call("ADD")?.pod(&pod);
            let (found, message) = add.error()?;
            ensure!(found == code && message.contains("/var/lib/calico/mtu"), "{found} {message}");
            before.nothing_left()?;
            // Nobody asks the file when the configuration says it.
            let mut config = network.config()?;
            config["mtu"] = json!(1400);
            config["require_mtu_file"] = json!(true);
            add.clone().config(&config).result()?;
            add.verb("DEL").done()?;
        }
        Ok(())
    });
}
