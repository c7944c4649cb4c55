//! Pools as IPAM sees them, and the choice among them (`reference/ipam.md` 3.2,
//! `reference/datamodel.md` section 5 "Enabled pool").

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::error::IpamError;
use super::reservation::parse_network;
use crate::selector::Selector;
use crate::store::{Document, Family, Key};

/// Labels of a node or of a namespace.
pub type Labels = BTreeMap<String, String>;

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IntendedUse {
    /// A container.
    Workload,
    /// A node's own tunnel.
    Tunnel,
    /// A service of type LoadBalancer.
    LoadBalancer,
}

impl IntendedUse {
    /// The word that pools use.
    pub fn name(self) -> &'static str {
        match self {
            IntendedUse::Workload => "Workload",
            IntendedUse::Tunnel => "Tunnel",
            IntendedUse::LoadBalancer => "LoadBalancer",
        }
    }
}

/// A pool that a request names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PoolRef {
    /// By its network; host bits don't matter.
    Cidr(IpNet),
    /// By the name of its resource.
    Name(String),
}

impl std::fmt::Display for PoolRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PoolRef::Cidr(cidr) => write!(f, "{}", cidr.trunc()),
            PoolRef::Name(name) => f.write_str(name),
        }
    }
}

/// What IPAM needs of an IPPool resource, with the defaults that readers apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The resource's name.
    pub name: String,
    /// Its network, masked.
    pub cidr: IpNet,
    /// The prefix length of its blocks.
    pub block_size: u8,
    /// Gives no new addresses, by the operator's will.
    pub disabled: bool,
    /// Is being deleted.
    pub deleting: bool,
    /// A controller found that it can't be used (it overlaps another pool).
    pub not_allocatable: bool,
    /// Which nodes it serves.
    pub node_selector: String,
    /// Which namespaces it serves; empty for all.
    pub namespace_selector: String,
    /// What its addresses are for.
    pub allowed_uses: Vec<String>,
    /// Whether it is used without being asked for by name.
    pub automatic: bool,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "metadata", default)]
    metadata: Metadata,
    #[serde(rename = "spec")]
    spec: Spec,
    #[serde(rename = "status", default)]
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "deletionTimestamp", default)]
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "cidr")]
    cidr: String,
    #[serde(rename = "disabled", default)]
    disabled: Option<bool>,
    #[serde(rename = "blockSize", default)]
    block_size: Option<u8>,
    #[serde(rename = "nodeSelector", default)]
    node_selector: Option<String>,
    #[serde(rename = "namespaceSelector", default)]
    namespace_selector: Option<String>,
    #[serde(rename = "allowedUses", default)]
    allowed_uses: Option<Vec<String>>,
    #[serde(rename = "assignmentMode", default)]
    assignment_mode: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "conditions", default)]
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(rename = "status", default)]
    status: String,
}

impl Pool {
    /// Reads a stored IPPool.
    pub fn from_document(document: &Document) -> Result<Pool, String> {
        let Key::Resource { name, .. } = &document.key else {
            return Err("its key is no resource's".to_owned());
        };
        let resource: Resource =
            serde_json::from_slice(&document.value).map_err(|error| error.to_string())?;
        let spec = resource.spec;
        let cidr = parse_network(spec.cidr.trim())
            .ok_or_else(|| format!("its cidr {:?} is no network", spec.cidr))?
            .trunc();
        let default_size = if cidr.max_prefix_len() == 32 { 26 } else { 122 };
        let block_size = spec.block_size.filter(|size| *size != 0).unwrap_or(default_size);
        if block_size > cidr.max_prefix_len() {
            return Err(format!("its blockSize {block_size} is longer than an address"));
        }
        let uses = spec.allowed_uses.unwrap_or_default();
        let conditions = resource.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(Pool {
            name: name.clone(),
            cidr,
            block_size,
            disabled: spec.disabled.unwrap_or(false),
            deleting: resource.metadata.deletion_timestamp.is_some(),
            not_allocatable: conditions
                .iter()
                .any(|condition| condition.kind == "Allocatable" && condition.status == "False"),
            node_selector: spec.node_selector.unwrap_or_default(),
            namespace_selector: spec.namespace_selector.unwrap_or_default(),
            allowed_uses: if uses.is_empty() {
                vec!["Workload".to_owned(), "Tunnel".to_owned()]
            } else {
                uses
            },
            automatic: spec
                .assignment_mode
                .is_none_or(|mode| mode.is_empty() || mode == "Automatic"),
        })
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(&self.cidr)
    }

    /// Whether it may give out addresses at all.
    pub fn is_enabled(&self) -> bool {
        !self.disabled && !self.deleting && !self.not_allocatable
    }

    /// Whether its addresses may be used so.
    pub fn allows(&self, intended_use: IntendedUse) -> bool {
        self.allowed_uses.iter().any(|allowed| allowed == intended_use.name())
    }

    /// Whether it serves every node, which can be told without reading one.
    pub fn selects_every_node(&self) -> bool {
        matches!(self.node_selector.trim(), "" | "all()")
    }

    /// Whether it serves a node with these labels.
    pub fn selects_node(&self, labels: &Labels) -> Result<bool, IpamError> {
        self.matches("nodeSelector", &self.node_selector, labels)
    }

    /// Whether it serves a namespace with these labels.
    pub fn selects_namespace(&self, labels: &Labels) -> Result<bool, IpamError> {
        self.matches("namespaceSelector", &self.namespace_selector, labels)
    }

    fn matches(
        &self,
        field: &'static str,
        selector: &str,
        labels: &Labels,
    ) -> Result<bool, IpamError> {
        if matches!(selector.trim(), "" | "all()") {
            return Ok(true);
        }
        let parsed = Selector::parse(selector).map_err(|error| IpamError::Selector {
            pool: self.name.clone(),
            field,
            problem: error.to_string(),
        })?;
        Ok(parsed.matches(labels))
    }
}

/// The name of the enabled pool that holds an address.
pub(crate) fn name_of(pools: &[Pool], ip: IpAddr) -> Option<String> {
    let holds = |pool: &&Pool| pool.is_enabled() && pool.cidr.contains(&ip);
    pools.iter().find(holds).map(|pool| pool.name.clone())
}

/// Why a pool gives no address to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassedOver {
    /// `disabled: true`.
    Disabled,
    /// It is being deleted.
    Deleting,
    /// A controller marked it as not allocatable.
    NotAllocatable,
    /// Its allowedUses don't hold the use.
    Use,
    /// Its nodeSelector doesn't match the node.
    Node,
    /// Its namespaceSelector doesn't match the namespace.
    Namespace,
    /// Its assignmentMode is Manual and it wasn't asked for.
    Manual,
    /// Others were asked for.
    NotRequested,
    /// Its blocks are too small for what the host reserves in each.
    BlockTooSmall,
}

impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PassedOver::Disabled => "disabled",
            PassedOver::Deleting => "being deleted",
            PassedOver::NotAllocatable => "marked not allocatable",
            PassedOver::Use => "not allowed for this use",
            PassedOver::Node => "its nodeSelector does not match the node",
            PassedOver::Namespace => "its namespaceSelector does not match the namespace",
            PassedOver::Manual => "its assignmentMode is Manual and it was not asked for",
            PassedOver::NotRequested => "not among the requested pools",
            PassedOver::BlockTooSmall => "its blocks are too small for what the host reserves",
        })
    }
}

/// What decides on the pools of one family.
pub(crate) struct PoolRequest<'a> {
    pub family: Family,
    pub requested: &'a [PoolRef],
    pub intended_use: IntendedUse,
    pub node_labels: &'a Labels,
    pub namespace_labels: &'a Labels,
    /// The longest prefix length of blocks that leaves room beside what the host reserves.
    pub max_block_size: u8,
    pub host: &'a str,
}

/// The chosen pools, in the order in which they are tried, and why the others aren't among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    pub pools: Vec<Pool>,
    pub passed_over: Vec<(String, IpNet, PassedOver)>,
}

/// Chooses pools. `all` are those of every family, in the order of their names.
pub(crate) fn choose(all: &[Pool], request: &PoolRequest<'_>) -> Result<Choice, IpamError> {
    let mut choice = Choice::default();
    let mut enabled = Vec::new();
    for pool in all.iter().filter(|pool| pool.family() == request.family) {
        match state_of(pool) {
            None => enabled.push(pool),
            Some(why) => choice.pass(pool, why),
        }
    }
    if request.requested.is_empty() {
        choose_automatic(&enabled, request, &mut choice)?;
    } else {
        choose_requested(all, &enabled, request, &mut choice)?;
    }
    if choice.pools.is_empty() {
        // Upstream refuses with the same words whether nothing selects the node or nothing is
        // there; what was passed over says more.
        return Err(if enabled.is_empty() {
            IpamError::NoQualifiedPool {
                family: request.family,
                intended_use: None,
                passed_over: choice.passed_over,
            }
        } else {
            IpamError::NoPoolForHost {
                family: request.family,
                host: request.host.to_owned(),
                passed_over: choice.passed_over,
            }
        });
    }
    keep_allowed(request, &mut choice)?;
    Ok(choice)
}

fn state_of(pool: &Pool) -> Option<PassedOver> {
    match pool {
        Pool { disabled: true, .. } => Some(PassedOver::Disabled),
        Pool { deleting: true, .. } => Some(PassedOver::Deleting),
        Pool { not_allocatable: true, .. } => Some(PassedOver::NotAllocatable),
        _ => None,
    }
}

fn choose_automatic(
    enabled: &[&Pool],
    request: &PoolRequest<'_>,
    choice: &mut Choice,
) -> Result<(), IpamError> {
    for pool in enabled {
        let node = pool.selects_node(request.node_labels)?;
        let namespace = pool.selects_namespace(request.namespace_labels)?;
        let why = if !pool.automatic {
            Some(PassedOver::Manual)
        } else if !node {
            Some(PassedOver::Node)
        } else if !namespace {
            Some(PassedOver::Namespace)
        } else if pool.block_size > request.max_block_size {
            Some(PassedOver::BlockTooSmall)
        } else {
            None
        };
        match why {
            None => choice.pools.push((*pool).clone()),
            Some(why) => choice.pass(pool, why),
        }
    }
    let only_too_small = choice.pools.is_empty()
        && choice.passed_over.iter().any(|(_, _, why)| *why == PassedOver::BlockTooSmall);
    if only_too_small {
        let passed_over = std::mem::take(&mut choice.passed_over);
        let family = request.family;
        return Err(IpamError::NoQualifiedPool { family, intended_use: None, passed_over });
    }
    Ok(())
}

/// Requested pools override selectors and the assignment mode, but not the operator's `disabled`.
fn choose_requested(
    all: &[Pool],
    enabled: &[&Pool],
    request: &PoolRequest<'_>,
    choice: &mut Choice,
) -> Result<(), IpamError> {
    for wanted in request.requested {
        let named = |pool: &&Pool| match wanted {
            PoolRef::Cidr(cidr) => pool.cidr == cidr.trunc(),
            PoolRef::Name(name) => &pool.name == name,
        };
        let other_family = match wanted {
            PoolRef::Cidr(cidr) => Family::of(cidr) != request.family,
            PoolRef::Name(_) => {
                all.iter().find(named).is_some_and(|pool| pool.family() != request.family)
            }
        };
        if other_family {
            return Err(IpamError::PoolFamily { family: request.family, pool: wanted.clone() });
        }
        let found = enabled.iter().copied().find(named);
        match found.filter(|pool| pool.block_size <= request.max_block_size) {
            Some(pool) if choice.pools.iter().any(|chosen| chosen.name == pool.name) => {}
            Some(pool) => choice.pools.push(pool.clone()),
            None => {
                let known = all.iter().find(named);
                return Err(IpamError::PoolNotAvailable {
                    pool: wanted.clone(),
                    why: known.map(|pool| state_of(pool).unwrap_or(PassedOver::BlockTooSmall)),
                });
            }
        }
    }
    for pool in enabled {
        if !choice.pools.iter().any(|chosen| chosen.name == pool.name) {
            choice.pass(pool, PassedOver::NotRequested);
        }
    }
    Ok(())
}

fn keep_allowed(request: &PoolRequest<'_>, choice: &mut Choice) -> Result<(), IpamError> {
    let pools = std::mem::take(&mut choice.pools);
    for pool in pools {
        if pool.allows(request.intended_use) {
            choice.pools.push(pool);
        } else {
            choice.pass(&pool, PassedOver::Use);
        }
    }
    if !choice.pools.is_empty() {
        return Ok(());
    }
    Err(IpamError::NoQualifiedPool {
        family: request.family,
        intended_use: Some(request.intended_use),
        passed_over: std::mem::take(&mut choice.passed_over),
    })
}

impl Choice {
    fn pass(&mut self, pool: &Pool, why: PassedOver) {
        self.passed_over.push((pool.name.clone(), pool.cidr, why));
    }
}

#[cfg(test)]
mod tests;
