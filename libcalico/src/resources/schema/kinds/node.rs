//! Node (`reference/datamodel.md` section 7.3). Its rules are those of
//! [`crate::resources::NodeSpec`].

use crate::resources::schema::field::{Field, TEXT, as_number, list, object, text};

pub(super) const SPEC: &[Field] = &[
    object("bgp", BGP).kept(),
    text("ipv4VXLANTunnelAddr"),
    text("vxlanTunnelMACAddr"),
    text("ipv6VXLANTunnelAddr"),
    text("vxlanTunnelMACAddrV6"),
    list("orchRefs", &object("", ORCH_REF)),
    object("wireguard", WIREGUARD).kept(),
    list("addresses", &object("", ADDRESS)),
    list("interfaces", &object("", INTERFACE)),
];

const BGP: &[Field] = &[
    as_number("asNumber").kept(),
    text("ipv4Address"),
    text("ipv6Address"),
    text("ipv4IPIPTunnelAddr"),
    text("routeReflectorClusterID"),
];

const ORCH_REF: &[Field] = &[text("nodeName"), text("orchestrator").always()];

const WIREGUARD: &[Field] = &[text("interfaceIPv4Address"), text("interfaceIPv6Address")];

const ADDRESS: &[Field] = &[text("address").always(), text("type")];

const INTERFACE: &[Field] = &[text("name"), list("addresses", TEXT)];

pub(super) const STATUS: &[Field] =
    &[text("wireguardPublicKey"), text("wireguardPublicKeyV6"), list("podCIDRs", TEXT)];
