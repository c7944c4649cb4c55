//! ClusterInformation: who this cluster is, and whether its datastore may be used
//! (`reference/datamodel.md` sections 7.2 and 12).

use serde::{Deserialize, Serialize};

use super::codec::null_as_default;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// The one object of this kind is named `default`.
pub type ClusterInformation = Resource<ClusterInformationSpec>;

/// What is known of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterInformationSpec {
    /// Its identity: 32 hex digits.
    #[serde(
        rename = "clusterGUID",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster_guid: String,
    /// What it runs on: a comma list like `k8s,bgp`.
    #[serde(
        rename = "clusterType",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub cluster_type: String,
    /// The version of Calico that last started in it.
    #[serde(
        rename = "calicoVersion",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub calico_version: String,
    /// Whether the datastore may be used. False locks it: nodes start no new work and ADD is
    /// refused. Absent means that it wasn't set up yet.
    #[serde(rename = "datastoreReady", skip_serializing_if = "Option::is_none")]
    pub datastore_ready: Option<bool>,
    /// The edition.
    #[serde(
        rename = "variant",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for ClusterInformationSpec {
    const KIND: Kind = Kind::ClusterInformation;
    type Status = Extra;

    fn validate(
        new: &ClusterInformation,
        _old: Option<&ClusterInformation>,
        errors: &mut FieldErrors,
    ) {
        let name = &new.metadata.name;
        errors.check(name == "default", "Metadata.Name", name, "the name must be 'default'");
    }
}
