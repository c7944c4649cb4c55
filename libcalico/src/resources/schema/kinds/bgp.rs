//! BGPConfiguration, BGPPeer and BGPFilter (`reference/datamodel.md` sections 7.5 to 7.7).

use super::super::form::*;
use super::super::view::{View, shown};
use super::{CLUSTER_ROUTES, ROUTE_PRIORITY};
use crate::resources::AnyResource;
use crate::resources::schema::field::Check::{
    AnyCase, Distinct, Form, MaxItems, MinItems, OneOf, Range, Required, Selector,
};
use crate::resources::schema::field::{
    Check, Field, as_number, duration, flag, int32, list, natural, object, text,
};
use crate::resources::validation::FieldErrors;

/// COMPAT: upstream's schema gives AS numbers 32 bits with a sign.
const SIGNED: &[Check] = &[Range(0, i32::MAX as i64)];

pub(super) const CONFIGURATION: &[Field] = &[
    text("logSeverityScreen")
        .checked(&[AnyCase(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"])])
        .or_text("Info"),
    flag("nodeToNodeMeshEnabled").kept(),
    as_number("asNumber").kept().checked(SIGNED),
    list("serviceLoadBalancerIPs", RANGE).checked(&[Distinct]),
    list("serviceExternalIPs", RANGE).checked(&[Distinct]),
    list("serviceClusterIPs", RANGE).checked(&[Distinct]),
    text("serviceLoadBalancerAggregation")
        .checked(&[OneOf(&["Enabled", "Disabled"])])
        .or_text("Enabled"),
    list("communities", &object("", COMMUNITIES)).checked(&[MaxItems(500), Distinct]),
    list("prefixAdvertisements", &object("", ADVERTISEMENT)).checked(&[MaxItems(500), Distinct]),
    natural("listenPort", 65535),
    object("nodeMeshPassword", PASSWORD).kept(),
    duration("nodeMeshMaxRestartTime").kept(),
    text("bindMode").checked(&[OneOf(&["None", "NodeIP"])]),
    list("ignoredInterfaces", IGNORED).called("IgnoredInterfaces").checked(&[Distinct]),
    text("localWorkloadPeeringIPV4")
        .called("LocalWorkloadPeeringIPV4")
        .checked(&[Form(is_ipv4, IPV4)]),
    text("localWorkloadPeeringIPV6")
        .called("LocalWorkloadPeeringIPV6")
        .checked(&[Form(is_ipv6, IPV6)]),
    text("programClusterRoutes").checked(CLUSTER_ROUTES),
    int32("ipv4NormalRoutePriority").kept().checked(ROUTE_PRIORITY),
    int32("ipv6NormalRoutePriority").kept().checked(ROUTE_PRIORITY),
];

const RANGE: &Field = &object(
    "",
    &[text("cidr").called("CIDR").checked(&[Form(is_cidr, CIDR), Form(is_masked_net, MASKED_NET)])],
);

const IGNORED: &Field = &text("").checked(&[Form(is_ignored_interface, INTERFACE_PATTERN)]);

const COMMUNITIES: &[Field] = &[
    text("name").called("Name").checked(&[Required, Form(is_name, NAME)]),
    text("value")
        .called("Spec.Communities[].Value")
        .checked(&[Required, Form(is_community, COMMUNITY)]),
];

const ADVERTISEMENT: &[Field] = &[
    text("cidr").called("CIDR").checked(&[Required, Form(is_masked_net, MASKED_NET)]),
    list("communities", &text("")).checked(&[MaxItems(50)]),
];

const PASSWORD: &[Field] = &[object("secretKeyRef", SECRET_KEY).kept()];

const SECRET_KEY: &[Field] =
    &[text("name"), text("key").always().checked(&[Required]), flag("optional").kept()];

/// Rules of BGPConfiguration across fields.
pub(super) fn check_configuration(
    object: &AnyResource,
    _old: Option<&AnyResource>,
    errors: &mut FieldErrors,
) {
    let spec = View(&object.spec);
    if object.metadata.name != "default" {
        for (field, label) in [
            ("nodeToNodeMeshEnabled", "NodeToNodeMeshEnabled"),
            ("asNumber", "ASNumber"),
            ("serviceLoadBalancerIPs", "ServiceLoadBalancerIPs"),
            ("serviceExternalIPs", "ServiceExternalIPs"),
            ("serviceClusterIPs", "ServiceClusterIPs"),
            ("nodeMeshPassword", "NodeMeshPassword"),
            ("nodeMeshMaxRestartTime", "NodeMeshMaxRestartTime"),
        ] {
            // COMPAT: upstream's sentences name this one as it is written, the others as in Go.
            let name = if field == "nodeToNodeMeshEnabled" { field } else { label };
            let reason = format!("Cannot set {name} on a non default BGP Configuration.");
            let label = format!("BGPConfiguration.Spec.{label}");
            errors.check(!spec.has(field), &label, spec.shown(field), &reason);
        }
    }
    let (communities, advertised) = (spec.list("communities"), spec.list("prefixAdvertisements"));
    if !communities.is_empty() && advertised.is_empty() {
        let reason = "needs prefixAdvertisements that use them";
        errors.add("spec.communities", spec.shown("communities"), reason);
    }
    let defined = |name: &str| communities.iter().any(|known| View(known).text("name") == name);
    for used in advertised.iter().flat_map(|entry| View(entry).texts("communities")) {
        if !is_community(used) && !defined(used) {
            let reason = format!("{COMMUNITY}, or the name of one of spec.communities");
            errors.add("Spec.PrefixAdvertisement[].Communities[]", used, reason);
        }
    }
    if spec.has("nodeToNodeMeshEnabled") && !spec.flag("nodeToNodeMeshEnabled") {
        for field in ["nodeMeshPassword", "nodeMeshMaxRestartTime"] {
            if spec.has(field) {
                let reason = "cannot be set while nodeToNodeMeshEnabled is false";
                errors.add(format!("spec.{field}"), spec.shown(field), reason);
            }
        }
    }
}

pub(super) const PEER: &[Field] = &[
    text("node").called("Node").checked(&[Form(is_name, NAME)]),
    text("nodeSelector").called("NodeSelector").checked(&[Selector]),
    text("peerIP").called("PeerIP").checked(&[Form(is_peer, PEER_ADDRESS)]),
    as_number("asNumber").checked(SIGNED),
    as_number("localASNumber").kept().checked(SIGNED),
    text("peerSelector").called("PeerSelector").checked(&[Selector]),
    flag("keepOriginalNextHop"),
    text("nextHopMode").checked(&[OneOf(&["Auto", "Self", "Keep"])]),
    object("password", PASSWORD).kept(),
    text("sourceAddress").checked(&[OneOf(&["UseNodeIP", "None"])]),
    duration("maxRestartTime").kept(),
    duration("keepaliveTime").kept(),
    int32("numAllowedLocalASNumbers").kept(),
    natural("ttlSecurity", 255).kept(),
    text("reachableBy").called("ReachableBy").checked(&[Form(is_ip, IP)]),
    list("filters", &text("").checked(&[Form(is_name, NAME)])).called("Filters"),
    text("localWorkloadSelector").called("LocalWorkloadSelector").checked(&[Selector]),
    text("reversePeering").checked(&[OneOf(&["Auto", "Manual"])]),
];

/// Rules of BGPPeer across fields.
pub(super) fn check_peer(
    object: &AnyResource,
    _old: Option<&AnyResource>,
    errors: &mut FieldErrors,
) {
    let spec = View(&object.spec);
    let not_both = [
        ("node", "nodeSelector"),
        ("peerIP", "peerSelector"),
        ("asNumber", "peerSelector"),
        ("peerIP", "localWorkloadSelector"),
        ("peerSelector", "localWorkloadSelector"),
    ];
    for (field, other) in not_both {
        let absent = |field| spec.text(field).is_empty() && spec.whole(field) == 0;
        if !absent(field) && !absent(other) {
            let reason = format!("must be empty when {other} is set");
            errors.add(format!("spec.{field}"), spec.shown(field), reason);
        }
    }
    if spec.flag("keepOriginalNextHop") && spec.has("nextHopMode") {
        let reason = "must not be set with nextHopMode, which replaces it";
        errors.add("spec.keepOriginalNextHop", "true", reason);
    }
    if !spec.text("localWorkloadSelector").is_empty() && spec.whole("asNumber") == 0 {
        errors.add("spec.asNumber", "", "must be set with localWorkloadSelector");
    }
    let (gateway, peer) = (spec.text("reachableBy"), spec.text("peerIP"));
    if !gateway.is_empty() {
        let reason = match (gateway.parse::<std::net::IpAddr>(), peer_address(peer)) {
            _ if peer.is_empty() => "must be empty without peerIP",
            (Ok(gateway), Some(peer)) if gateway.is_ipv4() != peer.is_ipv4() => {
                "must be of the address family of peerIP"
            }
            _ => return,
        };
        errors.add("spec.reachableBy", gateway, reason);
    }
}

pub(super) const FILTER: &[Field] = &[
    list("exportV4", &object("", V4)),
    list("importV4", &object("", V4)),
    list("exportV6", &object("", V6)),
    list("importV6", &object("", V6)),
];

const V4: &[Field] = &rule(
    text("cidr").called("CIDR").checked(&[Form(is_ipv4_net, IPV4_NET)]),
    &[bound("min", 32), bound("max", 32)],
);

const V6: &[Field] = &rule(
    text("cidr").called("CIDR").checked(&[Form(is_ipv6_net, IPV6_NET)]),
    &[bound("min", 128), bound("max", 128)],
);

/// A bound of prefix lengths.
const fn bound(name: &'static str, most: i64) -> Field {
    int32(name).kept().checked(match most {
        32 => &[Range(0, 32)],
        _ => &[Range(0, 128)],
    })
}

/// A rule of a filter; the families differ in their ranges and lengths.
const fn rule(cidr: Field, lengths: &'static [Field]) -> [Field; 11] {
    [
        cidr,
        object("prefixLength", lengths).kept(),
        text("source").checked(&[OneOf(&["RemotePeers"])]),
        text("interface")
            .called("Interface")
            .checked(&[Form(is_interface_pattern, INTERFACE_PATTERN)]),
        text("matchOperator").checked(&[OneOf(&["Equal", "NotEqual", "In", "NotIn"])]),
        text("peerType").checked(&[OneOf(&["eBGP", "iBGP"])]),
        object("communities", MATCHED_COMMUNITIES).kept(),
        list("asPathPrefix", AS_NUMBER),
        int32("priority").kept().checked(ROUTE_PRIORITY),
        text("action").always().checked(&[Required, OneOf(&["Accept", "Reject"])]),
        list("operations", OPERATION).checked(&[MaxItems(10)]),
    ]
}

const AS_NUMBER: &Field = &as_number("");

const MATCHED_COMMUNITIES: &[Field] =
    &[list("values", COMMUNITY_VALUE).checked(&[MinItems(1), MaxItems(1)])];

const COMMUNITY_VALUE: &Field = &text("").checked(&[Form(is_community, COMMUNITY)]);

const OPERATION: &Field = &object("", OPERATIONS);

const OPERATIONS: &[Field] = &[
    object(
        "addCommunity",
        &[text("value").always().checked(&[Required, Form(is_community, COMMUNITY)])],
    )
    .kept(),
    object(
        "prependASPath",
        &[list("prefix", AS_NUMBER).checked(&[Required, MinItems(1), MaxItems(10)])],
    )
    .kept(),
    object("setPriority", &[int32("value").always().checked(ROUTE_PRIORITY)]).kept(),
];

/// Rules of BGPFilter across fields.
pub(super) fn check_filter(
    object: &AnyResource,
    _old: Option<&AnyResource>,
    errors: &mut FieldErrors,
) {
    let spec = View(&object.spec);
    for list in ["exportV4", "importV4", "exportV6", "importV6"] {
        for (at, value) in spec.list(list).iter().enumerate() {
            check_filter_rule(&format!("spec.{list}[{at}]"), View(value), errors);
        }
    }
}

fn check_filter_rule(path: &str, rule: View, errors: &mut FieldErrors) {
    let (cidr, operator) = (rule.text("cidr"), rule.text("matchOperator"));
    if cidr.is_empty() != operator.is_empty() {
        let value = format!("{operator} {cidr}");
        errors.add(path, value.trim(), "cidr and matchOperator must be set together");
    }
    if cidr.is_empty() && rule.has("prefixLength") {
        errors.add(path, rule.shown("prefixLength"), "prefixLength needs cidr");
    }
    let operations = rule.list("operations");
    if !operations.is_empty() && rule.text("action") != "Accept" {
        errors.add(path, rule.text("action"), "operations need the action Accept");
    }
    for (at, operation) in operations.iter().enumerate() {
        if operation.as_object().is_none_or(|kinds| kinds.len() != 1) {
            let reason = "must be exactly one of addCommunity, prependASPath and setPriority";
            errors.add(format!("{path}.operations[{at}]"), shown(operation), reason);
        }
    }
}
