//! What nobody but root may read, where names from outside may lead, and what may be executed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{Host, Network, Pod, Stores, addresses, on_each_store, scene};

/// The folders in which a verb may leave something.
const FOLDERS: [&str; 3] = ["/var/lib", "/run", "/opt"];

/// What other programs must reach, and why. Everything else is root's alone.
const SHARED: [(&str, u32, &str); 2] = [
    ("/var/lib/calico", 0o755, "calico/node keeps nodename and mtu in it"),
    ("/run/calico", 0o755, "Felix and BIRD keep their sockets in it"),
];

/// Everything in the folders of a host: path and permissions.
fn everything(host: &Host) -> Result<BTreeMap<String, u32>> {
    fn walk(folder: &Path, shown: &str, all: &mut BTreeMap<String, u32>) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let shown = format!("{shown}/{}", entry.file_name().to_string_lossy());
            let metadata = fs::symlink_metadata(entry.path())?;
            if metadata.is_dir() && !shown.starts_with("/run/machine-etc") {
                walk(&entry.path(), &shown, all)?;
            }
            all.insert(shown, metadata.permissions().mode() & 0o7777);
        }
        Ok(())
    }
    let mut all = BTreeMap::new();
    for folder in FOLDERS {
        walk(&host.path(folder), folder, &mut all)?;
    }
    // The store's, the runtime's.
    all.retain(|path, _| !path.starts_with("/var/lib/etcd") && !path.starts_with("/run/netns"));
    Ok(all)
}

/// What was made since, each with its permissions.
fn made(host: &Host, before: &BTreeMap<String, u32>) -> Result<BTreeMap<String, u32>> {
    let mut all = everything(host)?;
    all.retain(|path, _| !before.contains_key(path));
    Ok(all)
}

#[test]
fn what_the_verbs_leave_is_for_root_alone() {
    on_each_store("modes", |network| {
        let host = network.host().clone();
        // A host on which nobody has been before.
        if let Stores::Local(_) = network.store() {
            fs::remove_dir_all(host.path("/var/lib/calico"))?;
        }
        network.conflist_mut()["plugins"][0]["log_file_path"] = json!("/run/log/deep/cni.log");
        network.conflist_mut()["plugins"][0]["log_level"] = json!("debug");
        let before = everything(&host)?;
        let pod = host.pod("p1")?;
        let result = network.add(&pod, "c1")?;
        network.check(&pod, "c1", &result)?.done()?;
        if let Stores::Etcd(etcd) = network.store() {
            // A release that is owed.
            etcd.pause()?;
            network.del(&pod, "c1")?;
            etcd.resume()?;
        } else {
            network.del(&pod, "c1")?;
        }
        let made = made(&host, &before)?;
        for (path, mode) in &made {
            let shared = SHARED.iter().find(|(shared, ..)| shared == path);
            let is_folder = host.path(path).is_dir();
            let expected = match shared {
                Some((_, mode, _)) => *mode,
                None if path == "/run/log" => 0o755,
                None if is_folder => 0o700,
                None => 0o600,
            };
            ensure!(*mode == expected, "{path} has {mode:o}, not {expected:o}");
        }
        let has = |part: &str| made.keys().any(|path| path.contains(part));
        ensure!(has("/run/calico/ipam.lock") && has("/run/log/deep/cni.log"), "{made:?}");
        match network.store() {
            Stores::Local(_) => ensure!(has("/var/lib/calico/calico.db"), "{made:?}"),
            Stores::Etcd(_) => ensure!(has("/var/lib/calico/owed/"), "{made:?}"),
        }
        Ok(())
    });
}

/// Names that would lead elsewhere if they became part of a path.
fn hostile() -> Vec<String> {
    let long = "x".repeat(300);
    ["..", ".", "../../../run/pwned", "/run/pwned", "a/../../b", "a\nb", "a b", "-v", "%2e%2e", "*"]
        .into_iter()
        .map(str::to_owned)
        .chain([long.clone(), format!("x{}", "/..".repeat(100)), format!("{long}.{long}")])
        .collect()
}

#[test]
fn no_name_from_outside_becomes_a_path() {
    on_each_store("hostile", |network| {
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        network.add(&pod, "c1")?;
        network.del(&pod, "c1")?;
        let before = everything(&host)?;
        let state = network.before()?;
        // A write that went wrong would be found here too.
        let machine = fs::read_dir("/run")?.count();
        for name in hostile() {
            let calls = |verb: &str| -> Result<Vec<tests::Call>> {
                let call = network.call(verb)?.pod(&pod).container("c2");
                let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME={name}");
                let space = format!("K8S_POD_NAMESPACE={name};K8S_POD_NAME=web");
                Ok(vec![
                    call.clone().container(&name),
                    call.clone().ifname(&name),
                    call.clone().args(&args),
                    call.clone().args(&space),
                    network.call_with(verb, "name", &json!(name))?.pod(&pod).container("c2"),
                    network.call_with(verb, "nodename", &json!(name))?.pod(&pod).container("c2"),
                ])
            };
            for verb in ["ADD", "CHECK", "DEL"] {
                for call in calls(verb)? {
                    let answer = call.run()?;
                    ensure!(answer.exit.is_some_and(|code| code <= 1), "{answer:#?}");
                    if answer.exit == Some(0) && verb == "ADD" {
                        call.verb("DEL").done()?;
                    }
                }
            }
            let made = made(&host, &before)?;
            ensure!(made.is_empty(), "{name:?} made {made:?}");
            state.nothing_left().with_context(|| name.clone())?;
        }
        ensure!(fs::read_dir("/run")?.count() <= machine + 2, "something was written outside");
        Ok(())
    });
}

/// The same for what DEL writes down while the store is away: one file in its folder, whatever the
/// container is called.
#[test]
fn no_name_from_outside_leads_a_note_elsewhere() {
    scene("hostile-owed", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let host = network.host().clone();
        let before = everything(&host)?;
        etcd.kill()?;
        let mut ids = vec!["a".repeat(300), "a".repeat(100_000), "a_b.c".into(), "A..b".into()];
        ids.extend(hostile());
        let mut owed = 0;
        for id in &ids {
            let answer = network.call("DEL")?.container(id).run()?;
            match answer.exit {
                Some(0) => owed += 1,
                _ => ensure!(answer.error()?.0 == 4, "{answer:#?}"),
            }
        }
        ensure!(owed >= 5, "{owed} notes");
        let made = made(&host, &before)?;
        let notes: Vec<&String> = made.keys().filter(|path| path.ends_with(".json")).collect();
        ensure!(notes.len() == owed, "{owed} were owed: {notes:?}");
        for path in made.keys() {
            let known = ["/var/lib/calico/owed", "/run/calico"];
            ensure!(known.iter().any(|folder| path.starts_with(folder)), "{path}");
            ensure!(Path::new(path).file_name().is_some_and(|name| name.len() <= 255), "{path}");
        }
        etcd.restart()
    });
}

fn has_eth0(pod: &Pod) -> bool {
    pod.run(["ip", "link", "show", "eth0"]).is_ok()
}

/// The path of the namespace is a link that somebody turns while an ADD is going on.
#[test]
fn a_namespace_is_opened_once() {
    scene("swap", |scene| {
        let mut network = Network::standalone(scene)?;
        let host = network.host().clone();
        let (one, other) = (host.pod("one")?, host.pod("other")?);
        let path = "/run/netns/link";
        symlink("one", host.path(path))?;
        network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "swapper"});
        let answer = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/32"}]});
        let script = format!(
            "#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\n\
             /bin/ln -sfn other {path}\nprintf %s '{answer}'\n"
        );
        host.install("swapper", script)?;
        let call = network.call("ADD")?.env("CNI_NETNS", path);
        let result = call.result()?;
        ensure!(fs::read_link(host.path(path))? == Path::new("other"), "nobody turned the link");
        ensure!(has_eth0(&one) && !has_eth0(&other), "the link leads to the other namespace");
        ensure!(one.run("ip route show default".split(' '))?.contains("169.254.1.1"));
        ensure!(addresses(&result)?.len() == 1);
        // DEL comes with the path as it is now: the link is ours by its mark, wherever it is.
        call.verb("DEL").done()?;
        ensure!(!has_eth0(&one) && !has_eth0(&other));
        Ok(())
    });
}

/// An interface that is not ours, in the namespace to which the path leads by now, stays.
#[test]
fn del_leaves_what_it_finds_at_a_turned_path() {
    scene("swap-del", |scene| {
        let network = Network::standalone(scene)?;
        let host = network.host().clone();
        let (one, other) = (host.pod("one")?, host.pod("other")?);
        let path = "/run/netns/link";
        symlink("one", host.path(path))?;
        network.call("ADD")?.container("c1").env("CNI_NETNS", path).result()?;
        network.call("ADD")?.container("c2").pod(&other).result()?;
        fs::remove_file(host.path(path))?;
        symlink("other", host.path(path))?;
        network.call("DEL")?.container("c1").env("CNI_NETNS", path).done()?;
        ensure!(!has_eth0(&one) && has_eth0(&other), "the link of another container is gone");
        network.del(&other, "c2")
    });
}

#[test]
fn nothing_is_executed_outside_of_cni_path() {
    on_each_store("execute", |network| {
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        let script = "#!/bin/sh\n/bin/touch /run/executed\ncat >/dev/null\n";
        host.write("/opt/evil/evil", script)?;
        host.write("/opt/cni/evil", script)?;
        host.write("/opt/cni/bin/not-executable", script)?;
        for path in ["/opt/evil/evil", "/opt/cni/evil"] {
            fs::set_permissions(host.path(path), fs::Permissions::from_mode(0o755))?;
        }
        fs::create_dir(host.path("/opt/cni/bin/folder"))?;
        let before = network.before()?;
        for name in [
            "evil",
            "../evil",
            "./evil",
            "/opt/evil/evil",
            "bin/../../evil",
            "..",
            ".",
            "folder",
            "not-executable",
            "evil\u{0}",
            "sh",
            "../../../bin/touch",
            &"e".repeat(5000),
        ] {
            let mut config = network.config()?;
            config["cniVersion"] = json!("1.1.0");
            config["ipam"] = json!({"type": name});
            config["prevResult"] = json!({"cniVersion": "1.1.0"});
            config["cni.dev/valid-attachments"] = json!([]);
            for verb in ["ADD", "CHECK", "DEL", "GC", "STATUS"] {
                let call = network.call(verb)?.pod(&pod).config(&config);
                // What a shell would look at.
                let call =
                    call.env("PATH", "/opt/evil:/opt/cni:/bin").env("BASH_ENV", "/opt/evil/evil");
                let (code, message) = call.error().with_context(|| format!("{verb} {name:?}"))?;
                ensure!(code != 999, "{verb} {name:?}: {message}");
                ensure!(!host.path("/run/executed").exists(), "{verb} executed {name:?}");
            }
            before.nothing_left().with_context(|| format!("{name:?}"))?;
        }
        Ok(())
    });
}
