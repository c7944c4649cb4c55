//! Rules of policies and profiles (`reference/datamodel.md` sections 7.9 and 7.10).

use ipnet::IpNet;

use super::super::checker::unreadable_selector;
use super::super::form::*;
use super::super::view::View;
use crate::resources::schema::field::Check::{
    Annotations, Distinct, Form, MaxItems, Number, OneOf, Port, Protocol, Range, Required, Selector,
};
use crate::resources::schema::field::{
    Field, TEXT, byte_or_name, int, list, map, object, port, text,
};
use crate::resources::validation::FieldErrors;

/// Where rules stand, and what follows from it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The list: `ingress` or `egress`.
    pub direction: &'static str,
    /// Whether names of services need their namespace.
    pub global: bool,
    /// Whether it is a profile's list, which has fewer rules.
    pub profile: bool,
}

pub(super) const RULE: &[Field] = &[
    text("action").always().checked(&[Required, OneOf(&["Allow", "Deny", "Log", "Pass"])]),
    int("ipVersion").kept().checked(&[Number(&[4, 6])]),
    byte_or_name("protocol").kept().called("Protocol").checked(&[Protocol]),
    object("icmp", ICMP).kept(),
    byte_or_name("notProtocol").kept().called("Protocol").checked(&[Protocol]),
    object("notICMP", ICMP).kept(),
    object("source", ENTITY),
    object("destination", ENTITY),
    object("http", HTTP).kept(),
    object(
        "metadata",
        &[map("annotations").called("Metadata.Annotations").checked(&[Annotations])],
    )
    .kept(),
];

const ICMP: &[Field] = &[
    int("type").kept().called("Type").checked(&[Range(0, 254)]),
    int("code").kept().called("Code").checked(&[Range(0, 255)]),
];

const ENTITY: &[Field] = &[
    list("nets", NETS).called("Nets").checked(&[MaxItems(256), Distinct]),
    text("selector").called("Selector").checked(&[Selector]),
    text("namespaceSelector"),
    object("services", &[text("name"), text("namespace")]).kept(),
    list("ports", PORTS).checked(&[MaxItems(50)]),
    list("notNets", NETS).called("NotNets").checked(&[MaxItems(256)]),
    text("notSelector").called("NotSelector").checked(&[Selector]),
    list("notPorts", PORTS).checked(&[MaxItems(50)]),
    object(
        "serviceAccounts",
        &[
            list("names", &text("").checked(&[Form(is_name, NAME)]))
                .called("Names")
                .checked(&[Distinct]),
            text("selector").called("Selector").checked(&[Selector]),
        ],
    )
    .kept(),
];

const NETS: &Field = &text("").checked(&[Form(is_net, NET)]);

const PORTS: &Field = &port("").called("Port").checked(&[Port]);

const HTTP: &[Field] = &[
    list("methods", TEXT).called("Methods").checked(&[MaxItems(20), Distinct]),
    list("paths", &object("", &[text("exact"), text("prefix")])).checked(&[MaxItems(20)]),
];

/// Rules across the fields of the rules of a list.
pub(super) fn check_rules(place: Place, spec: View, errors: &mut FieldErrors) {
    for (at, rule) in spec.list(place.direction).iter().enumerate() {
        let path = format!("spec.{}[{at}]", place.direction);
        check_rule(place, &path, View(rule), errors);
    }
}

fn check_rule(place: Place, path: &str, rule: View, errors: &mut FieldErrors) {
    check_protocol(path, rule, errors);
    check_families(path, rule, errors);
    check_http(place, path, rule, errors);
    for side in ["source", "destination"] {
        check_services(place, path, side, rule, errors);
        let selector = rule.object(side).text("namespaceSelector");
        let alone = selector.split_whitespace().collect::<String>() == "global()";
        let reason = match unreadable_selector(selector) {
            Some(reason) => reason,
            None if selector.contains("global(") && !alone => {
                "global() cannot be combined with other selectors".to_owned()
            }
            None => continue,
        };
        let path = format!("{path}.{side}.namespaceSelector");
        errors.add_at(path, "NamespaceSelector", selector, reason);
    }
}

/// Ports and ICMP fields need their protocol. COMPAT: a number stands for its name with ports only.
fn check_protocol(path: &str, rule: View, errors: &mut FieldErrors) {
    let protocol = rule.shown("protocol");
    let has_ports = matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP" | "6" | "17" | "132");
    for (side, field, label) in [
        ("source", "ports", "Source.Ports"),
        ("source", "notPorts", "Source.NotPorts"),
        ("destination", "ports", "Destination.Ports"),
        ("destination", "notPorts", "Destination.NotPorts"),
    ] {
        if !has_ports && !rule.object(side).list(field).is_empty() {
            let reason = "rules that specify ports must set protocol to TCP or UDP or SCTP";
            errors.add_at(path, label, rule.object(side).shown(field), reason);
        }
    }
    if rule.has("icmp") && !matches!(protocol.as_str(), "ICMP" | "ICMPv6") {
        errors.add(path, protocol, "icmp needs the protocol ICMP or ICMPv6");
    }
    for field in ["icmp", "notICMP"] {
        let icmp = rule.object(field);
        if icmp.has("code") && !icmp.has("type") {
            errors.add(format!("{path}.{field}"), icmp.shown("code"), "an ICMP code needs a type");
        }
    }
    let version = rule.whole("ipVersion");
    for field in ["protocol", "notProtocol"] {
        let wanted = match rule.text(field) {
            "ICMP" => 4,
            "ICMPv6" => 6,
            _ => continue,
        };
        if version != 0 && version != wanted {
            let reason = format!("{field} {} needs ipVersion {wanted}", rule.text(field));
            errors.add(path, version, reason);
        }
    }
}

/// All ranges of a rule are of one family, and of that of `ipVersion`.
fn check_families(path: &str, rule: View, errors: &mut FieldErrors) {
    let mut seen = match rule.whole("ipVersion") {
        4 => Some(true),
        6 => Some(false),
        _ => None,
    };
    for (side, field, label) in [
        ("source", "nets", "Source.Nets"),
        ("source", "notNets", "Source.NotNets"),
        ("destination", "nets", "Destination.Nets"),
        ("destination", "notNets", "Destination.NotNets"),
    ] {
        for text in rule.object(side).texts(field) {
            let reason = match text.parse::<IpNet>() {
                // What isn't even an address has its own error.
                Err(_) if is_ip(text) => "must be a CIDR, with its prefix length",
                Err(_) => continue,
                Ok(net) if field == "notNets" && net.prefix_len() == 0 => {
                    "excludes everything: the rule would never match"
                }
                Ok(net) => {
                    let v4 = matches!(net, IpNet::V4(_));
                    if *seen.get_or_insert(v4) == v4 {
                        continue;
                    }
                    "must be of the address family of the rule's other ranges and of its ipVersion"
                }
            };
            errors.add_at(path, label, text, reason);
        }
    }
}

/// HTTP matches are for rules that allow TCP to an endpoint.
fn check_http(place: Place, path: &str, rule: View, errors: &mut FieldErrors) {
    if !rule.has("http") {
        return;
    }
    let http = rule.object("http");
    if rule.text("action") != "Allow" {
        errors.add_at(path, "HTTP", rule.text("action"), "only Allow rules can match HTTP");
    }
    if place.direction == "egress" && !place.profile {
        errors.add_at(path, "HTTP", "egress", "egress rules cannot match HTTP");
    }
    if rule.has("protocol") && rule.text("protocol") != "TCP" {
        let reason = "rules that match HTTP have the protocol TCP or none";
        errors.add_at(path, "Protocol", rule.shown("protocol"), reason);
    }
    for (at, entry) in http.list("paths").iter().enumerate() {
        let (exact, prefix) = (View(entry).text("exact"), View(entry).text("prefix"));
        let (value, reason) = match (exact, prefix) {
            ("", "") => ("", "must have exact or prefix"),
            ("", path) | (path, "") if path.starts_with('/') && !path.contains(['?', ' ', '#']) => {
                continue;
            }
            ("", path) | (path, "") => (path, "must begin with / and have no '?', '#' or blank"),
            (exact, _) => (exact, "must have exact or prefix, not both"),
        };
        errors.add_at(format!("{path}.http.paths[{at}]"), "Paths", value, reason);
    }
}

/// A service stands for its endpoints, so that nothing else can be said of that side.
fn check_services(
    place: Place,
    path: &str,
    side: &'static str,
    rule: View,
    errors: &mut FieldErrors,
) {
    let entity = rule.object(side);
    if !entity.has("services") {
        return;
    }
    let services = entity.object("services");
    let path = format!("{path}.{side}.services");
    let mut add = |reason: &str| errors.add_at(&path, "Services", entity.shown("services"), reason);
    if services.text("name").is_empty() {
        add("must have the name of a service");
    }
    let others = [
        "selector",
        "notSelector",
        "namespaceSelector",
        "nets",
        "notNets",
        "serviceAccounts",
        "ports",
        "notPorts",
    ];
    for other in others.into_iter().filter(|field| entity.has(field)) {
        add(&format!("{other} cannot be set beside it"));
    }
    if place.profile {
        return;
    }
    match (place.direction, side) {
        ("ingress", "destination") => add("an ingress rule has services in its source only"),
        ("egress", "source") => add("an egress rule has services in its destination only"),
        _ if place.global && services.text("namespace").is_empty() => {
            errors.add_at(path, "Namespace", "", "must have the service's namespace");
        }
        _ => {}
    }
}
