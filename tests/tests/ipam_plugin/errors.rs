//! Errors that explain themselves: what was asked, what stands in the way, what to do.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Network, objects, on_both_stores};

use crate::{call, dual, taken};

on_both_stores! {
    an_exhausted_pool_is_accounted_for
    an_exhausted_family_takes_nothing_of_the_other
    strict_affinity_and_limits_are_named
    a_node_that_is_unknown_is_named
    what_no_address_can_be_is_refused
}

fn all_in(message: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(message.contains(word), "no {word:?}: {message}");
    }
    Ok(())
}

fn an_exhausted_pool_is_accounted_for(network: &Network) -> Result<()> {
    let (off, mut disabled) = objects::pool("pool-off", "192.170.0.0/24", 26);
    disabled["spec"]["disabled"] = json!(true);
    let (gpu, mut selective) = objects::pool("pool-gpu", "192.171.0.0/24", 26);
    selective["spec"]["nodeSelector"] = json!("has(gpu)");
    // Four blocks of two. Node b owns one of them, and lends.
    let (cooling, mut config) = objects::ipam_config(false, true, 0);
    config["ipCooldownSeconds"] = json!(3600);
    network.put([
        objects::node("node-b"),
        objects::pool("pool-a", "192.168.0.0/29", 31),
        objects::reservation("one", &["192.168.0.0/32"]),
        (off, disabled),
        (gpu, selective),
        (cooling, config),
    ])?;
    let mut other = network.config()?;
    other["nodename"] = json!("node-b");
    network.ipam("ADD")?.config(&other).container("b1").result()?;
    // Seven addresses aren't reserved: one is b's, and six are left, of which one is borrowed.
    for n in 1..=6 {
        call(network, "ADD", json!({}))?.container(&format!("c{n}")).result()?;
    }
    call(network, "DEL", json!({}))?.container("c1").done()?;
    let (code, message) = call(network, "ADD", json!({}))?.container("c7").error()?;
    ensure!(code == 104, "{code}: {message}");
    all_in(
        &message,
        &[
            "Assigned 0 out of 1 requested IPv4 addresses",
            "No IPs available in pools: [192.168.0.0/29]",
            "pool pool-a 192.168.0.0/29: 4 of 4 blocks used, 3 by node node-a",
            "6 in use",
            "1 borrowed by this node",
            "1 cooling down",
            "1 reserved",
            "0 free in blocks of others",
            "pool pool-off 192.170.0.0/24: disabled",
            "pool pool-gpu 192.171.0.0/24: its nodeSelector does not match the node",
            "calicoctl ipam show --show-blocks",
        ],
    )?;
    ensure!(!message.contains('\n'), "{message}");
    Ok(())
}

fn an_exhausted_family_takes_nothing_of_the_other(network: &Network) -> Result<()> {
    network.put([
        objects::pool("pool-v4", "192.168.0.0/24", 26),
        objects::pool("pool-v6", "fd00::/128", 128),
    ])?;
    dual(network, "ADD")?.container("c1").result()?;
    let (_, message) = dual(network, "ADD")?.container("c2").error()?;
    all_in(&message, &["IPv6", "pool-v6 fd00::/128: 1 of 1 blocks used", "1 in use"])?;
    ensure!(!message.contains("IPv4"), "{message}");
    ensure!(taken(network)? == 2);
    dual(network, "DEL")?.container("c2").done()
}

fn strict_affinity_and_limits_are_named(network: &Network) -> Result<()> {
    network.put([
        objects::node("node-b"),
        objects::pool("pool-a", "192.168.0.0/30", 31),
        objects::ipam_config(true, true, 0),
    ])?;
    let mut other = network.config()?;
    other["nodename"] = json!("node-b");
    network.ipam("ADD")?.config(&other).container("b1").result()?;
    for container in ["c1", "c2"] {
        call(network, "ADD", json!({}))?.container(container).result()?;
    }
    let add = call(network, "ADD", json!({}))?.container("c3");
    let (_, message) = add.error()?;
    all_in(&message, &["strict affinity", "pool-a", "1 free in blocks of others"])?;

    network.put([objects::ipam_config(true, true, 1)])?;
    let (_, message) = add.error()?;
    all_in(&message, &["limit of 1 blocks", "node-a", "calicoctl ipam show --show-blocks"])?;
    network.put([objects::ipam_config(true, false, 0)])?;
    let (_, message) = add.error()?;
    all_in(&message, &["failed to find or claim a block", "autoAllocateBlocks is false"])
}

fn a_node_that_is_unknown_is_named(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "192.168.0.0/24", 26)])?;
    // A local store registers its own node by itself.
    let mut config = network.config()?;
    config["nodename"] = json!("node-x");
    let answer = network.ipam("ADD")?.config(&config).run()?;
    match network.store() {
        tests::Stores::Local(_) => ensure!(answer.exit == Some(0), "{answer:?}"),
        tests::Stores::Etcd(_) => {
            let (_, message) = answer.error()?;
            all_in(&message, &["node-x", "nodename"])?;
        }
    }
    Ok(())
}

fn what_no_address_can_be_is_refused(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "192.168.0.0/24", 26)])?;
    for (ip, words) in [
        ("192.168.0.256", ["192.168.0.256", "no IP address"]),
        ("host", ["host", "no IP address"]),
        ("10.0.0.1", ["not in a configured pool", "pool-a 192.168.0.0/24"]),
    ] {
        let add = call(network, "ADD", json!({}))?.args(&format!("IP={ip}"));
        let (_, message) = add.error()?;
        all_in(&message, &words)?;
    }
    for (ipam, words) in [
        (json!({"assign_ipv4": "false"}), ["assign_ipv4", "assign_ipv6"]),
        (json!({"assign_ipv4": true}), ["assign_ipv4", "string"]),
        (json!({"ipv4_pools": ["fd00::/64"]}), ["IPv4", "fd00::/64"]),
        (json!({"ipv4_pools": ["nowhere"]}), ["nowhere", "does not exist"]),
    ] {
        let (_, message) = call(network, "ADD", ipam)?.error()?;
        all_in(&message, &words)?;
    }
    ensure!(taken(network)? == 0);
    Ok(())
}
