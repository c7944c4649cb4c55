//! `calico-ipam` as a runtime calls it, on both stores (`reference/ipam.md` sections 14 and 16.15).

#[path = "ipam_plugin/errors.rs"]
mod errors;
#[path = "ipam_plugin/golden.rs"]
mod golden;
#[path = "ipam_plugin/process.rs"]
mod process;
#[path = "ipam_plugin/rows.rs"]
mod rows;
#[path = "ipam_plugin/verbs.rs"]
mod verbs;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tests::{Call, Network, objects};

const V4: &str = "192.168.0.0/16";
const V6: &str = "fd80:24e2:f998:72d6::/64";

/// The pools of upstream's tests, one a family.
fn put_pools(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-v4", V4, 26), objects::pool("pool-v6", V6, 122)])
}

/// A call with these members of the `ipam` object.
fn call(network: &Network, verb: &str, ipam: Value) -> Result<Call> {
    let mut config = network.config()?;
    for (name, value) in ipam.as_object().context("no object")? {
        config["ipam"][name] = value.clone();
    }
    Ok(network.ipam(verb)?.config(&config))
}

/// A call that wants both families.
fn dual(network: &Network, verb: &str) -> Result<Call> {
    call(network, verb, json!({"assign_ipv4": "true", "assign_ipv6": "true"}))
}

/// The networks of a result, which has a route for each and nothing else.
fn networks(result: &Value) -> Result<Vec<IpNet>> {
    let members: Vec<&str> =
        result.as_object().context("no object")?.keys().map(String::as_str).collect();
    ensure!(members == ["cniVersion", "ips", "routes"], "{result}");
    let list = |member: &str, name: &str| -> Result<Vec<IpNet>> {
        let entries = result[member].as_array().context("no list")?;
        let one = |entry: &Value| {
            ensure!(entry.as_object().is_some_and(|entry| entry.len() == 1), "{entry}");
            Ok(entry[name].as_str().context("no text")?.parse()?)
        };
        entries.iter().map(one).collect()
    };
    let (ips, routes) = (list("ips", "address")?, list("routes", "dst")?);
    ensure!(ips == routes, "not a route for each address: {result}");
    Ok(ips)
}

/// The only address of a result.
fn only(result: &Value) -> Result<IpAddr> {
    let networks = networks(result)?;
    ensure!(networks.len() == 1, "{result}");
    Ok(networks[0].addr())
}

/// How many addresses are taken.
fn taken(network: &Network) -> Result<usize> {
    Ok(network.store().dump()?.allocations().len())
}
