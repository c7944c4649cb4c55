//! Each rule of an endpoint, broken alone.

use super::*;
use crate::resources::Object;

fn endpoint() -> WorkloadEndpoint {
    let spec = WorkloadEndpointSpec {
        orchestrator: "k8s".into(),
        node: "node-1".into(),
        container_id: "C0NT-1".into(),
        pod: "web-0".into(),
        endpoint: "eth0".into(),
        ip_networks: vec!["10.65.0.5/32".into(), "fd00:65::5".into()],
        profiles: vec!["kns.shop".into()],
        interface_name: "cali0123456789a".into(),
        mac: "EE:ee:ee:ee:ee:ee".into(),
        ..WorkloadEndpointSpec::default()
    };
    let mut endpoint = WorkloadEndpoint::new("", spec);
    endpoint.metadata.namespace = "shop".into();
    endpoint
}

fn port(name: &str, protocol: Protocol, port: u16, host_port: u16) -> EndpointPort {
    EndpointPort { name: name.into(), protocol, port, host_port, ..EndpointPort::default() }
}

fn tcp() -> Protocol {
    Protocol::Name("TCP".into())
}

/// The fields that are wrong after a change.
fn wrong(change: impl FnOnce(&mut WorkloadEndpointSpec)) -> Vec<String> {
    let mut endpoint = endpoint();
    change(&mut endpoint.spec);
    endpoint.default_on_write();
    let mut errors = FieldErrors::default();
    endpoint.validate(None, &mut errors);
    match errors.into_result(String::new()) {
        Ok(()) => Vec::new(),
        Err(error) => error.fields.into_iter().map(|field| field.field).collect(),
    }
}

#[test]
fn what_is_right_is_accepted() {
    assert!(wrong(|_| {}).is_empty());
    let nat = |internal: &str, external: &str| IpNat {
        internal_ip: internal.into(),
        external_ip: external.into(),
        ..IpNat::default()
    };
    let changed = wrong(|spec| {
        spec.ip_nats = vec![nat("10.65.0.5", "198.51.100.5"), nat("fd00:65::5", "2001:db8::1")];
        spec.ports = vec![port("http", tcp(), 80, 0), port("", Protocol::Number(17), 53, 53)];
        spec.allow_spoofed_source_prefixes = vec!["192.0.2.0/24".into()];
        spec.interface_name = "*".into();
        spec.mac = "ee-ee-ee-ee-ee-ee".into();
        spec.ipv4_gateway = "169.254.1.1".into();
        spec.ipv6_gateway = "fe80::1".into();
    });
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn each_broken_rule_names_its_field() {
    type Change = fn(&mut WorkloadEndpointSpec);
    let cases: [(Change, &str); 22] = [
        (|spec| spec.node = "Node_1".into(), "Node"),
        (|spec| spec.pod = "web-".into(), "pod"),
        (|spec| spec.pod = String::new(), "pod"),
        (|spec| spec.endpoint = "eth_0".into(), "Endpoint"),
        (|spec| spec.service_account_name = "sa 1".into(), "ServiceAccountName"),
        (|spec| spec.container_id = "a_b".into(), "ContainerID"),
        (|spec| spec.interface_name = String::new(), "InterfaceName"),
        (|spec| spec.interface_name = "x".repeat(16), "InterfaceName"),
        (|spec| spec.mac = "ee:ee:ee:ee:ee".into(), "MAC"),
        (|spec| spec.mac = "ee:ee:ee:ee:ee:gg".into(), "MAC"),
        (|spec| spec.profiles.push("a b".into()), "Profiles[1]"),
        (|spec| spec.ip_networks.push("10.65.0.0/31".into()), "IPNetworks"),
        (|spec| spec.ip_networks.push("junk".into()), "IPNetworks"),
        (|spec| spec.ipv4_gateway = "fe80::1".into(), "IPv4Gateway"),
        (|spec| spec.ipv6_gateway = "169.254.1.1".into(), "IPv6Gateway"),
        (
            |spec| spec.allow_spoofed_source_prefixes = vec!["x".into()],
            "AllowSpoofedSourcePrefixes",
        ),
        (|spec| spec.ports = vec![port("http", tcp(), 0, 0)], "Ports[0].Port"),
        (|spec| spec.ports = vec![port("", tcp(), 80, 0)], "Ports[0].Name"),
        (|spec| spec.ports = vec![port("-x", tcp(), 80, 0)], "Ports[0].Name"),
        (|spec| spec.ports = vec![port("x", Protocol::Number(1), 80, 0)], "Ports[0].Protocol"),
        (|spec| spec.ip_nats = vec![IpNat::default()], "IPNATs"),
        (
            |spec| {
                let (internal_ip, external_ip) = ("10.65.0.5".into(), "2001:db8::1".into());
                spec.ip_nats = vec![IpNat { internal_ip, external_ip, ..IpNat::default() }];
            },
            "IPNATs",
        ),
    ];
    for (change, field) in cases {
        let fields = wrong(change);
        assert!(fields.iter().any(|wrong| wrong == field), "{field}: {fields:?}");
    }
}
