//! Pools, peers, the mesh and the settings.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Ctl, Network, objects};

use crate::{fields, refuses, says, spec};

tests::on_both_stores! {
    pools
    a_range_becomes_pools
    global_peers
    peers_of_this_node
    the_mesh_and_the_as_number
    settings_and_where_they_come_from
    raw_settings
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
