//! Neighbour entries: which hardware address an IP address of the link has (ARP and NDP).

use std::net::IpAddr;

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::mac::Mac;
use crate::netlink::Netlink;
use crate::netlink::error::{Cause, NetlinkError};

/// What an interface knows of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Neighbour {
    /// The neighbour's address.
    pub ip: IpAddr,
    /// Its hardware address, if known.
    pub mac: Option<Mac>,
    /// Set by hand, so never asked for and never forgotten.
    pub permanent: bool,
}

impl Netlink {
    /// Tells an interface for good where a neighbour is, whatever it knew before.
    pub async fn set_neighbour(
        &self,
        index: u32,
        ip: IpAddr,
        mac: Mac,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = match ip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unspec;
        message.attributes = vec![
            NeighbourAttribute::Destination(ip.into()),
            NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()),
        ];
        let request = RouteNetlinkMessage::NewNeighbour(message);
        match self.request(request, NLM_F_CREATE | NLM_F_REPLACE).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                Err(cause.of("set", format_args!("neighbour {ip} at {mac} of interface {index}")))
            }
        }
    }

    /// What an interface knows of its neighbours, of both families.
    pub async fn neighbours(&self, index: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut request = NeighbourMessage::default();
        request.attributes.push(NeighbourAttribute::IfIndex(index));
        let neighbours = self
            .dump(RouteNetlinkMessage::GetNeighbour(request), |answer| match answer {
                RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => {
                    Neighbour::from_message(&message)
                }
                _ => None,
            })
            .await;
        neighbours.map_err(|cause: Cause| {
            cause.of("list", format_args!("the neighbours of interface {index}"))
        })
    }
}

impl Neighbour {
    fn from_message(message: &NeighbourMessage) -> Option<Self> {
        let mut ip = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    ip = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    ip = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(octets) => mac = Mac::try_from(&**octets).ok(),
                _ => {}
            }
        }
        let permanent = message.header.state == NeighbourState::Permanent;
        Some(Self { ip: ip?, mac, permanent })
    }
}
