//! `ipam check --fix`: damage is reported, repaired and gone; what must stay stays.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Network, objects, on_both_stores};

use crate::{add, containers, endpoint, json_of};

on_both_stores! {
    each_kind_of_damage_is_reported_repaired_and_gone
    nothing_is_repaired_without_being_asked
    an_address_in_use_is_never_touched
    leaked_addresses_go_with_their_node_or_under_the_lock
    services_and_windows_are_not_taken_for_leaks
    repairs_and_adds_cross
}

const BLOCK: &str = "/calico/ipam/v2/assignment/ipv4/block/";
const HANDLE: &str = "/calico/ipam/v2/handle/";

/// The key and value of the only block.
fn block(network: &Network) -> Result<(String, Value)> {
    let dump = network.store().dump()?;
    let (key, value) = dump.under(BLOCK).next().context("no block")?;
    Ok((key.to_owned(), value.clone()))
}

/// The key of the affinity of a block for a node.
fn affinity(block: &str, node: &str) -> String {
    block.replace("/assignment/", &format!("/host/{node}/"))
}

fn each_kind_of_damage_is_reported_repaired_and_gone(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1", "c2"])?;
    for (index, ip) in ips.iter().enumerate() {
        network.put([endpoint(&format!("w{index}"), ip)])?;
    }
    let (key, sound) = block(network)?;
    let own = affinity(&key, "node-a");
    let handle = network.store().dump()?.handles().first().context("no handle")?.to_string();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut damaged = sound.clone();
        change(&mut damaged);
        Some(damaged)
    };
    let cidr = sound["cidr"].as_str().context("no cidr")?.to_owned();
    let empty = json!({"cidr": "10.66.0.4/30", "affinity": null, "allocations": [null, null, null, null],
                       "unallocated": [0, 1, 2, 3], "attributes": null, "sequenceNumber": 7,
                       "sequenceNumberForAllocation": {}, "deleted": false});
    let damages: Vec<(&str, String, Option<Value>)> = vec![
        ("wrote its free list", key.clone(), changed(&|block| block["unallocated"] = json!([2]))),
        (
            "wrote its free list",
            key.clone(),
            changed(&|block| block["unallocated"] = json!([2, 3, 0])),
        ),
        (
            "wrote its free list",
            key.clone(),
            changed(&|block| {
                if let Some(list) = block["attributes"].as_array_mut() {
                    list.push(json!({"handle_id": "nobody"}));
                }
            }),
        ),
        (
            "wrote its free list",
            key.clone(),
            changed(&|block| block["sequenceNumberForAllocation"]["3"] = json!(5)),
        ),
        ("confirmed that it belongs to host:node-a", own.clone(), None),
        ("confirmed that it belongs", own.clone(), Some(json!({"state": "pending"}))),
        ("confirmed that it belongs", own.clone(), Some(json!({"state": "pendingDeletion"}))),
        (
            "there is no such block",
            affinity(&format!("{BLOCK}10.66.0.12-30"), "node-a"),
            Some(json!({"state": "confirmed", "deleted": false})),
        ),
        (
            "as host:node-a has the block",
            affinity(&key, "node-b"),
            Some(json!({"state": "confirmed"})),
        ),
        ("empty and ownerless", format!("{BLOCK}10.66.0.4-30"), Some(empty.clone())),
        (
            "empty and in no pool",
            format!("{BLOCK}10.99.0.4-30"),
            Some(json!({"cidr": "10.99.0.4/30", "affinity": "host:node-a",
                        "allocations": [null, null, null, null], "unallocated": [0, 1, 2, 3],
                        "attributes": null, "sequenceNumber": 7, "deleted": false})),
        ),
        ("made anew for its 1 addresses", handle.clone(), None),
        (
            "counts its 1 addresses now",
            handle.clone(),
            Some(json!({"block": {cidr.clone(): 3}, "deleted": false})),
        ),
        ("has no address", format!("{HANDLE}idle"), Some(json!({"block": {cidr.clone(): 1}}))),
        ("has no address", format!("{HANDLE}none"), Some(json!({"block": {}}))),
    ];
    for (told, key, value) in damages {
        network.store().write(&[(key.clone(), value.clone())])?;
        let what = format!("{key} = {value:?}");
        let dump = network.store().dump()?;
        ensure!(!dump.check().problems.is_empty(), "{what}: the checker finds nothing");
        let check = network.ctl("ipam check").ok()?;
        let is_told = check.contains("further problems")
            || check.contains("Found 1 invalid IPAMBlocks.")
            || check.contains("Found 1 handles with no matching IPs");
        ensure!(is_told, "{what}: {check}");
        let fixed = network.ctl("ipam check --fix").ok()?;
        ensure!(fixed.contains(told), "{what}: {fixed}");
        let dump = network.store().dump()?;
        ensure!(dump.check().problems.is_empty(), "{what}: {:#?}", dump.check().problems);
        ensure!(dump.allocations().len() == 2, "{what}: {:?}", dump.allocations());
        let clean = network.ctl("ipam check --fix").ok()?;
        ensure!(clean.contains("Check complete; found 0 problems.\n"), "{what}: {clean}");
        ensure!(clean.ends_with("Repaired 0 things.\n"), "{what}: {clean}");
    }
    Ok(())
}

fn nothing_is_repaired_without_being_asked(network: &Network) -> Result<()> {
    containers(network, &["c1"])?;
    let (key, _) = block(network)?;
    network.remove(&affinity(&key, "node-a"))?;
    let before = network.store().dump()?;
    network.ctl("ipam check --show-all-ips").ok()?;
    network.ctl("ipam check -o report.json").ok()?;
    ensure!(network.store().dump()? == before);
    let json = json_of(network, "ipam check -o json")?;
    ensure!(json["allocations"].as_object().map(serde_json::Map::len) == Some(1), "{json}");
    network.ctl("ipam check --fix").ok()?;
    network.store().dump()?.consistent()
}

/// Neither an address that an endpoint has without an allocation, nor one whose record is lost, nor
/// the allocations of a block that is in no pool.
fn an_address_in_use_is_never_touched(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1"])?;
    network.put([endpoint("w1", &ips[0]), endpoint("w2", "10.66.0.13")])?;
    let (key, sound) = block(network)?;
    let fixed = network.ctl("ipam check --fix --show-problem-ips").ok()?;
    ensure!(fixed.contains("10.66.0.13 in use by Workload(default/w2) and in active"), "{fixed}");
    ensure!(block(network)?.1 == sound);

    let mut lost = sound.clone();
    lost["allocations"][3] = json!(7);
    network.put([(key.clone(), lost.clone())])?;
    let fixed = network.ctl("ipam check --fix").ok()?;
    ensure!(fixed.contains("left alone: block") && fixed.contains("backup"), "{fixed}");
    ensure!(block(network)?.1 == lost);

    network.put([(key, sound.clone())])?;
    network.remove(&objects::pool("pool-a", "10.66.0.0/28", 30).0)?;
    let fixed = network.ctl("ipam check --fix --release-leaked").ok()?;
    ensure!(fixed.contains("is in no pool and has addresses in use"), "{fixed}");
    ensure!(block(network)?.1 == sound);
    network.put([objects::pool("pool-a", "10.66.0.0/28", 30)])?;
    network.remove(&endpoint("w2", "10.66.0.13").0)
}

fn leaked_addresses_go_with_their_node_or_under_the_lock(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1", "c2"])?;
    network.put([endpoint("w1", &ips[0])])?;
    let fixed = network.ctl("ipam check --fix").ok()?;
    ensure!(fixed.contains("left alone: 1 addresses"), "{fixed}");
    // The node lives: an ADD of upstream's may be between the address and the endpoint.
    let fixed = network.ctl("ipam check --fix --release-leaked").ok()?;
    ensure!(fixed.contains("left alone: 1 addresses"), "{fixed}");
    ensure!(network.store().dump()?.allocations().len() == 2);
    network.ctl("datastore lock").ok()?;
    let fixed = network.ctl("ipam check --fix --release-leaked").ok()?;
    ensure!(fixed.contains(&format!("address {}: released", ips[1])), "{fixed}");
    ensure!(network.store().dump()?.allocations().len() == 1);
    network.ctl("datastore unlock").ok()?;

    add(network, &["c3"])?;
    network.remove(&objects::node("node-a").0)?;
    let fixed = network.ctl("ipam check --fix --release-leaked").ok()?;
    ensure!(fixed.contains("released, as nobody uses it"), "{fixed}");
    let dump = network.store().dump()?;
    ensure!(dump.allocations().len() == 1, "{:?}", dump.allocations());
    network.put([objects::node("node-a")])?;
    let refused = network.ctl("ipam check --release-leaked").run()?;
    ensure!(refused.exit == Some(1), "{refused:?}");
    Ok(())
}

/// What only Kubernetes' Services or Windows know of must not be released by a report.
fn services_and_windows_are_not_taken_for_leaks(network: &Network) -> Result<()> {
    containers(network, &["c1"])?;
    let (key, mut block) = block(network)?;
    block["attributes"][0]["secondary"] =
        json!({"type": "LoadBalancer", "service": "web", "namespace": "shop"});
    block["allocations"][3] = json!(1);
    block["unallocated"] = json!([1, 2]);
    let records = block["attributes"].as_array_mut().context("no records")?;
    records.push(json!({"handle_id": "windows-reserved-ipam-handle",
                        "secondary": {"note": "windows host rsvd"}}));
    network.put([(key, block)])?;
    let check = network.ctl("ipam check -o report.json").ok()?;
    ensure!(
        check.contains("Found 0 IPs that are allocated in IPAM but not actually in use."),
        "{check}"
    );
    let report = network.host().path("/var/lib/operator/report.json");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
    let owners = report["allocations"].to_string();
    ensure!(
        owners.contains("Service(shop/web)") && owners.contains("Reserved for Windows"),
        "{owners}"
    );
    ensure!(!owners.contains("\"inUse\":false"), "{owners}");
    Ok(())
}

/// Repairs while addresses come and go: at the end everything is sound, and nobody lost anything.
fn repairs_and_adds_cross(network: &Network) -> Result<()> {
    containers(network, &["c0"])?;
    let idle = |n: u32| format!("{HANDLE}idle-{n}");
    std::thread::scope(|scope| {
        let adds = scope.spawn(|| -> Result<()> {
            for round in 1..=10 {
                let id = format!("c{round}");
                network.ipam("ADD")?.container(&id).result()?;
                if round % 2 == 0 {
                    network.ipam("DEL")?.container(&id).done()?;
                }
            }
            Ok(())
        });
        for round in 0..6 {
            network
                .put([(idle(round), json!({"block": {"10.66.0.0/30": 1}, "deleted": false}))])?;
            network.ctl("ipam check --fix").ok()?;
        }
        adds.join().map_err(|_| anyhow::anyhow!("an ADD panicked"))?
    })?;
    network.ctl("ipam check --fix").ok()?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().len() == 6, "{:?}", dump.allocations());
    ensure!(dump.handles().len() == 6, "{:?}", dump.handles());
    dump.consistent()
}
