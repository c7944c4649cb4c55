//! Making, reading, changing and deleting.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Network, on_both_stores};

use crate::objects::{self, name, object};
use crate::{
    Case, call, cleaned, is_list, is_stored, piped, play, saved, shown, with, with_json, with_text,
};

on_both_stores! {
    crud
}

const CASES: &[Case] = &[
    ("test_get", get),
    ("test_get_delete_multiple_names", get_delete_multiple_names),
    ("test_reject_unknown_resource", reject_unknown_resource),
    ("test_empty_name_is_ilegal", empty_name_is_illegal),
    ("test_create_single_invalid_resource", |network| single_invalid(network, "create")),
    ("test_apply_single_invalid_resource", |network| single_invalid(network, "apply")),
    ("test_create_all_invalid_resources", |network| all_invalid(network, "create")),
    ("test_apply_all_invalid_resources", |network| all_invalid(network, "apply")),
    ("test_validate", validate),
    ("test_json", json_in_and_out),
    ("test_stdin", stdin),
    ("test_file_multi", file_multi),
    ("test_file_single_list", file_single_list),
    ("test_bgppeer_node_selector", peer_node_selector),
    ("test_bgppeer_password", peer_password),
    ("test_bgp_ttl_security", peer_ttl_security),
    ("test_bgp_reachable_by", peer_reachable_by),
    ("test_label_command", label),
    ("test_patch", patch),
    ("test_clusterinfo", cluster_information),
    ("test_tiers", tiers),
];

fn crud(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn get(network: &Network) -> Result<()> {
    let (v4, v6) = (objects::pool_v4(), objects::pool_v6());
    with(network, "create", &v6)?.fine()?;
    is_stored(network, "ippool pool-2", &v6)?;
    is_list(network, "ippool", "IPPool", &[&v6])?;
    with(network, "create", &v4)?.fine()?;
    is_stored(network, "ippool pool-1", &v4)?;
    is_list(network, "ippool", "IPPool", &[&v4, &v6])?;
    call(network, "get ippool pool-1")?.is(&table(&[POOL_V4]))?;
    call(network, "get ippool pool-1 -o wide")?.is(
        "NAME     CIDR           NAT     IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   \
         SELECTOR      ASSIGNMENTMODE   \n\
         pool-1   10.20.1.0/24   false   Always     Never       false      false              \
         zone == 'a'   Automatic        \n\n",
    )?;
    call(network, "delete ippool pool-1")?.fine()?;
    with(network, "delete", &v6)?.fine()?;
    is_list(network, "ippool", "IPPool", &[])?;
    let empty = saved(network, "ippool")?;
    let head = "apiVersion: projectcalico.org/v3\nitems: []\nkind: IPPoolList\nmetadata:\n  \
                resourceVersion: \"";
    ensure!(empty.starts_with(head), "{empty}");
    call(network, "delete ippool pool-2")?.error("resource does not exist")?;
    Ok(())
}

const POOL_V4: (&str, &str, &str) = ("pool-1", "10.20.1.0/24", "zone == 'a'");
const POOL_V6: (&str, &str, &str) = ("pool-2", "fd20:8001::/64", "all()");

/// Tables of pools, each of one row.
fn table(rows: &[(&str, &str, &str)]) -> String {
    let one = |(name, cidr, selector): &(&str, &str, &str)| {
        let (width, last) = (cidr.len(), selector.len().max("SELECTOR".len()));
        format!(
            "NAME     {:width$}   {:last$}   \n{name}   {cidr}   {selector:last$}   \n\n",
            "CIDR", "SELECTOR"
        )
    };
    rows.iter().map(one).collect()
}

fn get_delete_multiple_names(network: &Network) -> Result<()> {
    let both = || -> Result<()> {
        with(network, "create", &objects::pool_v6())?.fine()?;
        with(network, "create", &objects::pool_v4())?.fine().map(drop)
    };
    both()?;
    let good = table(&[POOL_V4, POOL_V6]);
    call(network, "get ippool pool-1 pool-2")?.fine()?.is(&good)?;
    let missing = "resource does not exist: IPPool(blah) with error: <nil>\n";
    let some = call(network, "get ippool pool-1 blah pool-2")?.error("")?;
    ensure!(some.out == good, "{some:?}");
    some.is(&format!("{good}{missing}"))?;
    call(network, "delete ippool pool-1 pool-2")?.fine()?;
    is_list(network, "ippool", "IPPool", &[])?;
    both()?;
    call(network, "delete ippool pool-1 blah pool-2")?.error("")?;
    is_list(network, "ippool", "IPPool", &[])?;
    both()?;
    let before = saved(network, "ippool")?;
    call(network, "delete ippool x y z")?.error("")?;
    let unversioned = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("resourceVersion")).map(str::to_owned).collect()
    };
    let after = saved(network, "ippool")?;
    ensure!(unversioned(&before) == unversioned(&after), "{after}");
    Ok(())
}

fn reject_unknown_resource(network: &Network) -> Result<()> {
    let text = "resource type 'somekind' is not supported";
    call(network, "get somekind somename")?.error(text)?;
    Ok(())
}

fn empty_name_is_illegal(network: &Network) -> Result<()> {
    for (before, after) in [
        ("get policy", ""),
        ("get policy x", "y"),
        ("delete policy", ""),
        ("delete policy x", "y"),
        ("label policy", "key --remove"),
    ] {
        let mut ctl = network.ctl(before).also("");
        for word in after.split_whitespace() {
            ctl = ctl.also(word);
        }
        crate::run(before, &ctl)?.error("resource name may not be empty")?;
    }
    Ok(())
}

fn single_invalid(network: &Network, verb: &str) -> Result<()> {
    with_json(network, verb, &objects::bad_peer("peer-1"))?
        .error("error with field PeerIP = 'badpeerIP'")?
        .lacks("Partial success")?
        .contains(&format!("failed to {verb} 'BGPPeer' resource"))?;
    Ok(())
}

fn all_invalid(network: &Network, verb: &str) -> Result<()> {
    let both = json!([objects::bad_peer("peer-1"), objects::bad_peer("peer-2")]);
    with_json(network, verb, &both)?
        .error("error with field PeerIP = 'badpeerIP'")?
        .lacks("Partial success")?
        .contains(&format!("failed to {verb} any 'BGPPeer' resources"))?;
    Ok(())
}

fn validate(network: &Network) -> Result<()> {
    let [good, _] = objects::peers();
    let said = with(network, "validate", &good)?.fine()?;
    said.is("Successfully validated 1 'BGPPeer' resource(s)\n")?;
    single_invalid(network, "validate")?;
    all_invalid(network, "validate")?;
    // Nothing was stored, and no datastore is needed.
    is_list(network, "bgppeer", "BGPPeer", &[])?;
    let ctl = network.ctl("validate -f good.json").file("good.json", &good.to_string())?;
    crate::run("validate", &ctl.env("ETCD_ENDPOINTS", "http://127.0.0.1:1"))?.fine()?;
    Ok(())
}

fn json_in_and_out(network: &Network) -> Result<()> {
    let [first, second] = objects::profiles();
    for (verb, data) in [("create", &first), ("apply", &second), ("replace", &first)] {
        with_json(network, verb, data)?.fine()?;
        is_stored(network, "profile profile-1", data)?;
    }
    with_json(network, "delete", &first)?.fine()?;
    Ok(())
}

fn stdin(network: &Network) -> Result<()> {
    let [first, second] = objects::global_policies();
    for (verb, data) in [("create", &first), ("apply", &second), ("replace", &first)] {
        piped(network, verb, data)?.fine()?;
        is_stored(network, "globalnetworkpolicy policy-1", data)?;
    }
    piped(network, "delete", &first)?.fine()?;
    Ok(())
}

fn file_multi(network: &Network) -> Result<()> {
    let [policy, _] = objects::global_policies();
    let [first, second] = objects::endpoints();
    let all = json!([policy, first, second]);
    with(network, "create", &all)?.fine()?;
    let found = with(network, "get -o json", &all)?.fine()?;
    let found: Value = serde_json::from_str(&found.out)?;
    ensure!(cleaned(&found) == all, "{found:#}");
    is_stored(network, "globalnetworkpolicy policy-1", &policy)?;
    let words = "workloadendpoints --all-namespaces";
    is_list(network, words, "WorkloadEndpoint", &[&first, &second])?;
    // What was saved is deleted: a resource and a list in one file.
    let file = json!([shown(network, "globalnetworkpolicy policy-1")?, shown(network, words)?]);
    with(network, "delete", &file)?.fine()?;
    is_list(network, words, "WorkloadEndpoint", &[])
}

fn file_single_list(network: &Network) -> Result<()> {
    let [first, second] = objects::endpoints();
    let both = json!([first, second]);
    with(network, "create", &both)?.fine()?;
    let list = saved(network, "workloadendpoints --all-namespaces")?;
    let found = with_text(network, "get -o json", &list)?.fine()?;
    let found: Value = serde_json::from_str(&found.out)?;
    ensure!(cleaned(&found) == both, "{found:#}");
    with_text(network, "delete", &list)?.fine()?;
    is_list(network, "workloadendpoints -A", "WorkloadEndpoint", &[])
}

/// The table of peers after this one has been made.
fn peer(network: &Network, spec: Value) -> Result<crate::Said> {
    with(network, "create", &object("BGPPeer", "bp1", spec))?.fine()?;
    call(network, "get bgpp")?.fine()?.contains("bp1")
}

fn peer_node_selector(network: &Network) -> Result<()> {
    let said = peer(network, json!({"nodeSelector": "has(rr)", "peerSelector": "has(rr)"}))?;
    said.contains("has(rr)")?.lacks("global")?;
    Ok(())
}

fn peer_password(network: &Network) -> Result<()> {
    let password = json!({"secretKeyRef": {"name": "bgp-passwords", "key": "bp1p"}});
    peer(network, json!({"password": password, "peerSelector": "has(rr)"}))?.contains("global")?;
    Ok(())
}

fn peer_ttl_security(network: &Network) -> Result<()> {
    peer(network, json!({"node": "somenode", "ttlSecurity": 1}))?.lacks("global")?;
    Ok(())
}

fn peer_reachable_by(network: &Network) -> Result<()> {
    let spec = json!({"node": "somenode", "peerIP": "10.20.20.20", "reachableBy": "10.10.10.10"});
    peer(network, spec)?.lacks("global")?;
    Ok(())
}

fn label(network: &Network) -> Result<()> {
    let [endpoint, _] = objects::endpoints();
    let id = format!("workloadendpoint {} --namespace=shop", name(&endpoint));
    let labels =
        |words: &str| Ok::<_, anyhow::Error>(shown(network, words)?["metadata"]["labels"].clone());
    with(network, "create", &endpoint)?.fine()?;
    call(network, &format!("label {id} app=web"))?.fine()?;
    ensure!(labels(&id)?["app"] == "web");
    call(network, &format!("label {id} app=order"))?.error("key app is already present")?;
    call(network, &format!("label {id} app=order --overwrite"))?.fine()?;
    ensure!(labels(&id)?["app"] == "order");
    call(network, &format!("label {id} app --remove"))?.fine()?;
    ensure!(labels(&id)? == endpoint["metadata"]["labels"], "{}", labels(&id)?);
    // An object that has no labels.
    with(network, "create", &objects::node(1))?.fine()?;
    call(network, "label nodes node1 cluster=front")?.fine()?;
    ensure!(labels("nodes node1")?["cluster"] == "front");
    with(network, "apply", &objects::node(1))?.fine()?;
    call(network, "label nodes node1 cluster --remove")?.error("cannot remove label")?;
    Ok(())
}

fn patch(network: &Network) -> Result<()> {
    let patch = |id: &str, patch: &str| {
        let line = format!("patch {id} -p");
        crate::run(&line, &network.ctl(&line).also(patch))
    };
    with(network, "create", &objects::node(1))?.fine()?;
    patch("nodes node1", r#"{"spec":{"bgp":{"routeReflectorClusterID":"192.0.2.1"}}}"#)?.fine()?;
    let node = shown(network, "nodes node1")?;
    ensure!(node["spec"]["bgp"]["routeReflectorClusterID"] == "192.0.2.1", "{node}");
    ensure!(node["spec"]["bgp"]["ipv4Address"] == "192.0.2.1/24", "{node}");
    let mut pool = objects::pool_v4();
    pool["metadata"]["labels"] = json!({"l": "1"});
    pool["metadata"]["annotations"] = json!({"a": "1"});
    pool["spec"]["disabled"] = json!(true);
    with(network, "create", &pool)?.fine()?;
    patch("ippool pool-1", r#"{"spec":{"natOutgoing":true}}"#)?.fine()?;
    pool["spec"]["natOutgoing"] = json!(true);
    is_stored(network, "ippool pool-1", &pool)?;
    let [policy, _] = objects::policies();
    with(network, "create", &policy)?.fine()?;
    patch("networkpolicy policy-1", r#"{"http":{"exact":"some/path"}}"#)?.error("http")?;
    is_stored(network, "networkpolicy policy-1", &policy)
}

fn cluster_information(network: &Network) -> Result<()> {
    let cluster = |guid: &str| {
        let spec = json!({"clusterGUID": guid, "datastoreReady": true});
        object("ClusterInformation", "default", spec)
    };
    let unsupported = "is not supported on";
    with(network, "create", &cluster("mine"))?.error(unsupported)?;
    with(network, "replace", &cluster("mine"))?.error("ClusterInformation(default)")?;
    with(network, "apply", &cluster("mine"))?.error(unsupported)?;
    call(network, "delete clusterinfo default")?.error(unsupported)?;
    // A node's first write makes it.
    with(network, "create", &objects::node(2))?.fine()?;
    let guid = shown(network, "clusterinfo default")?["spec"]["clusterGUID"].clone();
    let guid = guid.as_str().unwrap_or_default();
    let hex = guid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    ensure!(guid.len() == 32 && hex, "{guid}");
    let stored = cleaned(&shown(network, "clusterinfo default")?);
    ensure!(stored["spec"]["datastoreReady"] == true, "{stored}");
    with(network, "create", &objects::node(3))?.fine()?;
    is_stored(network, "clusterinfo default", &stored)
}

fn tiers(network: &Network) -> Result<()> {
    for (name, order) in [("a-default", None), ("z-first", Some(5)), ("middle", Some(10_000))] {
        let spec = match order {
            Some(order) => json!({ "order": order }),
            None => json!({}),
        };
        with(network, "create", &object("Tier", name, spec))?.fine()?;
    }
    let list = shown(network, "tiers")?;
    let names: Vec<&str> = list["items"].as_array().into_iter().flatten().map(name).collect();
    let expected = ["z-first", "kube-admin", "middle", "a-default", "default", "kube-baseline"];
    ensure!(names == expected, "{names:?}");
    Ok(())
}
