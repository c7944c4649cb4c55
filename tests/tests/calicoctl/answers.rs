//! Answers that a person gets who types something old or wrong, who waits, or who watches.

use std::fs;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use tests::{Host, Network, RESOURCES, Stores, command, on_both_stores, scene};

on_both_stores! {
    what_calico_2_wrote_is_answered_with_a_hint
    what_is_invalid_is_told_in_upstreams_words
    version_polls_until_it_is_stopped
}

fn what_calico_2_wrote_is_answered_with_a_hint(network: &Network) -> Result<()> {
    let old = "apiVersion: v1\nkind: bgpPeer\nmetadata:\n  scope: global\n  peerIP: \
               192.20.30.40\nspec:\n  asNumber: 64567\n";
    let before = network.store().dump()?;
    for line in ["create -f -", "apply -f -", "replace -f -", "delete -f -", "validate -f -"] {
        let said = network.ctl(line).stdin(old).refused()?;
        let expected = "unknown resource type (bgpPeer) and/or version (v1): resources of v1 go \
                        through calicoctl convert\n";
        ensure!(said.ends_with(expected) && said.lines().count() == 1, "{line}: {said}");
    }
    ensure!(network.store().dump()? == before);
    // The way out is the way that the hint shows.
    let converted = network.ctl("convert -f -").stdin(old).ok()?;
    network.ctl("create -f -").stdin(converted).ok()?;
    let shown = network.ctl("get bgppeer").ok()?;
    ensure!(shown.contains("192-20-30-40   192.20.30.40   (global)   64567"), "{shown}");
    for flag in ["--node", "--scope", "--orchestrator", "--workload"] {
        let said = network.ctl(&format!("get wep {flag}=x")).refused()?;
        let expected = format!("unknown flag: {flag}: today a resource has one name");
        ensure!(said.starts_with(&expected), "{said}");
    }
    Ok(())
}

fn what_is_invalid_is_told_in_upstreams_words(network: &Network) -> Result<()> {
    let object = |kind: &str, spec: &str| {
        format!(
            "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: x}}, spec: {spec}}}"
        )
    };
    let icmp = "{types: [Ingress], ingress: [{action: Allow, protocol: ICMP, icmp: {type: 256}}]}";
    for (kind, spec, said) in [
        ("BGPPeer", "{peerIP: badpeerIP, asNumber: 64512}", "PeerIP = 'badpeerIP'"),
        ("GlobalNetworkPolicy", icmp, "Type = '256'"),
        ("IPPool", "{cidr: 10.0.0.1/8}", "(IPPool CIDR is not strictly masked)"),
    ] {
        for verb in ["create", "apply", "validate"] {
            let call = network.ctl(&format!("{verb} -f -")).stdin(object(kind, spec));
            let answer = call.run()?;
            let begins = format!("failed to {verb} '{kind}' resource: [");
            ensure!(
                answer.exit == Some(1)
                    && answer.stdout.is_empty()
                    && answer.stderr.starts_with(&begins)
                    && answer.stderr.contains(said),
                "{verb} {kind}: {answer:?}"
            );
        }
    }
    // Of many objects in a document it is told which, and what may have been meant.
    let list = format!(
        "[{}, {}]",
        object("IPPool", "{cidr: 10.1.0.0/16}"),
        object("BGPPeer", "{peerIP: 10.0.0.1, asNumbr: 64512}")
    );
    let said = network.ctl("apply -f -").stdin(list).refused()?;
    let expected = "failed to execute command: -: line 1: BGPPeer(x): field in document is not \
                    recognized or is in the wrong location: asNumbr (spec.asNumbr): did you mean \
                    \"asNumber\"?\n";
    ensure!(said == expected, "{said}");
    Ok(())
}

/// No argument and no lost reader makes it panic, which is status 101, in the middle of its work.
#[test]
fn neither_odd_arguments_nor_a_lost_reader_make_it_panic() {
    scene("ctl-no-panic", |scene| {
        let network = Network::standalone(scene)?;
        network.ctl("node run --init-only --ip=192.0.2.1").ok()?;
        let program = format!("{} /opt/bin/calicoctl", environment(&network));
        for (call, status) in [
            (r#"get pool "$(printf '\377')""#, "1"),
            (r#"apply -f "$(printf '\377')""#, "1"),
            ("bogus 2>/dev/full", "1"),
            ("get bogus 2>/dev/full", "1"),
            ("get pool default-ipv4-ippool bogus 2>/dev/full", "1"),
            ("-l debug get pool 2>/dev/full", "0"),
            ("--help >/dev/full", "1"),
            ("get pool >/dev/full 2>&1", "1"),
            ("get pool 2>&1 >/dev/full | grep -q '^failed to write the answer: '", "0"),
        ] {
            let shell = format!("{program} {call}; echo \"status $?\"");
            let said = network.host().run(["/bin/sh", "-c", &shell])?;
            ensure!(said.ends_with(&format!("status {status}\n")), "{call}: {said}");
        }
        Ok(())
    });
}

/// What a program that goes on running has printed.
fn printed(host: &Host, name: &str) -> Result<String> {
    Ok(fs::read_to_string(host.dir().join(format!("{name}.log")))?)
}

/// The words that name a network's store, before a command in a shell.
fn environment(network: &Network) -> String {
    match network.store() {
        Stores::Local(_) => "DATASTORE_TYPE=local".to_owned(),
        Stores::Etcd(etcd) => format!("ETCD_ENDPOINTS={}", etcd.endpoint()),
    }
}

fn version_polls_until_it_is_stopped(network: &Network) -> Result<()> {
    let host = network.host();
    let said = network.ctl("version --poll=soon").refused()?;
    ensure!(said == "invalid poll duration specified: soon\n", "{said}");
    let cluster = format!("{RESOURCES}/clusterinformations/default");
    let set = |version: &str| {
        network.store().change(&cluster, |info| info["spec"]["calicoVersion"] = json!(version))
    };
    set("v3.32.0")?;
    let mut shell = command("/bin/sh");
    let line = format!("{} exec /opt/bin/calicoctl version --poll=20ms", environment(network));
    shell.args(["-c", &line]);
    let polling = host.serve("poll", shell, "Cluster Type:")?;
    let log = host.dir().join("poll.log");
    for version in ["v3.33.0", "v3.33.1"] {
        set(version)?;
        let mut tail = command("tail");
        tail.args(["-n", "+1", "-f"]).arg(&log);
        let tail = host.serve("tail", tail, version)?;
        let mut tail = tail.lock().map_err(|_| anyhow!("tail panicked"))?;
        tail.kill()?;
        tail.wait()?;
    }
    let mut polling = polling.lock().map_err(|_| anyhow!("calicoctl panicked"))?;
    ensure!(polling.try_wait()?.is_none(), "it didn't go on");
    polling.kill()?;
    polling.wait()?;
    let lines = printed(host, "poll")?;
    let count = |label: &str| lines.lines().filter(|line| line.starts_with(label)).count();
    ensure!(count("Client Version:") == 1 && count("Cluster Type:") == 1, "{lines}");
    ensure!(count("Cluster Version:") == 3, "a line is printed only when it is new: {lines}");
    Ok(())
}

/// At a terminal a person is told what takes more than a second; a program isn't.
#[test]
fn what_takes_long_is_told_at_a_terminal_only() {
    scene("ctl-patience", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { return Ok(()) };
        let host = network.host();
        let line = format!("{} /opt/bin/calicoctl get nodes", environment(&network));
        etcd.pause()?;
        let mut quiet = command("/bin/sh");
        quiet.args(["-c", &format!("echo begun; {line}; echo ended")]);
        let quiet = host.serve("quiet", quiet, "begun")?;
        let mut terminal = command("script");
        terminal.args(["-qec", &line, "/dev/null"]);
        // A second has gone by for the other one, too.
        let terminal = host.serve("terminal", terminal, "asking the datastore ...")?;
        etcd.resume()?;
        for service in [&quiet, &terminal] {
            let mut child = service.lock().map_err(|_| anyhow!("calicoctl panicked"))?;
            ensure!(child.wait()?.success(), "it failed");
        }
        let log = host.dir().join("quiet.log");
        let mut tail = command("tail");
        tail.args(["-n", "+1", "-f"]).arg(&log);
        host.serve("tail", tail, "ended")?;
        let said = printed(host, "quiet")?;
        ensure!(said == "begun\nNAME     \nnode-a   \n\nended\n", "{said}");
        Ok(())
    });
}
