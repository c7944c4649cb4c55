use super::*;

fn convert(input: Value) -> Result<Value, ConvertError> {
    let kind = input["kind"].as_str().unwrap().to_owned();
    super::convert(&kind, input.as_object().unwrap())
}

fn v1(kind: &str, metadata: Value, spec: Value) -> Result<Value, ConvertError> {
    convert(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}))
}

fn v3(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec})
}

#[test]
fn peers_are_named_after_their_addresses() {
    let global = v1(
        "bgpPeer",
        json!({"scope": "global", "peerIP": "192.20.30.40"}),
        json!({"asNumber": 64567}),
    );
    let expected = v3(
        "BGPPeer",
        json!({"name": "192-20-30-40"}),
        json!({"peerIP": "192.20.30.40", "asNumber": 64567}),
    );
    assert_eq!(global.unwrap().to_string(), expected.to_string());
    let own = v1(
        "bgpPeer",
        json!({"scope": "node", "node": "Node1", "peerIP": "aa:bb::ff"}),
        json!({"asNumber": "1.10"}),
    );
    let name = "node1.00aa-00bb-0000-0000-0000-0000-0000-00ff";
    let expected = v3(
        "BGPPeer",
        json!({"name": name}),
        json!({"node": "node1", "peerIP": "aa:bb::ff", "asNumber": "1.10"}),
    );
    assert_eq!(own.unwrap(), expected);
    for metadata in [
        json!({"scope": "node", "peerIP": "1.1.1.1"}),
        json!({"scope": "global"}),
        json!({"scope": "some", "peerIP": "1.1.1.1"}),
        json!({"peerIP": "x"}),
    ] {
        assert!(v1("bgpPeer", metadata.clone(), json!({})).is_err(), "{metadata}");
    }
}

#[test]
fn pools_are_named_after_their_ranges() {
    for (spec, expected) in [
        (json!({}), json!({"ipipMode": "Never"})),
        (json!({"ipip": {"enabled": false, "mode": "always"}}), json!({"ipipMode": "Never"})),
        (json!({"ipip": {"enabled": true}}), json!({"ipipMode": "Always"})),
        (
            json!({"ipip": {"enabled": true, "mode": "cross-subnet"}, "nat-outgoing": true, "disabled": true}),
            json!({"ipipMode": "CrossSubnet", "natOutgoing": true, "disabled": true}),
        ),
    ] {
        let new = v1("ipPool", json!({"cidr": "10.1.0.0/16"}), spec).unwrap();
        assert_eq!(new["metadata"], json!({"name": "10-1-0-0-16"}));
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&new["spec"][field], value, "{field}");
        }
        let spec = &new["spec"];
        assert_eq!(
            (&spec["blockSize"], &spec["vxlanMode"], &spec["nodeSelector"]),
            (&json!(26), &json!("Never"), &json!("all()"))
        );
    }
    let six = v1("ipPool", json!({"cidr": "fd80:24e2:f998:72d6::/64"}), json!({})).unwrap();
    assert_eq!(six["metadata"]["name"], "fd80-24e2-f998-72d6---64");
    assert_eq!(six["spec"]["blockSize"], 122);
}

#[test]
fn hosts_and_their_endpoints_have_both_names() {
    let new = v1(
        "hostEndpoint",
        json!({"hostname": "compute1", "name": "eth0", "labels": {"type": "production", "on": true}}),
        json!({"interfaceName": "eth0", "expectedIPs": ["192.168.0.1"], "profiles": ["k8s_ns.a", "b"]}),
    );
    let expected = v3(
        "HostEndpoint",
        json!({"name": "compute1.eth0", "labels": {"on": "true", "type": "production"}}),
        json!({"node": "compute1", "interfaceName": "eth0", "expectedIPs": ["192.168.0.1"], "profiles": ["kns.a", "b"]}),
    );
    assert_eq!(new.unwrap(), expected);
    let new = v1(
        "node",
        json!({"name": "node-hostname"}),
        json!({"bgp": {"asNumber": 64512, "ipv4Address": "10.244.0.1", "ipv6Address": "2001:db8:85a3::8a2e:370:7334"}}),
    );
    let bgp = json!({"asNumber": 64512, "ipv4Address": "10.244.0.1/32", "ipv6Address": "2001:db8:85a3::8a2e:370:7334/128"});
    assert_eq!(new.unwrap(), v3("Node", json!({"name": "node-hostname"}), json!({"bgp": bgp})));
}

#[test]
fn policies_belong_to_a_tier() {
    let rule = json!({"action": "allow", "source": {"selector": "a == 'b'"}});
    let new = v1("policy", json!({"name": "allow.web"}),
        json!({"order": 100, "selector": "calico/k8s_ns == 'x'", "ingress": [rule], "egress": [rule]})).unwrap();
    let name = v1_names::clean_without_dots("allow.web");
    assert!(name.starts_with("allow-web-"), "{name}");
    assert_eq!(
        new["metadata"],
        json!({"name": format!("default.{name}"), "labels": {"projectcalico.org/tier": "default"}})
    );
    let spec = &new["spec"];
    assert_eq!(
        (&spec["selector"], &spec["types"]),
        (&json!("projectcalico.org/namespace == 'x'"), &json!(["Ingress", "Egress"]))
    );
    let types = |spec: Value| v1("policy", json!({"name": "p"}), spec).unwrap()["spec"].take();
    assert_eq!(types(json!({}))["types"], json!(["Ingress"]));
    assert_eq!(types(json!({"egress": [rule]}))["types"], json!(["Egress"]));
    let untracked = types(json!({"doNotTrack": true, "ingress": [rule]}));
    assert_eq!(
        (&untracked["applyOnForward"], &untracked["types"]),
        (&json!(true), &json!(["Ingress"]))
    );
    assert_eq!(types(json!({"preDNAT": true}))["applyOnForward"], true);
    let tiered = v1("policy", json!({"name": "p", "tier": "Ops"}), json!({})).unwrap();
    assert_eq!(
        (&tiered["metadata"]["name"], &tiered["spec"]["tier"]),
        (&json!("ops.p"), &json!("ops"))
    );
    let tier = v1("tier", json!({"name": "ops"}), json!({"order": 10.5})).unwrap();
    assert_eq!(tier, v3("Tier", json!({"name": "ops"}), json!({"order": 10.5})));
}

#[test]
fn tags_of_profiles_become_labels() {
    let new = v1(
        "profile",
        json!({"name": "k8s_ns.kube-system", "tags": ["web", "db"], "labels": {"web": "yes", "calico/k8s_ns": "x"}}),
        json!({"ingress": [{"action": "deny"}], "egress": [{"action": "allow", "destination": {"tag": "db"}}]}),
    );
    let expected = v3(
        "Profile",
        json!({"name": "kns.kube-system"}),
        json!({"ingress": [{"action": "Deny"}], "egress": [{"action": "Allow", "destination": {"selector": "db == ''"}}],
            "labelsToApply": {"db": "", "projectcalico.org/namespace": "x", "web": "yes"}}),
    );
    assert_eq!(new.unwrap().to_string(), expected.to_string());
}

#[test]
fn endpoints_of_workloads_are_named_by_what_they_are() {
    let endpoint = |orchestrator: &str, workload: &str| {
        v1("workloadEndpoint",
            json!({"name": "eth0", "node": "node-1", "orchestrator": orchestrator, "workload": workload,
                "labels": {"calico/k8s_ns": "shop"}}),
            json!({"ipNetworks": ["10.0.0.1", "fd00::1/128"], "interfaceName": "cali1", "mac": "ca:fe:1d:52:bb:e9",
                "profiles": ["k8s_ns.shop"]}))
        .unwrap()
    };
    let pod = endpoint("k8s", "shop.web-0");
    let expected = json!({"name": "node--1-k8s-web--0-eth0", "namespace": "shop",
        "labels": {"projectcalico.org/namespace": "shop"}});
    assert_eq!(pod["metadata"], expected);
    assert_eq!(
        (&pod["spec"]["pod"], &pod["spec"]["profiles"]),
        (&json!("web-0"), &json!(["kns.shop"]))
    );
    assert_eq!(pod["spec"]["ipNetworks"], json!(["10.0.0.1/32", "fd00::1/128"]));
    let container = endpoint("cni", "abc123");
    assert_eq!(container["metadata"]["name"], "node--1-cni-abc123-eth0");
    assert_eq!(
        (&container["metadata"]["namespace"], &container["spec"]["containerID"]),
        (&json!("default"), &json!("abc123"))
    );
    let other = endpoint("docker", "job/7");
    assert_eq!(other["spec"]["workload"], v1_names::clean("job/7"));
}

#[test]
fn what_v1_did_not_know_is_refused() {
    for (kind, metadata, spec) in [
        ("ipPool", json!({"cidr": "10.0.0.0/16"}), json!({"blockSize": 26})),
        ("ipPool", json!({"cidr": "10.0.0.0/16", "nmae": "x"}), json!({})),
        ("ipPool", json!({}), json!({})),
        ("node", json!({"name": ["x"]}), json!({})),
        ("node", json!({}), json!({})),
        ("policy", json!({"name": "p"}), json!({"ingress": [{"action": "allow", "from": {}}]})),
        ("workloadEndpoint", json!({"name": "eth0", "node": "n"}), json!({})),
        ("networkSet", json!({"name": "x"}), json!({})),
    ] {
        assert!(v1(kind, metadata.clone(), spec.clone()).is_err(), "{kind} {metadata} {spec}");
    }
    let extra =
        convert(json!({"apiVersion": "v1", "kind": "node", "metadata": {"name": "n"}, "sepc": {}}));
    assert!(extra.unwrap_err().to_string().contains("sepc"));
}
