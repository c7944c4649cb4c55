//! Reserved addresses (`reference/ipam.md` 4.2): what IPReservation resources keep out of automatic
//! assignment.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::address;
use crate::store::Family;

/// Reserved networks, without overlaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressFilter {
    networks: Vec<IpNet>,
}

impl AddressFilter {
    /// A filter of these networks; those that others cover add nothing.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> AddressFilter {
        let networks: Vec<IpNet> = networks.into_iter().map(|net| net.trunc()).collect();
        AddressFilter { networks: IpNet::aggregate(&networks) }
    }

    /// Whether an address is reserved.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(&ip))
    }

    /// Whether every address of a network is reserved. Neighbours were merged, so one network
    /// covers it or none does.
    pub fn covers(&self, net: IpNet) -> bool {
        self.covering(net).is_some()
    }

    /// The reserved network that covers a network.
    pub(crate) fn covering(&self, net: IpNet) -> Option<IpNet> {
        self.networks.iter().copied().find(|reserved| reserved.contains(&net))
    }

    /// How many addresses of a network are reserved.
    pub fn count_in(&self, net: IpNet) -> u128 {
        self.networks.iter().map(|reserved| overlap(*reserved, net)).fold(0, u128::saturating_add)
    }

    /// The networks, without overlaps.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }
}

/// How many addresses two networks share: all of the smaller one, or none.
pub(crate) fn overlap(a: IpNet, b: IpNet) -> u128 {
    if Family::of(&a) != Family::of(&b) {
        0
    } else if a.contains(&b) {
        address::size(b)
    } else if b.contains(&a) {
        address::size(a)
    } else {
        0
    }
}

/// The reserved networks of one stored IPReservation. Blanks are trimmed, bare addresses are read, what
/// can't be read is skipped, as upstream does.
pub fn reserved_networks(value: &[u8]) -> Vec<IpNet> {
    #[derive(Deserialize)]
    struct Resource {
        #[serde(rename = "spec", default)]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(rename = "reservedCIDRs", default)]
        reserved: Option<Vec<String>>,
    }
    let Ok(resource) = serde_json::from_slice::<Resource>(value) else { return Vec::new() };
    let texts = resource.spec.reserved.unwrap_or_default();
    texts.iter().filter_map(|text| parse_network(text.trim())).collect()
}

/// A network, or a bare address as a network of one.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    /// AF1 to AF3.
    #[test]
    fn af_addresses_and_networks_match() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        assert!(AddressFilter::new(nets(&["0.0.0.0/0"])).contains(ip("8.8.8.8")));
        assert!(!AddressFilter::new(nets(&["0.0.0.0/0"])).contains(ip("fd00::1")));
        assert!(AddressFilter::new(nets(&["::/0"])).covers(net("fd00::/64")));
        let halves = AddressFilter::new(nets(&["192.168.1.64/26", "192.168.1.0/26"]));
        assert!(halves.covers(net("192.168.1.0/25")));
        for outside in ["192.168.1.0/24", "192.168.2.64/26", "10.0.0.0/8"] {
            assert!(!halves.covers(net(outside)), "{outside}");
        }
        assert!(halves.contains(ip("192.168.1.127")) && !halves.contains(ip("192.168.1.128")));
    }

    /// AF4 to AF9.
    #[test]
    fn af_duplicates_are_counted_once() {
        for (list, within, count) in [
            (&["10.0.0.0/24", "11.0.0.0/24"][..], "10.0.0.0/8", 256),
            (&["10.0.0.0/8", "0.0.0.0/0"], "10.0.0.0/24", 256),
            (&["fd00::/64", "fd00::/120"], "fd00::/120", 256),
            (&["10.0.0.0/25", "10.0.0.128/25", "10.0.0.0/24", "11.0.0.0/8"], "10.0.0.0/16", 256),
            (&["10.0.0.0/25", "10.0.0.0/25", "10.0.0.128/25"], "10.0.0.0/24", 256),
            (&[], "10.0.0.0/24", 0),
        ] {
            let filter = AddressFilter::new(nets(list));
            assert_eq!(filter.count_in(within.parse().expect("a network")), count, "{list:?}");
        }
    }

    /// RC1 to RC3.
    #[test]
    fn rc_odd_entries_are_read_or_skipped() {
        let value = br#"{"spec":{"reservedCIDRs":[" 10.0.0.1/30 ","10.0.0.9","fd00::1","x","",
            "10.0.0.0/33"]}}"#;
        let found: Vec<String> =
            reserved_networks(value).iter().map(|net| net.to_string()).collect();
        assert_eq!(found, ["10.0.0.1/30", "10.0.0.9/32", "fd00::1/128"]);
        assert!(reserved_networks(b"{").is_empty());
        assert!(reserved_networks(br#"{"spec":{}}"#).is_empty());
    }
}
