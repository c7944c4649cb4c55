//! What Kubernetes says of Calico's things (`reference/datamodel.md` section 10,
//! `reference/cni-plugin.md` sections 3.6 and 6.3): pure functions over the API's JSON, without a
//! client.
//!
//! | module | what lives there |
//! |---|---|
//! | [`annotation`] | the names of the annotations, and how their values are read |
//! | [`object`] | Pod, Namespace and Node, as far as Calico looks at them |
//! | [`pod_endpoint`] | the endpoint that a pod stands for, and whose it is |
//! | [`pod_request`] | what a pod and its namespace ask of an ADD |
//! | [`pod_cidrs`] | the ranges of a node's pods |
//! | [`qos`], [`quantity`] | limits of bandwidth, packets and connections |
//! | [`patch`] | how an endpoint is written to its pod |
//! | [`failure`] | from the API's errors to what callers decide on |
//! | [`removal`] | whether a DEL may take an endpoint away |

pub mod annotation;
pub mod failure;
pub mod object;
pub mod patch;
pub mod pod_cidrs;
pub mod pod_endpoint;
pub mod pod_request;
pub mod qos;
pub mod quantity;
pub mod removal;

pub use annotation::{AnnotationError, AnnotationFault};
pub use failure::{Failure, FailureKind};
pub use object::{Namespace, Node, Pod};
pub use pod_cidrs::{PodCidrs, PodCidrsError};
pub use pod_endpoint::{PodError, PodRecord};
pub use pod_request::{AddressRequest, Allowed, Families, PodRequest};
