//! Pod, Namespace and Node of Kubernetes' core API, as far as Calico looks at them. They are only
//! read: what is written goes as a patch.

use serde::{Deserialize, Serialize};

use crate::resources::ObjectMeta;
use crate::resources::codec::null_as_default;

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Name, identity, labels, annotations.
    #[serde(rename = "metadata", deserialize_with = "null_as_default")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(rename = "spec", deserialize_with = "null_as_default")]
    pub spec: PodSpec,
    /// What is.
    #[serde(rename = "status", deserialize_with = "null_as_default")]
    pub status: PodStatus,
}

/// What is wanted of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodSpec {
    /// The node that it runs on; empty until it is scheduled.
    #[serde(rename = "nodeName", deserialize_with = "null_as_default")]
    pub node_name: String,
    /// Whether it has the node's own network.
    #[serde(rename = "hostNetwork", deserialize_with = "null_as_default")]
    pub host_network: bool,
    /// Its service account.
    #[serde(rename = "serviceAccountName", deserialize_with = "null_as_default")]
    pub service_account_name: String,
    /// Its containers.
    #[serde(rename = "containers", deserialize_with = "null_as_default")]
    pub containers: Vec<Container>,
    /// Those that run before the others.
    #[serde(rename = "initContainers", deserialize_with = "null_as_default")]
    pub init_containers: Vec<Container>,
}

/// A container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The ports that it declares.
    #[serde(rename = "ports", deserialize_with = "null_as_default")]
    pub ports: Vec<ContainerPort>,
}

/// A port that a container declares.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ContainerPort {
    /// Its name.
    #[serde(rename = "name", deserialize_with = "null_as_default")]
    pub name: String,
    /// The port of the pod.
    #[serde(rename = "containerPort", deserialize_with = "null_as_default")]
    pub container_port: u16,
    /// The port of the host that leads to it; 0 for none.
    #[serde(rename = "hostPort", deserialize_with = "null_as_default")]
    pub host_port: u16,
    /// The host's address; empty for any.
    #[serde(rename = "hostIP", deserialize_with = "null_as_default")]
    pub host_ip: String,
    /// `TCP` if it is empty.
    #[serde(rename = "protocol", deserialize_with = "null_as_default")]
    pub protocol: String,
}

/// What a pod is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    /// Where it is in its life.
    #[serde(rename = "phase", deserialize_with = "null_as_default")]
    pub phase: String,
    /// All its addresses.
    #[serde(rename = "podIPs", deserialize_with = "null_as_default")]
    pub pod_ips: Vec<PodIp>,
    /// The first of them.
    #[serde(rename = "podIP", deserialize_with = "null_as_default")]
    pub pod_ip: String,
}

/// An address of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    #[serde(rename = "ip", deserialize_with = "null_as_default")]
    pub ip: String,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Name, labels, annotations.
    #[serde(rename = "metadata", deserialize_with = "null_as_default")]
    pub metadata: ObjectMeta,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Name, labels, annotations.
    #[serde(rename = "metadata", deserialize_with = "null_as_default")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(rename = "spec", deserialize_with = "null_as_default")]
    pub spec: NodeSpec,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// The ranges of its pods.
    #[serde(rename = "podCIDRs", deserialize_with = "null_as_default")]
    pub pod_cidrs: Vec<String>,
}

impl Pod {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Whether Calico has an endpoint for it: it is scheduled, and has a network of its own.
    pub fn has_endpoint(&self) -> bool {
        !self.spec.node_name.is_empty() && !self.spec.host_network
    }
}
