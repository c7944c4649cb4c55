//! The configuration of IPAM (`reference/datamodel.md` 6.2 and 6.4). It lives under
//! `/calico/ipam/v2/config`, not in the `IPAMConfiguration` resource.

use serde::{Deserialize, Serialize};

use crate::resources::codec;

/// What the whole cluster's allocators go by. A stored object without a field means zero or false;
/// only an absent object means [`IpamConfig::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpamConfig {
    /// A host takes addresses only out of its own blocks.
    #[serde(rename = "strict_affinity", default, skip_serializing_if = "codec::is_false")]
    pub strict_affinity: bool,
    /// A host may claim further blocks.
    #[serde(rename = "auto_allocate_blocks", default, skip_serializing_if = "codec::is_false")]
    pub auto_allocate_blocks: bool,
    /// The most blocks of a host in each family; none when not positive.
    #[serde(rename = "maxBlocksPerHost", default, skip_serializing_if = "codec::is_zero")]
    pub max_blocks_per_host: i64,
    /// Whether a virtual machine keeps its address: `Enabled` or `Disabled`.
    #[serde(
        rename = "kubeVirtVMAddressPersistence",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub kube_virt_vm_address_persistence: Option<String>,
    /// For how long a released address isn't given out again.
    #[serde(rename = "ipCooldownSeconds", default, skip_serializing_if = "codec::is_zero")]
    pub ip_cooldown_seconds: i64,
    /// What other releases may have written.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Default for IpamConfig {
    fn default() -> IpamConfig {
        IpamConfig {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            kube_virt_vm_address_persistence: Some("Enabled".to_owned()),
            ip_cooldown_seconds: 0,
            unknown: serde_json::Map::new(),
        }
    }
}

impl IpamConfig {
    /// Reads a stored value.
    pub fn decode(value: &[u8]) -> Result<IpamConfig, serde_json::Error> {
        serde_json::from_slice(value)
    }

    /// The JSON to store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// What is wrong with it, in upstream's words.
    pub fn problem(&self) -> Option<&'static str> {
        if !self.strict_affinity && !self.auto_allocate_blocks {
            Some("Cannot disable 'StrictAffinity' and 'AutoAllocateBlocks' at the same time")
        } else if self.max_blocks_per_host > 0 && !self.strict_affinity {
            Some("MaxBlocksPerHost requires StrictAffinity to be enabled")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_means_false_and_an_absent_one_the_defaults() {
        let stored = IpamConfig::decode(b"{}").expect("decodes");
        assert!(!stored.strict_affinity && !stored.auto_allocate_blocks);
        assert_eq!(stored.encode(), b"{}");
        assert!(IpamConfig::default().auto_allocate_blocks);
    }

    #[test]
    fn two_switches_and_a_limit_that_contradict_are_refused() {
        let config = |strict, auto, max| IpamConfig {
            strict_affinity: strict,
            auto_allocate_blocks: auto,
            max_blocks_per_host: max,
            ..IpamConfig::default()
        };
        assert_eq!(config(true, false, 4).problem(), None);
        assert_eq!(config(false, true, 0).problem(), None);
        assert!(config(false, false, 0).problem().is_some_and(|p| p.contains("AutoAllocate")));
        assert!(config(false, true, 1).problem().is_some_and(|p| p.contains("MaxBlocks")));
    }
}
