//! Rows of upstream's acceptance lists (`reference/cni-plugin.md` sections 9.1 and 9.2), each by its
//! number. Those that are not here are where `tests/COVERAGE.md` says.

#[path = "rows/generic.rs"]
mod generic;
#[path = "rows/pods.rs"]
mod pods;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Kernel, Network, Pod};

/// The ready flag of the cluster.
const CLUSTER: &str = "/calico/resources/v3/projectcalico.org/clusterinformations/default";

/// A network called `net1`, with addresses of host-local.
fn host_local(network: &mut Network) -> Result<()> {
    network.conflist_mut()["name"] = json!("net1");
    let plugin = &mut network.conflist_mut()["plugins"][0];
    plugin["ipam"] =
        json!({"type": "host-local", "subnet": "10.0.0.0/8", "dataDir": "/run/host-local"});
    Ok(())
}

/// A link as `ip -d` shows it.
fn link(kernel: &Kernel, name: &str) -> Result<Value> {
    kernel.link(name).cloned().with_context(|| format!("no link {name}"))
}

/// Whether a link is on.
fn is_up(link: &Value) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.contains(&json!("UP")))
}

/// An IPAM plugin of the host: a script whose ADD is `add`, with the link's name and the store's
/// tools at hand.
fn scripted(network: &mut Network, add: &str) -> Result<()> {
    network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "scripted"});
    let script = format!(
        "#!/bin/sh\nset -e\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\ncat >/dev/null\n\
         test $CNI_COMMAND = ADD || exit 0\n{add}\n"
    );
    network.host().install("scripted", script)
}

/// A call for a pod's sandbox.
fn sandbox(network: &Network, verb: &str, name: &str, id: &str, pod: &Pod) -> Result<Call> {
    let args = format!("K8S_POD_NAMESPACE=test;K8S_POD_NAME={name};IgnoreUnknown=1");
    Ok(network.call(verb)?.container(id).pod(pod).args(&args))
}

/// The only IPv4 route of a link in the main table, in the words of G1.
fn first_route_is_the_containers(kernel: &Kernel, name: &str, address: &str) -> Result<()> {
    let routes = kernel.routes(name);
    let route = routes.first().with_context(|| format!("no route of {name}"))?;
    let is = |member: &str, usual: &str| route.get(member).is_none_or(|value| value == usual);
    ensure!(route["dst"] == address && route["scope"] == "link", "{route}");
    // What ip doesn't print is the usual.
    ensure!(is("protocol", "boot") && is("table", "main") && is("type", "unicast"), "{route}");
    ensure!(route.get("gateway").is_none(), "{route}");
    Ok(())
}
