//! What can go wrong in IPAM. The texts that upstream's users and tests know are kept; what helps
//! further follows them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::block::BlockError;
use super::pool::{IntendedUse, PassedOver, PoolRef};
use crate::store::{Document, Family, StoreError, StoreErrorKind};

/// From what kind of failure a caller decides on retries and codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpamErrorKind {
    /// The request or the configuration is wrong.
    Invalid,
    /// What was named isn't there.
    NotFound,
    /// Somebody else has it, or changed it meanwhile.
    Conflict,
    /// There is no address left.
    Exhausted,
    /// The store couldn't be asked in time.
    Unavailable,
    /// What is stored is damaged.
    Internal,
}

/// A failure of IPAM.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IpamError {
    /// A failure of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field of a request can't be.
    #[error("invalid {field} {value:?}: {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A request contradicts itself, in upstream's words.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The node isn't in the store.
    #[error(
        "node {host} does not exist in the datastore: check nodename in the CNI configuration, and that the node is registered"
    )]
    NodeNotFound {
        /// Its name.
        host: String,
    },
    /// No enabled pool fits.
    #[error("cannot find a qualified ippool{}{}; {}", use_text(*intended_use), passed_over_text(passed_over), pools_hint(*family))]
    NoQualifiedPool {
        /// The family of the wanted address.
        family: Family,
        /// The use that none allows.
        intended_use: Option<IntendedUse>,
        /// Why each pool is none.
        passed_over: Vec<(String, IpNet, PassedOver)>,
    },
    /// Enabled pools exist, but none for this node and namespace.
    #[error("no configured Calico pools for node {host}{}; {}", passed_over_text(passed_over), pools_hint(*family))]
    NoPoolForHost {
        /// The family of the wanted address.
        family: Family,
        /// The node.
        host: String,
        /// Why each pool is none.
        passed_over: Vec<(String, IpNet, PassedOver)>,
    },
    /// A requested pool is unknown, or can't be used.
    #[error("the given pool ({pool}) does not exist, or is not enabled{}", why.map(|why| format!(": it is {why}")).unwrap_or_default())]
    PoolNotAvailable {
        /// The pool as requested.
        pool: PoolRef,
        /// Why not, if it exists.
        why: Option<PassedOver>,
    },
    /// A requested pool is of the other family.
    #[error("provided {} IPPools list contains one or more {} IPPools: {pool}", family_name(*family), family_name(other(*family)))]
    PoolFamily {
        /// The family of the list.
        family: Family,
        /// The pool.
        pool: PoolRef,
    },
    /// A pool's selector can't be parsed.
    #[error("pool {pool} has an invalid {field}: {problem}; correct the pool")]
    Selector {
        /// The pool.
        pool: String,
        /// The field.
        field: &'static str,
        /// The parser's words.
        problem: String,
    },
    /// The host may not claim another block.
    #[error("cannot allocate new block due to per host block limit: {}", detail)]
    BlockLimit {
        /// The host.
        host: String,
        /// The limit.
        limit: u64,
        /// How short the result is.
        detail: Box<Shortfall>,
    },
    /// Blocks may not be claimed automatically, and the host's are full.
    #[error(
        "failed to find or claim a block: autoAllocateBlocks is false and the blocks of the host are full: {}",
        detail
    )]
    NoBlock {
        /// How short the result is.
        detail: Box<Shortfall>,
    },
    /// There is no address left.
    #[error("{0}")]
    Exhausted(Box<Shortfall>),
    /// A request for all or nothing is too large for one commit.
    #[error(
        "{addresses} addresses do not fit in one commit: ask for fewer, or for as many as there are"
    )]
    TooMany {
        /// How many were asked for.
        addresses: u64,
    },
    /// The address is in no enabled pool.
    #[error("The provided IP address is not in a configured pool\n{}: {ip} is in none of [{}]; see calicoctl get ippool -o wide", "", pools.join(" "))]
    NotInPool {
        /// The address.
        ip: IpAddr,
        /// The enabled pools of its family.
        pools: Vec<String>,
    },
    /// The address's pool is for other uses.
    #[error("IP address {ip} is in IP pool \"{pool}\", which is not allowed for use \"{}\" (allowedUses: [{}])", intended_use.name(), allowed.join(" "))]
    UseNotAllowed {
        /// The address.
        ip: IpAddr,
        /// Its pool.
        pool: String,
        /// The use.
        intended_use: IntendedUse,
        /// What the pool is for.
        allowed: Vec<String>,
    },
    /// An operation inside a block failed.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A handle has as many addresses as it may.
    #[error(
        "handle {handle} already has IP(s) allocated, cannot assign additional IP {ip} (maxAllocPerIPVersion={max})"
    )]
    HandleLimit {
        /// The handle.
        handle: String,
        /// The address.
        ip: IpAddr,
        /// The limit.
        max: u32,
    },
    /// Somebody else owns the block.
    #[error("{block} already claimed by {owner}")]
    AlreadyClaimed {
        /// The block.
        block: IpNet,
        /// Its owner.
        owner: String,
    },
    /// The block has addresses in use or cooling down.
    #[error("block '{block}' is not empty: {in_use} addresses in use, {cooling} cooling down")]
    NotEmpty {
        /// The block.
        block: IpNet,
        /// Addresses in use.
        in_use: usize,
        /// Addresses that cool down.
        cooling: usize,
    },
    /// A block isn't as the caller saw it.
    #[error("IPAM block updated since we last read it: {block}")]
    BlockChanged {
        /// The block.
        block: IpNet,
    },
    /// A CIDR is in no enabled pool.
    #[error("The requested CIDR ({cidr}) is not within any configured pools.")]
    CidrOutside {
        /// The CIDR.
        cidr: IpNet,
    },
    /// A CIDR is smaller than a block.
    #[error("The requested CIDR ({cidr}) is smaller than the minimum.")]
    CidrTooSmall {
        /// The CIDR.
        cidr: IpNet,
    },
    /// What was named isn't there.
    #[error("{what} does not exist{}", hint(detail))]
    NotFound {
        /// The thing.
        what: String,
        /// More about it; may be empty.
        detail: &'static str,
    },
    /// The address was released and cools down.
    #[error("address {ip} was released and is cooling down")]
    InCooldown {
        /// The address.
        ip: IpAddr,
    },
    /// The address has another handle.
    #[error("IP {ip} is not assigned to handle {handle}")]
    OtherHandle {
        /// The address.
        ip: IpAddr,
        /// The handle that was named.
        handle: String,
    },
    /// An owner is not the expected one.
    #[error("update conflict: cannot set {field}: expected {expected} but found {found}")]
    OwnerMismatch {
        /// What was to be set.
        field: &'static str,
        /// Whom the caller expected.
        expected: String,
        /// Who is there.
        found: String,
    },
    /// The configuration was changed since it was read.
    #[error("the IPAM configuration was changed meanwhile: read it again")]
    ConfigChanged,
    /// The rival writers never left a gap before the deadline.
    #[error(
        "Max retries hit - excessive concurrent IPAM requests: {attempts} attempts to {what} were overtaken; try again"
    )]
    Contention {
        /// What was tried.
        what: &'static str,
        /// How often.
        attempts: u32,
    },
    /// A block's document doesn't fit into a commit any more.
    #[error(
        "block {block} would take {bytes} bytes, and a store takes {} at once: release addresses of it, shorten their attributes, or use a pool whose blocks are smaller, with a blockSize above {}",
        crate::store::MAX_COMMIT_BYTES, block.prefix_len()
    )]
    BlockTooLarge {
        /// The block.
        block: IpNet,
        /// The length of its document.
        bytes: usize,
    },
    /// A stored document can't be read.
    #[error("{what} in the datastore can't be read: {problem}; see calicoctl ipam check")]
    Damaged {
        /// Which.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// One of the guards that the caller added didn't hold: nothing was changed. Holds the present
    /// documents of the caller's changes, in their order.
    #[error("an object that was to be written together with the addresses was changed meanwhile")]
    CompanionConflict(Vec<Option<Document>>),
}

/// How short a result is and what stands in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// `Assigned 0 out of 1 requested IPv4 addresses; …`, in upstream's words.
    pub text: String,
    /// The node.
    pub host: String,
    /// The pools that were searched.
    pub pools: Vec<PoolReport>,
    /// The pools that were not, and why.
    pub passed_over: Vec<(String, IpNet, PassedOver)>,
}

/// What the search found in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolReport {
    /// Its name.
    pub name: String,
    /// Its network.
    pub cidr: IpNet,
    /// Its number of blocks.
    pub blocks: u128,
    /// Blocks that exist, of those that were looked at.
    pub blocks_used: u64,
    /// Blocks that the node owns.
    pub blocks_own: u64,
    /// Addresses in use.
    pub in_use: u64,
    /// Addresses that cool down.
    pub cooling: u64,
    /// Addresses that this node has in others' blocks.
    pub borrowed: u64,
    /// Free addresses in others' blocks, which strict affinity or the limit keeps from this node.
    pub free_elsewhere: u64,
    /// Reserved addresses.
    pub reserved: u128,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        for pool in &self.pools {
            write!(
                f,
                "; pool {} {}: {} of {} blocks used, {} by node {}; addresses: {} in use, {} \
                 borrowed by this node, {} cooling down, {} reserved, {} free in blocks of others",
                pool.name,
                pool.cidr,
                pool.blocks_used,
                pool.blocks,
                pool.blocks_own,
                self.host,
                pool.in_use,
                pool.borrowed,
                pool.cooling,
                pool.reserved,
                pool.free_elsewhere,
            )?;
        }
        f.write_str(&passed_over_text(&self.passed_over))?;
        f.write_str("; add a pool, or free addresses; see calicoctl ipam show --show-blocks")
    }
}

impl IpamError {
    /// What kind of failure it is.
    pub fn kind(&self) -> IpamErrorKind {
        use IpamErrorKind as Kind;
        match self {
            IpamError::Store(error) => match error.kind {
                StoreErrorKind::Invalid => Kind::Invalid,
                StoreErrorKind::Corrupt => Kind::Internal,
                StoreErrorKind::Unauthorized
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Unknown
                | StoreErrorKind::Compacted => Kind::Unavailable,
            },
            IpamError::Invalid { .. }
            | IpamError::InvalidRequest(_)
            | IpamError::PoolNotAvailable { .. }
            | IpamError::PoolFamily { .. }
            | IpamError::Selector { .. }
            | IpamError::TooMany { .. }
            | IpamError::BlockTooLarge { .. }
            | IpamError::NotInPool { .. }
            | IpamError::UseNotAllowed { .. }
            | IpamError::CidrOutside { .. }
            | IpamError::CidrTooSmall { .. } => Kind::Invalid,
            IpamError::NodeNotFound { .. } | IpamError::NotFound { .. } => Kind::NotFound,
            IpamError::HandleLimit { .. }
            | IpamError::AlreadyClaimed { .. }
            | IpamError::NotEmpty { .. }
            | IpamError::BlockChanged { .. }
            | IpamError::InCooldown { .. }
            | IpamError::OtherHandle { .. }
            | IpamError::OwnerMismatch { .. }
            | IpamError::ConfigChanged
            | IpamError::CompanionConflict(_) => Kind::Conflict,
            IpamError::NoQualifiedPool { .. }
            | IpamError::NoPoolForHost { .. }
            | IpamError::BlockLimit { .. }
            | IpamError::NoBlock { .. }
            | IpamError::Exhausted(_) => Kind::Exhausted,
            IpamError::Contention { .. } => Kind::Unavailable,
            IpamError::Damaged { .. } => Kind::Internal,
            IpamError::Block(error) => match error {
                BlockError::Damaged { .. } => Kind::Internal,
                BlockError::Outside { .. } => Kind::Invalid,
                BlockError::NoAffinity { .. }
                | BlockError::OtherAffinity { .. }
                | BlockError::AlreadyAssigned { .. }
                | BlockError::BadHandle { .. }
                | BlockError::BadSequenceNumber { .. } => Kind::Conflict,
            },
        }
    }
}

/// `IPv4` or `IPv6`.
pub(crate) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn use_text(intended_use: Option<IntendedUse>) -> String {
    intended_use
        .map(|intended_use| format!(", no pools match the required use ({})", intended_use.name()))
        .unwrap_or_default()
}

fn passed_over_text(passed_over: &[(String, IpNet, PassedOver)]) -> String {
    passed_over.iter().map(|(name, cidr, why)| format!("; pool {name} {cidr}: {why}")).collect()
}

fn pools_hint(family: Family) -> String {
    format!(
        "no {} pool is left: create one, or change one of those; see calicoctl get ippool -o wide",
        family_name(family)
    )
}

fn hint(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}
