//! What can not be done, what fails half way, and who is killed.

use std::net::IpAddr;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Network, Pod, objects};

use crate::{endpoint, nothing_more, parse, pools, refuses, says};

tests::on_both_stores! {
    what_can_not_be_done_says_so_and_leaves_nothing
    a_failure_in_the_kernel_leaves_nothing
    a_locked_store_refuses_and_a_later_remove_finds_all
    a_runtime_and_an_operator_do_not_meet
    many_at_once
    killed_at_any_time_and_removed
}

fn what_can_not_be_done_says_so_and_leaves_nothing(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let (a, _b) = (host.pod("a")?, host.pod("b")?);
    host.write("/run/file", "")?;
    network.ctl("container add /run/netns/b 10.65.0.5").ok()?;
    a.run("ip link add taken type veth peer name other".split(' '))?;
    let before = network.before()?;
    for (line, reason) in [
        ("container add /run/netns/none ipv4", "Container /run/netns/none was not found."),
        (
            "container add /run/netns/a 10.65.0.5",
            "IP address is already assigned in pool 10.65.0.0/24",
        ),
        (
            "container add /run/netns/a ipv4 --interface=taken",
            "/run/netns/a: the container has an interface taken already: name another one with \
             --interface",
        ),
        (
            "container add /run/netns/a ipv4 --interface=Eth_0",
            "interface \"Eth_0\" can't be in the name of an endpoint: use 1 to 15 lower-case \
             letters, digits, '-' and '.'",
        ),
        (
            "container add /proc/self/ns/net ipv4",
            "/proc/self/ns/net: /proc/self/ns/net is the host's own network namespace: a \
             container needs one of its own",
        ),
        (
            "container add /run/file ipv4",
            "/run/file: /run/file is not a network namespace (a file outside of the namespace \
             file system); the path must lead to one, such as /run/netns/NAME or /proc/PID/ns/net",
        ),
        ("container /run/netns/a ip add ipv4", "/run/netns/a doesn't contain any endpoints"),
        (
            "container /run/netns/a ip remove 10.65.0.5",
            "/run/netns/a doesn't contain any endpoints",
        ),
        ("container remove /run/netns/a", "Container /run/netns/a is unknown to Calico."),
        ("container remove /run/netns/none", "Container /run/netns/none was not found."),
        (
            "container remove /run/netns/none --force",
            "Container /run/netns/none is unknown to Calico.",
        ),
        ("container /run/netns/a endpoint-id show", "No endpoint was found for /run/netns/a"),
    ] {
        refuses(network.ctl(line), reason).with_context(|| line.to_owned())?;
        before.nothing_left().with_context(|| line.to_owned())?;
    }
    // Not as root: exit status 2, and before anything is looked at.
    for line in
        ["add nobody ipv4", "remove nobody", "nobody ip add ipv4", "nobody ip remove 10.0.0.1"]
    {
        let line =
            format!("setpriv --reuid=65534 --clear-groups /opt/bin/calicoctl container {line}");
        let mut command = tests::command("/bin/sh");
        command.args(["-c", &line]);
        let output = host.output(command, b"", tests::LIMIT)?;
        ensure!(output.status.code() == Some(2), "{line}: {output:?}");
        ensure!(output.text().trim() == "This command must be run as root.", "{}", output.text());
    }
    network.ctl("container remove /run/netns/b").ok()?;
    Ok(())
}

fn a_failure_in_the_kernel_leaves_nothing(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pod = host.pod("a")?;
    for address in ["10.65.0.9", "10.65.0.10"] {
        host.run(["ip", "route", "add", address, "dev", "uplink0"])?;
    }
    let before = network.before()?;
    let error = network.ctl("container add /run/netns/a 10.65.0.9").refused()?;
    ensure!(error.contains("10.65.0.9") && error.contains("uplink0"), "{error}");
    before.nothing_left()?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    let wired = network.before()?;
    let error = network.ctl("container /run/netns/a ip add 10.65.0.10").refused()?;
    let classic = "Error updating networking in container. Aborting. /run/netns/a: ";
    ensure!(error.starts_with(classic) && error.contains("uplink0"), "{error}");
    nothing_more(&wired)?;
    ensure!(endpoint(network)?["spec"]["ipNetworks"] == json!(["10.65.0.5/32"]));
    ensure!(!pod.run(["ip", "addr"])?.contains("10.65.0.10"), "the address is left");
    // An interface that somebody took away is told, and what is left of it removed.
    pod.run(["ip", "link", "del", "eth1"])?;
    refuses(
        network.ctl("container /run/netns/a ip add ipv4"),
        "/run/netns/a: the interface eth1 of the container is gone: remove the container and add \
         it again",
    )?;
    network.ctl("container remove /run/netns/a").ok()?;
    before.nothing_left()
}

fn a_locked_store_refuses_and_a_later_remove_finds_all(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let (a, _b) = (host.pod("a")?, host.pod("b")?);
    let before = network.before()?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    network.put([objects::cluster(false)])?;
    let wired = network.before()?;
    for line in [
        "container add /run/netns/b ipv4",
        "container /run/netns/a ip add ipv4",
        "container /run/netns/a ip remove 10.65.0.5",
        "container remove /run/netns/a",
    ] {
        let error = network.ctl(line).refused()?;
        ensure!(error.contains("locked"), "{line}: {error}");
        nothing_more(&wired)?;
        host.ping(parse("10.65.0.5")?)?;
    }
    network.put([objects::cluster(true)])?;
    // The container ends without a word.
    a.remove()?;
    says(
        network.ctl("container remove /run/netns/a --force"),
        "Removed Calico interface from /run/netns/a\n",
    )?;
    before.nothing_left()
}

fn a_runtime_and_an_operator_do_not_meet(network: &Network) -> Result<()> {
    pools(network)?;
    let pod = network.host().pod("a")?;
    let before = network.before()?;
    // The same id on both sides.
    let id = "run-netns-a";
    let result = network.add(&pod, id)?;
    network.ctl("container add /run/netns/a 10.65.0.100").ok()?;
    let of_runtime = tests::addresses(&result)?;
    let by_hand = [parse("10.65.0.100")?];
    let works = |addresses: &[IpAddr]| addresses.iter().try_for_each(|ip| network.host().ping(*ip));
    works(&of_runtime)?;
    works(&by_hand)?;
    // A profile named like the runtime's network is nobody's network.
    let name = network.conflist()["name"].as_str().context("no name")?.to_owned();
    network.ctl(&format!("container /run/netns/a profile set {name}")).refused().ok();
    let eth1 = network.store().endpoint("-docker-run--netns--a-eth1")?.0;
    network.store().change(&eth1, |object| object["spec"]["profiles"] = json!([name]))?;

    // GC of the runtime's network, with nothing valid, takes the runtime's and nothing else.
    let mut config = network.config()?;
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    network.call("GC")?.config(&config).done()?;
    ensure!(network.host().ping(of_runtime[0]).is_err());
    works(&by_hand)?;
    let result = network.add(&pod, id)?;
    let of_runtime = tests::addresses(&result)?;
    network.del(&pod, id)?;
    works(&by_hand)?;
    let result_again = network.add(&pod, id)?;
    ensure!(tests::addresses(&result_again)?.len() == of_runtime.len());
    network.ctl("container remove /run/netns/a").ok()?;
    works(&tests::addresses(&result_again)?)?;
    network.del(&pod, id)?;
    before.nothing_left()
}

fn many_at_once(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pods: Vec<Pod> = (0..6).map(|at| host.pod(&format!("p{at}"))).collect::<Result<_>>()?;
    let before = network.before()?;
    let all = |line: &(dyn Fn(usize) -> String + Sync)| -> Result<Vec<tests::Answer>> {
        thread::scope(|scope| {
            let calls: Vec<_> = (0..12)
                .map(|at| {
                    let ctl = network.ctl(&line(at));
                    scope.spawn(move || ctl.run())
                })
                .collect();
            calls.into_iter().map(|call| call.join().expect("no panic")).collect()
        })
    };
    // Each container twice: one call of two wins.
    let added = all(&|at| format!("container add /run/netns/p{} ipv4", at % 6))?;
    let won = added.iter().filter(|answer| answer.exit == Some(0)).count();
    ensure!(won == 6, "{added:#?}");
    for loser in added.iter().filter(|answer| answer.exit != Some(0)) {
        ensure!(loser.stderr.contains("has already been configured"), "{loser:?}");
    }
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().len() == 6 && dump.allocations().len() == 6);
    let further = all(&|at| format!("container /run/netns/p{} ip add ipv4", at % 6))?;
    ensure!(further.iter().all(|answer| answer.exit == Some(0)), "{further:#?}");
    let dump = network.store().dump()?;
    for (pod, endpoint) in pods.iter().zip(dump.endpoints()) {
        let networks = endpoint["spec"]["ipNetworks"].as_array().context("no networks")?;
        ensure!(networks.len() == 3, "{endpoint:#}");
        for net in networks.iter().filter_map(Value::as_str) {
            host.ping(parse(net.trim_end_matches("/32"))?)?;
        }
        pod.ping(host.v4())?;
    }
    let removed = all(&|at| format!("container remove /run/netns/p{}", at % 6))?;
    let won = removed.iter().filter(|answer| answer.exit == Some(0)).count();
    ensure!(won == 6, "{removed:#?}");
    before.nothing_left()
}

fn killed_at_any_time_and_removed(network: &Network) -> Result<()> {
    pools(network)?;
    let pod = network.host().pod("a")?;
    let before = network.before()?;
    let datastore = match network.store() {
        tests::Stores::Local(_) => "DATASTORE_TYPE=local".to_owned(),
        tests::Stores::Etcd(etcd) => format!("ETCD_ENDPOINTS={}", etcd.endpoint()),
    };
    let (mut killed, mut done) = (0, 0);
    let mut ends = |line: &str, after: u32| -> Result<bool> {
        let mut command = tests::command("/bin/sh");
        let limit = f64::from(after) / 1000.0;
        command.args([
            "-c",
            &format!(
                "{datastore} exec timeout -s KILL {limit} /opt/bin/calicoctl container {line}"
            ),
        ]);
        let is_done = network.host().output(command, b"", tests::LIMIT)?.status.success();
        if is_done {
            done += 1
        } else {
            killed += 1
        }
        Ok(is_done)
    };
    for after in (1..=60).step_by(3) {
        ends("add /run/netns/a ipv4", after)?;
        // What is left can be removed, and if nothing is, it says so.
        let removed = network.ctl("container remove /run/netns/a").run()?;
        ensure!(
            removed.exit == Some(0) || removed.stderr.contains("unknown to Calico"),
            "{removed:?}"
        );
        before.nothing_left().with_context(|| format!("killed after {after} ms"))?;
        ensure!(pod.ip("link")?.as_array().is_some_and(|links| links.len() == 1), "a link is left");
    }
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    let wired = network.before()?;
    for after in (1..=40).step_by(3) {
        ends("/run/netns/a ip add 10.65.0.77", after)?;
        let removed = network.ctl("container /run/netns/a ip remove 10.65.0.77").run()?;
        ensure!(removed.exit == Some(0) || removed.stderr.contains("not assigned"), "{removed:?}");
        nothing_more(&wired).with_context(|| format!("ip add killed after {after} ms"))?;
    }
    for after in (1..=40).step_by(3) {
        network.ctl("container /run/netns/a ip add 10.65.0.77").ok()?;
        ends("/run/netns/a ip remove 10.65.0.77", after)?;
        let removed = network.ctl("container /run/netns/a ip remove 10.65.0.77").run()?;
        ensure!(removed.exit == Some(0) || removed.stderr.contains("not assigned"), "{removed:?}");
        nothing_more(&wired).with_context(|| format!("ip remove killed after {after} ms"))?;
    }
    for after in (1..=40).step_by(3) {
        ends("remove /run/netns/a", after)?;
        network.ctl("container remove /run/netns/a").run()?;
        before.nothing_left().with_context(|| format!("remove killed after {after} ms"))?;
        network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    }
    // A slow machine lets none of them end.
    ensure!(killed > 0, "killed {killed} times, ended {done} times");
    network.ctl("container remove /run/netns/a").ok()?;
    before.nothing_left()
}
