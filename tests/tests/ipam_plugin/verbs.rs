//! What the verbs do beyond the acceptance list: repeated ADD, CHECK, STATUS, GC, VERSION.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, objects, on_both_stores};

use crate::{call, dual, networks, only, put_pools, taken};

on_both_stores! {
    a_repeated_add_answers_what_it_has
    a_wrong_memory_releases_nobody_elses_address
    check_of_what_is_held_released_and_another_nodes
    status_says_whether_an_add_would_succeed
    gc_keeps_valid_attachments_other_networks_and_other_nodes
    gc_needs_no_list_of_nothing
    version_answers_what_it_speaks
}

fn a_repeated_add_answers_what_it_has(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = dual(network, "ADD")?;
    let first = add.result()?;
    let dump = network.store().dump()?;
    ensure!(add.result()? == first && add.result()? == first);
    ensure!(network.store().dump()? == dump, "a repeated ADD wrote something");
    // Another container gets another address.
    let other = add.clone().container("c2").result()?;
    ensure!(networks(&other)? != networks(&first)?);
    add.verb("DEL").done()?;
    ensure!(taken(network)? == 2);
    Ok(())
}

/// DEL gets the result of ADD back from the runtime, which may be out of date.
fn a_wrong_memory_releases_nobody_elses_address(network: &Network) -> Result<()> {
    put_pools(network)?;
    let (ours, theirs) = (call(network, "ADD", json!({}))?, call(network, "ADD", json!({}))?);
    let theirs = theirs.container("c2");
    let (_, second) = (ours.result()?, theirs.result()?);
    let before = network.store().dump()?;
    let wrong = newer(network, "DEL", "1.0.0", json!({"prevResult": second}))?;
    wrong.clone().container("c3").done()?;
    ensure!(network.store().dump()? == before);
    wrong.done()?;
    ensure!(theirs.result()? == second, "another container's address went");
    ensure!(taken(network)? == 1);
    let unreadable = json!({"prevResult": {"cniVersion": "1.0.0", "ips": "none"}});
    newer(network, "DEL", "1.0.0", unreadable)?.container("c2").done()?;
    ensure!(taken(network)? == 0);
    Ok(())
}

/// A call in this version of the protocol with more members in the configuration.
fn newer(network: &Network, verb: &str, version: &str, members: Value) -> Result<Call> {
    let mut config = network.config()?;
    config["cniVersion"] = json!(version);
    for (name, value) in members.as_object().context("no object")? {
        config[name] = value.clone();
    }
    Ok(network.ipam(verb)?.config(&config))
}

fn check_of_what_is_held_released_and_another_nodes(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = call(network, "ADD", json!({}))?;
    let result = add.result()?;
    let address = only(&result)?;
    let check = newer(network, "CHECK", "1.0.0", json!({"prevResult": result}))?;
    check.done()?;

    // The block is another node's: that is borrowing, unless affinity is strict.
    let dump = network.store().dump()?;
    let (key, block) = dump.under("/calico/ipam/v2/assignment/").next().context("no block")?;
    let mut theirs = block.clone();
    theirs["affinity"] = json!("host:node-b");
    let affinity = key.replace("/assignment/", "/host/node-a/");
    let moved = affinity.replace("/node-a/", "/node-b/");
    let state = dump.0[&affinity].clone();
    network.put([(key.to_owned(), theirs), (moved.clone(), state.clone())])?;
    network.remove(&affinity)?;
    check.done()?;
    let (config, value) = objects::ipam_config(true, true, 0);
    network.put([(config.clone(), value)])?;
    let (code, message) = check.error()?;
    ensure!(message.contains("host:node-b") && message.contains(&address.to_string()), "{message}");
    ensure!(code >= 100, "{code}: {message}");
    network.put([(key.to_owned(), block.clone()), (affinity, state)])?;
    network.remove(&moved)?;
    check.done()?;

    add.verb("DEL").done()?;
    let (_, message) = check.error()?;
    ensure!(message.contains(&address.to_string()) && message.contains("calico.c1"), "{message}");
    // Somebody else's is not ours.
    add.clone().container("c2").args(&format!("IP={address}")).result()?;
    check.error()?;
    add.clone().container("c2").verb("DEL").done()
}

/// STATUS must fail with code 50 and these words, and ADD must fail too.
fn unavailable(network: &Network, words: &[&str]) -> Result<()> {
    let dump = network.store().dump()?;
    let (code, message) = newer(network, "STATUS", "1.1.0", json!({}))?.error()?;
    ensure!(code == 50, "{code}: {message}");
    for word in words.iter().chain(&["calicoctl"]) {
        ensure!(message.contains(word), "no {word:?}: {message}");
    }
    ensure!(network.store().dump()? == dump, "STATUS wrote something");
    call(network, "ADD", json!({}))?.container("other").error()?;
    Ok(())
}

fn status_says_whether_an_add_would_succeed(network: &Network) -> Result<()> {
    let status = || newer(network, "STATUS", "1.1.0", json!({}))?.done();
    unavailable(network, &["cannot find a qualified ippool", "IPv4", "create"])?;

    let (key, pool) = objects::pool("pool-a", "192.168.0.0/31", 31);
    network.put([(key.clone(), pool.clone())])?;
    status()?;

    for (field, value, words) in [
        ("disabled", json!(true), ["pool-a 192.168.0.0/31: disabled", "change"]),
        ("nodeSelector", json!("has(gpu)"), ["pool-a 192.168.0.0/31: its nodeSelector", "node-a"]),
        (
            "assignmentMode",
            json!("Manual"),
            ["pool-a 192.168.0.0/31: its assignmentMode", "change"],
        ),
        ("allowedUses", json!(["Tunnel"]), ["pool-a 192.168.0.0/31: not allowed", "change"]),
    ] {
        let mut other = pool.clone();
        other["spec"][field] = value;
        network.put([(key.clone(), other)])?;
        unavailable(network, &words)?;
    }
    network.put([(key, pool)])?;
    status()?;

    let (reserved, object) = objects::reservation("all", &["192.168.0.0/24"]);
    network.put([(reserved.clone(), object)])?;
    unavailable(network, &["pool-a", "2 reserved"])?;
    network.remove(&reserved)?;
    status()?;

    for container in ["c1", "c2"] {
        call(network, "ADD", json!({}))?.container(container).result()?;
    }
    unavailable(network, &["pool-a", "2 in use", "add a pool"])?;
    call(network, "DEL", json!({}))?.container("c1").done()?;
    status()?;

    // A store that is locked gives addresses to nobody.
    network.put([objects::cluster(false)])?;
    let (code, message) = newer(network, "STATUS", "1.1.0", json!({}))?.error()?;
    ensure!(code == 50 && message.contains("locked"), "{code}: {message}");
    network.put([objects::cluster(true)])?;
    status()
}

fn held(network: &Network) -> Result<BTreeSet<String>> {
    let dump = network.store().dump()?;
    let prefix = "/calico/ipam/v2/handle/";
    Ok(dump.handles().iter().map(|key| key.replace(prefix, "")).collect())
}

fn gc_keeps_valid_attachments_other_networks_and_other_nodes(network: &Network) -> Result<()> {
    put_pools(network)?;
    network.put([objects::node("node-b")])?;
    let add = |container: &str, members: Value| -> Result<()> {
        newer(network, "ADD", "1.1.0", members)?.container(container).result().map(drop)
    };
    for container in ["keep-1", "gone-1", "keep-2", "gone-2"] {
        add(container, json!({}))?;
    }
    add("gone-1", json!({"name": "calico.other"}))?;
    add("gone-3", json!({"name": "other"}))?;
    add("gone-4", json!({"nodename": "node-b"}))?;
    let valid = json!({"cni.dev/valid-attachments": [
        {"containerID": "keep-1", "ifname": "eth0"}, {"containerID": "keep-2", "ifname": "eth0"},
    ]});
    let gc = newer(network, "GC", "1.1.0", valid)?.without("CNI_NETNS").without("CNI_CONTAINERID");
    let left = ["calico.keep-1", "calico.keep-2", "calico.other.gone-1", "other.gone-3"];
    let left: BTreeSet<String> =
        left.into_iter().chain(["calico.gone-4"]).map(str::to_owned).collect();
    for _ in 0..2 {
        gc.done()?;
        ensure!(held(network)? == left, "{:?}", held(network)?);
        ensure!(taken(network)? == left.len());
    }
    Ok(())
}

/// Without the member nobody is valid or everybody is: upstream's library takes it for nobody.
fn gc_needs_no_list_of_nothing(network: &Network) -> Result<()> {
    put_pools(network)?;
    call(network, "ADD", json!({}))?.result()?;
    let gc = newer(network, "GC", "1.1.0", json!({"cni.dev/valid-attachments": []}))?;
    gc.done()?;
    ensure!(taken(network)? == 0 && held(network)?.is_empty());
    // The verb is newer than this configuration.
    let (code, _) = newer(network, "GC", "1.0.0", json!({}))?.error()?;
    ensure!(code == 1, "{code}");
    Ok(())
}

fn version_answers_what_it_speaks(network: &Network) -> Result<()> {
    let answer = network.ipam("VERSION")?.result()?;
    let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
    ensure!(answer == json!({"cniVersion": "1.0.0", "supportedVersions": versions}), "{answer}");
    put_pools(network)?;
    let mut given: Option<Vec<IpAddr>> = None;
    for version in versions {
        let result = newer(network, "ADD", version, json!({}))?.result()?;
        ensure!(result["cniVersion"] == version, "{result}");
        let text = match &result["ip4"]["ip"] {
            Value::String(text) => text.clone(),
            _ => result["ips"][0]["address"].as_str().context("no address")?.to_owned(),
        };
        let address = text.parse::<ipnet::IpNet>()?.addr();
        ensure!(*given.get_or_insert(vec![address]) == [address], "{result}");
    }
    Ok(())
}
