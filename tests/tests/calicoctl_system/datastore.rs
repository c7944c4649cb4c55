//! The datastore as a whole, and pools that are split.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Network, Stores, on_both_stores};

use crate::objects::{self, name, object};
use crate::{Case, call, is_stored, play, run, shown, with};

on_both_stores! {
    datastore
}

const CASES: &[Case] = &[
    ("TestCalicoctlIPAMSplit", split),
    ("TestCalicoctlMigrate", migrate),
    ("test_migrate_import", import_is_refused),
];

fn datastore(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn split(network: &Network) -> Result<()> {
    let pool = objects::pool_v4();
    with(network, "create", &pool)?.fine()?;
    with(network, "create", &objects::node(4))?.fine()?;
    call(network, "ipam split 4 --cidr 10.20.1.0/24")?.error("not locked")?;
    call(network, "datastore migrate lock")?.fine()?.is("Datastore locked.\n")?;
    call(network, "ipam split 4 --cidr 10.20.2.0/24")?.error("unable to find IP pool")?;
    call(network, "ipam split 3 --cidr 10.20.1.0/24")?
        .error("number to split CIDR into is not a valid power of 2: 3")?;
    call(network, "ipam split 512 --cidr 10.20.1.0/24")?
        .error("is not large enough to be split into 512 parts")?;
    is_stored(network, "ippool pool-1", &pool)?;
    call(network, "ipam split 4 --cidr 10.20.1.0/24")?.fine()?;
    call(network, "get ippool pool-1 -o yaml")?.error("resource does not exist")?;
    for part in 0..4 {
        let mut expected = pool.clone();
        expected["metadata"]["name"] = json!(format!("split-pool-1-{part}"));
        expected["spec"]["cidr"] = json!(format!("10.20.1.{}/26", part * 64));
        is_stored(network, &format!("ippool {}", name(&expected)), &expected)?;
    }
    call(network, "datastore migrate unlock")?.fine()?.is("Datastore unlocked.\n")?;
    for part in 0..4 {
        call(network, &format!("delete ippool split-pool-1-{part}"))?.fine()?;
    }
    call(network, "delete node node4")?.fine()?;
    Ok(())
}

/// Up to the export, which upstream imports into a Kubernetes API.
fn migrate(network: &Network) -> Result<()> {
    let [policy, _] = objects::policies();
    let [global_policy, _] = objects::global_policies();
    let [peer, _] = objects::peers();
    let [endpoint, _] = objects::host_endpoints();
    let mut node = objects::node(4);
    node["spec"]["orchRefs"] = json!([{"nodeName": "kube4", "orchestrator": "k8s"}]);
    let filter =
        json!({"exportV4": [{"action": "Accept", "matchOperator": "In", "cidr": "10.0.0.0/8"}]});
    let level = json!({"logSeverityScreen": "Debug"});
    let objects = [
        objects::pool_v6(),
        object("BGPConfiguration", "default", json!({"asNumber": 65001})),
        object("BGPConfiguration", "node.node4", level.clone()),
        peer,
        object("FelixConfiguration", "node.node4", level),
        policy,
        global_policy,
        objects::set(objects::few_nets()),
        objects::global_set(objects::few_nets()),
        endpoint,
        node,
        objects::reservation(),
        object("BGPFilter", "filter-1", filter),
    ];
    for object in &objects {
        with(network, "create", object)?.fine()?;
    }
    call(network, "datastore migrate export")?.error("not locked")?;
    call(network, "datastore migrate lock")?.fine()?;
    let export = call(network, "datastore migrate export")?.fine()?.out;
    let parts: Vec<&str> = export.split("\n===\n").collect();
    ensure!(parts.len() == 3, "{export}");
    for object in &objects {
        // For a Kubernetes API a node goes by its name there; what is for one of our stores keeps
        // its own.
        let there = match network.store() {
            Stores::Etcd(_) => format!("name: {}\n", name(object).replace("node4", "kube4")),
            Stores::Local(_) => format!("\"name\": \"{}\"", name(object)),
        };
        ensure!(parts[0].contains(&there), "{there}: {export}");
    }
    ensure!(parts[1].contains("clusterGUID"), "{}", parts[1]);
    // No address was given to anybody.
    ensure!(parts[2].trim_end() == "{}", "{}", parts[2]);
    for object in &objects {
        with(network, "delete", object)?.fine()?;
    }
    call(network, "datastore migrate unlock")?.fine()?;
    ensure!(shown(network, "clusterinfo default")?["spec"]["datastoreReady"] == true);
    Ok(())
}

/// Upstream imports into a Kubernetes API only; we import into both of our stores, but never over
/// what is there.
fn import_is_refused(network: &Network) -> Result<()> {
    let line = "datastore migrate import -f none";
    run(line, &network.ctl(line).env("DATASTORE_TYPE", "kubernetes"))?.error("kubernetes")?;
    let expected = match network.store() {
        Stores::Etcd(_) => {
            "invalid datastore type: etcdv3 to import to for datastore migration. Datastore type \
             must be kubernetes"
        }
        Stores::Local(_) => "reading migration file none",
    };
    run(line, &network.ctl(line))?.error(expected)?;
    Ok(())
}
