//! What belongs to the store: resourceVersion, uid, times; and the configurations' round trips.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Network, on_both_stores};

use crate::objects::{self, kind, name, object};
use crate::{Case, call, play, saved, shown, with, with_text};

on_both_stores! {
    versions
}

const CASES: &[Case] = &[
    ("test_delete_with_resource_version", delete_with_version),
    ("test_replace_with_resource_version", replace_with_version),
    ("test_apply_with_resource_version", apply_with_version),
    ("test_disallow_update_old_resource_version (replace)", |network| old(network, "replace")),
    ("test_disallow_update_old_resource_version (apply)", |network| old(network, "apply")),
    ("test_metadata_unchanged (create, replace)", |network| {
        metadata_unchanged(network, "create", "replace")
    }),
    ("test_metadata_unchanged (apply, apply)", |network| {
        metadata_unchanged(network, "apply", "apply")
    }),
    ("test_export_flag", export),
    ("test_bgpconfig", bgp_configuration),
    ("test_felixconfig", felix_configuration),
    ("test_kubecontrollersconfig", kube_controllers_configuration),
];

/// What a resource that isn't the one that is stored is refused with.
const CONFLICT: &str = "update conflict";

/// What a resource that is gone is refused with.
const MISSING: &str = "resource does not exist";

fn versions(network: &Network) -> Result<()> {
    play(network, CASES)
}

/// Hands a resource in; the resourceVersion that it has then.
fn version_after(network: &Network, verb: &str, data: &Value) -> Result<String> {
    with(network, verb, data)?.fine()?;
    let found = shown(network, &format!("{} {}", kind(data), name(data)))?;
    let version = &found["metadata"]["resourceVersion"];
    Ok(version.as_str().unwrap_or_default().to_owned())
}

/// A saved resource as if it had been saved at another version.
fn at_version(saved: &str, version: &str) -> String {
    let line = |line: &str| match line.trim_start().starts_with("resourceVersion: ") {
        true => format!("  resourceVersion: \"{version}\"\n"),
        false => format!("{line}\n"),
    };
    saved.lines().map(line).collect()
}

fn delete_with_version(network: &Network) -> Result<()> {
    let [first, second] = objects::peers();
    with(network, "create", &first)?.fine()?;
    let old = saved(network, "bgppeer peer-1")?;
    with(network, "apply", &second)?.fine()?;
    let new = saved(network, "bgppeer peer-1")?;
    with_text(network, "delete", &old)?.error(CONFLICT)?;
    with_text(network, "delete", &new)?.fine()?;
    Ok(())
}

fn replace_with_version(network: &Network) -> Result<()> {
    let [first, second] = objects::policies();
    with(network, "create", &first)?.fine()?;
    let old = saved(network, "networkpolicy policy-1")?;
    let version = version_after(network, "replace", &second)?;
    with_text(network, "replace", &old)?.error(CONFLICT)?;
    with_text(network, "replace", &at_version(&old, &version))?.fine()?;
    call(network, "delete networkpolicy policy-1")?.fine()?;
    with(network, "replace", &second)?.error(MISSING)?;
    Ok(())
}

fn apply_with_version(network: &Network) -> Result<()> {
    let [first, second] = objects::host_endpoints();
    call(network, "get hostendpoint endpoint-1 -o yaml")?.error(MISSING)?;
    with(network, "apply", &first)?.fine()?;
    let old = saved(network, "hostendpoint endpoint-1")?;
    let version = version_after(network, "apply", &second)?;
    with_text(network, "apply", &old)?.error(CONFLICT)?;
    with_text(network, "apply", &at_version(&old, &version))?.fine()?;
    call(network, "delete hostendpoint endpoint-1")?.fine()?;
    Ok(())
}

fn old(network: &Network, verb: &str) -> Result<()> {
    with(network, "create", &objects::pool_v4())?.fine()?;
    let first = saved(network, "ippool pool-1")?;
    with_text(network, verb, &first)?.fine()?;
    // Nothing was changed, and it is another version all the same.
    ensure!(saved(network, "ippool pool-1")? != first);
    with_text(network, verb, &first)?.error(CONFLICT)?;
    call(network, "delete ippool pool-1")?.fine()?;
    Ok(())
}

fn metadata_unchanged(network: &Network, make: &str, change: &str) -> Result<()> {
    let [_, endpoint] = objects::host_endpoints();
    call(network, "get hostendpoint endpoint-1 -o yaml")?.error(MISSING)?;
    with(network, make, &endpoint)?.fine()?;
    let before = shown(network, "hostendpoint endpoint-1")?;
    let mut other = endpoint.clone();
    other["metadata"] = json!({
        "name": "endpoint-1", "labels": {"role": "web", "more": "1"}, "annotations": {"a": "1"},
        "selfLink": "self", "uid": "not-the-stored-one", "generation": 3,
        "finalizers": ["f1", "f2"], "creationTimestamp": "2006-01-02T15:04:05Z",
    });
    with(network, change, &other)?.fine()?;
    let after = shown(network, "hostendpoint endpoint-1")?;
    let expected = json!({
        "name": "endpoint-1", "labels": {"role": "web", "more": "1"}, "annotations": {"a": "1"},
        "uid": before["metadata"]["uid"],
        "creationTimestamp": before["metadata"]["creationTimestamp"],
        "resourceVersion": after["metadata"]["resourceVersion"],
    });
    ensure!(after["metadata"] == expected, "{after:#}");
    ensure!(before["metadata"]["uid"].is_string(), "{before:#}");
    ensure!(after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]);
    call(network, "delete hostendpoint endpoint-1")?.fine()?;
    Ok(())
}

fn export(network: &Network) -> Result<()> {
    let [_, mut policy] = objects::policies();
    let labels = json!({"l": "1", "projectcalico.org/tier": "default"});
    policy["metadata"] = json!({
        "name": "policy-2", "namespace": "default", "generateName": "policy-",
        "deletionTimestamp": "2006-01-02T15:04:07Z", "deletionGracePeriodSeconds": 30,
        "ownerReferences": [{
            "apiVersion": "extensions/v1beta1", "blockOwnerDeletion": true, "controller": true,
            "kind": "DaemonSet", "name": "endpoint1", "uid": "not-the-stored-one",
        }],
        "labels": labels, "annotations": {"a": "1"}, "selfLink": "self",
        "uid": "not-the-stored-one", "generation": 3, "finalizers": ["f1", "f2"],
        "creationTimestamp": "2006-01-02T15:04:05Z",
    });
    with(network, "create", &policy)?.fine()?;
    let before = shown(network, "networkpolicy policy-2")?;
    for given in ["uid", "creationTimestamp", "resourceVersion"] {
        ensure!(before["metadata"][given].is_string(), "{before:#}");
    }
    ensure!(before["metadata"]["namespace"] == "default", "{before:#}");
    let exported = shown(network, "networkpolicy policy-2 --export")?;
    let expected = json!({
        "name": "policy-2", "labels": labels, "annotations": {"a": "1"},
    });
    ensure!(exported["metadata"] == expected, "{exported:#}");
    // A list is not stripped.
    let list = shown(network, "networkpolicy --export")?;
    ensure!(list["items"] == json!([before]), "{list:#}");
    let text = saved(network, "networkpolicy policy-2 --export")?;
    let changed = text.replace("order: 100000\n", "order: 100\n");
    ensure!(changed != text, "{text}");
    with_text(network, "apply", &changed)?.fine()?;
    ensure!(shown(network, "networkpolicy policy-2")?["spec"]["order"] == 100);
    call(network, "delete networkpolicy policy-2")?.fine()?;
    Ok(())
}

/// Hands resources of one name in, each at a version of its own.
fn at_another_version_each(network: &Network, calls: &[(&str, &Value)]) -> Result<()> {
    let mut versions = Vec::new();
    for (verb, data) in calls {
        versions.push(version_after(network, verb, data)?);
        let words = format!("{} {}", kind(data), name(data));
        crate::is_stored(network, &words, data)?;
    }
    let count = versions.len();
    versions.dedup();
    ensure!(versions.len() == count, "{versions:?}");
    Ok(())
}

fn bgp_configuration(network: &Network) -> Result<()> {
    let default = |mesh: bool, number: u32| {
        let spec = json!({
            "logSeverityScreen": "Info", "nodeToNodeMeshEnabled": mesh, "asNumber": number,
            "serviceLoadBalancerAggregation": "Enabled",
        });
        object("BGPConfiguration", "default", spec)
    };
    let (first, second) = (default(true, 65001), default(false, 65002));
    at_another_version_each(network, &[("create", &first), ("replace", &second)])?;
    let other = |level: &str| {
        let spec = json!({"logSeverityScreen": level, "serviceLoadBalancerAggregation": "Enabled"});
        object("BGPConfiguration", "other", spec)
    };
    let (first, second) = (other("Info"), other("Debug"));
    at_another_version_each(network, &[("create", &first), ("apply", &second)])?;
    let mut global = second;
    global["spec"]["nodeToNodeMeshEnabled"] = json!(true);
    with(network, "apply", &global)?.error("Cannot set nodeToNodeMeshEnabled")?;
    call(network, "delete bgpconfig other")?.fine()?;
    Ok(())
}

fn felix_configuration(network: &Network) -> Result<()> {
    let felix = |spec: Value| object("FelixConfiguration", "felix-1", spec);
    let mut rich = felix(json!({
        "chainInsertMode": "Append", "defaultEndpointToHostAction": "Accept",
        "failsafeInboundHostPorts": [{"protocol": "TCP", "port": 666}, {"protocol": "UDP", "port": 333}],
        "failsafeOutboundHostPorts": [{"protocol": "TCP", "port": 999}, {"protocol": "UDP", "port": 222}],
        "interfacePrefix": "tap", "ipipMTU": 1480, "ipsetsRefreshInterval": "44s",
        "iptablesFilterAllowAction": "Return",
        "iptablesLockProbeInterval": "500ms",
        "iptablesMangleAllowAction": "Accept", "iptablesMarkMask": 0x00ff_0000,
        "iptablesPostWriteCheckInterval": "12s", "iptablesRefreshInterval": "22s",
        "ipv6Support": true, "logFilePath": "/var/log/felix.log", "logPrefix": "felix",
        "logSeverityScreen": "Info", "maxIpsetSize": 8192, "metadataAddr": "127.1.1.1",
        "metadataPort": 8999, "netlinkTimeout": "10s", "prometheusGoMetricsEnabled": true,
        "prometheusMetricsEnabled": true, "prometheusMetricsPort": 11,
        "prometheusProcessMetricsEnabled": true, "reportingInterval": "10s",
        "reportingTTL": "1m39s", "routeRefreshInterval": "33s", "usageReportingEnabled": false,
    }));
    let plain = felix(json!({
        "ipv6Support": false, "logSeverityScreen": "Debug", "netlinkTimeout": "11s",
    }));
    // Some fields have defaults of their own, which an object is given when it is written.
    with(network, "create", &rich)?.fine()?;
    let first = shown(network, "felixconfig felix-1")?;
    for (name, value) in rich["spec"].as_object().into_iter().flatten() {
        ensure!(first["spec"][name] == *value, "{name}: {first:#}");
    }
    rich["spec"] = first["spec"].clone();
    with(network, "replace", &plain)?.fine()?;
    let second = shown(network, "felixconfig felix-1")?;
    ensure!(second["spec"]["netlinkTimeout"] == "11s", "{second}");
    ensure!(second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]);
    at_another_version_each(network, &[("apply", &rich)])?;
    let long = felix(json!({"netlinkTimeout": "125s", "reportingTTL": "9910s"}));
    with(network, "apply", &long)?.fine()?;
    let stored = shown(network, "felixconfig felix-1")?;
    ensure!(stored["spec"]["netlinkTimeout"] == "2m5s", "{stored}");
    ensure!(stored["spec"]["reportingTTL"] == "2h45m10s", "{stored}");
    call(network, "delete felixconfig felix-1")?.fine()?;
    Ok(())
}

fn kube_controllers_configuration(network: &Network) -> Result<()> {
    let node = json!({"syncLabels": "Enabled", "hostEndpoint": {"autoCreate": "Disabled"}});
    let make = |level: &str, controllers: Value| {
        let spec = json!({"logSeverityScreen": level, "controllers": controllers});
        object("KubeControllersConfiguration", "default", spec)
    };
    let first = make("Info", json!({ "node": node }));
    let mut second = make("Debug", json!({"node": node, "namespace": {}}));
    second["status"] = json!({"environmentVars": {"LOG_LEVEL": "Info"}});
    let mut versions = Vec::new();
    for (verb, data) in [("create", &first), ("replace", &second), ("apply", &first)] {
        versions.push(version_after(network, verb, data)?);
    }
    ensure!(versions[0] != versions[1] && versions[1] != versions[2], "{versions:?}");
    call(network, "delete kubecontrollersconfig default")?.fine()?;
    Ok(())
}
