//! What is refused, with which words; and that nothing is stored then.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Network, on_both_stores};

use crate::objects::{self, kind, object};
use crate::{Case, is_list, play, saved, with};

on_both_stores! {
    invalid
}

const CASES: &[Case] = &[
    ("test_invalid_profiles_rejected", refused),
    ("test_invalid_compound_profiles_rejected", compound),
    ("test_disallow_crud_on_knp_defaults", policies_of_kubernetes),
];

fn invalid(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn peer(field: &str, value: Value) -> Value {
    let mut peer = object(
        "BGPPeer",
        "peer-x",
        json!({
            "asNumber": 64513, "node": "node-1", "peerIP": "192.0.2.50",
        }),
    );
    peer["spec"][field] = value;
    peer
}

fn pool(cidr: &str, more: &[(&str, Value)]) -> Value {
    let mut pool = object("IPPool", "pool-x", json!({ "cidr": cidr }));
    for (name, value) in more {
        pool["spec"][name] = value.clone();
    }
    pool
}

/// A policy whose egress rule is made so; the fields of rules begin with capital letters.
fn policy(name: &str, egress: Value) -> Value {
    let mut policy = object(
        "NetworkPolicy",
        name,
        json!({
            "Egress": [egress],
            "Ingress": [{"action": "Allow", "destination": {}, "protocol": "UDP", "source": {}}],
            "order": 100_000, "selector": "",
        }),
    );
    policy["metadata"]["namespace"] = json!("default");
    policy
}

fn ports(ports: Value) -> Value {
    let source = json!({ "ports": ports });
    policy(
        "policy-x",
        json!({
            "action": "Deny", "destination": {}, "protocol": "TCP", "source": source,
        }),
    )
}

fn icmp(icmp: Value) -> Value {
    let rule = json!({
        "ipVersion": 4, "ICMP": icmp, "action": "Deny", "protocol": "ICMP", "destination": {},
        "source": {},
    });
    let egress = json!([{"action": "Allow", "destination": {}, "source": {}}]);
    object("Profile", "profile-x", json!({"Egress": egress, "Ingress": [rule]}))
}

/// The cases, and a part of what is said of each.
fn cases() -> Vec<(&'static str, Value, &'static str)> {
    let mut v7 = peer("node", json!("node-1"));
    v7["apiVersion"] = json!("v7");
    let action = |action: &str| {
        json!({
            "action": action, "destination": {}, "protocol": "TCP", "source": {},
        })
    };
    let protocol_in_source = |ports: Value| {
        let source = json!({"protocol": "TCP", "ports": ports});
        policy("policy-x", json!({"action": "Deny", "destination": {}, "source": source}))
    };
    let (always, never) = ([("ipipMode", json!("Always"))], [("ipipMode", json!("Never"))]);
    let small = "IP pool size is too small for use with Calico IPAM. It must be equal to or \
                 greater than the block size.";
    let low = "error with field Port = '0' (port range invalid, port number must be between 1 and \
               65535)";
    vec![
        ("bgpPeer-invalidASnum", peer("asNumber", json!(4_294_967_296_u64)), "4294967296"),
        (
            "bgpPeer-invalidIP",
            peer("peerIP", json!("192.0.2.256")),
            "error with field PeerIP = '192.0.2.256'",
        ),
        ("bgpPeer-apiversion", v7, "unknown resource type (BGPPeer) and/or version (v7)"),
        (
            "bgpPeer-invalidIpv6",
            peer("peerIP", json!("fd5f::6::ee")),
            "error with field PeerIP = 'fd5f::6::ee'",
        ),
        (
            "bgpPeer-invalidnodename",
            peer("node", json!("node 2")),
            "error with field Node = 'node 2'",
        ),
        (
            "bgpPeer-unrecognisedfield",
            peer("unknown", json!("thing")),
            "field in document is not recognized or is in the wrong location: unknown",
        ),
        (
            "hostEndpoint-invalidInterface",
            object(
                "HostEndpoint",
                "h",
                json!({"interfaceName": "interface-too-long", "node": "host-1"}),
            ),
            "error with field InterfaceName = 'interface-too-long'",
        ),
        ("policy-invalidHighPortinList", protocol_in_source(json!([10, 65536])), "65536"),
        ("policy-invalidHighPortinRange", protocol_in_source(json!(["1:65536"])), "1:65536"),
        ("policy-invalidLowPortinRange", ports(json!(["0:65535"])), low),
        ("policy-invalidLowPortinList", ports(json!([0, 10, 80])), low),
        (
            "policy-invalidReversedRange",
            ports(json!(["65535:1"])),
            "minimum port number (65535) is greater than maximum port number (1) in port range",
        ),
        (
            "policy-invalidAction",
            policy("policy-x", action("jumpupanddown")),
            "ction = 'jumpupanddown'",
        ),
        (
            "policy-NetworkPolicyNameRejected",
            policy("knp.default.refused", action("Allow")),
            "kubernetes network policies must be managed through the kubernetes API",
        ),
        ("pool-invalidNet1", pool("10.0.1.0/33", &always), "CIDR = '10.0.1.0/33'"),
        ("pool-invalidNet2", pool("10.0.256.0/24", &always), "CIDR = '10.0.256.0/24'"),
        ("pool-invalidNet3", pool("10.0.250.0/32", &always), small),
        ("pool-invalidNet3 (value)", pool("10.0.250.0/32", &[]), "CIDR = '10.0.250.0/32'"),
        ("pool-invalidNet4", pool("fd5f::2::1/32", &never), "CIDR = 'fd5f::2::1/32'"),
        ("pool-invalidNet6", pool("::/128", &never), small),
        ("pool-invalidNet7", pool("192.0.2.0/27", &[]), small),
        ("pool-invalidNet8", pool("fd5f::1/123", &never), "CIDR = 'fd5f::"),
        ("pool-invalidIpIp1", pool("10.0.1.0/24", &[("disabled", json!("True"))]), "disabled"),
        ("pool-invalidIpIp2", pool("10.0.1.0/24", &[("disabled", json!("Maybe"))]), "Maybe"),
        (
            "profile-ICMPtype",
            icmp(json!({"type": 256, "code": 255})),
            "error with field Type = '256'",
        ),
        (
            "profile-ICMPcode",
            icmp(json!({"type": 19, "code": 256})),
            "error with field Code = '256'",
        ),
    ]
}

/// What the list of profiles is when nobody has made any.
const ONLY_DEFAULT_PROFILE: &str = "\
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: Profile
  metadata:
    name: projectcalico-default-allow
    resourceVersion: \"1\"
  spec:
    egress:
    - action: Allow
    ingress:
    - action: Allow
kind: ProfileList
metadata:
  resourceVersion: \"";

fn nothing_stored(network: &Network, kind: &str) -> Result<()> {
    if kind != "Profile" {
        return is_list(network, kind, kind, &[]);
    }
    let found = saved(network, kind)?;
    ensure!(found.starts_with(ONLY_DEFAULT_PROFILE), "{found}");
    Ok(())
}

fn refused(network: &Network) -> Result<()> {
    let mut failures = Vec::new();
    for (case, data, text) in cases() {
        let said = with(network, "create", &data)?.error(text);
        let failed = said.and_then(|_| nothing_stored(network, kind(&data)));
        if let Err(error) = failed {
            failures.push(format!("{case}: {error:#}"));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// One of two is wrong: the other is made.
fn compound(network: &Network) -> Result<()> {
    let [good, _] = objects::peers();
    let bad = icmp(json!({"type": 256, "code": 255}));
    with(network, "create", &json!([good, bad]))?.error("error with field Type = '256'")?;
    nothing_stored(network, "Profile")?;
    is_list(network, "bgppeer", "BGPPeer", &[&good])
}

fn policies_of_kubernetes(network: &Network) -> Result<()> {
    let [mut policy, _] = objects::policies();
    policy["metadata"]["name"] = json!("knp.default.some");
    let (unsupported, missing) = ("is not supported on", "resource does not exist");
    let theirs = "kubernetes network policies must be managed through the kubernetes API";
    with(network, "create", &policy)?.error(unsupported)?.contains(theirs)?;
    with(network, "apply", &policy)?.error(missing)?;
    with(network, "replace", &policy)?.error(missing)?;
    with(network, "delete", &policy)?.error(unsupported)?.contains(theirs)?;
    Ok(())
}
