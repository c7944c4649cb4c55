//! IPAMConfiguration: the resource that operators see (`reference/datamodel.md` sections 6.4 and
//! 7.2). With etcd, IPAM itself obeys another object, the one at [`crate::store::Key::IpamConfig`].

use serde::{Deserialize, Serialize};

use super::codec::{is_zero, null_as_default};
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// The one object of this kind is named `default`.
pub type IpamConfiguration = Resource<IpamConfigurationSpec>;

/// How addresses are given out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamConfigurationSpec {
    /// Whether nodes keep out of each other's blocks.
    #[serde(rename = "strictAffinity", deserialize_with = "null_as_default")]
    pub strict_affinity: bool,
    /// The most blocks that a node may have; 0 for no limit.
    #[serde(
        rename = "maxBlocksPerHost",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_zero"
    )]
    pub max_blocks_per_host: i64,
    /// Whether nodes claim blocks by themselves.
    #[serde(rename = "autoAllocateBlocks", deserialize_with = "null_as_default")]
    pub auto_allocate_blocks: bool,
    /// `Enabled` or `Disabled`: whether virtual machines keep their addresses.
    #[serde(
        rename = "kubeVirtVMAddressPersistence",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kubevirt_vm_address_persistence: String,
    /// How long a freed address rests before it is given out again.
    #[serde(
        rename = "ipCooldownSeconds",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_zero"
    )]
    pub ip_cooldown_seconds: i64,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for IpamConfigurationSpec {
    const KIND: Kind = Kind::IpamConfiguration;
    type Status = Extra;

    fn validate(
        new: &IpamConfiguration,
        _old: Option<&IpamConfiguration>,
        errors: &mut FieldErrors,
    ) {
        let (name, spec) = (&new.metadata.name, &new.spec);
        errors.check(name == "default", "Metadata.Name", name, "the name must be 'default'");
        let blocks = spec.max_blocks_per_host;
        let in_range = (0..=1_000_000).contains(&blocks);
        errors.check(in_range, "spec.maxBlocksPerHost", blocks, "must be 0 to 1000000");
        let seconds = spec.ip_cooldown_seconds;
        let in_range = (0..=1200).contains(&seconds);
        errors.check(in_range, "spec.ipCooldownSeconds", seconds, "must be 0 to 1200");
        let persistence = spec.kubevirt_vm_address_persistence.as_str();
        let known = matches!(persistence, "" | "Enabled" | "Disabled");
        let field = "spec.kubeVirtVMAddressPersistence";
        errors.check(known, field, persistence, "must be Enabled or Disabled");
    }
}
