//! The IPv4 settings of one interface, by requests instead of files.
//!
//! PERF: they are the same as the files `net/ipv4/{conf,neigh}/<interface>/…` of
//! [`sysctl`](crate::sysctl). But to find a file below `net/ipv4` the kernel walks a chain that has an
//! entry for every namespace that was ever asked: 0.36 ms among a thousand containers. And the file
//! that switches forwarding on doesn't wait for the kernel's lock of all interfaces: it turns in circles
//! until the lock is free, which on a host that starts many containers at once takes more of the
//! processor than the rest of an ADD.

use std::time::Duration;

use nix::libc;
use rtnetlink::packet_core::{DefaultNla, Emitable};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;
use crate::netlink::error::NetlinkError;

/// An IPv4 setting of an interface, with its number in the kernel (`IPV4_DEVCONF_…` of
/// <linux/ip.h>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Ipv4Conf {
    /// `forwarding`
    Forwarding = 1,
    /// `proxy_arp`
    ProxyArp = 3,
    /// `rp_filter`
    RpFilter = 8,
    /// `route_localnet`
    RouteLocalnet = 26,
}

impl Ipv4Conf {
    /// The setting of this name.
    pub fn named(name: &str) -> Option<Ipv4Conf> {
        match name {
            "forwarding" => Some(Ipv4Conf::Forwarding),
            "proxy_arp" => Some(Ipv4Conf::ProxyArp),
            "rp_filter" => Some(Ipv4Conf::RpFilter),
            "route_localnet" => Some(Ipv4Conf::RouteLocalnet),
            _ => None,
        }
    }
}

/// `IFLA_INET_CONF` of <linux/if_link.h>.
const IFLA_INET_CONF: u16 = 1;

impl Netlink {
    /// Gives an interface these IPv4 settings and switches it on: all of it, or nothing if that
    /// fails.
    pub async fn switch_on(
        &self,
        index: u32,
        values: &[(Ipv4Conf, u32)],
    ) -> Result<(), NetlinkError> {
        self.set_link(index, "set the IPv4 settings of, and switch on,", |link| {
            let link = link.up();
            if values.is_empty() { link } else { link.append_extra_attribute(describe(values)) }
        })
        .await
    }

    /// How long an interface waits before it answers for others (`proxy_delay` of
    /// [`sysctl::ipv4_neigh`](crate::sysctl::ipv4_neigh), which is in hundredths of a second).
    pub async fn set_ipv4_proxy_delay(
        &self,
        index: u32,
        delay: Duration,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourTableMessage::default();
        message.header.family = AddressFamily::Inet;
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        message.attributes = vec![
            NeighbourTableAttribute::Name("arp_cache".to_owned()),
            NeighbourTableAttribute::Parms(vec![
                NeighbourTableParameter::Ifindex(index),
                NeighbourTableParameter::ProxyDelay(milliseconds),
            ]),
        ];
        match self.request(RouteNetlinkMessage::SetNeighbourTable(message), 0).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                Err(cause.of("set the proxy delay of", format_args!("interface {index}")))
            }
        }
    }
}

/// `IFLA_AF_SPEC` as the kernel takes it: a number and a value each. What it answers is a bare row of
/// all values, and that is how the crate writes it too.
fn describe(values: &[(Ipv4Conf, u32)]) -> LinkAttribute {
    let settings: Vec<DefaultNla> = values
        .iter()
        .map(|(conf, value)| DefaultNla::new(*conf as u16, value.to_ne_bytes().to_vec()))
        .collect();
    let settings = nested(IFLA_INET_CONF, &settings.as_slice());
    let family = nested(libc::AF_INET.unsigned_abs() as u16, &[settings].as_slice());
    LinkAttribute::Other(nested(libc::IFLA_AF_SPEC, &[family].as_slice()))
}

fn nested(kind: u16, content: &impl Emitable) -> DefaultNla {
    let mut bytes = vec![0; content.buffer_len()];
    content.emit(&mut bytes);
    DefaultNla::new(kind, bytes)
}
