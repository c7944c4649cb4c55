//! What operators hand in: files, folders, lists, and the traps of YAML (section 3.4).

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network, RESOURCES, on_both_stores};

use crate::{answers, empty};

on_both_stores! {
    traps_of_yaml
    lists_of_all_sorts
    what_is_wrong_is_applied_in_no_part
    folders
    a_saved_list_goes_back
    route_reflectors_by_an_unquoted_selector
}

/// A resource in one line of YAML.
fn yaml(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n"
    )
}

fn stored(network: &Network, path: &str) -> Result<Value> {
    Ok(network.store().dump()?.0.get(&format!("{RESOURCES}/{path}")).cloned().unwrap_or_default())
}

fn apply(network: &Network, input: &str) -> Ctl {
    network.ctl("apply -f -").stdin(input)
}

fn traps_of_yaml(network: &Network) -> Result<()> {
    let head = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata:\n  name: n1\n";
    for (labels, expected) in [
        ("{i-am-a-route-reflector: true}", json!({"i-am-a-route-reflector": "true"})),
        (
            "{a: yes, b: 012, c: 1.50, d: 0x10}",
            json!({"a": "true", "b": "10", "c": "1.5", "d": "16"}),
        ),
        // COMPAT: the key itself is a boolean.
        ("{n: x}", json!({"false": "x"})),
        ("{\"n\": \"no\"}", json!({"n": "no"})),
    ] {
        apply(network, &format!("{head}  labels: {labels}\n")).ok()?;
        let node = stored(network, "nodes/n1")?;
        ensure!(node["metadata"]["labels"] == expected, "{labels}: {node}");
    }
    for (as_number, expected) in [("64512", 64512), ("\"64513\"", 64513), ("\"1.10\"", 65546)] {
        apply(network, &format!("{head}spec: {{bgp: {{asNumber: {as_number}}}}}\n")).ok()?;
        let node = stored(network, "nodes/n1")?;
        ensure!(node["spec"]["bgp"]["asNumber"] == expected, "{as_number}: {node}");
    }
    // A file of Windows' shells.
    let wide: Vec<u16> = format!("\u{feff}{head}  labels: {{w: x}}\r\n").encode_utf16().collect();
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let input: Vec<u8> = wide.iter().copied().flat_map(bytes).collect();
        network.ctl("apply -f -").stdin(input.clone()).ok()?;
        let cut = network.ctl("apply -f -").stdin(&input[..input.len() - 1]).refused()?;
        ensure!(cut.contains("half a character"), "{cut}");
    }
    ensure!(stored(network, "nodes/n1")?["metadata"]["labels"] == json!({"w": "x"}), "UTF-16");
    // Field names match in any letter case, and server metadata is tolerated.
    let odd = "APIversion: projectcalico.org/v3\nKIND: Node\nmetaData: {Name: n1, uid: x, \
               creationTimestamp: null}\nSPEC: {BGP: {ipv4address: 192.0.2.2/24}}\n";
    apply(network, odd).ok()?;
    ensure!(stored(network, "nodes/n1")?["spec"]["bgp"]["ipv4Address"] == "192.0.2.2/24", "case");
    Ok(())
}

fn lists_of_all_sorts(network: &Network) -> Result<()> {
    let set = |name: &str| yaml("GlobalNetworkSet", name, "{nets: [10.0.0.0/8]}");
    let typeless = "{metadata: {name: c}, spec: {nets: [10.0.0.0/8]}}";
    let (a, b) = (set("a"), set("b"));
    let list = |kind: &str, items: &str| {
        format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nitems: [{items}]\n")
    };
    let one = "Successfully applied 1 'GlobalNetworkSet' resource(s)\n";
    let two = "Successfully applied 2 'GlobalNetworkSet' resource(s)\n";
    for (input, expected) in [
        (list("GlobalNetworkSetList", &format!("{a}, {typeless}")), two),
        (list("List", &format!("{a}, {b}")), two),
        (
            list(
                "List",
                &format!("{{apiVersion: projectcalico.org/v3, kind: List, items: [{a}]}}, {b}"),
            ),
            two,
        ),
        (format!("- {a}- {b}"), two),
        (format!("[{a}, {b}]"), two),
        (format!("---\n{a}---\n{b}---\n"), two),
        (format!("# sets\n---\n{a}"), one),
        (format!("{a}---\n- {b}"), two),
        (
            r#"{"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": "j", "annotations": {"k": "\ud83d\ude00"}}, "spec": {}}"#
                .to_owned(),
            one,
        ),
    ] {
        empty(network)?;
        let said = apply(network, &input).ok()?;
        ensure!(said == expected, "{input}: {said}");
    }
    Ok(())
}

fn what_is_wrong_is_applied_in_no_part(network: &Network) -> Result<()> {
    let good = yaml("Node", "good", "{}");
    for (bad, expected) in [
        ("---\n# only a comment\n---\n", "-: line 3: document: must be an object, not nothing"),
        ("---\n{kind: Pond}\n", "-: line 3: unknown resource type (Pond) and/or version ()"),
        ("---\n{kind: IPPol, apiVersion: projectcalico.org/v3}\n", "did you mean \"IPPool\"?"),
        ("---\n{kind: Node, apiVersion: v1}\n", "resources of v1 go through calicoctl convert"),
        ("---\na: 1\na: 2\n", "-: line 4: key \"a\" is already set in this map"),
        ("---\na: [1\n", "failed to execute command: -: line "),
        ("---\ns: !x {}\n", "-: line 3: the tag !x is not supported"),
        (
            "---\n{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: x}, spec: {colour: red}}\n",
            "field in document is not recognized or is in the wrong location: colour",
        ),
        (
            "---\n{apiVersion: projectcalico.org/v3, kind: NodeList, colour: red}\n",
            "field in document is not recognized or is in the wrong location: colour",
        ),
        (
            "---\n{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: x, namespace: y}}\n",
            "Node is not a namespaced resource",
        ),
        (
            "---\n{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: x}, spec: {blockSize: big}}\n",
            "blockSize",
        ),
    ] {
        let said = apply(network, &format!("{good}{bad}")).refused()?;
        ensure!(said.contains(expected) && said.lines().count() == 1, "{bad}: {said}");
        ensure!(stored(network, "nodes/good")?.is_null(), "{bad}: half of it was applied");
    }
    let large = format!("a: {}\n", "x".repeat(10 * 1024 * 1024));
    let said = apply(network, &large).refused()?;
    ensure!(said.contains("has more than 10 MB"), "{said}");
    Ok(())
}

fn folders(network: &Network) -> Result<()> {
    let node = |name: &str| yaml("Node", name, "{}");
    let ctl =
        network.ctl("apply -f d").file("d/B.YAML", &node("b"))?.file("d/a.yml", &node("a"))?;
    let ctl = ctl.file("d/c.Json", &node("c"))?.file("d/x.txt", "junk")?.file("d/yaml", "junk")?;
    let ctl = ctl.file("d/e/d.yaml", &node("d"))?.file("empty/x.txt", "junk")?;
    let said = ctl.ok()?;
    ensure!(said == "Successfully applied 3 'Node' resource(s)\n", "{said}");
    ensure!(stored(network, "nodes/d")?.is_null(), "a folder within was read");
    let said = network.ctl("apply -R --filename d").ok()?;
    ensure!(said == "Successfully applied 4 'Node' resource(s)\n", "{said}");
    answers(
        network,
        &[
            ("apply -f empty", 1, "no resources specified in directory empty\n"),
            ("apply -f empty --skip-empty", 0, "No resources specified\n"),
            ("apply -f d/x.txt/no", 1, "failed to execute command: cannot read d/x.txt/no: …"),
            ("get -f d -R", 0, "NAME   \nb      \n\nNAME   \n…"),
            ("delete -Rf d", 0, "Successfully deleted 4 'Node' resource(s)\n"),
            (
                "get -f d",
                1,
                "resource does not exist: Node(b) with error: <nil>\nresource does not exist: Node(a)…",
            ),
        ],
    )?;
    let broken = network.ctl("validate -f d -R").file("d/e/z.yaml", "a: 1\nb: [\n")?.refused()?;
    ensure!(broken.contains("d/e/z.yaml: line "), "{broken}");
    Ok(())
}

fn a_saved_list_goes_back(network: &Network) -> Result<()> {
    let pools = yaml("IPPool", "pool-a", "{cidr: 10.65.0.0/16}")
        + "---\n"
        + &yaml("IPPool", "pool-b", "{cidr: \"fd00:65::/64\", natOutgoing: true}");
    apply(network, &pools).ok()?;
    for (verb, past) in [("apply", "applied"), ("replace", "replaced")] {
        for format in ["yaml", "json"] {
            let saved = network.ctl(&format!("get ippool -o {format}")).ok()?;
            ensure!(saved.contains("IPPoolList"), "{saved}");
            let said = network.ctl(&format!("{verb} -f -")).stdin(saved.clone()).ok()?;
            ensure!(said == format!("Successfully {past} 2 'IPPool' resource(s)\n"), "{said}");
            // What it says of versions is true no more.
            let said = network.ctl(&format!("{verb} -f -")).stdin(saved).refused()?;
            ensure!(said.matches("update conflict: IPPool(pool-").count() == 2, "{said}");
            let named = network.ctl(&format!("get ippool pool-a pool-b -o {format}")).ok()?;
            network.ctl(&format!("{verb} -f -")).stdin(named).ok()?;
        }
    }
    let exported = network.ctl("get pool pool-a -o yaml --export").ok()?;
    network.ctl("delete pool pool-a").ok()?;
    let said = network.ctl("create -f -").stdin(exported).ok()?;
    ensure!(said == "Successfully created 1 'IPPool' resource(s)\n", "{said}");
    // A saved resource that is gone comes back by apply, as a new one.
    let saved = network.ctl("get pool pool-b -o yaml").ok()?;
    network.ctl("delete pool pool-b").ok()?;
    let said = network.ctl("create -f -").stdin(saved.clone()).refused()?;
    ensure!(said.contains("Metadata.ResourceVersion"), "{said}");
    apply(network, &saved).ok()?;
    Ok(())
}

fn route_reflectors_by_an_unquoted_selector(network: &Network) -> Result<()> {
    let peers = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata:\n  name: peer-to-rrs\n\
                 spec:\n  nodeSelector: !has(i-am-a-route-reflector)\n  peerSelector: \
                 has(i-am-a-route-reflector)\n---\napiVersion: projectcalico.org/v3\nkind: \
                 BGPPeer\nmetadata:\n  name: rr-mesh\nspec:\n  nodeSelector: \
                 has(i-am-a-route-reflector)\n  peerSelector: has(i-am-a-route-reflector)\n";
    network.ctl("create -f -").stdin(peers).ok()?;
    let peer = stored(network, "bgppeers/peer-to-rrs")?;
    ensure!(peer["spec"]["nodeSelector"] == "!has(i-am-a-route-reflector)", "{peer}");
    let table = network.ctl("get bgppeer").ok()?;
    let expected = "\
NAME          PEERIP   NODE                           ASN   \n\
peer-to-rrs            !has(i-am-a-route-reflector)   0     \n\
rr-mesh                has(i-am-a-route-reflector)    0     \n\n";
    ensure!(table == expected, "{table}");
    let said = network.ctl("apply -f -").stdin(peers.replace("!has(", "!nothas(")).refused()?;
    ensure!(said.contains("NodeSelector") || said.contains("nodeSelector"), "{said}");
    Ok(())
}
