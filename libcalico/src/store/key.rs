//! Typed keys and prefixes (`reference/datamodel.md` section 1).

use ipnet::IpNet;

use crate::resources::Kind;

/// The key of one document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A v3 resource. `namespace` is there exactly when the kind is namespaced.
    Resource {
        /// Its kind.
        kind: Kind,
        /// Its namespace.
        namespace: Option<String>,
        /// Its name, as stored.
        name: String,
    },
    /// A block of addresses; the CIDR is masked.
    Block(IpNet),
    /// The record that an owner has a block; the CIDR is masked.
    Affinity(AffinityOwner, IpNet),
    /// A handle: the addresses of one owner. No `/` in it.
    Handle(String),
    /// The configuration of IPAM.
    IpamConfig,
    /// A marker that releases before 3.0 wrote for a host; removed when a host is.
    LegacyHost(String),
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// The resources of a kind: of all namespaces or of one, and of those the names that begin so.
    /// A name prefix only makes sense with a namespace where the kind is namespaced.
    Resources {
        /// Their kind.
        kind: Kind,
        /// Only of this namespace.
        namespace: Option<String>,
        /// Only names that begin so; empty for all.
        name_prefix: String,
    },
    /// All blocks, or those of a family.
    Blocks(Option<Family>),
    /// The affinities of an owner, all or those of a family.
    Affinities(AffinityOwner, Option<Family>),
    /// The affinities of all owners of a type.
    AllAffinities(AffinityType),
    /// The handles whose id begins so; empty for all.
    Handles(String),
    /// Everything of Calico's: for checks, tests and backups.
    All,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The kind of a block's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AffinityType {
    /// A node.
    Host,
    /// Something that is no node, like `load-balancer`.
    Virtual,
}

/// The owner of a block.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AffinityOwner {
    /// What it is.
    pub kind: AffinityType,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of a resource without namespace.
    pub fn global(kind: Kind, name: impl Into<String>) -> Key {
        Key::Resource { kind, namespace: None, name: name.into() }
    }

    /// The key of a resource in a namespace.
    pub fn namespaced(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Key {
        Key::Resource { kind, namespace: Some(namespace.into()), name: name.into() }
    }
}

impl Prefix {
    /// All resources of a kind.
    pub fn kind(kind: Kind) -> Prefix {
        Prefix::Resources { kind, namespace: None, name_prefix: String::new() }
    }
}

impl Family {
    /// The family of a network.
    pub fn of(net: &IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }
}

impl AffinityOwner {
    /// A node as an owner.
    pub fn host(name: impl Into<String>) -> AffinityOwner {
        AffinityOwner { kind: AffinityType::Host, name: name.into() }
    }
}
