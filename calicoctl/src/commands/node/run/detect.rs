//! Which of a host's addresses is the node's (`reference/bgp-node.md` section 6.2).

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use regex_lite::Regex;

use super::interfaces::Interface;

/// How the names of interfaces begin that are never looked at, unless somebody asks for one: those
/// of containers and tunnels, and Calico's own.
const EXCLUDED: [&str; 19] = [
    "docker",
    "cbr",
    "dummy",
    "podman",
    "virbr",
    "lxcbr",
    "veth",
    "lo",
    "br-",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "nodelocaldns",
];

/// How an address is found.
#[derive(Debug, Clone)]
pub enum Method {
    /// The first usable one, of the interface that was made last.
    FirstFound,
    /// The one that packets to this destination come from.
    CanReach(String),
    /// As the first, of interfaces with such names only.
    Interface(Vec<Regex>),
    /// As the first, without interfaces with such names.
    SkipInterface(Vec<Regex>),
    /// The first one in these ranges.
    Cidr(Vec<IpNet>),
}

/// A method that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MethodError {
    #[error(
        "is none of first-found, can-reach=DEST, interface=REGEX, skip-interface=REGEX, cidr=CIDR"
    )]
    Unknown,
    #[error("needs a value behind the \"=\"")]
    Empty,
    #[error("{0:?} is no regular expression")]
    Regex(String),
    #[error("{0:?} is no CIDR")]
    Cidr(String),
    #[error("needs the Kubernetes API, which is not supported yet: use another method")]
    Kubernetes,
}

/// An address that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// With the length of its prefix.
    pub net: IpNet,
    /// The interface that has it.
    pub interface: String,
}

/// Why none was found.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DetectError {
    #[error("no interface that {method} may take is up and has a global {family} address")]
    None { method: &'static str, family: &'static str },
    #[error("no {family} route to {destination}: {source}")]
    Unreachable { destination: String, family: &'static str, source: io::Error },
    #[error("packets to {destination} come from {address}, which no interface has")]
    Foreign { destination: String, address: IpAddr },
}

impl Method {
    /// Reads a method as the flags and the environment spell it.
    pub fn parse(text: &str) -> Result<Method, MethodError> {
        let Some((name, value)) = text.split_once('=') else {
            return match text {
                "" | "first-found" => Ok(Method::FirstFound),
                "kubernetes-internal-ip" => Err(MethodError::Kubernetes),
                _ => Err(MethodError::Unknown),
            };
        };
        let parts = || value.split(',').map(str::trim).filter(|part| !part.is_empty());
        let regexes = || {
            let regex = |part| Regex::new(part).map_err(|_| MethodError::Regex(part.to_owned()));
            parts().map(regex).collect::<Result<Vec<_>, _>>()
        };
        let method = match name {
            "can-reach" => Method::CanReach(value.trim().to_owned()),
            "interface" => Method::Interface(regexes()?),
            "skip-interface" => Method::SkipInterface(regexes()?),
            "cidr" => {
                let net = |part: &str| part.parse().map_err(|_| MethodError::Cidr(part.to_owned()));
                Method::Cidr(parts().map(net).collect::<Result<_, _>>()?)
            }
            _ => return Err(MethodError::Unknown),
        };
        if parts().next().is_none() {
            return Err(MethodError::Empty);
        }
        Ok(method)
    }

    /// Finds an address of the family. `source_to` tells from which one the kernel would send.
    pub fn detect(
        &self,
        is_v6: bool,
        interfaces: &[Interface],
        source_to: impl Fn(&str, bool) -> io::Result<IpAddr>,
    ) -> Result<Detected, DetectError> {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        let is_excluded = |name: &str| EXCLUDED.iter().any(|start| name.starts_with(start));
        let matches = |regexes: &[Regex], name: &str| regexes.iter().any(|re| re.is_match(name));
        let (method, found) = match self {
            Method::FirstFound => {
                ("first-found", first(is_v6, interfaces, |name, _| !is_excluded(name)))
            }
            Method::Interface(wanted) => {
                ("interface", first(is_v6, interfaces, |name, _| matches(wanted, name)))
            }
            Method::SkipInterface(skipped) => {
                let may = |name: &str, _: &IpNet| !is_excluded(name) && !matches(skipped, name);
                ("skip-interface", first(is_v6, interfaces, may))
            }
            Method::Cidr(ranges) => {
                let within = |_: &str, net: &IpNet| ranges.iter().any(|r| r.contains(&net.addr()));
                ("cidr", first(is_v6, interfaces, within))
            }
            Method::CanReach(destination) => {
                let destination = destination.clone();
                return match source_to(&destination, is_v6) {
                    Ok(address) => owner(interfaces, address)
                        .ok_or(DetectError::Foreign { destination, address }),
                    Err(source) => Err(DetectError::Unreachable { destination, family, source }),
                };
            }
        };
        found.ok_or(DetectError::None { method, family })
    }
}

/// The first usable address: of the interface that was made last, in the kernel's order.
fn first(
    is_v6: bool,
    interfaces: &[Interface],
    may: impl Fn(&str, &IpNet) -> bool,
) -> Option<Detected> {
    let mut up: Vec<&Interface> = interfaces.iter().filter(|interface| interface.is_up).collect();
    up.sort_by_key(|interface| std::cmp::Reverse(interface.index));
    up.into_iter().find_map(|interface| {
        let usable = |net: &&IpNet| {
            net.addr().is_ipv6() == is_v6 && is_global(net.addr()) && may(&interface.name, net)
        };
        let net = interface.addresses.iter().find(usable)?;
        Some(Detected { net: *net, interface: interface.name.clone() })
    })
}

/// The interface that has an address.
pub fn owner(interfaces: &[Interface], address: IpAddr) -> Option<Detected> {
    interfaces.iter().find_map(|interface| {
        let net = interface.addresses.iter().find(|net| net.addr() == address)?;
        Some(Detected { net: *net, interface: interface.name.clone() })
    })
}

/// Whether others may know a host by this address: global unicast, private ones included.
fn is_global(address: IpAddr) -> bool {
    let is_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !is_local && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with many interfaces, in no order.
    fn host() -> Vec<Interface> {
        let interface = |index, name: &str, is_up, addresses: &[&str]| Interface {
            name: name.to_owned(),
            index,
            is_up,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        vec![
            interface(1, "lo", true, &["127.0.0.1/8", "::1/128", "10.0.0.99/32"]),
            interface(9, "docker0", true, &["172.17.0.1/16"]),
            interface(3, "eth1", true, &["169.254.7.7/16", "10.1.0.5/24", "10.1.0.6/24"]),
            interface(2, "eth0", true, &["192.0.2.4/24", "fe80::1/64", "2001:db8::4/64"]),
            interface(8, "eth2", false, &["10.2.0.5/24", "fd00::5/64"]),
            interface(7, "eth3", true, &["fe80::3/64"]),
            interface(12, "cali12345", true, &["10.9.9.9/32"]),
        ]
    }

    fn detect(method: &str, is_v6: bool) -> String {
        let source = |to: &str, _: bool| match to {
            "near" => Ok("10.1.0.6".parse().unwrap()),
            "odd" => Ok("203.0.113.1".parse().unwrap()),
            _ => Err(io::ErrorKind::NetworkUnreachable.into()),
        };
        match Method::parse(method).unwrap().detect(is_v6, &host(), source) {
            Ok(found) => format!("{} {}", found.interface, found.net),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_method_finds_its_address() {
        for (method, is_v6, expected) in [
            ("first-found", false, "eth1 10.1.0.5/24"),
            ("", false, "eth1 10.1.0.5/24"),
            ("first-found", true, "eth0 2001:db8::4/64"),
            ("can-reach=near", false, "eth1 10.1.0.6/24"),
            (
                "can-reach=odd",
                false,
                "packets to odd come from 203.0.113.1, which no interface has",
            ),
            ("can-reach=far", true, "no IPv6 route to far: network unreachable"),
            ("interface=eth0", false, "eth0 192.0.2.4/24"),
            ("interface=wlan.*, eth[01]", false, "eth1 10.1.0.5/24"),
            ("interface=docker0", false, "docker0 172.17.0.1/16"),
            (
                "interface=eth2",
                false,
                "no interface that interface may take is up and has a global IPv4 address",
            ),
            ("skip-interface=^eth1$", false, "eth0 192.0.2.4/24"),
            (
                "skip-interface=eth",
                false,
                "no interface that skip-interface may take is up and has a global IPv4 address",
            ),
            ("cidr=10.0.0.0/24,192.0.2.0/24", false, "eth0 192.0.2.4/24"),
            ("cidr=10.1.0.6/32", false, "eth1 10.1.0.6/24"),
            ("cidr=2001:db8::/32", true, "eth0 2001:db8::4/64"),
        ] {
            assert_eq!(detect(method, is_v6), expected, "{method}");
        }
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for (text, expected) in [
            ("nearest", MethodError::Unknown),
            ("if=eth0", MethodError::Unknown),
            ("interface=", MethodError::Empty),
            ("can-reach= ", MethodError::Empty),
            ("interface=eth[", MethodError::Regex("eth[".into())),
            ("cidr=10.0.0.0/40", MethodError::Cidr("10.0.0.0/40".into())),
            ("kubernetes-internal-ip", MethodError::Kubernetes),
        ] {
            assert_eq!(Method::parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
