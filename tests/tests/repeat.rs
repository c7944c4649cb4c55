//! ADD for what is there already: the same container again, its second interface, its next
//! sandbox (`reference/cni-plugin.md` sections 3.2 and 11).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Kernel, Network, Pod, addresses, on_each_store, without_routes};

/// A container whose id is longer than what goes into an interface's name.
const ID: &str = "f00dcafe0123456789";

fn host_links(network: &Network) -> Result<Vec<String>> {
    let links = Kernel::of_host(network.host())?;
    let names = links.entries("link").iter().filter_map(|link| link["ifname"].as_str());
    Ok(names.filter(|name| name.starts_with("cali")).map(str::to_owned).collect())
}

#[test]
fn the_same_add_again_answers_the_same_and_changes_nothing() {
    on_each_store("again", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let first = network.add(&pod, ID)?;
        let (store, host) = (network.store().dump()?, Kernel::of_host(network.host())?);
        let inside = Kernel::of_pod(&pod)?;
        let again = network.add(&pod, ID)?;
        ensure!(again == without_routes(first), "another answer: {again:#}");
        ensure!(network.store().dump()? == store, "the store was changed");
        let changed = host.differences(&Kernel::of_host(network.host())?);
        ensure!(changed.is_empty(), "the host was changed: {changed:#?}");
        let changed = inside.differences(&Kernel::of_pod(&pod)?);
        ensure!(changed.is_empty(), "the container was changed: {changed:#?}");
        network.del(&pod, ID)?;
        before.nothing_left()
    });
}

#[test]
fn another_network_joins_the_endpoint_and_either_takes_it_away() {
    on_each_store("join", |network| {
        let before = network.before()?;
        for last in ["calico", "second"] {
            let pod = network.host().pod(&format!("p-{last}"))?;
            let first = network.add(&pod, ID)?;
            let second = network.call_with("ADD", "name", &json!("second"))?.container(ID);
            let again = second.pod(&pod).result()?;
            ensure!(again == without_routes(first), "another answer: {again:#}");
            let (_, endpoint) = network.store().endpoint("-eth0")?;
            ensure!(endpoint["spec"]["profiles"] == json!(["calico", "second"]), "{endpoint:#}");
            let dump = network.store().dump()?;
            ensure!(dump.handles() == ["/calico/ipam/v2/handle/calico.f00dcafe0123456789"]);
            ensure!(dump.0.keys().any(|key| key.ends_with("/profiles/second")), "no profile");
            for name in [last, if last == "calico" { "second" } else { "calico" }] {
                network.call_with("DEL", "name", &json!(name))?.container(ID).pod(&pod).done()?;
                before.nothing_left()?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_container_that_lost_its_link_gets_it_back_with_the_same_addresses() {
    on_each_store("rebuild", |network| {
        let before = network.before()?;
        let host = network.host().clone();
        for (number, (inside, command)) in [
            (true, "ip link set dev eth0 down name lost0"),
            (true, "ip link del eth0"),
            (true, "ip address flush dev eth0 scope global"),
            (true, "ip route flush dev eth0"),
            (false, "ip link set dev calif00dcafe012 down name calilost"),
            (false, "ip link del calif00dcafe012"),
            (false, "ip link set dev calif00dcafe012 alias foreign name calilost"),
        ]
        .into_iter()
        .enumerate()
        {
            let pod = host.pod(&format!("p{number}"))?;
            let first = network.add(&pod, ID)?;
            let allocations = network.store().dump()?.allocations().len();
            for part in command.split("; ") {
                match inside {
                    true => pod.run(part.split(' '))?,
                    false => host.run(part.split(' '))?,
                };
            }
            if command.contains("foreign") {
                // It isn't ours any more, so it is neither taken nor joined by a second one.
                let (code, message) = network.call("ADD")?.container(ID).pod(&pod).error()?;
                ensure!(code == 101 && message.contains("eth0"), "{code} {message}");
                host.run(["ip", "link", "del", "calilost"])?;
            } else {
                let again = network.add(&pod, ID)?;
                ensure!(addresses(&again)? == addresses(&first)?, "{command}: {again:#}");
                ensure!(host_links(network)? == ["calif00dcafe012"], "{command}");
                let now = network.store().dump()?.allocations().len();
                ensure!(now == allocations, "{command}: {now} addresses");
                network.check_pod(&addresses(&again)?, |to| pod.ping(to)).context(command)?;
                network.check(&pod, ID, &again)?.done().context(command)?;
            }
            network.del(&pod, ID)?;
            before.nothing_left().context(command)?;
            pod.remove()?;
        }
        Ok(())
    });
}

#[test]
fn a_container_in_a_new_namespace_takes_its_addresses_along() {
    on_each_store("moved", |network| {
        let before = network.before()?;
        let (old, new) = (network.host().pod("old")?, network.host().pod("new")?);
        let first = network.add(&old, ID)?;
        let again = network.add(&new, ID)?;
        ensure!(addresses(&again)? == addresses(&first)?, "{again:#}");
        network.check_pod(&addresses(&again)?, |to| new.ping(to))?;
        ensure!(old.run(["ip", "link", "show", "eth0"]).is_err(), "the old link is still there");
        network.del(&new, ID)?;
        before.nothing_left()
    });
}

fn second_interface(other_network: Option<&str>) -> impl Fn(&mut Network) -> Result<()> {
    move |network| {
        let before = network.before()?;
        for gone in ["eth0", "net1"] {
            let pod = network.host().pod(&format!("p-{gone}"))?;
            let call = |verb: &str, ifname: &str| -> Result<Call> {
                let name = match (ifname, other_network) {
                    ("net1", Some(other)) => other,
                    _ => "calico",
                };
                let call = network.call_with(verb, "name", &json!(name))?;
                Ok(call.container(ID).pod(&pod).ifname(ifname))
            };
            let first = call("ADD", "eth0")?.result()?;
            let second = call("ADD", "net1")?.result()?;
            let (first, second) = (addresses(&first)?, addresses(&second)?);
            ensure!(first.iter().all(|ip| !second.contains(ip)), "{first:?} {second:?}");
            ensure!(host_links(network)?.len() == 2, "{:?}", host_links(network)?);
            ensure!(network.store().dump()?.endpoints().len() == 2);
            for ips in [&first, &second] {
                network.check_pod(ips, |to| pod.ping(to))?;
                for ip in ips.iter() {
                    let to = if ip.is_ipv4() { network.host().v4() } else { network.host().v6() };
                    pod.run(["ping", "-n", "-c1", "-w5", "-I", &ip.to_string(), &to.to_string()])?;
                }
            }
            // A repeated ADD knows each by its name, even when one of them has to be made anew.
            pod.run(["ip", "link", "del", "net1"])?;
            for (ifname, ips) in [("eth0", &first), ("net1", &second)] {
                let again = call("ADD", ifname)?.result()?;
                ensure!(addresses(&again)? == *ips, "{ifname}: {again:#}");
            }
            let (kept, ips) = if gone == "eth0" { ("net1", &second) } else { ("eth0", &first) };
            call("DEL", gone)?.done()?;
            ensure!(pod.run(["ip", "link", "show", gone]).is_err(), "{gone} is still there");
            network.host().ping(ips[0])?;
            network.host().ping(ips[1])?;
            let dump = network.store().dump()?;
            ensure!(dump.endpoints().len() == 1 && dump.allocations().len() == 2, "{dump:#?}");
            call("DEL", kept)?.done()?;
            before.nothing_left()?;
            for version in ["-4", "-6"] {
                let rules = pod.run(["ip", version, "rule"])?;
                ensure!(rules.lines().count() <= 3, "rules are left in the container: {rules}");
            }
        }
        Ok(())
    }
}

#[test]
fn a_second_interface_of_the_network_is_whole_and_goes_alone() {
    on_each_store("net1-same", second_interface(None));
}

#[test]
fn a_second_interface_of_another_network_is_whole_and_goes_alone() {
    on_each_store("net1-other", second_interface(Some("second")));
}

#[test]
fn containers_whose_ids_begin_alike_both_work() {
    on_each_store("alike", |network| {
        let before = network.before()?;
        let ids = ["f00dcafe012aaaa", "f00dcafe012bbbb"];
        let pods = [network.host().pod("a")?, network.host().pod("b")?];
        let results = [network.add(&pods[0], ids[0])?, network.add(&pods[1], ids[1])?];
        for (pod, result) in pods.iter().zip(&results) {
            network.check_pod(&addresses(result)?, |to| pod.ping(to))?;
        }
        network.add(&pods[1], ids[1])?;
        network.del(&pods[0], ids[0])?;
        let ips = addresses(&results[1])?;
        network.check_pod(&ips, |to| pods[1].ping(to))?;
        network.del(&pods[1], ids[1])?;
        before.nothing_left()
    });
}

/// A call for a pod's sandbox.
fn sandbox(network: &Network, verb: &str, name: &str, id: &str, pod: &Pod) -> Result<Call> {
    let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name};IgnoreUnknown=1");
    Ok(network.call(verb)?.container(id).pod(pod).args(&args))
}

fn owner(network: &Network, name: &str) -> Result<Value> {
    Ok(network.store().endpoint(&format!("-k8s-{name}-eth0"))?.1["spec"]["containerID"].clone())
}

#[test]
fn the_same_sandbox_again_gets_no_further_address() {
    on_each_store("pod-again", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let first = sandbox(network, "ADD", "web", "x1", &pod)?.result()?;
        let again = sandbox(network, "ADD", "web", "x1", &pod)?.result()?;
        ensure!(addresses(&again)? == addresses(&first)?, "{again:#}");
        ensure!(network.store().dump()?.allocations().len() == 2);
        network.check_pod(&addresses(&again)?, |to| pod.ping(to))?;
        sandbox(network, "DEL", "web", "x1", &pod)?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_new_sandbox_replaces_the_old_one_and_survives_its_late_del() {
    on_each_store("sandboxes", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        // K29: another address and MAC; the old sandbox's stay reserved until its own DEL.
        let first = sandbox(network, "ADD", "web", "x1", &pod)?.result()?;
        let second = sandbox(network, "ADD", "web", "x2", &pod)?.result()?;
        let (old, new) = (addresses(&first)?, addresses(&second)?);
        ensure!(old.iter().all(|ip| !new.contains(ip)), "{old:?} {new:?}");
        ensure!(first["interfaces"][1]["mac"] != second["interfaces"][1]["mac"]);
        ensure!(network.store().dump()?.allocations().len() == 4);
        ensure!(owner(network, "web")? == "x2");
        // K28 and K27: the late DEL, twice, and without a namespace.
        for call in [
            sandbox(network, "DEL", "web", "x1", &pod)?,
            sandbox(network, "DEL", "web", "x1", &pod)?,
            sandbox(network, "DEL", "web", "x1", &pod)?.without("CNI_NETNS"),
        ] {
            call.done()?;
            ensure!(owner(network, "web")? == "x2");
            ensure!(network.store().dump()?.allocations().len() == 2);
            network.check_pod(&new, |to| pod.ping(to))?;
        }
        sandbox(network, "DEL", "web", "x2", &pod)?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_new_sandbox_that_cannot_be_set_up_leaves_the_old_ones_reservation() {
    on_each_store("collision", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        sandbox(network, "ADD", "web", "x1", &pod)?.result()?;
        let (key, endpoint) = network.store().endpoint("-k8s-web-eth0")?;
        let link = endpoint["spec"]["interfaceName"].as_str().context("no link")?.to_owned();
        // K30: the name in the container is taken by a link that isn't the new sandbox's.
        network.host().run(["ip", "link", "set", "dev", &link, "down", "name", "calimoved"])?;
        let (code, message) = sandbox(network, "ADD", "web", "x2", &pod)?.error()?;
        ensure!(code == 101 && message.contains("eth0"), "{code} {message}");
        let dump = network.store().dump()?;
        ensure!(dump.allocations().len() == 2, "{dump:#?}");
        ensure!(dump.0[&key]["spec"]["containerID"] == "x1", "{dump:#?}");
        sandbox(network, "DEL", "web", "x2", &pod)?.done()?;
        ensure!(network.store().dump()?.allocations().len() == 2);
        sandbox(network, "DEL", "web", "x1", &pod)?.done()?;
        before.nothing_left()
    });
}

#[test]
fn a_pod_has_one_endpoint_whatever_its_interface_is_called() {
    on_each_store("pod-eth1", |network| {
        let before = network.before()?;
        for last in ["eth1", "eth0"] {
            let pod = network.host().pod(&format!("p-{last}"))?;
            sandbox(network, "ADD", "web", "x1", &pod)?.result()?;
            // K31.
            let second = sandbox(network, "ADD", "web", "x1", &pod)?.ifname("eth1").result()?;
            ensure!(network.store().dump()?.endpoints().len() == 1);
            ensure!(network.store().endpoint("-k8s-web-eth0")?.1["spec"]["endpoint"] == "eth0");
            network.check_pod(&addresses(&second)?, |to| pod.ping(to))?;
            ensure!(pod.run(["ip", "link", "show", "eth0"]).is_err(), "the old link is there");
            sandbox(network, "DEL", "web", "x1", &pod)?.ifname(last).done()?;
            before.nothing_left().context(last)?;
        }
        Ok(())
    });
}

#[test]
fn pods_whose_names_begin_alike_do_not_touch_each_other() {
    on_each_store("pod-dash", |network| {
        let before = network.before()?;
        let (a, b) = (network.host().pod("a")?, network.host().pod("b")?);
        // K32, in both orders.
        for (one, other) in [("p", "p-1"), ("p-1", "p")] {
            sandbox(network, "ADD", one, "x1", &a)?.result()?;
            let kept = sandbox(network, "ADD", other, "x2", &b)?.result()?;
            ensure!(network.store().dump()?.endpoints().len() == 2);
            sandbox(network, "DEL", one, "x1", &a)?.done()?;
            network.check_pod(&addresses(&kept)?, |to| b.ping(to))?;
            sandbox(network, "DEL", other, "x2", &b)?.done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}
