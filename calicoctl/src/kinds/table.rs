//! The table of the kinds, a row each.

use libcalico::resources::{AnyResource, Kind};
use serde_json::Value;

use super::KindInfo;
use super::cell::{Cell, Facts, join};

const NAME: (&str, Cell) = ("NAME", Cell::Name);
const NAMESPACE: (&str, Cell) = ("NAMESPACE", Cell::Namespace);
const TIER: (&str, Cell) = ("TIER", Cell::Own(tier));
const ORDER: (&str, Cell) = ("ORDER", Cell::Order);
const SELECTOR: (&str, Cell) = ("SELECTOR", Cell::Text("/selector"));
const NODE: (&str, Cell) = ("NODE", Cell::Text("/node"));

/// Every kind, in alphabetical order.
pub(super) const KINDS: &[KindInfo] = &[
    KindInfo {
        kind: Kind::BgpConfiguration,
        aliases: &["bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"],
        narrow: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
        wide: &["NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"],
        columns: &[
            NAME,
            ("LOGSEVERITY", Cell::OrDash("/logSeverityScreen")),
            ("MESHENABLED", Cell::OrDash("/nodeToNodeMeshEnabled")),
            ("ASNUMBER", Cell::OrDash("/asNumber")),
        ],
    },
    KindInfo {
        kind: Kind::BgpFilter,
        aliases: &["bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"],
        narrow: &["NAME", "NUMEXPORTV4", "NUMIMPORTV4", "NUMEXPORTV6", "NUMIMPORTV6"],
        wide: &["NAME", "NUMEXPORTV4", "NUMIMPORTV4", "NUMEXPORTV6", "NUMIMPORTV6"],
        columns: &[
            NAME,
            ("NUMEXPORTV4", Cell::Count("/exportV4")),
            ("NUMIMPORTV4", Cell::Count("/importV4")),
            ("NUMEXPORTV6", Cell::Count("/exportV6")),
            ("NUMIMPORTV6", Cell::Count("/importV6")),
        ],
    },
    KindInfo {
        kind: Kind::BgpPeer,
        aliases: &["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"],
        narrow: &["NAME", "PEERIP", "NODE", "ASN"],
        wide: &["NAME", "PEERIP", "NODE", "ASN"],
        columns: &[
            NAME,
            ("PEERIP", Cell::Text("/peerIP")),
            ("NODE", Cell::Own(nodes_of_peer)),
            ("ASN", Cell::Number("/asNumber")),
        ],
    },
    KindInfo {
        kind: Kind::CalicoNodeStatus,
        aliases: &["caliconodestatus", "caliconodestatuses", "nodestatus", "nodestatuses"],
        narrow: &["NAME", "NODE"],
        wide: &["NAME", "NODE", "CLASSES"],
        columns: &[NAME, NODE, ("CLASSES", Cell::List("/classes"))],
    },
    KindInfo {
        kind: Kind::ClusterInformation,
        aliases: &["clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"],
        narrow: &["NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"],
        wide: &["NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"],
        columns: &[
            NAME,
            ("CLUSTERGUID", Cell::Text("/clusterGUID")),
            ("CLUSTERTYPE", Cell::Text("/clusterType")),
            ("CALICOVERSION", Cell::Text("/calicoVersion")),
            ("DATASTOREREADY", Cell::Bool("/datastoreReady")),
        ],
    },
    KindInfo {
        kind: Kind::FelixConfiguration,
        aliases: &["felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"],
        narrow: &["NAME"],
        wide: &["NAME"],
        columns: &[NAME],
    },
    KindInfo {
        kind: Kind::GlobalNetworkPolicy,
        aliases: &["globalnetworkpolicy", "globalnetworkpolicies", "gnp", "gnps"],
        narrow: &["NAME", "TIER"],
        wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
        columns: &[NAME, TIER, ORDER, SELECTOR],
    },
    KindInfo {
        kind: Kind::GlobalNetworkSet,
        aliases: &["globalnetworkset", "globalnetworksets", "gnetset", "gnetsets"],
        narrow: &["NAME"],
        wide: &["NAME", "NETS"],
        columns: &[NAME, ("NETS", Cell::List("/nets"))],
    },
    KindInfo {
        kind: Kind::HostEndpoint,
        aliases: &["hostendpoint", "hostendpoints", "hep", "heps"],
        narrow: &["NAME", "NODE"],
        wide: &["NAME", "NODE", "INTERFACE", "IPS", "PROFILES"],
        columns: &[
            NAME,
            NODE,
            ("INTERFACE", Cell::Text("/interfaceName")),
            ("IPS", Cell::List("/expectedIPs")),
            ("PROFILES", Cell::List("/profiles")),
        ],
    },
    KindInfo {
        kind: Kind::IpamConfiguration,
        aliases: &["ipamconfiguration", "ipamconfigurations", "ipamconfig", "ipamconfigs"],
        narrow: &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS"],
        wide: &["NAME", "STRICTAFFINITY", "AUTOALLOCATEBLOCKS", "MAXBLOCKSPERHOST"],
        columns: &[
            NAME,
            ("STRICTAFFINITY", Cell::Bool("/strictAffinity")),
            ("AUTOALLOCATEBLOCKS", Cell::Bool("/autoAllocateBlocks")),
            ("MAXBLOCKSPERHOST", Cell::Number("/maxBlocksPerHost")),
        ],
    },
    KindInfo {
        kind: Kind::IpPool,
        aliases: &["ippool", "ippools", "ipp", "ipps", "pool", "pools"],
        narrow: &["NAME", "CIDR", "SELECTOR"],
        wide: &[
            "NAME",
            "CIDR",
            "NAT",
            "IPIPMODE",
            "VXLANMODE",
            "DISABLED",
            "DISABLEBGPEXPORT",
            "SELECTOR",
            "ASSIGNMENTMODE",
        ],
        columns: &[
            NAME,
            ("CIDR", Cell::Text("/cidr")),
            ("NAT", Cell::Bool("/natOutgoing")),
            ("IPIPMODE", Cell::Text("/ipipMode")),
            ("VXLANMODE", Cell::Text("/vxlanMode")),
            ("DISABLED", Cell::Bool("/disabled")),
            ("DISABLEBGPEXPORT", Cell::Bool("/disableBGPExport")),
            ("SELECTOR", Cell::Text("/nodeSelector")),
            ("ASSIGNMENTMODE", Cell::Text("/assignmentMode")),
        ],
    },
    KindInfo {
        kind: Kind::IpReservation,
        aliases: &["ipreservation", "ipreservations", "reservation", "reservations"],
        narrow: &["NAME"],
        wide: &["NAME", "CIDRS"],
        columns: &[NAME, ("CIDRS", Cell::List("/reservedCIDRs"))],
    },
    KindInfo {
        kind: Kind::KubeControllersConfiguration,
        aliases: &[
            "kubecontrollersconfiguration",
            "kubecontrollersconfigurations",
            "kubecontrollersconfig",
            "kubecontrollersconfigs",
        ],
        narrow: &["NAME"],
        wide: &["NAME"],
        columns: &[NAME],
    },
    KindInfo {
        kind: Kind::NetworkPolicy,
        aliases: &[
            "networkpolicy",
            "networkpolicies",
            "policy",
            "policies",
            "np",
            "nps",
            "pol",
            "pols",
        ],
        narrow: &["NAME", "TIER"],
        wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
        columns: &[NAME, NAMESPACE, TIER, ORDER, SELECTOR],
    },
    KindInfo {
        kind: Kind::NetworkSet,
        aliases: &["networkset", "networksets", "netset", "netsets"],
        narrow: &["NAME"],
        wide: &["NAME", "NETS"],
        columns: &[NAME, NAMESPACE, ("NETS", Cell::List("/nets"))],
    },
    KindInfo {
        kind: Kind::Node,
        aliases: &["node", "nodes", "no", "nos"],
        narrow: &["NAME"],
        wide: &["NAME", "ASN", "IPV4", "IPV6"],
        columns: &[
            NAME,
            ("ASN", Cell::Own(as_number)),
            ("IPV4", Cell::Text("/bgp/ipv4Address")),
            ("IPV6", Cell::Text("/bgp/ipv6Address")),
        ],
    },
    KindInfo {
        kind: Kind::Profile,
        aliases: &["profile", "profiles", "pro", "pros"],
        narrow: &["NAME"],
        wide: &["NAME", "LABELS"],
        columns: &[NAME, ("LABELS", Cell::Own(labels_to_apply))],
    },
    KindInfo {
        kind: Kind::StagedGlobalNetworkPolicy,
        aliases: &["stagedglobalnetworkpolicy", "stagedglobalnetworkpolicies", "sgnp", "sgnps"],
        narrow: &["NAME", "TIER"],
        wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
        columns: &[NAME, TIER, ORDER, SELECTOR],
    },
    KindInfo {
        kind: Kind::StagedKubernetesNetworkPolicy,
        aliases: &[
            "stagedkubernetesnetworkpolicy",
            "stagedkubernetesnetworkpolicies",
            "stagedkubernetespolicy",
            "stagedkubernetespolicies",
            "sknp",
            "sknps",
            "skpol",
            "skpols",
        ],
        narrow: &["NAME"],
        wide: &["NAME", "PODSELECTOR"],
        columns: &[NAME, NAMESPACE, ("PODSELECTOR", Cell::Own(pod_selector))],
    },
    KindInfo {
        kind: Kind::StagedNetworkPolicy,
        aliases: &[
            "stagednetworkpolicy",
            "stagednetworkpolicies",
            "stagedpolicy",
            "stagedpolicies",
            "snp",
            "snps",
            "spol",
            "spols",
        ],
        narrow: &["NAME", "TIER"],
        wide: &["NAME", "TIER", "ORDER", "SELECTOR"],
        columns: &[NAME, NAMESPACE, TIER, ORDER, SELECTOR],
    },
    KindInfo {
        kind: Kind::Tier,
        aliases: &["tier", "tiers"],
        narrow: &["NAME", "ORDER"],
        wide: &["NAME", "ORDER"],
        columns: &[NAME, ORDER],
    },
    KindInfo {
        kind: Kind::WorkloadEndpoint,
        aliases: &["workloadendpoint", "workloadendpoints", "wep", "weps"],
        narrow: &["WORKLOAD", "NODE", "NETWORKS", "INTERFACE"],
        wide: &["NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"],
        columns: &[
            NAME,
            NAMESPACE,
            ("WORKLOAD", Cell::Own(workload)),
            ("ORCHESTRATOR", Cell::Text("/orchestrator")),
            NODE,
            ("NETWORKS", Cell::List("/ipNetworks")),
            ("INTERFACE", Cell::Text("/interfaceName")),
            ("PROFILES", Cell::List("/profiles")),
            ("NATS", Cell::Own(nats)),
        ],
    },
];

fn text<'a>(object: &'a AnyResource, pointer: &str) -> Option<&'a str> {
    object.spec.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn tier(policy: &AnyResource, _: &Facts) -> String {
    text(policy, "/tier").unwrap_or("default").to_owned()
}

/// The nodes that have a peer: one, those that a selector chooses, or all.
fn nodes_of_peer(peer: &AnyResource, _: &Facts) -> String {
    let own = text(peer, "/node").or_else(|| text(peer, "/nodeSelector"));
    own.unwrap_or("(global)").to_owned()
}

/// A node's AS number, or in parentheses the one that it has for want of its own.
fn as_number(node: &AnyResource, facts: &Facts) -> String {
    match node.spec.get("bgp") {
        Some(Value::Object(bgp)) => match bgp.get("asNumber") {
            Some(Value::Null) | None => format!("({})", facts.as_number),
            Some(own) => own.to_string(),
        },
        _ => String::new(),
    }
}

fn labels_to_apply(profile: &AnyResource, _: &Facts) -> String {
    let labels = profile.spec.get("labelsToApply").and_then(Value::as_object);
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    pairs.join(",")
}

fn workload(endpoint: &AnyResource, _: &Facts) -> String {
    let name = text(endpoint, "/pod").or_else(|| text(endpoint, "/workload"));
    name.unwrap_or_default().to_owned()
}

/// The addresses under which others reach an endpoint. (Upstream's table ends in a crash here.)
fn nats(endpoint: &AnyResource, _: &Facts) -> String {
    let part = |nat: &Value, name| nat.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    join(endpoint.spec.get("ipNATs"), |nat| {
        format!("{}->{}", part(nat, "externalIP"), part(nat, "internalIP"))
    })
}

/// COMPAT: a selector of Kubernetes as Go prints it, since that is what upstream shows of an empty
/// one. (Of others it shows nothing: it crashes.)
fn pod_selector(policy: &AnyResource, _: &Facts) -> String {
    let selector = policy.spec.get("podSelector");
    let labels = selector.and_then(|selector| selector.get("matchLabels")?.as_object());
    let mut labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    labels.sort();
    let requirements = selector.and_then(|selector| selector.get("matchExpressions")?.as_array());
    let requirements = requirements.into_iter().flatten().map(|requirement| {
        let part = |name| requirement.get(name).and_then(Value::as_str).unwrap_or_default();
        let values = requirement.get("values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        format!(
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            part("key"),
            part("operator"),
            values.join(" ")
        )
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.concat(),
        requirements.collect::<String>()
    )
}
