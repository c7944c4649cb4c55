//! Chains of plugins: ours first, with Debian's portmap and bandwidth behind it; ours second; by
//! cnitool and by hand (`reference/cni-plugin.md` section 5.6).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Host, Kernel, LIMIT, Network, Pod, addresses, command, on_each_store, tool};

/// Where the plugins look for `iptables`.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What the runtime asks of portmap and bandwidth.
fn asked() -> Value {
    json!({
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {
            "ingressRate": 10_000_000, "ingressBurst": 1_000_000,
            "egressRate": 20_000_000, "egressBurst": 2_000_000,
        },
    })
}

/// The entries of the chain behind ours.
fn followers() -> [Value; 2] {
    [
        json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}),
        json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}),
    ]
}

/// One family: portmap's rules for the other one are its own affair.
fn v4_only(network: &mut Network) {
    network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "calico-ipam"});
}

fn rules(host: &Host) -> Result<String> {
    host.run(["iptables", "-t", "nat", "-S"])
}

/// What we answered is in a later plugin's answer, and first. (Debian's don't know the MTU yet.)
fn passed_on(ours: &Value, later: &Value) -> Result<()> {
    for member in ["interfaces", "ips", "routes"] {
        for (at, one) in ours[member].as_array().context("no list")?.iter().enumerate() {
            let there = &later[member][at];
            for (name, value) in one.as_object().context("no object")? {
                ensure!(name == "mtu" || there[name] == *value, "{member}: {there}, not {one}");
            }
        }
    }
    Ok(())
}

/// What portmap and bandwidth have made for a container is there and works.
fn is_wired(network: &Network, pod: &Pod, link: &str) -> Result<()> {
    let host = network.host();
    let rules = rules(host)?;
    ensure!(rules.contains("--dport 8080") && rules.contains("DNAT"), "{rules}");
    let qdiscs = host.run(["tc", "qdisc", "show", "dev", link])?;
    ensure!(qdiscs.contains("tbf") && qdiscs.contains("ingress"), "{qdiscs}");
    // From the host's port to the container's.
    let listener = pod.within(|| TcpListener::bind("0.0.0.0:80"))?;
    let served =
        thread::spawn(move || -> std::io::Result<()> { listener.accept()?.0.write_all(b"hello") });
    let to = SocketAddr::from((host.v4(), 8080));
    let heard = host.within(|| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut heard = String::new();
        stream.read_to_string(&mut heard)?;
        Ok(heard)
    })?;
    ensure!(heard == "hello", "{heard:?}");
    served.join().expect("no panic")?;
    Ok(())
}

/// Nothing of theirs is left: no mapping, no shaper. Their own empty chains stay.
fn is_unwired(network: &Network) -> Result<()> {
    let rules = rules(network.host())?;
    // Its own chains stay with portmap; the container's is called CNI-DN-…
    ensure!(!["8080", "CNI-DN-", "-j DNAT"].iter().any(|word| rules.contains(word)), "{rules}");
    let shapers = Kernel::of_host(network.host())?;
    let shaper = |link: &&Value| link["linkinfo"]["info_kind"] == "ifb";
    ensure!(shapers.entries("link").iter().find(shaper).is_none(), "a shaper is left");
    Ok(())
}

/// cnitool with a list of this network's name.
struct Cnitool<'a> {
    network: &'a Network,
    pod: &'a Pod,
    asked: Value,
}

impl<'a> Cnitool<'a> {
    fn new(network: &'a Network, pod: &'a Pod, list: &Value, asked: Value) -> Result<Cnitool<'a>> {
        let host = network.host();
        host.write("/etc/cni/net.d/10-calico.conflist", list.to_string())?;
        host.write("/opt/cni/cnitool", std::fs::read(tool("cnitool")?)?)?;
        host.run(["chmod", "755", "/opt/cni/cnitool"])?;
        Ok(Cnitool { network, pod, asked })
    }

    fn run(&self, verb: &str) -> Result<String> {
        let mut tool = command("/opt/cni/cnitool");
        tool.env("CNI_PATH", "/opt/cni/bin").env("NETCONFPATH", "/etc/cni/net.d");
        tool.env("CAP_ARGS", self.asked.to_string());
        let name = self.network.conflist()["name"].as_str().context("no name")?;
        tool.args([verb, name, &self.pod.path()]);
        let output = self.network.host().output(tool, b"", LIMIT)?;
        ensure!(output.status.success(), "cnitool {verb}: {}", output.text());
        Ok(String::from_utf8(output.stdout)?)
    }
}

#[test]
fn portmap_and_bandwidth_run_after_us_by_cnitool() {
    on_each_store("chain-tool", |network| {
        v4_only(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let mut list = network.conflist().clone();
        list["plugins"].as_array_mut().context("no plugins")?.extend(followers());
        let cnitool = Cnitool::new(network, &pod, &list, asked())?;
        let result: Value = serde_json::from_str(&cnitool.run("add")?)?;
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        let link = result["interfaces"][0]["name"].as_str().context("no name")?;
        is_wired(network, &pod, link)?;
        cnitool.run("del")?;
        is_unwired(network)?;
        cnitool.run("del")?;
        before.nothing_left()
    });
}

#[test]
fn portmap_and_bandwidth_run_after_us_by_hand() {
    on_each_store("chain-hand", |network| {
        v4_only(network);
        let before = network.before()?;
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        let ours = network.add(&pod, "c1")?;
        let call = |verb: &str, entry: &Value, previous: &Value| {
            let mut config = entry.clone();
            for (member, value) in [
                ("cniVersion", json!("1.0.0")),
                ("name", json!("calico")),
                ("runtimeConfig", asked()),
                ("prevResult", previous.clone()),
            ] {
                config[member] = value;
            }
            let plugin = entry["type"].as_str().unwrap_or_default();
            let call = Call::new(&host, plugin, verb).config(&config).container("c1").pod(&pod);
            call.env("PATH", PATH)
        };
        let [portmap, bandwidth] = followers();
        let mapped = call("ADD", &portmap, &ours).result()?;
        passed_on(&ours, &mapped)?;
        let last = call("ADD", &bandwidth, &mapped).result()?;
        passed_on(&ours, &last)?;
        is_wired(network, &pod, "calic1")?;
        // What they added to the result is not ours, and no finding. portmap isn't asked: Debian's
        // looks for IPv6 rules of a container that has IPv4 alone.
        network.check(&pod, "c1", &last)?.ifname("eth0").done()?;
        call("CHECK", &bandwidth, &last).done()?;
        for entry in [&bandwidth, &portmap] {
            call("DEL", entry, &last).done()?;
        }
        let del = network.call_with("DEL", "prevResult", &last)?.container("c1").pod(&pod);
        del.done()?;
        is_unwired(network)?;
        before.nothing_left()
    });
}

/// Ours comes second: what the first made stays in the answer, and CHECK and DEL take it as it is.
#[test]
fn we_run_after_another_plugin_by_cnitool() {
    on_each_store("chain-second", |network| {
        let before = network.before()?;
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        let first = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "net9", "sandbox": pod.path()}],
            "ips": [{"address": "10.9.0.7/24", "gateway": "10.9.0.1", "interface": 0}],
            "routes": [{"dst": "10.9.0.0/16", "gw": "10.9.0.1"}],
            "dns": {"nameservers": ["10.9.0.53"]},
        });
        let script = format!(
            "#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >> /run/first\n\
             [ $CNI_COMMAND = ADD ] && printf %s '{first}'\nexit 0\n"
        );
        host.install("first", script)?;
        let mut list = network.conflist().clone();
        list["plugins"].as_array_mut().context("no plugins")?.insert(0, json!({"type": "first"}));
        let cnitool = Cnitool::new(network, &pod, &list, json!({}))?;
        let result: Value = serde_json::from_str(&cnitool.run("add")?)?;
        for member in ["interfaces", "ips", "routes"] {
            ensure!(result[member][0] == first[member][0], "{member}: {result:#}");
        }
        ensure!(result["dns"] == first["dns"], "{result:#}");
        let names: Vec<&Value> = result["interfaces"]
            .as_array()
            .context("no list")?
            .iter()
            .map(|one| &one["name"])
            .collect();
        ensure!(names.len() == 3 && names[2] == "eth0", "{result:#}");
        let ours = addresses(&result)?.split_off(1);
        ensure!(ours.len() == 2 && result["ips"][1]["interface"] == 2, "{result:#}");
        network.check_pod(&ours, |to| pod.ping(to))?;
        cnitool.run("check")?;
        cnitool.run("del")?;
        let verbs = std::fs::read_to_string(host.path("/run/first"))?;
        ensure!(verbs == "ADD\nCHECK\nDEL\n", "{verbs:?}");
        before.nothing_left()
    });
}
