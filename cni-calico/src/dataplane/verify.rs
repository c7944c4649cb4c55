//! CHECK of the kernel's part (`reference/cni-plugin.md` section 5.8). What later plugins of a chain
//! add is none of our business; what ADD made must still be there.

use std::net::IpAddr;

use cni::{Error, code};
use ipnet::IpNet;
use netutils::sysctl::Setting;
use netutils::{Link, Mac, NetlinkError, RouteFilter};

use crate::host_link;

use super::settings::{self, Changed};
use super::{GATEWAY_V4, HOST_MAC, Routing, Sockets, fault, gateway_v6, host_end, netns_fault};

/// The container's interface is missing, down, or not as it was made.
pub const CONTAINER_LINK: u32 = code::CHECK + 1;
/// An address is missing in the container.
pub const ADDRESS: u32 = code::CHECK + 2;
/// A route or the neighbour of the next hop is missing in the container.
pub const ROUTE: u32 = code::CHECK + 3;
/// The host's end is missing, down, or belongs to another container.
pub const HOST_LINK: u32 = code::CHECK + 4;
/// The host doesn't route an address to the container.
pub const HOST_ROUTE: u32 = code::CHECK + 5;
/// A kernel setting was changed.
pub const SETTING: u32 = code::CHECK + 6;

/// What ADD made.
pub struct Expected<'a> {
    /// The interface in the container.
    pub ifname: &'a str,
    /// Its MAC, where it is known.
    pub mac: Option<Mac>,
    /// Its MTU, where one was configured.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// The host's end.
    pub host_link: &'a str,
    /// What is routed where.
    pub routing: &'a Routing,
    /// Whether it may send from addresses that aren't its own.
    pub may_spoof: bool,
}

impl Sockets {
    /// Everything that is not as ADD made it.
    pub async fn verify(&self, expected: &Expected<'_>) -> Result<Vec<Error>, Error> {
        let mut findings = Vec::new();
        let found = self.verify_all(expected, &mut findings).await;
        let host = found.map_err(|error| fault(&error))?;
        self.verify_settings(expected, host.as_ref(), &mut findings)?;
        Ok(findings)
    }

    /// All but the settings; answers the host's end.
    async fn verify_all(
        &self,
        expected: &Expected<'_>,
        findings: &mut Vec<Error>,
    ) -> Result<Option<Link>, NetlinkError> {
        let Expected { ifname, host_link, .. } = *expected;
        let shown = self.netns.path().display();
        let container = self.container.link(ifname).await?;
        let host = self.host.link(host_link).await?;
        // A pair of upstream's making has less.
        let marked = host.as_ref().is_some_and(|link| host_link::marked(link).is_some());
        match &container {
            None => findings.push(Error::new(
                CONTAINER_LINK,
                format!("interface {ifname} is missing in {shown}: restart the container"),
            )),
            Some(link) => {
                self.verify_container_link(expected, link, findings);
                self.verify_addresses(expected, link, findings).await?;
                self.verify_routes(expected, link, marked, findings).await?;
            }
        }
        let Some(host) = host else {
            findings.push(Error::new(
                HOST_LINK,
                format!("the host's interface {host_link} is missing: restart the container"),
            ));
            return Ok(None);
        };
        self.verify_host_link(&host, container.as_ref(), findings).await?;
        if expected.routing.from_host {
            self.verify_host_routes(expected, &host, findings).await?;
        }
        Ok(Some(host))
    }

    /// The settings of both ends, as far as nobody else may have changed them.
    fn verify_settings(
        &self,
        expected: &Expected<'_>,
        host: Option<&Link>,
        findings: &mut Vec<Error>,
    ) -> Result<(), Error> {
        let Expected { addresses, ifname, routing, may_spoof, .. } = *expected;
        let v4 = addresses.iter().any(IpAddr::is_ipv4);
        let v6 = addresses.iter().any(IpAddr::is_ipv6);
        if let Some(host) = host {
            let rp_filter = host_link::marked(host).is_some() && !may_spoof;
            let changed =
                settings::changed(settings::checked_of_host(&host.name, v4, v6, rp_filter));
            findings.extend(changed.iter().map(|changed| setting(changed, "")));
        }
        let wanted = settings::checked_of_container(ifname, v4, v6, routing.forwarding);
        let changed = self.netns.visited(|| settings::changed(wanted));
        let changed = changed.map_err(|error| netns_fault(&error))?;
        findings.extend(changed.iter().map(|changed| setting(changed, " in the container")));
        Ok(())
    }

    fn verify_container_link(
        &self,
        expected: &Expected<'_>,
        link: &Link,
        findings: &mut Vec<Error>,
    ) {
        let mut finding = |message: String| findings.push(Error::new(CONTAINER_LINK, message));
        let name = &link.name;
        if !link.up {
            finding(format!("interface {name} is down in the container: switch it on"));
        }
        if let (Some(mac), Some(there)) = (expected.mac, link.mac)
            && mac != there
        {
            finding(format!("interface {name} of the container has MAC {there} instead of {mac}"));
        }
        if let Some(mtu) = expected.mtu
            && mtu != link.mtu
        {
            let there = link.mtu;
            finding(format!("interface {name} of the container has MTU {there} instead of {mtu}"));
        }
    }

    async fn verify_addresses(
        &self,
        expected: &Expected<'_>,
        link: &Link,
        findings: &mut Vec<Error>,
    ) -> Result<(), NetlinkError> {
        let present = self.container.addresses(link.index).await?;
        for address in expected.addresses {
            let net = IpNet::from(*address);
            if !present.iter().any(|there| there.net == net) {
                findings.push(Error::new(
                    ADDRESS,
                    format!("address {net} is missing on {} in the container", link.name),
                ));
            }
        }
        Ok(())
    }

    async fn verify_routes(
        &self,
        expected: &Expected<'_>,
        link: &Link,
        marked: bool,
        findings: &mut Vec<Error>,
    ) -> Result<(), NetlinkError> {
        let filter = RouteFilter { oif: Some(link.index), ..RouteFilter::default() };
        let routes = self.container.routes(filter).await?;
        let neighbours = self.container.neighbours(link.index).await?;
        let gateways = [IpAddr::V4(GATEWAY_V4), IpAddr::V6(gateway_v6())];
        for gateway in gateways {
            if !expected.addresses.iter().any(|ip| ip.is_ipv4() == gateway.is_ipv4()) {
                continue;
            }
            for dst in expected.routing.destinations_of(gateway) {
                if !routes.iter().any(|route| route.gateway == Some(gateway) && route.dst == *dst) {
                    let name = &link.name;
                    let message =
                        format!("no route of {name} in the container leads to {dst} by {gateway}");
                    findings.push(Error::new(ROUTE, message));
                }
            }
            let neighbour = neighbours.iter().find(|neighbour| neighbour.ip == gateway);
            let right = match neighbour {
                Some(neighbour) if marked => neighbour.permanent && neighbour.mac == Some(HOST_MAC),
                Some(neighbour) => neighbour.mac.is_none_or(|mac| mac == HOST_MAC),
                // A container of upstream's making asks for it.
                None => !marked,
            };
            if !right {
                findings.push(Error::new(
                    ROUTE,
                    format!(
                        "{gateway} is no permanent neighbour with MAC {HOST_MAC} in the container: \
                         `ip neigh replace {gateway} lladdr {HOST_MAC} dev {} nud permanent`",
                        link.name
                    ),
                ));
            }
        }
        Ok(())
    }

    async fn verify_host_link(
        &self,
        host: &Link,
        container: Option<&Link>,
        findings: &mut Vec<Error>,
    ) -> Result<(), NetlinkError> {
        let name = &host.name;
        let mut finding = |message: String| findings.push(Error::new(HOST_LINK, message));
        if !host.up {
            finding(format!("the host's interface {name} is down: `ip link set {name} up`"));
        }
        if host.mac != Some(HOST_MAC) {
            tracing::warn!("{name} has another MAC than {HOST_MAC}");
        }
        if let Some(container) = container {
            let end = host_end(&self.host, &self.netns, container).await?;
            if end.is_none_or(|end| end.index != host.index) {
                finding(format!(
                    "the host's interface {name} is not the other end of {} in the container: \
                     restart the container",
                    container.name
                ));
            }
        }
        Ok(())
    }

    async fn verify_host_routes(
        &self,
        expected: &Expected<'_>,
        host: &Link,
        findings: &mut Vec<Error>,
    ) -> Result<(), NetlinkError> {
        for address in expected.addresses {
            let dst = IpNet::from(*address);
            let filter = RouteFilter { dst: Some(dst), ..RouteFilter::default() };
            let routes = self.host.routes(filter).await?;
            if !routes.iter().any(|route| route.oif == Some(host.index)) {
                let name = &host.name;
                findings.push(Error::new(
                    HOST_ROUTE,
                    format!("the host has no route for {dst} through {name}: `ip route add {dst} dev {name} scope link`"),
                ));
            }
        }
        Ok(())
    }
}

fn setting(changed: &Changed, place: &str) -> Error {
    let Changed { setting: Setting { name, value, .. }, found } = changed;
    Error::new(
        SETTING,
        format!(
            "/proc/sys/{name} is {found} instead of {value}{place}: `echo {value} > /proc/sys/{name}`"
        ),
    )
}
