//! Results of 0.3.0, 0.3.1 and 0.4.0: addresses carry their family, interfaces have no MTU, `dns`
//! is always there, and upstream prints the members in another order than in 1.x.
//!
//! These types only write. For reading, the types of 1.1.0 do: `ips[].version` is what the address
//! tells anyway.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{AddResult, is_none_or_zero};
use crate::Version;

#[derive(Serialize)]
pub(super) struct Answer<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(rename = "interfaces", skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface<'a>>,
    #[serde(rename = "ips", skip_serializing_if = "Vec::is_empty")]
    ips: Vec<IpConfig>,
    #[serde(rename = "routes", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(rename = "dns")]
    dns: Dns,
}

#[derive(Serialize)]
struct Interface<'a> {
    #[serde(rename = "name")]
    name: &'a str,
    #[serde(rename = "mac", skip_serializing_if = "str::is_empty")]
    mac: &'a str,
    #[serde(rename = "sandbox", skip_serializing_if = "str::is_empty")]
    sandbox: &'a str,
}

#[derive(Serialize)]
struct IpConfig {
    #[serde(rename = "version")]
    version: &'static str,
    #[serde(rename = "interface", skip_serializing_if = "Option::is_none")]
    interface: Option<usize>,
    #[serde(rename = "address")]
    address: IpNet,
    #[serde(rename = "gateway", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// COMPAT: upstream's route is one type for all versions since 0.3.0, so the attributes of 1.1.0
/// are kept.
#[derive(Serialize)]
struct Route {
    #[serde(rename = "dst")]
    dst: IpNet,
    #[serde(rename = "gw", skip_serializing_if = "Option::is_none")]
    gw: Option<IpAddr>,
    #[serde(rename = "mtu", skip_serializing_if = "is_none_or_zero")]
    mtu: Option<u32>,
    #[serde(rename = "advmss", skip_serializing_if = "is_none_or_zero")]
    advmss: Option<u32>,
    #[serde(rename = "priority", skip_serializing_if = "is_none_or_zero")]
    priority: Option<u32>,
    #[serde(rename = "table", skip_serializing_if = "Option::is_none")]
    table: Option<u32>,
    #[serde(rename = "scope", skip_serializing_if = "Option::is_none")]
    scope: Option<u8>,
}

/// The DNS member of every version before 1.0.0.
#[derive(Serialize)]
pub(super) struct Dns {
    #[serde(rename = "nameservers", skip_serializing_if = "Vec::is_empty")]
    nameservers: Vec<String>,
    #[serde(rename = "domain", skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(rename = "search", skip_serializing_if = "Vec::is_empty")]
    search: Vec<String>,
    #[serde(rename = "options", skip_serializing_if = "Vec::is_empty")]
    options: Vec<String>,
}

impl<'a> Answer<'a> {
    pub(super) fn new(result: &'a AddResult, version: Version) -> Self {
        Answer {
            cni_version: version.as_str(),
            interfaces: result.interfaces.iter().map(Interface::from).collect(),
            ips: result.ips.iter().map(IpConfig::from).collect(),
            routes: result.routes.iter().map(Route::from).collect(),
            dns: Dns::from(&result.dns),
        }
    }
}

impl<'a> From<&'a super::Interface> for Interface<'a> {
    fn from(from: &'a super::Interface) -> Self {
        Interface { name: &from.name, mac: &from.mac, sandbox: &from.sandbox }
    }
}

impl From<&super::IpConfig> for IpConfig {
    fn from(from: &super::IpConfig) -> Self {
        let version = match from.address {
            IpNet::V4(_) => "4",
            IpNet::V6(_) => "6",
        };
        IpConfig {
            version,
            interface: from.interface,
            address: from.address,
            gateway: from.gateway,
        }
    }
}

impl From<&super::Route> for Route {
    fn from(from: &super::Route) -> Self {
        Route {
            dst: from.dst,
            gw: from.gw,
            mtu: from.mtu,
            advmss: from.advmss,
            priority: from.priority,
            table: from.table,
            scope: from.scope,
        }
    }
}

impl From<&super::Dns> for Dns {
    fn from(from: &super::Dns) -> Self {
        Dns {
            nameservers: from.nameservers.clone(),
            domain: from.domain.clone(),
            search: from.search.clone(),
            options: from.options.clone(),
        }
    }
}
