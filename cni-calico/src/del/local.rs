//! The node's side of DEL: the links. A link goes if its mark names the attachment; without a mark
//! it must be known otherwise to be the attachment's.

use std::collections::BTreeSet;

use cni::Error;
use netutils::{Link, Netlink, Netns};

use crate::dataplane;
use crate::host_link::{HostLink, Owner};
use crate::unmarked::{Evidence, Unmarked};

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

    /// The links that nobody marked, and that may be this attachment's.
    pub(crate) async fn unmarked(
        &self,
        host: &Netlink,
        stored: Option<&str>,
    ) -> Result<Vec<Unmarked>, Error> {
        let peer = match self.inside(host) {
            Some(inside) => {
                let interface = inside.interface(self.ifname).await?;
                let end = inside.host_end(host, interface.as_ref()).await?;
                end.zip(interface.and_then(|interface| interface.mac))
            }
            None => None,
        };
        let inside = |link: &Link| {
            peer.as_ref().filter(|(end, _)| end.index == link.index).map(|(_, mac)| *mac)
        };
        let named = self.host_link.find(host, stored).await?.into_iter();
        let mut links: Vec<Unmarked> =
            named.map(|link| Unmarked { inside: inside(&link), link, named: true }).collect();
        if let Some((link, mac)) = peer
            && links.iter().all(|other| other.link.index != link.index)
        {
            links.push(Unmarked { link, named: false, inside: Some(mac) });
        }
        links.retain(|unmarked| self.host_link.owner(&unmarked.link) == Owner::Unknown);
        Ok(links)
    }

    /// Removes those of them that are known to be this attachment's.
    pub(crate) async fn remove_unmarked(
        &self,
        host: &Netlink,
        links: &[Unmarked],
        evidence: &Evidence,
    ) -> Result<(), Error> {
        for unmarked in links {
            let link = &unmarked.link;
            match evidence.tells(unmarked) {
                true => dataplane::remove(host, link.index).await?,
                false => tracing::info!(link = link.name, "left alone: it is another container's"),
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
