//! Addresses from another IPAM plugin than our own, and what plugins before us have made
//! (`reference/cni-plugin.md` sections 3.6 and 5.6).

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, addresses, binary_dir, on_each_store};

const ID: &str = "c1";

fn host_local(network: &mut Network) {
    network.conflist_mut()["plugins"][0]["ipam"] = json!({
        "type": "host-local", "dataDir": "/run/leases",
        "ranges": [[{"subnet": "10.77.0.0/24"}], [{"subnet": "fd00:77::/64"}]],
    });
}

/// The addresses that host-local has given, each with its container.
fn leases(network: &Network) -> Result<Vec<(String, String)>> {
    let folder = network.host().path("/run/leases/calico");
    let mut leases = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Beside them are the lock and the last address of each range.
        if name.starts_with("10.") || name.starts_with("fd00") {
            leases.push((name, fs::read_to_string(entry.path())?.replace("\r\n", " ")));
        }
    }
    leases.sort();
    Ok(leases)
}

#[test]
fn host_local_gives_the_addresses_and_gets_them_back() {
    on_each_store("hl", |network| {
        host_local(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        // As upstream's answer: our masks, no gateway, no route of host-local's; and what it lacks.
        let netns = pod.path();
        let mac = result["interfaces"][1]["mac"].clone();
        ensure!(
            result
                == json!({
                    "cniVersion": "1.0.0",
                    "interfaces": [
                        {"name": "calic1", "mac": "ee:ee:ee:ee:ee:ee", "mtu": 1500},
                        {"name": "eth0", "mac": mac, "mtu": 1500, "sandbox": netns},
                    ],
                    "ips": [
                        {"address": "10.77.0.2/32", "interface": 1},
                        {"address": "fd00:77::2/128", "interface": 1},
                    ],
                    "routes": [{"dst": "10.77.0.2/32"}, {"dst": "fd00:77::2/128"}],
                }),
            "{result:#}"
        );
        let (_, endpoint) = network.store().endpoint("-c1-eth0")?;
        ensure!(endpoint["spec"]["ipNetworks"] == json!(["10.77.0.2/32", "fd00:77::2/128"]));
        ensure!(network.store().dump()?.allocations().is_empty());
        for ip in addresses(&result)? {
            network.host().ping(ip)?;
            pod.ping(if ip.is_ipv4() { network.host().v4() } else { network.host().v6() })?;
        }
        network.check(&pod, ID, &result)?.done()?;
        // A repeated ADD asks nobody: host-local would refuse.
        let again = network.add(&pod, ID)?;
        ensure!(addresses(&again)? == addresses(&result)?, "{again:#}");
        pod.run(["ip", "link", "del", "eth0"])?;
        let again = network.add(&pod, ID)?;
        ensure!(addresses(&again)? == addresses(&result)?, "{again:#}");
        ensure!(leases(network)?.len() == 2, "{:?}", leases(network)?);
        network.del(&pod, ID)?;
        network.del(&pod, ID)?;
        ensure!(leases(network)?.is_empty(), "{:?}", leases(network)?);
        before.nothing_left()
    });
}

#[test]
fn a_lease_that_is_gone_fails_check() {
    on_each_store("hl-check", |network| {
        host_local(network);
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        fs::remove_dir_all(network.host().path("/run/leases/calico"))?;
        let (code, message) = network.check(&pod, ID, &result)?.error()?;
        ensure!(code >= 100 && message.contains("host-local"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn the_leases_go_back_without_a_namespace_and_when_add_fails() {
    on_each_store("hl-undo", |network| {
        host_local(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        network.add(&pod, ID)?;
        network.call("DEL")?.container(ID).done()?;
        ensure!(leases(network)?.is_empty(), "{:?}", leases(network)?);
        before.nothing_left()?;
        network.host().run("ip -6 route add fd00:77::3/128 dev uplink0".split(' '))?;
        network.host().run("ip route add 10.77.0.3/32 dev uplink0".split(' '))?;
        let (code, message) = network.call("ADD")?.container(ID).pod(&pod).error()?;
        ensure!(code == 102, "{code} {message}");
        ensure!(leases(network)?.is_empty(), "{:?}", leases(network)?);
        let left = before.left()?;
        ensure!(left.iter().all(|line| line.starts_with("left in route")), "{left:#?}");
        Ok(())
    });
}

#[test]
fn a_pods_arguments_do_not_disturb_host_local() {
    on_each_store("hl-pod", |network| {
        host_local(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=1;IgnoreUnknown=1";
        let add = network.call("ADD")?.container(ID).pod(&pod).args(args);
        let first = add.result()?;
        // Debian's host-local answers no ADD for the same container twice.
        let again = add.result()?;
        ensure!(addresses(&again)? == addresses(&first)?, "{again:#}");
        add.verb("DEL").done()?;
        ensure!(leases(network)?.is_empty(), "{:?}", leases(network)?);
        before.nothing_left()
    });
}

#[test]
fn a_missing_plugin_is_named_by_every_verb() {
    on_each_store("hl-missing", |network| {
        network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "nobodys"});
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for verb in ["ADD", "DEL", "CHECK"] {
            let call = network.call_with(verb, "prevResult", &json!({"cniVersion": "1.0.0"}))?;
            let (code, message) = call.container(ID).pod(&pod).error()?;
            ensure!(message.contains("nobodys"), "{verb}: {code} {message}");
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn our_own_ipam_can_be_called_as_a_program_too() {
    on_each_store("program", |network| {
        let before = network.before()?;
        let binary = fs::read(binary_dir()?.join("calico-ipam"))?;
        network.host().install("other-ipam", binary)?;
        network.conflist_mut()["plugins"][0]["ipam"]["type"] = json!("other-ipam");
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        ensure!(network.store().dump()?.handles() == ["/calico/ipam/v2/handle/calico.c1"]);
        ensure!(result["routes"].as_array().is_some_and(|routes| routes.len() == 2), "{result:#}");
        network.check(&pod, ID, &result)?.done()?;
        network.add(&pod, ID)?;
        ensure!(network.store().dump()?.allocations().len() == 2);
        network.del(&pod, ID)?;
        before.nothing_left()?;
        // GC reaches it as well.
        network.add(&pod, ID)?;
        let mut config = network.config()?;
        config["cniVersion"] = json!("1.1.0");
        config["cni.dev/valid-attachments"] = json!([]);
        network.call("GC")?.config(&config).done()?;
        before.nothing_left()
    });
}

#[test]
fn what_plugins_before_us_made_stays_in_the_answer() {
    on_each_store("chain", |network| {
        let pod = network.host().pod("p1")?;
        let earlier = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "br0"}, {"name": "net9", "sandbox": pod.path()}],
            "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1", "interface": 1}],
            "routes": [{"dst": "10.9.0.0/16", "gw": "10.9.0.1"}],
            "dns": {"nameservers": ["10.9.0.53"]},
        });
        let result =
            network.call_with("ADD", "prevResult", &earlier)?.container(ID).pod(&pod).result()?;
        let list = |member: &str| result[member].as_array().cloned().unwrap_or_default();
        ensure!(list("interfaces")[..2] == *earlier["interfaces"].as_array().context("list")?);
        ensure!(list("interfaces")[2]["name"] == "calic1" && list("interfaces").len() == 4);
        ensure!(list("ips")[0] == earlier["ips"][0] && list("ips").len() == 3);
        ensure!(list("ips")[1..].iter().all(|ip| ip["interface"] == 3), "{result:#}");
        ensure!(list("routes")[0] == earlier["routes"][0] && result["dns"] == earlier["dns"]);
        network.check(&pod, ID, &result)?.ifname("eth0").done()?;
        let later: Vec<Value> = list("ips")[1..].to_vec();
        let (_, endpoint) = network.store().endpoint("-c1-eth0")?;
        let nets: Vec<Value> = later.iter().map(|ip| ip["address"].clone()).collect();
        ensure!(endpoint["spec"]["ipNetworks"] == json!(nets), "{endpoint:#}");
        network.del(&pod, ID)
    });
}

#[test]
fn a_gateway_and_a_prefix_of_the_plugins_are_not_answered() {
    on_each_store("masks", |network| {
        network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "fixed"});
        let answer = json!({
            "cniVersion": "1.0.0",
            "ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1"}],
            "routes": [{"dst": "10.50.0.0/16"}], "dns": {"domain": "example.org"},
        });
        let script =
            format!("#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] && echo '{answer}'\nexit 0");
        network.host().install("fixed", script)?;
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        ensure!(result["ips"] == json!([{"address": "10.1.2.3/32", "interface": 1}]), "{result:#}");
        ensure!(result["routes"] == json!([{"dst": "10.1.2.3/32"}]), "{result:#}");
        ensure!(result["dns"] == answer["dns"], "{result:#}");
        let routes = pod.run(["ip", "route"])?;
        ensure!(!routes.contains("10.50"), "the plugin's routes are not the container's: {routes}");
        network.host().ping("10.1.2.3".parse()?)?;
        network.del(&pod, ID)
    });
}

#[test]
fn calico_ipam_alone_needs_nothing_that_its_variables_name() {
    on_each_store("ipam-alone", |network| {
        let before = network.before()?;
        let config = network.config()?;
        let call = Call::new(network.host(), "calico-ipam", "ADD").config(&config);
        let call = call.env("CNI_NETNS", "b").ifname("c").env("CNI_PATH", "d");
        let result = call.result()?;
        ensure!(result["ips"].as_array().is_some_and(|ips| ips.len() == 2), "{result:#}");
        ensure!(result["interfaces"].is_null(), "{result:#}");
        call.verb("DEL").done()?;
        before.nothing_left()
    });
}
