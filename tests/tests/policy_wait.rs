//! `policy_setup_timeout_seconds` (`reference/cni-plugin.md` section 3.10), with a stand-in for
//! Felix that reads the endpoint out of the store and writes its file, as Felix does.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, LIMIT, Network, Pod, on_each_store};

const ARGS: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0";
const FILE: &str = "k8s shop%2Fcart-0 eth0";
const FOLDER: &str = "/run/calico/endpoint-status";

/// An ADD of the pod that waits for Felix.
fn add(network: &mut Network, pod: &Pod, seconds: i64) -> Result<Call> {
    let plugin = &mut network.conflist_mut()["plugins"][0];
    plugin["policy_setup_timeout_seconds"] = json!(seconds);
    plugin["endpoint_status_dir"] = json!(FOLDER);
    Ok(network.call("ADD")?.pod(pod).args(ARGS))
}

/// Runs an ADD while Felix does its work.
fn with_felix(call: &Call, felix: impl FnOnce() -> Result<()>) -> Result<Answer> {
    thread::scope(|scope| {
        let answer = scope.spawn(|| call.run());
        let outcome = felix();
        let answer = answer.join().expect("a call doesn't panic")?;
        outcome.with_context(|| format!("{answer:#?}"))?;
        Ok(answer)
    })
}

/// What Felix writes of an endpoint, once the store has one with this container.
fn status_of(network: &Network, container: &str) -> Result<Value> {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        let Ok((_, endpoint)) = network.store().endpoint("-k8s-cart--0-eth0") else { continue };
        let spec = &endpoint["spec"];
        if spec["containerID"] != container {
            continue;
        }
        let nets: Vec<&Value> = spec["ipNetworks"].as_array().into_iter().flatten().collect();
        let (v6, v4): (Vec<&Value>, Vec<&Value>) =
            nets.into_iter().partition(|net| net.as_str().is_some_and(|net| net.contains(':')));
        return Ok(json!({
            "ifaceName": spec["interfaceName"], "mac": spec["mac"],
            "ipv4Nets": v4, "ipv6Nets": v6,
        }));
    }
    bail!("no endpoint of {container}")
}

fn succeeded(answer: &Answer) -> Result<()> {
    ensure!(answer.exit == Some(0), "{answer:#?}");
    Ok(())
}

fn waited_in_vain(answer: &Answer) -> bool {
    answer.stderr.contains("Felix has not said")
}

#[test]
fn the_pod_starts_when_felix_says_so() {
    on_each_store("policy", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let call = add(network, &pod, 25)?;
        let answer = with_felix(&call, || {
            let status = status_of(network, "c1")?;
            network.host().write(&format!("{FOLDER}/{FILE}"), status.to_string())
        })?;
        succeeded(&answer)?;
        ensure!(!waited_in_vain(&answer), "{}", answer.stderr);
        call.verb("DEL").done()?;
        before.nothing_left()
    });
}

#[test]
fn a_felix_that_says_nothing_is_no_failure() {
    on_each_store("policy-late", |network| {
        let pod = network.host().pod("p1")?;
        let answer = add(network, &pod, 1)?.run()?;
        succeeded(&answer)?;
        ensure!(waited_in_vain(&answer) && answer.stderr.contains(FILE), "{}", answer.stderr);
        let result: Value = serde_json::from_str(&answer.stdout)?;
        network.check(&pod, "c1", &result)?.args(ARGS).done()
    });
}

#[test]
fn fix_9_the_file_of_a_former_sandbox_is_not_taken_for_this_ones() {
    on_each_store("policy-stale", |network| {
        let path = format!("{FOLDER}/{FILE}");
        let pod = network.host().pod("p1")?;
        let first = with_felix(&add(network, &pod, 25)?, || {
            network.host().write(&path, status_of(network, "c1")?.to_string())
        })?;
        succeeded(&first)?;
        let stale = fs::read(network.host().path(&path))?;
        let pod = network.host().pod("p2")?;
        // The kubelet has made a new sandbox; Felix hasn't noticed yet.
        let answer = add(network, &pod, 1)?.container("c2").run()?;
        succeeded(&answer)?;
        ensure!(waited_in_vain(&answer), "{}", answer.stderr);
        // It is Felix' file, and stays as Felix left it.
        ensure!(fs::read(network.host().path(&path))? == stale);
        let pod = network.host().pod("p3")?;
        let call = add(network, &pod, 25)?.container("c3");
        let answer = with_felix(&call, || {
            // First something about the former one, late.
            network.host().write(&path, &stale)?;
            network.host().write(&path, status_of(network, "c3")?.to_string())
        })?;
        succeeded(&answer)?;
        ensure!(!waited_in_vain(&answer), "{}", answer.stderr);
        Ok(())
    });
}

#[test]
fn only_pods_wait_and_only_when_it_is_switched_on() {
    on_each_store("policy-off", |network| {
        let pod = network.host().pod("p1")?;
        // Whatever the limit of the call: these would not be done within it.
        let container =
            add(network, &pod, 3600)?.without("CNI_ARGS").limit(Duration::from_secs(20));
        let answer = container.run()?;
        succeeded(&answer)?;
        ensure!(!waited_in_vain(&answer), "{}", answer.stderr);
        container.verb("DEL").done()?;
        let off = add(network, &pod, 0)?.limit(Duration::from_secs(20));
        let answer = off.run()?;
        succeeded(&answer)?;
        ensure!(!waited_in_vain(&answer), "{}", answer.stderr);
        off.verb("DEL").done()?;
        let before = network.before()?;
        let (code, message) = add(network, &pod, -1)?.error()?;
        ensure!(code == 7 && message.contains("policy_setup_timeout_seconds"), "{code} {message}");
        before.nothing_left()
    });
}
