//! cnitool, the CNI project's own client of its library.

use anyhow::{Context, Result};
use tests::{LIMIT, Network, addresses, command, scene, tool};

#[test]
fn cnitool_on_the_standalone_configuration() {
    scene("cnitool-standalone", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn cnitool_on_etcd() {
    scene("cnitool-etcd", |scene| play(&Network::etcd(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let host = network.host();
    host.write("/etc/cni/net.d/10-calico.conflist", network.conflist().to_string())?;
    let name = network.conflist()["name"].as_str().context("no name")?;
    // The host's own folders hide the machine's: the tool may be in one of them.
    host.write("/opt/cni/cnitool", std::fs::read(tool("cnitool")?)?)?;
    host.run(["chmod", "755", "/opt/cni/cnitool"])?;
    let before = network.before()?;
    let pod = host.pod("p1")?;
    let cnitool = |verb: &str| -> Result<String> {
        let mut tool = command("/opt/cni/cnitool");
        tool.env("CNI_PATH", "/opt/cni/bin").env("NETCONFPATH", "/etc/cni/net.d");
        tool.args([verb, name, &pod.path()]);
        let output = host.output(tool, b"", LIMIT)?;
        anyhow::ensure!(output.status.success(), "cnitool {verb}: {}", output.text());
        Ok(String::from_utf8(output.stdout)?)
    };
    let result = serde_json::from_str(&cnitool("add")?)?;
    network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
    cnitool("check")?;
    cnitool("del")?;
    cnitool("del")?;
    before.nothing_left()
}
