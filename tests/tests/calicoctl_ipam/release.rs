//! Giving addresses back: single ones, and what reports of a check list.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{Network, objects, on_both_stores};

use crate::{add, containers, endpoint, json_of};

on_both_stores! {
    an_address_in_use_is_kept
    a_tunnel_keeps_its_address
    a_report_needs_the_lock_its_cluster_and_to_be_new
    several_reports_release_what_all_of_them_list
    what_is_used_since_the_report_is_kept
    a_handle_without_addresses_goes_if_nobody_changed_it
    a_release_and_an_add_cross
}

/// Upstream gives it away (section 9, number 8).
fn an_address_in_use_is_kept(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1"])?;
    let ip = ips.first().context("no address")?;
    network.put([endpoint("w1", ip)])?;
    let refused = network.ctl(&format!("ipam release --ip {ip}")).refused()?;
    let wanted = format!("IP address {ip} is in use by Workload(default/w1)");
    ensure!(refused.starts_with(&wanted) && refused.contains("--force"), "{refused}");
    ensure!(refused.lines().count() == 1, "{refused}");
    let show = network.ctl(&format!("ipam show --ip {ip}")).ok()?;
    ensure!(show.starts_with(&format!("IP {ip} is in use\nHandle ID: ")), "{show}");
    let done = network.ctl(&format!("ipam release --ip {ip} --force")).ok()?;
    ensure!(done == format!("Successfully released IP address {ip}\n"), "{done}");
    let again = network.ctl(&format!("ipam release --ip {ip} --force")).refused()?;
    ensure!(again == format!("IP address {ip} is not assigned\n"), "{again}");
    network.remove(&endpoint("w1", ip).0)
}

fn a_tunnel_keeps_its_address(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1"])?;
    let ip = ips.first().context("no address")?;
    let (key, mut node) = objects::node("node-a");
    node["spec"]["bgp"]["ipv4IPIPTunnelAddr"] = json!(ip);
    network.put([(key, node)])?;
    let refused = network.ctl(&format!("ipam release --ip {ip}")).refused()?;
    ensure!(refused.contains("in use by Node(node-a)"), "{refused}");
    network.put([objects::node("node-a")])
}

fn a_report_needs_the_lock_its_cluster_and_to_be_new(network: &Network) -> Result<()> {
    containers(network, &["c1"])?;
    network.ctl("ipam check -o old.json").ok()?;
    let release = |files: &str| network.ctl(&format!("ipam release {files}"));
    let refused = release("--from-report old.json").refused()?;
    ensure!(refused.contains("the datastore is not locked"), "{refused}");
    network.ctl("datastore lock").ok()?;
    let refused = release("--from-report old.json").refused()?;
    ensure!(refused.contains("every report is older than the lock"), "{refused}");

    let folder = "/var/lib/operator";
    let text = std::fs::read_to_string(network.host().path(&format!("{folder}/old.json")))?;
    let guid = "89d0a9d4d914493ca0901f78b3b2e4e6";
    let other = text.replace(guid, "00000000000000000000000000000000");
    ensure!(other != text, "no GUID in {text}");
    network.host().write(&format!("{folder}/other.json"), &other)?;
    let refused = release("--from-report other.json --force").refused()?;
    ensure!(refused.contains("report other.json is of cluster"), "{refused}");
    network.host().write(&format!("{folder}/broken.json"), "{\"allocations\": 1}")?;
    let refused = release("--from-report broken.json").refused()?;
    ensure!(refused.starts_with("broken.json is no report of a check"), "{refused}");
    let refused = release("--from-report absent.json").refused()?;
    ensure!(refused.starts_with("failed to read the report absent.json"), "{refused}");

    // Nothing was released until one of them is new.
    network.ctl("ipam check -o new.json").ok()?;
    let done = release("--from-report old.json --from-report new.json").ok()?;
    let wanted = "Releasing 1 old IPs...\nReleased 1 IPs successfully\nReport didn't contain any \
                  handles to clean up.\nYou may now unlock the data store.\n";
    ensure!(done == wanted, "{done}");
    ensure!(network.store().dump()?.allocations().is_empty());
    network.ctl("datastore unlock").ok()?;
    Ok(())
}

fn several_reports_release_what_all_of_them_list(network: &Network) -> Result<()> {
    let first = containers(network, &["c1", "c2"])?;
    network.ctl("ipam check -o one.json").ok()?;
    // Between the reports: one comes into use, one is given anew, one is new.
    network.put([endpoint("w1", &first[0])])?;
    network.ipam("DEL")?.container("c2").done()?;
    add(network, &["c3", "c4", "c5"])?;
    network.ctl("datastore migrate lock").ok()?;
    network.ctl("ipam check -o two.json").ok()?;
    let line = "ipam release --from-report one.json --from-report two.json -o json";
    let done = json_of(network, line)?;
    ensure!(done["released"] == json!([]) && done["error"].is_null(), "{done}");
    ensure!(network.store().dump()?.allocations().len() == 4);
    let done = json_of(network, "ipam release --from-report two.json -o json")?;
    ensure!(done["released"].as_array().map(Vec::len) == Some(3), "{done}");
    ensure!(network.store().dump()?.allocations().len() == 1);
    network.ctl("datastore migrate unlock").ok()?;
    network.remove(&endpoint("w1", &first[0]).0)
}

/// A report lists an address between its allocation and the endpoint that will use it.
fn what_is_used_since_the_report_is_kept(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1", "c2"])?;
    network.ctl("ipam check -o report.json").ok()?;
    network.put([endpoint("w1", &ips[0])])?;
    let done = network.ctl("ipam release --from-report report.json --force").ok()?;
    let kept = format!("Kept {}, which Workload(default/w1) uses by now.\n", ips[0]);
    ensure!(done.contains(&kept) && done.contains("Released 1 IPs successfully"), "{done}");
    ensure!(network.store().dump()?.allocations().len() == 1);
    network.remove(&endpoint("w1", &ips[0]).0)
}

fn a_handle_without_addresses_goes_if_nobody_changed_it(network: &Network) -> Result<()> {
    let ips = containers(network, &["c1"])?;
    network.put([endpoint("w1", &ips[0])])?;
    let handle = |id: &str| format!("/calico/ipam/v2/handle/{id}");
    let counted = json!({"block": {"10.66.0.0/30": 1}, "deleted": false});
    for id in ["idle", "busy"] {
        network.put([(handle(id), counted.clone())])?;
    }
    let check = network.ctl("ipam check -o report.json --show-problem-ips").ok()?;
    let line = "Found 2 handles with no matching IPs (and 1 handles with matches).";
    ensure!(check.contains(line) && check.ends_with("found 2 problems.\n"), "{check}");
    // Somebody takes one of them since.
    network.put([(handle("busy"), json!({"block": {"10.66.0.0/30": 2}, "deleted": false}))])?;
    let done = network.ctl("ipam release --from-report report.json --force").ok()?;
    let wanted = "Releasing 0 old IPs...\nDeleting 2 handles...\nReleased 1 handles; 1 skipped; 0 \
                  errors.\nYou may now unlock the data store.\n";
    ensure!(done == wanted, "{done}");
    let dump = network.store().dump()?;
    ensure!(!dump.0.contains_key(&handle("idle")) && dump.0.contains_key(&handle("busy")));
    network.remove(&handle("busy"))?;
    network.remove(&endpoint("w1", &ips[0]).0)
}

/// While addresses come and go, a release of an old report never takes one of a newer owner.
fn a_release_and_an_add_cross(network: &Network) -> Result<()> {
    containers(network, &["c1"])?;
    network.ctl("ipam check -o report.json").ok()?;
    let release = network.ctl("ipam release --from-report report.json --force");
    std::thread::scope(|scope| {
        let adds = scope.spawn(|| -> Result<()> {
            for round in 0..8 {
                let id = format!("r{round}");
                network.ipam("ADD")?.container(&id).result()?;
            }
            Ok(())
        });
        for _ in 0..4 {
            release.ok()?;
        }
        adds.join().map_err(|_| anyhow::anyhow!("an ADD panicked"))?
    })?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().len() == 8, "{:?}", dump.allocations());
    dump.consistent()
}
