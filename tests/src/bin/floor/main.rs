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

/// What `calico` sets of the host's end for IPv4, by the numbers of <linux/ip.h>: `route_localnet`,
/// `proxy_arp`, `forwarding`, `rp_filter`.
const SETTINGS: [(u16, u32); 4] = [(26, 1), (3, 1), (1, 1), (8, 1)];

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
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").context("ip_forward")?;
    setns(&home, CloneFlags::CLONE_NEWNET)?;

    let (host_index, index) = host.create_pair(host_name, &ifname, &netns)?;
    // While the interface is down nobody is told, and the kernel doesn't look through all routes.
    host.set_alias(host_index, alias)?;
    let accept_ra = format!("/proc/sys/net/ipv6/conf/{host_name}/accept_ra");
    fs::write(&accept_ra, "0").with_context(|| accept_ra.clone())?;
    host.set_proxy_delay(host_index, 0)?;
    // Nor does it when this end comes first: the other one makes the carrier.
    host.set_up_with(host_index, &SETTINGS)?;
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
