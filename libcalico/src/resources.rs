//! The `projectcalico.org/v3` kinds (`reference/datamodel.md` sections 3 and 7), a file each.
//!
//! A [`Resource`] is typed by its spec: [`IpPool`], [`Node`], [`WorkloadEndpoint`] and the others
//! that CNI and IPAM work with. An [`AnyResource`] is of any kind, with its spec as a value; what
//! that may hold is in the tables of [`schema`], which also read what a person wrote. Both keep the
//! fields that they don't know and write them back, and both are stored in exactly upstream's bytes
//! ([`codec`]).

pub mod any;
pub mod cluster_information;
pub mod codec;
pub mod ip_pool;
pub mod ip_reservation;
pub mod ipam_configuration;
pub mod kind;
pub mod metadata;
pub mod node;
pub mod policy;
pub mod profile;
pub mod resource;
pub mod schema;
pub mod tier;
pub mod time;
pub mod validation;
pub mod workload_endpoint;

pub use any::AnyResource;
pub use cluster_information::{ClusterInformation, ClusterInformationSpec};
pub use codec::{DecodeError, decode, encode};
pub use ip_pool::{AllowedUse, AssignmentMode, EncapMode, IpPool, IpPoolSpec};
pub use ip_reservation::{IpReservation, IpReservationSpec};
pub use ipam_configuration::{IpamConfiguration, IpamConfigurationSpec};
pub use kind::Kind;
pub use metadata::ObjectMeta;
pub use node::{Node, NodeSpec};
pub use profile::{Profile, ProfileSpec, Rule};
pub use resource::{API_VERSION, Object, Resource, Spec};
pub use schema::InputError;
pub use tier::{Tier, TierSpec};
pub use validation::{FieldError, ValidationError};
pub use workload_endpoint::{WorkloadEndpoint, WorkloadEndpointSpec};

/// What a JSON object holds beyond the fields that we know.
pub type Extra = serde_json::Map<String, serde_json::Value>;
