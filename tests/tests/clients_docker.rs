//! `scripts/docker-net`, with a stand-in for the `docker` command: an engine can't be had where the
//! tests run. The script asks it for nothing but the id and the process of a container.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tests::{LIMIT, Network, addresses, command, scene};

#[test]
fn docker_net_on_the_standalone_configuration() {
    scene("docker-net", |scene| play(&Network::standalone(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let host = network.host();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let script = std::fs::read(script.join("scripts/docker-net"))?;
    host.write("/opt/docker-net", script)?;
    host.write("/etc/cni/net.d/10-calico.conflist", network.conflist().to_string())?;
    // What `docker run --net=none` leaves: a process in a namespace of its own.
    let pod = host.pod("web")?;
    host.run(["setsid", "--fork", "ip", "netns", "exec", "web", "sleep", "1000"])?;
    let process = host.processes()?.into_iter().find(|(_, line)| line.ends_with("sleep 1000"));
    let (process, _) = process.context("no process in the container")?;
    let engine = |process: u32| -> Result<()> {
        let id = "0123456789abcdef".repeat(4);
        let shim = format!(
            "#!/bin/sh\n[ \"$*\" = \"inspect --format {{{{.Id}}}} {{{{.State.Pid}}}} web\" ] \
             || exit 9\necho {id} {process}\n"
        );
        host.write("/opt/shim/docker", shim)?;
        host.run(["chmod", "755", "/opt/shim/docker", "/opt/docker-net"]).map(drop)
    };
    let docker_net = |args: &[&str]| {
        let mut script = command("/opt/docker-net");
        script.args(args).env("PATH", "/opt/shim:/usr/bin:/bin");
        host.output(script, b"", LIMIT)
    };
    engine(process)?;
    let before = network.before()?;
    let added = docker_net(&["add", "web"])?;
    ensure!(added.status.success(), "add: {}", added.text());
    let result = serde_json::from_slice(&added.stdout)?;
    network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
    let deleted = docker_net(&["del", "web"])?;
    ensure!(deleted.status.success() && deleted.stdout.is_empty(), "del: {}", deleted.text());
    before.nothing_left()?;

    // A container that has ended has no process: it can be taken away, but not added.
    docker_net(&["add", "web"])?;
    engine(0)?;
    let deleted = docker_net(&["del", "web"])?;
    ensure!(deleted.status.success(), "del of an ended container: {}", deleted.text());
    before.nothing_left()?;
    let added = docker_net(&["add", "web"])?;
    ensure!(!added.status.success() && added.text().contains("not running"), "{}", added.text());
    Ok(())
}
