//! The floor that `scripts/bench` measures against: what the kernel alone costs.
//!
//! It is called as a plugin is, changes of the kernel what `calico` changes for a container with one
//! IPv4 address, and answers. It has no store, looks nothing up, checks nothing, and takes nothing
//! back: the address comes from `CNI_ARGS`. ADD talks to the kernel by plain blocking sockets. DEL is
//! `netutils`' own removal: a plain request would sleep 25 ms longer than the interface lives.

mod requests;

use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use netutils::Netlink;
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use requests::Socket;

/// What `calico` sets of the host's end.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("ipv4/conf", "route_localnet", "1"),
    ("ipv4/neigh", "proxy_delay", "0"),
    ("ipv4/conf", "proxy_arp", "1"),
    ("ipv4/conf", "forwarding", "1"),
    ("ipv4/conf", "rp_filter", "1"),
    ("ipv6/conf", "accept_ra", "0"),
];

fn main() -> Result<()> {
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;
    let config: Value = serde_json::from_slice(&stdin).context("network configuration")?;
    let container = variable("CNI_CONTAINERID")?;
    let host_name = format!("cali{}", container.get(..11).unwrap_or(&container));
    match variable("CNI_COMMAND")?.as_str() {
        "ADD" => add(&config, &host_name, &format!("floor:{container}")),
        "DEL" => del(&host_name),
        other => bail!("the floor has no verb {other}"),
    }
}

fn add(config: &Value, host_name: &str, alias: &str) -> Result<()> {
    let ifname = variable("CNI_IFNAME")?;
    let address: Ipv4Addr = variable("CNI_ARGS")?
        .strip_prefix("IP=")
        .context("CNI_ARGS is to be IP=address")?
        .parse()
        .context("CNI_ARGS")?;
    let home = File::open("/proc/thread-self/ns/net")?;
    let path = variable("CNI_NETNS")?;
    let netns = File::open(&path).with_context(|| path.clone())?;
    let mut host = Socket::open()?;
    setns(&netns, CloneFlags::CLONE_NEWNET)?;
    let mut container = Socket::open()?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
    setns(&home, CloneFlags::CLONE_NEWNET)?;

    let (host_index, index) = host.create_pair(host_name, &ifname, &netns)?;
    host.set_alias(host_index, alias)?;
    for (folder, key, value) in SETTINGS {
        let path = format!("/proc/sys/net/{folder}/{host_name}/{key}");
        fs::write(&path, value).with_context(|| path.clone())?;
    }
    container.set_up(index)?;
    container.set_gateway(index)?;
    container.add_address(index, address)?;
    host.add_route_to(address, host_index)?;

    let answer = json!({
        "cniVersion": config["cniVersion"],
        "interfaces": [{"name": host_name}, {"name": ifname, "sandbox": path}],
        "ips": [{"interface": 1, "address": format!("{address}/32")}],
    });
    writeln!(io::stdout().lock(), "{answer}")?;
    Ok(())
}

fn del(host_name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Netlink::open()?;
        let link = host.link(host_name).await?.with_context(|| format!("no link {host_name}"))?;
        drop(host.remove_link(link.index).await?);
        Ok(())
    })
}

fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| name.to_owned())
}
