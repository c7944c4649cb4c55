//! How packets get from a container and to it (`reference/cni-plugin.md` sections 3.5 and 4.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netutils::{Route, Scope};

/// What is routed where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// Where the container's packets may go: everywhere, unless it is told otherwise. Each is for
    /// the addresses of its family, and the next hop is always ours.
    pub destinations: Vec<IpNet>,
    /// Whether the container forwards what isn't for itself.
    pub forwarding: bool,
    /// Whether the host gets a route to each address. A container whose addresses are still another
    /// one's, as when a virtual machine moves, waits for Felix to make them. Upstream takes an
    /// answer of IPAM without routes for that, which pods that name their addresses get too.
    pub from_host: bool,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing { destinations: everywhere().into(), forwarding: false, from_host: true }
    }
}

impl Routing {
    /// Takes these destinations instead of everywhere, or beside it.
    pub fn set_destinations(&mut self, destinations: &[IpNet], and_everywhere: bool) {
        let everywhere = everywhere();
        let kept: &[IpNet] = if and_everywhere { &everywhere } else { &[] };
        self.destinations = Vec::with_capacity(kept.len() + destinations.len());
        for dst in kept.iter().chain(destinations) {
            // The kernel refuses a second one.
            if !self.destinations.contains(dst) {
                self.destinations.push(*dst);
            }
        }
    }

    /// The container's routes of a gateway's family, through the interface with this index.
    pub(super) fn through(&self, gateway: IpAddr, index: u32) -> Vec<Route> {
        let mut routes = Vec::with_capacity(2);
        // A link-local gateway of IPv6 is on the link anyhow.
        if gateway.is_ipv4() {
            let on_link = Route::to(gateway.into());
            routes.push(Route { oif: Some(index), scope: Scope::Link, ..on_link });
        }
        let onward =
            |dst: &IpNet| Route { oif: Some(index), gateway: Some(gateway), ..Route::to(*dst) };
        routes.extend(self.destinations_of(gateway).map(onward));
        routes
    }

    /// The destinations of a gateway's family.
    pub(super) fn destinations_of(&self, gateway: IpAddr) -> impl Iterator<Item = &IpNet> {
        self.destinations.iter().filter(move |dst| dst.addr().is_ipv4() == gateway.is_ipv4())
    }
}

fn everywhere() -> [IpNet; 2] {
    [
        Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
        Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn k9_and_k10_custom_routes_replace_the_defaults_or_follow_them() {
        let custom = ["10.123.0.0/16", "dead:beef::/96", "10.123.0.0/16"];
        for (given, keep, expected) in [
            (custom, false, vec!["10.123.0.0/16", "dead:beef::/96"]),
            (custom, true, vec!["0.0.0.0/0", "::/0", "10.123.0.0/16", "dead:beef::/96"]),
            (["10.1.0.0/16", "0.0.0.0/0", "::/0"], true, vec!["0.0.0.0/0", "::/0", "10.1.0.0/16"]),
        ] {
            let mut routing = Routing::default();
            routing.set_destinations(&nets(&given), keep);
            assert_eq!(routing.destinations, nets(&expected), "{given:?} {keep}");
        }
    }

    #[test]
    fn routes_go_through_the_gateway_of_their_family() {
        let routing = Routing::default();
        let v4 = routing.through("169.254.1.1".parse().unwrap(), 7);
        let shown: Vec<_> = v4.iter().map(|route| (route.dst.to_string(), route.gateway)).collect();
        assert_eq!(
            shown,
            [
                ("169.254.1.1/32".to_owned(), None),
                ("0.0.0.0/0".to_owned(), "169.254.1.1".parse().ok()),
            ]
        );
        assert_eq!(v4[0].scope, Scope::Link);
        assert!(v4.iter().all(|route| route.oif == Some(7)));
        let v6 = routing.through("fe80::1".parse().unwrap(), 7);
        assert_eq!(v6.len(), 1);
        assert_eq!(v6[0].gateway, "fe80::1".parse().ok());
    }
}
