//! The annotations of pods and namespaces that Calico reads and writes, and how their values are
//! read (`reference/cni-plugin.md` section 3.6). An empty value is the same as none.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::resources::metadata::StringMap;

/// The pod's first address with its mask; written by the network plugin.
pub const POD_IP: &str = "cni.projectcalico.org/podIP";
/// All addresses of the pod with their masks and commas between; written by the network plugin.
pub const POD_IPS: &str = "cni.projectcalico.org/podIPs";
/// The sandbox that has the addresses; written by the network plugin.
pub const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";
/// The addresses that Amazon's network plugin gave.
pub const AWS_POD_IPS: &str = "vpc.amazonaws.com/pod-ips";
/// Only these IPv4 pools: a list of CIDRs and names.
pub const IPV4_POOLS: &str = "cni.projectcalico.org/ipv4pools";
/// Only these IPv6 pools: a list of CIDRs and names.
pub const IPV6_POOLS: &str = "cni.projectcalico.org/ipv6pools";
/// The families to assign: a list of `IPv4` and `IPv6`.
pub const IP_FAMILIES: &str = "cni.projectcalico.org/ipFamilies";
/// The addresses to assign.
pub const IP_ADDRS: &str = "cni.projectcalico.org/ipAddrs";
/// The addresses to use without IPAM.
pub const IP_ADDRS_NO_IPAM: &str = "cni.projectcalico.org/ipAddrsNoIpam";
/// Addresses from elsewhere that are turned into the pod's own.
pub const FLOATING_IPS: &str = "cni.projectcalico.org/floatingIPs";
/// Ranges that the pod may send from beside its own addresses.
pub const ALLOWED_SOURCE_PREFIXES: &str = "cni.projectcalico.org/allowedSourcePrefixes";
/// The MAC of the pod's interface.
pub const HW_ADDR: &str = "cni.projectcalico.org/hwAddr";
/// What other networks a meta plugin has attached; kept on the endpoint.
pub const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// The uid under which a kubelet runs a pod out of a file; the object in the API has another one.
pub const MIRROR_UID: &str = "kubernetes.io/config.mirror";

/// What is wrong with an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationFault {
    /// Its value is of no use.
    Malformed,
    /// Its value is fine, but the network doesn't allow it, or can't do it.
    NotAllowed,
}

/// An annotation that can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name} of {owner} is {value:?}: {reason}")]
pub struct AnnotationError {
    /// What is wrong.
    pub fault: AnnotationFault,
    /// The annotation.
    pub name: &'static str,
    /// The object that has it, like `pod shop/cart-0`.
    pub owner: String,
    /// The start of its value.
    pub value: String,
    /// What is wrong with it, and what is right.
    pub reason: String,
}

/// The annotations of an object.
#[derive(Debug, Clone, Copy)]
pub struct Annotations<'a> {
    values: &'a StringMap,
    /// `pod` or `namespace`.
    kind: &'static str,
    /// The object, with its namespace where it has one.
    object: &'a str,
}

impl<'a> Annotations<'a> {
    /// The annotations of an object, which errors name as `kind` and `object`.
    pub fn of(values: &'a StringMap, kind: &'static str, object: &'a str) -> Annotations<'a> {
        Annotations { values, kind, object }
    }

    /// A value that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value as it is, even an empty one.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.values.get(name).map(String::as_str)
    }

    /// A JSON list of texts.
    pub fn list(&self, name: &'static str) -> Result<Option<Vec<String>>, AnnotationError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // COMPAT: Go reads `null` as an empty list.
        let list: Result<Option<Vec<String>>, _> = serde_json::from_str(value);
        list.map(|list| Some(list.unwrap_or_default()))
            .map_err(|_| self.wrong(name, "write a JSON list of texts, like [\"a\", \"b\"]"))
    }

    /// A JSON list of addresses.
    pub fn addresses(&self, name: &'static str) -> Result<Option<Vec<IpAddr>>, AnnotationError> {
        self.parsed(name, "is no IP address")
    }

    /// A JSON list of CIDRs, each with its host bits cleared.
    pub fn networks(&self, name: &'static str) -> Result<Option<Vec<IpNet>>, AnnotationError> {
        let networks: Option<Vec<IpNet>> = self.parsed(name, "is no CIDR like 192.0.2.0/24")?;
        Ok(networks.map(|networks| networks.iter().map(IpNet::trunc).collect()))
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        name: &'static str,
        reason: &str,
    ) -> Result<Option<Vec<T>>, AnnotationError> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        let parsed = list.iter().map(|text| {
            text.parse().map_err(|_| self.wrong(name, format!("{:?} {reason}", excerpt(text))))
        });
        parsed.collect::<Result<_, _>>().map(Some)
    }

    /// An error about a value.
    pub fn wrong(&self, name: &'static str, reason: impl Into<String>) -> AnnotationError {
        self.error(AnnotationFault::Malformed, name, reason.into())
    }

    /// An error about a value that is right, but not here.
    pub fn refused(&self, name: &'static str, reason: impl Into<String>) -> AnnotationError {
        self.error(AnnotationFault::NotAllowed, name, reason.into())
    }

    fn error(&self, fault: AnnotationFault, name: &'static str, reason: String) -> AnnotationError {
        AnnotationError {
            fault,
            name,
            owner: format!("{} {}", self.kind, self.object),
            value: excerpt(self.get(name).unwrap_or_default()),
            reason,
        }
    }
}

/// The start of a text from outside, short enough for a message.
pub(super) fn excerpt(text: &str) -> String {
    const LIMIT: usize = 128;
    match text.char_indices().nth(LIMIT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(value: &str) -> StringMap {
        StringMap::from([(FLOATING_IPS.to_owned(), value.to_owned())])
    }

    #[test]
    fn lists_are_read_and_what_is_empty_is_not_there() {
        for (value, expected) in [
            ("", None),
            ("null", Some(vec![])),
            ("[]", Some(vec![])),
            (r#" ["192.0.2.1", "2001:DB8::1"] "#, Some(vec!["192.0.2.1", "2001:db8::1"])),
        ] {
            let values = values(value);
            let read = Annotations::of(&values, "pod", "shop/cart-0").addresses(FLOATING_IPS);
            let expected: Option<Vec<IpAddr>> = expected.map(|list: Vec<&str>| {
                list.into_iter().map(|text| text.parse().unwrap()).collect()
            });
            assert_eq!(read, Ok(expected), "{value}");
        }
        assert_eq!(Annotations::of(&values("[]"), "pod", "a/b").list(IP_ADDRS), Ok(None));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_annotation_and_object() {
        for (value, reason) in [
            ("192.0.2.1", "JSON list"),
            ("[\"192.0.2.1\"", "JSON list"),
            ("[1]", "JSON list"),
            ("{}", "JSON list"),
            (r#"["192.0.2.1/32"]"#, r#""192.0.2.1/32" is no IP address"#),
            (r#"[""]"#, r#""" is no IP address"#),
        ] {
            let values = values(value);
            let error = Annotations::of(&values, "pod", "shop/cart-0").addresses(FLOATING_IPS);
            let error = error.unwrap_err().to_string();
            let named = "annotation cni.projectcalico.org/floatingIPs of pod shop/cart-0 is ";
            assert!(error.starts_with(named) && error.contains(reason), "{value}: {error}");
        }
        let values = values(&"é".repeat(1000));
        let error = Annotations::of(&values, "pod", "a/b").list(FLOATING_IPS).unwrap_err();
        assert_eq!(error.value, format!("{}...", "é".repeat(128)));
    }
}
