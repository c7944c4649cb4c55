//! The commands of Calico's early documents, on both stores: texts and tables byte for byte, and what
//! is stored (`reference/calicoctl.md` sections 1.1, 1.2 and 2).

#[path = "calicoctl_classic/endpoints.rs"]
mod endpoints;
#[path = "calicoctl_classic/network.rs"]
mod network;
#[path = "calicoctl_classic/profiles.rs"]
mod profiles;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network, RESOURCES, objects};

tests::on_both_stores! {
    what_is_no_more
    every_command_of_the_early_documents_answers
}

fn says(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.ok()?;
    ensure!(said == expected, "said\n{said}instead of\n{expected}");
    Ok(())
}

fn refuses(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.refused()?;
    ensure!(said == format!("{expected}\n"), "refused with {said:?} instead of {expected:?}");
    Ok(())
}

/// The spec of a stored object.
fn spec(network: &Network, plural: &str, name: &str) -> Result<Value> {
    let key = format!("{RESOURCES}/{plural}/{name}");
    let dump = network.store().dump()?;
    Ok(dump.0.get(&key).with_context(|| format!("no {key}"))?["spec"].clone())
}

/// The values of some fields of a stored object.
fn fields(network: &Network, plural: &str, name: &str, names: &[&str]) -> Result<Value> {
    let spec = spec(network, plural, name)?;
    Ok(names.iter().map(|name| spec[*name].clone()).collect())
}

/// An endpoint that another program stored.
fn endpoint(node: &str, orchestrator: &str, workload: &str, spec: &Value) -> (String, Value) {
    let mut object = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "namespace": "default", "uid": "cca955fb-e8c8-4916-aee1-ecfb73ef0585",
            "creationTimestamp": "2026-11-21T15:04:33Z",
            "labels": {"projectcalico.org/namespace": "default",
                       "projectcalico.org/orchestrator": orchestrator},
        },
        "spec": {"orchestrator": orchestrator, "workload": workload, "node": node,
                 "endpoint": "eth0", "interfaceName": "cali0123"},
    });
    if orchestrator == "cni" {
        object["spec"]["workload"] = json!("");
        object["spec"]["containerID"] = json!(workload);
    }
    for (name, value) in spec.as_object().into_iter().flatten() {
        object["spec"][name] = value.clone();
    }
    let parts = [node, orchestrator, workload, object["spec"]["endpoint"].as_str().unwrap_or("")];
    let name = parts.map(|part| part.replace('-', "--")).join("-");
    object["metadata"]["name"] = json!(name);
    (format!("{RESOURCES}/workloadendpoints/default/{name}"), object)
}

fn what_is_no_more(network: &Network) -> Result<()> {
    for line in [
        "restart-docker-with-alternative-unix-socket",
        "restart-docker-without-alternative-unix-socket",
    ] {
        refuses(
            network.ctl(line),
            "the proxy in front of Docker's socket ended with Calico v0.5, and with it this \
             command: see calicoctl container add",
        )?;
    }
    refuses(
        network.ctl("diags --upload"),
        "--upload is no more: nothing is sent anywhere; calicoctl diags prints the path of the \
         bundle",
    )?;
    // The same as the commands of today.
    for command in ["status", "checksystem"] {
        let (early, today) =
            (network.ctl(command).run()?, network.ctl(&format!("node {command}")).run()?);
        let answer =
            |answer: &tests::Answer| (answer.exit, answer.stdout.clone(), answer.stderr.clone());
        ensure!(answer(&early) == answer(&today), "{early:?} {today:?}");
        ensure!(!early.stdout.is_empty() || !early.stderr.is_empty());
    }
    let bundle = network.ctl("diags").ok()?;
    ensure!(bundle.contains("diags-"), "{bundle}");
    Ok(())
}

/// Section 1.1 row by row, in the order of the seed, as somebody would type it who reads the
/// documents of the time. Each line succeeds, or says in one line why not.
fn every_command_of_the_early_documents_answers(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.65.0.0/24", 26)])?;
    let host = network.host();
    let _pods = (host.pod("a")?, host.pod("b")?);
    let e = "node--a-docker-run--netns--a-eth1";
    let lines = [
        ("node --ip=192.0.2.1 --ip6=2001:db8::1 --node-image=calico/node --as=64511", false),
        ("node bgppeer add 10.0.0.9 as 64512", true),
        ("node bgppeer show", true),
        ("node bgppeer show --ipv4", true),
        ("node bgppeer remove 10.0.0.9", true),
        ("profile add PROF_A", true),
        ("profile add PROF_B", true),
        ("profile show", true),
        ("profile show --detailed", true),
        ("profile PROF_A tag show", true),
        ("profile PROF_A tag add TAG_1", true),
        ("profile PROF_A tag remove TAG_1", true),
        ("profile PROF_A rule add inbound allow from tag PROF_B", true),
        ("profile PROF_A rule add outbound --at=1 deny tcp to ports 25", true),
        ("profile PROF_A rule show", true),
        ("profile PROF_A rule json", true),
        ("profile PROF_A rule update", false),
        ("profile PROF_A rule remove outbound --at=1", true),
        ("profile PROF_A rule remove inbound allow from tag PROF_B", true),
        ("pool add 192.168.0.0/16 --ipip --nat-outgoing", true),
        ("pool add fd80:24e2:f998:72d6::/64", true),
        ("pool show", true),
        ("pool show --ipv6", true),
        ("pool remove fd80:24e2:f998:72d6::/64", true),
        ("pool range add 10.7.0.0 10.7.1.255", true),
        ("default-node-as", true),
        ("default-node-as 64511", true),
        ("bgppeer add 10.0.0.8 as 64600", true),
        ("bgppeer show", true),
        ("bgppeer show --ipv6", true),
        ("bgppeer remove 10.0.0.8", true),
        ("bgp-node-mesh", true),
        ("bgp-node-mesh off", true),
        ("bgp-node-mesh on", true),
        ("bgp peer show", true),
        ("bgp node-mesh", true),
        ("bgp default-node-as", true),
        ("node bgp peer show", true),
        ("container add /run/netns/a 192.168.0.1 --interface=eth1", true),
        ("container add /run/netns/b 192.168.0.2", true),
        ("container /run/netns/a ip add 192.168.0.3 --interface=eth1", true),
        ("container /run/netns/a ip remove 192.168.0.3 --interface=eth1", true),
        ("container /run/netns/a endpoint-id show", true),
        ("container /run/netns/a profile append PROF_A", true),
        ("container /run/netns/a profile set PROF_B", true),
        ("container /run/netns/a profile remove PROF_B", true),
        ("endpoint show", true),
        (
            "endpoint show --host=node-a --orchestrator=docker --workload=run-netns-a --detailed",
            true,
        ),
        (&format!("endpoint {e} profile append --host=node-a PROF_A PROF_B"), true),
        (&format!("endpoint {e} profile show"), true),
        (&format!("endpoint {e} profile set --orchestrator=docker PROF_A"), true),
        (&format!("endpoint {e} profile remove --workload=run-netns-a PROF_A"), true),
        ("container remove /run/netns/a --force", true),
        ("container remove /run/netns/b", true),
        ("profile remove PROF_A", true),
        ("profile remove PROF_B", true),
        ("diags", true),
        ("diags --upload", false),
        ("checksystem", true),
        ("status", false),
        ("restart-docker-with-alternative-unix-socket", false),
        ("restart-docker-without-alternative-unix-socket", false),
        ("config set logLevel debug", true),
        ("config get logLevel", true),
        ("config unset logLevel", true),
        ("config get LogSeverityScreen --raw=felix", true),
        ("node stop --force", true),
    ];
    for (line, succeeds) in lines {
        let answer = network.ctl(line).run()?;
        // What the kernel of the test machine has is not our matter.
        let succeeds = if line == "checksystem" { answer.exit == Some(0) } else { succeeds };
        ensure!(answer.exit == Some(if succeeds { 0 } else { 1 }), "{line}: {answer:?}");
        if !succeeds {
            ensure!(answer.stderr.lines().count() == 1, "{line}: {answer:?}");
        }
        for word in ["unknown command", "unknown flag", "unexpected", "panicked", "not there yet"] {
            ensure!(!answer.stderr.contains(word), "{line}: {answer:?}");
        }
    }
    Ok(())
}
