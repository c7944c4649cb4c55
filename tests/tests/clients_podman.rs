//! podman with its CNI backend.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Network, Podman, scene};

#[test]
fn podman_on_the_standalone_configuration() {
    scene("podman-standalone", |scene| play(&Network::standalone(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let name = network.conflist()["name"].as_str().unwrap_or_default().to_owned();
    let podman = Podman::new(network.host(), network.conflist())?;
    let before = network.before()?;
    for container in ["a1", "b1"] {
        podman.start(container, &name)?;
        let seen = &podman.inspect(container)?[0]["NetworkSettings"]["Networks"][&name];
        let addresses = addresses(seen)?;
        network.check_pod(&addresses, |to| {
            podman.exec(container, &["ping", "-c", "1", "-w", "5", &to.to_string()]).map(drop)
        })?;
    }
    for container in ["a1", "b1"] {
        podman.remove(container)?;
    }
    before.nothing_left()
}

/// The addresses that podman has taken out of the plugin's result.
fn addresses(seen: &Value) -> Result<Vec<IpAddr>> {
    let members = ["IPAddress", "GlobalIPv6Address"];
    let texts = members.iter().filter_map(|member| seen[member].as_str());
    let addresses: Vec<IpAddr> =
        texts.filter(|text| !text.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
    ensure!(!addresses.is_empty(), "podman knows no address: {seen}");
    Ok(addresses)
}
