//! `calicoctl ipam` as an operator runs it, on both stores (`reference/calicoctl.md` section 6).

#[path = "calicoctl_ipam/check.rs"]
mod check;
#[path = "calicoctl_ipam/explain.rs"]
mod explain;
#[path = "calicoctl_ipam/golden.rs"]
mod golden;
#[path = "calicoctl_ipam/map.rs"]
mod map;
#[path = "calicoctl_ipam/release.rs"]
mod release;
#[path = "calicoctl_ipam/split.rs"]
mod split;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::objects::{self, Object};
use tests::{Network, RESOURCES, addresses, on_both_stores};

on_both_stores! {
    programs_get_every_number
}

/// The pool that most tests have, with blocks of four addresses.
const POOL: &str = "10.66.0.0/28";

/// Gives addresses of the pool to these containers of `node-a`, one each.
fn containers(network: &Network, ids: &[&str]) -> Result<Vec<String>> {
    network.put([objects::pool("pool-a", POOL, 30)])?;
    add(network, ids)
}

/// Gives an address to each of these containers.
fn add(network: &Network, ids: &[&str]) -> Result<Vec<String>> {
    let mut given = Vec::new();
    for id in ids {
        let result = network.ipam("ADD")?.container(id).result()?;
        given.extend(addresses(&result)?.iter().map(ToString::to_string));
    }
    Ok(given)
}

/// An endpoint of `node-a` with this address.
fn endpoint(name: &str, ip: &str) -> Object {
    let length = if ip.contains(':') { 128 } else { 32 };
    let value = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"node": "node-a", "orchestrator": "cni", "containerID": name,
                 "endpoint": "eth0", "ipNetworks": [format!("{ip}/{length}")]},
    });
    (format!("{RESOURCES}/workloadendpoints/default/{name}"), value)
}

/// What a command prints as JSON.
fn json_of(network: &Network, line: &str) -> Result<Value> {
    Ok(serde_json::from_str(&network.ctl(line).ok()?)?)
}

/// A pool of IPv6 has more addresses than 64 bits count.
fn programs_get_every_number(network: &Network) -> Result<()> {
    containers(network, &["c1"])?;
    network
        .put([objects::pool("six", "fd00:66::/64", 122), objects::ipam_config(true, true, 2)])?;
    let usage = network.ctl("ipam show --show-blocks -o json").ok()?;
    ensure!(usage.contains("\"capacity\": 18446744073709551616"), "{usage}");
    let usage: Value = serde_json::from_str(&usage)?;
    ensure!(usage["pools"][0]["blocks"][0]["usage"]["inUse"] == 1, "{usage}");
    let config = json_of(network, "ipam show --show-configuration -o json")?;
    ensure!(config["strictAffinity"] == true && config["maxBlocksPerHost"] == 2, "{config}");
    let free = json_of(network, "ipam show --ip 10.66.0.15 -o json")?;
    ensure!(free["inUse"] == false && free["handle"].is_null(), "{free}");
    let borrowed = json_of(network, "ipam show --show-borrowed -o json")?;
    ensure!(borrowed["borrowed"] == json!([]), "{borrowed}");
    let set = json_of(network, "ipam configure --ip-cooldown-seconds 30 -o json")?;
    ensure!(set["ipCooldownSeconds"] == 30, "{set}");
    let explained = network.ctl("ipam explain --node node-a -6").ok()?;
    ensure!(explained.contains("0 of 2^58 blocks"), "{explained}");
    Ok(())
}
