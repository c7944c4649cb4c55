//! Results of 0.1.0 and 0.2.0: one address a family, each with its routes, and no interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AddResult, Dns, v03};
use crate::{Error, Version, code};

#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(rename = "cniVersion")]
    cni_version: &'static str,
    #[serde(rename = "ip4", skip_serializing_if = "Option::is_none")]
    ip4: Option<IpConfig>,
    #[serde(rename = "ip6", skip_serializing_if = "Option::is_none")]
    ip6: Option<IpConfig>,
    #[serde(rename = "dns")]
    dns: v03::Dns,
}

#[derive(Deserialize)]
pub(super) struct Received {
    #[serde(rename = "ip4", default)]
    ip4: Option<IpConfig>,
    #[serde(rename = "ip6", default)]
    ip6: Option<IpConfig>,
    #[serde(rename = "dns", default)]
    dns: Dns,
}

#[derive(Serialize, Deserialize)]
struct IpConfig {
    #[serde(rename = "ip")]
    ip: IpNet,
    #[serde(
        rename = "gateway",
        default,
        deserialize_with = "super::address_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    gateway: Option<IpAddr>,
    #[serde(rename = "routes", default, skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

#[derive(Serialize, Deserialize)]
struct Route {
    #[serde(rename = "dst")]
    dst: IpNet,
    #[serde(
        rename = "gw",
        default,
        deserialize_with = "super::address_or_empty",
        skip_serializing_if = "Option::is_none"
    )]
    gw: Option<IpAddr>,
}

impl Answer {
    /// Takes the first address of each family and the routes to that family.
    pub(super) fn new(result: &AddResult, version: Version) -> Result<Self, Error> {
        let ip4 = first(result, is_ipv4);
        let ip6 = first(result, |address| !is_ipv4(address));
        if ip4.is_none() && ip6.is_none() {
            return Err(Error::new(
                code::INCOMPATIBLE_VERSION,
                format!(
                    "a result without addresses can't be expressed in cniVersion {version}; \
                     use 0.3.0 or later"
                ),
            ));
        }
        Ok(Answer { cni_version: version.as_str(), ip4, ip6, dns: (&result.dns).into() })
    }
}

fn is_ipv4(net: &IpNet) -> bool {
    matches!(net, IpNet::V4(_))
}

fn first(result: &AddResult, wanted: impl Fn(&IpNet) -> bool) -> Option<IpConfig> {
    let ip = result.ips.iter().find(|ip| wanted(&ip.address))?;
    let routes = result
        .routes
        .iter()
        .filter(|route| wanted(&route.dst))
        .map(|route| Route { dst: route.dst, gw: route.gw })
        .collect();
    Some(IpConfig { ip: ip.address, gateway: ip.gateway, routes })
}

impl From<Received> for AddResult {
    fn from(received: Received) -> Self {
        let mut result = AddResult { dns: received.dns, ..AddResult::default() };
        for ip in [received.ip4, received.ip6].into_iter().flatten() {
            result.ips.push(super::IpConfig { gateway: ip.gateway, ..super::IpConfig::new(ip.ip) });
            result.routes.extend(
                ip.routes
                    .into_iter()
                    .map(|route| super::Route { gw: route.gw, ..super::Route::to(route.dst) }),
            );
        }
        result
    }
}
