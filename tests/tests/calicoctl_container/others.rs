//! Containers of an engine, and bare processes.

use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Ctl, Host, Network};

use crate::{endpoint, parse, pools, refuses, says};

tests::on_both_stores! {
    a_bare_process_is_a_container
    an_engine_names_containers
}

/// A stand-in for Docker's program, which answers what it is told to.
struct Engine<'a>(&'a Host);

impl Engine<'_> {
    fn on(host: &Host) -> Result<Engine<'_>> {
        host.run(["mkdir", "-p", "/opt/shim"])?;
        Ok(Engine(host))
    }

    /// Makes it know these containers: name, id, process, whether it runs, network mode.
    fn knows(&self, containers: &[(&str, &str, u32, bool, &str)]) -> Result<()> {
        let mut script =
            "#!/bin/sh\n[ \"$1 $2 $3 $4\" = 'inspect --type container --' ] || exit 9\n".to_owned();
        for (name, id, pid, running, mode) in containers {
            let answer = json!([{
                "Id": id, "Name": format!("/{name}"),
                "State": {"Running": running, "Pid": pid},
                "HostConfig": {"NetworkMode": mode},
            }]);
            script += &format!("case \"$5\" in {name}|{id}) echo '{answer}'; exit 0;; esac\n");
        }
        script += "echo \"Error: No such container: $5\" >&2\nexit 1\n";
        self.is(&script)
    }

    fn is(&self, script: &str) -> Result<()> {
        self.0.write("/opt/shim/docker", script)?;
        self.0.run(["chmod", "755", "/opt/shim/docker"]).map(drop)
    }

    fn ctl(&self, network: &Network, line: &str) -> Ctl {
        network.ctl(line).env("PATH", "/opt/shim:/bin.none")
    }
}

/// The number of a process in a namespace of its own.
fn unshared(host: &Host) -> Result<u32> {
    host.run(["setsid", "--fork", "unshare", "--net", "sleep", "1000"])?;
    let started = Instant::now();
    loop {
        let process = host.processes()?.into_iter().find(|(_, line)| line == "sleep 1000");
        if let Some((pid, _)) = process {
            return Ok(pid);
        }
        ensure!(started.elapsed() < tests::LIMIT, "no process");
        thread::yield_now();
    }
}

fn a_bare_process_is_a_container(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pid = unshared(host)?;
    let before = network.before()?;
    says(
        network.ctl(&format!("container add {pid} 10.65.0.5")),
        &format!("IP 10.65.0.5 added to {pid}\n"),
    )?;
    network.check_pod(&[parse("10.65.0.5")?], |to| {
        let target = pid.to_string();
        let ping = ["ping", "-n", "-c", "1", "-w", "5", &to.to_string()].map(str::to_owned);
        let enter = ["nsenter", "--net", "--target", &target].map(str::to_owned);
        host.run(enter.into_iter().chain(ping)).map(drop)
    })?;
    // The same namespace by another name.
    refuses(
        network.ctl(&format!("container add /proc/{pid}/ns/net 10.65.0.6")),
        &format!("/proc/{pid}/ns/net has already been configured with Calico Networking."),
    )?;
    // The process ends, and with it the interface; the store is told later.
    host.run(["kill", "-KILL", &pid.to_string()])?;
    host.run(["timeout", "20", "sh", "-c", &format!("while [ -e /proc/{pid} ]; do :; done")])?;
    let engine = Engine::on(host)?;
    engine.knows(&[])?;
    refuses(
        engine.ctl(network, &format!("container remove {pid}")),
        &format!("Container {pid} was not found."),
    )?;
    refuses(
        network.ctl(&format!("container remove /proc/{pid}/ns/net")),
        &format!("Container /proc/{pid}/ns/net was not found."),
    )?;
    says(
        network.ctl(&format!("container remove /proc/{pid}/ns/net --force")),
        &format!("Removed Calico interface from /proc/{pid}/ns/net\n"),
    )?;
    let left: Vec<_> =
        before.left()?.into_iter().filter(|what| !what.starts_with("process")).collect();
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

fn an_engine_names_containers(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pid = unshared(host)?;
    let engine = Engine::on(host)?;
    let id = "0123456789abcdef".repeat(4);
    let before = network.before()?;
    engine.knows(&[
        ("web", &id, pid, true, "none"),
        ("old", "aaaa", 0, false, "none"),
        ("proxy", "bbbb", pid, true, "host"),
    ])?;
    says(engine.ctl(network, "container add web 10.65.0.5"), "IP 10.65.0.5 added to web\n")?;
    host.ping(parse("10.65.0.5")?)?;
    let stored = endpoint(network)?;
    ensure!(stored["spec"]["workload"] == json!(id), "{stored:#}");
    ensure!(stored["metadata"]["labels"]["calicoctl/container"] == "web", "{stored:#}");
    refuses(
        engine.ctl(network, &format!("container add {id} 10.65.0.6")),
        &format!("{id} has already been configured with Calico Networking."),
    )?;
    for (line, reason) in [
        ("container add nobody 10.65.0.6", "Container nobody was not found."),
        ("container nobody endpoint-id show", "Container nobody was not found."),
        ("container add old 10.65.0.6", "old is not currently running."),
        ("container old ip add 10.65.0.6", "old is not currently running."),
        (
            "container add proxy 10.65.0.6",
            "Can't add proxy to Calico because it is running NetworkMode = host.",
        ),
        ("container remove old", "Container old is unknown to Calico."),
        ("container old endpoint-id show", "No endpoint was found for old"),
        ("container old profile append web", "old doesn't contain any endpoints"),
    ] {
        refuses(engine.ctl(network, line), reason)?;
    }
    // The engine has forgotten it: by its name, by the beginning of its id, and never a wrong one.
    engine.knows(&[])?;
    refuses(engine.ctl(network, "container remove web"), "Container web was not found.")?;
    refuses(
        engine.ctl(network, "container remove db --force"),
        "Container db is unknown to Calico.",
    )?;
    says(
        engine.ctl(network, "container remove web --force"),
        "Removed Calico interface from web\n",
    )?;
    before.nothing_left()?;
    engine.knows(&[("web", &id, pid, true, "none")])?;
    engine.ctl(network, "container add web ipv4").ok()?;
    engine.knows(&[("web", &id, 0, false, "none")])?;
    says(engine.ctl(network, "container remove web"), "Removed Calico interface from web\n")?;
    before.nothing_left()?;
    engine.knows(&[("web", &id, pid, true, "none")])?;
    engine.ctl(network, "container add web ipv4").ok()?;
    engine.knows(&[])?;
    // Less than engines print of an id could be anything.
    refuses(
        engine.ctl(network, "container remove 0123456789 --force"),
        "Container 0123456789 is unknown to Calico.",
    )?;
    engine.ctl(network, "container remove 0123456789ab --force").ok()?;
    before.nothing_left()?;

    // An engine that can't be asked is no container that doesn't exist.
    engine.is(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///run/x.' >&2; exit 1",
    )?;
    refuses(
        engine.ctl(network, "container add web ipv4"),
        "Container web was not found. docker: Cannot connect to the Docker daemon at \
         unix:///run/x.",
    )?;
    refuses(
        network.ctl("container add web ipv4").env("PATH", "/nowhere"),
        "Container web was not found. Neither docker nor podman is in PATH: give the path of its \
         network namespace, or the number of one of its processes.",
    )?;
    before.nothing_left()
}
