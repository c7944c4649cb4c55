//! `ipam explain`: what it says is what the next ADD does, and it changes nothing.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Network, addresses, objects, on_both_stores};

use crate::{add, endpoint, json_of};

on_both_stores! {
    the_next_add_does_what_was_said
    every_pool_that_is_passed_over_is_told_why
    an_address_is_explained
}

/// What would be done next in a family.
fn next(network: &Network, node: &str) -> Result<Value> {
    let told = json_of(network, &format!("ipam explain --node {node} -4 -o json"))?;
    Ok(told["families"][0]["next"].clone())
}

fn the_next_add_does_what_was_said(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.66.0.0/29", 30), objects::node("node-b")])?;
    let mut seen = Vec::new();
    // Two blocks of four addresses: claimed, own, and borrowed once the own one is full.
    for round in 0..8 {
        let node = if round == 0 { "node-b" } else { "node-a" };
        let before = network.store().dump()?;
        let said = next(network, node)?;
        ensure!(network.store().dump()? == before, "an explanation changes nothing");
        let mut config = network.config()?;
        config["nodename"] = json!(node);
        let call = network.ipam("ADD")?.config(&config).container(&format!("c{round}"));
        let given = addresses(&call.result()?)?;
        let given = given.first().context("no address")?.to_string();
        ensure!(said["address"] == given.as_str(), "said {said}, given {given}");
        seen.push(said["how"].as_str().unwrap_or_default().to_owned());
    }
    let wanted = ["claimed", "claimed", "own", "own", "own", "borrowed", "borrowed", "borrowed"];
    ensure!(seen == wanted, "{seen:?}");
    let said = next(network, "node-a")?;
    let reason = said["reason"].as_str().context("there is an address")?;
    ensure!(reason.contains("No IPs available in pools: [10.66.0.0/29]"), "{reason}");
    let text = network.ctl("ipam explain --node node-a -4").ok()?;
    ensure!(text.contains("Next: no address: ") && text.contains("2 of 2 blocks"), "{text}");
    network.ctl("ipam configure --strictaffinity=true").ok()?;
    let text = network.ctl("ipam explain --node node-a").ok()?;
    ensure!(text.contains("Rules: strict affinity"), "{text}");
    ensure!(text.contains("strict affinity enabled"), "{text}");
    Ok(())
}

fn every_pool_that_is_passed_over_is_told_why(network: &Network) -> Result<()> {
    let pool = |name: &str, third: u8, field: &str, value: Value| {
        let (key, mut pool) = objects::pool(name, &format!("10.{third}.0.0/24"), 28);
        pool["spec"][field] = value;
        (key, pool)
    };
    let (key, mut node) = objects::node("node-a");
    node["metadata"]["labels"] = json!({"zone": "b", "gpu": "yes"});
    network.put([
        (key, node),
        pool("disabled", 1, "disabled", json!(true)),
        pool("labels", 2, "nodeSelector", json!("zone == 'a' && has(gpu) && !has(spot)")),
        pool("space", 3, "namespaceSelector", json!("team == 'red'")),
        pool("tunnels", 4, "allowedUses", json!(["Tunnel"])),
        pool("manual", 5, "assignmentMode", json!("Manual")),
        pool("good", 6, "disabled", json!(false)),
        objects::pool("six", "fd00:66::/120", 124),
    ])?;
    network.ctl("datastore lock").ok()?;
    let text = network.ctl("ipam explain --node node-a --namespace shop").ok()?;
    for part in [
        "Node node-a, labels: gpu=yes, zone=b\n",
        "The datastore is locked: no address is given",
        "  1. pool good 10.6.0.0/24\n",
        "pool disabled 10.1.0.0/24: passed over, disabled\n",
        "(zone == 'a' && has(gpu) && !has(spot)): the node misses zone == \"a\"\n",
        "(team == 'red'): the namespace misses team == \"red\"\n",
        "pool tunnels 10.4.0.0/24: passed over, not allowed for this use (allowedUses: Tunnel)\n",
        "pool manual 10.5.0.0/24: passed over, its assignmentMode is Manual",
        "IPv6\n  1. pool six fd00:66::/120\n",
    ] {
        ensure!(text.contains(part), "{part:?} is not in {text}");
    }
    network.ctl("datastore unlock").ok()?;
    let text = network.ctl("ipam explain --node node-a --namespace-label team=red -4").ok()?;
    ensure!(text.contains("2. pool space") && !text.contains("locked"), "{text}");
    let text = network.ctl("ipam explain --node node-a --use tunnel -4").ok()?;
    ensure!(text.contains("pool tunnels 10.4.0.0/24\n"), "{text}");
    let refused = network.ctl("ipam explain --node nobody").refused()?;
    ensure!(refused.starts_with("node nobody does not exist in the datastore"), "{refused}");
    Ok(())
}

fn an_address_is_explained(network: &Network) -> Result<()> {
    network.put([
        objects::pool("pool-a", "10.66.0.0/28", 30),
        objects::reservation("r", &["10.66.0.12/30"]),
    ])?;
    let ips = add(network, &["c1"])?;
    network.put([endpoint("w1", &ips[0])])?;
    let before = network.store().dump()?;
    let explain = |ip: &str| network.ctl(&format!("ipam explain --node node-a --ip {ip}")).ok();
    let held = explain(&ips[0])?;
    for part in [
        "is allocated: handle ",
        "  node: node-a\n",
        "It is in use by Workload(default/w1)",
        "could not have it",
    ] {
        ensure!(held.contains(part), "{part:?} is not in {held}");
    }
    let reserved = explain("10.66.0.13")?;
    ensure!(reserved.contains("10.66.0.13 is not allocated.\nIt is reserved"), "{reserved}");
    ensure!(
        reserved.contains("could have it by asking for it, out of block 10.66.0.12/30"),
        "{reserved}"
    );
    let outside = explain("10.99.0.1")?;
    ensure!(outside.contains("not in a configured pool"), "{outside}");
    let json = json_of(network, "ipam explain --node node-a --ip 10.66.0.13 -o json")?;
    ensure!(json["couldBeGiven"] == true && json["reserved"] == true, "{json}");
    ensure!(network.store().dump()? == before, "an explanation changes nothing");
    network.remove(&endpoint("w1", &ips[0]).0)
}
