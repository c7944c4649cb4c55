//! Flags, and what keeps two versions apart.

use anyhow::Result;
use tests::{Network, RESOURCES, on_both_stores};

use crate::objects;
use crate::{Case, call, play, run, with};

on_both_stores! {
    flags
}

const CASES: &[Case] = &[
    ("test_usage", usage),
    ("test_bad_flags", bad_flags),
    ("test_no_config", no_config),
    ("test_version_mismatch", version_mismatch),
];

fn flags(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn usage(network: &Network) -> Result<()> {
    for flag in ["-h", "--help", "get -h", "help"] {
        run(flag, &network.ctl(flag))?.fine()?.contains("Usage: ")?;
    }
    Ok(())
}

fn bad_flags(network: &Network) -> Result<()> {
    call(network, "-m")?.error("unknown shorthand flag: 'm' in -m")?;
    call(network, "--unknown-flag")?.error("unknown flag: --unknown-flag")?;
    Ok(())
}

/// Better than upstream's on purpose: where nothing names a datastore, it is this host's embedded
/// one. What names one that isn't there is an error.
fn no_config(network: &Network) -> Result<()> {
    let [peer, _] = objects::peers();
    for line in [
        "get policy",
        "get policy x",
        "create -f peer",
        "apply -f peer",
        "replace -f peer",
        "label workloadendpoint node1-k8s-cart-eth0 app=web --namespace=shop",
        "ipam show",
    ] {
        let ctl = network.ctl(line).file("peer", &peer.to_string())?;
        run(line, &ctl.clone().env("DATASTORE_TYPE", "nonsense"))?
            .error("failed to create Calico API client: ")?
            .lacks("panic")?;
        run(line, &ctl.env("DATASTORE_TYPE", "etcdv3").without("ETCD_ENDPOINTS"))?
            .error("failed to create Calico API client: ")?
            .lacks("panic")?;
    }
    Ok(())
}

fn version_mismatch(network: &Network) -> Result<()> {
    let node = objects::node(1);
    let strictly = |line: &str| {
        let ctl = network.ctl(line).file("input-data", &node.to_string())?;
        run(line, &ctl)
    };
    with(network, "create", &node)?.fine()?;
    let replace = "replace -f input-data";
    strictly(replace)?.fine()?;
    let set = |version: &str| {
        network.store().change(&format!("{RESOURCES}/clusterinformations/default"), |cluster| {
            cluster["spec"]["calicoVersion"] = version.into();
        })
    };
    set("v0.0.0.1.2.3")?;
    strictly(replace)?.error("version mismatch.\n")?.contains("Use --allow-version-mismatch")?;
    strictly("replace --allow-version-mismatch -f input-data")?.fine()?;
    strictly("--allow-version-mismatch replace -f input-data")?.fine()?;
    // What has no use for the cluster's version doesn't ask for it.
    strictly("validate -f input-data")?.fine()?;
    strictly("version --client")?.fine()?;
    Ok(())
}
