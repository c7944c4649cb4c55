//! The node's side of DEL: the links. A link goes if its mark names the attachment; without a mark
//! it must be known otherwise to be the attachment's.

use std::collections::BTreeSet;

use cni::Error;
use netutils::{Link, Netlink, Netns};

use crate::dataplane;
use crate::host_link::{HostLink, Owner};

/// Who has a link that nobody marked, going by its name.
#[derive(Clone, Copy)]
pub(crate) enum Claim<'a> {
    /// This attachment: its endpoint names the link so.
    Ours(&'a str),
    /// The endpoint is another sandbox's of the same pod, or can't be known.
    Another,
    /// There is no endpoint.
    Nobody,
}

/// The node's side.
pub(crate) struct Local<'a> {
    pub(crate) host_link: &'a HostLink,
    pub(crate) ifname: &'a str,
    /// The container's namespace, if it is still there. It is opened once: whatever the path leads
    /// to later is none of ours.
    pub(crate) netns: Option<&'a Netns>,
}

impl Local<'_> {
    /// Removes the links that are marked as this attachment's. Needs nothing but the kernel.
    pub(crate) async fn remove_marked(&self) -> Result<Netlink, Error> {
        let host = Netlink::open().map_err(|error| dataplane::fault(&error))?;
        let mut links = self.host_link.find(&host, None).await?;
        if let Some(inside) = self.inside(&host) {
            let interface = inside.interface(self.ifname).await?;
            let end = inside.host_end(&host, interface.as_ref()).await?;
            let is_ours = |end: &Link| self.host_link.owner(end) == Owner::Ours;
            // The path may be another container's by now, and the interface with it.
            if interface.is_none() || end.as_ref().is_some_and(is_ours) {
                dataplane::delete_rules(&inside.container, self.ifname).await;
            }
            links.extend(end);
        }
        let mut seen = BTreeSet::new();
        for link in links {
            if self.host_link.owner(&link) == Owner::Ours && seen.insert(link.index) {
                dataplane::remove(&host, link.index).await?;
            }
        }
        Ok(host)
    }

    /// Removes links that nobody marked: of upstream's making, or of an ADD that was killed before
    /// it marked its link. They must be known otherwise to be this attachment's.
    pub(crate) async fn remove_unmarked(
        &self,
        host: &Netlink,
        claim: Claim<'_>,
    ) -> Result<(), Error> {
        let name = match claim {
            Claim::Ours(name) => Some(name),
            Claim::Another | Claim::Nobody => None,
        };
        let peer = match self.inside(host) {
            Some(inside) => {
                let interface = inside.interface(self.ifname).await?;
                inside.host_end(host, interface.as_ref()).await?
            }
            None => None,
        };
        for link in self.host_link.find(host, name).await? {
            if self.host_link.owner(&link) != Owner::Unknown {
                continue;
            }
            let is_peer = peer.as_ref().is_some_and(|peer| peer.index == link.index);
            let is_named = !matches!(claim, Claim::Another);
            if is_peer || is_named {
                dataplane::remove(host, link.index).await?;
            }
        }
        Ok(())
    }

    /// The container's namespace, if it is really the container's own.
    fn inside(&self, host: &Netlink) -> Option<Inside<'_>> {
        let netns = self.netns.filter(|netns| !netns.is_same(host.netns()))?;
        Some(Inside { container: Netlink::open_in(netns).ok()?, netns })
    }
}

/// A container's namespace.
struct Inside<'a> {
    container: Netlink,
    netns: &'a Netns,
}

impl Inside<'_> {
    /// The interface of this name.
    async fn interface(&self, ifname: &str) -> Result<Option<Link>, Error> {
        self.container.link(ifname).await.map_err(|error| dataplane::fault(&error))
    }

    /// The host's end of an interface.
    async fn host_end(
        &self,
        host: &Netlink,
        interface: Option<&Link>,
    ) -> Result<Option<Link>, Error> {
        let Some(interface) = interface else { return Ok(None) };
        dataplane::host_end(host, self.netns, interface)
            .await
            .map_err(|error| dataplane::fault(&error))
    }
}
