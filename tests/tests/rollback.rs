//! An ADD that fails leaves nothing, wherever it fails (`reference/cni-plugin.md` section 10, fixes
//! 7, 8, 17 and 31).

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    Answer, Before, Network, Pod, Proxy, RESOURCES, Stores, addresses, objects, on_each_store,
    scene,
};

const ID: &str = "c1";

/// Sets the local store up, so that its pools are there.
fn set_up(network: &Network) -> Result<()> {
    let pod = network.host().pod("set-up")?;
    network.add(&pod, "set-up")?;
    network.del(&pod, "set-up")?;
    pod.remove()
}

fn v4_pool(network: &Network) -> Result<(String, IpNet)> {
    let dump = network.store().dump()?;
    let folder = format!("{RESOURCES}/ippools/");
    for (key, pool) in dump.under(&folder) {
        let cidr: IpNet = pool["spec"]["cidr"].as_str().context("no cidr")?.parse()?;
        if cidr.addr().is_ipv4() {
            return Ok((key.to_owned(), cidr));
        }
    }
    anyhow::bail!("no IPv4 pool")
}

#[test]
fn a_host_route_that_leads_elsewhere_is_a_conflict_that_names_its_owner() {
    on_each_store("undo-route", |network| {
        set_up(network)?;
        let (_, cidr) = v4_pool(network)?;
        let address = cidr.hosts().nth(77).context("a small pool")?;
        let pod = network.host().pod("p1")?;
        let route = ["ip", "route", "add", &address.to_string(), "dev", "uplink0"];
        network.host().run(route)?;
        let before = network.before()?;
        let add = network.call("ADD")?.container(ID).pod(&pod).args(&format!("IP={address}"));
        let (code, message) = add.error()?;
        ensure!(code == 102 && message.contains("uplink0"), "{code} {message}");
        ensure!(message.contains(&address.to_string()), "{message}");
        before.nothing_left()?;
        // One whose link is down is a leftover, and is replaced.
        network.host().run(["ip", "route", "del", &address.to_string()])?;
        let link = "ip link add old0 type veth peer name old1";
        network.host().run(link.split(' '))?;
        network.host().run(["ip", "link", "set", "old0", "up"])?;
        network.host().run(["ip", "route", "add", &address.to_string(), "dev", "old0"])?;
        let result = add.result()?;
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        network.del(&pod, ID)
    });
}

#[test]
fn every_address_of_a_container_gets_its_route_though_felix_was_quicker_with_one() {
    on_each_store("undo-felix", |network| {
        set_up(network)?;
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        let ips = addresses(&result)?;
        ensure!(ips.len() == 2);
        // Rebuilt with the routes of the first address there already: both work.
        pod.run(["ip", "link", "del", "eth0"])?;
        let again = network.add(&pod, ID)?;
        ensure!(addresses(&again)? == ips);
        network.check_pod(&ips, |to| pod.ping(to))
    });
}

#[test]
fn an_interface_name_that_is_taken_leaves_nothing() {
    on_each_store("undo-name", |network| {
        set_up(network)?;
        let pod = network.host().pod("p1")?;
        pod.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1"])?;
        let before = network.before()?;
        for args in ["", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"] {
            let (code, message) =
                network.call("ADD")?.container(ID).pod(&pod).args(args).error()?;
            ensure!(code == 101 && message.contains("eth0"), "{code} {message}");
            before.nothing_left()?;
            pod.run(["ip", "link", "show", "eth0"])?;
        }
        Ok(())
    });
}

#[test]
fn a_full_pool_leaves_nothing() {
    on_each_store("undo-full", |network| {
        set_up(network)?;
        let (key, cidr) = v4_pool(network)?;
        let small = IpNet::new(cidr.network(), 30)?;
        network.store().delete(&key)?;
        network.put([objects::pool("small", &small.to_string(), 30)])?;
        let pods: Vec<_> = (0..5)
            .map(|number| network.host().pod(&format!("p{number}")))
            .collect::<Result<_>>()?;
        for (number, pod) in pods.iter().take(4).enumerate() {
            network.add(pod, &format!("c{number}"))?;
        }
        let before = network.before()?;
        let (code, message) = network.call("ADD")?.container("c4").pod(&pods[4]).error()?;
        ensure!(code == 104, "{code} {message}");
        ensure!(message.contains(&small.to_string()), "{message}");
        before.nothing_left()?;
        network.del(&pods[2], "c2")?;
        network.add(&pods[4], "c4").map(drop)
    });
}

#[test]
fn pools_that_do_not_fit_leave_nothing() {
    on_each_store("undo-pools", |network| {
        set_up(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for (member, pools, code, names) in [
            ("ipv4_pools", json!(["fd00:77::/64"]), 7, "fd00:77::/64"),
            ("ipv6_pools", json!(["10.77.0.0/16"]), 7, "10.77.0.0/16"),
            ("ipv4_pools", json!(["10.77.0.0/16"]), 0, "(10.77.0.0/16) does not exist"),
            ("ipv4_pools", json!(["nobodys"]), 0, "nobodys"),
        ] {
            let mut config = network.config()?;
            config["ipam"][member] = pools;
            let add = network.call("ADD")?.container(ID).pod(&pod).config(&config);
            let (found, message) = add.error()?;
            ensure!(code == 0 || found == code, "{found} {message}");
            ensure!(message.contains(names), "{found} {message}");
            before.nothing_left().with_context(|| message)?;
        }
        Ok(())
    });
}

#[test]
fn a_second_interface_that_fails_gives_its_address_back_and_harms_nobody() {
    on_each_store("undo-net1", |network| {
        let pod = network.host().pod("p1")?;
        let first = addresses(&network.add(&pod, ID)?)?;
        network.host().run(["ip", "link", "set", "lo", "up"])?;
        let before = network.before()?;
        // Takes every further address of the pool, as far as the allocator looks first.
        let (_, cidr) = v4_pool(network)?;
        let block = IpNet::new(first[0], 26)?.trunc();
        ensure!(cidr.contains(&block));
        for address in block.hosts().filter(|address| *address != first[0]) {
            network.host().run(["ip", "route", "add", &address.to_string(), "dev", "uplink0"])?;
        }
        for address in [block.network(), block.broadcast()] {
            if address != first[0] {
                network.host().run([
                    "ip",
                    "route",
                    "add",
                    &address.to_string(),
                    "dev",
                    "uplink0",
                ])?;
            }
        }
        let (code, message) =
            network.call("ADD")?.container(ID).pod(&pod).ifname("net1").error()?;
        ensure!(code == 102, "{code} {message}");
        let left = before.left()?;
        ensure!(left.iter().all(|line| line.starts_with("left in route4")), "{left:#?}");
        network.check_pod(&first, |to| pod.ping(to))
    });
}

/// The IPAM plugin `recorder`, a script that appends its verbs to `/run/verbs`.
fn recorder(network: &mut Network, add: &str) -> Result<()> {
    network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "recorder"});
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >> /run/verbs\n\
         test $CNI_COMMAND = ADD || exit 0\n{add}\n"
    );
    network.host().install("recorder", script)
}

fn verbs(network: &Network) -> Result<String> {
    let path = network.host().path("/run/verbs");
    let verbs = std::fs::read_to_string(&path)?.split_whitespace().collect::<Vec<_>>().join(" ");
    std::fs::remove_file(path)?;
    Ok(verbs)
}

/// An ADD that gets a signal once its IPAM plugin has written a file, and fails of it.
fn interrupted(network: &Network, pod: &Pod, file: &str, signal: Signal) -> Result<Answer> {
    let running = network.call("ADD")?.container(ID).pod(pod).start()?;
    let file = network.host().path(file);
    while !file.exists() {
        thread::yield_now();
    }
    running.signal(signal)?;
    let answer = running.answer()?;
    let (code, message) = answer.error()?;
    ensure!(code == 11 && message.contains("signal"), "{code} {message}");
    Ok(answer)
}

#[test]
fn another_ipam_plugin_that_fails_is_called_back_and_nothing_is_left() {
    on_each_store("undo-delegate", |network| {
        set_up(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for (script, code, names) in [
            (r#"echo '{"code": 77, "msg": "no lease"}'; exit 1"#, 77, "no lease"),
            ("echo oops; exit 1", 104, "recorder"),
            ("exit 0", 104, "recorder"),
            (r#"echo '{"cniVersion": "1.0.0", "ips": []}'"#, 104, "gave no address"),
            (r#"echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.2"}]}'"#, 104, "recorder"),
            ("kill -9 $$", 104, "recorder"),
        ] {
            recorder(network, script)?;
            let (found, message) = network.call("ADD")?.container(ID).pod(&pod).error()?;
            ensure!(found == code && message.contains(names), "{script}: {found} {message}");
            ensure!(verbs(network)? == "ADD DEL", "{script}");
            before.nothing_left().context(script)?;
        }
        Ok(())
    });
}

#[test]
fn a_signal_ends_an_add_that_waits_for_another_ipam_plugin() {
    on_each_store("undo-hanging", |network| {
        set_up(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        recorder(network, "exec sleep 1000")?;
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            // It hangs once it has said so.
            let answer = interrupted(network, &pod, "/run/verbs", signal)?;
            ensure!(answer.elapsed < Duration::from_secs(10), "it took {:?}", answer.elapsed);
            ensure!(verbs(network)? == "ADD DEL");
            before.nothing_left().with_context(|| signal.to_string())?;
        }
        Ok(())
    });
}

#[test]
fn a_signal_lets_another_ipam_plugin_finish_what_it_has_begun() {
    on_each_store("undo-half", |network| {
        set_up(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        // What is killed in its pause leaves a reservation that names nobody, as host-local does.
        recorder(network, "echo > /run/lease; sleep 0.3; echo $CNI_CONTAINERID > /run/lease")?;
        interrupted(network, &pod, "/run/lease", Signal::SIGTERM)?;
        ensure!(verbs(network)? == "ADD DEL");
        let lease = network.host().path("/run/lease");
        let written = std::fs::read_to_string(&lease)?;
        ensure!(written.trim() == ID, "{written:?}");
        std::fs::remove_file(lease)?;
        before.nothing_left()
    });
}

#[test]
fn a_signal_ends_an_add_that_queues_for_the_lock() {
    on_each_store("undo-queue", |network| {
        set_up(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let path = network.host().path("/run/calico/ipam.lock");
        let file = std::fs::File::options().write(true).open(path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let running = network.call("ADD")?.container(ID).pod(&pod).start()?;
        running.until_thread("lock")?;
        running.signal(Signal::SIGTERM)?;
        let (code, message) = running.answer()?.error()?;
        ensure!(code == 11 && message.contains("signal"), "{code} {message}");
        before.nothing_left()?;
        drop(lock);
        network.add(&pod, ID)?;
        network.del(&pod, ID)?;
        before.nothing_left()
    });
}

#[test]
fn a_signal_ends_an_add_that_waits_for_a_silent_store() {
    scene("undo-silent", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        etcd.pause()?;
        let running = network.call("ADD")?.container(ID).pod(&pod).start()?;
        let connected = || network.host().run(["ss", "-Htn", "dport", "=", ":2379"]);
        while connected()?.is_empty() {
            thread::yield_now();
        }
        running.signal(Signal::SIGTERM)?;
        let (code, _) = running.answer()?.error()?;
        ensure!(code == 11);
        etcd.resume()?;
        before.nothing_left()
    });
}

#[test]
fn first_adds_at_once_share_the_profile_that_one_of_them_makes() {
    scene("undo-profile", |scene| {
        let mut network = Network::etcd(scene)?;
        // host-local, so that no lock of ours keeps them apart.
        network.conflist_mut()["plugins"][0]["ipam"] =
            json!({"type": "host-local", "subnet": "10.1.0.0/24"});
        let before = network.before()?;
        let pods: Vec<_> = (0..8)
            .map(|number| network.host().pod(&format!("p{number}")))
            .collect::<Result<_>>()?;
        let running: Vec<_> = pods
            .iter()
            .map(|pod| network.call("ADD")?.container(pod.name()).pod(pod).start())
            .collect::<Result<_>>()?;
        for running in running {
            let answer = running.answer()?;
            ensure!(answer.exit == Some(0), "{answer:#?}");
        }
        let dump = network.store().dump()?;
        ensure!(dump.endpoints().len() == 8);
        let folder = format!("{RESOURCES}/profiles/");
        ensure!(dump.under(&folder).count() == 1, "{dump:#?}");
        for pod in &pods {
            network.del(pod, pod.name())?;
        }
        before.nothing_left()
    });
}

#[test]
fn a_store_that_dies_at_any_point_is_owed_nothing_after_the_next_verb() {
    scene("undo-dying", |scene| {
        let network = Network::etcd(scene)?;
        set_up(&network)?;
        let before = network.before()?;
        let mut survived = 0;
        for pieces in 0..24 {
            let pod = network.host().pod(&format!("p{pieces}"))?;
            let proxy = Proxy::before(network.host(), 2379, pieces)?;
            let mut config = network.config()?;
            config["etcd_endpoints"] = json!(proxy.endpoint());
            let add = network.call("ADD")?.container(ID).pod(&pod).config(&config);
            let answer = add.clone().limit(Duration::from_secs(40)).run()?;
            if answer.exit == Some(0) {
                survived += 1;
            } else {
                let (code, message) = answer.error()?;
                ensure!(proxy.is_gone(pieces), "{code} {message}");
                ensure!(code == 11, "{code} {message}");
                ensure!(pod.run(["ip", "link", "show", "eth0"]).is_err(), "the link is left");
                // Somebody else's verb is enough to settle it.
                network.call("DEL")?.container("other").pod(&pod).done()?;
                before.nothing_left().with_context(|| format!("after {pieces} pieces"))?;
            }
            network.del(&pod, ID)?;
            before.nothing_left().with_context(|| format!("after {pieces} pieces"))?;
            if survived > 2 {
                return Ok(());
            }
        }
        anyhow::bail!("no ADD got through")
    });
}

#[test]
fn the_namespace_of_the_host_itself_is_refused_before_anything_is_done() {
    on_each_store("undo-host", |network| {
        set_up(network)?;
        let before = Before::of(network.host(), network.store())?;
        let answer =
            network.call("ADD")?.container(ID).env("CNI_NETNS", "/proc/self/ns/net").run()?;
        let (code, message) = answer.error()?;
        ensure!(code == 8 && message.contains("CNI_NETNS"), "{code} {message}");
        let value: Value = serde_json::from_str(&answer.stdout)?;
        ensure!(value["ips"].is_null(), "a result was printed: {value:#}");
        before.nothing_left()
    });
}
