//! DEL: whatever of an attachment is there goes, whatever is missing (`reference/cni-plugin.md`
//! sections 5.2 to 5.4).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{Call, Kernel, Network, Pod, RESOURCES, Stores, addresses, on_each_store, scene};

const ID: &str = "c1";
const LINK: &str = "calic1";
const POD: &str = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web";

fn has_link(network: &Network, name: &str) -> Result<bool> {
    Ok(Kernel::of_host(network.host())?.link(name).is_some())
}

/// How many notes of debts there are.
fn owed(network: &Network) -> Result<usize> {
    let folder = network.host().path("/var/lib/calico/owed");
    if !folder.exists() {
        return Ok(0);
    }
    let names = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
    Ok(names.iter().filter(|name| name.to_string_lossy().ends_with(".json")).count())
}

fn etcd(network: &Network) -> Result<&tests::Etcd> {
    match network.store() {
        Stores::Etcd(etcd) => Ok(etcd),
        Stores::Local(_) => anyhow::bail!("this test is about etcd"),
    }
}

#[test]
fn what_was_never_added_or_is_gone_already_is_no_failure() {
    on_each_store("del-nothing", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for args in ["", POD] {
            let del = network.call("DEL")?.container(ID).pod(&pod).args(args);
            del.done()?;
            del.clone().without("CNI_NETNS").done()?;
            del.clone().env("CNI_NETNS", "").done()?;
            del.clone().env("CNI_NETNS", "/run/netns/nowhere").done()?;
            del.clone().verb("ADD").result()?;
            del.done()?;
            del.done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn the_host_link_goes_when_the_namespace_is_not_named() {
    on_each_store("del-no-netns", |network| {
        let before = network.before()?;
        for (number, args) in ["", POD].into_iter().enumerate() {
            let pod = network.host().pod(&format!("p{number}"))?;
            let add = network.call("ADD")?.container(ID).pod(&pod).args(args);
            for del in [
                add.clone().verb("DEL").without("CNI_NETNS"),
                add.clone().verb("DEL").env("CNI_NETNS", ""),
                add.clone().verb("DEL").env("CNI_NETNS", "/run/netns/nowhere"),
            ] {
                add.result()?;
                del.done()?;
                before.nothing_left()?;
                ensure!(pod.run(["ip", "link", "show", "eth0"]).is_err(), "eth0 is left");
            }
            add.result()?;
            pod.remove()?;
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn a_locked_datastore_keeps_the_addresses_but_not_the_link() {
    on_each_store("del-locked", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        network.add(&pod, ID)?;
        let key = format!("{RESOURCES}/clusterinformations/default");
        let ready = network.store().dump()?.0[&key].clone();
        for state in [json!(false), json!(null)] {
            network.store().change(&key, |info| info["spec"]["datastoreReady"] = state)?;
            let del = network.call("DEL")?.container(ID).pod(&pod);
            let (code, message) = del.error()?;
            ensure!(code == 11 && message.contains("datastoreReady"), "{code} {message}");
            ensure!(!has_link(network, LINK)?, "the link is still there");
            ensure!(network.store().dump()?.allocations().len() == 2);
        }
        network.store().put(&key, &ready.to_string())?;
        network.del(&pod, ID)?;
        before.nothing_left()
    });
}

#[test]
fn a_missing_nodename_file_keeps_the_addresses_but_not_the_link() {
    scene("del-nodename", |scene| {
        let network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        network.add(&pod, ID)?;
        std::fs::remove_file(network.host().path("/var/lib/calico/nodename"))?;
        let (code, message) = network.call("DEL")?.container(ID).pod(&pod).error()?;
        ensure!(code == 11 && message.contains("/var/lib/calico/nodename"), "{code} {message}");
        ensure!(!has_link(&network, LINK)?, "the link is still there");
        network.host().write("/var/lib/calico/nodename", network.host().name())?;
        network.del(&pod, ID)?;
        before.nothing_left()
    });
}

/// Attaches a container, takes the store away, and detaches it.
fn detach_without_store(network: &Network, pod: &Pod, silent: bool) -> Result<()> {
    network.add(pod, ID)?;
    let etcd = etcd(network)?;
    if silent {
        etcd.pause()?
    } else {
        etcd.kill()?
    }
    let answer = network.call("DEL")?.container(ID).pod(pod).run()?;
    ensure!(answer.exit == Some(0) && answer.stdout.is_empty(), "{answer:#?}");
    ensure!(answer.elapsed < Duration::from_secs(10), "it took {:?}", answer.elapsed);
    ensure!(!has_link(network, LINK)?, "the link is still there");
    ensure!(owed(network)? == 1, "no note");
    if silent { etcd.resume() } else { etcd.restart() }
}

#[test]
fn what_a_store_that_is_away_is_owed_is_paid_by_the_next_verb() {
    scene("del-away", |scene| {
        let network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let other = network.host().pod("p2")?;
        let mut gc = network.config()?;
        gc["cniVersion"] = json!("1.1.0");
        gc["cni.dev/valid-attachments"] = json!([{"containerID": "c2", "ifname": "eth0"}]);
        for (silent, call) in [
            (false, network.call("DEL")?.container("c2").pod(&other)),
            (true, network.call("DEL")?.container(ID)),
            (false, network.call("GC")?.config(&gc)),
            (true, network.call("ADD")?.container("c2").pod(&other)),
        ] {
            detach_without_store(&network, &pod, silent)?;
            ensure!(call.run()?.exit == Some(0));
            ensure!(owed(&network)? == 0, "not paid");
            network.del(&other, "c2")?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn a_debt_is_paid_before_its_container_comes_back_and_not_again() {
    scene("del-back", |scene| {
        let network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for silent in [false, true] {
            detach_without_store(&network, &pod, silent)?;
            let result = network.add(&pod, ID)?;
            ensure!(owed(&network)? == 0, "not paid");
            let elsewhere = network.host().pod(&format!("p-{silent}"))?;
            network.add(&elsewhere, "c2")?;
            network.del(&elsewhere, "c2")?;
            network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
            network.check(&pod, ID, &result)?.done()?;
            network.del(&pod, ID)?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn a_debt_stays_while_the_store_is_locked() {
    scene("del-owed-locked", |scene| {
        let network = Network::etcd(scene)?;
        let pod = network.host().pod("p1")?;
        detach_without_store(&network, &pod, false)?;
        let key = format!("{RESOURCES}/clusterinformations/default");
        network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(false))?;
        let (code, _) = network.call("ADD")?.container(ID).pod(&pod).error()?;
        ensure!(code == 11 && owed(&network)? == 1);
        ensure!(network.store().dump()?.allocations().len() == 1);
        Ok(())
    });
}

#[test]
fn a_link_of_upstreams_making_goes_though_nothing_marks_it() {
    on_each_store("del-unmarked", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for args in ["", POD] {
            let add = network.call("ADD")?.container(ID).pod(&pod).args(args);
            for del in [add.clone().verb("DEL"), add.clone().verb("DEL").without("CNI_NETNS")] {
                let result = add.result()?;
                let link = result["interfaces"][0]["name"].as_str().context("no name")?.to_owned();
                network.host().run(["ip", "link", "set", "dev", &link, "alias", ""])?;
                del.done()?;
                before.nothing_left()?;
            }
        }
        Ok(())
    });
}

/// Makes a link look like one of upstream's making.
fn unmark(network: &Network, result: &serde_json::Value) -> Result<String> {
    let link = result["interfaces"][0]["name"].as_str().context("no name")?.to_owned();
    network.host().run(["ip", "link", "set", "dev", &link, "alias", ""])?;
    Ok(link)
}

/// The DEL of a container with the result of its ADD.
fn del_with(del: &Call, network: &Network, result: &serde_json::Value) -> Result<Call> {
    let mut config = network.config()?;
    config["prevResult"] = result.clone();
    Ok(del.clone().config(&config))
}

#[test]
fn an_unmarked_link_at_a_path_that_was_given_to_a_new_sandbox_stays() {
    on_each_store("del-reused", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let call = |id: &str| -> Result<Call> {
            Ok(network.call("ADD")?.container(id).pod(&pod).args(POD))
        };
        let old = call("c1")?.result()?;
        let new = call("c2")?.result()?;
        unmark(network, &new)?;
        let late = call("c1")?.verb("DEL");
        let key = format!("{RESOURCES}/clusterinformations/default");
        let ready = network.store().dump()?.0[&key].clone();
        network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(false))?;
        ensure!(del_with(&late, network, &old)?.error()?.0 == 11, "the store is locked");
        network.store().put(&key, &ready.to_string())?;
        for del in [del_with(&late, network, &old)?, late.clone(), late.without("CNI_NETNS")] {
            del.done()?;
            network.check_pod(&addresses(&new)?, |to| pod.ping(to))?;
        }
        del_with(&call("c2")?.verb("DEL"), network, &new)?.done()?;
        before.nothing_left()
    });
}

#[test]
fn an_unmarked_link_stays_with_its_container_though_all_names_agree() {
    on_each_store("del-namesake", |network| {
        let before = network.before()?;
        let [pod, other] = ["p1", "p2"].map(|name| network.host().pod(name));
        let (pod, other) = (pod?, other?);
        let result = network.add(&pod, "f00dcafe012aaaa")?;
        let link = unmark(network, &result)?;
        let works = || network.check_pod(&addresses(&result)?, |to| pod.ping(to));
        let namesake = network.call("DEL")?.container("f00dcafe012bbbb");
        for del in [namesake.clone().pod(&pod), namesake.clone()] {
            del.done()?;
            works()?;
        }
        // Nor does its ADD take the link, nor another interface of the same container.
        namesake.clone().verb("ADD").pod(&other).result()?;
        works()?;
        namesake.clone().pod(&other).done()?;
        let net1 = network.call("ADD")?.container("f00dcafe012aaaa").pod(&pod).ifname("net1");
        net1.result()?;
        works()?;
        net1.verb("DEL").done()?;
        works()?;
        ensure!(has_link(network, &link)?);
        network.del(&pod, "f00dcafe012aaaa")?;
        before.nothing_left()
    });
}

#[test]
fn an_unmarked_link_goes_wherever_its_path_leads_and_whatever_it_is_called() {
    on_each_store("del-turned", |network| {
        let [pod, other] = ["p1", "p2"].map(|name| network.host().pod(name));
        let (pod, other) = (pod?, other?);
        let stays = network.add(&other, "c2")?;
        let before = network.before()?;
        for marks in [true, false] {
            let result = network.add(&pod, ID)?;
            let link = unmark(network, &result)?;
            let del = match marks {
                // The path leads to another container by now.
                true => network.call("DEL")?.container(ID).pod(&other),
                false => {
                    let host = network.host();
                    host.run(["ip", "link", "set", "dev", &link, "down", "name", "renamed0"])?;
                    network.call("DEL")?.container(ID).pod(&pod)
                }
            };
            del.done()?;
            network.check_pod(&addresses(&stays)?, |to| other.ping(to))?;
            before.nothing_left()?;
        }
        network.del(&other, "c2")
    });
}

#[test]
fn the_link_of_another_container_stays_though_all_names_agree() {
    on_each_store("del-foreign", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        // The ids begin alike, and the path of the namespace was given to somebody else.
        let result = network.add(&pod, "f00dcafe012aaaa")?;
        for del in [
            network.call("DEL")?.container("f00dcafe012bbbb").pod(&pod),
            network.call("DEL")?.container("f00dcafe012bbbb"),
            network.call("DEL")?.container("f00dcafe012bbbb").pod(&pod).args(POD),
        ] {
            del.done()?;
            network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        }
        network.del(&pod, "f00dcafe012aaaa")?;
        before.nothing_left()
    });
}

#[test]
fn an_interface_that_is_not_ours_stays_though_it_has_the_name() {
    on_each_store("del-not-ours", |network| {
        let pod = network.host().pod("p1")?;
        pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"])?;
        let before = network.before()?;
        for args in ["", POD] {
            network.call("DEL")?.container(ID).pod(&pod).args(args).done()?;
            pod.run(["ip", "link", "show", "eth0"])?;
        }
        let netns = format!("/run/netns/{}", pod.name());
        pod.run(["ip", "link", "del", "eth0"])?;
        let made = "ip link add foreign0 type veth peer name eth0 netns p1";
        network.host().run(made.split(' '))?;
        network.call("DEL")?.container(ID).env("CNI_NETNS", &netns).done()?;
        network.host().run(["ip", "link", "del", "foreign0"])?;
        before.nothing_left()
    });
}

#[test]
fn the_namespace_of_the_host_itself_is_left_alone() {
    on_each_store("del-host", |network| {
        let before = network.before()?;
        let call = network.call("DEL")?.container(ID).ifname("uplink0");
        let answer = call.env("CNI_NETNS", "/proc/1/ns/net").run()?;
        ensure!(Kernel::of_host(network.host())?.link("uplink0").is_some(), "{answer:#?}");
        before.nothing_left()
    });
}

#[test]
fn a_damaged_endpoint_keeps_nobody() {
    on_each_store("del-damaged", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for (args, suffix) in [("", "-c1-eth0"), (POD, "-web-eth0")] {
            let add = network.call("ADD")?.container(ID).pod(&pod).args(args);
            add.result()?;
            let (key, _) = network.store().endpoint(suffix)?;
            network.store().change(&key, |endpoint| endpoint["spec"]["ports"] = json!("none"))?;
            add.clone().verb("DEL").done()?;
            before.nothing_left()?;
            add.result()?;
            network.store().put(&key, "no JSON at all")?;
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        // Of a damaged endpoint, too, it counts whose it is.
        let add = network.call("ADD")?.container(ID).pod(&pod).args(POD);
        add.result()?;
        let (key, _) = network.store().endpoint("-web-eth0")?;
        network.store().change(&key, |endpoint| endpoint["spec"]["ports"] = json!("none"))?;
        add.clone().verb("DEL").container("c0").done()?;
        ensure!(network.store().dump()?.0.contains_key(&key), "another sandbox's endpoint is gone");
        add.verb("DEL").done()?;
        before.nothing_left()
    });
}

#[test]
fn ids_that_upstream_cannot_name_are_no_failure() {
    on_each_store("del-ids", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for (id, ifname) in [("Under_Score.1", "eth0"), (ID, "Eth_0")] {
            network.call("DEL")?.container(id).ifname(ifname).pod(&pod).done()?;
        }
        before.nothing_left()
    });
}

#[test]
fn calico_ipam_releases_as_often_as_it_is_asked() {
    on_each_store("del-ipam", |network| {
        let before = network.before()?;
        let config = network.config()?;
        let ipam = |verb: &str| {
            let call = Call::new(network.host(), "calico-ipam", verb).config(&config);
            call.env("CNI_NETNS", "b").ifname("c").env("CNI_PATH", "d")
        };
        ipam("DEL").done()?;
        ipam("ADD").result()?;
        ipam("DEL").done()?;
        ipam("DEL").done()?;
        before.nothing_left()
    });
}
