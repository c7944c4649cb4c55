//! Calls of a former sandbox that come late never harm the new one of the same pod: the container's
//! id decides, and of two ADDs the later one stays.
//!
//! The late call is stopped at each of its points in turn; meanwhile the new sandbox is added; then
//! the late call goes on to its end.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, Network, Running, addresses, each_of, on_each_store};

/// A call for a sandbox of a case's pod in the namespace of a sandbox.
fn sandbox(network: &Network, verb: &str, at: &str, id: &str, netns: &str) -> Result<Call> {
    let mut config = network.config()?;
    // A stopped process may hold its lock, for which nobody shall wait here.
    config["ipam_lock_file"] = json!(format!("/run/lock-{id}-{at}"));
    let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{at}");
    let call = network.call(verb)?.container(&format!("{id}-{at}")).args(&args).config(&config);
    Ok(call.env("CNI_NETNS", &format!("/run/netns/{netns}-{at}")))
}

fn add_netns(network: &Network, name: &str) -> Result<()> {
    network.host().run(["ip", "netns", "add", name])?;
    network.host().run(["ip", "-n", name, "link", "set", "lo", "up"]).map(drop)
}

fn remove_netns(network: &Network, name: &str) -> Result<()> {
    network.host().run(["ip", "netns", "del", name]).map(drop)
}

/// The first ADD of all makes what stays, and reaches points of its own.
fn warm_up(network: &Network) -> Result<()> {
    let pod = network.host().pod("first")?;
    network.add(&pod, "first")?;
    network.del(&pod, "first")?;
    pod.remove()
}

/// Fails unless the attachment is as its ADD left it.
fn still_works(network: &Network, add: &Call, result: &Value) -> Result<()> {
    let mut config = network.config()?;
    config["prevResult"] = result.clone();
    add.verb("CHECK").config(&config).insist()?;
    for address in addresses(result)? {
        network.host().ping(address)?;
    }
    Ok(())
}

/// Adds the new sandbox of a case in this namespace while a late call stands still. The ADD, its
/// result, and the late call's answer.
fn overtake(
    network: &Network,
    at: &str,
    netns: &str,
    late: Running,
) -> Result<(Call, Value, Option<Answer>)> {
    let new = sandbox(network, "ADD", at, "new", netns)?;
    let mut hurried = network.config()?;
    if is_local(network) {
        // It may wait for the file in vain.
        hurried["timeout_seconds"] = json!({"add": 2});
    }
    let answer = new.clone().config(&hurried).run()?;
    if answer.exit == Some(0) {
        late.resume()?;
        return Ok((new, serde_json::from_str(&answer.stdout)?, Some(late.answer()?)));
    }
    // A process that stands still may be in the middle of a transaction, and keeps everybody from the
    // file. The runtime tries again.
    let (code, message) = answer.error()?;
    ensure!(is_local(network) && code == 11, "{code} {message}");
    late.resume()?;
    late.answer()?;
    let result = serde_json::from_str(&new.insist()?.stdout)?;
    Ok((new, result, None))
}

fn is_local(network: &Network) -> bool {
    matches!(network.store(), tests::Stores::Local(_))
}

#[test]
fn a_late_add_leaves_the_new_sandbox_alone() {
    on_each_store("late-add", |network| {
        warm_up(network)?;
        // With and without a sandbox before both of them.
        for has_former in [false, true] {
            let prepare = |at: &str| -> Result<()> {
                for netns in ["o", "p", "q"] {
                    add_netns(network, &format!("{netns}-{at}"))?;
                }
                if has_former {
                    sandbox(network, "ADD", at, "o", "o")?.insist()?;
                }
                Ok(())
            };
            let clean_up = |at: &str| -> Result<()> {
                sandbox(network, "DEL", at, "o", "o")?.insist()?;
                ["o", "p", "q"]
                    .iter()
                    .try_for_each(|netns| remove_netns(network, &format!("{netns}-{at}")))
            };
            prepare("trace")?;
            let late = sandbox(network, "ADD", "trace", "p", "p")?;
            let points = late.points()?;
            late.verb("DEL").insist()?;
            clean_up("trace")?;
            let before = network.before()?;
            let case = |index: usize| format!("{}{index}", if has_former { 'f' } else { 'n' });
            let play = |index: usize| -> Result<()> {
                let (at, point) = (case(index), &points[index]);
                prepare(&at)?;
                let late = sandbox(network, "ADD", &at, "p", "p")?;
                let Some(running) = late.stopped_at(point)? else {
                    // It came another way this time.
                    late.verb("DEL").insist()?;
                    return clean_up(&at);
                };
                let (new, result, answer) = overtake(network, &at, "q", running)?;
                // It may have done all that it had to before it was overtaken.
                if let Some(answer) = answer.filter(|answer| answer.exit != Some(0)) {
                    let (code, message) = answer.error()?;
                    ensure!([11, 101].contains(&code), "{code} {message}");
                }
                still_works(network, &new, &result).context("after the late ADD")?;
                late.verb("DEL").insist()?;
                still_works(network, &new, &result).context("after the late DEL")?;
                new.verb("DEL").insist()?;
                clean_up(&at)
            };
            each_of(points.len(), |index| {
                play(index)
                    .with_context(|| format!("{}: stopped at {}", case(index), points[index]))
            })?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn a_late_del_leaves_the_new_sandbox_alone_even_in_the_same_namespace() {
    on_each_store("late-del", |network| {
        warm_up(network)?;
        for same_netns in [false, true] {
            let netns = if same_netns { "p" } else { "q" };
            let prepare = |at: &str| -> Result<Call> {
                for netns in ["p", "q"] {
                    add_netns(network, &format!("{netns}-{at}"))?;
                }
                let late = sandbox(network, "ADD", at, "p", "p")?;
                late.insist()?;
                Ok(late.verb("DEL"))
            };
            let clean_up = |at: &str| -> Result<()> {
                ["p", "q"]
                    .iter()
                    .try_for_each(|netns| remove_netns(network, &format!("{netns}-{at}")))
            };
            let late = prepare("trace")?;
            let points = late.points()?;
            clean_up("trace")?;
            let before = network.before()?;
            let case = |index: usize| format!("{}{index}", if same_netns { 's' } else { 'o' });
            let play = |index: usize| -> Result<()> {
                let (at, point) = (case(index), &points[index]);
                let late = prepare(&at)?;
                let Some(running) = late.stopped_at(point)? else { return clean_up(&at) };
                if same_netns {
                    // The path is given to another sandbox.
                    remove_netns(network, &format!("p-{at}"))?;
                    add_netns(network, &format!("p-{at}"))?;
                }
                let (new, result, answer) = overtake(network, &at, netns, running)?;
                ensure!(answer.is_none_or(|answer| answer.exit == Some(0)), "the late DEL failed");
                still_works(network, &new, &result).context("after the late DEL")?;
                late.insist()?;
                late.clone().without("CNI_NETNS").insist()?;
                still_works(network, &new, &result).context("after one more DEL")?;
                new.verb("DEL").insist()?;
                clean_up(&at)
            };
            each_of(points.len(), |index| {
                play(index)
                    .with_context(|| format!("{}: stopped at {}", case(index), points[index]))
            })?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn a_late_del_of_a_second_interface_leaves_the_rules_of_the_namespaces_new_owner() {
    on_each_store("late-net1", |network| {
        let pod = network.host().pod("p1")?;
        let new = network.call("ADD")?.container("c2").pod(&pod);
        new.result()?;
        let second = new.clone().ifname("net1");
        let result = second.result()?;
        let rules = || pod.run(["ip", "rule", "show"]);
        let before = rules()?;
        ensure!(before.lines().count() > 3, "no rule of its own: {before}");
        // The runtime had given the same path to a container that is gone.
        network.call("DEL")?.container("c1").pod(&pod).ifname("net1").done()?;
        ensure!(rules()? == before, "{}", rules()?);
        network.check(&pod, "c2", &result)?.done()?;
        second.verb("DEL").done()?;
        ensure!(rules()?.lines().count() == 3, "{}", rules()?);
        Ok(())
    });
}

#[test]
fn a_late_payment_leaves_an_address_alone_that_somebody_else_has_now() {
    on_each_store("late-payment", |network| {
        // Its own lock and its own container make a case.
        let call = |verb: &str, id: &str, at: &str| -> Result<Call> {
            let mut config = network.config()?;
            config["ipam_lock_file"] = json!(format!("/run/lock-{id}-{at}"));
            let call = network.call(verb)?.container(&format!("{id}-{at}")).config(&config);
            Ok(call.env("CNI_NETNS", &format!("/run/netns/{id}-{at}")))
        };
        // A container that went while the store was away; its address.
        let owe = |at: &str| -> Result<String> {
            for id in ["c", "d"] {
                add_netns(network, &format!("{id}-{at}"))?;
            }
            let add = call("ADD", "c", at)?;
            let result = add.result()?;
            let mut config = network.config()?;
            config["datastore_type"] = json!("etcdv3");
            config["etcd_endpoints"] = json!("http://127.0.0.1:1");
            config["nodename"] = json!(network.host().name());
            add.verb("DEL").config(&config).done()?;
            Ok(addresses(&result)?.first().context("no address")?.to_string())
        };
        let clean_up = |at: &str| -> Result<()> {
            ["c", "d"].iter().try_for_each(|id| remove_netns(network, &format!("{id}-{at}")))
        };
        owe("trace")?;
        let points = call("DEL", "x", "trace")?.points()?;
        clean_up("trace")?;
        let before = network.before()?;
        // One after the other: there is one folder of notes.
        for (index, point) in points.iter().enumerate() {
            let at = format!("p{index}");
            let address = owe(&at)?;
            let payer = call("DEL", "x", &at)?;
            let Some(running) = payer.stopped_at(point)? else {
                clean_up(&at)?;
                continue;
            };
            let stolen = || -> Result<Value> {
                // What an operator does who finds the address in the way.
                let ipam = network.ipam("DEL")?.container(&format!("c-{at}"));
                let mut config = network.config()?;
                if is_local(network) {
                    // Who stands still may keep everybody from the file.
                    config["timeout_seconds"] = json!({"del": 3});
                }
                config["ipam_lock_file"] = json!("/run/lock-operator");
                ipam.config(&config).done()?;
                call("ADD", "d", &at)?.args(&format!("IP={address}")).result()
            };
            let result = match stolen() {
                Err(error) => {
                    ensure!(is_local(network), "stopped at {point}: {error:#}");
                    running.resume()?;
                    running.answer()?;
                    call("ADD", "d", &at)?.args(&format!("IP={address}")).result()?
                }
                Ok(result) => {
                    running.resume()?;
                    let answer = running.answer()?;
                    ensure!(answer.exit == Some(0), "stopped at {point}: {answer:#?}");
                    result
                }
            };
            payer.done()?;
            let add = call("ADD", "d", &at)?;
            still_works(network, &add, &result).with_context(|| format!("stopped at {point}"))?;
            add.verb("DEL").done()?;
            clean_up(&at)?;
        }
        before.nothing_left()
    });
}

/// GC looks at the handles of all nodes, and another node may delete a container of its own meanwhile.
#[test]
fn a_gc_that_comes_late_bears_that_others_delete() {
    on_each_store("late-gc", |network| {
        let gc = |at: &str| -> Result<Call> {
            let mut config = network.config()?;
            config["ipam_lock_file"] = json!(format!("/run/lock-{at}"));
            config["cni.dev/valid-attachments"] = json!([]);
            config["cniVersion"] = json!("1.1.0");
            let call = network.call("GC")?.config(&config);
            Ok(call.without("CNI_CONTAINERID").without("CNI_IFNAME").without("CNI_NETNS"))
        };
        // Only the address: what the kernel has is the node's own affair.
        let prepare = |at: &str| -> Result<Call> {
            let mut config = network.config()?;
            config["timeout_seconds"] = json!({"del": 2});
            let add = network.ipam("ADD")?.container(&format!("c-{at}")).config(&config);
            add.result()?;
            Ok(add.verb("DEL"))
        };
        prepare("trace")?;
        let points = gc("trace")?.points()?;
        ensure!(points.len() > 3, "{points:?}");
        let before = network.before()?;
        // One after the other: a GC is about all containers.
        for (index, point) in points.iter().enumerate() {
            let at = format!("g{index}");
            let del = prepare(&at)?;
            let Some(running) = gc(&at)?.stopped_at(point)? else { continue };
            let answer = del.run()?;
            running.resume()?;
            let late = running.answer()?;
            ensure!(late.exit == Some(0), "stopped at {point}: {late:#?}");
            if answer.exit != Some(0) {
                // It stood still in the middle of a transaction.
                let (code, message) = answer.error()?;
                ensure!(is_local(network) && code == 11, "{code} {message}");
                del.done()?;
            }
            before.nothing_left().with_context(|| format!("stopped at {point}"))?;
        }
        Ok(())
    });
}
