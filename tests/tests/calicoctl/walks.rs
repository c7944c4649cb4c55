//! Calico's documents, walked through as they are written: the migration from one pool to another
//! with workloads that live through it, and the chapters about BGP.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network, Pod, RESOURCES, addresses, on_both_stores};

use crate::says;

on_both_stores! {
    workloads_move_from_one_pool_to_another
    the_chapters_about_bgp
}

const OLD: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default-ipv4-ippool
spec:
  cidr: 192.168.0.0/16
  natOutgoing: true
";

const NEW: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: new-pool
spec:
  cidr: 10.0.0.0/16
  ipipMode: Always
  natOutgoing: true
";

/// A workload on the network: its namespace and its address.
struct Workload {
    pod: Pod,
    id: &'static str,
    address: IpAddr,
}

impl Workload {
    fn start(network: &Network, id: &'static str, name: &str) -> Result<Workload> {
        let pod = network.host().pod(name)?;
        let given = addresses(&network.add(&pod, id)?)?;
        Ok(Workload { pod, id, address: *given.first().context("no address")? })
    }

    fn stop(self, network: &Network) -> Result<()> {
        network.del(&self.pod, self.id)?;
        self.pod.remove()
    }
}

fn keys(network: &Network, prefix: &str) -> Result<Vec<String>> {
    Ok(network.store().dump()?.under(prefix).map(|(key, _)| key.to_owned()).collect())
}

fn workloads_move_from_one_pool_to_another(network: &Network) -> Result<()> {
    let created = "Successfully created 1 'IPPool' resource(s)\n";
    says(network.ctl("create -f -").stdin(OLD), created)?;
    let old = [Workload::start(network, "c1", "p1")?, Workload::start(network, "c2", "p2")?];
    ensure!(old.iter().all(|workload| workload.address.to_string().starts_with("192.168.")));
    old[0].pod.ping(old[1].address)?;

    // Step 1: add the new pool.
    says(network.ctl("create -f -").stdin(NEW), created)?;
    says(
        network.ctl("get ippool -o custom-columns=NAME,CIDR,NAT,IPIPMODE,DISABLED"),
        "\
NAME                  CIDR             NAT    IPIPMODE   DISABLED   \n\
default-ipv4-ippool   192.168.0.0/16   true   Never      false      \n\
new-pool              10.0.0.0/16      true   Always     false      \n\n",
    )?;

    // Step 2: disable the old one, in a saved list.
    let saved = network.ctl("get ippool -o yaml").ok()?;
    let cidr = "    cidr: 192.168.0.0/16\n";
    let edited = saved.replacen(cidr, &format!("{cidr}    disabled: true\n"), 1);
    ensure!(saved != edited && saved.contains("kind: IPPoolList"), "{saved}");
    says(
        network.ctl("apply -f pool.yaml").file("pool.yaml", &edited)?,
        "Successfully applied 2 'IPPool' resource(s)\n",
    )?;
    says(
        network.ctl("get ippool -o custom-columns=NAME,DISABLED"),
        "\
NAME                  DISABLED   \n\
default-ipv4-ippool   true       \n\
new-pool              false      \n\n",
    )?;
    // Who is there stays, and is reached.
    old[1].pod.ping(old[0].address)?;

    // Step 3: make the workloads anew, one by one.
    let [first, second] = old;
    let left = first.address;
    first.stop(network)?;
    let first = Workload::start(network, "c3", "p3")?;
    ensure!(first.address.to_string().starts_with("10.0."), "{}", first.address);
    first.pod.ping(second.address)?;
    second.pod.ping(first.address)?;
    says(network.ctl(&format!("ipam show --ip={left}")), &format!("{left} is not assigned\n"))?;
    second.stop(network)?;
    let second = Workload::start(network, "c4", "p4")?;
    ensure!(second.address.to_string().starts_with("10.0."), "{}", second.address);
    first.pod.ping(second.address)?;

    // Step 4: see that nothing is left in the old one, and delete it.
    let shown = network.ctl("get wep --all-namespaces").ok()?;
    ensure!(shown.starts_with("NAMESPACE   WORKLOAD "), "{shown}");
    ensure!(shown.matches("10.0.").count() == 2 && !shown.contains("192.168."), "{shown}");
    says(
        network.ctl("delete pool default-ipv4-ippool"),
        "Successfully deleted 1 'IPPool' resource(s)\n",
    )?;
    for folder in
        ["/calico/ipam/v2/assignment/ipv4/block/192", "/calico/ipam/v2/host/node-a/ipv4/block/192"]
    {
        ensure!(keys(network, folder)?.is_empty(), "{folder} is still there");
    }
    second.pod.ping(first.address)?;
    let check = network.ctl("ipam check").ok()?;
    ensure!(check.ends_with("Check complete; found 0 problems.\n"), "{check}");
    first.stop(network)?;
    second.stop(network)?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().is_empty() && dump.handles().is_empty(), "{dump:#?}");
    Ok(())
}

fn stored(network: &Network, path: &str) -> Result<Value> {
    let dump = network.store().dump()?;
    Ok(dump.0.get(&format!("{RESOURCES}/{path}")).with_context(|| path.to_owned())?.clone())
}

fn create(network: &Network, text: &str) -> Ctl {
    network.ctl("create -f -").stdin(text)
}

fn peer(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata:\n  name: {name}\nspec:\n{spec}"
    )
}

fn the_chapters_about_bgp(network: &Network) -> Result<()> {
    // The configuration: there is none, it is made, saved, edited and put back.
    let missing = network.ctl("get bgpconfig default").refused()?;
    ensure!(
        missing == "resource does not exist: BGPConfiguration(default) with error: <nil>\n",
        "{missing}"
    );
    let configuration = "apiVersion: projectcalico.org/v3\nkind: BGPConfiguration\nmetadata:\n  name: \
                         default\nspec:\n  logSeverityScreen: Info\n  nodeToNodeMeshEnabled: \
                         false\n  asNumber: 63400\n";
    says(
        create(network, configuration),
        "Successfully created 1 'BGPConfiguration' resource(s)\n",
    )?;
    let saved = network.ctl("get bgpconfig default --export -o yaml").ok()?;
    ensure!(!saved.contains("resourceVersion") && !saved.contains("uid"), "{saved}");
    let edited = saved.replace("nodeToNodeMeshEnabled: false", "nodeToNodeMeshEnabled: true");
    ensure!(edited != saved, "{saved}");
    says(
        network.ctl("replace -f bgp.yaml").file("bgp.yaml", &edited)?,
        "Successfully replaced 1 'BGPConfiguration' resource(s)\n",
    )?;
    says(
        network.ctl("get bgpconfig"),
        "\
NAME      LOGSEVERITY   MESHENABLED   ASNUMBER   \n\
default   Info          true          63400      \n\n",
    )?;
    says(
        network.ctl("patch bgpconfig default -p {\"spec\":{\"nodeToNodeMeshEnabled\":false}}"),
        "Successfully patched 1 'BGPConfiguration' resource\n",
    )?;
    ensure!(
        stored(network, "bgpconfigurations/default")?["spec"]["nodeToNodeMeshEnabled"] == false
    );

    // A global peer and one of a node.
    let created = "Successfully created 1 'BGPPeer' resource(s)\n";
    let global = peer("bgppeer-global-3040", "  peerIP: 192.20.30.40\n  asNumber: 64567\n");
    let of_node =
        peer("bgppeer-node-aabbff", "  peerIP: aa:bb::ff\n  node: node1\n  asNumber: 64514\n");
    says(create(network, &global), created)?;
    says(create(network, &of_node), created)?;
    says(
        network.ctl("get bgpPeer"),
        "\
NAME                  PEERIP         NODE       ASN     \n\
bgppeer-global-3040   192.20.30.40   (global)   64567   \n\
bgppeer-node-aabbff   aa:bb::ff      node1      64514   \n\n",
    )?;
    says(
        network.ctl("delete bgppeer bgppeer-global-3040"),
        "Successfully deleted 1 'BGPPeer' resource(s)\n",
    )?;

    // This node as a route reflector, by an edited file of it.
    let saved = network.ctl("get node node-a -o yaml").ok()?;
    let label = "metadata:\n  labels:\n    i-am-a-route-reflector: true\n";
    let edited = saved.replacen("metadata:\n", label, 1).replacen(
        "    ipv4Address: 192.0.2.1/24\n",
        "    ipv4Address: 192.0.2.1/24\n    routeReflectorClusterID: 224.0.0.1\n",
        1,
    );
    ensure!(edited.contains("224.0.0.1"), "{saved}");
    says(
        network.ctl("apply -f node.yml").file("node.yml", &edited)?,
        "Successfully applied 1 'Node' resource(s)\n",
    )?;
    let node = stored(network, "nodes/node-a")?;
    ensure!(node["metadata"]["labels"] == json!({"i-am-a-route-reflector": "true"}), "{node}");
    let peers = [
        peer(
            "peer-to-rrs",
            "  nodeSelector: !has(i-am-a-route-reflector)\n  peerSelector: has(i-am-a-route-reflector)\n",
        ),
        peer(
            "rr-mesh",
            "  nodeSelector: has(i-am-a-route-reflector)\n  peerSelector: has(i-am-a-route-reflector)\n",
        ),
    ];
    says(create(network, &peers.join("---\n")), "Successfully created 2 'BGPPeer' resource(s)\n")?;
    let stored = stored(network, "bgppeers/peer-to-rrs")?;
    ensure!(stored["spec"]["nodeSelector"] == "!has(i-am-a-route-reflector)", "{stored}");
    Ok(())
}
