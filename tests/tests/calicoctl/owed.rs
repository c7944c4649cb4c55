//! What DEL couldn't release, since the store was away, any command releases that reaches it.

use std::fs;

use anyhow::{Result, anyhow, bail, ensure};
use serde_json::json;
use tests::{Network, Pod, RESOURCES, Stores, addresses, command, on_each_store, scene};

const FILE: &str = "/var/lib/calico/calico.db";

/// How many notes of releases there are.
fn owed(network: &Network) -> Result<usize> {
    let folder = network.host().path("/var/lib/calico/owed");
    let is_note = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".json");
    Ok(fs::read_dir(folder)?.flatten().filter(|entry| is_note(&entry.file_name())).count())
}

/// Does something while the store is away: its server is gone, or somebody holds its file.
fn away(network: &Network, work: impl FnOnce() -> Result<()>) -> Result<()> {
    match network.store() {
        Stores::Etcd(etcd) => {
            etcd.kill()?;
            work()?;
            etcd.restart()
        }
        Stores::Local(host) => {
            let mut sqlite = command("sqlite3");
            let wait = ".system echo held; exec tail -f /dev/null";
            sqlite.args([FILE, "BEGIN IMMEDIATE", wait]);
            let holder = host.serve("holder", sqlite, "held")?;
            work()?;
            let mut holder = holder.lock().map_err(|_| anyhow!("the holder panicked"))?;
            holder.kill()?;
            holder.wait()?;
            Ok(())
        }
    }
}

/// A container that was deleted while the store was away, which is back; the address that it had.
fn indebted(network: &Network, pod: &Pod) -> Result<String> {
    let given = addresses(&network.add(pod, "c1")?)?;
    away(network, || network.del(pod, "c1"))?;
    ensure!(owed(network)? == 1 && !network.store().dump()?.allocations().is_empty());
    match given.first() {
        Some(first) => Ok(first.to_string()),
        None => bail!("no address"),
    }
}

fn is_settled(network: &Network) -> Result<bool> {
    let dump = network.store().dump()?;
    Ok(owed(network)? == 0 && dump.allocations().is_empty() && dump.endpoints().is_empty())
}

#[test]
fn any_command_that_reaches_the_store_releases_what_del_could_not() {
    on_each_store("ctl-owed", |network| {
        for line in ["get nodes", "ipam show", "pool show", "node run --init-only --ip=192.0.2.1"] {
            let pod = network.host().pod("p1")?;
            let address = indebted(network, &pod)?;
            let answer = network.ctl(line).run()?;
            ensure!(answer.exit == Some(0) && answer.stderr.is_empty(), "{line}: {answer:?}");
            ensure!(is_settled(network)?, "{line} settled nothing");
            let said = network.ctl(&format!("ipam show --ip={address}")).ok()?;
            ensure!(said == format!("{address} is not assigned\n"), "{said}");
            pod.remove()?;
        }
        Ok(())
    });
}

#[test]
fn what_is_not_to_be_settled_stays_and_no_command_fails_of_it() {
    scene("ctl-owed-stays", |scene| {
        let network = Network::etcd(scene)?;
        let pod = network.host().pod("p1")?;
        indebted(&network, &pod)?;
        // What a DEL was killed over, long ago: half a note is nobody's.
        let half = network.host().path("/var/lib/calico/owed/half.1.new");
        fs::write(&half, "{")?;
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        fs::File::options().write(true).open(&half)?.set_modified(long_ago)?;
        // Another node's, another store's, and under the lock: nobody's business here.
        network.ctl("get nodes").env("NODENAME", "node-b").ok()?;
        ensure!(!half.exists(), "half a note stays");
        let local = network.ctl("create -f -").without("ETCD_ENDPOINTS");
        let node = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: x}}";
        local.env("DATASTORE_TYPE", "local").stdin(node).ok()?;
        let key = format!("{RESOURCES}/clusterinformations/default");
        let ready = |ready: bool| {
            network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(ready))
        };
        ready(false)?;
        network.ctl("get nodes").ok()?;
        ensure!(owed(&network)? == 1, "settled what was not due");
        ready(true)?;
        // A note that can't be paid is told, and the command goes on.
        let handle = network.store().dump()?.handles().first().map(|key| (*key).to_owned());
        let Some(handle) = handle else { bail!("no handle") };
        let stored = network.store().dump()?.0[&handle].to_string();
        network.store().put(&handle, "{")?;
        let answer = network.ctl("get nodes").run()?;
        ensure!(answer.exit == Some(0) && answer.stdout.starts_with("NAME"), "{answer:?}");
        ensure!(answer.stderr.contains("still owed to the store"), "{answer:?}");
        ensure!(owed(&network)? == 1);
        network.store().put(&handle, &stored)?;
        network.ctl("get nodes").ok()?;
        ensure!(is_settled(&network)?);
        Ok(())
    });
}

#[test]
fn a_release_that_fails_keeps_no_other_waiting() {
    scene("ctl-owed-one-fails", |scene| {
        let network = Network::etcd(scene)?;
        let pods = [network.host().pod("p1")?, network.host().pod("p2")?];
        let named = || pods.iter().zip(["c1", "c2"]);
        for (pod, id) in named() {
            network.add(pod, id)?;
        }
        away(&network, || named().try_for_each(|(pod, id)| network.del(pod, id)))?;
        ensure!(owed(&network)? == 2);
        let dump = network.store().dump()?;
        let handles = dump.handles();
        // The first in order.
        let Some(handle) = handles.iter().find(|key| key.ends_with("c1")) else {
            bail!("no handle of c1: {handles:?}")
        };
        network.store().put(handle, "{")?;
        let answer = network.ctl("get nodes").run()?;
        ensure!(answer.exit == Some(0), "{answer:?}");
        ensure!(answer.stderr.matches("still owed to the store").count() == 1, "{answer:?}");
        ensure!(owed(&network)? == 1, "the other one waits");
        network.store().put(handle, &dump.0[*handle].to_string())?;
        ensure!(network.store().dump()?.endpoints().len() == 1);
        network.ctl("get nodes").ok()?;
        ensure!(is_settled(&network)?);
        Ok(())
    });
}
