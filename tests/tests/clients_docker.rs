//! `scripts/docker-add` and `scripts/docker-remove`: with podman's `--network=none`, with a bare
//! process, and with a stand-in for the `docker` command, since an engine can't be had where the
//! tests run.

use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{LIMIT, Network, Output, Podman, Stores, command, objects};

tests::on_both_stores! {
    a_container_of_podman
    a_bare_process
    a_container_of_docker
}

/// Both scripts on a host.
struct Scripts<'a>(&'a Network);

impl Scripts<'_> {
    fn install(network: &Network) -> Result<Scripts<'_>> {
        network.put([
            objects::pool("pool-a", "10.65.0.0/24", 26),
            objects::pool("pool-v6", "fd00:65::/64", 122),
        ])?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository")?;
        for name in ["docker-add", "docker-remove"] {
            let script = std::fs::read(repository.join("scripts").join(name))?;
            network.host().write(&format!("/opt/scripts/{name}"), script)?;
            network.host().run(["chmod", "755", &format!("/opt/scripts/{name}")])?;
        }
        Ok(Scripts(network))
    }

    fn run(&self, name: &str, args: &[&str]) -> Result<Output> {
        let mut script = command(format!("/opt/scripts/{name}"));
        script.args(args).env("PATH", "/opt/shim:/opt/bin:/usr/bin:/bin");
        script.env("CONTAINERS_CONF", "/run/containers.conf").env("STORAGE_DRIVER", "vfs");
        match self.0.store() {
            Stores::Local(_) => script.env("DATASTORE_TYPE", "local"),
            Stores::Etcd(etcd) => script.env("ETCD_ENDPOINTS", etcd.endpoint()),
        };
        self.0.host().output(script, b"", LIMIT)
    }

    /// Adds a container; its address.
    fn add(&self, args: &[&str]) -> Result<IpAddr> {
        let output = self.run("docker-add", args)?;
        let said = output.text();
        ensure!(output.status.success(), "{args:?}: {said}");
        let words: Vec<&str> = said.split_whitespace().collect();
        ensure!(words[0] == "IP" && words[2..] == ["added", "to", args[0]], "{said}");
        words[1].parse().with_context(|| said.clone())
    }

    fn remove(&self, container: &str) -> Result<()> {
        let output = self.run("docker-remove", &[container])?;
        let said = format!("Removed Calico interface from {container}");
        ensure!(output.status.success() && output.text().trim() == said, "{}", output.text());
        Ok(())
    }
}

fn a_container_of_podman(network: &Network) -> Result<()> {
    let scripts = Scripts::install(network)?;
    let podman = Podman::new(network.host(), network.conflist())?;
    let before = network.before()?;
    let ids = ["web", "db"].map(|name| podman.start(name, "none"));
    let ids = ids.into_iter().collect::<Result<Vec<_>>>()?;
    let ping = |from: &str, to: IpAddr| {
        podman.exec(from, &["ping", "-c", "1", "-w", "5", &to.to_string()]).map(drop)
    };
    let web = scripts.add(&["web", "10.65.0.5"])?;
    // By the beginning of its id, as engines take it too.
    let db = scripts.add(&[&ids[1][..12], "ipv4", "net1"])?;
    network.check_pod(&[web], |to| ping("web", to))?;
    network.check_pod(&[db], |to| ping("db", to))?;
    ping("web", db)?;
    ping("db", web)?;
    let output = scripts.run("docker-add", &["web"])?;
    ensure!(output.text().contains("web has already been configured"), "{}", output.text());

    scripts.remove("db")?;
    podman.remove("db")?;
    // One that has ended is taken back by its name.
    podman.remove("web")?;
    scripts.remove("web")?;
    let left: Vec<_> = before.left()?;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

fn a_bare_process(network: &Network) -> Result<()> {
    let scripts = Scripts::install(network)?;
    let host = network.host();
    let pid = unshared(network)?.to_string();
    let before = network.before()?;
    let v6 = scripts.add(&[&pid, "ipv6"])?;
    network.check_pod(&[v6], |to| {
        let to = to.to_string();
        let ping = ["nsenter", "--net", "--target", &pid, "ping", "-n", "-c", "1", "-w", "5", &to];
        host.run(ping).map(drop)
    })?;
    scripts.remove(&pid)?;
    before.nothing_left()
}

fn a_container_of_docker(network: &Network) -> Result<()> {
    let scripts = Scripts::install(network)?;
    let host = network.host();
    let pid = unshared(network)?;
    let id = "0123456789abcdef".repeat(4);
    let answer = json!([{
        "Id": id, "Name": "/web", "State": {"Running": true, "Pid": pid},
        "HostConfig": {"NetworkMode": "none"},
    }]);
    let shim = format!(
        "#!/bin/sh\n[ \"$*\" = 'inspect --type container -- web' ] || exit 9\necho '{answer}'\n"
    );
    host.write("/opt/shim/docker", shim)?;
    host.run(["chmod", "755", "/opt/shim/docker"])?;
    let before = network.before()?;
    let address = scripts.add(&["web"])?;
    host.ping(address)?;
    scripts.remove("web")?;
    before.nothing_left()
}

/// The number of a process in a namespace of its own.
fn unshared(network: &Network) -> Result<u32> {
    network.host().run(["setsid", "--fork", "unshare", "--net", "sleep", "1000"])?;
    let started = Instant::now();
    loop {
        let processes = network.host().processes()?;
        if let Some((pid, _)) = processes.into_iter().find(|(_, line)| line == "sleep 1000") {
            return Ok(pid);
        }
        ensure!(started.elapsed() < LIMIT, "no process");
        thread::yield_now();
    }
}
