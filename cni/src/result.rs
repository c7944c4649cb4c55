//! The result of ADD in its canonical form, which is that of 1.1.0, and its way to and from JSON of
//! every version (`cni-plugin.md` section 3.9).
//!
//! Results of 1.x have their members in alphabetical order, as upstream prints them: hence the
//! order of the fields.

mod v02;
mod v03;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{Error, Version, code, json};

/// What an ADD made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddResult {
    /// How names are resolved.
    #[serde(rename = "dns", default, skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// The interfaces that were made, inside the container and outside.
    #[serde(rename = "interfaces", default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// The addresses that were assigned.
    #[serde(rename = "ips", default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// The routes that were made in the container.
    #[serde(rename = "routes", default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The hardware address; empty if there is none to tell.
    #[serde(rename = "mac", default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The MTU in bytes (1.1.0; upstream also writes it in 1.0.0).
    #[serde(rename = "mtu", default, skip_serializing_if = "is_none_or_zero")]
    pub mtu: Option<u32>,
    /// The name.
    #[serde(rename = "name", default)]
    pub name: String,
    /// The PCI address of the device behind it, if it has one (1.1.0).
    #[serde(rename = "pciID", default, skip_serializing_if = "String::is_empty")]
    pub pci_id: String,
    /// The path of its network namespace; empty for the host's.
    #[serde(rename = "sandbox", default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
    /// The path of its socket, if it has one (1.1.0).
    #[serde(rename = "socketPath", default, skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// The address with its prefix length; the bits of the host stay.
    #[serde(rename = "address")]
    pub address: IpNet,
    /// The default gateway of the subnet.
    #[serde(
        rename = "gateway",
        default,
        deserialize_with = "address_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub gateway: Option<IpAddr>,
    /// Which of [`AddResult::interfaces`] has it.
    #[serde(rename = "interface", default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route in the container. All but `dst` and `gw` came with 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The maximal segment size that TCP advertises.
    #[serde(rename = "advmss", default, skip_serializing_if = "is_none_or_zero")]
    pub advmss: Option<u32>,
    /// The destination; the bits of the host stay, as IPAM plugins put the address itself here.
    #[serde(rename = "dst")]
    pub dst: IpNet,
    /// The next hop; without one it is up to the plugin.
    #[serde(
        rename = "gw",
        default,
        deserialize_with = "address_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// The MTU along the path.
    #[serde(rename = "mtu", default, skip_serializing_if = "is_none_or_zero")]
    pub mtu: Option<u32>,
    /// The metric: lower is preferred.
    #[serde(rename = "priority", default, skip_serializing_if = "is_none_or_zero")]
    pub priority: Option<u32>,
    /// The scope, as the kernel numbers it.
    #[serde(rename = "scope", default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
    /// The routing table.
    #[serde(rename = "table", default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

/// How the container resolves names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The local domain, for short names.
    #[serde(rename = "domain", default, skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Servers by address, in order of preference.
    #[serde(rename = "nameservers", default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Options of the resolver.
    #[serde(rename = "options", default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Domains to search for short names, in order of preference.
    #[serde(rename = "search", default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
}

impl Route {
    /// A route with a destination and nothing else.
    pub fn to(dst: IpNet) -> Self {
        Route { advmss: None, dst, gw: None, mtu: None, priority: None, scope: None, table: None }
    }
}

impl IpConfig {
    /// An address of no interface yet, without a gateway.
    pub fn new(address: IpNet) -> Self {
        IpConfig { address, gateway: None, interface: None }
    }
}

impl Dns {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

/// A result of 1.x as it stands on standard output.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(flatten)]
    result: &'a AddResult,
}

impl AddResult {
    /// The result in a version of the protocol, indented as upstream does, with no final newline.
    ///
    /// Older versions lose what they can't express. A result without any address can't be expressed
    /// at all before 0.3.0: code 1.
    pub fn to_json(&self, version: Version) -> Result<String, Error> {
        let cni_version = version.as_str();
        match version {
            Version::V0_1_0 | Version::V0_2_0 => {
                v02::Answer::new(self, version).map(|answer| json::pretty(&answer))
            }
            Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => {
                Ok(json::pretty(&v03::Answer::new(self, version)))
            }
            // COMPAT: upstream has one type for both, so 1.0.0 also carries what 1.1.0 added.
            Version::V1_0_0 | Version::V1_1_0 => {
                Ok(json::pretty(&Answer { cni_version, result: self }))
            }
        }
    }

    /// Reads a result of any version, which its `cniVersion` tells, else it is `fallback`.
    ///
    /// Codes: 6 if the bytes are no such result, 1 if their version is unknown.
    pub fn from_json(bytes: &[u8], fallback: Version) -> Result<Self, Error> {
        let value = json::decode(bytes).map_err(|cause| undecodable(&cause.to_string()))?;
        AddResult::from_value(value, fallback)
    }

    /// The same for a document that is decoded already.
    pub(crate) fn from_value(value: Value, fallback: Version) -> Result<Self, Error> {
        if !value.is_object() {
            return Err(undecodable("it is no object"));
        }
        let version = match json::member(&value, "cniVersion") {
            None => fallback,
            Some(Value::String(version)) if version.is_empty() => fallback,
            Some(Value::String(version)) => version.parse().map_err(|cause| {
                Error::new(code::INCOMPATIBLE_VERSION, format!("result of ADD: {cause}"))
            })?,
            Some(_) => return Err(undecodable("cniVersion must be a string")),
        };
        match version {
            Version::V0_1_0 | Version::V0_2_0 => {
                json::typed::<v02::Received>(value).map(AddResult::from)
            }
            Version::V0_3_0
            | Version::V0_3_1
            | Version::V0_4_0
            | Version::V1_0_0
            | Version::V1_1_0 => json::typed(value),
        }
        .map_err(|cause| undecodable(&cause))
    }
}

fn undecodable(cause: &str) -> Error {
    Error::new(code::DECODING_FAILURE, format!("result of ADD can't be decoded: {cause}"))
}

fn is_none_or_zero(number: &Option<u32>) -> bool {
    number.is_none_or(|number| number == 0)
}

/// An address, for which Go also takes the empty text.
fn address_or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &"an IP address")
    })
}

#[cfg(test)]
mod tests;
