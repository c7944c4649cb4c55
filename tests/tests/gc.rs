//! GC: what is in no valid attachment goes, everything else stays (`reference/cni-plugin.md`
//! section 5.9).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Before, Call, Kernel, Network, RESOURCES, addresses, on_each_store};

/// GC of a network with these valid attachments.
fn gc(network: &Network, name: &str, valid: &[(&str, &str)]) -> Result<Call> {
    let valid: Vec<Value> =
        valid.iter().map(|(id, ifname)| json!({"containerID": id, "ifname": ifname})).collect();
    let mut config = network.config()?;
    config["name"] = json!(name);
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!(valid);
    let call = network.call("GC")?.config(&config);
    Ok(call.without("CNI_CONTAINERID").without("CNI_IFNAME"))
}

fn add(network: &Network, name: &str, pod: &str, id: &str, ifname: &str) -> Result<Value> {
    let pod = match network.host().path(&format!("/run/netns/{pod}")).exists() {
        true => format!("/run/netns/{pod}"),
        false => network.host().pod(pod)?.path(),
    };
    let call = network.call_with("ADD", "name", &json!(name))?;
    call.container(id).env("CNI_NETNS", &pod).ifname(ifname).result()
}

/// The containers that are whole: each has a link, an endpoint and two addresses.
fn whole(network: &Network, count: usize) -> Result<()> {
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().len() == count, "{:#?}", dump.endpoints());
    ensure!(dump.allocations().len() == 2 * count, "{:#?}", dump.allocations());
    let kernel = Kernel::of_host(network.host())?;
    let links: Vec<_> = kernel
        .entries("link")
        .iter()
        .filter_map(|link| link["ifname"].as_str())
        .filter(|name| name.starts_with("cali"))
        .collect();
    ensure!(links.len() == count, "{links:?}");
    for endpoint in dump.endpoints() {
        for net in endpoint["spec"]["ipNetworks"].as_array().context("no addresses")? {
            let address = net.as_str().and_then(|net| net.split('/').next()).context("no text")?;
            network.host().ping(address.parse()?).with_context(|| endpoint.to_string())?;
        }
    }
    Ok(())
}

#[test]
fn what_is_stale_goes_and_what_is_valid_stays() {
    on_each_store("gc", |network| {
        let before = network.before()?;
        for id in ["c1", "c2", "c3"] {
            add(network, "calico", id, id, "eth0")?;
        }
        // One runtime died with the namespace still there, of the other one even that is gone.
        network.host().run(["ip", "netns", "del", "c2"])?;
        gc(network, "calico", &[("c1", "eth0")])?.done()?;
        whole(network, 1)?;
        ensure!(network.store().endpoint("-c1-eth0").is_ok());
        gc(network, "calico", &[("c1", "eth0")])?.done()?;
        whole(network, 1)?;
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn of_two_interfaces_only_the_stale_one_goes() {
    on_each_store("gc-net1", |network| {
        let before = network.before()?;
        let first = add(network, "calico", "c1", "c1", "eth0")?;
        add(network, "calico", "c1", "c1", "net1")?;
        whole(network, 2)?;
        gc(network, "calico", &[("c1", "eth0")])?.done()?;
        whole(network, 1)?;
        let (_, endpoint) = network.store().endpoint("-c1-eth0")?;
        let kept: Vec<String> = addresses(&first)?.iter().map(ToString::to_string).collect();
        ensure!(kept.iter().all(|ip| endpoint.to_string().contains(ip.as_str())), "{endpoint:#}");
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()?;
        // Both at once: each is the other's sibling, and the handle is both's.
        for ifname in ["eth0", "net1"] {
            add(network, "calico", "c1", "c1", ifname)?;
        }
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn other_networks_stay_even_when_their_name_begins_with_this_ones() {
    on_each_store("gc-names", |network| {
        let before = network.before()?;
        for (number, name) in ["a", "a.b", "a.b.c", "b"].iter().enumerate() {
            let id = format!("c{number}");
            add(network, name, &id, &id, "eth0")?;
        }
        gc(network, "a", &[])?.done()?;
        whole(network, 3)?;
        gc(network, "a.b", &[])?.done()?;
        whole(network, 2)?;
        gc(network, "b", &[])?.done()?;
        gc(network, "a.b.c", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn other_nodes_stay() {
    on_each_store("gc-nodes", |network| {
        // The same network on another node, as far as the store knows: its endpoint, and addresses
        // in a block of its own.
        add(network, "calico", "c1", "c1", "eth0")?;
        network.call("DEL")?.container("c1").done()?;
        let mut node = network.store().dump()?.0
            [&format!("{RESOURCES}/nodes/{}", network.host().name())]
            .clone();
        node["metadata"]["name"] = json!("node-b");
        network.store().put(&format!("{RESOURCES}/nodes/node-b"), &node.to_string())?;
        let mut config = network.config()?;
        config["nodename"] = json!("node-b");
        let pod = network.host().pod("far")?;
        let far = network.call("ADD")?.container("far1").pod(&pod).config(&config);
        far.result()?;
        // And what an upstream process of that node counted, and is about to write into the block.
        let counted = |id: &str| format!("/calico/ipam/v2/handle/calico.{id}");
        let far1 = network.store().dump()?.0[&counted("far1")].clone();
        network.store().put(&counted("far2"), &far1.to_string())?;
        let before = Before::of(network.host(), network.store())?;
        add(network, "calico", "c2", "c2", "eth0")?;
        // What a process of this node counted and didn't write was given up: GC alone has the lock.
        let c2 = network.store().dump()?.0[&counted("c2")].clone();
        network.store().put(&counted("c3"), &c2.to_string())?;
        // Of a link that is on this very host the mark alone tells, so the far one is taken away.
        network.host().run(["ip", "link", "del", "califar1"])?;
        gc(network, "calico", &[])?.done()?;
        let left = before.left()?;
        ensure!(left.iter().all(|line| line.starts_with("gone from")), "{left:#?}");
        let dump = network.store().dump()?;
        ensure!(dump.endpoints().len() == 1 && dump.allocations().len() == 2, "{dump:#?}");
        ensure!(network.store().endpoint("-far1-eth0").is_ok());
        let is_there = |id: &str| dump.0.contains_key(&counted(id));
        ensure!(is_there("far2") && !is_there("c3"), "{dump:#?}");
        network.store().delete(&counted("far2"))
    });
}

#[test]
fn a_pods_former_sandbox_goes_and_its_present_one_stays() {
    on_each_store("gc-pod", |network| {
        let before = network.before()?;
        let args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web";
        for id in ["x1", "x2"] {
            let pod = network.host().pod(id)?;
            network.call("ADD")?.container(id).pod(&pod).args(args).result()?;
        }
        gc(network, "calico", &[("x2", "eth0")])?.done()?;
        whole(network, 1)?;
        ensure!(network.store().endpoint("-k8s-web-eth0")?.1["spec"]["containerID"] == "x2");
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

/// As upstream's plugin makes them with `policy.type: k8s`: the network isn't among the profiles.
#[test]
fn a_pod_with_the_profiles_of_its_namespace_is_the_networks_by_its_handle() {
    on_each_store("gc-handle", |network| {
        let before = network.before()?;
        for id in ["x1", "x2"] {
            let pod = network.host().pod(id)?;
            let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{id}");
            network.call("ADD")?.container(id).pod(&pod).args(&args).result()?;
            let (key, _) = network.store().endpoint(&format!("web--{id}-eth0"))?;
            network.store().change(&key, |endpoint| {
                endpoint["spec"]["profiles"] = json!(["kns.shop", "ksa.shop.default"]);
            })?;
        }
        gc(network, "another", &[])?.done()?;
        whole(network, 2)?;
        gc(network, "calico", &[("x2", "eth0")])?.done()?;
        whole(network, 1)?;
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_damaged_endpoint_of_upstreams_making_goes_too() {
    on_each_store("gc-damaged", |network| {
        let before = network.before()?;
        add(network, "calico", "c1", "c1", "eth0")?;
        network.host().run(["ip", "link", "set", "calic1", "alias", ""])?;
        let (key, _) = network.store().endpoint("-c1-eth0")?;
        network.store().change(&key, |endpoint| endpoint["spec"]["ports"] = json!("none"))?;
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_link_of_upstreams_making_goes_if_it_has_no_endpoint_and_no_carrier() {
    on_each_store("gc-unmarked", |network| {
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        // What upstream's ADD leaves when it fails before the container's end is up.
        let make = |name: &str, mac: &str, peer: &str| -> Result<()> {
            let made =
                format!("ip link add {name} address {mac} up type veth peer name {peer} netns p1");
            host.run(made.split(' ')).map(drop)
        };
        let (ours, other) = ("ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01");
        add(network, "calico", "c1", "c1", "eth0")?;
        add(network, "calico", "c2", "c2", "eth0")?;
        let before = network.before()?;
        make("calidead0000001", ours, "dead1")?;
        make("calialive000001", ours, "alive1")?;
        pod.run(["ip", "link", "set", "alive1", "up"])?;
        make("calimac00000001", other, "mac1")?;
        make("another0", ours, "another1")?;
        // Valid containers, of which one has lost its endpoint, and both their carrier.
        for id in ["c1", "c2"] {
            let link = format!("cali{id}");
            host.run(["ip", "link", "set", "dev", &link, "alias", ""])?;
            host.run(["ip", "-n", id, "link", "set", "eth0", "down"])?;
        }
        let (key, endpoint) = network.store().endpoint("-c2-eth0")?;
        network.store().delete(&key)?;
        gc(network, "calico", &[("c1", "eth0"), ("c2", "eth0")])?.done()?;
        let kernel = Kernel::of_host(&host)?;
        for (link, stays) in [
            ("calidead0000001", false),
            ("calialive000001", true),
            ("calimac00000001", true),
            ("another0", true),
            ("calic1", true),
            ("calic2", true),
        ] {
            ensure!(kernel.link(link).is_some() == stays, "{link}: {:#}", kernel.raw()["link"]);
        }
        // An endpoint that can't be read may be about any link.
        make("calidead0000001", ours, "dead1")?;
        network.store().put(&key, "no JSON")?;
        gc(network, "calico", &[("c1", "eth0"), ("c2", "eth0")])?.done()?;
        ensure!(Kernel::of_host(&host)?.link("calidead0000001").is_some());
        network.store().put(&key, &endpoint.to_string())?;
        for link in ["calidead0000001", "calialive000001", "calimac00000001", "another0"] {
            host.run(["ip", "link", "del", link])?;
        }
        for id in ["c1", "c2"] {
            network
                .call("DEL")?
                .container(id)
                .env("CNI_NETNS", &format!("/run/netns/{id}"))
                .done()?;
        }
        let left = before.left()?;
        ensure!(left.iter().all(|line| line.starts_with("gone from")), "{left:#?}");
        Ok(())
    });
}

#[test]
fn addresses_without_an_endpoint_go() {
    on_each_store("gc-addresses", |network| {
        let before = network.before()?;
        add(network, "calico", "c1", "c1", "eth0")?;
        let (key, _) = network.store().endpoint("-c1-eth0")?;
        network.store().delete(&key)?;
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn what_cannot_be_removed_is_told_and_keeps_nothing_else() {
    on_each_store("gc-errors", |network| {
        let before = network.before()?;
        for id in ["c1", "c2"] {
            add(network, "calico", id, id, "eth0")?;
        }
        let handle = "/calico/ipam/v2/handle/calico.c1";
        let good = network.store().dump()?.0[handle].clone();
        network.store().put(handle, "{")?;
        let (code, message) = gc(network, "calico", &[])?.error()?;
        ensure!(code == 120 && message.contains("c1"), "{code} {message}");
        ensure!(!message.contains("c2"), "{message}");
        let dump = network.store().dump()?;
        ensure!(dump.allocations().iter().all(|(_, _, handle)| handle == "calico.c1"), "{dump:#?}");
        ensure!(dump.endpoints().len() == 1, "{dump:#?}");
        network.store().put(handle, &good.to_string())?;
        gc(network, "calico", &[])?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_block_that_cannot_be_read_is_told_and_keeps_nothing_else() {
    on_each_store("gc-block", |network| {
        let before = network.before()?;
        for id in ["c1", "c2"] {
            network.ipam("ADD")?.container(id).result()?;
        }
        let mut config = network.config()?;
        config["cniVersion"] = json!("1.1.0");
        config["cni.dev/valid-attachments"] = json!([]);
        let collect = network.ipam("GC")?.config(&config);
        let v4 = "/calico/ipam/v2/assignment/ipv4/block/";
        let dump = network.store().dump()?;
        let (key, good) = dump.under(v4).next().context("no block")?;
        network.store().put(key, "{")?;
        let cidr = good["cidr"].as_str().context("no cidr")?;
        for at in 0..2 {
            let (code, message) = collect.error()?;
            ensure!(code == 120 && message.contains(cidr), "{code} {message}");
            // The second time they have nothing else, so that nothing tells whose they are.
            let names_handles = ["calico.c1", "calico.c2"].iter().all(|id| message.contains(id));
            ensure!(names_handles == (at == 0), "{message}");
            let dump = network.store().dump()?;
            ensure!(dump.allocations().is_empty(), "{dump:#?}");
            ensure!(dump.handles().len() == 2, "{dump:#?}");
        }
        network.store().put(key, &good.to_string())?;
        collect.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_gc_that_was_killed_is_finished_by_the_next() {
    on_each_store("gc-killed", |network| {
        let before = network.before()?;
        for pause in [2, 5, 10, 20, 30, 45] {
            for id in ["c1", "c2", "c3"] {
                add(network, "calico", id, id, "eth0")?;
            }
            gc(network, "calico", &[])?.kill_after(Duration::from_millis(pause))?;
            gc(network, "calico", &[])?.done()?;
            before.nothing_left().with_context(|| format!("killed after {pause} ms"))?;
        }
        Ok(())
    });
}

#[test]
fn calico_ipam_collects_alone() {
    on_each_store("gc-ipam", |network| {
        let before = network.before()?;
        let config = network.config()?;
        let ipam = |id: &str| {
            let call = Call::new(network.host(), "calico-ipam", "ADD").container(id);
            call.env("CNI_NETNS", "b").ifname("c").config(&config).result()
        };
        for id in ["c1", "c2", "under_score"] {
            ipam(id)?;
        }
        let collect = |valid: Value| {
            let mut config = config.clone();
            config["cniVersion"] = json!("1.1.0");
            config["cni.dev/valid-attachments"] = valid;
            let call = Call::new(network.host(), "calico-ipam", "GC").config(&config);
            call.without("CNI_CONTAINERID").without("CNI_IFNAME").done()
        };
        collect(json!([{"containerID": "c2", "ifname": "c"}]))?;
        ensure!(network.store().dump()?.handles() == ["/calico/ipam/v2/handle/calico.c2"]);
        collect(json!([]))?;
        before.nothing_left()
    });
}

#[test]
fn another_ipam_plugin_collects_too_and_its_failure_is_told() {
    on_each_store("gc-delegate", |network| {
        let before = network.before()?;
        network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "recorder"});
        let script = "#!/bin/sh\ncat > /run/recorded\necho $CNI_COMMAND > /run/verb\n";
        network.host().install("recorder", script)?;
        gc(network, "calico", &[("c9", "eth0")])?.done()?;
        let read = |name: &str| std::fs::read_to_string(network.host().path(name));
        ensure!(read("/run/verb")?.trim() == "GC");
        let config: Value = serde_json::from_str(&read("/run/recorded")?)?;
        ensure!(config["cni.dev/valid-attachments"][0]["containerID"] == "c9", "{config:#}");
        let script = "#!/bin/sh\ncat > /dev/null\necho '{\"code\": 7, \"msg\": \"no\"}'\nexit 1\n";
        network.host().install("recorder", script)?;
        let (code, message) = gc(network, "calico", &[])?.error()?;
        ensure!(code == 120 && message.contains("no"), "{code} {message}");
        before.nothing_left()
    });
}
