//! What a pod and its namespace ask of an ADD by their annotations (`reference/cni-plugin.md`
//! section 3.6). All of it is read before anything is touched: a mistake costs nothing but a
//! message that names the annotation.

use std::net::IpAddr;

use ipnet::IpNet;

use super::annotation::{self, AnnotationError, Annotations};
use super::object::{Namespace, Pod};

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRequest {
    /// Which addresses.
    pub addresses: AddressRequest,
    /// Addresses from elsewhere that are turned into the pod's own.
    pub floating_ips: Vec<IpAddr>,
    /// Ranges that it may send from beside its own addresses.
    pub allowed_source_prefixes: Vec<IpNet>,
    /// The MAC of its interface, as it is written.
    pub mac: Option<String>,
}

/// Which addresses a pod wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressRequest {
    /// Any, out of these pools and of these families; what is none stays as it is configured.
    Any {
        /// IPv4 pools: CIDRs and names.
        v4_pools: Option<Vec<String>>,
        /// IPv6 pools: CIDRs and names.
        v6_pools: Option<Vec<String>>,
        /// The families.
        families: Option<Families>,
    },
    /// These, from IPAM.
    These(Vec<IpAddr>),
    /// These, and IPAM isn't asked.
    WithoutIpam(Vec<IpAddr>),
}

impl Default for AddressRequest {
    fn default() -> AddressRequest {
        AddressRequest::Any { v4_pools: None, v6_pools: None, families: None }
    }
}

/// The families that a pod wants addresses of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// What the network's configuration allows its pods to ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Whether the addresses come from Calico's IPAM. Another plugin knows neither pools nor
    /// families of ours, and gives the addresses that it likes.
    pub calico_ipam: bool,
    /// `feature_control.ip_addrs_no_ipam`.
    pub ip_addrs_no_ipam: bool,
    /// `feature_control.floating_ips`.
    pub floating_ips: bool,
    /// The families that a pod gets which asks for none, if that is known.
    pub families: Option<Families>,
}

impl PodRequest {
    /// Reads the annotations.
    pub fn read(
        pod: &Pod,
        namespace: &Namespace,
        allowed: Allowed,
    ) -> Result<PodRequest, AnnotationError> {
        let full_name = pod.full_name();
        let of_pod = pod.annotations(&full_name);
        let name = &namespace.metadata.name;
        let of_namespace = Annotations::of(&namespace.metadata.annotations, "namespace", name);
        let floating_ips = of_pod.addresses(annotation::FLOATING_IPS)?.unwrap_or_default();
        if !floating_ips.is_empty() && !allowed.floating_ips {
            let reason = "floating addresses are switched off: set feature_control.floating_ips to \
                          true in the network's configuration, or leave the annotation out";
            return Err(of_pod.refused(annotation::FLOATING_IPS, reason));
        }
        let request = PodRequest {
            addresses: addresses(of_pod, of_namespace, allowed)?,
            floating_ips,
            allowed_source_prefixes: of_pod
                .networks(annotation::ALLOWED_SOURCE_PREFIXES)?
                .unwrap_or_default(),
            mac: of_pod.get(annotation::HW_ADDR).map(str::to_owned),
        };
        request.check_floating(of_pod, allowed.families)?;
        Ok(request)
    }

    /// Where the families are known already, a floating address must be of one of them: upstream
    /// pairs it with anything, and fails when the pod's interface is there.
    fn check_floating(
        &self,
        annotations: Annotations<'_>,
        configured: Option<Families>,
    ) -> Result<(), AnnotationError> {
        let Some(families) = self.addresses.families().or(configured) else { return Ok(()) };
        let fits = |ip: &&IpAddr| match ip.is_ipv4() {
            true => families.v4,
            false => families.v6,
        };
        match self.floating_ips.iter().find(|ip| !fits(ip)) {
            Some(stray) => {
                let reason = format!("the pod gets no address of {stray}'s family to pair it with");
                Err(annotations.refused(annotation::FLOATING_IPS, reason))
            }
            None => Ok(()),
        }
    }
}

impl AddressRequest {
    /// The families of the addresses, if the request itself tells.
    pub fn families(&self) -> Option<Families> {
        match self {
            AddressRequest::Any { families, .. } => *families,
            AddressRequest::These(list) | AddressRequest::WithoutIpam(list) => Some(Families {
                v4: list.iter().any(IpAddr::is_ipv4),
                v6: list.iter().any(IpAddr::is_ipv6),
            }),
        }
    }
}

fn addresses(
    pod: Annotations<'_>,
    namespace: Annotations<'_>,
    allowed: Allowed,
) -> Result<AddressRequest, AnnotationError> {
    let these = requested(pod, annotation::IP_ADDRS)?;
    let without_ipam = requested(pod, annotation::IP_ADDRS_NO_IPAM)?;
    let needs_calico_ipam = |name| match allowed.calico_ipam {
        true => Ok(()),
        false => Err(pod.refused(name, "it works with ipam.type \"calico-ipam\" only")),
    };
    match (these, without_ipam) {
        (Some(_), Some(_)) => {
            let reason = format!(
                "{} is there too, and only one of them can be: leave one out",
                annotation::IP_ADDRS_NO_IPAM
            );
            Err(pod.refused(annotation::IP_ADDRS, reason))
        }
        (Some(these), None) => {
            needs_calico_ipam(annotation::IP_ADDRS)?;
            Ok(AddressRequest::These(these))
        }
        (None, Some(without)) => {
            needs_calico_ipam(annotation::IP_ADDRS_NO_IPAM)?;
            if !allowed.ip_addrs_no_ipam {
                let reason = "addresses without IPAM are switched off: set \
                              feature_control.ip_addrs_no_ipam to true in the network's \
                              configuration, or leave the annotation out";
                return Err(pod.refused(annotation::IP_ADDRS_NO_IPAM, reason));
            }
            Ok(AddressRequest::WithoutIpam(without))
        }
        (None, None) if allowed.calico_ipam => Ok(AddressRequest::Any {
            v4_pools: pools(pod, namespace, annotation::IPV4_POOLS, true)?,
            v6_pools: pools(pod, namespace, annotation::IPV6_POOLS, false)?,
            families: families(pod, namespace)?,
        }),
        (None, None) => Ok(AddressRequest::default()),
    }
}

/// A list of one or two addresses, of a family each.
fn requested(
    pod: Annotations<'_>,
    name: &'static str,
) -> Result<Option<Vec<IpAddr>>, AnnotationError> {
    let Some(list) = pod.addresses(name)? else { return Ok(None) };
    match list.as_slice() {
        [_] => Ok(Some(list)),
        [one, other] if one.is_ipv4() != other.is_ipv4() => Ok(Some(list)),
        _ => Err(pod.wrong(name, "write one address, or one of each family")),
    }
}

/// The annotation that counts: the pod's, else the namespace's.
fn nearest<'a>(
    pod: Annotations<'a>,
    namespace: Annotations<'a>,
    name: &'static str,
) -> Annotations<'a> {
    match pod.get(name) {
        Some(_) => pod,
        None => namespace,
    }
}

fn pools(
    pod: Annotations<'_>,
    namespace: Annotations<'_>,
    name: &'static str,
    v4: bool,
) -> Result<Option<Vec<String>>, AnnotationError> {
    let annotations = nearest(pod, namespace, name);
    let Some(list) = annotations.list(name)? else { return Ok(None) };
    let is_stray = |entry: &&String| {
        entry.is_empty() || entry.parse::<IpNet>().is_ok_and(|cidr| cidr.addr().is_ipv4() != v4)
    };
    match list.iter().find(is_stray) {
        Some(stray) => {
            let family = if v4 { "IPv4" } else { "IPv6" };
            let stray = annotation::excerpt(stray);
            let reason = format!("{stray:?} is no {family} pool: write CIDRs or names of pools");
            Err(annotations.wrong(name, reason))
        }
        None => Ok(Some(list)),
    }
}

fn families(
    pod: Annotations<'_>,
    namespace: Annotations<'_>,
) -> Result<Option<Families>, AnnotationError> {
    let name = annotation::IP_FAMILIES;
    let annotations = nearest(pod, namespace, name);
    let Some(list) = annotations.list(name)? else { return Ok(None) };
    let mut families = Families { v4: false, v6: false };
    for family in &list {
        match family.as_str() {
            "IPv4" => families.v4 = true,
            "IPv6" => families.v6 = true,
            _ => return Err(annotations.wrong(name, "write a list of \"IPv4\" and \"IPv6\"")),
        }
    }
    match list.is_empty() {
        true => Err(annotations.wrong(name, "a pod needs an address: name a family at least")),
        false => Ok(Some(families)),
    }
}

#[cfg(test)]
mod tests;
