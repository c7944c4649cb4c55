//! The endpoint that a pod stands for (`reference/cni-plugin.md` section 6.3,
//! `reference/datamodel.md` section 10.7), and the little of a pod that tells whose it is.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::annotation::{self, AnnotationError, Annotations, excerpt};
use super::object::{Pod, PodIp};
use super::qos;
use crate::names::{self, NameError};
use crate::resources::metadata::StringMap;
use crate::resources::workload_endpoint::{
    EndpointPort, IpNat, LABEL_NAMESPACE, LABEL_ORCHESTRATOR, LABEL_SERVICE_ACCOUNT, Protocol,
};
use crate::resources::{Extra, ObjectMeta, WorkloadEndpoint, WorkloadEndpointSpec};

/// The orchestrator of every pod.
pub const ORCHESTRATOR: &str = "k8s";
/// The interface that a pod's endpoint is named after, whatever it is really called.
pub const ENDPOINT: &str = "eth0";
/// The longest value of a label. Upstream leaves a service account of exactly this length out, which
/// policy then can't select, though it is legal.
const MAX_LABEL: usize = 63;

/// A pod of which no endpoint can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// It has no name, or no node yet.
    #[error("pod {pod} has no endpoint: {cause}; a pod has one once it is scheduled")]
    Name {
        /// The pod.
        pod: String,
        /// What is missing.
        #[source]
        cause: NameError,
    },
    /// An address is none.
    #[error("pod {pod} has the address {address:?} in {place}, which is no IP address")]
    Address {
        /// The pod.
        pod: String,
        /// Where it stands.
        place: &'static str,
        /// What stands there.
        address: String,
    },
    /// An annotation can't be used.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
}

/// An endpoint, and what was wrong with the pod without being worth a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The endpoint.
    pub endpoint: WorkloadEndpoint,
    /// What was left out, in one line each.
    pub warnings: Vec<String>,
}

impl Pod {
    /// The endpoint as Calico sees it. `link_prefixes` is Felix' comma list of prefixes of links.
    pub fn endpoint(&self, link_prefixes: &str) -> Result<Converted, PodError> {
        let full_name = self.full_name();
        let annotations = self.annotations(&full_name);
        let mut warnings = Vec::new();
        let ip_networks = match self.is_finished() {
            true => Vec::new(),
            false => self.ip_networks(&full_name)?,
        };
        let allowed = annotations.networks(annotation::ALLOWED_SOURCE_PREFIXES)?;
        let account = &self.spec.service_account_name;
        let mut spec = WorkloadEndpointSpec {
            orchestrator: ORCHESTRATOR.into(),
            node: self.spec.node_name.clone(),
            pod: self.metadata.name.clone(),
            endpoint: ENDPOINT.into(),
            container_id: annotations.get(annotation::CONTAINER_ID).unwrap_or_default().into(),
            service_account_name: account.clone(),
            ip_networks: ip_networks.iter().map(IpNet::to_string).collect(),
            profiles: self.profiles(),
            interface_name: names::k8s_host_link(
                link_prefixes,
                &self.metadata.namespace,
                &self.metadata.name,
            ),
            ports: self.ports(),
            allow_spoofed_source_prefixes: texts(&allowed.unwrap_or_default()),
            qos_controls: self.qos_controls(&mut warnings),
            ..WorkloadEndpointSpec::default()
        };
        // Without addresses nobody looks at what they would be paired with.
        if !ip_networks.is_empty() {
            let addresses: Vec<IpAddr> = ip_networks.iter().map(IpNet::addr).collect();
            let floating = annotations.addresses(annotation::FLOATING_IPS)?.unwrap_or_default();
            spec.ip_nats = floating.iter().filter_map(|ip| nat(*ip, &addresses)).collect();
        }
        let name = spec.name().map_err(|cause| PodError::Name { pod: full_name.clone(), cause })?;
        let mut endpoint = WorkloadEndpoint::new(name, spec);
        endpoint.metadata = ObjectMeta {
            labels: self.labels(),
            annotations: self.kept_annotations(),
            name: endpoint.metadata.name,
            namespace: self.metadata.namespace.clone(),
            generate_name: self.metadata.generate_name.clone(),
            uid: self.metadata.uid.clone(),
            resource_version: self.metadata.resource_version.clone(),
            creation_timestamp: self.metadata.creation_timestamp,
            ..ObjectMeta::default()
        };
        Ok(Converted { endpoint, warnings })
    }

    /// Its annotations; `full_name` is [`Pod::full_name`].
    pub(super) fn annotations<'a>(&'a self, full_name: &'a str) -> Annotations<'a> {
        Annotations::of(&self.metadata.annotations, "pod", full_name)
    }

    /// Its profiles: that of its namespace, and that of its service account.
    pub fn profiles(&self) -> Vec<String> {
        let namespace = &self.metadata.namespace;
        let account = &self.spec.service_account_name;
        let mut profiles = vec![format!("kns.{namespace}")];
        if !account.is_empty() {
            profiles.push(format!("ksa.{namespace}.{account}"));
        }
        profiles
    }

    /// Whether a sandbox that runs under this uid is this pod's: a later pod may have its name. One
    /// out of a file on the node has another uid in the API, and notes the node's.
    pub fn is_run_as(&self, uid: &str) -> bool {
        let mirrored = self.metadata.annotations.get(annotation::MIRROR_UID);
        self.metadata.uid == uid || mirrored.is_some_and(|mirrored| mirrored == uid)
    }

    /// Its labels, and those that Calico adds.
    pub fn labels(&self) -> StringMap {
        let mut labels = self.metadata.labels.clone();
        labels.insert(LABEL_NAMESPACE.into(), self.metadata.namespace.clone());
        labels.insert(LABEL_ORCHESTRATOR.into(), ORCHESTRATOR.into());
        let account = &self.spec.service_account_name;
        if !account.is_empty() && account.len() <= MAX_LABEL {
            labels.insert(LABEL_SERVICE_ACCOUNT.into(), account.clone());
        }
        labels
    }

    /// The ports that policies can name, and those that the host forwards.
    pub fn ports(&self) -> Vec<EndpointPort> {
        let containers = self.spec.containers.iter().chain(&self.spec.init_containers);
        containers
            .flat_map(|container| &container.ports)
            .filter(|port| port.container_port != 0)
            .filter(|port| port.host_port != 0 || !port.name.is_empty())
            .filter_map(|port| {
                let protocol = match port.protocol.as_str() {
                    "" => "TCP",
                    known @ ("TCP" | "UDP" | "SCTP") => known,
                    _ => return None,
                };
                Some(EndpointPort {
                    name: port.name.clone(),
                    protocol: Protocol::Name(protocol.into()),
                    port: port.container_port,
                    host_port: port.host_port,
                    host_ip: port.host_ip.clone(),
                    ..EndpointPort::default()
                })
            })
            .collect()
    }

    /// Its limits of bandwidth, packets and connections; what is wrong goes to `warnings`, a line
    /// each.
    pub fn qos_controls(&self, warnings: &mut Vec<String>) -> Option<Extra> {
        qos::controls(self.annotations(&self.full_name()), warnings)
    }

    /// Whether it has given its addresses back, or never needs them again.
    pub fn is_finished(&self) -> bool {
        let is_emptied = |name| self.metadata.annotations.get(name).is_some_and(String::is_empty);
        let is_leaving = self.metadata.deletion_timestamp.is_some();
        let is_over = matches!(self.status.phase.as_str(), "Failed" | "Succeeded" | "Completed");
        is_over
            || is_leaving
                && [annotation::POD_IP, annotation::AWS_POD_IPS].into_iter().any(is_emptied)
    }

    /// Its addresses, from the first place that has any: before kubelet reports them, the network
    /// plugin's annotations do.
    fn ip_networks(&self, full_name: &str) -> Result<Vec<IpNet>, PodError> {
        let annotated = |name| {
            self.metadata.annotations.get(name).map(String::as_str).unwrap_or_default().split(',')
        };
        let reported: Vec<&str> =
            self.status.pod_ips.iter().map(|PodIp { ip }| ip.as_str()).collect();
        let places: [(&str, Vec<&str>); 5] = [
            ("status.podIPs", reported),
            ("status.podIP", vec![self.status.pod_ip.as_str()]),
            (annotation::POD_IPS, annotated(annotation::POD_IPS).collect()),
            (annotation::POD_IP, annotated(annotation::POD_IP).take(1).collect()),
            (annotation::AWS_POD_IPS, annotated(annotation::AWS_POD_IPS).collect()),
        ];
        for (place, texts) in places {
            let texts = texts.into_iter().map(str::trim).filter(|text| !text.is_empty());
            let parsed = texts.map(|text| {
                address(text).ok_or_else(|| PodError::Address {
                    pod: full_name.to_owned(),
                    place,
                    address: excerpt(text),
                })
            });
            let networks: Vec<IpNet> = parsed.collect::<Result<_, _>>()?;
            if !networks.is_empty() {
                return Ok(networks);
            }
        }
        Ok(Vec::new())
    }

    /// The annotations that its endpoint has too.
    fn kept_annotations(&self) -> StringMap {
        let kept = self.metadata.annotations.get_key_value(annotation::NETWORK_STATUS);
        kept.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
    }
}

/// An address with or without a mask, as the network of this address alone.
fn address(text: &str) -> Option<IpNet> {
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr())).map(IpNet::from)
}

/// A floating address with the pod's own of its family, if it has one.
pub fn nat(external: IpAddr, addresses: &[IpAddr]) -> Option<IpNat> {
    let internal = addresses.iter().find(|own| own.is_ipv4() == external.is_ipv4())?;
    Some(IpNat {
        internal_ip: internal.to_string(),
        external_ip: external.to_string(),
        ..IpNat::default()
    })
}

pub(super) fn texts(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(IpNet::to_string).collect()
}

/// What tells whose a pod's addresses are, read from a pod of which nothing else may be right. One
/// malformed annotation must not keep DEL from its work: upstream leaves such a pod terminating for
/// ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodRecord {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its identity.
    pub uid: String,
    /// Its revision.
    pub resource_version: String,
    /// The node that it runs on.
    pub node: String,
    /// Whether it has the node's own network.
    pub host_network: bool,
    /// The sandbox whose addresses it has; empty if nobody wrote it.
    pub container_id: String,
    /// Whether the network plugin's addresses are still there.
    pub has_addresses: bool,
}

impl PodRecord {
    /// Reads what is there; what isn't, or is of another type, is empty.
    pub fn read(pod: &Value) -> PodRecord {
        let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let annotation = |name| {
            let annotations = pod.pointer("/metadata/annotations");
            annotations.and_then(|all| all.get(name)).and_then(Value::as_str).unwrap_or_default()
        };
        PodRecord {
            name: text("/metadata/name").into(),
            namespace: text("/metadata/namespace").into(),
            uid: text("/metadata/uid").into(),
            resource_version: text("/metadata/resourceVersion").into(),
            node: text("/spec/nodeName").into(),
            host_network: pod
                .pointer("/spec/hostNetwork")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            container_id: annotation(annotation::CONTAINER_ID).into(),
            has_addresses: [annotation::POD_IP, annotation::POD_IPS]
                .into_iter()
                .any(|name| !annotation(name).is_empty()),
        }
    }

    /// Whether the pod has an endpoint on this node.
    pub fn has_endpoint_on(&self, node: &str) -> bool {
        !self.host_network && !self.node.is_empty() && self.node == node
    }
}

#[cfg(test)]
mod tests;
