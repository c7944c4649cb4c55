//! The objects that the cases work with: two or three of each kind, with their defaults, so that
//! they come back as they were handed in.

use serde_json::{Value, json};

/// An object.
pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
        "spec": spec,
    })
}

/// An object with labels.
pub fn labelled(kind: &str, name: &str, labels: Value, spec: Value) -> Value {
    let mut object = object(kind, name, spec);
    object["metadata"]["labels"] = labels;
    object
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The kind of an object.
pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

/// An IPv4 pool with a selector.
pub fn pool_v4() -> Value {
    let spec = json!({
        "cidr": "10.20.1.0/24", "ipipMode": "Always", "vxlanMode": "Never", "blockSize": 27,
        "allowedUses": ["Workload", "Tunnel"], "nodeSelector": "zone == 'a'",
        "assignmentMode": "Automatic",
    });
    object("IPPool", "pool-1", spec)
}

/// An IPv6 pool; its name is behind that of [`pool_v4`].
pub fn pool_v6() -> Value {
    let spec = json!({
        "cidr": "fd20:8001::/64", "ipipMode": "Never", "vxlanMode": "Never", "blockSize": 123,
        "allowedUses": ["Workload", "Tunnel"], "nodeSelector": "all()",
        "assignmentMode": "Automatic",
    });
    object("IPPool", "pool-2", spec)
}

/// A reservation.
pub fn reservation() -> Value {
    object("IPReservation", "reserved", json!({"reservedCIDRs": ["10.0.1.0/24", "11.0.0.1/32"]}))
}

/// A peer, and what becomes of it later.
pub fn peers() -> [Value; 2] {
    [("node-1", "192.0.2.50", 64514), ("node-2", "192.0.2.51", 64515)].map(|(node, ip, number)| {
        object("BGPPeer", "peer-1", json!({"node": node, "peerIP": ip, "asNumber": number}))
    })
}

/// A peer whose address is none.
pub fn bad_peer(name: &str) -> Value {
    let spec = json!({"node": "node-1", "peerIP": "badpeerIP", "asNumber": 64515});
    object("BGPPeer", name, spec)
}

/// Many networks: more than a table has room for.
pub fn many_nets() -> Value {
    (0..10_000).map(|i| json!(format!("10.{}.{}.0/28", i / 256, i % 256))).collect()
}

fn rich_rule(namespaces: bool) -> Value {
    let mut rule = json!({
        "action": "Deny", "ipVersion": 4, "protocol": "TCP",
        "source": {
            "nets": ["10.0.0.0/16"], "notNets": ["10.1.0.0/16"], "selector": "role == 'app'",
            "notSelector": "role == 'db'", "ports": [1234, "10:1024"], "notPorts": [1050],
        },
        "destination": {
            "nets": ["10.2.0.0/16"], "notNets": ["10.3.0.0/16"], "selector": "role == 'app'",
            "notSelector": "role == 'old'", "ports": ["100:200"], "notPorts": ["110:1050"],
        },
    });
    if namespaces {
        rule["source"]["namespaceSelector"] = json!("has(team)");
    }
    rule
}

/// The spec of a policy, and what becomes of it later.
pub fn policy_specs() -> [Value; 2] {
    let first = json!({
        "tier": "default", "order": 100, "selector": "role == 'db'", "types": ["Ingress", "Egress"],
        "ingress": [rich_rule(true)],
        "egress": [{"action": "Allow", "source": {"selector": "role == 'app'"}}],
    });
    let second = json!({
        "tier": "default", "order": 100_000, "selector": "role == 'sql'",
        "types": ["Ingress", "Egress"], "ingress": [{"action": "Allow", "protocol": "UDP"}],
        "egress": [{"action": "Deny", "protocol": "TCP"}],
    });
    [first, second]
}

/// The label that a policy gets.
pub fn tier_label() -> Value {
    json!({"projectcalico.org/tier": "default"})
}

/// A policy of a namespace, and what becomes of it later.
pub fn policies() -> [Value; 2] {
    policy_specs().map(|spec| {
        let mut policy = labelled("NetworkPolicy", "policy-1", tier_label(), spec);
        policy["metadata"]["namespace"] = json!("default");
        policy
    })
}

/// A policy of the cluster, and what becomes of it later.
pub fn global_policies() -> [Value; 2] {
    let [first, mut second] = policy_specs();
    second["doNotTrack"] = json!(true);
    second["applyOnForward"] = json!(true);
    [first, second].map(|spec| labelled("GlobalNetworkPolicy", "policy-1", tier_label(), spec))
}

/// A set of networks of the cluster.
pub fn global_set(nets: Value) -> Value {
    object("GlobalNetworkSet", "nets-1", json!({ "nets": nets }))
}

/// A set of networks of a namespace.
pub fn set(nets: Value) -> Value {
    object("NetworkSet", "nets-1", json!({ "nets": nets }))
}

/// Four networks: they fit into a table.
pub fn few_nets() -> Value {
    json!(["10.0.0.1", "11.0.0.0/16", "feed:beef::1", "dead:beef::96"])
}

/// An endpoint of a host, and what becomes of it later.
pub fn host_endpoints() -> [Value; 2] {
    [("db", "eth0", "host-1"), ("web", "cali7", "host-2")].map(|(role, link, node)| {
        let spec = json!({"node": node, "interfaceName": link, "profiles": ["p-1", "p-2"]});
        labelled("HostEndpoint", "endpoint-1", json!({"role": role}), spec)
    })
}

/// A profile, and what becomes of it later.
pub fn profiles() -> [Value; 2] {
    let first = json!({
        "ingress": [rich_rule(false)],
        "egress": [{"action": "Allow", "source": {"selector": "role == 'app'"}}],
    });
    let second = json!({
        "ingress": [{"action": "Deny", "ipVersion": 6}], "egress": [{"action": "Allow"}],
    });
    [
        labelled("Profile", "profile-1", json!({"a": "b"}), first),
        object("Profile", "profile-1", second),
    ]
}

/// A pod's endpoint, and one of another orchestrator.
pub fn endpoints() -> [Value; 2] {
    let endpoint = |name: &str, orchestrator: &str, spec: Value| {
        let labels = json!({
            "projectcalico.org/namespace": "shop",
            "projectcalico.org/orchestrator": orchestrator, "role": "db",
        });
        let mut endpoint = labelled("WorkloadEndpoint", name, labels, spec);
        endpoint["metadata"]["namespace"] = json!("shop");
        for (name, value) in [
            ("orchestrator", json!(orchestrator)),
            ("endpoint", json!("eth0")),
            ("containerID", json!("c1234")),
            ("ipNetworks", json!(["10.65.0.4/32"])),
            ("interfaceName", json!("cali1234")),
            ("profiles", json!(["p-1", "p-2"])),
        ] {
            endpoint["spec"][name] = value;
        }
        endpoint
    };
    [
        endpoint("node1-k8s-cart-eth0", "k8s", json!({"node": "node1", "pod": "cart"})),
        endpoint("node2-cni-c1234-eth0", "cni", json!({"node": "node2"})),
    ]
}

/// A node.
pub fn node(number: u8) -> Value {
    let bgp = json!({
        "ipv4Address": format!("192.0.2.{number}/24"), "ipv6Address": format!("2001:db8::{number}/120"),
    });
    object("Node", &format!("node{number}"), json!({ "bgp": bgp }))
}
