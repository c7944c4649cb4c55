//! What the kernel must look like for a container, and how to make and unmake it
//! (`reference/cni-plugin.md` section 4).
//!
//! Both ends of the pair are born where they belong, with MAC and MTU. The container's next hop is
//! a permanent neighbour, so that nothing depends on proxy ARP or on who answers first. The host's
//! end bears an alias that names its attachment: what DEL and GC may remove is decided by it.

mod host_route;
mod one_more;
mod routing;
mod settings;
pub mod verify;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cni::code;
use ipnet::{IpNet, Ipv6Net};
use netutils::sysctl;
use netutils::{
    Cause, CreatedPair, Device, DuplicateDetection, End, Family, Link, Mac, Netlink, NetlinkError,
    Netns, NetnsError, Pair, Route, Side,
};

pub use routing::Routing;

/// The MAC of every host end: a container has one neighbour only, and it never changes.
pub const HOST_MAC: Mac = Mac::new([0xee; 6]);
/// Whether a container's end can have this MAC: an interface can bear it, and it isn't its
/// neighbour's.
pub fn is_for_container(mac: Mac) -> bool {
    mac.is_assignable() && mac != HOST_MAC
}

/// The container's next hop for IPv4.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The container's next hop for IPv6: the link-local address that follows from [`HOST_MAC`].
pub fn gateway_v6() -> Ipv6Addr {
    HOST_MAC.eui64_link_local()
}

/// The network sockets of an attachment: both stay in their namespace wherever we are.
pub struct Sockets {
    /// The host's.
    pub host: Netlink,
    /// The container's.
    pub container: Netlink,
    /// The container's namespace.
    pub netns: Netns,
}

/// A pair that is wanted.
pub struct Wanted<'a> {
    /// The name of the host's end.
    pub host_name: &'a str,
    /// What the host's end bears as its alias.
    pub alias: &'a str,
    /// The name of the container's end.
    pub ifname: &'a str,
    /// The MAC of the container's end.
    pub mac: Mac,
    /// Its MTU; the kernel's default if none.
    pub mtu: Option<u32>,
    /// Queues of each end.
    pub queues: u32,
    /// What the pair is made of.
    pub device: Device,
}

/// Opens the container's namespace and refuses what is none, or the host's own.
pub fn open_netns(path: &std::path::Path, allow_own: bool) -> Result<Netns, cni::Error> {
    let netns = Netns::open(path).map_err(|error| netns_fault(&error))?;
    let own = Netns::current().map_err(|error| netns_fault(&error))?;
    if netns.is_same(&own) && !allow_own {
        return Err(cni::Error::new(
            code::INVALID_NETNS,
            format!(
                "CNI_NETNS {} is the host's own network namespace: a container needs one of its own",
                path.display()
            ),
        ));
    }
    Ok(netns)
}

impl Sockets {
    /// Opens a socket in each namespace.
    pub fn open(netns: Netns) -> Result<Sockets, cni::Error> {
        Ok(Sockets {
            host: Netlink::open().map_err(|error| fault(&error))?,
            container: Netlink::open_in(&netns).map_err(|error| fault(&error))?,
            netns,
        })
    }

    /// Creates the pair, after removing what is in its place: a leftover, or the link of a container
    /// that this one replaces. Whether it may go is the caller's decision.
    pub async fn create(
        &self,
        wanted: &Wanted<'_>,
        stale: &[Link],
    ) -> Result<CreatedPair, NetlinkError> {
        for stale in stale {
            tracing::info!(link = stale.name, alias = stale.alias, "removing a former host link");
            match self.host.remove_link(stale.index).await {
                Err(error) if !error.is_no_device() => return Err(error),
                _ => {}
            }
        }
        let host = End { name: wanted.host_name.into(), mac: HOST_MAC, mtu: wanted.mtu };
        let container = End { name: wanted.ifname.into(), mac: wanted.mac, mtu: wanted.mtu };
        let pair = Pair {
            device: wanted.device,
            host: &host,
            host_alias: Some(wanted.alias),
            container: &container,
            container_ns: &self.netns,
            queues: wanted.queues,
        };
        self.host.create_pair(pair).await
    }

    /// Gives the container its addresses, routes, neighbours and settings, and the host's end its
    /// own. Nothing reaches the container before [`route`](Sockets::route).
    pub async fn configure(
        &self,
        host: &Link,
        container_index: u32,
        ifname: &str,
        addresses: &[IpAddr],
        routing: &Routing,
    ) -> Result<(), cni::Error> {
        let v4 = addresses.iter().any(IpAddr::is_ipv4);
        let v6 = addresses.iter().any(IpAddr::is_ipv6);
        let container_settings = settings::of_container(ifname, v4, v6, routing.forwarding);
        let warnings = self
            .netns
            .visited(|| sysctl::write_all(&container_settings))
            .map_err(|error| netns_fault(&error))?
            .map_err(sysctl_fault)?;
        let settings::Parted { conf, proxy_delay, files } =
            settings::part(settings::of_host(&host.name, v4, v6), &host.name);
        for warning in warnings.into_iter().chain(sysctl::write_all(&files).map_err(sysctl_fault)?)
        {
            tracing::debug!("{warning}");
        }
        if let Some(delay) = proxy_delay
            && let Err(warning) = self.host.set_ipv4_proxy_delay(host.index, delay).await
        {
            tracing::debug!("{warning}");
        }
        // PERF: the host's end first, so that the other one's carrier finds it switched on: the other
        // way round takes 0.6 ms more among a thousand containers.
        self.host.switch_on(host.index, &conf).await.map_err(|error| fault(&error))?;
        self.configure_container(container_index, ifname, addresses, routing)
            .await
            .map_err(|error| fault(&error))?;
        if v6 {
            self.host_link_local(host.index).await.map_err(|error| fault(&error))?;
        }
        Ok(())
    }

    /// Gives the host its routes to the container.
    pub async fn route(
        &self,
        host: &Link,
        addresses: &[IpAddr],
        routing: &Routing,
    ) -> Result<(), cni::Error> {
        if routing.from_host {
            for address in addresses {
                host_route::ensure(&self.host, host, *address).await?;
            }
        }
        Ok(())
    }

    async fn configure_container(
        &self,
        index: u32,
        ifname: &str,
        addresses: &[IpAddr],
        routing: &Routing,
    ) -> Result<(), NetlinkError> {
        let container = &self.container;
        container.set_up(index).await?;
        for gateway in [IpAddr::V4(GATEWAY_V4), IpAddr::V6(gateway_v6())] {
            if !addresses.iter().any(|address| address.is_ipv4() == gateway.is_ipv4()) {
                continue;
            }
            container.set_neighbour(index, gateway, HOST_MAC).await?;
            self.add_routes(ifname, &routing.through(gateway, index), addresses).await?;
        }
        // After the routes, as upstream does: so no route gets a preferred source. And usable at
        // once: switching the check off by a sysctl leaves an address tentative for a moment.
        for address in addresses {
            let net = IpNet::from(*address);
            container.add_address(index, net, DuplicateDetection::Skip).await?;
        }
        Ok(())
    }

    /// Adds the routes of one family. Where another interface has the default already, they go to a
    /// table of their own, for what is sent from this interface's addresses: otherwise its answers
    /// would leave by the other one, and the host would drop them as forged.
    async fn add_routes(
        &self,
        ifname: &str,
        routes: &[Route],
        addresses: &[IpAddr],
    ) -> Result<(), NetlinkError> {
        let container = &self.container;
        let in_main = async {
            for route in routes {
                container.add_route(route).await?;
            }
            Ok(())
        };
        match in_main.await {
            Err(error) if NetlinkError::is_exists(&error) => {}
            outcome => return outcome,
        }
        let table = own_table(ifname);
        for route in routes {
            container.replace_route(&Route { table, ..route.clone() }).await?;
        }
        let is_v4 = routes.iter().any(|route| route.dst.addr().is_ipv4());
        for address in addresses.iter().filter(|address| address.is_ipv4() == is_v4) {
            container.add_rule(IpNet::from(*address), table).await?;
        }
        Ok(())
    }

    /// The host's end gets its link-local address now, and not when the kernel comes to it: without
    /// one the host can't ask for the container's MAC.
    async fn host_link_local(&self, index: u32) -> Result<(), NetlinkError> {
        let net = IpNet::V6(Ipv6Net::new_assert(gateway_v6(), 64));
        match self.host.add_address(index, net, DuplicateDetection::Skip).await {
            Err(error) if !error.is_exists() => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a pair that was made in vain; what can't be removed is logged, since the error that
    /// led here is the one to report.
    pub async fn undo(&self, host_index: u32) {
        match self.host.remove_link(host_index).await {
            Ok(removal) => drop(removal),
            Err(error) if error.is_no_device() => {}
            Err(error) => tracing::error!("undoing: {error}"),
        }
    }
}

/// The host's end of a container's link, if that is where the other end is.
pub async fn host_end(
    host: &Netlink,
    netns: &Netns,
    link: &Link,
) -> Result<Option<Link>, NetlinkError> {
    let Some(index) = link.peer_index else { return Ok(None) };
    let peer = host.link_by_index(index).await?;
    let id = host.netns_id_of(netns).await?;
    // An index says nothing without its namespace: the other end could be in a third one.
    Ok(peer.filter(|peer| {
        let in_container = match peer.peer_netns_id {
            Some(there) => id == Some(there),
            None => netns.is_same(host.netns()),
        };
        in_container && peer.peer_index == Some(link.index)
    }))
}

/// Removes a link; that it is gone already is fine. Returns once the name is free.
pub async fn remove(host: &Netlink, index: u32) -> Result<(), cni::Error> {
    match host.remove_link(index).await {
        Err(error) if !error.is_no_device() => Err(fault(&error)),
        // What the kernel still clears up is nothing to wait for.
        _ => Ok(()),
    }
}

/// Takes back what leads to the own table of a container's interface, where it has one. The routes
/// go with the interface.
pub async fn delete_rules(container: &Netlink, ifname: &str) {
    for family in [Family::V4, Family::V6] {
        if let Err(error) = container.delete_rules(family, own_table(ifname)).await {
            // Nothing depends on it: the table is empty.
            tracing::debug!("{error}");
        }
    }
}

/// The routing table of a container's interface that is not its first: the number follows from the
/// name (FNV-1a), so that it is known when the interface is gone. It is clear of the kernel's own and
/// of the small ones that people give.
fn own_table(ifname: &str) -> u32 {
    let hash = ifname
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash | 1 << 31
}

/// Whether a pair was not made because another container was quicker to take the host's name.
pub fn is_host_name_taken(error: &NetlinkError) -> bool {
    matches!(error.cause, Cause::NameTaken { side: Side::Host, .. })
}

/// A failure of the kernel as an error of the protocol.
pub fn fault(error: &NetlinkError) -> cni::Error {
    match &error.cause {
        Cause::NameTaken { name, side: Side::Container } => cni::Error::new(
            code::DATAPLANE,
            format!(
                "interface {name} already exists in the container: CNI_IFNAME must be a free name"
            ),
        ),
        Cause::Netns(error) => netns_fault(error),
        _ => cni::Error::new(code::DATAPLANE, error.to_string()),
    }
}

/// A failure with a namespace as an error of the protocol.
pub fn netns_fault(error: &NetnsError) -> cni::Error {
    let code = match error {
        NetnsError::NotFound { .. } => code::UNKNOWN_CONTAINER,
        NetnsError::NotANamespace { .. } => code::INVALID_NETNS,
        NetnsError::Io { .. } => code::DATAPLANE,
        NetnsError::Panicked { .. } => code::INTERNAL,
    };
    cni::Error::new(code, format!("CNI_NETNS: {error}"))
}

fn sysctl_fault(error: sysctl::SysctlError) -> cni::Error {
    cni::Error::new(code::DATAPLANE, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_of_ipv6_is_upstreams() {
        assert_eq!(gateway_v6().to_string(), "fe80::ecee:eeff:feee:eeee");
    }
}
