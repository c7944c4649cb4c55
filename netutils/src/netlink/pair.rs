//! A pair of connected interfaces, one end in the host's namespace and one in the container's.
//!
//! PERF: both ends are *born* where they belong, by one `RTM_NEWLINK` whose description of the peer
//! carries the other namespace. That takes 0.4 ms; to move an end afterwards takes 27 ms, nearly all
//! of it under the kernel's global lock (`reference/crates-and-floor.md`, section 4). And both are born
//! switched off: to name an end that is on and has no carrier yet makes the kernel walk all of the
//! host's IPv6 routes, 0.6 ms among a thousand containers.

use std::os::fd::{AsFd, AsRawFd};

use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoNetkit, InfoVeth, LinkAttribute, LinkMessage, NetkitMode,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use crate::mac::Mac;
use crate::netlink::error::{Cause, NetlinkError, Side};
use crate::netlink::link::{Link, newborn};
use crate::netlink::{Netlink, answers_of};
use crate::netns::Netns;

/// The kind of interface that a pair is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// A virtual Ethernet cable.
    #[default]
    Veth,
    /// The leaner pair for BPF programs, from Linux 6.7. A kernel without it gets a veth.
    Netkit,
}

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The name, 1 to 15 bytes.
    pub name: String,
    /// The hardware address, there from birth.
    pub mac: Mac,
    /// The largest packet in bytes; the kernel's choice if none.
    pub mtu: Option<u32>,
}

/// What to create.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// What the pair is made of.
    pub device: Device,
    /// The end in the namespace of the [`Netlink`] that creates the pair.
    pub host: &'a End,
    /// A free text for the host's end, at most 255 bytes, by which it is recognised later. The kernel
    /// takes it in a second request only: who dies in between leaves a pair that
    /// [is stillborn](Link::is_stillborn).
    pub host_alias: Option<&'a str>,
    /// The end in `container_ns`.
    pub container: &'a End,
    /// Where the container's end is born.
    pub container_ns: &'a Netns,
    /// Queues of each end, for sending and for receiving; netkit always has one.
    pub queues: u32,
}

/// What was created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedPair {
    /// What the pair is really made of.
    pub device: Device,
    /// The host's end.
    pub host: Link,
    /// The index of the container's end in the container's namespace.
    pub container_index: u32,
}

impl Netlink {
    /// Creates a pair, both ends with one request and switched off; nothing of it exists if that
    /// fails.
    ///
    /// If the name of an end is taken, the error [is one of existence](NetlinkError::is_exists), and
    /// its cause names the end.
    pub async fn create_pair(&self, pair: Pair<'_>) -> Result<CreatedPair, NetlinkError> {
        let mut created = match self.try_create_pair(pair).await {
            Err(error) if pair.device == Device::Netkit && error.is_unsupported() => {
                tracing::info!(%error, "this kernel lacks netkit, creating a veth pair");
                self.try_create_pair(Pair { device: Device::Veth, ..pair }).await
            }
            outcome => outcome,
        }?;
        if let Some(alias) = pair.host_alias {
            if let Err(error) = self.christen(created.host.index, alias).await {
                if let Err(remains) = self.remove_link(created.host.index).await {
                    tracing::warn!(%remains, "a pair could not be completed, nor taken back");
                }
                return Err(error);
            }
            created.host.alias = Some(alias.to_owned());
            created.host.group = 0;
        }
        Ok(created)
    }

    async fn try_create_pair(&self, pair: Pair<'_>) -> Result<CreatedPair, NetlinkError> {
        let created = match self.send_creation(pair).await {
            Err(cause) if cause.errno() == Some(libc::EEXIST) => Err(self.who_is_taken(pair).await),
            outcome => outcome,
        };
        created.map_err(|cause| {
            cause.of(
                "create",
                format_args!(
                    "{} pair {} and {}",
                    kind(pair.device),
                    pair.host.name,
                    pair.container.name
                ),
            )
        })
    }

    async fn send_creation(&self, pair: Pair<'_>) -> Result<CreatedPair, Cause> {
        for end in [pair.host, pair.container] {
            check_name(&end.name)?;
        }
        // The message holds the bare number of the descriptor. A task of its own keeps the descriptor
        // open until the kernel has answered, even if the caller gives up waiting meanwhile.
        let container_ns = pair.container_ns.try_clone()?;
        let message = describe(pair, &container_ns);
        let name = pair.host.name.clone();
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
        // In the queue before that task runs: who gives up now and looks for the pair finds it.
        let replies = self.begin(RouteNetlinkMessage::NewLink(message), flags)?;
        let task = tokio::spawn(async move {
            let answers = answers_of(replies).await;
            drop(container_ns);
            answers
        });
        let answers = task.await.map_err(|_| Cause::Closed)??;
        let echo = answers.into_iter().filter_map(Link::from_answer).find(|link| link.name == name);
        // PERF: the echo tells both indexes and saves two look-ups. Kernels before 6.2 send none.
        let host = match echo {
            Some(link) => link,
            None => {
                self.link(&name).await.map_err(|error| error.cause)?.ok_or(Cause::Incomplete)?
            }
        };
        let container_index = host.peer_index.ok_or(Cause::Incomplete)?;
        Ok(CreatedPair { device: pair.device, host, container_index })
    }

    /// The kernel doesn't say whose name is taken, so look.
    async fn who_is_taken(&self, pair: Pair<'_>) -> Cause {
        match self.link(&pair.host.name).await {
            Ok(Some(_)) => Cause::NameTaken { name: pair.host.name.clone(), side: Side::Host },
            Ok(None) => {
                Cause::NameTaken { name: pair.container.name.clone(), side: Side::Container }
            }
            Err(error) => error.cause,
        }
    }
}

/// Refuses what the kernel refuses, in better words, and one thing that it doesn't: it takes a `%d`
/// for "the next free number" and gives a name that nobody asked for.
fn check_name(name: &str) -> Result<(), Cause> {
    let unfit = |c: char| c.is_whitespace() || c.is_control() || ['/', ':', '%'].contains(&c);
    match name {
        "" | "." | ".." => Err(Cause::Name { name: name.to_owned() }),
        _ if name.len() > LONGEST_NAME || name.contains(unfit) => {
            Err(Cause::Name { name: name.to_owned() })
        }
        _ => Ok(()),
    }
}

/// `IFNAMSIZ` without the final zero.
const LONGEST_NAME: usize = 15;

/// The request for a pair.
fn describe(pair: Pair<'_>, container_ns: &Netns) -> LinkMessage {
    // Netkit refuses to send with more than one queue.
    let queues = if pair.device == Device::Netkit { 1 } else { pair.queues.max(1) };
    let peer = end(LinkMessageBuilder::<LinkUnspec>::new(), pair.container, queues)
        .setns_by_fd(container_ns.as_fd().as_raw_fd())
        .build();
    let (kind, data) = match pair.device {
        Device::Veth => (InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(peer))),
        Device::Netkit => {
            let mode = InfoNetkit::Mode(NetkitMode::L2);
            (InfoKind::Netkit, InfoData::Netkit(vec![mode, InfoNetkit::Peer(peer)]))
        }
    };
    let mut host = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind).set_info_data(data);
    if pair.host_alias.is_some() {
        host = host.append_extra_attribute(LinkAttribute::Group(newborn()));
    }
    end(host, pair.host, queues).build()
}

fn end(
    builder: LinkMessageBuilder<LinkUnspec>,
    end: &End,
    queues: u32,
) -> LinkMessageBuilder<LinkUnspec> {
    let builder = builder
        .name(&end.name)
        .address(end.mac.octets().to_vec())
        .append_extra_attribute(LinkAttribute::NumTxQueues(queues))
        .append_extra_attribute(LinkAttribute::NumRxQueues(queues));
    match end.mtu {
        Some(mtu) => builder.mtu(mtu),
        None => builder,
    }
}

fn kind(device: Device) -> &'static str {
    match device {
        Device::Veth => "veth",
        Device::Netkit => "netkit",
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkInfo;

    use super::*;

    /// Netkit has its own rules, and few kernels to try them on: the MTU goes to both ends, since it
    /// is not copied, one queue is all it takes, and what is not said keeps the kernel's default.
    #[test]
    fn a_netkit_pair_is_described_by_its_own_rules() {
        let end = |name: &str| End { name: name.into(), mac: Mac::random(), mtu: Some(1440) };
        let (host, container) = (end("cali1"), end("eth0"));
        let here = Netns::current().unwrap();
        let pair = Pair {
            device: Device::Netkit,
            host: &host,
            host_alias: None,
            container: &container,
            container_ns: &here,
            queues: 8,
        };
        let message = describe(pair, &here);
        let infos = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
            _ => None,
        });
        let Some([LinkInfo::Kind(InfoKind::Netkit), LinkInfo::Data(InfoData::Netkit(data))]) =
            infos
        else {
            panic!("{message:?}");
        };
        let [InfoNetkit::Mode(NetkitMode::L2), InfoNetkit::Peer(peer)] = data.as_slice() else {
            panic!("{data:?}");
        };
        assert!(peer.attributes.contains(&LinkAttribute::NetNsFd(here.as_fd().as_raw_fd())));
        for (message, end) in [(&message, &host), (peer, &container)] {
            for attribute in [
                LinkAttribute::IfName(end.name.clone()),
                LinkAttribute::Address(end.mac.octets().to_vec()),
                LinkAttribute::Mtu(1440),
                LinkAttribute::NumTxQueues(1),
                LinkAttribute::NumRxQueues(1),
            ] {
                assert!(message.attributes.contains(&attribute), "{attribute:?} of {message:?}");
            }
        }
    }
}
