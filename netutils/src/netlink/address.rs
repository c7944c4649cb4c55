//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::error::{Cause, NetlinkError};
use crate::netlink::{Netlink, Scope};

/// Whether an IPv6 address is first checked for a second user (about a second, during which nothing
/// can be sent from it). Without meaning for IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DuplicateDetection {
    /// As the interface's settings say.
    #[default]
    Default,
    /// The address is usable at once.
    Skip,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Address {
    /// The address with the length of its prefix.
    pub net: IpNet,
    /// How far it reaches.
    pub scope: Scope,
    /// Still being checked for a second user, so not usable yet.
    pub tentative: bool,
    /// The check found a second user, so never usable.
    pub duplicate: bool,
    /// Without an end of its lifetime.
    pub permanent: bool,
}

impl Netlink {
    /// Gives an interface an address. IPv6 link-local ones get their scope from the kernel.
    pub async fn add_address(
        &self,
        index: u32,
        net: IpNet,
        detection: DuplicateDetection,
    ) -> Result<(), NetlinkError> {
        let mut message = about(index, net);
        if detection == DuplicateDetection::Skip {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let request = RouteNetlinkMessage::NewAddress(message);
        match self.request(request, NLM_F_CREATE | NLM_F_EXCL).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(cause.of("add", format_args!("address {net} to interface {index}"))),
        }
    }

    /// Takes an address from an interface.
    pub async fn delete_address(&self, index: u32, net: IpNet) -> Result<(), NetlinkError> {
        match self.request(RouteNetlinkMessage::DelAddress(about(index, net)), 0).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                Err(cause.of("delete", format_args!("address {net} from interface {index}")))
            }
        }
    }

    /// The addresses of an interface, of both families, in the kernel's order.
    pub async fn addresses(&self, index: u32) -> Result<Vec<Address>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.index = index;
        let addresses = self
            .dump(RouteNetlinkMessage::GetAddress(request), |answer| match answer {
                RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                    Address::from_message(&message)
                }
                _ => None,
            })
            .await;
        addresses.map_err(|cause: Cause| {
            cause.of("list", format_args!("the addresses of interface {index}"))
        })
    }
}

/// A message about an address that is its own peer and has no broadcast.
fn about(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = net.prefix_len();
    message.header.family = match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut own: Option<IpAddr> = None;
        let mut peer: Option<IpAddr> = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        Some(Self {
            // Of a point-to-point address the kernel puts the other side into the plain attribute.
            net: IpNet::new(own.or(peer)?, message.header.prefix_len).ok()?,
            scope: Scope::from(u8::from(message.header.scope)),
            tentative: flags.contains(AddressFlags::Tentative),
            duplicate: flags.contains(AddressFlags::Dadfailed),
            permanent: flags.contains(AddressFlags::Permanent),
        })
    }
}
