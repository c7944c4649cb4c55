//! `calicoctl node run --init-only`: a host becomes a node (`reference/bgp-node.md` section 6), on
//! both stores, and the plugins work with what it leaves.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Backend, Ctl, Host, Network, RESOURCES, Stores, addresses, scene};

tests::on_both_stores! {
    a_host_with_many_interfaces_becomes_a_node
    each_method_finds_its_address
    a_dry_run_changes_nothing
    who_has_an_address_is_asked
    a_locked_store_is_left_alone
}

/// `node run` with the logs in a folder of the host's own.
fn run(network: &Network, line: &str) -> Ctl {
    network.ctl(&format!("node run --log-dir /var/lib/logs {line}"))
}

fn node(network: &Network, name: &str) -> Result<Value> {
    let dump = network.store().dump()?;
    let node = dump.0.get(&format!("{RESOURCES}/nodes/{name}"));
    node.cloned().with_context(|| format!("no node {name}"))
}

fn pool(network: &Network, name: &str) -> Result<Option<Value>> {
    Ok(network.store().dump()?.0.get(&format!("{RESOURCES}/ippools/{name}")).cloned())
}

/// Interfaces beside the host's uplink0: `name address…` each, in the order of their numbers.
fn interfaces(host: &Host, list: &[&str]) -> Result<()> {
    for (number, line) in list.iter().enumerate() {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let far = format!("far{number}");
        host.run(["ip", "link", "add", name, "type", "veth", "peer", "name", &far])?;
        for link in [name, &far] {
            host.run(["ip", "link", "set", link, "addrgenmode", "none", "up"])?;
        }
        for address in words {
            let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            let command = ["ip", "address", "add", address, "dev", name];
            host.run(command.into_iter().chain(nodad.iter().copied()))?;
        }
    }
    Ok(())
}

fn a_host_with_many_interfaces_becomes_a_node(network: &Network) -> Result<()> {
    let host = network.host();
    interfaces(
        host,
        &["eth1 10.1.0.5/24 10.1.0.6/24 fd01::5/64", "docker0 172.17.0.1/16", "cali9 10.9.9.9/32"],
    )?;
    // The harness has put some of it there; upstream's calico/node would start with less.
    network.remove(&format!("{RESOURCES}/clusterinformations/default"))?;
    network.remove(&format!("{RESOURCES}/nodes/node-a"))?;
    fs::remove_file(host.path("/var/lib/calico/nodename")).ok();
    let call = run(network, "--init-only --ip6 autodetect --as 64999");
    let first = call.run()?;
    ensure!(first.exit == Some(0) && first.stderr.is_empty(), "{first:?}");
    for line in [
        "node name: node-a (from the host's name)",
        "IPv4 address: 10.1.0.5/24 (autodetected on eth1)",
        "IPv6 address: fd01::5/64 (autodetected on eth1)",
        "default pool default-ipv4-ippool: 192.168.0.0/16",
        "create ClusterInformation(default)",
        "create IPPool(default-ipv4-ippool)",
        "create Node(node-a)",
        "write /var/lib/calico/nodename",
        "create the folder /var/lib/logs",
        "Calico node node-a is registered.",
    ] {
        ensure!(first.stdout.lines().any(|other| other == line), "no {line:?} in {first:?}");
    }
    let expected = json!({
        "asNumber": 64999, "ipv4Address": "10.1.0.5/24", "ipv6Address": "fd01::5/64"
    });
    ensure!(node(network, "node-a")?["spec"]["bgp"] == expected);
    ensure!(fs::read_to_string(host.path("/var/lib/calico/nodename"))? == "node-a");
    ensure!(host.path("/run/calico").is_dir() && host.path("/var/lib/logs").is_dir());
    let keys: Vec<String> = network.store().dump()?.0.into_keys().collect();
    let has = |kind: &str, name: &str| keys.contains(&format!("{RESOURCES}/{kind}/{name}"));
    ensure!(has("bgpconfigurations", "default") && has("felixconfigurations", "default"));
    ensure!(has("ipamconfigurations", "default") && has("tiers", "default"));
    let is_etcd = matches!(network.store(), Stores::Etcd(_));
    ensure!(has("felixconfigurations", "node.node-a") == is_etcd, "{keys:?}");
    let v6 = pool(network, "default-ipv6-ippool")?.context("no IPv6 pool")?;
    ensure!(v6["spec"]["cidr"].as_str().is_some_and(|cidr| cidr.starts_with("fd")), "{v6}");

    // Again: nothing.
    let before = network.store().dump()?;
    let second = call.ok()?;
    ensure!(network.store().dump()? == before, "the second call has changed something");
    ensure!(!second.contains("create") && !second.contains("write"), "{second}");

    // The plugins find all that they need.
    let pod = host.pod("p1")?;
    let given = addresses(&network.add(&pod, "c1")?)?;
    ensure!(given.iter().any(|address| address.to_string().starts_with("192.168.")), "{given:?}");
    network.del(&pod, "c1")?;
    ensure!(network.store().dump()?.pools()?.len() == 2, "the plugins have made pools");
    Ok(())
}

fn each_method_finds_its_address(network: &Network) -> Result<()> {
    interfaces(
        network.host(),
        &["eth1 10.1.0.5/24 fd01::5/64", "eth2 10.2.0.5/24", "docker0 172.17.0.1/16"],
    )?;
    network.host().run("ip route add 198.51.100.0/24 via 10.1.0.1 dev eth1".split(' '))?;
    for (method, expected) in [
        ("first-found", "10.2.0.5/24"),
        ("can-reach=198.51.100.9", "10.1.0.5/24"),
        ("interface=uplink.*", "192.0.2.1/24"),
        ("interface=docker0", "172.17.0.1/16"),
        ("skip-interface=eth2", "10.1.0.5/24"),
        ("cidr=10.7.0.0/16,192.0.2.0/24", "192.0.2.1/24"),
    ] {
        let line = format!("--init-only --ip autodetect --ip-autodetection-method {method}");
        run(network, &line).ok()?;
        let found = node(network, "node-a")?["spec"]["bgp"]["ipv4Address"].take();
        ensure!(found == expected, "{method}: {found}");
    }
    let call = run(network, "--init-only").env("IP6", "autodetect");
    call.env("IP6_AUTODETECTION_METHOD", "can-reach=fd01::9").ok()?;
    let found = node(network, "node-a")?["spec"]["bgp"]["ipv6Address"].take();
    ensure!(found == "fd01::5/64", "{found}");
    // What can't be reached says so, and the address is given back.
    let error = run(network, "--init-only")
        .env("IP", "autodetect")
        .env("IP_AUTODETECTION_METHOD", "can-reach=203.0.113.1")
        .refused()?;
    ensure!(
        error.starts_with("failed to autodetect an IPv4 address: no IPv4 route to 203.0.113.1"),
        "{error}"
    );
    let bgp = node(network, "node-a")?["spec"]["bgp"].take();
    ensure!(bgp == json!({"ipv6Address": "fd01::5/64"}), "{bgp}");
    for (line, names) in [
        ("--init-only --ip 300.1.2.3", "--ip \"300.1.2.3\""),
        ("--init-only --ip-autodetection-method=guess", "first-found, can-reach=DEST"),
        ("--init-only --backend gobgp", "use bird or none"),
        ("--init-only --name Node_1", "Node_1"),
    ] {
        let error = run(network, line).refused()?;
        ensure!(error.contains(names) && error.lines().count() == 1, "{line}: {error}");
    }
    Ok(())
}

fn a_dry_run_changes_nothing(network: &Network) -> Result<()> {
    let host = network.host();
    interfaces(host, &["eth1 192.168.5.1/24"])?;
    let before = network.store().dump()?;
    let nodename = || fs::read_to_string(host.path("/var/lib/calico/nodename")).ok();
    let name = nodename();
    let said = run(network, "--init-only --dryrun --name node-b").ok()?;
    for line in [
        "IPv4 address: 192.168.5.1/24 (autodetected on eth1)",
        "default pool default-ipv4-ippool: 172.16.0.0/16",
        "would create Node(node-b)",
        "would write /var/lib/calico/nodename",
        "would create the folder /var/lib/logs",
        "Nothing was changed.",
    ] {
        ensure!(said.lines().any(|other| other == line), "no {line:?} in {said}");
    }
    ensure!(network.store().dump()? == before && nodename() == name);
    ensure!(!host.path("/var/lib/logs").exists());
    // The daemon isn't there yet: both say so, and do nothing.
    let said = run(network, "--dryrun --as 64999").ok()?;
    ensure!(
        said.contains("would update Node(node-a)") && said.contains("a later release"),
        "{said}"
    );
    let error = run(network, "").refused()?;
    ensure!(error.contains("--init-only") && error.lines().count() == 1, "{error}");
    ensure!(network.store().dump()? == before);
    Ok(())
}

fn who_has_an_address_is_asked(network: &Network) -> Result<()> {
    run(network, "--init-only").ok()?;
    let refusal = "Calico node 'node-a' is already using the IPv4 address 192.0.2.1.\n";
    let answer = run(network, "--init-only --name node-b").run()?;
    ensure!(answer.exit == Some(1) && answer.stderr == refusal, "{answer:?}");
    ensure!(node(network, "node-b").is_err());
    // Nothing on the host says that it is another node now.
    let name = fs::read_to_string(network.host().path("/var/lib/calico/nodename"))?;
    ensure!(name == "node-a", "{name}");
    let call = run(network, "--init-only --name node-b").env("DISABLE_NODE_IP_CHECK", "true");
    let answer = call.run()?;
    ensure!(answer.exit == Some(0), "{answer:?}");
    let warning = "warning: /var/lib/calico/nodename says that this node is node-a; from now on it \
                   is node-b\n";
    ensure!(answer.stderr == warning, "{answer:?}");
    ensure!(node(network, "node-b")?["spec"]["bgp"]["ipv4Address"] == "192.0.2.1/24");
    // The file is the name from now on, and obsolete flags are passed over aloud.
    let answer =
        run(network, "--init-only --libnetwork --node-image x --ip none --ip6 2001:db8::1")
            .run()?;
    ensure!(answer.exit == Some(0), "{answer:?}");
    ensure!(
        answer.stdout.contains("node name: node-b (from /var/lib/calico/nodename)"),
        "{answer:?}"
    );
    ensure!(
        answer.stderr.contains("libnetwork") && answer.stderr.contains("--node-image"),
        "{answer:?}"
    );
    let bgp = node(network, "node-b")?["spec"]["bgp"].take();
    ensure!(bgp == json!({"ipv6Address": "2001:db8::1/64"}), "{bgp}");
    Ok(())
}

fn a_locked_store_is_left_alone(network: &Network) -> Result<()> {
    let key = format!("{RESOURCES}/clusterinformations/default");
    network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(false))?;
    let before = network.store().dump()?;
    let error = run(network, "--init-only").refused()?;
    ensure!(
        error.contains("locked") && error.contains("calicoctl datastore migrate unlock"),
        "{error}"
    );
    ensure!(network.store().dump()? == before);
    network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(true))
}

#[test]
fn a_fresh_host_needs_no_other_command() {
    scene("node-run-fresh", |scene| {
        let network = Network::standalone(scene)?;
        let said = run(&network, "--init-only --dryrun").ok()?;
        ensure!(said.contains("would create Node(node-a)"), "{said}");
        ensure!(
            !network.host().path("/var/lib/calico/calico.db").exists(),
            "a dry run made a store"
        );
        run(&network, "--init-only").env("CALICO_IPV4POOL_CIDR", "10.44.0.0/16").ok()?;
        let pod = network.host().pod("p1")?;
        let given = addresses(&network.add(&pod, "c1")?)?;
        ensure!(given.iter().any(|address| address.to_string().starts_with("10.44.")), "{given:?}");
        network.del(&pod, "c1")
    });
}

#[test]
fn it_waits_for_a_datastore_if_it_is_told_to() {
    scene("node-run-waits", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        etcd.kill()?;
        let error = run(&network, "--init-only").refused()?;
        ensure!(error.contains("127.0.0.1:2379"), "{error}");
        let call = run(&network, "--init-only").env("WAIT_FOR_DATASTORE", "true");
        let host: Arc<Host> = network.host().clone();
        let is_asking = || -> Result<bool> {
            Ok(host.processes()?.iter().any(|(_, line)| line.contains("calicoctl node run")))
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| call.ok());
            while !is_asking()? && !waiting.is_finished() {}
            etcd.restart()?;
            let said = waiting.join().map_err(|_| anyhow::anyhow!("panic"))??;
            ensure!(said.contains("Calico node node-a is registered."), "{said}");
            Ok(())
        })
    });
}
