//! HostEndpoint (`reference/datamodel.md` section 7.8).

use super::super::form::*;
use super::super::view::View;
use crate::resources::AnyResource;
use crate::resources::schema::field::Check::{Form, MaxLength, Protocol, Range, Required};
use crate::resources::schema::field::{Field, byte_or_name, list, natural, object, text};
use crate::resources::validation::FieldErrors;

pub(super) const SPEC: &[Field] = &[
    text("node").called("Node").checked(&[Form(is_name, NAME)]),
    text("interfaceName")
        .called("InterfaceName")
        .checked(&[Form(is_interface, INTERFACE), MaxLength(15)]),
    list("expectedIPs", &text("").checked(&[Form(is_ip, IP)])).called("ExpectedIPs"),
    list("profiles", &text("").checked(&[Form(is_name, NAME)])).called("Profiles"),
    list("ports", &object("", PORT)),
];

const PORT: &[Field] = &[
    text("name").always().called("Name").checked(&[Required, Form(is_port_name, PORT_NAME)]),
    byte_or_name("protocol").always().called("Protocol").checked(&[Protocol]),
    natural("port", 65535).always().called("Port").checked(&[Range(1, 65535)]),
];

/// Rules across fields.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let spec = View(&object.spec);
    let node = spec.text("node");
    errors.check(!node.is_empty(), "spec.node", node, "must be the node that has the interface");
    if spec.text("interfaceName").is_empty() && spec.list("expectedIPs").is_empty() {
        let reason = "needs an interfaceName, which may be *, or expectedIPs";
        errors.add("spec", "", reason);
    }
    for (at, port) in spec.list("ports").iter().enumerate() {
        // What is no protocol at all has its own error.
        let protocol = View(port).shown("protocol");
        if matches!(protocol.as_str(), "ICMP" | "ICMPv6" | "UDPLite" | "1" | "58" | "136") {
            let (path, reason) =
                (format!("spec.ports[{at}].protocol"), "has no ports: use TCP, UDP or SCTP");
            errors.add_at(path, "EndpointPort.Protocol", protocol, reason);
        }
    }
}
