//! WorkloadEndpoint: the interface of a container (`reference/datamodel.md` section 7.4,
//! `reference/cni-plugin.md` sections 2.6 and 6).

#[cfg(test)]
mod tests;
mod validation;

use serde::{Deserialize, Serialize};

use super::codec::null_as_default;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};
use crate::names::{NameError, WorkloadEndpointName};

/// The interface of a container.
pub type WorkloadEndpoint = Resource<WorkloadEndpointSpec>;

/// The label that tells the namespace of an endpoint; set on every write.
pub const LABEL_NAMESPACE: &str = "projectcalico.org/namespace";

/// The label that tells the orchestrator of an endpoint; set on every write.
pub const LABEL_ORCHESTRATOR: &str = "projectcalico.org/orchestrator";

/// The label that tells the service account of a pod's endpoint.
pub const LABEL_SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";

/// Whose interface it is, and what it looks like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadEndpointSpec {
    /// Who made the container: `k8s` or `cni`.
    #[serde(
        rename = "orchestrator",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub orchestrator: String,
    /// The workload, for other orchestrators.
    #[serde(
        rename = "workload",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub workload: String,
    /// The node that it runs on.
    #[serde(
        rename = "node",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub node: String,
    /// The container.
    #[serde(
        rename = "containerID",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub container_id: String,
    /// The pod, for `k8s`.
    #[serde(
        rename = "pod",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub pod: String,
    /// The name of the interface in the container.
    #[serde(
        rename = "endpoint",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub endpoint: String,
    /// The pod's service account.
    #[serde(
        rename = "serviceAccountName",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub service_account_name: String,
    /// Its addresses, each as a /32 or /128.
    #[serde(
        rename = "ipNetworks",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_networks: Vec<String>,
    /// Addresses from elsewhere that are turned into its own.
    #[serde(
        rename = "ipNATs",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ip_nats: Vec<IpNat>,
    /// Its IPv4 gateway; not used by CNI.
    #[serde(
        rename = "ipv4Gateway",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv4_gateway: String,
    /// Its IPv6 gateway; not used by CNI.
    #[serde(
        rename = "ipv6Gateway",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub ipv6_gateway: String,
    /// Its profiles; the order counts.
    #[serde(
        rename = "profiles",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub profiles: Vec<String>,
    /// The name of the host's end.
    #[serde(
        rename = "interfaceName",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub interface_name: String,
    /// The MAC of the container's end.
    #[serde(
        rename = "mac",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub mac: String,
    /// Ports that policies can name.
    #[serde(
        rename = "ports",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ports: Vec<EndpointPort>,
    /// Ranges that it may send from beside its own addresses.
    #[serde(
        rename = "allowSpoofedSourcePrefixes",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allow_spoofed_source_prefixes: Vec<String>,
    /// Limits of bandwidth, packets and connections.
    #[serde(rename = "qosControls", skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<Extra>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An address from elsewhere and the endpoint's own that it stands for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpNat {
    /// The endpoint's own address.
    #[serde(rename = "internalIP", deserialize_with = "null_as_default")]
    pub internal_ip: String,
    /// The address from elsewhere.
    #[serde(rename = "externalIP", deserialize_with = "null_as_default")]
    pub external_ip: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A port with a name, or one that the host forwards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// The name.
    #[serde(rename = "name", deserialize_with = "null_as_default")]
    pub name: String,
    /// The protocol.
    #[serde(rename = "protocol")]
    pub protocol: Protocol,
    /// The port in the container.
    #[serde(rename = "port", deserialize_with = "null_as_default")]
    pub port: u16,
    /// The port of the host; 0 for none.
    #[serde(rename = "hostPort", deserialize_with = "null_as_default")]
    pub host_port: u16,
    /// The host's address; empty for any.
    #[serde(rename = "hostIP", deserialize_with = "null_as_default")]
    pub host_ip: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A transport protocol, by name or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Protocol {
    /// Like `TCP`.
    Name(String),
    /// Like 6.
    Number(u8),
}

impl Default for Protocol {
    fn default() -> Protocol {
        Protocol::Name(String::new())
    }
}

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;
    type Status = Extra;

    /// Sets the labels, and the name where there is none.
    fn default_on_write(endpoint: &mut WorkloadEndpoint) {
        let metadata = &mut endpoint.metadata;
        let labels = &mut metadata.labels;
        labels.insert(LABEL_NAMESPACE.to_owned(), metadata.namespace.clone());
        labels.insert(LABEL_ORCHESTRATOR.to_owned(), endpoint.spec.orchestrator.clone());
        if metadata.name.is_empty() {
            // A name that can't be computed stays empty, and validation says why.
            metadata.name = endpoint.spec.name().unwrap_or_default();
        }
    }

    fn validate(new: &WorkloadEndpoint, _old: Option<&WorkloadEndpoint>, errors: &mut FieldErrors) {
        validation::validate(new, errors);
    }
}

impl WorkloadEndpointSpec {
    /// What the name is made of.
    pub fn identifiers(&self) -> WorkloadEndpointName {
        WorkloadEndpointName {
            node: self.node.clone(),
            orchestrator: self.orchestrator.clone(),
            endpoint: self.endpoint.clone(),
            workload: self.workload.clone(),
            pod: self.pod.clone(),
            container_id: self.container_id.clone(),
        }
    }

    /// The name that an endpoint with this spec must have.
    pub fn name(&self) -> Result<String, NameError> {
        self.identifiers().name()
    }
}
