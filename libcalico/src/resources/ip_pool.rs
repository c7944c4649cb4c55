//! IPPool: a range of addresses, who may take from it, and how its packets travel
//! (`reference/datamodel.md` sections 5 and 7.1).

#[cfg(test)]
mod tests;
mod validation;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::codec::{is_false, is_zero, null_as_default};
use super::metadata::StringMap;
use super::resource::{Resource, Spec};
use super::time::optional;
use super::validation::FieldErrors;
use super::{Extra, Kind};
use crate::selector::{Selector, SelectorError};

/// A pool of addresses.
pub type IpPool = Resource<IpPoolSpec>;

/// What a pool offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpPoolSpec {
    /// The range, as stored: masked and canonical when upstream or we wrote it.
    #[serde(rename = "cidr", deserialize_with = "null_as_default")]
    pub cidr: String,
    /// When packets travel in VXLAN.
    #[serde(rename = "vxlanMode", skip_serializing_if = "Option::is_none")]
    pub vxlan_mode: Option<EncapMode>,
    /// When packets travel in IPIP.
    #[serde(rename = "ipipMode", skip_serializing_if = "Option::is_none")]
    pub ipip_mode: Option<EncapMode>,
    /// Whether packets that leave the pools get the node's address.
    #[serde(
        rename = "natOutgoing",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub nat_outgoing: bool,
    /// Whether it gives out no new addresses.
    #[serde(
        rename = "disabled",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub disabled: bool,
    /// Whether BGP keeps quiet about it.
    #[serde(
        rename = "disableBGPExport",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_false"
    )]
    pub disable_bgp_export: bool,
    /// The prefix length of its blocks; 0 stands for the default of its family.
    #[serde(
        rename = "blockSize",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_zero"
    )]
    pub block_size: i64,
    /// The nodes that may take from it; empty for all.
    #[serde(
        rename = "nodeSelector",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub node_selector: String,
    /// The namespaces whose pods may take from it; empty for all.
    #[serde(
        rename = "namespaceSelector",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub namespace_selector: String,
    /// What its addresses may be used for.
    #[serde(
        rename = "allowedUses",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub allowed_uses: Vec<AllowedUse>,
    /// Whether it must be asked for by name.
    #[serde(rename = "assignmentMode", skip_serializing_if = "Option::is_none")]
    pub assignment_mode: Option<AssignmentMode>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// When packets are encapsulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncapMode {
    /// Never.
    #[serde(rename = "Never")]
    Never,
    /// Always.
    #[serde(rename = "Always")]
    Always,
    /// Only where packets leave the node's subnet.
    #[serde(rename = "CrossSubnet")]
    CrossSubnet,
    /// What we don't know: kept when read, refused when written.
    #[serde(untagged)]
    Unknown(String),
}

/// What addresses may be used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowedUse {
    /// Pods and other workloads.
    #[serde(rename = "Workload")]
    Workload,
    /// The nodes' own tunnel interfaces.
    #[serde(rename = "Tunnel")]
    Tunnel,
    /// Services of type LoadBalancer.
    #[serde(rename = "LoadBalancer")]
    LoadBalancer,
    /// What we don't know: kept when read, refused when written.
    #[serde(untagged)]
    Unknown(String),
}

/// Whether a pool is used by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentMode {
    /// For whoever doesn't ask for a pool.
    #[serde(rename = "Automatic")]
    Automatic,
    /// Only for who asks for this pool.
    #[serde(rename = "Manual")]
    Manual,
    /// What we don't know: kept when read, refused when written.
    #[serde(untagged)]
    Unknown(String),
}

/// What controllers say of a pool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpPoolStatus {
    /// `Allocatable`, with its reason.
    #[serde(
        rename = "conditions",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub conditions: Vec<Condition>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A condition, as Kubernetes has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which: `Allocatable`.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(rename = "status", deserialize_with = "null_as_default")]
    pub status: String,
    /// The generation that it speaks of.
    #[serde(
        rename = "observedGeneration",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_zero"
    )]
    pub observed_generation: i64,
    /// When the status last changed.
    #[serde(rename = "lastTransitionTime", with = "optional")]
    pub last_transition_time: Option<time::OffsetDateTime>,
    /// Why, in one word.
    #[serde(rename = "reason", deserialize_with = "null_as_default")]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(rename = "message", deserialize_with = "null_as_default")]
    pub message: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IpPool;
    type Status = IpPoolStatus;

    fn default_on_write(pool: &mut IpPool) {
        // Host bits stay, for validation to refuse.
        if let Some(net) = pool.spec.net() {
            pool.spec.cidr = net.to_string();
        }
        pool.spec.fill_defaults();
    }

    fn default_on_read(pool: &mut IpPool) {
        pool.spec.fill_defaults();
    }

    fn validate(new: &IpPool, old: Option<&IpPool>, errors: &mut FieldErrors) {
        validation::validate(new, old, errors);
    }
}

impl IpPoolSpec {
    /// The range; `None` when the stored text is no CIDR. An IPv4 range in IPv6's clothes is one of
    /// IPv4, as upstream reads it.
    pub fn net(&self) -> Option<IpNet> {
        let net: IpNet = self.cidr.parse().ok()?;
        match (net, net.prefix_len().checked_sub(96)) {
            (IpNet::V6(v6), Some(len)) => match v6.addr().to_ipv4_mapped() {
                Some(v4) => Ipv4Net::new(v4, len).ok().map(IpNet::V4),
                None => Some(net),
            },
            _ => Some(net),
        }
    }

    /// The prefix length of its blocks, the default of its family when none is stored. `None` when
    /// the CIDR or the number can't be used.
    pub fn block_prefix_len(&self) -> Option<u8> {
        let (default, allowed) = match self.net()? {
            IpNet::V4(_) => (26, 20..=32),
            IpNet::V6(_) => (122, 116..=128),
        };
        let size = if self.block_size == 0 { default } else { self.block_size };
        u8::try_from(size).ok().filter(|size| allowed.contains(size))
    }

    /// Whether a node with these labels may take from it.
    pub fn selects_node(&self, labels: &StringMap) -> Result<bool, SelectorError> {
        Ok(Selector::parse(&self.node_selector)?.matches(labels))
    }

    /// Whether pods of a namespace with these labels may take from it.
    pub fn selects_namespace(&self, labels: &StringMap) -> Result<bool, SelectorError> {
        Ok(Selector::parse(&self.namespace_selector)?.matches(labels))
    }

    /// Whether its addresses may be used so.
    pub fn allows(&self, purpose: &AllowedUse) -> bool {
        match self.allowed_uses.as_slice() {
            [] => matches!(purpose, AllowedUse::Workload | AllowedUse::Tunnel),
            uses => uses.contains(purpose),
        }
    }

    /// Whether it serves who doesn't ask for a pool.
    pub fn is_automatic(&self) -> bool {
        self.assignment_mode != Some(AssignmentMode::Manual)
    }

    /// The defaults, the same for reads and writes.
    fn fill_defaults(&mut self) {
        let unset = |mode: &Option<EncapMode>| match mode {
            None => true,
            Some(EncapMode::Unknown(text)) => text.is_empty(),
            Some(_) => false,
        };
        if unset(&self.vxlan_mode) {
            self.vxlan_mode = Some(EncapMode::Never);
        }
        if unset(&self.ipip_mode) {
            self.ipip_mode = Some(EncapMode::Never);
        }
        if self.block_size == 0 {
            self.block_size = match self.net() {
                Some(IpNet::V4(_)) => 26,
                Some(IpNet::V6(_)) => 122,
                None => 0,
            };
        }
        if self.node_selector.is_empty() {
            self.node_selector = "all()".to_owned();
        }
        if self.allowed_uses.is_empty() {
            self.allowed_uses = vec![AllowedUse::Workload, AllowedUse::Tunnel];
        }
        if self.assignment_mode.is_none() {
            self.assignment_mode = Some(AssignmentMode::Automatic);
        }
    }
}

impl IpPool {
    /// Whether it gives out addresses: neither disabled, nor on its way out, nor found unfit.
    pub fn is_enabled(&self) -> bool {
        let unfit = self.status.iter().flat_map(|status| &status.conditions);
        !self.spec.disabled
            && self.metadata.deletion_timestamp.is_none()
            && !unfit.into_iter().any(|c| c.kind == "Allocatable" && c.status == "False")
    }
}
