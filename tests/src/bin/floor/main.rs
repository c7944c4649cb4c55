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
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use netutils::Netlink;
use nix::sched::{CloneFlags, setns};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use requests::Socket;

/// What `calico` sets of the host's end, for IPv4.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("conf", "route_localnet", "1"),
    ("neigh", "proxy_delay", "0"),
    ("conf", "proxy_arp", "1"),
    ("conf", "forwarding", "1"),
    ("conf", "rp_filter", "1"),
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
    Settings::open()?.write("ip_forward", "0")?;
    setns(&home, CloneFlags::CLONE_NEWNET)?;

    let (host_index, index) = host.create_pair(host_name, &ifname, &netns)?;
    // While the interface is down nobody is told, and the kernel doesn't look through all routes.
    host.set_alias(host_index, alias)?;
    // Nor does it when this end comes first: the other one makes the carrier.
    host.set_up(host_index)?;
    let settings = Settings::open()?;
    for (folder, key, value) in SETTINGS {
        settings.write(&format!("{folder}/{host_name}/{key}"), value)?;
    }
    let accept_ra = format!("/proc/sys/net/ipv6/conf/{host_name}/accept_ra");
    fs::write(&accept_ra, "0").with_context(|| accept_ra.clone())?;
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

/// The calling thread's `/proc/sys/net/ipv4`.
///
/// PERF: it is looked up once. All namespaces' folders of this name are in one chain of the kernel's,
/// the host's at its end: among 1,000 pods each way through it takes 0.1 ms, and the first 0.4 ms.
struct Settings(OwnedFd);

impl Settings {
    fn open() -> Result<Settings> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open("/proc/sys/net/ipv4", flags, Mode::empty());
        Ok(Settings(folder.context("/proc/sys/net/ipv4")?))
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty());
        let file = file.with_context(|| name.to_owned())?;
        rustix::io::write(&file, value.as_bytes()).with_context(|| name.to_owned())?;
        Ok(())
    }
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
