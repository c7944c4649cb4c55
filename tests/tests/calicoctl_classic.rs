//! The commands of Calico's early documents, on both stores: texts and tables byte for byte, and what
//! is stored (`reference/calicoctl.md` sections 1.1, 1.2 and 2).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network, RESOURCES, objects};

tests::on_both_stores! {
    pools
    a_range_becomes_pools
    global_peers
    peers_of_this_node
    the_mesh_and_the_as_number
    settings_and_where_they_come_from
    raw_settings
    profiles_and_tags
    rules
    rules_as_a_document
    rules_beyond_the_grammar_stay
    endpoints
    profiles_of_endpoints
    a_node_leaves_the_cluster
    what_is_no_more
    every_command_of_the_early_documents_answers
}

fn says(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.ok()?;
    ensure!(said == expected, "said\n{said}instead of\n{expected}");
    Ok(())
}

fn refuses(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.refused()?;
    ensure!(said == format!("{expected}\n"), "refused with {said:?} instead of {expected:?}");
    Ok(())
}

/// The spec of a stored object.
fn spec(network: &Network, plural: &str, name: &str) -> Result<Value> {
    let key = format!("{RESOURCES}/{plural}/{name}");
    let dump = network.store().dump()?;
    Ok(dump.0.get(&key).with_context(|| format!("no {key}"))?["spec"].clone())
}

/// The values of some fields of a stored object.
fn fields(network: &Network, plural: &str, name: &str, names: &[&str]) -> Result<Value> {
    let spec = spec(network, plural, name)?;
    Ok(names.iter().map(|name| spec[*name].clone()).collect())
}

/// An endpoint that another program stored.
fn endpoint(node: &str, orchestrator: &str, workload: &str, spec: &Value) -> (String, Value) {
    let mut object = json!({
        "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "namespace": "default", "uid": "cca955fb-e8c8-4916-aee1-ecfb73ef0585",
            "creationTimestamp": "2026-11-21T15:04:33Z",
            "labels": {"projectcalico.org/namespace": "default",
                       "projectcalico.org/orchestrator": orchestrator},
        },
        "spec": {"orchestrator": orchestrator, "workload": workload, "node": node,
                 "endpoint": "eth0", "interfaceName": "cali0123"},
    });
    if orchestrator == "cni" {
        object["spec"]["workload"] = json!("");
        object["spec"]["containerID"] = json!(workload);
    }
    for (name, value) in spec.as_object().into_iter().flatten() {
        object["spec"][name] = value.clone();
    }
    let parts = [node, orchestrator, workload, object["spec"]["endpoint"].as_str().unwrap_or("")];
    let name = parts.map(|part| part.replace('-', "--")).join("-");
    object["metadata"]["name"] = json!(name);
    (format!("{RESOURCES}/workloadendpoints/default/{name}"), object)
}

fn pools(network: &Network) -> Result<()> {
    says(
        network.ctl("pool show"),
        "\
+-----------+---------+
| IPv4 CIDR | Options |
+-----------+---------+
+-----------+---------+
+-----------+---------+
| IPv6 CIDR | Options |
+-----------+---------+
+-----------+---------+
",
    )?;
    says(network.ctl("pool add 192.168.0.0/16 --ipip --nat-outgoing"), "")?;
    says(network.ctl("pool add 172.100.100.0/24 fd80:24e2:f998:72d6::/64"), "")?;
    says(
        network.ctl("pool show --ipv4"),
        "\
+------------------+-------------------+
|    IPv4 CIDR     |      Options      |
+------------------+-------------------+
| 172.100.100.0/24 |                   |
|  192.168.0.0/16  | ipip,nat-outgoing |
+------------------+-------------------+
",
    )?;
    says(
        network.ctl("pool show --ipv6"),
        "\
+--------------------------+---------+
|        IPv6 CIDR         | Options |
+--------------------------+---------+
| fd80:24e2:f998:72d6::/64 |         |
+--------------------------+---------+
",
    )?;
    let options = ["cidr", "ipipMode", "natOutgoing", "blockSize"];
    let stored = fields(network, "ippools", "192-168-0-0-16", &options)?;
    ensure!(stored == json!(["192.168.0.0/16", "Always", true, 26]), "{stored}");
    // Once more is a change of its options; the host's part of an address doesn't count.
    says(network.ctl("pool add 192.168.7.7/16 --nat-outgoing"), "")?;
    let stored = fields(network, "ippools", "192-168-0-0-16", &options)?;
    ensure!(stored == json!(["192.168.0.0/16", "Never", true, 26]), "{stored}");
    says(network.ctl("pool add 192.168.0.0/16"), "")?;
    ensure!(spec(network, "ippools", "192-168-0-0-16")?["natOutgoing"] == Value::Null);

    refuses(network.ctl("pool add fd00:1::/64 --ipip"), "IP in IP not supported for IPv6 pools")?;
    let error = network.ctl("pool add 192.168.3.0/24").refused()?;
    ensure!(error.contains("overlaps") && error.contains("192-168-0-0-16"), "{error}");
    refuses(network.ctl("pool remove 10.9.0.0/16"), "10.9.0.0/16 is not a configured pool.")?;
    says(network.ctl("pool remove 192.168.0.0/16 fd80:24e2:f998:72d6::/64"), "")?;
    refuses(network.ctl("pool remove 192.168.0.0/16"), "192.168.0.0/16 is not a configured pool.")?;
    says(
        network.ctl("pool show --ipv4"),
        "\
+------------------+---------+
|    IPv4 CIDR     | Options |
+------------------+---------+
| 172.100.100.0/24 |         |
+------------------+---------+
",
    )?;
    // A pool of another name, with options of today, is told as it works.
    let (key, mut pool) = objects::pool("blue", "10.7.0.0/24", 26);
    pool["spec"]["vxlanMode"] = json!("CrossSubnet");
    pool["spec"]["disabled"] = json!(true);
    network.put([(key, pool)])?;
    let shown = network.ctl("pool show --ipv4").ok()?;
    ensure!(shown.contains("|   10.7.0.0/24    | vxlan-cross-subnet,disabled |"), "{shown}");
    says(network.ctl("pool remove 10.7.0.0/24"), "")
}

fn a_range_becomes_pools(network: &Network) -> Result<()> {
    says(network.ctl("pool range add 10.0.0.0 10.0.1.127 --ipip"), "")?;
    let stored = fields(network, "ippools", "10-0-1-0-25", &["cidr", "ipipMode", "blockSize"])?;
    ensure!(stored == json!(["10.0.1.0/25", "Always", 26]), "{stored}");
    says(network.ctl("pool range add 10.1.0.4 10.1.0.11"), "")?;
    let stored = fields(network, "ippools", "10-1-0-8-30", &["cidr", "blockSize"])?;
    ensure!(stored == json!(["10.1.0.8/30", 30]), "{stored}");
    let before = network.store().dump()?;
    refuses(
        network.ctl("pool range add 10.0.1.0 10.0.2.255"),
        "Cannot add range - 10.0.1.0/24 overlaps with pool 10.0.1.0/25",
    )?;
    refuses(
        network.ctl("pool range add 10.9.0.9 10.9.0.1"),
        "Invalid range - the first address 10.9.0.9 is greater than the last 10.9.0.1",
    )?;
    refuses(
        network.ctl("pool range add 10.9.0.9 fd00::1"),
        "10.9.0.9 and fd00::1 are of different families",
    )?;
    ensure!(network.store().dump()? == before);
    Ok(())
}

fn global_peers(network: &Network) -> Result<()> {
    says(
        network.ctl("bgppeer show"),
        "No global IPv4 BGP Peers defined.\nNo global IPv6 BGP Peers defined.\n",
    )?;
    let added = "BGP peer added to global configuration\n";
    says(network.ctl("bgppeer add 192.20.30.40 as 64567"), added)?;
    says(network.ctl("bgp peer add 10.0.0.1 as 1.10"), added)?;
    says(network.ctl("bgp peer add aa:bb::ff as 64514"), added)?;
    says(
        network.ctl("bgppeer show"),
        "\
+----------------------+--------+
| Global IPv4 BGP Peer | AS Num |
+----------------------+--------+
| 10.0.0.1             | 65546  |
| 192.20.30.40         | 64567  |
+----------------------+--------+
+----------------------+--------+
| Global IPv6 BGP Peer | AS Num |
+----------------------+--------+
| aa:bb::ff            | 64514  |
+----------------------+--------+
",
    )?;
    let stored = spec(network, "bgppeers", "192-20-30-40")?;
    ensure!(stored["peerIP"] == "192.20.30.40" && stored["asNumber"] == 64567, "{stored}");
    let name = "00aa-00bb-0000-0000-0000-0000-0000-00ff";
    ensure!(spec(network, "bgppeers", name)?["peerIP"] == "aa:bb::ff");
    // Once more is a change of the number.
    says(network.ctl("bgppeer add 10.0.0.1 as 64999"), added)?;
    ensure!(spec(network, "bgppeers", "10-0-0-1")?["asNumber"] == 64999);
    // One of another name is found by its address; those with selectors are told.
    network.put([
        objects::resource(
            "BGPPeer",
            "bgppeers",
            "core",
            json!({"peerIP": "10.0.0.2:180", "asNumber": 1}),
        ),
        objects::resource(
            "BGPPeer",
            "bgppeers",
            "rr",
            json!({"nodeSelector": "all()", "peerIP": "10.0.0.3", "asNumber": 2}),
        ),
    ])?;
    let shown = network.ctl("bgp peer show --ipv4").run()?;
    ensure!(shown.stdout.contains("| 10.0.0.2:180         | 1      |"), "{shown:?}");
    ensure!(!shown.stdout.contains("10.0.0.3") && shown.stderr.starts_with("1 more"), "{shown:?}");
    let removed = "BGP peer removed from global configuration\n";
    says(network.ctl("bgppeer remove 10.0.0.2"), removed)?;
    says(network.ctl("bgp peer remove aa:bb:0::ff"), removed)?;
    refuses(
        network.ctl("bgppeer remove aa:bb::ff"),
        "aa:bb::ff is not a globally configured peer.",
    )?;
    refuses(network.ctl("bgppeer remove 10.0.0.3"), "10.0.0.3 is not a globally configured peer.")
}

fn peers_of_this_node(network: &Network) -> Result<()> {
    says(network.ctl("node bgppeer show --ipv4"), "No IPv4 BGP Peers defined for this node.\n")?;
    let added = "BGP peer added to node configuration\n";
    says(network.ctl("node bgppeer add 192.10.0.5 as 64512"), added)?;
    says(network.ctl("node bgp peer add aa:bb::1 as 64513"), added)?;
    says(network.ctl("node bgp peer add 10.9.9.9 as 7").env("NODENAME", "node-b"), added)?;
    says(
        network.ctl("node bgp peer show"),
        "\
+-----------------------------+--------+
| Node specific IPv4 BGP Peer | AS Num |
+-----------------------------+--------+
|         192.10.0.5          | 64512  |
+-----------------------------+--------+
+-----------------------------+--------+
| Node specific IPv6 BGP Peer | AS Num |
+-----------------------------+--------+
|          aa:bb::1           | 64513  |
+-----------------------------+--------+
",
    )?;
    ensure!(spec(network, "bgppeers", "node-a.192-10-0-5")?["node"] == "node-a");
    ensure!(spec(network, "bgppeers", "node-b.10-9-9-9")?["node"] == "node-b");
    says(network.ctl("bgppeer show --ipv4"), "No global IPv4 BGP Peers defined.\n")?;
    refuses(
        network.ctl("node bgppeer remove 10.9.9.9"),
        "10.9.9.9 is not a configured peer for this node.",
    )?;
    says(
        network.ctl("node bgppeer remove 192.10.0.5"),
        "BGP peer removed from node configuration\n",
    )
}

fn the_mesh_and_the_as_number(network: &Network) -> Result<()> {
    says(network.ctl("default-node-as"), "64512\n")?;
    says(network.ctl("bgp-node-mesh"), "on\n")?;
    says(network.ctl("default-node-as 64999"), "")?;
    says(network.ctl("bgp-node-mesh off"), "")?;
    says(network.ctl("bgp default-node-as"), "64999\n")?;
    says(network.ctl("bgp node-mesh"), "off\n")?;
    let both = ["asNumber", "nodeToNodeMeshEnabled"];
    ensure!(fields(network, "bgpconfigurations", "default", &both)? == json!([64999, false]));
    says(network.ctl("bgp node-mesh on"), "")?;
    says(network.ctl("bgp default-node-as 1.10"), "")?;
    ensure!(fields(network, "bgpconfigurations", "default", &both)? == json!([65546, true]));
    for line in ["default-node-as many", "bgp-node-mesh maybe", "bgp default-node-as -1"] {
        network.ctl(line).refused()?;
    }
    ensure!(fields(network, "bgpconfigurations", "default", &both)? == json!([65546, true]));
    Ok(())
}

fn settings_and_where_they_come_from(network: &Network) -> Result<()> {
    for (name, default) in
        [("logLevel", "info"), ("nodeToNodeMesh", "on"), ("asNumber", "64512"), ("ipip", "off")]
    {
        says(network.ctl(&format!("config get {name}")), &format!("{default}\n"))?;
    }
    says(network.ctl("config get logLevel --node=node-a"), "info (inherited from global)\n")?;
    for (name, value, shown) in [
        ("logLevel", "warning", "warning"),
        ("nodeToNodeMesh", "off", "off"),
        ("asNumber", "65001", "65001"),
        ("ipip", "on", "on"),
        ("logLevel", "none", "critical"),
        ("logLevel", "debug", "debug"),
    ] {
        says(network.ctl(&format!("config set {name} {value}")), "")?;
        says(network.ctl(&format!("config get {name}")), &format!("{shown}\n"))?;
    }
    says(network.ctl("config get logLevel -n node-a"), "debug (inherited from global)\n")?;
    says(network.ctl("config set logLevel error -n node-a"), "")?;
    says(network.ctl("config get logLevel -n node-a"), "error\n")?;
    says(network.ctl("config get logLevel"), "debug\n")?;
    let log = ["logSeverityScreen"];
    for (plural, name, level) in [
        ("felixconfigurations", "default", "Debug"),
        ("bgpconfigurations", "default", "Debug"),
        ("felixconfigurations", "node.node-a", "Error"),
        ("bgpconfigurations", "node.node-a", "Fatal"),
    ] {
        let stored = fields(network, plural, name, &log)?;
        ensure!(stored == json!([level]), "{plural} {name}: {stored}");
    }
    ensure!(spec(network, "felixconfigurations", "default")?["ipipEnabled"] == true);
    says(network.ctl("config unset logLevel -n node-a"), "")?;
    says(network.ctl("config get logLevel -n node-a"), "debug (inherited from global)\n")?;
    for (name, default) in
        [("logLevel", "info"), ("nodeToNodeMesh", "on"), ("asNumber", "64512"), ("ipip", "off")]
    {
        says(network.ctl(&format!("config unset {name}")), "")?;
        says(network.ctl(&format!("config get {name}")), &format!("{default}\n"))?;
    }
    // Where nobody decided, Felix goes by the pools.
    network.ctl("pool add 10.0.0.0/16 --ipip").ok()?;
    says(network.ctl("config get ipip"), "on\n")?;
    for (line, reason) in [
        ("config get colour", "unrecognised config name \"colour\""),
        ("config set asNumber 64512 --node=node-a", "--node should not be specified"),
        ("config get ipip -n node-a", "--node should not be specified"),
        ("config unset nodeToNodeMesh -n node-a", "--node should not be specified"),
        ("config set logLevel loud", "none, debug, info, warning, error, critical"),
        ("config set ipip maybe", "on or off"),
        ("config set asNumber 4294967296", "4294967295"),
    ] {
        let error = network.ctl(line).refused()?;
        ensure!(error.contains(reason) && error.lines().count() == 1, "{line}: {error}");
    }
    Ok(())
}

fn raw_settings(network: &Network) -> Result<()> {
    says(network.ctl("config get LogFilePath --raw=felix"), "(unset)\n")?;
    says(network.ctl("config set LogFilePath /var/log/felix --raw=felix"), "")?;
    says(network.ctl("config get LogFilePath --raw=felix"), "/var/log/felix\n")?;
    says(network.ctl("config get LogFilePath --raw=felix --node=node-a"), "(unset)\n")?;
    says(network.ctl("config set IpInIpEnabled true --raw=felix"), "")?;
    says(network.ctl("config get ipip"), "on\n")?;
    says(network.ctl("config get loglevel --raw=bgp"), "(unset)\n")?;
    says(network.ctl("config set loglevel Info --raw=bgp --node=node-a"), "")?;
    says(network.ctl("config get loglevel --raw=bgp --node=node-a"), "Info\n")?;
    let mesh = ["config", "set", "node_mesh", "{\"enabled\":false}"];
    let error = Ctl::new(network.store(), mesh).refused()?;
    ensure!(error.contains("unrecognised config name"), "{error}");
    let raw = mesh.iter().chain(&["--raw=bgp"]);
    says(Ctl::new(network.store(), raw), "")?;
    says(network.ctl("bgp-node-mesh"), "off\n")?;
    says(network.ctl("config unset LogFilePath --raw=felix"), "")?;
    says(network.ctl("config get LogFilePath --raw=felix"), "(unset)\n")
}

fn profiles_and_tags(network: &Network) -> Result<()> {
    says(network.ctl("profile add web"), "Created profile web\n")?;
    says(network.ctl("profile add web"), "Profile web already exists.\n")?;
    let stored = spec(network, "profiles", "web")?;
    ensure!(
        stored
            == json!({
                "ingress": [{"action": "Allow", "source": {"selector": "web == ''"},
                             "destination": {}}],
                "egress": [{"action": "Allow", "source": {}, "destination": {}}],
                "labelsToApply": {"web": ""},
            }),
        "{stored:#}"
    );
    says(
        network.ctl("profile show"),
        "\
+-----------------------------+
|            Name             |
+-----------------------------+
| projectcalico-default-allow |
|             web             |
+-----------------------------+
",
    )?;
    // Names of the early documents may be upper case; today's are not.
    let added = network.ctl("profile add PROF_A").run()?;
    ensure!(added.exit == Some(0) && added.stdout == "Created profile PROF_A\n", "{added:?}");
    ensure!(
        added.stderr == "profile PROF_A is stored as prof-a-447651e6: names are lower case today\n",
        "{added:?}"
    );
    says(network.ctl("profile PROF_A tag show"), "PROF_A\n")?;
    says(
        network.ctl("profile PROF_A rule show"),
        "Inbound rules:\n   1 allow from tag PROF_A\nOutbound rules:\n   1 allow\n",
    )?;
    refuses(
        network.ctl("profile add a/b"),
        "profile name \"a/b\" is not valid: use 1 to 40 letters, digits, '_', '.' and '-'",
    )?;
    network.ctl(&format!("profile add {}", "x".repeat(41))).refused()?;

    says(network.ctl("profile web tag add db"), "Tag db added to profile web\n")?;
    says(network.ctl("profile web tag add DB_2"), "Tag DB_2 added to profile web\n")?;
    says(network.ctl("profile web tag show"), "DB_2\ndb\nweb\n")?;
    says(network.ctl("profile tag remove web db"), "Tag db removed from profile web\n")?;
    refuses(network.ctl("profile web tag remove db"), "Tag db is not on profile web")?;
    let labels = spec(network, "profiles", "web")?["labelsToApply"].clone();
    ensure!(labels == json!({"DB_2": "", "web": ""}), "{labels}");
    network.ctl("profile web tag add a=b").refused()?;
    for line in [
        "profile none tag show",
        "profile none tag add a",
        "profile none tag remove a",
        "profile none rule show",
        "profile none rule json",
        "profile none rule add inbound allow",
        "profile none rule remove inbound allow",
    ] {
        refuses(network.ctl(line), "Profile none not found.")?;
    }
    refuses(network.ctl("profile remove none"), "Couldn't find profile with name none")?;
    says(network.ctl("profile remove PROF_A"), "Deleted profile PROF_A\n")?;
    refuses(network.ctl("profile remove PROF_A"), "Couldn't find profile with name PROF_A")?;
    let error = network.ctl("profile remove projectcalico-default-allow").refused()?;
    ensure!(error.contains("built in"), "{error}");

    // While something has it, it stays.
    let host = json!({"node": "node-a", "interfaceName": "eth0", "profiles": ["web"]});
    network.put([
        endpoint("node-a", "cni", "c1", &json!({"profiles": ["web"]})),
        objects::resource("HostEndpoint", "hostendpoints", "node-a-eth0", host),
    ])?;
    refuses(
        network.ctl("profile remove web"),
        "Profile web is in use by 2 endpoints, of which node--a-cni-c1-eth0 is one: take it from \
         them, or use --no-check",
    )?;
    says(network.ctl("profile remove web --no-check"), "Deleted profile web\n")
}

fn rules(network: &Network) -> Result<()> {
    network.ctl("profile add web").ok()?;
    let shown = |expected: &str| says(network.ctl("profile web rule show"), expected);
    for line in [
        "rule add inbound deny icmp type 8 code 0 from cidr 10.0.0.0/8",
        "rule add inbound --at=1 allow tcp from tag db to ports 80,443,8000:8099",
        "rule add outbound --at=2 deny udp to ports 53 cidr 10.9.0.0/16",
    ] {
        says(network.ctl(&format!("profile web {line}")), "")?;
    }
    shown(
        "\
Inbound rules:
   1 allow tcp from tag db to ports 80,443,8000:8099
   2 allow from tag web
   3 deny icmp type 8 code 0 from cidr 10.0.0.0/8
Outbound rules:
   1 allow
   2 deny udp to ports 53 cidr 10.9.0.0/16
",
    )?;
    let stored = spec(network, "profiles", "web")?["ingress"][0].clone();
    ensure!(
        stored
            == json!({"action": "Allow", "protocol": "TCP", "source": {"selector": "db == ''"},
                      "destination": {"ports": [80, 443, "8000:8099"]}}),
        "{stored:#}"
    );
    says(
        network.ctl("profile web rule add outbound deny udp to cidr 10.9.0.0/16 ports 53"),
        "Rule already present, skipping.\n",
    )?;
    for (line, reason) in [
        ("rule add inbound --at=5 deny", "Position 5 is out-of-range."),
        ("rule add inbound --at=0 deny", "Position 0 is out-of-range."),
        ("rule remove inbound --at=4", "Position 4 is out-of-range."),
        ("rule remove outbound deny", "Rule not found."),
        ("rule add inbound allow to ports 80", "Ports are not valid with protocol"),
    ] {
        refuses(network.ctl(&format!("profile web {line}")), reason)?;
    }
    says(network.ctl("profile web rule remove inbound --at=2"), "")?;
    says(network.ctl("profile web rule remove outbound allow"), "")?;
    says(network.ctl("profile rule remove web outbound --at=1"), "")?;
    shown(
        "\
Inbound rules:
   1 allow tcp from tag db to ports 80,443,8000:8099
   2 deny icmp type 8 code 0 from cidr 10.0.0.0/8
Outbound rules:
",
    )
}

fn rules_as_a_document(network: &Network) -> Result<()> {
    network.ctl("profile add web").ok()?;
    network.ctl("profile web rule add inbound deny tcp to ports 1:2").ok()?;
    let expected = r#"{
  "id": "web",
  "inbound_rules": [
    {
      "action": "allow",
      "src_tag": "web"
    },
    {
      "action": "deny",
      "protocol": "tcp",
      "dst_ports": [
        "1:2"
      ]
    }
  ],
  "outbound_rules": [
    {
      "action": "allow"
    }
  ]
}
"#;
    says(network.ctl("profile web rule json"), expected)?;
    let document = json!({
        "id": "web",
        "inbound_rules": [{"action": "allow", "protocol": "icmp", "icmp_type": 128,
                           "src_net": "fd00::/8"}],
        "outbound_rules": [],
    });
    let update =
        |document: &Value| network.ctl("profile web rule update").stdin(document.to_string());
    says(update(&document), "Successfully updated rules on profile web\n")?;
    says(
        network.ctl("profile web rule show"),
        "Inbound rules:\n   1 allow icmp type 128 from cidr fd00::/8\nOutbound rules:\n",
    )?;
    ensure!(spec(network, "profiles", "web")?["ingress"][0]["protocol"] == "ICMPv6");
    let before = network.store().dump()?;
    for (member, value) in [
        ("id", json!("db")),
        ("inbound_rules", json!([{"action": "permit"}])),
        ("inbound_rules", json!([{"action": "allow", "colour": "blue"}])),
        ("outbound_rules", json!([{"action": "allow", "src_ports": [80]}])),
        ("more", json!([])),
    ] {
        let mut wrong = document.clone();
        wrong[member] = value;
        update(&wrong).refused()?;
    }
    network.ctl("profile web rule update").stdin("{").refused()?;
    ensure!(network.store().dump()? == before);
    // What was printed can be put back.
    network.ctl("profile web rule update").stdin(expected).ok()?;
    says(network.ctl("profile web rule json"), expected)
}

fn rules_beyond_the_grammar_stay(network: &Network) -> Result<()> {
    let log = json!({"action": "Log", "source": {"notNets": ["10.0.0.0/8"]}, "destination": {}});
    let allow = json!({"action": "Allow", "source": {"selector": "has(db)"}, "destination": {}});
    let spec_of = json!({"ingress": [log, allow], "labelsToApply": {"tier": "front"}});
    network.put([objects::resource("Profile", "profiles", "web", spec_of)])?;
    says(
        network.ctl("profile web rule show"),
        "\
Inbound rules:
   1 {\"action\":\"Log\",\"source\":{\"notNets\":[\"10.0.0.0/8\"]},\"destination\":{}}
   2 allow from tag db
Outbound rules:
",
    )?;
    // A label with a value is no tag, and stays.
    says(network.ctl("profile web tag show"), "")?;
    refuses(network.ctl("profile web tag remove tier"), "Tag tier is not on profile web")?;
    refuses(
        network.ctl("profile web tag add tier"),
        "profile web has the label tier=front: a tag has no value",
    )?;
    let document = network.ctl("profile web rule json").ok()?;
    network.ctl("profile web rule update").stdin(document).ok()?;
    network.ctl("profile web rule add inbound deny").ok()?;
    let stored = spec(network, "profiles", "web")?;
    ensure!(stored["ingress"][0] == log && stored["ingress"][2]["action"] == "Deny", "{stored:#}");
    ensure!(stored["labelsToApply"] == json!({"tier": "front"}));
    Ok(())
}

fn endpoints(network: &Network) -> Result<()> {
    let id = "0123456789abcdef";
    network.put([
        endpoint(
            "node-a",
            "docker",
            id,
            &json!({"ipNetworks": ["10.65.0.5/32", "fd00:65::5/128"], "mac": "02:00:00:00:00:01",
                    "profiles": ["web", "db"]}),
        ),
        endpoint("node-a", "docker", id, &json!({"endpoint": "eth1"})),
        endpoint("node-b", "cni", "c1", &json!({"profiles": ["web"]})),
    ])?;
    for name in ["web", "db", "idle"] {
        network.ctl(&format!("profile add {name}")).ok()?;
    }
    says(
        network.ctl("endpoint show"),
        "\
+----------+-----------------+---------------------+---------------------+
| Hostname | Orchestrator ID | Number of Workloads | Number of Endpoints |
+----------+-----------------+---------------------+---------------------+
|  node-a  |     docker      |          1          |          2          |
|  node-b  |       cni       |          1          |          1          |
+----------+-----------------+---------------------+---------------------+
",
    )?;
    says(
        network.ctl("endpoint show --detailed --endpoint=eth0 --host=node-a"),
        "\
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
| Hostname | Orchestrator ID |   Workload ID    |             Endpoint ID              |   Addresses    |        MAC        | Profiles | State  |
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
|  node-a  |     docker      | 0123456789abcdef | node--a-docker-0123456789abcdef-eth0 |  10.65.0.5/32  | 02:00:00:00:00:01 |  web,db  | active |
|          |                 |                  |                                      | fd00:65::5/128 |                   |          |        |
+----------+-----------------+------------------+--------------------------------------+----------------+-------------------+----------+--------+
",
    )?;
    let rows = |line: &str| -> Result<usize> {
        Ok(network.ctl(line).ok()?.lines().filter(|line| line.starts_with("|  node")).count())
    };
    for (line, count) in [
        ("endpoint show --detailed", 3),
        ("endpoint show --detailed --orchestrator=cni", 1),
        ("endpoint show --detailed --workload=0123456789abcdef", 2),
        ("endpoint show --detailed --workload=c1 --host=node-a", 0),
        ("endpoint show --host=node-b", 1),
    ] {
        ensure!(rows(line)? == count, "{line}: {}", network.ctl(line).ok()?);
    }
    let members = network.ctl("profile show --detailed").ok()?;
    let row = |cells: [&str; 6]| -> Result<()> {
        let line = members
            .lines()
            .find(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).eq(cells));
        ensure!(line.is_some(), "no {cells:?} in\n{members}");
        Ok(())
    };
    row(["Name", "Host", "Workload Type", "Workload ID", "Endpoint ID", "State"])?;
    let a = "node--a-docker-0123456789abcdef-eth0";
    row(["db", "node-a", "docker", "0123456789ab", a, "active"])?;
    row(["web", "node-a", "docker", "0123456789ab", a, "active"])?;
    row(["web", "node-b", "cni", "c1", "node--b-cni-c1-eth0", "active"])?;
    row(["idle", "None", "None", "None", "None", "None"])
}

fn profiles_of_endpoints(network: &Network) -> Result<()> {
    network.put([
        endpoint("node-a", "docker", "c1", &json!({})),
        endpoint("node-a", "docker", "c2", &json!({})),
    ])?;
    for name in ["web", "db"] {
        network.ctl(&format!("profile add {name}")).ok()?;
    }
    let e = "node--a-docker-c1-eth0";
    says(
        network.ctl(&format!("endpoint {e} profile show")),
        "Endpoint has no profiles associated with it.\n",
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile append web db")),
        &format!("Profiles web, db appended to {e}.\n"),
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile show")),
        "+------+\n| Name |\n+------+\n|  db  |\n| web  |\n+------+\n",
    )?;
    let profiles =
        || -> Result<Value> { Ok(network.store().endpoint(e)?.1["spec"]["profiles"].clone()) };
    ensure!(profiles()? == json!(["web", "db"]));
    says(
        network.ctl(&format!("endpoint {e} profile remove web")),
        &format!("Profiles web removed from {e}.\n"),
    )?;
    says(
        network.ctl(&format!("endpoint {e} profile set web")),
        &format!("Profiles web set for {e}.\n"),
    )?;
    ensure!(profiles()? == json!(["web"]));
    // Without the id, by what else is known.
    says(
        network.ctl("endpoint profile append --workload=c1 --orchestrator=docker db"),
        "Profiles db appended\n",
    )?;
    says(
        network.ctl("endpoint eth0 profile remove --workload=c1 db"),
        "Profiles db removed from eth0.\n",
    )?;
    ensure!(profiles()? == json!(["web"]));
    for (line, reason) in [
        (
            format!("endpoint {e} profile append web"),
            "Profile web is already in endpoint profile list",
        ),
        (format!("endpoint {e} profile append none"), "Profile none not found."),
        (format!("endpoint {e} profile remove db"), "Profile db is not in endpoint profile list"),
        ("endpoint missing profile show".into(), "Endpoint missing is unknown to Calico."),
        (
            format!("endpoint {e} profile append --host=node-b web"),
            "Endpoint node--a-docker-c1-eth0 is unknown to Calico.",
        ),
        (
            "endpoint eth0 profile append db".into(),
            "More than 1 endpoint matches (node--a-docker-c1-eth0, node--a-docker-c2-eth0): say \
             which with --host, --orchestrator, --workload or --endpoint.",
        ),
    ] {
        refuses(network.ctl(&line), reason)?;
    }
    ensure!(profiles()? == json!(["web"]));
    says(network.ctl(&format!("endpoint {e} profile set")), &format!("Profiles  set for {e}.\n"))?;
    ensure!(profiles()? == Value::Null);
    Ok(())
}

fn a_node_leaves_the_cluster(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.65.0.0/24", 26)])?;
    let _pod = network.host().pod("a")?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    refuses(
        network.ctl("node stop"),
        "node node-a has 1 active endpoints: remove the containers first, or use --force",
    )?;
    says(network.ctl("node stop --force"), "Node node-a is out of the cluster\n")?;
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().is_empty() && dump.allocations().is_empty(), "{dump:#?}");
    ensure!(dump.handles().is_empty() && spec(network, "nodes", "node-a").is_err());
    refuses(network.ctl("node stop"), "node node-a is unknown to Calico")?;
    // The link goes with its container, or so.
    says(
        network.ctl("container remove /run/netns/a"),
        "Removed Calico interface from /run/netns/a\n",
    )
}

fn what_is_no_more(network: &Network) -> Result<()> {
    for line in [
        "restart-docker-with-alternative-unix-socket",
        "restart-docker-without-alternative-unix-socket",
    ] {
        refuses(
            network.ctl(line),
            "the proxy in front of Docker's socket ended with Calico v0.5, and with it this \
             command: see calicoctl container add",
        )?;
    }
    refuses(
        network.ctl("diags --upload"),
        "--upload is no more: nothing is sent anywhere; calicoctl diags prints the path of the \
         bundle",
    )?;
    // The same as the commands of today.
    for command in ["status", "checksystem"] {
        let (early, today) =
            (network.ctl(command).run()?, network.ctl(&format!("node {command}")).run()?);
        let answer =
            |answer: &tests::Answer| (answer.exit, answer.stdout.clone(), answer.stderr.clone());
        ensure!(answer(&early) == answer(&today), "{early:?} {today:?}");
        ensure!(!early.stdout.is_empty() || !early.stderr.is_empty());
    }
    let bundle = network.ctl("diags").ok()?;
    ensure!(bundle.contains("diags-"), "{bundle}");
    Ok(())
}

/// Section 1.1 row by row, in the order of the seed, as somebody would type it who reads the
/// documents of the time. Each line succeeds, or says in one line why not.
fn every_command_of_the_early_documents_answers(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.65.0.0/24", 26)])?;
    let host = network.host();
    let _pods = (host.pod("a")?, host.pod("b")?);
    let e = "node--a-docker-run--netns--a-eth1";
    let lines = [
        ("node --ip=192.0.2.1 --ip6=2001:db8::1 --node-image=calico/node --as=64511", false),
        ("node bgppeer add 10.0.0.9 as 64512", true),
        ("node bgppeer show", true),
        ("node bgppeer show --ipv4", true),
        ("node bgppeer remove 10.0.0.9", true),
        ("profile add PROF_A", true),
        ("profile add PROF_B", true),
        ("profile show", true),
        ("profile show --detailed", true),
        ("profile PROF_A tag show", true),
        ("profile PROF_A tag add TAG_1", true),
        ("profile PROF_A tag remove TAG_1", true),
        ("profile PROF_A rule add inbound allow from tag PROF_B", true),
        ("profile PROF_A rule add outbound --at=1 deny tcp to ports 25", true),
        ("profile PROF_A rule show", true),
        ("profile PROF_A rule json", true),
        ("profile PROF_A rule update", false),
        ("profile PROF_A rule remove outbound --at=1", true),
        ("profile PROF_A rule remove inbound allow from tag PROF_B", true),
        ("pool add 192.168.0.0/16 --ipip --nat-outgoing", true),
        ("pool add fd80:24e2:f998:72d6::/64", true),
        ("pool show", true),
        ("pool show --ipv6", true),
        ("pool remove fd80:24e2:f998:72d6::/64", true),
        ("pool range add 10.7.0.0 10.7.1.255", true),
        ("default-node-as", true),
        ("default-node-as 64511", true),
        ("bgppeer add 10.0.0.8 as 64600", true),
        ("bgppeer show", true),
        ("bgppeer show --ipv6", true),
        ("bgppeer remove 10.0.0.8", true),
        ("bgp-node-mesh", true),
        ("bgp-node-mesh off", true),
        ("bgp-node-mesh on", true),
        ("bgp peer show", true),
        ("bgp node-mesh", true),
        ("bgp default-node-as", true),
        ("node bgp peer show", true),
        ("container add /run/netns/a 192.168.0.1 --interface=eth1", true),
        ("container add /run/netns/b 192.168.0.2", true),
        ("container /run/netns/a ip add 192.168.0.3 --interface=eth1", true),
        ("container /run/netns/a ip remove 192.168.0.3 --interface=eth1", true),
        ("container /run/netns/a endpoint-id show", true),
        ("container /run/netns/a profile append PROF_A", true),
        ("container /run/netns/a profile set PROF_B", true),
        ("container /run/netns/a profile remove PROF_B", true),
        ("endpoint show", true),
        (
            "endpoint show --host=node-a --orchestrator=docker --workload=run-netns-a --detailed",
            true,
        ),
        (&format!("endpoint {e} profile append --host=node-a PROF_A PROF_B"), true),
        (&format!("endpoint {e} profile show"), true),
        (&format!("endpoint {e} profile set --orchestrator=docker PROF_A"), true),
        (&format!("endpoint {e} profile remove --workload=run-netns-a PROF_A"), true),
        ("container remove /run/netns/a --force", true),
        ("container remove /run/netns/b", true),
        ("profile remove PROF_A", true),
        ("profile remove PROF_B", true),
        ("diags", true),
        ("diags --upload", false),
        ("checksystem", true),
        ("status", false),
        ("restart-docker-with-alternative-unix-socket", false),
        ("restart-docker-without-alternative-unix-socket", false),
        ("config set logLevel debug", true),
        ("config get logLevel", true),
        ("config unset logLevel", true),
        ("config get LogSeverityScreen --raw=felix", true),
        ("node stop --force", true),
    ];
    for (line, succeeds) in lines {
        let answer = network.ctl(line).run()?;
        // What the kernel of the test machine has is not our matter.
        let succeeds = if line == "checksystem" { answer.exit == Some(0) } else { succeeds };
        ensure!(answer.exit == Some(if succeeds { 0 } else { 1 }), "{line}: {answer:?}");
        if !succeeds {
            ensure!(answer.stderr.lines().count() == 1, "{line}: {answer:?}");
        }
        for word in ["unknown command", "unknown flag", "unexpected", "panicked", "not there yet"] {
            ensure!(!answer.stderr.contains(word), "{line}: {answer:?}");
        }
    }
    Ok(())
}
