//! containerd's CRI service, as a kubelet calls it. It calls `loopback` from the same folder, and
//! DEL twice: the second time with an empty `CNI_NETNS`.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use tests::{Containerd, Cri, Network, Sandbox, scene};

#[test]
fn cri_on_the_standalone_configuration() {
    scene("cri-standalone", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn cri_on_etcd() {
    scene("cri-etcd", |scene| play(&Network::etcd(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let containerd = Containerd::start(network.host(), network.conflist())?;
    let before = network.before()?;
    let cri = Cri::connect(&containerd)?;

    let first = cri.run("shop", "cart-0", 0)?;
    let sandbox = check(network, &cri, &first)?;
    let dump = network.store().dump()?;
    let name =
        "/calico/resources/v3/projectcalico.org/workloadendpoints/shop/node--a-k8s-cart--0-eth0";
    ensure!(dump.0.contains_key(name), "the pod's endpoint has another name: {dump:#?}");
    cri.stop(&first)?;
    ensure!(!cri.status(&first)?.ready, "stopped, and still ready");
    // A kubelet stops a sandbox as often as it likes.
    cri.stop(&first)?;

    // The pod comes back as another sandbox before the first one is removed.
    let second = cri.run("shop", "cart-0", 1)?;
    check(network, &cri, &second)?;
    cri.remove(&first)?;
    let again = check(network, &cri, &second)?;
    ensure!(!sandbox.ip.is_empty() && !again.ip.is_empty());
    cri.stop(&second)?;
    cri.remove(&second)?;
    before.nothing_left()
}

/// Checks a running sandbox in its namespace: the only one of the host.
fn check(network: &Network, cri: &Cri, id: &str) -> Result<Sandbox> {
    let sandbox = cri.status(id)?;
    ensure!(sandbox.ready, "{sandbox:?}");
    let mut addresses: Vec<IpAddr> = vec![sandbox.ip.parse().context("no first address")?];
    for more in &sandbox.additional_ips {
        addresses.push(more.parse()?);
    }
    let host = network.host();
    let listed = host.run(["ip", "netns", "list"])?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let [name] = names[..] else { anyhow::bail!("not one namespace: {listed}") };
    network.check_pod(&addresses, |to| {
        let to = to.to_string();
        host.run(["ip", "netns", "exec", name, "ping", "-n", "-c1", "-w5", &to]).map(drop)
    })?;
    Ok(sandbox)
}
