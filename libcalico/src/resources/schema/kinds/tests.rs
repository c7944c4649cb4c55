//! Rules that the golden data doesn't touch, a line each: the spec, and the fields that are named;
//! none when it is right.

use serde_json::{Value, json};

use crate::resources::validation::FieldErrors;
use crate::resources::{AnyResource, Kind, Object};

/// What is said of an object: `field = value (reason)` each.
fn complaints(kind: Kind, name: &str, spec: Value) -> Vec<String> {
    let mut object = AnyResource::new(kind, name, spec);
    object.default_on_write();
    let mut errors = FieldErrors::default();
    object.validate(None, &mut errors);
    let errors = errors.into_result(String::new()).err();
    errors.into_iter().flat_map(|error| error.fields).map(|field| field.to_string()).collect()
}

fn check(kind: Kind, cases: &[(Value, &[&str])]) {
    for (spec, expected) in cases {
        let said = complaints(kind, "default", spec.clone());
        let fields: Vec<&str> = said.iter().filter_map(|text| text.split(" = ").next()).collect();
        assert_eq!(fields, *expected, "{spec}: {said:?}");
    }
}

#[test]
fn bgp_configurations() {
    let advertised = json!([{ "cidr": "10.0.0.0/8", "communities": ["a", "1:2"] }]);
    let named = |value: &str| {
        let communities = json!([{ "name": "a", "value": value }]);
        json!({ "communities": communities, "prefixAdvertisements": advertised })
    };
    let value = "Spec.Communities[].Value";
    check(
        Kind::BgpConfiguration,
        &[
            (named("65535:65535"), &[]),
            (named("65536:1"), &[value]),
            (named("4294967295:1:2"), &[]),
            (named("1:2:4294967296"), &[value]),
            (named("1:"), &[value]),
            (json!({ "communities": [{ "name": "a", "value": "1:2" }] }), &["spec.communities"]),
            (json!({ "prefixAdvertisements": [{ "communities": ["1:2"] }] }), &["CIDR"]),
            (json!({ "serviceClusterIPs": [{ "cidr": "10.96.0.0/12" }] }), &[]),
            (json!({ "serviceClusterIPs": [{ "cidr": "10.96.0.1/12" }] }), &["CIDR"]),
            (json!({ "serviceClusterIPs": [{ "cidr": "10.96.0.1" }] }), &["CIDR"]),
            (
                json!({ "serviceExternalIPs": [{ "cidr": "10.0.0.0/8" }, { "cidr": "10.0.0.0/8" }] }),
                &["spec.serviceExternalIPs"],
            ),
            (json!({ "ignoredInterfaces": ["veth*"] }), &[]),
            (json!({ "ignoredInterfaces": ["*"] }), &["IgnoredInterfaces[0]"]),
            (json!({ "localWorkloadPeeringIPV4": "fe80::1" }), &["LocalWorkloadPeeringIPV4"]),
            (json!({ "localWorkloadPeeringIPV6": "10.0.0.1" }), &["LocalWorkloadPeeringIPV6"]),
            (json!({ "ipv4NormalRoutePriority": 0 }), &["spec.ipv4NormalRoutePriority"]),
            (json!({ "bindMode": "Any" }), &["spec.bindMode"]),
            (json!({ "programClusterRoutes": "EnabledIPIPOnly" }), &[]),
            (json!({ "logSeverityScreen": "TRACE" }), &[]),
            (
                json!({ "nodeToNodeMeshEnabled": false, "nodeMeshMaxRestartTime": "1m" }),
                &["spec.nodeMeshMaxRestartTime"],
            ),
            (
                json!({ "nodeMeshPassword": { "secretKeyRef": { "name": "a" } } }),
                &["spec.nodeMeshPassword.secretKeyRef.key"],
            ),
        ],
    );
    let everything = json!({
        "nodeToNodeMeshEnabled": true, "asNumber": 1, "serviceLoadBalancerIPs": [{}],
        "serviceExternalIPs": [{}], "serviceClusterIPs": [{}],
        "nodeMeshPassword": {}, "nodeMeshMaxRestartTime": "1m",
    });
    assert_eq!(complaints(Kind::BgpConfiguration, "default", everything.clone()).len(), 0);
    let said = complaints(Kind::BgpConfiguration, "node.a", everything);
    assert_eq!(said.len(), 7);
    assert!(
        said[0].ends_with("(Cannot set nodeToNodeMeshEnabled on a non default BGP Configuration.)")
    );
    assert!(said[1].contains("Cannot set ASNumber on"), "{}", said[1]);
}

#[test]
fn bgp_peers() {
    check(
        Kind::BgpPeer,
        &[
            (json!({ "localWorkloadSelector": "a == 'b'" }), &["spec.asNumber"]),
            (
                json!({ "localWorkloadSelector": "all()", "asNumber": 1, "peerIP": "10.0.0.1" }),
                &["spec.peerIP"],
            ),
            (
                json!({ "localWorkloadSelector": "all()", "asNumber": 1, "peerSelector": "all()" }),
                &["spec.asNumber", "spec.peerSelector"],
            ),
            (json!({ "peerIP": "10.0.0.1", "reachableBy": "fd00::1" }), &["spec.reachableBy"]),
            (json!({ "peerIP": "[fd00::2]:179", "reachableBy": "fd00::1" }), &[]),
            (json!({ "peerIP": "10.0.0.1", "reachableBy": "x" }), &["ReachableBy"]),
            (json!({ "peerIP": "10.0.0.1:" }), &["PeerIP"]),
            (json!({ "peerIP": "10.0.0.1:+5" }), &["PeerIP"]),
            (json!({ "nodeSelector": "global()" }), &["NodeSelector"]),
            (json!({ "peerSelector": "has(" }), &["PeerSelector"]),
            (json!({ "node": "A" }), &["Node"]),
            (json!({ "filters": ["a", "B"] }), &["Filters[1]"]),
            (json!({ "nextHopMode": "Never" }), &["spec.nextHopMode"]),
            (json!({ "reversePeering": "Manual", "nextHopMode": "Keep" }), &[]),
        ],
    );
}

#[test]
fn bgp_filters() {
    let v4 = |rule: Value| json!({ "exportV4": [rule] });
    let v6 = |rule: Value| json!({ "importV6": [rule] });
    let accept = |operations: Value| v4(json!({ "action": "Accept", "operations": operations }));
    let rule = "spec.exportV4[0]";
    check(
        Kind::BgpFilter,
        &[
            (v4(json!({ "action": "Accept", "prefixLength": { "max": 24 } })), &[rule]),
            (
                v6(json!({ "action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In" })),
                &["CIDR"],
            ),
            (
                v6(json!({ "action": "Accept", "cidr": "fd00::/8", "matchOperator": "In",
                    "prefixLength": { "min": 8, "max": 129 } })),
                &["spec.importV6[0].prefixLength.max"],
            ),
            (v4(json!({ "action": "Accept", "interface": "eth*" })), &[]),
            (v4(json!({ "action": "Accept", "interface": "a/b" })), &["Interface"]),
            (v4(json!({ "action": "Accept", "peerType": "ibgp" })), &["spec.exportV4[0].peerType"]),
            (
                v4(json!({ "action": "Accept", "communities": { "values": ["1:2", "1:3"] } })),
                &["spec.exportV4[0].communities.values"],
            ),
            (accept(json!([{ "setPriority": { "value": 1 } }])), &[]),
            (
                accept(
                    json!([{ "setPriority": { "value": 1 }, "addCommunity": { "value": "1:2" } }]),
                ),
                &["spec.exportV4[0].operations[0]"],
            ),
            (accept(json!([{}])), &["spec.exportV4[0].operations[0]"]),
            (
                accept(json!([{ "setPriority": {} }])),
                &["spec.exportV4[0].operations[0].setPriority.value"],
            ),
            (
                accept(json!([{ "prependASPath": { "prefix": vec![1; 11] } }])),
                &["spec.exportV4[0].operations[0].prependASPath.prefix"],
            ),
            (
                accept(json!([{ "addCommunity": { "value": "x" } }])),
                &["spec.exportV4[0].operations[0].addCommunity.value"],
            ),
        ],
    );
}

#[test]
fn felix_configurations() {
    for (field, least, most) in [
        ("debugPort", 0, 65535),
        ("bpfExtToServiceConnmark", 0, 4_294_967_295_i64),
        ("bpfKubeProxyHealthzPort", 0, 65535),
        ("ipv4NormalRoutePriority", 1, 2_147_483_646),
        ("ipv6ElevatedRoutePriority", 1, 2_147_483_646),
        ("wireguardListeningPort", 1, 65535),
        ("wireguardListeningPortV6", 1, 65535),
        ("wireguardRoutingRulePriority", 1, 32765),
        ("bpfMaglevMaxServices", 1, 3000),
        ("logActionRateLimitBurst", 0, 9999),
    ] {
        let name = format!("spec.{field}");
        let cases: [(i64, &[&str]); 4] =
            [(least - 1, &[&name]), (least, &[]), (most, &[]), (most + 1, &[&name])];
        for (number, expected) in cases {
            check(Kind::FelixConfiguration, &[(json!({ field: number }), expected)]);
        }
    }
    let ranges = |min: i64, max: i64| json!({ "routeTableRanges": [{ "min": min, "max": max }] });
    let table = "spec.routeTableRanges[0]";
    check(
        Kind::FelixConfiguration,
        &[
            (json!({ "chainInsertMode": "append", "bpfLogLevel": "OFF" }), &[]),
            (json!({ "bpfEnforceRPF": "Half" }), &["spec.bpfEnforceRPF"]),
            (json!({ "iptablesBackend": "nft" }), &["spec.iptablesBackend"]),
            (json!({ "reportingInterval": "-5s" }), &["spec.reportingInterval"]),
            (json!({ "reportingInterval": "1500ms" }), &[]),
            (json!({ "reportingInterval": "5us" }), &["spec.reportingInterval"]),
            (json!({ "natOutgoingAddress": "fd00::1" }), &["NATOutgoingAddress"]),
            (json!({ "deviceRouteSourceAddress": "x" }), &["DeviceRouteSourceAddress"]),
            (
                json!({ "deviceRouteSourceAddressIPv6": "10.0.0.1" }),
                &["DeviceRouteSourceAddressIPv6"],
            ),
            (json!({ "openstackRegion": "A" }), &["OpenstackRegion"]),
            (json!({ "featureDetectOverride": "A=true,B=," }), &[]),
            (json!({ "featureDetectOverride": "A=yes" }), &["spec.featureDetectOverride"]),
            (json!({ "featureGates": "A" }), &["spec.featureGates"]),
            (json!({ "logActionRateLimit": "10/second" }), &[]),
            (json!({ "logActionRateLimit": "0/second" }), &["spec.logActionRateLimit"]),
            (json!({ "logPrefix": "a;b" }), &["spec.logPrefix"]),
            (json!({ "prometheusMetricsHost": "a b" }), &["PrometheusMetricsHost"]),
            (
                json!({ "bpfConntrackTimeouts": { "tcpSynSent": "Auto", "udpTimeout": "x" } }),
                &["spec.bpfConntrackTimeouts.udpTimeout"],
            ),
            (json!({ "bpfLogFilters": { "all": "", "a/b": "" } }), &["BPFLogFilters"]),
            (json!({ "externalNodesList": ["10.0.0.0/8", "10.0.0.1"] }), &[]),
            (json!({ "externalNodesList": ["fd00::/8"] }), &["ExternalNodesCIDRList"]),
            (json!({ "kubeNodePortRanges": ["http"] }), &["KubeNodePortRanges"]),
            (json!({ "kubeNodePortRanges": [1, 2, 3, 4, 5, 6, 7, 8] }), &["KubeNodePortRanges"]),
            (
                json!({ "failsafeInboundHostPorts": [{ "protocol": "tcp", "port": 1 }] }),
                &["ProtoPort.Protocol"],
            ),
            (
                json!({ "failsafeInboundHostPorts": [{ "protocol": "TCP", "port": 1, "net": "x" }] }),
                &["spec.failsafeInboundHostPorts[0].net"],
            ),
            (
                json!({ "healthTimeoutOverrides": [{ "name": "a/b", "timeout": "1s" }] }),
                &["HealthTimeoutOverride.Name"],
            ),
            (json!({ "natPortRange": 0 }), &["NATPortRange"]),
            (ranges(1, 250), &[]),
            (ranges(0, 1), &[table]),
            (ranges(9, 8), &[table]),
            (ranges(1, 65536), &["RouteTableRanges"]),
            (json!({ "routeTableRange": { "min": 1, "max": 250 } }), &[]),
            (json!({ "routeTableRange": { "min": 1, "max": 251 } }), &["RouteTableRange"]),
            (
                json!({ "routeTableRange": { "min": 1, "max": 2 }, "routeTableRanges": [] }),
                &["RouteTableRange"],
            ),
            (json!({ "nodeSelector": "all()" }), &["spec.nodeSelector"]),
        ],
    );
    let selected = json!({ "nodeSelector": "all()" });
    assert_eq!(complaints(Kind::FelixConfiguration, "node.a", selected.clone()).len(), 1);
    assert_eq!(complaints(Kind::FelixConfiguration, "racks", selected).len(), 0);
}

#[test]
fn the_deprecated_switch_of_load_balancing_decides() {
    for (switch, mode) in [(true, "Enabled"), (false, "Disabled")] {
        let spec = json!({ "bpfConnectTimeLoadBalancingEnabled": switch });
        let mut object = AnyResource::new(Kind::FelixConfiguration, "default", spec);
        object.default_on_write();
        assert_eq!(object.spec["bpfConnectTimeLoadBalancing"], mode);
        assert_eq!(object.spec["bpfHostNetworkedNATWithoutCTLB"], "Disabled");
    }
}

#[test]
fn controllers_and_reports() {
    check(
        Kind::KubeControllersConfiguration,
        &[
            (
                json!({ "controllers": { "loadBalancer": { "assignIPs": "Some" } } }),
                &["spec.controllers.loadBalancer.assignIPs"],
            ),
            (json!({ "prometheusMetricsPort": 65536 }), &["spec.prometheusMetricsPort"]),
            (
                json!({ "controllers": { "node": { "hostEndpoint": { "templates":
                    [{ "labels": { "a b": "" }, "nodeSelector": "(", "interfaceCIDRs": ["x"] }] } } } }),
                &[
                    "spec.controllers.node.hostEndpoint.templates[0].interfaceCIDRs[0]",
                    "Labels",
                    "NodeSelector",
                ],
            ),
        ],
    );
    let said = complaints(Kind::KubeControllersConfiguration, "other", json!({}));
    assert_eq!(said, ["Metadata.Name = 'other' (the name must be 'default')"]);
    check(
        Kind::CalicoNodeStatus,
        &[
            (json!({ "node": "a", "updatePeriodSeconds": 0 }), &[]),
            (json!({ "node": "A", "updatePeriodSeconds": 1 }), &["Node"]),
        ],
    );
    let mut set = AnyResource::new(Kind::NetworkSet, "s", json!({}));
    set.metadata.labels.insert("projectcalico.org/namespace".to_owned(), "a".to_owned());
    let mut errors = FieldErrors::default();
    set.validate(None, &mut errors);
    assert!(errors.into_result(String::new()).is_err());
}

#[test]
fn rules_of_policies() {
    let rule = |rule: Value| json!({ "ingress": [rule] });
    let egress = |rule: Value| json!({ "egress": [rule] });
    let from = |source: Value| rule(json!({ "action": "Allow", "source": source }));
    let many_ports: Vec<u16> = (1..=51).collect();
    let many_rules: Vec<Value> = (0..1025).map(|_| json!({ "action": "Allow" })).collect();
    check(
        Kind::GlobalNetworkPolicy,
        &[
            (from(json!({ "namespaceSelector": " global() " })), &[]),
            (from(json!({ "namespaceSelector": "global() || a == 'b'" })), &["NamespaceSelector"]),
            (from(json!({ "namespaceSelector": "a ==" })), &["NamespaceSelector"]),
            (from(json!({ "selector": "global()" })), &["Selector"]),
            (from(json!({ "selector": "x".repeat(1025) })), &["Selector"]),
            (json!({ "namespaceSelector": "global()" }), &["NamespaceSelector"]),
            (from(json!({ "notNets": ["0.0.0.0/0"] })), &["Source.NotNets"]),
            (from(json!({ "nets": ["10.0.0.0/8", "10.0.0.0/8"] })), &["Nets"]),
            (
                rule(json!({ "action": "Deny", "source": { "nets": ["10.0.0.0/8"] },
                    "destination": { "notNets": ["fd00::/8"] } })),
                &["Destination.NotNets"],
            ),
            (
                rule(json!({ "action": "Allow", "protocol": 6,
                    "destination": { "ports": many_ports } })),
                &["spec.ingress[0].destination.ports"],
            ),
            (rule(json!({ "action": "Allow", "protocol": "6", "source": { "ports": [1] } })), &[]),
            (
                rule(
                    json!({ "action": "Allow", "protocol": "UDPLite", "source": { "notPorts": [1] } }),
                ),
                &["Source.NotPorts"],
            ),
            (
                rule(json!({ "action": "Allow", "notProtocol": "ICMP", "ipVersion": 6 })),
                &["spec.ingress[0]"],
            ),
            (rule(json!({ "action": "Allow", "protocol": 1, "icmp": {} })), &["spec.ingress[0]"]),
            (json!({ "ingress": many_rules }), &["spec.ingress"]),
            (from(json!({ "services": { "namespace": "b" } })), &["Services"]),
            (from(json!({ "services": { "name": "a" } })), &["Namespace"]),
            (
                from(
                    json!({ "services": { "name": "a", "namespace": "b" }, "notSelector": "all()" }),
                ),
                &["Services"],
            ),
            (
                egress(json!({ "action": "Allow",
                    "source": { "services": { "name": "a", "namespace": "b" } } })),
                &["Services"],
            ),
            (
                from(json!({ "serviceAccounts": { "names": ["A"], "selector": "(" } })),
                &["Names[0]", "Selector"],
            ),
            (rule(json!({ "action": "Deny", "http": { "methods": ["GET"] } })), &["HTTP"]),
            (egress(json!({ "action": "Allow", "http": {} })), &["HTTP"]),
            (rule(json!({ "action": "Allow", "protocol": "UDP", "http": {} })), &["Protocol"]),
            (rule(json!({ "action": "Allow", "http": { "paths": [{}] } })), &["Paths"]),
            (
                rule(json!({ "action": "Allow", "http": { "paths": [{ "prefix": "/a?b" }] } })),
                &["Paths"],
            ),
            (
                rule(json!({ "action": "Allow", "metadata": { "annotations": { "a b": "" } } })),
                &["Metadata.Annotations"],
            ),
            (json!({ "doNotTrack": true, "applyOnForward": true }), &[]),
            (
                json!({ "preDNAT": true, "applyOnForward": true, "types": ["Egress"] }),
                &["spec.types"],
            ),
            (json!({ "performanceHints": ["x"] }), &["spec.performanceHints[0]"]),
        ],
    );
    let said = complaints(
        Kind::GlobalNetworkPolicy,
        "g",
        rule(json!({ "action": "Allow", "protocol": "ICMP", "icmp": { "type": 256 } })),
    );
    assert_eq!(said, ["Type = '256' (must be 0 to 254) at spec.ingress[0].icmp.type"]);
    check(Kind::NetworkPolicy, &[(from(json!({ "services": { "name": "a" } })), &[])]);
}

#[test]
fn names_and_stages_of_policies() {
    let named = |kind, name: &str| complaints(kind, name, json!({})).len();
    for (name, namespaced, global) in [
        ("a", 0, 0),
        ("t.a", 0, 0),
        ("a.b.c", 1, 1),
        ("knp.default.a.b", 0, 1),
        ("ossg.default.a.b", 0, 1),
        ("knp.other.a", 1, 1),
    ] {
        assert_eq!(named(Kind::NetworkPolicy, name), namespaced, "{name}");
        assert_eq!(named(Kind::StagedNetworkPolicy, name), namespaced, "{name}");
        assert_eq!(named(Kind::GlobalNetworkPolicy, name), global, "{name}");
        assert_eq!(named(Kind::StagedGlobalNetworkPolicy, name), global, "{name}");
    }
    let deletes = |extra: Value| {
        let mut spec = json!({ "stagedAction": "Delete" });
        spec.as_object_mut().unwrap().extend(extra.as_object().cloned().unwrap_or_default());
        spec
    };
    check(
        Kind::StagedNetworkPolicy,
        &[
            (deletes(json!({ "tier": "t" })), &[]),
            (deletes(json!({ "order": 0 })), &["StagedNetworkPolicySpec"]),
        ],
    );
    check(
        Kind::StagedKubernetesNetworkPolicy,
        &[
            (deletes(json!({})), &[]),
            (
                deletes(json!({ "podSelector": { "matchLabels": { "a": "b" } } })),
                &["StagedKubernetesNetworkPolicySpec"],
            ),
        ],
    );
}
