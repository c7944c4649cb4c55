//! `calicoctl node diags` (`reference/calicoctl.md` section 8.2): what is in the bundle, and what is
//! not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tests::{Answer, Backend, Ctl, Host, Network, Stores, command, scene};

tests::on_both_stores! {
    a_bundle_tells_of_the_host_the_store_and_the_plugins
}

const FOLDER: &str = "/var/lib/temporary";

/// A call with the bundle in a folder of the host's own.
fn diags(store: &Stores, host: &Arc<Host>, line: &str) -> Result<Ctl> {
    fs::create_dir_all(host.path(FOLDER))?;
    let words = ["node", "diags"].into_iter().chain(line.split_whitespace());
    Ok(Ctl::new(store, words).env("TMPDIR", FOLDER))
}

/// Unpacks the only bundle that a call has made; the folder in it.
fn unpack(host: &Arc<Host>, answer: &Answer) -> Result<PathBuf> {
    ensure!(answer.exit == Some(0), "{answer:?}");
    let last = answer.stdout.lines().last().context("it says nothing")?;
    let path = last.strip_prefix("Diags saved to ").with_context(|| last.to_owned())?;
    let name = Path::new(path).file_name().context("no name")?.to_string_lossy().into_owned();
    ensure!(
        name.starts_with("diags-20") && name.ends_with(".tar.gz") && name.len() == 28,
        "{name}"
    );
    let outside = host.path(path);
    let folder = outside.parent().context("no folder")?;
    let mode =
        |path: &Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    ensure!((mode(&outside)?, mode(folder)?) == (0o600, 0o700), "others may read the bundle");
    let inside = Path::new(path).parent().context("no folder")?;
    host.run(["tar", "-xzf", path, "-C", &inside.to_string_lossy()])?;
    Ok(folder.join("diagnostics"))
}

fn text(folder: &Path, name: &str) -> Result<String> {
    fs::read_to_string(folder.join(name)).with_context(|| format!("{name} in the bundle"))
}

fn a_bundle_tells_of_the_host_the_store_and_the_plugins(network: &Network) -> Result<()> {
    let (host, store) = (network.host(), network.store());
    host.write("/var/lib/calico/nodename", "node-a")?;
    host.write("/var/lib/calico/owed/net_c1_eth0.json", "{\"network\": \"net\"}")?;
    host.write("/etc/cni/net.d/10-calico.conflist", network.conflist().to_string())?;
    host.write("/var/lib/logs/bird/current", "bird: started\n")?;
    host.write("/var/lib/logs/old.gz", [0x1f, 0x8b, 8, 0])?;
    let answer = diags(store, host, "--log-dir /var/lib/logs")?.run()?;
    let folder = unpack(host, &answer)?;
    ensure!(text(&folder, "version")?.starts_with("calicoctl "));
    ensure!(text(&folder, "ip_address")?.contains("uplink0"));
    ensure!(text(&folder, "hostname")?.contains("node-a"));
    ensure!(text(&folder, "settings/var/lib/calico/nodename")? == "node-a");
    ensure!(text(&folder, "settings/etc/cni/net.d/10-calico.conflist")?.contains("calico-ipam"));
    ensure!(text(&folder, "owed/net_c1_eth0.json")?.contains("net"));
    ensure!(text(&folder, "logs/bird/current")? == "bird: started\n");
    ensure!(answer.stdout.contains("Skipping /var/lib/logs/old.gz: it is no text"), "{answer:?}");
    let health = text(&folder, "datastore")?;
    let (name, integrity) = match store {
        Stores::Local(_) => ("local store /var/lib/calico/calico.db", true),
        Stores::Etcd(_) => ("etcd at http://127.0.0.1:2379", false),
    };
    ensure!(health.starts_with(name) && health.contains("datastoreReady"), "{health}");
    ensure!(health.contains("1 Node\n"), "{health}");
    ensure!(health.contains("\n0 findings of the consistency check\n"), "{health}");
    let integrity = integrity.then_some("/var/lib/calico/calico.db\nok\n");
    ensure!(text(&folder, "calico.db_integrity").ok().as_deref() == integrity);
    Ok(())
}

#[test]
fn no_secret_is_in_a_bundle() {
    scene("diags-secrets", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        let host = network.host();
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----";
        let mut list = network.conflist().clone();
        list["plugins"][0]["etcd_username"] = "root".into();
        list["plugins"][0]["etcd_password"] = "hunter2".into();
        list["plugins"][0]["etcd_key"] = key.into();
        list["plugins"][0]["log_file_path"] = "/var/lib/own/cni.log".into();
        host.write("/etc/cni/net.d/10-calico.conflist", list.to_string())?;
        host.write("/etc/cni/net.d/calico-kubeconfig", "token: kubesecret\n")?;
        let indented = key.replace('\n', "\n    ");
        let config = format!(
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  \
             etcdEndpoints: http://operator:gatekeeper@127.0.0.1:2379\n  etcdPassword: 'open \
             sesame'\n  etcdKey: |\n    {indented}\n"
        );
        host.write("/etc/calico/calicoctl.cfg", config)?;
        host.write("/etc/calico/confd/config/bird.cfg", "protocol bgp a { password \"meshed\"; }")?;
        let log = "connecting as hunter2\nkey was MHcCAQEEIB\nwith gatekeeper, open sesame\n\
                   and meshed, and fromenv9\n";
        host.write("/var/lib/own/cni.log", log)?;
        host.write("/var/lib/own/cni.log.1", log)?;
        host.write("/var/lib/logs/felix.log", format!("{log}{key}\n"))?;
        let call = diags(network.store(), host, "--log-dir /var/lib/logs")?;
        let answer = call.env("ETCD_PASSWORD", "fromenv9").env("ETCD_USERNAME", "x").run()?;
        let folder = unpack(host, &answer)?;

        let mut files = Vec::new();
        let mut folders = vec![folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        ensure!(files.len() > 8, "{files:?}");
        let secrets =
            ["hunter2", "gatekeeper", "sesame", "meshed", "fromenv9", "MHcCAQEEIB", "kubesecret"];
        for path in &files {
            let text = fs::read_to_string(path)?;
            for secret in secrets {
                ensure!(!text.contains(secret), "{secret} is in {}:\n{text}", path.display());
            }
        }
        for secret in secrets {
            ensure!(!answer.stdout.contains(secret), "{answer:?}");
        }
        // What is no secret is still there.
        let settings = text(&folder, "settings/etc/cni/net.d/10-calico.conflist")?;
        ensure!(settings.contains("\"etcd_username\":\"root\""), "{settings}");
        ensure!(settings.contains("\"etcd_password\":\"(left out)\""), "{settings}");
        ensure!(text(&folder, "plugin_log/var/lib/own/cni.log")?.contains("connecting as"));
        ensure!(text(&folder, "plugin_log/var/lib/own/cni.log.1")?.contains("connecting as"));
        ensure!(!folder.join("settings/etc/cni/net.d/calico-kubeconfig").exists());
        Ok(())
    });
}

#[test]
fn nothing_that_is_missing_or_broken_stops_it() {
    scene("diags-broken", |scene| {
        let host = scene.host("node-a")?;
        let store = Stores::Local(host.clone());
        let call = diags(&store, &host, "--log-dir /var/lib/none")?.env("PATH", "/nowhere");
        let answer = call.run()?;
        let folder = unpack(&host, &answer)?;
        ensure!(
            answer.stdout.contains("Skipping sockets: not installed: ss, netstat\n"),
            "{answer:?}"
        );
        ensure!(answer.stdout.contains("Skipping /var/lib/none: "), "{answer:?}");
        let health = text(&folder, "datastore")?;
        ensure!(
            health == "the local store /var/lib/calico/calico.db is not there yet\n",
            "{health}"
        );
        let made = host.path("/var/lib/calico/calico.db").exists();
        ensure!(!made, "looking has made a store");

        host.write("/var/lib/calico/calico.db", "no database, but long enough ".repeat(200))?;
        let folder = unpack(&host, &call.run()?)?;
        for name in ["datastore", "calico.db_integrity"] {
            let text = text(&folder, name)?;
            ensure!(
                text.contains("/var/lib/calico/calico.db") && text.contains("not a database"),
                "{text}"
            );
        }
        fs::remove_file(host.path("/var/lib/calico/calico.db"))?;
        // A server that isn't there.
        let call = call.without("DATASTORE_TYPE").env("ETCD_ENDPOINTS", "http://127.0.0.1:1");
        let folder = unpack(&host, &call.run()?)?;
        let health = text(&folder, "datastore")?;
        ensure!(health.contains("127.0.0.1:1"), "{health}");
        Ok(())
    });
}

#[test]
fn felix_is_asked_for_its_state_if_it_listens() {
    scene("diags-felix", |scene| {
        let host = scene.host("node-a")?;
        fs::create_dir_all(host.path("/var/lib/logs"))?;
        let start = |title: &str, script: &str, arguments: &str| {
            let mut bash = command("bash");
            bash.args(["-c", &format!("exec -a {title} bash -c '{script}' {arguments}")]);
            host.serve(title, bash, "ready")
        };
        let trap = "trap \"echo dumped >/var/lib/logs/felix.log\" USR1; echo ready; \
                    while :; do sleep infinity & wait; done";
        start("calico-felix", trap, "")?;
        // The signal would end this one.
        start("calico-node", "echo ready; sleep infinity & wait", "-felix")?;
        // A program of the collection that waits for the dump.
        let wait = "#!/bin/sh\nwhile [ ! -s /var/lib/logs/felix.log ]; do :; done\n";
        host.write("/opt/tools/date", wait)?;
        fs::set_permissions(host.path("/opt/tools/date"), Permissions::from_mode(0o755))?;
        let call = diags(&Stores::Local(host.clone()), &host, "--log-dir /var/lib/logs")?;
        let answer = call.env("PATH", "/opt/tools").run()?;
        ensure!(answer.stdout.matches("Asking Felix").count() == 1, "{answer:?}");
        let folder = unpack(&host, &answer)?;
        ensure!(text(&folder, "logs/felix.log")? == "dumped\n");
        let running = host.processes()?;
        ensure!(running.iter().any(|(_, line)| line.ends_with("-felix")), "{running:?}");
        Ok(())
    });
}
