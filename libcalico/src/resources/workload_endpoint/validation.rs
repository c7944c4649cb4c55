//! The rules of endpoints (`reference/cni-plugin.md` section 2.6).

use std::net::IpAddr;

use ipnet::IpNet;

use super::{EndpointPort, Protocol, WorkloadEndpoint};
use crate::names;
use crate::resources::validation::FieldErrors;

/// Checks an endpoint whose labels and name are set.
pub(super) fn validate(new: &WorkloadEndpoint, errors: &mut FieldErrors) {
    check_name(new, errors);
    check_identifiers(new, errors);
    check_addresses(new, errors);
    for (at, port) in new.spec.ports.iter().enumerate() {
        check_port(at, port, errors);
    }
    let spec = &new.spec;
    let name = &spec.interface_name;
    let reason = "must be 1 to 15 of a-z A-Z 0-9 _ . - or be *";
    errors.check(names::is_valid_interface_name(name), "InterfaceName", name, reason);
    let valid = spec.mac.is_empty() || is_mac(&spec.mac);
    errors.check(valid, "MAC", &spec.mac, "must be a MAC address");
    for cidr in &spec.allow_spoofed_source_prefixes {
        let reason = "must be a CIDR";
        errors.check(cidr.parse::<IpNet>().is_ok(), "AllowSpoofedSourcePrefixes", cidr, reason);
    }
}

fn check_name(new: &WorkloadEndpoint, errors: &mut FieldErrors) {
    let name = &new.metadata.name;
    match new.spec.name() {
        Err(error) => errors.add(error.field(), error.value(), error.to_string()),
        Ok(expected) if *name != expected => {
            let reason = format!(
                "the WorkloadEndpoint name does not match the primary identifiers assigned in \
                 the Spec: expected name {expected}"
            );
            errors.add("Name", name, reason);
        }
        Ok(_) => {}
    }
}

fn check_identifiers(new: &WorkloadEndpoint, errors: &mut FieldErrors) {
    let spec = &new.spec;
    let fields = [
        ("Node", &spec.node),
        ("Orchestrator", &spec.orchestrator),
        ("Workload", &spec.workload),
        ("Pod", &spec.pod),
        ("Endpoint", &spec.endpoint),
        ("ServiceAccountName", &spec.service_account_name),
    ];
    let reason = "must be lower-case letters, digits, '-' and '.', and begin and end with a \
                  letter or digit";
    for (field, value) in fields {
        errors.check(value.is_empty() || names::is_valid_name(value), field, value, reason);
    }
    for (at, profile) in spec.profiles.iter().enumerate() {
        let field = format!("Profiles[{at}]");
        errors.check(names::is_valid_name(profile), &field, profile, reason);
    }
    let id = &spec.container_id;
    let reason = "must be letters, digits and '-', and begin and end with a letter or digit";
    let valid = id.is_empty() || names::is_valid_container_id(id);
    errors.check(valid, "ContainerID", id, reason);
}

fn check_addresses(new: &WorkloadEndpoint, errors: &mut FieldErrors) {
    let spec = &new.spec;
    let mut addresses = Vec::with_capacity(spec.ip_networks.len());
    for text in &spec.ip_networks {
        match parse_network(text) {
            None => errors.add("IPNetworks", text, "must be an address or a CIDR"),
            Some(net) if net.prefix_len() != net.max_prefix_len() => {
                errors.add("IPNetworks", text, "IP network contains multiple addresses");
            }
            Some(net) => addresses.push(net.addr()),
        }
    }
    for nat in &spec.ip_nats {
        let text = format!("{} from {}", nat.internal_ip, nat.external_ip);
        let parsed = (nat.internal_ip.parse::<IpAddr>(), nat.external_ip.parse::<IpAddr>());
        let (Ok(internal), Ok(external)) = parsed else {
            errors.add("IPNATs", text, "both must be addresses");
            continue;
        };
        let reason = "both addresses must be of one family";
        errors.check(internal.is_ipv4() == external.is_ipv4(), "IPNATs", &text, reason);
        let reason = "the internal address must be one of the ipNetworks";
        errors.check(addresses.contains(&internal), "IPNATs", &text, reason);
    }
    let gateways =
        [("IPv4Gateway", &spec.ipv4_gateway, true), ("IPv6Gateway", &spec.ipv6_gateway, false)];
    for (field, text, is_v4) in gateways {
        let fits = text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() == is_v4);
        let reason = "must be an address of this family";
        errors.check(text.is_empty() || fits, field, text, reason);
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    let bare = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(bare)
}

fn check_port(at: usize, port: &EndpointPort, errors: &mut FieldErrors) {
    let field = |name: &str| format!("Ports[{at}].{name}");
    let known = match &port.protocol {
        Protocol::Name(name) => matches!(name.as_str(), "TCP" | "UDP" | "SCTP"),
        Protocol::Number(number) => matches!(number, 6 | 17 | 132),
    };
    let text = match &port.protocol {
        Protocol::Name(name) => name.clone(),
        Protocol::Number(number) => number.to_string(),
    };
    errors.check(known, &field("Protocol"), text, "must be TCP, UDP or SCTP");
    errors.check(port.port != 0, &field("Port"), port.port, "must be 1 to 65535");
    let named = match port.name.as_str() {
        "" => port.host_port != 0,
        name => is_port_name(name),
    };
    let reason = "must be a port name: at most 15 lower-case letters, digits and '-', with a \
                  letter; empty only with a hostPort";
    errors.check(named, &field("Name"), &port.name, reason);
    let valid = port.host_ip.is_empty() || parse_network(&port.host_ip).is_some();
    errors.check(valid, &field("HostIP"), &port.host_ip, "must be an address");
}

/// A service name as IANA has it: what Kubernetes takes as the name of a port.
fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// 6, 8 or 20 octets of two hex digits, separated by ':' or '-', or in groups of four by '.'.
fn is_mac(text: &str) -> bool {
    let hex =
        |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let groups = |separator: char, len: usize, counts: [usize; 3]| {
        counts.contains(&text.split(separator).count())
            && text.split(separator).all(|part| hex(part, len))
    };
    groups(':', 2, [6, 8, 20]) || groups('-', 2, [6, 8, 20]) || groups('.', 4, [3, 4, 10])
}
