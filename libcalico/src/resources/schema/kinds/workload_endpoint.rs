//! WorkloadEndpoint (`reference/datamodel.md` section 7.4). Its rules are those of
//! [`crate::resources::WorkloadEndpointSpec`].

use crate::resources::schema::field::{
    Field, TEXT, byte_or_name, int, list, natural, object, text,
};

pub(super) const SPEC: &[Field] = &[
    text("orchestrator"),
    text("workload"),
    text("node"),
    text("containerID"),
    text("pod"),
    text("endpoint"),
    text("serviceAccountName"),
    list("ipNetworks", TEXT),
    list("ipNATs", &object("", &[text("internalIP").always(), text("externalIP").always()])),
    text("ipv4Gateway"),
    text("ipv6Gateway"),
    list("profiles", TEXT),
    text("interfaceName"),
    text("mac"),
    list("ports", &object("", PORT)),
    list("allowSpoofedSourcePrefixes", TEXT),
    object("qosControls", QOS).kept(),
];

const PORT: &[Field] = &[
    text("name").always(),
    byte_or_name("protocol").always(),
    natural("port", 65535).always(),
    natural("hostPort", 65535).always(),
    text("hostIP").always(),
];

const QOS: &[Field] = &[
    int("ingressBandwidth"),
    int("ingressBurst"),
    int("ingressPeakrate"),
    int("ingressMinburst"),
    int("egressBandwidth"),
    int("egressBurst"),
    int("egressPeakrate"),
    int("egressMinburst"),
    int("ingressPacketRate"),
    int("ingressPacketBurst"),
    int("egressPacketRate"),
    int("egressPacketBurst"),
    int("ingressMaxConnections"),
    int("egressMaxConnections"),
    byte_or_name("dscp").kept(),
];
