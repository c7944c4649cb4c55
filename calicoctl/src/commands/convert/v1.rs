//! Calico's v1 objects, as releases 2 wrote them (`reference/calicoctl.md` sections 2.7 and 5.9).

use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::names::WorkloadEndpointName;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::object::{ConvertError, Metadata, Text, Texts, object, put, read, text};
use super::rules::{self, Rule};
use crate::commands::v1_names;

/// The metadata of all kinds; each uses some of it. What the server once wrote is passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Old {
    #[serde(rename = "name", deserialize_with = "text")]
    name: String,
    #[serde(rename = "labels")]
    labels: Texts,
    #[serde(rename = "annotations")]
    annotations: Texts,
    #[serde(rename = "node", alias = "hostname", deserialize_with = "text")]
    node: String,
    #[serde(rename = "scope", deserialize_with = "text")]
    scope: String,
    #[serde(rename = "peerIP", deserialize_with = "text")]
    peer_ip: String,
    #[serde(rename = "cidr", deserialize_with = "text")]
    cidr: String,
    #[serde(rename = "tags")]
    tags: Vec<Text>,
    #[serde(rename = "tier", deserialize_with = "text")]
    tier: String,
    #[serde(rename = "orchestrator", deserialize_with = "text")]
    orchestrator: String,
    #[serde(rename = "workload", deserialize_with = "text")]
    workload: String,
    #[serde(rename = "activeInstanceID", deserialize_with = "text")]
    _instance: String,
    #[serde(rename = "uid")]
    _uid: Value,
    #[serde(rename = "resourceVersion")]
    _revision: Value,
    #[serde(rename = "creationTimestamp")]
    _created: Value,
}

impl Old {
    fn metadata(self, name: String) -> Metadata {
        let (labels, annotations) = (self.labels, self.annotations);
        Metadata { name, labels, annotations, ..Metadata::default() }
    }
}

/// Converts an object of this kind.
pub fn convert(kind: &str, input: &Map<String, Value>) -> Result<Value, ConvertError> {
    if let Some(field) = input.keys().find(|name| {
        !matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "spec" | "status")
    }) {
        let reason = format!("unknown field {field:?}");
        return Err(ConvertError::Shape { kind: kind.to_owned(), reason });
    }
    let old: Old = read(kind, input.get("metadata"))?;
    let spec = input.get("spec");
    match kind.to_lowercase().as_str() {
        "bgppeer" => bgp_peer(old, read(kind, spec)?),
        "hostendpoint" => host_endpoint(old, read(kind, spec)?),
        "ippool" => ip_pool(old, read(kind, spec)?),
        "node" => node(old, read(kind, spec)?),
        "policy" => policy(old, read(kind, spec)?),
        "profile" => profile(old, read(kind, spec)?),
        "tier" => tier(old, read(kind, spec)?),
        "workloadendpoint" => workload_endpoint(old, read(kind, spec)?),
        _ => Err(ConvertError::Unknown { kind: kind.to_owned(), version: "v1".to_owned() }),
    }
}

fn needed(kind: &'static str, field: &'static str, value: &str) -> Result<(), ConvertError> {
    match value {
        "" => Err(ConvertError::Missing { kind, field }),
        _ => Ok(()),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BgpPeer {
    #[serde(rename = "asNumber")]
    as_number: Option<Value>,
}

fn bgp_peer(old: Old, spec: BgpPeer) -> Result<Value, ConvertError> {
    let kind = "bgpPeer";
    needed(kind, "metadata.peerIP", &old.peer_ip)?;
    let ip: IpAddr = old
        .peer_ip
        .parse()
        .map_err(|_| ConvertError::value("metadata.peerIP", &old.peer_ip, "is no IP address"))?;
    let node = v1_names::clean(&old.node);
    let name = match (old.scope.as_str(), old.node.is_empty()) {
        ("global", true) | ("", true) => v1_names::address(ip),
        ("node", false) | ("", false) => format!("{node}.{}", v1_names::address(ip)),
        ("node", true) => return Err(ConvertError::Missing { kind, field: "metadata.node" }),
        (scope, _) => {
            let reason = "is none of global (without a node) and node";
            return Err(ConvertError::value("metadata.scope", scope, reason));
        }
    };
    let mut new = Map::new();
    put(&mut new, "node", json!(node));
    put(&mut new, "peerIP", json!(ip.to_string()));
    put(&mut new, "asNumber", json!(spec.as_number));
    Ok(object("BGPPeer", old.metadata(name), new))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HostEndpoint {
    #[serde(rename = "interfaceName", deserialize_with = "text")]
    interface_name: String,
    #[serde(rename = "expectedIPs")]
    expected_ips: Vec<String>,
    #[serde(rename = "profiles")]
    profiles: Vec<String>,
    #[serde(rename = "ports")]
    ports: Vec<Value>,
}

fn host_endpoint(old: Old, spec: HostEndpoint) -> Result<Value, ConvertError> {
    needed("hostEndpoint", "metadata.node", &old.node)?;
    needed("hostEndpoint", "metadata.name", &old.name)?;
    let node = v1_names::clean(&old.node);
    let mut new = Map::new();
    put(&mut new, "node", json!(node));
    put(&mut new, "interfaceName", json!(spec.interface_name));
    put(&mut new, "expectedIPs", json!(spec.expected_ips));
    put(&mut new, "profiles", json!(profiles(&spec.profiles)));
    put(&mut new, "ports", json!(spec.ports));
    let name = format!("{node}.{}", v1_names::clean(&old.name));
    Ok(object("HostEndpoint", old.metadata(name), new))
}

fn profiles(old: &[String]) -> Vec<String> {
    old.iter().map(|name| v1_names::profile(name)).collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IpPool {
    #[serde(rename = "ipip")]
    ipip: Option<Ipip>,
    #[serde(rename = "nat-outgoing")]
    nat_outgoing: bool,
    #[serde(rename = "disabled")]
    disabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ipip {
    #[serde(rename = "enabled")]
    enabled: bool,
    #[serde(rename = "mode", deserialize_with = "text")]
    mode: String,
}

fn ip_pool(old: Old, spec: IpPool) -> Result<Value, ConvertError> {
    needed("ipPool", "metadata.cidr", &old.cidr)?;
    let net: IpNet = old
        .cidr
        .parse()
        .map_err(|_| ConvertError::value("metadata.cidr", &old.cidr, "is no CIDR"))?;
    let ipip = spec.ipip.unwrap_or_default();
    let mode = match (ipip.enabled, ipip.mode.to_lowercase().as_str()) {
        (false, _) => "Never",
        (true, "" | "always") => "Always",
        (true, "cross-subnet") => "CrossSubnet",
        (true, _) => {
            let reason = "is none of always and cross-subnet";
            return Err(ConvertError::value("spec.ipip.mode", &ipip.mode, reason));
        }
    };
    let mut new = Map::new();
    put(&mut new, "cidr", json!(net.to_string()));
    put(&mut new, "vxlanMode", json!("Never"));
    put(&mut new, "ipipMode", json!(mode));
    put(&mut new, "natOutgoing", json!(spec.nat_outgoing));
    put(&mut new, "disabled", json!(spec.disabled));
    put(&mut new, "blockSize", json!(if net.addr().is_ipv4() { 26 } else { 122 }));
    put(&mut new, "nodeSelector", json!("all()"));
    Ok(object("IPPool", old.metadata(v1_names::range(&net.to_string())), new))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Node {
    #[serde(rename = "bgp")]
    bgp: Option<Bgp>,
    #[serde(rename = "orchRefs")]
    orch_refs: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bgp {
    #[serde(rename = "asNumber")]
    as_number: Option<Value>,
    #[serde(rename = "ipv4Address", deserialize_with = "text")]
    ipv4_address: String,
    #[serde(rename = "ipv6Address", deserialize_with = "text")]
    ipv6_address: String,
}

fn node(old: Old, spec: Node) -> Result<Value, ConvertError> {
    needed("node", "metadata.name", &old.name)?;
    let mut new = Map::new();
    if let Some(bgp) = spec.bgp {
        let mut converted = Map::new();
        put(&mut converted, "asNumber", json!(bgp.as_number));
        put(&mut converted, "ipv4Address", json!(with_prefix(&bgp.ipv4_address)));
        put(&mut converted, "ipv6Address", json!(with_prefix(&bgp.ipv6_address)));
        put(&mut new, "bgp", Value::Object(converted));
    }
    put(&mut new, "orchRefs", json!(spec.orch_refs));
    let name = v1_names::clean(&old.name);
    Ok(object("Node", old.metadata(name), new))
}

/// A bare address with the length of a prefix; any other text as it is.
fn with_prefix(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |ip| IpNet::from(ip).to_string())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Policy {
    #[serde(rename = "order")]
    order: Option<Value>,
    #[serde(rename = "ingress")]
    ingress: Vec<Rule>,
    #[serde(rename = "egress")]
    egress: Vec<Rule>,
    #[serde(rename = "selector", deserialize_with = "text")]
    selector: String,
    #[serde(rename = "doNotTrack")]
    do_not_track: bool,
    #[serde(rename = "preDNAT")]
    pre_dnat: bool,
    #[serde(rename = "applyOnForward")]
    apply_on_forward: bool,
    #[serde(rename = "types")]
    types: Vec<String>,
}

fn policy(mut old: Old, spec: Policy) -> Result<Value, ConvertError> {
    needed("policy", "metadata.name", &old.name)?;
    let tier = match old.tier.as_str() {
        "" => "default".to_owned(),
        tier => v1_names::clean_without_dots(tier),
    };
    let types = types(&spec)?;
    let mut new = Map::new();
    // The default tier goes without saying.
    put(&mut new, "tier", json!(if tier == "default" { "" } else { &tier }));
    put(&mut new, "order", json!(spec.order));
    put(&mut new, "ingress", json!(rules::convert_all(spec.ingress)?));
    put(&mut new, "egress", json!(rules::convert_all(spec.egress)?));
    put(&mut new, "selector", json!(rules::selector(&spec.selector)));
    put(&mut new, "types", json!(types));
    put(&mut new, "doNotTrack", json!(spec.do_not_track));
    put(&mut new, "preDNAT", json!(spec.pre_dnat));
    let forward = spec.apply_on_forward || spec.do_not_track || spec.pre_dnat;
    put(&mut new, "applyOnForward", json!(forward));
    old.labels.insert("projectcalico.org/tier".to_owned(), Text(tier.clone()));
    let name = format!("{tier}.{}", v1_names::clean_without_dots(&old.name));
    Ok(object("GlobalNetworkPolicy", old.metadata(name), new))
}

/// The directions that a policy is about: those that it says, or those that it has rules for.
fn types(spec: &Policy) -> Result<Vec<&'static str>, ConvertError> {
    if !spec.types.is_empty() {
        let known = |text: &String| match text.to_lowercase().as_str() {
            "ingress" => Ok("Ingress"),
            "egress" => Ok("Egress"),
            _ => Err(ConvertError::value("spec.types", text, "is none of ingress and egress")),
        };
        return spec.types.iter().map(known).collect();
    }
    Ok(match (spec.ingress.is_empty(), spec.egress.is_empty()) {
        (_, true) => vec!["Ingress"],
        (true, false) => vec!["Egress"],
        (false, false) => vec!["Ingress", "Egress"],
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Profile {
    #[serde(rename = "ingress")]
    ingress: Vec<Rule>,
    #[serde(rename = "egress")]
    egress: Vec<Rule>,
}

fn profile(mut old: Old, spec: Profile) -> Result<Value, ConvertError> {
    needed("profile", "metadata.name", &old.name)?;
    // A profile's labels were those of its endpoints, and so were its tags.
    let mut labels: Map<String, Value> = std::mem::take(&mut old.labels)
        .into_iter()
        .map(|(key, Text(value))| (v1_names::label(&key), json!(value)))
        .collect();
    for Text(tag) in std::mem::take(&mut old.tags) {
        labels.entry(tag).or_insert_with(|| json!(""));
    }
    labels.sort_keys();
    let mut new = Map::new();
    put(&mut new, "ingress", json!(rules::convert_all(spec.ingress)?));
    put(&mut new, "egress", json!(rules::convert_all(spec.egress)?));
    put(&mut new, "labelsToApply", Value::Object(labels));
    let name = v1_names::profile(&old.name);
    Ok(object("Profile", old.metadata(name), new))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tier {
    #[serde(rename = "order")]
    order: Option<Value>,
}

fn tier(old: Old, spec: Tier) -> Result<Value, ConvertError> {
    needed("tier", "metadata.name", &old.name)?;
    let mut new = Map::new();
    put(&mut new, "order", json!(spec.order));
    let name = v1_names::clean_without_dots(&old.name);
    Ok(object("Tier", old.metadata(name), new))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WorkloadEndpoint {
    #[serde(rename = "ipNetworks")]
    ip_networks: Vec<String>,
    #[serde(rename = "ipNATs")]
    ip_nats: Vec<Value>,
    #[serde(rename = "ipv4Gateway", deserialize_with = "text")]
    ipv4_gateway: String,
    #[serde(rename = "ipv6Gateway", deserialize_with = "text")]
    ipv6_gateway: String,
    #[serde(rename = "profiles")]
    profiles: Vec<String>,
    #[serde(rename = "interfaceName", deserialize_with = "text")]
    interface_name: String,
    #[serde(rename = "mac", deserialize_with = "text")]
    mac: String,
    #[serde(rename = "ports")]
    ports: Vec<Value>,
}

fn workload_endpoint(old: Old, spec: WorkloadEndpoint) -> Result<Value, ConvertError> {
    let kind = "workloadEndpoint";
    for (field, value) in [
        ("metadata.node", &old.node),
        ("metadata.orchestrator", &old.orchestrator),
        ("metadata.workload", &old.workload),
        ("metadata.name", &old.name),
    ] {
        needed(kind, field, value)?;
    }
    let mut id = WorkloadEndpointName {
        node: v1_names::clean(&old.node),
        orchestrator: v1_names::clean(&old.orchestrator),
        endpoint: v1_names::clean(&old.name),
        ..WorkloadEndpointName::default()
    };
    // v1 kept a pod's namespace in front of its name.
    let (namespace, pod) = old.workload.split_once('.').unwrap_or(("default", &old.workload));
    let is_pod = id.orchestrator == "k8s";
    match id.orchestrator.as_str() {
        "k8s" => id.pod = v1_names::clean(pod),
        "cni" => id.container_id = v1_names::clean(&old.workload),
        _ => id.workload = v1_names::clean(&old.workload),
    }
    let name = id.name().map_err(|error| ConvertError::Shape {
        kind: kind.to_owned(),
        reason: error.to_string(),
    })?;
    let networks = spec.ip_networks.iter().map(|text| with_prefix(text));
    let mut new = Map::new();
    put(&mut new, "orchestrator", json!(id.orchestrator));
    put(&mut new, "workload", json!(id.workload));
    put(&mut new, "node", json!(id.node));
    put(&mut new, "containerID", json!(id.container_id));
    put(&mut new, "pod", json!(id.pod));
    put(&mut new, "endpoint", json!(id.endpoint));
    put(&mut new, "ipNetworks", json!(networks.collect::<Vec<_>>()));
    put(&mut new, "ipNATs", json!(spec.ip_nats));
    put(&mut new, "ipv4Gateway", json!(spec.ipv4_gateway));
    put(&mut new, "ipv6Gateway", json!(spec.ipv6_gateway));
    put(&mut new, "profiles", json!(profiles(&spec.profiles)));
    put(&mut new, "interfaceName", json!(spec.interface_name));
    put(&mut new, "mac", json!(spec.mac));
    put(&mut new, "ports", json!(spec.ports));
    let namespace = if is_pod { namespace } else { "default" }.to_owned();
    let metadata = Metadata { namespace, ..old.metadata(name) };
    Ok(object("WorkloadEndpoint", metadata, new))
}

#[cfg(test)]
mod tests;
