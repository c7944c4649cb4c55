//! Routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteScope, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::error::NetlinkError;
use crate::netlink::{Netlink, Scope};

/// Numbers of routing tables.
pub mod table {
    /// The table of ordinary routes.
    pub const MAIN: u32 = 254;
    /// The table of the host's own addresses.
    pub const LOCAL: u32 = 255;
}

/// Numbers that say who made a route.
pub mod protocol {
    /// The kernel itself.
    pub const KERNEL: u8 = 2;
    /// Made while the system was set up; what Calico's routes of workloads carry.
    pub const BOOT: u8 = 3;
}

/// What happens to a packet that a route matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RouteKind {
    /// It is sent to the next hop.
    #[default]
    Unicast,
    /// It is dropped in silence.
    Blackhole,
    /// Another number of `rtm_type`.
    Other(u8),
}

/// A route. Start from [`Route::to`].
///
/// Of a route with several next hops, reading tells neither gateway nor interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to; bits beyond the prefix are ignored.
    pub dst: IpNet,
    /// The next hop, if it is another machine.
    pub gateway: Option<IpAddr>,
    /// The index of the interface.
    pub oif: Option<u32>,
    /// How far it reaches.
    pub scope: Scope,
    /// What happens to the packet.
    pub kind: RouteKind,
    /// Who made it; see [`protocol`].
    pub protocol: u8,
    /// The table that it is in; see [`table`].
    pub table: u32,
    /// The smaller, the better. The kernel's choice if none: 0 for IPv4, 1024 for IPv6.
    pub metric: Option<u32>,
    /// The gateway is on the link even if no route says so.
    pub onlink: bool,
}

impl Route {
    /// A unicast route of the main table, made at boot, that lacks its gateway or interface.
    pub fn to(dst: IpNet) -> Self {
        Self {
            dst,
            gateway: None,
            oif: None,
            scope: Scope::Universe,
            kind: RouteKind::Unicast,
            protocol: protocol::BOOT,
            table: table::MAIN,
            metric: None,
            onlink: false,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => write!(out, "{}", self.dst)?,
            RouteKind::Blackhole => write!(out, "blackhole {}", self.dst)?,
            RouteKind::Other(number) => write!(out, "type {number} {}", self.dst)?,
        }
        if let Some(gateway) = self.gateway {
            write!(out, " via {gateway}")?;
        }
        if let Some(oif) = self.oif {
            write!(out, " through interface {oif}")?;
        }
        if self.table != table::MAIN {
            write!(out, " in table {}", self.table)?;
        }
        Ok(())
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Inet,
            Family::V6 => Self::Inet6,
        }
    }
}

/// Which routes to read: all that agree with every field that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteFilter {
    /// Only routes of this family; both if none and there is no `dst`.
    pub family: Option<Family>,
    /// Only routes to exactly this destination, of exactly this length.
    pub dst: Option<IpNet>,
    /// Only routes through this interface.
    pub oif: Option<u32>,
    /// Only routes of this table.
    pub table: Option<u32>,
    /// Only routes made by this protocol.
    pub protocol: Option<u8>,
}

impl RouteFilter {
    fn families(&self) -> Vec<Family> {
        let of_dst = self.dst.map(|dst| if dst.addr().is_ipv4() { Family::V4 } else { Family::V6 });
        match (self.family, of_dst) {
            (Some(wanted), Some(other)) if wanted != other => vec![],
            (Some(family), _) | (None, Some(family)) => vec![family],
            (None, None) => vec![Family::V4, Family::V6],
        }
    }

    fn admits(&self, route: &Route) -> bool {
        self.dst.is_none_or(|dst| dst.trunc() == route.dst)
            && self.oif.is_none_or(|oif| Some(oif) == route.oif)
            && self.table.is_none_or(|table| table == route.table)
            && self.protocol.is_none_or(|protocol| protocol == route.protocol)
    }

    /// The question to the kernel, which filters by everything but the destination.
    fn question(&self, family: Family) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family.into();
        message.header.protocol = self.protocol.unwrap_or_default().into();
        message.attributes.extend(self.table.map(RouteAttribute::Table));
        message.attributes.extend(self.oif.map(RouteAttribute::Oif));
        message
    }
}

impl Netlink {
    /// Adds a route; an [error of existence](NetlinkError::is_exists) if there is one to the same
    /// destination with the same metric.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        self.change_route("add", NLM_F_CREATE | NLM_F_EXCL, route).await
    }

    /// Adds a route, in the place of one to the same destination with the same metric if there is one.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        self.change_route("replace", NLM_F_CREATE | NLM_F_REPLACE, route).await
    }

    async fn change_route(
        &self,
        operation: &'static str,
        flags: u16,
        route: &Route,
    ) -> Result<(), NetlinkError> {
        match self.request(RouteNetlinkMessage::NewRoute(route.message()), flags).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(cause.of(operation, format_args!("route {route}"))),
        }
    }

    /// Deletes the first route that agrees with all that is set in `route`.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        match self.request(RouteNetlinkMessage::DelRoute(route.message()), 0).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(cause.of("delete", format_args!("route {route}"))),
        }
    }

    /// Reads the routes that the filter admits.
    pub async fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in filter.families() {
            let question = RouteNetlinkMessage::GetRoute(filter.question(family));
            let read = self.dump(question, |answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => {
                    Route::from_message(&message).filter(|route| filter.admits(route))
                }
                _ => None,
            });
            match read.await.map_err(|cause| cause.of("list", "the routes")) {
                Ok(of_family) => routes.extend(of_family),
                // A table comes to life with its first route.
                Err(error) if filter.table.is_some() && error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }
}

impl Route {
    fn message(&self) -> RouteMessage {
        let dst = self.dst.trunc();
        let mut message = RouteMessage::default();
        message.header.address_family = match dst {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        message.header.destination_prefix_length = dst.prefix_len();
        message.header.protocol = self.protocol.into();
        message.header.scope = RouteScope::from(u8::from(self.scope));
        message.header.kind = u8::from(self.kind).into();
        if self.onlink {
            message.header.flags |= RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        attributes.push(RouteAttribute::Destination(dst.addr().into()));
        attributes.extend(self.gateway.map(|gateway| match (dst, gateway) {
            (IpNet::V4(_), IpAddr::V6(v6)) => RouteAttribute::Via(RouteVia::Inet6(v6)),
            (_, same_family) => RouteAttribute::Gateway(same_family.into()),
        }));
        attributes.extend(self.oif.map(RouteAttribute::Oif));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        message
    }

    fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let everywhere = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        // What the kernel has learned about single destinations is in its cache, not in a table.
        if header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let mut route = Self {
            scope: Scope::from(u8::from(header.scope)),
            kind: RouteKind::from(u8::from(header.kind)),
            protocol: header.protocol.into(),
            table: header.table.into(),
            onlink: header.flags.contains(RouteFlags::Onlink),
            ..Self::to(IpNet::new(everywhere, 0).ok()?)
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(dst) => {
                    route.dst = IpNet::new(ip(dst)?, header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
                RouteAttribute::Via(RouteVia::Inet6(v6)) => route.gateway = Some((*v6).into()),
                RouteAttribute::Oif(oif) => route.oif = Some(*oif),
                RouteAttribute::Priority(metric) => route.metric = Some(*metric),
                RouteAttribute::Table(table) => route.table = *table,
                _ => {}
            }
        }
        Some(route)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// `RTN_UNICAST` of <linux/rtnetlink.h>.
const UNICAST: u8 = 1;
/// `RTN_BLACKHOLE` of <linux/rtnetlink.h>.
const BLACKHOLE: u8 = 6;

impl From<u8> for RouteKind {
    fn from(number: u8) -> Self {
        match number {
            UNICAST => Self::Unicast,
            BLACKHOLE => Self::Blackhole,
            other => Self::Other(other),
        }
    }
}

impl From<RouteKind> for u8 {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => UNICAST,
            RouteKind::Blackhole => BLACKHOLE,
            RouteKind::Other(number) => number,
        }
    }
}
