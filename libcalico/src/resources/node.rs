//! Node: a host and what BGP, tunnels and selectors need to know of it
//! (`reference/datamodel.md` section 7.3).

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize};

use super::codec::null_as_default;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// A host.
pub type Node = Resource<NodeSpec>;

/// What is set of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// How it speaks BGP.
    #[serde(rename = "bgp", skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgpSpec>,
    /// The address of its IPv4 VXLAN device.
    #[serde(
        rename = "ipv4VXLANTunnelAddr",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_vxlan_tunnel_addr: String,
    /// The MAC of its IPv4 VXLAN device.
    #[serde(
        rename = "vxlanTunnelMACAddr",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub vxlan_tunnel_mac_addr: String,
    /// The address of its IPv6 VXLAN device.
    #[serde(
        rename = "ipv6VXLANTunnelAddr",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_vxlan_tunnel_addr: String,
    /// The MAC of its IPv6 VXLAN device.
    #[serde(
        rename = "vxlanTunnelMACAddrV6",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub vxlan_tunnel_mac_addr_v6: String,
    /// What other systems call it.
    #[serde(
        rename = "orchRefs",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub orch_refs: Vec<OrchRef>,
    /// Its WireGuard devices.
    #[serde(rename = "wireguard", skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<NodeWireguardSpec>,
    /// Its addresses.
    #[serde(
        rename = "addresses",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub addresses: Vec<NodeAddress>,
    /// Its interfaces.
    #[serde(
        rename = "interfaces",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub interfaces: Vec<NodeInterface>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How a node speaks BGP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeBgpSpec {
    /// Its AS; the cluster's when absent.
    #[serde(rename = "asNumber", skip_serializing_if = "Option::is_none")]
    pub as_number: Option<AsNumber>,
    /// Its IPv4 address, with or without a prefix length.
    #[serde(
        rename = "ipv4Address",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_address: String,
    /// Its IPv6 address, with or without a prefix length.
    #[serde(
        rename = "ipv6Address",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_address: String,
    /// The address of its IPIP device.
    #[serde(
        rename = "ipv4IPIPTunnelAddr",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_ipip_tunnel_addr: String,
    /// Makes it a route reflector of this cluster, in the form of an IPv4 address.
    #[serde(
        rename = "routeReflectorClusterID",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub route_reflector_cluster_id: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An AS number: written as a number, also read as `"64512"` or `"1.10"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AsNumber(pub u32);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsNumber, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u32),
            Text(String),
        }
        let parse = |text: &str| match text.split_once('.') {
            Some((high, low)) => {
                let (high, low) = (high.parse::<u16>().ok()?, low.parse::<u16>().ok()?);
                Some(u32::from(high) << 16 | u32::from(low))
            }
            None => text.parse().ok(),
        };
        match Form::deserialize(deserializer)? {
            Form::Number(number) => Ok(AsNumber(number)),
            Form::Text(text) => parse(&text).map(AsNumber).ok_or_else(|| {
                serde::de::Error::custom(format!("AS number {text:?} is not of the form 1 or 1.2"))
            }),
        }
    }
}

/// What another system calls a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrchRef {
    /// The name there.
    #[serde(
        rename = "nodeName",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub node_name: String,
    /// The other system, like `k8s`.
    #[serde(rename = "orchestrator", deserialize_with = "null_as_default")]
    pub orchestrator: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The addresses of a node's WireGuard devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeWireguardSpec {
    /// Of the IPv4 device.
    #[serde(
        rename = "interfaceIPv4Address",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub interface_ipv4_address: String,
    /// Of the IPv6 device.
    #[serde(
        rename = "interfaceIPv6Address",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub interface_ipv6_address: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An address of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// The address, with or without a prefix length.
    #[serde(rename = "address", deserialize_with = "null_as_default")]
    pub address: String,
    /// `CalicoNodeIP`, `InternalIP` or `ExternalIP`.
    #[serde(
        rename = "type",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An interface of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeInterface {
    /// Its name.
    #[serde(
        rename = "name",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Its addresses.
    #[serde(
        rename = "addresses",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub addresses: Vec<String>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a node reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its WireGuard key for IPv4.
    #[serde(
        rename = "wireguardPublicKey",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub wireguard_public_key: String,
    /// Its WireGuard key for IPv6.
    #[serde(
        rename = "wireguardPublicKeyV6",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub wireguard_public_key_v6: String,
    /// The ranges that Kubernetes gave it.
    #[serde(
        rename = "podCIDRs",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pod_cidrs: Vec<String>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;
    type Status = NodeStatus;
    const STATUS_ALWAYS: bool = true;

    fn validate(new: &Node, _old: Option<&Node>, errors: &mut FieldErrors) {
        validate_keys(new, errors);
        let tunnel = &new.spec.ipv4_vxlan_tunnel_addr;
        errors.check(is_v4(tunnel), "IPv4VXLANTunnelAddr", tunnel, IPV4);
        let tunnel = &new.spec.ipv6_vxlan_tunnel_addr;
        errors.check(is_v6(tunnel), "IPv6VXLANTunnelAddr", tunnel, IPV6);
        let Some(bgp) = &new.spec.bgp else { return };
        if *bgp == NodeBgpSpec::default() {
            errors.add("BGP", "{}", "Spec.BGP should not be empty");
        }
        let (v4, v6) = (&bgp.ipv4_address, &bgp.ipv6_address);
        errors.check(is_v4(v4) || v4.parse::<Ipv4Net>().is_ok(), "IPv4Address", v4, IPV4);
        errors.check(is_v6(v6) || v6.parse::<Ipv6Net>().is_ok(), "IPv6Address", v6, IPV6);
        let tunnel = &bgp.ipv4_ipip_tunnel_addr;
        errors.check(is_v4(tunnel), "IPv4IPIPTunnelAddr", tunnel, IPV4);
        let cluster = &bgp.route_reflector_cluster_id;
        errors.check(is_v4(cluster), "RouteReflectorClusterID", cluster, IPV4);
    }
}

const IPV4: &str = "must be an IPv4 address";
const IPV6: &str = "must be an IPv6 address";

/// Empty or an IPv4 address.
fn is_v4(text: &str) -> bool {
    text.is_empty() || text.parse::<Ipv4Addr>().is_ok()
}

/// Empty or an IPv6 address.
fn is_v6(text: &str) -> bool {
    text.is_empty() || text.parse::<Ipv6Addr>().is_ok()
}

/// WireGuard keys are 32 bytes in base64.
fn validate_keys(node: &Node, errors: &mut FieldErrors) {
    let Some(status) = &node.status else { return };
    for (field, key) in [
        ("WireguardPublicKey", &status.wireguard_public_key),
        ("WireguardPublicKeyV6", &status.wireguard_public_key_v6),
    ] {
        let bytes = STANDARD.decode(key).unwrap_or_default();
        errors.check(key.is_empty() || bytes.len() == 32, field, key, "must be a WireGuard key");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::decode;

    #[test]
    fn as_numbers_are_read_in_every_form() {
        for (json, number) in [("64512", 64512), ("\"64999\"", 64999), ("\"1.10\"", 65546)] {
            assert_eq!(decode::<AsNumber>(json.as_bytes()).unwrap(), AsNumber(number));
        }
        for json in ["4294967296", "-1", "\"1.65536\"", "\"x\"", "1.5"] {
            assert!(decode::<AsNumber>(json.as_bytes()).is_err(), "{json}");
        }
    }
}
