//! Interfaces: reading, setting, finding the other end of a pair.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::libc;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::mac::Mac;
use crate::netlink::Netlink;
use crate::netlink::error::{Cause, NetlinkError};
use crate::netns::Netns;

/// An interface as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name in its namespace.
    pub name: String,
    /// `veth`, `netkit`, …; empty for hardware and for the loopback.
    pub kind: String,
    /// The hardware address, of interfaces that have one of 48 bits.
    pub mac: Option<Mac>,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether it has a carrier: a pair has one once both ends are up.
    pub lower_up: bool,
    /// The free text of `ip link set alias`.
    pub alias: Option<String>,
    /// The group of `ip link set group`; 0 unless somebody has set another one.
    pub group: u32,
    /// How many queues it sends with.
    pub tx_queues: u32,
    /// How many queues it receives with.
    pub rx_queues: u32,
    /// The index of the other end, in the other end's namespace.
    pub peer_index: Option<u32>,
    /// This namespace's number for the namespace of the other end, if that is another one; compare
    /// with [`Netlink::netns_id_of`].
    pub peer_netns_id: Option<i32>,
}

impl Netlink {
    /// The interface of this name.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let request = LinkMessageBuilder::<LinkUnspec>::new().name(name).build();
        self.get_link(request)
            .await
            .map_err(|cause| cause.of("read", format_args!("interface {name}")))
    }

    /// The interface of this index.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        self.get_link(LinkUnspec::new_with_index(index).build())
            .await
            .map_err(|cause| cause.of("read", format_args!("interface {index}")))
    }

    async fn get_link(&self, mut request: LinkMessage) -> Result<Option<Link>, Cause> {
        request.attributes.push(without_statistics());
        match self.request(RouteNetlinkMessage::GetLink(request), 0).await {
            Ok(answers) => {
                let link = answers.into_iter().find_map(Link::from_answer);
                link.ok_or(Cause::Incomplete).map(Some)
            }
            Err(cause) if cause.errno() == Some(libc::ENODEV) => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// All interfaces of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.attributes.push(without_statistics());
        self.dump(RouteNetlinkMessage::GetLink(request), Link::from_answer)
            .await
            .map_err(|cause| cause.of("list", "the interfaces"))
    }

    /// Switches an interface on.
    pub async fn set_up(&self, index: u32) -> Result<(), NetlinkError> {
        self.set_link(index, "switch on", |link| link.up()).await
    }

    /// Switches an interface off.
    pub async fn set_down(&self, index: u32) -> Result<(), NetlinkError> {
        self.set_link(index, "switch off", |link| link.down()).await
    }

    /// Gives an interface a hardware address. An interface that is on keeps its old IPv6 link-local
    /// address until it is switched off and on.
    pub async fn set_mac(&self, index: u32, mac: Mac) -> Result<(), NetlinkError> {
        self.set_link(index, "set the hardware address of", |link| {
            link.address(mac.octets().to_vec())
        })
        .await
    }

    /// Gives an interface a free text, at most 255 bytes.
    pub async fn set_alias(&self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.set_link(index, "set the alias of", |link| link.alias(alias)).await
    }

    /// Ends the birth of a pair's end: gives it its alias and the ordinary group, at once.
    pub(super) async fn christen(&self, index: u32, alias: &str) -> Result<(), NetlinkError> {
        self.set_link(index, "set the alias of", |link| {
            link.alias(alias).append_extra_attribute(LinkAttribute::Group(0))
        })
        .await
    }

    pub(super) async fn set_link(
        &self,
        index: u32,
        operation: &'static str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), NetlinkError> {
        let message = change(LinkUnspec::new_with_index(index)).build();
        match self.request(RouteNetlinkMessage::SetLink(message), 0).await {
            Ok(_) => Ok(()),
            Err(cause) => Err(cause.of(operation, format_args!("interface {index}"))),
        }
    }

    /// This namespace's number for another namespace; none if the kernel has given none yet, which
    /// means that no pair connects the two.
    pub async fn netns_id_of(&self, other: &Netns) -> Result<Option<i32>, NetlinkError> {
        // A descriptor is never negative.
        let descriptor = other.as_fd().as_raw_fd().unsigned_abs();
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Fd(descriptor));
        let answers = self.request(RouteNetlinkMessage::GetNsId(request), 0).await;
        let id = answers.and_then(|answers| {
            let attributes = answers.into_iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewNsId(message) => Some(message.attributes),
                _ => None,
            });
            let ids = attributes.ok_or(Cause::Incomplete)?.into_iter();
            Ok(ids.into_iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if id >= 0 => Some(id),
                _ => None,
            }))
        });
        id.map_err(|cause| cause.of("find the number of", other.path().display()))
    }
}

/// Statistics are half of the answer's bytes, and nobody here reads them.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

impl Link {
    /// The interface that an answer of the kernel is about.
    pub(super) fn from_answer(answer: RouteNetlinkMessage) -> Option<Self> {
        match answer {
            RouteNetlinkMessage::NewLink(message) => Some(Self::from(message)),
            _ => None,
        }
    }
}

/// The groups in which ends of pairs are that have no alias yet: the rest is the number of the process
/// that makes them, which has 22 bits.
const NEWBORN: u32 = 0xca << 24;

/// The group of the pairs that this process makes.
pub(super) fn newborn() -> u32 {
    NEWBORN | std::process::id() & !(0xff << 24)
}

impl Link {
    /// Whether a process made this end of a pair and died before it gave it its alias: it is of no use
    /// to anybody. Looks into `/proc`, and doubts in favour of the link.
    pub fn is_stillborn(&self) -> bool {
        let process = self.group & !NEWBORN;
        self.group >> 24 == NEWBORN >> 24
            && self.alias.is_none()
            && !self.lower_up
            && Path::new("/proc/self").exists()
            && !Path::new(&format!("/proc/{process}")).exists()
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            lower_up: message.header.flags.contains(LinkFlags::LowerUp),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(octets) => link.mac = Mac::try_from(&*octets).ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Group(group) => link.group = group,
                LinkAttribute::NumTxQueues(count) => link.tx_queues = count,
                LinkAttribute::NumRxQueues(count) => link.rx_queues = count,
                // Zero is the kernel's word for "no longer there".
                LinkAttribute::Link(index) => link.peer_index = Some(index).filter(|i| *i != 0),
                LinkAttribute::LinkNetNsId(id) => link.peer_netns_id = Some(id).filter(|i| *i >= 0),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = kind.to_string();
                        }
                    }
                }
                _ => {}
            }
        }
        link
    }
}
