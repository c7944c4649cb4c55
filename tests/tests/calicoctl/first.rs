//! A host on which nobody has used the embedded store yet: looking makes none, the first write makes
//! one, and the first container brings default pools in unless the operator had pools.

use anyhow::{Context, Result, ensure};
use tests::{Ctl, Network, RESOURCES, addresses, scene};

const FILE: &str = "/var/lib/calico/calico.db";

fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}"
    )
}

fn create(network: &Network, resource: String) -> Ctl {
    network.ctl("create -f -").stdin(resource)
}

/// The first IPv4 address of a new container.
fn first_address(network: &Network) -> Result<String> {
    let pod = network.host().pod("p1")?;
    let given = addresses(&network.add(&pod, "c1")?)?;
    let first = given.iter().find(|address| address.is_ipv4()).context("no IPv4 address")?;
    Ok(first.to_string())
}

fn is_undecided(network: &Network) -> Result<bool> {
    let dump = network.store().dump()?;
    let key = format!("{RESOURCES}/clusterinformations/default");
    let cluster = dump.0.get(&key).context("no ClusterInformation")?;
    Ok(cluster["metadata"]["annotations"]["calico-rs/default-pools"] == "pending")
}

#[test]
fn looking_makes_no_store_and_says_what_would() {
    scene("first-look", |scene| {
        let network = Network::standalone(scene)?;
        for line in [
            "get nodes",
            "get pools -o yaml",
            "delete pool x",
            "label node x a=b",
            "ipam show",
            "ipam check",
            "ipam map",
            "pool show",
            "endpoint show",
            "datastore migrate lock",
            "config get logLevel",
        ] {
            let said = network.ctl(line).refused()?;
            let beginning =
                format!("there is no datastore at {FILE} yet: this host's first container");
            ensure!(said.starts_with(&beginning) && said.lines().count() == 1, "{line}: {said}");
            ensure!(!said.contains("ETCD_ENDPOINTS"), "the store was named: {said}");
        }
        // Who has named no datastore may have meant another one.
        let said = network.ctl("get nodes").without("DATASTORE_TYPE").refused()?;
        ensure!(said.contains("For a cluster's, set ETCD_ENDPOINTS"), "{said}");
        let replaced = network.ctl("replace -f -").stdin(resource("Node", "x", "{}")).refused()?;
        ensure!(replaced.starts_with("there is no datastore"), "{replaced}");
        ensure!(!network.host().path(FILE).exists(), "looking made a store");
        Ok(())
    });
}

#[test]
fn the_first_container_brings_the_default_pools_in() {
    scene("first-defaults", |scene| {
        let network = Network::standalone(scene)?;
        create(&network, resource("GlobalNetworkSet", "office", "{nets: [10.9.0.0/16]}")).ok()?;
        // Even if the operator has made this node's Node himself.
        create(&network, resource("Node", network.host().name(), "{}")).ok()?;
        network.ctl("config set logLevel debug").ok()?;
        ensure!(network.store().dump()?.pools()?.is_empty() && is_undecided(&network)?);
        let given = first_address(&network)?;
        ensure!(given.starts_with("192.168."), "{given}");
        ensure!(network.store().dump()?.pools()?.len() == 2 && !is_undecided(&network)?);
        Ok(())
    });
}

#[test]
fn a_pool_of_the_operators_keeps_the_default_pools_away() {
    for by in ["create", "pool"] {
        scene(&format!("first-own-{by}"), |scene| {
            let network = Network::standalone(scene)?;
            create(&network, resource("GlobalNetworkSet", "office", "{}")).ok()?;
            ensure!(is_undecided(&network)?);
            match by {
                "create" => {
                    create(&network, resource("IPPool", "mine", "{cidr: 10.9.0.0/16}")).ok()?;
                    create(&network, resource("IPPool", "six", "{cidr: 'fd00:9::/64'}")).ok()?;
                }
                _ => drop(network.ctl("pool add 10.9.0.0/16 fd00:9::/64").ok()?),
            }
            ensure!(!is_undecided(&network)?);
            let given = first_address(&network)?;
            ensure!(given.starts_with("10.9."), "{given}");
            ensure!(network.store().dump()?.pools()?.len() == 2, "more pools than his");
            Ok(())
        });
    }
}

#[test]
fn pools_that_the_operator_took_away_stay_away() {
    scene("first-removed", |scene| {
        let network = Network::standalone(scene)?;
        network.ctl("pool add 10.9.0.0/16").ok()?;
        network.ctl("pool remove 10.9.0.0/16").ok()?;
        let pod = network.host().pod("p1")?;
        let (code, said) = network.call("ADD")?.container("c1").pod(&pod).error()?;
        ensure!(code == 104 && said.contains("pool"), "{code} {said}");
        ensure!(network.store().dump()?.pools()?.is_empty());
        Ok(())
    });
    scene("first-no-default", |scene| {
        let network = Network::standalone(scene)?;
        create(&network, resource("GlobalNetworkSet", "office", "{}")).ok()?;
        let said = network.ctl("node run --init-only --no-default-ippools --ip=192.0.2.1").ok()?;
        ensure!(said.contains("is registered") && !is_undecided(&network)?, "{said}");
        let pod = network.host().pod("p1")?;
        network.call("ADD")?.container("c1").pod(&pod).error()?;
        ensure!(network.store().dump()?.pools()?.is_empty());
        Ok(())
    });
}
