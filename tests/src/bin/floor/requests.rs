//! The kernel's part of an ADD, a blocking request after the other.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::libc;
use rtnetlink::packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

/// The container's next hop, and the MAC behind it.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_MAC: [u8; 6] = [0xee; 6];
/// `IFLA_INET_CONF` of <linux/if_link.h>.
const IFLA_INET_CONF: u16 = 1;
/// The main table of routes.
const MAIN: u8 = 254;
/// More than any answer to one of these requests has.
const ANSWER: usize = 16 * 1024;

/// A blocking route socket of the namespace that it was opened in.
pub struct Socket {
    socket: rtnetlink::sys::Socket,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens it in the calling thread's namespace.
    pub fn open() -> Result<Socket> {
        let socket = rtnetlink::sys::Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Socket { socket, buffer: Vec::with_capacity(ANSWER) })
    }

    /// Both ends, each where it belongs; their indexes.
    pub fn create_pair(&mut self, host: &str, ifname: &str, netns: &File) -> Result<(u32, u32)> {
        let queues = [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(ifname)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        peer.attributes.extend(queues.clone());
        let data = InfoData::Veth(InfoVeth::Peer(peer));
        let mut pair = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(data)
            .name(host)
            .address(GATEWAY_MAC.to_vec())
            .build();
        pair.attributes.extend(queues);
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
        let echo = self.request(RouteNetlinkMessage::NewLink(pair), flags)?;
        let echo = echo.context("the kernel sent no echo: it is older than Linux 6.2")?;
        let peer = echo.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Link(index) => Some(*index),
            _ => None,
        });
        Ok((echo.header.index, peer.context("no index of the peer")?))
    }

    /// The text by which a host's end is recognised.
    pub fn set_alias(&mut self, index: u32, alias: &str) -> Result<()> {
        let link = LinkUnspec::new_with_index(index).alias(alias).build();
        self.request(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Switches an interface on.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        let link = LinkUnspec::new_with_index(index).up().build();
        self.request(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Gives an interface IPv4 settings, by their numbers in the kernel, and switches it on.
    pub fn set_up_with(&mut self, index: u32, settings: &[(u16, u32)]) -> Result<()> {
        let settings: Vec<DefaultNla> = settings
            .iter()
            .map(|(number, value)| DefaultNla::new(*number, value.to_ne_bytes().to_vec()))
            .collect();
        let conf = nested(IFLA_INET_CONF, &settings);
        let family = nested(libc::AF_INET.unsigned_abs().try_into()?, &[conf]);
        let all = LinkAttribute::Other(nested(libc::IFLA_AF_SPEC, &[family]));
        let link = LinkUnspec::new_with_index(index).up().append_extra_attribute(all).build();
        self.request(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// How long an interface waits before it answers for others.
    pub fn set_proxy_delay(&mut self, index: u32, milliseconds: u64) -> Result<()> {
        let mut table = NeighbourTableMessage::default();
        table.header.family = AddressFamily::Inet;
        table.attributes = vec![
            NeighbourTableAttribute::Name("arp_cache".to_owned()),
            NeighbourTableAttribute::Parms(vec![
                NeighbourTableParameter::Ifindex(index),
                NeighbourTableParameter::ProxyDelay(milliseconds),
            ]),
        ];
        self.request(RouteNetlinkMessage::SetNeighbourTable(table), 0).map(drop)
    }

    /// The container's next hop: a neighbour, the route to it, and the default route.
    pub fn set_gateway(&mut self, index: u32) -> Result<()> {
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = AddressFamily::Inet;
        neighbour.header.ifindex = index;
        neighbour.header.state = NeighbourState::Permanent;
        neighbour.attributes = vec![
            NeighbourAttribute::Destination(GATEWAY.into()),
            NeighbourAttribute::LinkLayerAddress(GATEWAY_MAC.to_vec()),
        ];
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.request(RouteNetlinkMessage::NewNeighbour(neighbour), flags)?;
        self.add_route(route(GATEWAY, 32, RouteScope::Link, index))?;
        let mut default = route(Ipv4Addr::UNSPECIFIED, 0, RouteScope::Universe, index);
        default.attributes.push(RouteAttribute::Gateway(GATEWAY.into()));
        self.add_route(default)
    }

    /// The address of an interface.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address)),
            AddressAttribute::Address(IpAddr::V4(address)),
        ];
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewAddress(message), flags).map(drop)
    }

    /// The host's route to a container.
    pub fn add_route_to(&mut self, address: Ipv4Addr, index: u32) -> Result<()> {
        self.add_route(route(address, 32, RouteScope::Link, index))
    }

    fn add_route(&mut self, route: RouteMessage) -> Result<()> {
        self.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Sends a request and waits for its acknowledgement; the interface in its echo, if it has one.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Option<LinkMessage>> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut echo = None;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
                // Messages begin at multiples of four.
                let length = (answer.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                        echo = Some(link);
                    }
                    NetlinkPayload::Error(verdict) => match verdict.code {
                        Some(_) => bail!("the kernel refused: {}", verdict.to_io()),
                        None => return Ok(echo),
                    },
                    _ => {}
                }
            }
        }
    }
}

fn nested(kind: u16, content: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; content.buffer_len()];
    content.emit(&mut bytes);
    DefaultNla::new(kind, bytes)
}

fn route(to: Ipv4Addr, prefix: u8, scope: RouteScope, index: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = scope;
    message.header.kind = RouteType::Unicast;
    message.header.table = MAIN;
    message.attributes = vec![RouteAttribute::Destination(to.into()), RouteAttribute::Oif(index)];
    message
}
