//! A verb ends in time and in order: at a signal, and when its time is over, whatever it waits for.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{Call, Kernel, Network, Stores, each_of, on_each_store, scene};

/// A call whose pauses hold up no other case.
fn call(network: &Network, verb: &str, at: &str) -> Result<Call> {
    let mut config = network.config()?;
    config["ipam_lock_file"] = json!(format!("/run/lock-{at}"));
    let call = network.call(verb)?.container(&format!("c-{at}")).config(&config);
    Ok(call.env("CNI_NETNS", &format!("/run/netns/p-{at}")))
}

/// Stops a verb at each of its points, tells it to end, and lets it go on. What `then` does with one
/// that was ended, or done all the same, leaves nothing.
fn signalled(
    network: &Network,
    prepare: impl Fn(&str) -> Result<()> + Sync,
    victim: impl Fn(&str) -> Result<Call> + Sync,
    then: impl Fn(&str, bool) -> Result<()> + Sync,
) -> Result<()> {
    let pod = network.host().pod("p-trace")?;
    prepare("trace")?;
    let points = victim("trace")?.points()?;
    then("trace", true)?;
    pod.remove()?;
    let pods: Vec<_> = (0..points.len())
        .map(|index| network.host().pod(&format!("p-{index}")))
        .collect::<Result<_>>()?;
    let before = network.before()?;
    each_of(points.len(), |index| {
        let (at, point) = (index.to_string(), &points[index]);
        let context = || format!("{at}: told to end at {point}");
        prepare(&at)?;
        let done = match victim(&at)?.stopped_at(point)? {
            // It came another way this time.
            None => true,
            Some(running) => {
                running.signal(Signal::SIGTERM)?;
                running.resume()?;
                let answer = running.answer()?;
                if answer.exit != Some(0) {
                    let (code, message) = answer.error().with_context(context)?;
                    ensure!(code == 11, "{}: {code} {message}", context());
                }
                answer.exit == Some(0)
            }
        };
        then(&at, done).with_context(context)
    })?;
    let table = || {
        let lines = points.iter().enumerate().map(|(index, point)| format!("{index}: {point}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    before.nothing_left().with_context(table)?;
    pods.into_iter().try_for_each(tests::Pod::remove)
}

#[test]
fn a_signal_at_any_point_of_an_add_leaves_nothing() {
    on_each_store("signal-add", |network| {
        network.call("DEL")?.done()?;
        signalled(
            network,
            |_| Ok(()),
            |at| call(network, "ADD", at),
            // No DEL where it failed: it has taken everything back itself.
            |at, done| if done { call(network, "DEL", at)?.done() } else { Ok(()) },
        )
    });
}

#[test]
fn a_signal_at_any_point_of_an_add_by_another_ipam_plugin_leaves_nothing() {
    on_each_store("signal-delegate", |network| {
        network.conflist_mut()["plugins"][0]["ipam"] =
            json!({"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/16"}]]});
        signalled(
            network,
            |_| Ok(()),
            |at| call(network, "ADD", at),
            |at, done| if done { call(network, "DEL", at)?.done() } else { Ok(()) },
        )?;
        let leases = fs::read_dir(network.host().path("/var/lib/cni/networks/calico"))?;
        let names = leases.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        ensure!(!names.iter().any(|name| name.starts_with("10.9.")), "{names:?}");
        Ok(())
    });
}

#[test]
fn a_signal_at_any_point_of_a_del_leaves_what_the_next_del_finds() {
    on_each_store("signal-del", |network| {
        signalled(
            network,
            |at| call(network, "ADD", at)?.result().map(drop),
            |at| call(network, "DEL", at),
            |at, _| call(network, "DEL", at)?.done(),
        )
    });
}

#[test]
fn a_signal_at_any_point_of_calico_ipams_add_leaves_nothing() {
    on_each_store("signal-ipam", |network| {
        let ipam = |verb: &str, at: &str| -> Result<Call> {
            let mut config = network.config()?;
            config["ipam_lock_file"] = json!(format!("/run/lock-{at}"));
            Ok(network.ipam(verb)?.container(&format!("c-{at}")).config(&config))
        };
        network.ipam("ADD")?.result()?;
        network.ipam("DEL")?.done()?;
        signalled(
            network,
            |_| Ok(()),
            |at| ipam("ADD", at),
            |at, done| if done { ipam("DEL", at)?.done() } else { Ok(()) },
        )
    });
}

/// The configuration with one second for each verb.
fn hurried(network: &Network) -> Result<Value> {
    let mut config = network.config()?;
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    config["timeout_seconds"] = json!({"add": 1, "del": 1, "check": 1, "gc": 1, "status": 1});
    Ok(config)
}

#[test]
fn every_verb_ends_in_time_though_the_store_takes_the_connection_and_never_answers() {
    scene("late-store", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, "c1")?;
        let other = network.host().pod("p2")?;
        let mut config = hurried(&network)?;
        config["prevResult"] = result;
        config["defer_release"] = json!(false);
        etcd.pause()?;
        // Less than the limit of any of their parts.
        let limit = Duration::from_millis(3500);
        for plugin in ["calico", "calico-ipam"] {
            for (verb, code) in [("ADD", 11), ("CHECK", 11), ("GC", 0), ("STATUS", 50), ("DEL", 11)]
            {
                let call = Call::new(network.host(), plugin, verb).config(&config).limit(limit);
                let call = match verb {
                    "ADD" => call.container("c2").pod(&other),
                    _ => call.container("c1").pod(&pod),
                };
                let (found, message) = call.error().with_context(|| format!("{plugin} {verb}"))?;
                ensure!(code == 0 || found == code, "{plugin} {verb}: {found} {message}");
            }
        }
        etcd.resume()?;
        ensure!(Kernel::of_host(network.host())?.link("calic1").is_none(), "DEL kept the link");
        network.del(&pod, "c1")
    });
}

#[test]
fn an_add_ends_in_time_whatever_it_waits_for() {
    on_each_store("late-parts", |network| {
        let pod = network.host().pod("p1")?;
        network.add(&pod, "c0")?;
        network.del(&pod, "c0")?;
        let before = network.before()?;
        let limit = Duration::from_secs(8);
        let config = hurried(network)?;
        let add = |config: &Value| -> Result<Call> {
            Ok(network.call("ADD")?.container("c1").pod(&pod).config(config).limit(limit))
        };
        // A readiness gate that takes the connection and never answers.
        let listener = network.host().within(|| std::net::TcpListener::bind("127.0.0.1:9099"))?;
        let mut gated = config.clone();
        gated["readiness_gates"] = json!(["http://127.0.0.1:9099/readiness"]);
        let (code, message) = add(&gated)?.error()?;
        ensure!(code == 11, "{code} {message}");
        drop(listener);
        // Another IPAM plugin that never ends: it is killed.
        let mut delegated = config.clone();
        delegated["ipam"] = json!({"type": "recorder"});
        let script =
            "#!/bin/sh\ncat >/dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\nexec sleep 1000\n";
        network.host().install("recorder", script)?;
        let (code, message) = add(&delegated)?.error()?;
        ensure!(code == 11 && message.contains("timeout_seconds"), "{code} {message}");
        before.nothing_left()?;
        // Somebody who never gives the lock back: it is done without, in time.
        let path = network.host().path("/run/calico/ipam.lock");
        let file = fs::File::options().write(true).open(path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let mut patient = config;
        patient["timeout_seconds"] = json!({"add": 4, "del": 4});
        add(&patient)?.result()?;
        add(&patient)?.verb("DEL").done()?;
        drop(lock);
        before.nothing_left()
    });
}

#[test]
fn a_del_that_may_not_defer_its_release_fails_until_the_store_is_back() {
    scene("no-deferring", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        network.add(&pod, "c1")?;
        let del = network.call_with("DEL", "defer_release", &json!(false))?;
        let del = del.container("c1").pod(&pod);
        etcd.pause()?;
        let (code, message) = del.error()?;
        ensure!(code == 11, "{code} {message}");
        ensure!(Kernel::of_host(network.host())?.link("calic1").is_none(), "DEL kept the link");
        let notes = network.host().path("/var/lib/calico/owed");
        ensure!(!notes.exists(), "there is a note");
        etcd.resume()?;
        del.done()?;
        before.nothing_left()
    });
}
