//! containerd's own command line: `ctr run --cni`. It calls DEL with an empty `CNI_NETNS`.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{Attached, Containerd, Network, scene};

#[test]
fn ctr_on_the_standalone_configuration() {
    scene("ctr-standalone", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn ctr_on_etcd() {
    scene("ctr-etcd", |scene| play(&Network::etcd(scene)?));
}

#[test]
fn ctr_on_etcd_with_tls() {
    scene("ctr-etcd-tls", |scene| play(&Network::etcd_tls(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let containerd = Containerd::start(network.host(), network.conflist())?;
    let before = network.before()?;
    let (a, b) = (containerd.run("a1")?, containerd.run("b1")?);
    for container in [&a, &b] {
        network.check_pod(&addresses(network, container)?, |to| {
            container.exec(&["/bin/ping", "-c", "1", "-w", "5", &to.to_string()]).map(drop)
        })?;
    }
    a.end()?;
    b.end()?;
    before.nothing_left()
}

/// The addresses of a container, out of its endpoint; they must be on its interface.
fn addresses(network: &Network, container: &Attached) -> Result<Vec<std::net::IpAddr>> {
    let dump = network.store().dump()?;
    let id = Value::from(format!("default-{}", container.id()));
    let endpoint =
        dump.endpoints().into_iter().find(|endpoint| endpoint["spec"]["containerID"] == id);
    let endpoint = endpoint.with_context(|| format!("no endpoint of {id} in {dump:#?}"))?;
    let shown = container.exec(&["/bin/ip", "address", "show", "eth0"])?;
    let networks = endpoint["spec"]["ipNetworks"].as_array().context("no networks")?;
    networks
        .iter()
        .map(|network| {
            let network = network.as_str().context("no text")?;
            anyhow::ensure!(shown.contains(network), "{network} is not on eth0:\n{shown}");
            Ok(network.parse::<ipnet::IpNet>()?.addr())
        })
        .collect()
}
