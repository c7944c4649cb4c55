//! `calicoctl datastore`: the lock, and moving everything between etcd and the embedded store
//! (`reference/calicoctl.md` sections 7 and 11).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{
    Backend, Ctl, Dump, Network, RESOURCES, Stores, addresses, objects, on_both_stores, scene,
};

on_both_stores! {
    the_lock_is_set_and_taken_away
    an_export_needs_the_lock
    policies_lose_the_prefix_of_their_tier
}

fn cluster(network: &Network) -> Result<Value> {
    let dump = network.store().dump()?;
    let key = format!("{RESOURCES}/clusterinformations/default");
    Ok(dump.0.get(&key).context("no ClusterInformation")?.clone())
}

/// In both spellings, as often as one likes; the plugins obey it.
fn the_lock_is_set_and_taken_away(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.66.0.0/28", 30)])?;
    let pod = network.host().pod("p1")?;
    let before = cluster(network)?;
    for family in ["datastore", "datastore migrate"] {
        for _ in 0..2 {
            ensure!(network.ctl(&format!("{family} lock")).ok()? == "Datastore locked.\n");
        }
        ensure!(cluster(network)?["spec"]["datastoreReady"] == false);
        let (_, refused) = network.call("ADD")?.pod(&pod).error()?;
        ensure!(refused.contains("is locked"), "{refused}");
        for _ in 0..2 {
            ensure!(network.ctl(&format!("{family} unlock")).ok()? == "Datastore unlocked.\n");
        }
        ensure!(cluster(network)? == before, "{:#}", cluster(network)?);
    }
    Ok(())
}

fn an_export_needs_the_lock(network: &Network) -> Result<()> {
    let refused = network.ctl("datastore migrate export").refused()?;
    ensure!(refused.starts_with("datastore is not locked. Run the"), "{refused}");
    Ok(())
}

/// Names of the default tier only; a second run finds nothing, and nothing is lost.
fn policies_lose_the_prefix_of_their_tier(network: &Network) -> Result<()> {
    let policy = |stored: &str, tier: &str, order: u32| {
        let spec = json!({"tier": tier, "order": order, "types": ["Ingress"]});
        let (key, mut policy) =
            objects::resource("GlobalNetworkPolicy", "globalnetworkpolicies", stored, spec);
        policy["metadata"]["annotations"] = json!({"keep": "this"});
        (key, policy)
    };
    network.put([
        policy("default.dns", "default", 1),
        policy("default.web", "", 2),
        policy("red.db", "red", 3),
        policy("plain", "default", 4),
    ])?;
    let done = network.ctl("datastore migrate-policy-names").ok()?;
    ensure!(done == "Policy name migration complete, migrated 2 policies.\n", "{done}");
    let dump = network.store().dump()?;
    let folder = format!("{RESOURCES}/globalnetworkpolicies/");
    let names: Vec<&str> =
        dump.under(&folder).filter_map(|(key, _)| key.strip_prefix(&folder)).collect();
    ensure!(names == ["dns", "plain", "red.db", "web"], "{names:?}");
    let dns = &dump.0[&format!("{folder}dns")];
    ensure!(dns["spec"]["order"] == 1 && dns["metadata"]["name"] == "dns", "{dns}");
    ensure!(dns["metadata"]["annotations"]["keep"] == "this", "{dns}");
    let done = network.ctl("datastore migrate-policy-names").ok()?;
    ensure!(done == "Policy name migration complete, migrated 0 policies.\n", "{done}");
    // Another one of the new name was made since: which of the two is meant nobody knows.
    network.put([policy("default.dns", "default", 9)])?;
    let refused = network.ctl("datastore migrate-policy-names").refused()?;
    ensure!(
        refused.starts_with("dns is stored as ") && refused.contains("delete one"),
        "{refused}"
    );
    ensure!(network.store().dump()?.0[&format!("{folder}dns")]["spec"]["order"] == 1);
    Ok(())
}

/// The recorded flow: what upstream's own program printed.
#[test]
fn an_export_for_kubernetes_is_upstreams() {
    scene("export-golden", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        network.remove(&objects::node("node-a").0)?;
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/cli.json");
        let golden: Value = serde_json::from_slice(&fs::read(golden)?)?;
        let flows = golden["flows"].as_array().context("no flows")?;
        let flow = flows.iter().find(|flow| flow["name"] == "version-and-lock");
        let steps = flow.context("no such flow")?["steps"].as_array().context("no steps")?;
        let export = steps.iter().find(|step| step["argv"][2] == "export" && step["exit"] == 0);
        let theirs = export.context("no export")?["stdout"].as_str().context("no text")?;
        let pool = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: pool-a\n  \
                    labels: {env: lab}\nspec: {cidr: 10.65.0.0/16}\n";
        // Any create makes what every cluster has.
        network.remove(&objects::cluster(true).0)?;
        network.ctl("create -f -").stdin(pool).ok()?;
        network.ctl("datastore migrate lock").ok()?;
        let ours = network.ctl("datastore migrate export").ok()?;
        ensure!(varies(&ours) == varies(theirs), "ours:\n{ours}\nupstream's:\n{theirs}");
        Ok(())
    });
}

/// An export without what varies between two runs.
fn varies(export: &str) -> Vec<String> {
    const VARY: [&str; 4] = ["resourceVersion", "uid", "creationTimestamp", "clusterGUID"];
    let blank = |line: &str| match VARY.iter().find(|name| line.contains(*name)) {
        Some(name) => format!("{name} varies"),
        None => line.to_owned(),
    };
    export.lines().map(blank).collect()
}

/// A host with an etcd that holds a cluster, and an empty embedded store.
fn filled(network: &Network) -> Result<()> {
    let (key, mut node) = objects::node("node-b");
    node["spec"]["orchRefs"] = json!([{"nodeName": "k8s-b", "orchestrator": "k8s"}]);
    let profile = json!({"labelsToApply": {"secret": "<none> & more"}});
    let (policy_key, mut policy) = objects::resource(
        "GlobalNetworkPolicy",
        "globalnetworkpolicies",
        "p",
        json!({"tier": "default", "order": 10.5, "selector": "has(a) && b == 'c'"}),
    );
    policy["metadata"]["annotations"] = json!({"projectcalico.org/metadata": "{\"name\":\"p\"}"});
    network.put([
        (key, node),
        objects::pool("pool-a", "10.66.0.0/24", 28),
        objects::reservation("r", &["10.66.0.0/30"]),
        objects::resource("Profile", "profiles", "web", profile),
        (policy_key, policy),
        objects::ipam_config(false, true, 0),
    ])?;
    let mut given = Vec::new();
    for id in ["c1", "c2", "c3"] {
        given.extend(addresses(&network.ipam("ADD")?.container(id).result()?)?);
    }
    let name = "node--a-cni-c2-eth0";
    let workload = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"node": "node-a", "orchestrator": "cni", "containerID": "c2", "endpoint": "eth0",
                 "ipNetworks": [format!("{}/32", given[1])]},
    });
    network.put([(format!("{RESOURCES}/workloadendpoints/default/{name}"), workload)])?;
    let (_, mut endpoint) = objects::resource(
        "HostEndpoint",
        "hostendpoints",
        "h",
        json!({"node": "node-a", "interfaceName": "*"}),
    );
    endpoint["metadata"]["labels"] = json!({"host": "yes"});
    network.put([(format!("{RESOURCES}/hostendpoints/h"), endpoint)])
}

/// The same content but for the lock, byte for byte where the store shows bytes.
fn same(one: &Dump, other: &Dump) -> Result<()> {
    let keys: std::collections::BTreeSet<_> = one.0.keys().chain(other.0.keys()).collect();
    for key in keys {
        let text = |dump: &Dump| dump.0.get(key).map(Value::to_string);
        ensure!(text(one) == text(other), "{key}:\n{:?}\n{:?}", text(one), text(other));
    }
    Ok(())
}

/// From etcd into the embedded store, and back into another etcd: nothing is lost on the way.
#[test]
fn everything_moves_between_etcd_and_the_embedded_store() {
    scene("migrate", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        filled(&network)?;
        network.ctl("datastore migrate lock").ok()?;
        let first = network.store().dump()?;
        let exported = network.ctl("datastore migrate export --format complete").ok()?;
        ensure!(exported.starts_with("# A complete export"), "{exported}");

        let local = Stores::Local(network.host().clone());
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let on_local = |line: &str| Ctl::new(&local, words(line)).file("all.yaml", &exported);
        let done = on_local("datastore migrate import -f all.yaml")?.ok()?;
        ensure!(done.contains("Importing IPAM resources\nSuccessfully applied "), "{done}");
        same(&first, &local.dump()?)?;
        // The embedded store is complete without being asked.
        let second = on_local("datastore migrate export")?.ok()?;
        ensure!(without_revisions(&second) == without_revisions(&exported), "{second}\n{exported}");

        let refused = on_local("datastore migrate import -f all.yaml")?.refused()?;
        ensure!(refused.starts_with("datastore already has Calico resources: "), "{refused}");

        // Back, into an etcd that was emptied; by way of standard input.
        let gone: Vec<_> = first.0.keys().map(|key| (key.clone(), None)).collect();
        network.store().write(&gone)?;
        let back = network.ctl("datastore migrate import --filename -").stdin(second.clone());
        back.ok()?;
        same(&first, &network.store().dump()?)?;
        // It works again once it is unlocked.
        network.ctl("datastore unlock").ok()?;
        network.ipam("DEL")?.container("c1").done()?;
        network.ipam("ADD")?.container("c4").result()?;
        network.store().dump()?.consistent()
    });
}

fn without_revisions(export: &str) -> Vec<&str> {
    export.lines().filter(|line| !line.contains("resourceVersion")).collect()
}

/// Upstream's refusals, and its format where it can be read.
#[test]
fn an_import_refuses_what_it_can_not_do() {
    scene("import-refused", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        // Upstream refuses etcd before it looks at the file.
        for line in ["import -f absent.yaml", "import -f other.yaml"] {
            let ctl = network.ctl(&format!("datastore migrate {line}"));
            let refused = ctl.file("other.yaml", "---\n===\n{}\n===\n{}\n")?.refused()?;
            let wanted = "invalid datastore type: etcdv3 to import to for datastore migration.";
            ensure!(refused.starts_with(wanted) && refused.lines().count() == 1, "{refused}");
        }
        ensure!(network.ctl("datastore migrate import").run()?.exit == Some(1), "no file");
        let local = Stores::Local(network.host().clone());
        let import = |text: &str| -> Result<String> {
            let words = ["datastore", "migrate", "import", "-f", "file.yaml"];
            Ctl::new(&local, words).file("file.yaml", text)?.refused()
        };
        let cluster = objects::cluster(false).1.to_string();
        for (text, wanted) in [
            ("", "is improperly formatted"),
            ("a: b\n===\n{}\n", "is improperly formatted"),
            ("a: b\n===\n{}\n===\n{}\n", "a document is no list"),
            ("---\n===\nnonsense\n===\n{}\n", "failed to read the cluster information"),
            ("---\n===\nCLUSTER\n===\nnonsense\n", "failed to read the IPAM resources"),
            ("---\n===\nCLUSTER\n===\n{}\n", "no IPAM resources specified in file"),
            (
                "---\n===\nCLUSTER\n===\n{\"blocks\":[{\"Key\":\"/calico/x\",\"Value\":{}}]}\n",
                "/calico/x is no key of IPAM's",
            ),
            (
                "---\n===\nCLUSTER\n===\n{\"blocks\":[{\"Key\":\
                 \"/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-26\",\"Value\":{\"cidr\":\
                 \"10.0.0.64/26\"}}]}\n",
                "its value is that of another block",
            ),
        ] {
            let refused = import(&text.replace("CLUSTER", &cluster))?;
            ensure!(refused.contains(wanted), "{wanted:?} is not in {refused}");
        }
        ensure!(local.dump()?.0.is_empty(), "nothing was written");
        Ok(())
    });
}

/// The format of upstream's own exports, with Kubernetes' names for the nodes.
#[test]
fn upstreams_format_goes_into_the_embedded_store() {
    scene("import-upstream", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        filled(&network)?;
        network.ctl("datastore lock").ok()?;
        let refused = network.ctl("datastore migrate export").refused()?;
        let wanted = "node node-a missing a 'k8s' orchestrator reference";
        ensure!(refused.starts_with(wanted) && refused.contains("--format complete"), "{refused}");
        network.store().change(&objects::node("node-a").0, |node| {
            node["spec"]["orchRefs"] = json!([{"nodeName": "k8s-a", "orchestrator": "k8s"}]);
        })?;
        let exported = network.ctl("datastore migrate export").ok()?;
        ensure!(!exported.contains("uid:") && !exported.contains("name: node-a"), "{exported}");
        let local = Stores::Local(network.host().clone());
        let words = ["datastore", "migrate", "import", "-f", "all.yaml"];
        Ctl::new(&local, words).file("all.yaml", &exported)?.ok()?;
        let (theirs, ours) = (network.store().dump()?, local.dump()?);
        ensure!(ours.0.contains_key(&objects::node("k8s-a").0), "{ours:#?}");
        let blocks = |dump: &Dump| dump.allocations().len();
        ensure!(blocks(&ours) == blocks(&theirs) && blocks(&ours) == 3);
        ensure!(ours.0.keys().any(|key| key.starts_with("/calico/ipam/v2/host/k8s-a/")));
        let pool = objects::pool("pool-a", "", 28).0;
        ensure!(ours.0[&pool]["spec"] == theirs.0[&pool]["spec"]);
        let guid = |dump: &Dump| dump.0[&objects::cluster(true).0]["spec"]["clusterGUID"].clone();
        ensure!(guid(&ours) == guid(&theirs));
        ours.consistent()
    });
}

/// A cluster holds what other releases wrote: fields that this one doesn't know come along.
#[test]
fn an_export_of_another_release_is_imported() {
    scene("import-other-release", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        filled(&network)?;
        let spec = json!({"bpfFutureMode": {"deep": [1]}, "logSeverityScreen": "Info"});
        let (key, felix) =
            objects::resource("FelixConfiguration", "felixconfigurations", "default", spec);
        let pool = objects::pool("pool-a", "", 28).0;
        network.put([(key.clone(), felix)])?;
        network.store().change(&pool, |pool| pool["spec"]["futureUse"] = json!("yes"))?;
        network.store().change(&objects::node("node-a").0, |node| {
            node["spec"]["orchRefs"] = json!([{"nodeName": "node-a", "orchestrator": "k8s"}]);
        })?;
        network.ctl("datastore lock").ok()?;
        let exported = network.ctl("datastore migrate export").ok()?;
        ensure!(exported.contains("bpfFutureMode") && exported.contains("futureUse"), "{exported}");
        let local = Stores::Local(network.host().clone());
        let words = ["datastore", "migrate", "import", "-f", "all.yaml"];
        Ctl::new(&local, words).file("all.yaml", &exported)?.ok()?;
        let stored = local.dump()?;
        ensure!(stored.0[&key]["spec"]["bpfFutureMode"] == json!({"deep": [1]}), "{stored:#?}");
        ensure!(stored.0[&pool]["spec"]["futureUse"] == "yes", "{stored:#?}");
        Ok(())
    });
}

/// More than fits into one commit: an interrupted import is finished by the same file, and by no
/// other one; meanwhile the datastore is locked.
#[test]
fn an_interrupted_import_is_finished() {
    scene("import-resumed", |scene| {
        let network = Network::without_pools(scene, Backend::Etcd)?;
        let sets = (0..400).map(|n| {
            let spec = json!({"nets": [format!("10.{}.{}.0/24", n / 256, n % 256)]});
            objects::resource("GlobalNetworkSet", "globalnetworksets", &format!("s{n}"), spec)
        });
        network.put(sets)?;
        network.ctl("datastore lock").ok()?;
        let exported = network.ctl("datastore migrate export --format complete").ok()?;
        let first = network.store().dump()?;
        let local = Stores::Local(network.host().clone());
        let import = |name: &str, text: &str| -> Result<Ctl> {
            Ctl::new(&local, ["datastore", "migrate", "import", "-f", name]).file(name, text)
        };
        import("all.yaml", &exported)?.ok()?;
        same(&first, &local.dump()?)?;
        // As if it had been killed half-way: the mark is there, some documents are not.
        let digest: String =
            Sha256::digest(&exported).iter().map(|byte| format!("{byte:02x}")).collect();
        let key = objects::cluster(true).0;
        local.change(&key, |cluster| {
            cluster["metadata"]["annotations"] = json!({"calico-rs/import": digest});
        })?;
        let some: BTreeMap<_, _> = first
            .0
            .keys()
            .filter(|key| key.contains("/globalnetworksets/s1"))
            .map(|key| (key.clone(), None))
            .collect();
        ensure!(some.len() > 100);
        local.write(&some.into_iter().collect::<Vec<_>>())?;
        let other = exported.replace("10.0.7.0/24", "10.9.7.0/24");
        let refused = import("other.yaml", &other)?.refused()?;
        ensure!(refused.contains("the import of another file"), "{refused}");
        // What somebody has changed meanwhile isn't written over.
        let changed = format!("{RESOURCES}/globalnetworksets/s2");
        local.change(&changed, |set| set["spec"]["nets"] = json!([]))?;
        let refused = import("all.yaml", &exported)?.refused()?;
        ensure!(refused.contains("/globalnetworksets/s2"), "{refused}");
        local.put(&changed, &first.0[&changed].to_string())?;
        import("all.yaml", &exported)?.ok()?;
        same(&first, &local.dump()?)?;
        Ok(())
    });
}
