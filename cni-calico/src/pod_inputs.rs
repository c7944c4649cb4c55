//! What a pod and its namespace say beside the network's configuration, as ADD uses it
//! (`reference/cni-plugin.md` sections 3.3 and 3.6). All of it is judged before anything is touched.
//!
//! A container of which Kubernetes says nothing has the default: it asks for nothing.

use std::net::IpAddr;

use cni::{Error, code};
use cni_ipam::identity::Identity;
use libcalico::kubernetes::pod_endpoint::nat;
use libcalico::kubernetes::{
    AddressRequest, Allowed, AnnotationError, AnnotationFault, Families, Namespace, Pod,
    PodRequest, annotation,
};
use libcalico::names;
use libcalico::resources::metadata::StringMap;
use libcalico::resources::workload_endpoint::EndpointPort;
use libcalico::resources::{Extra, WorkloadEndpoint};
use netutils::Mac;

use crate::attachment::OWN_IPAM;
use crate::conf::Conf;
use crate::{dataplane, endpoint};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct PodInputs {
    /// The addresses that the pod names, instead of any.
    pub addresses: Named,
    /// The MAC of its interface.
    pub mac: Option<Mac>,
    /// Whether its addresses are still another pod's, whose virtual machine moves here: then the
    /// host gets no routes to them yet.
    pub takes_over: bool,
    contents: Contents,
}

/// The addresses that a pod names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Named {
    /// None: it takes what the network gives.
    #[default]
    None,
    /// These, from IPAM.
    FromIpam(Vec<IpAddr>),
    /// These, and IPAM isn't asked.
    WithoutIpam(Vec<IpAddr>),
}

/// What a former sandbox has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its handle.
    pub handle: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

/// What goes into the endpoint as it is.
#[derive(Debug, Clone, Default)]
struct Contents {
    labels: StringMap,
    generate_name: String,
    service_account_name: String,
    /// Empty: the network's own.
    profiles: Vec<String>,
    ports: Vec<EndpointPort>,
    allowed_source_prefixes: Vec<String>,
    floating_ips: Vec<IpAddr>,
    qos_controls: Option<Extra>,
}

impl PodInputs {
    /// Reads what the API says of the pod. Pools and families that it asks for take the place of
    /// the configured ones. `uid` is the runtime's `K8S_POD_UID`, where it says it.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "waits for a client for the Kubernetes API: policy.type k8s")
    )]
    pub fn read(
        pod: &Pod,
        namespace: &Namespace,
        uid: Option<&str>,
        conf: &mut Conf,
    ) -> Result<PodInputs, Error> {
        if let Some(uid) = uid.filter(|uid| !pod.is_run_as(uid)) {
            // COMPAT: upstream annotates whatever pod has the name by now.
            return Err(Error::new(
                code::UNKNOWN_CONTAINER,
                format!(
                    "pod {} with uid {uid} is gone: another one has its name, with uid {}",
                    pod.full_name(),
                    pod.metadata.uid
                ),
            ));
        }
        let request = PodRequest::read(pod, namespace, allowed(conf)).map_err(refused)?;
        let mac = request.mac.as_deref().map(|text| parse_mac(pod, text)).transpose()?;
        let mut warnings = Vec::new();
        let qos_controls = pod.qos_controls(&mut warnings);
        for warning in warnings {
            tracing::warn!("pod {}: {warning}", pod.full_name());
        }
        Ok(PodInputs {
            mac,
            takes_over: false,
            contents: Contents {
                labels: pod.labels(),
                generate_name: pod.metadata.generate_name.clone(),
                service_account_name: pod.spec.service_account_name.clone(),
                profiles: pod.profiles(),
                ports: pod.ports(),
                allowed_source_prefixes: request
                    .allowed_source_prefixes
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                floating_ips: request.floating_ips,
                qos_controls,
            },
            addresses: named(request.addresses, conf),
        })
    }

    /// Writes what is said of the endpoint. All of it is written anew each time: what a former
    /// sandbox of the pod had is no longer true.
    pub fn fill(&self, endpoint: &mut WorkloadEndpoint, addresses: &[IpAddr]) {
        let Contents { labels, profiles, floating_ips, .. } = &self.contents;
        endpoint.metadata.labels.extend(labels.clone());
        let spec = &mut endpoint.spec;
        if !profiles.is_empty() {
            spec.profiles = profiles.clone();
        }
        spec.service_account_name = self.contents.service_account_name.clone();
        spec.ports = self.contents.ports.clone();
        spec.allow_spoofed_source_prefixes = self.contents.allowed_source_prefixes.clone();
        spec.qos_controls = self.contents.qos_controls.clone();
        spec.ip_nats = floating_ips.iter().filter_map(|ip| nat(*ip, addresses)).collect();
        if !self.contents.generate_name.is_empty() {
            endpoint.metadata.generate_name = self.contents.generate_name.clone();
        }
    }

    /// The named addresses that a former sandbox of the pod has from IPAM, by its endpoint, and that
    /// sandbox' own handle: from no other one may they be taken. Upstream takes them from whoever has
    /// them.
    pub fn held_by(&self, former: &WorkloadEndpoint, identity: &Identity) -> Option<Held> {
        let Named::FromIpam(named) = &self.addresses else { return None };
        let id = &former.spec.container_id;
        if id.is_empty() || *id == identity.container_id {
            return None;
        }
        let mut held = endpoint::addresses(former);
        held.retain(|address| named.contains(address));
        let handle = names::handle_id(&identity.network, id);
        (!held.is_empty()).then_some(Held { handle, addresses: held })
    }
}

/// What the configuration allows and gives.
fn allowed(conf: &Conf) -> Allowed {
    let Conf { shared, own } = conf;
    let calico_ipam = shared.ipam.kind == OWN_IPAM;
    let families = Families { v4: shared.wants_ipv4(), v6: shared.wants_ipv6() };
    Allowed {
        calico_ipam,
        ip_addrs_no_ipam: own.feature_control.ip_addrs_no_ipam,
        floating_ips: own.feature_control.floating_ips,
        families: calico_ipam.then_some(families),
    }
}

/// Puts pools and families into the configuration of IPAM; what is named stays.
fn named(request: AddressRequest, conf: &mut Conf) -> Named {
    match request {
        AddressRequest::These(addresses) => Named::FromIpam(addresses),
        AddressRequest::WithoutIpam(addresses) => Named::WithoutIpam(addresses),
        AddressRequest::Any { v4_pools, v6_pools, families } => {
            let ipam = &mut conf.shared.ipam;
            for (configured, asked) in
                [(&mut ipam.ipv4_pools, v4_pools), (&mut ipam.ipv6_pools, v6_pools)]
            {
                if let Some(pools) = asked {
                    *configured = pools;
                }
            }
            if let Some(families) = families {
                ipam.assign_ipv4 = Some(families.v4.to_string());
                ipam.assign_ipv6 = Some(families.v6.to_string());
            }
            Named::None
        }
    }
}

fn parse_mac(pod: &Pod, text: &str) -> Result<Mac, Error> {
    let wrong = |why: String| {
        Error::new(
            code::DECODING_FAILURE,
            format!("annotation {} of pod {}: {why}", annotation::HW_ADDR, pod.full_name()),
        )
    };
    let mac: Mac = text.parse().map_err(|error: netutils::MacError| wrong(error.to_string()))?;
    match dataplane::is_for_container(mac) {
        true => Ok(mac),
        false => Err(wrong(format!("no container can have {mac}"))),
    }
}

fn refused(error: AnnotationError) -> Error {
    let code = match error.fault {
        AnnotationFault::Malformed => code::DECODING_FAILURE,
        AnnotationFault::NotAllowed => code::INVALID_CONFIG,
    };
    Error::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
