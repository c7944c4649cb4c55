//! What is asked of the allocator, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::block::{HostReserved, ReleaseGuard};
use super::error::{IpamError, family_name};
use super::pool::{IntendedUse, Labels, PoolRef};
use crate::resources::Kind;
use crate::store::{AffinityOwner, AffinityType, Change, Family, Key, Prefix, Query};

/// Further changes for the commit that takes the addresses: all or nothing, together.
pub type Companion<'c> = &'c (dyn Fn(&[Assigned]) -> Vec<Change> + Send + Sync);

/// Asks for addresses out of the pools that fit.
#[derive(Debug, Clone)]
pub struct AutoAssign {
    /// The node that asks; for [`IntendedUse::LoadBalancer`] the virtual owner.
    pub host: String,
    /// Whom the addresses are for; without one nothing remembers them but their block.
    pub handle: Option<String>,
    /// What is recorded with the addresses.
    pub attributes: BTreeMap<String, String>,
    /// How many IPv4 addresses.
    pub v4: u32,
    /// How many IPv6 addresses.
    pub v6: u32,
    /// Only out of these pools, in this order; they override selectors and Manual mode.
    pub v4_pools: Vec<PoolRef>,
    /// The same for IPv6.
    pub v6_pools: Vec<PoolRef>,
    /// What they are for.
    pub intended_use: IntendedUse,
    /// The labels of the namespace that they are for; none counts as no labels.
    pub namespace_labels: Option<Labels>,
    /// The most blocks of the host in each family.
    pub max_blocks_per_host: Option<u32>,
    /// The most addresses of the handle in each family. A handle that has them gets those.
    pub max_per_handle: Option<u32>,
    /// What new IPv4 blocks keep for the host (Windows).
    pub host_reserved_v4: Option<HostReserved>,
    /// What new IPv6 blocks keep for the host (Windows).
    pub host_reserved_v6: Option<HostReserved>,
    /// Whether addresses that the handle already has are the answer, instead of more: what a
    /// repeated ADD needs.
    pub reuse: bool,
    /// Whether all addresses are taken in one commit, or none. Else what there is is taken.
    pub all_or_nothing: bool,
    /// Where to look first, as far as these are the host's own blocks. They are read along with
    /// everything else, and where they have room the host's other blocks are not read at all.
    pub likely_blocks: Vec<IpNet>,
}

impl AutoAssign {
    /// One IPv4 address for a workload on a host, all or nothing.
    pub fn new(host: impl Into<String>) -> AutoAssign {
        AutoAssign {
            host: host.into(),
            handle: None,
            attributes: BTreeMap::new(),
            v4: 1,
            v6: 0,
            v4_pools: Vec::new(),
            v6_pools: Vec::new(),
            intended_use: IntendedUse::Workload,
            namespace_labels: None,
            max_blocks_per_host: None,
            max_per_handle: None,
            host_reserved_v4: None,
            host_reserved_v6: None,
            reuse: false,
            all_or_nothing: true,
            likely_blocks: Vec::new(),
        }
    }

    /// What to read first, at one revision (T0). A caller that reads at the same moment appends
    /// its own queries to these and hands the answers to these over.
    pub fn queries(&self) -> Vec<Query> {
        let owner = self.owner();
        let mut queries = vec![
            Query::Key(Key::IpamConfig),
            Query::Prefix(Prefix::kind(Kind::IpReservation)),
            Query::Prefix(Prefix::kind(Kind::IpPool)),
        ];
        if self.intended_use != IntendedUse::LoadBalancer {
            queries.push(Query::Key(Key::global(Kind::Node, &self.host)));
        }
        for (family, count) in [(Family::V4, self.v4), (Family::V6, self.v6)] {
            if count > 0 {
                queries.push(Query::Prefix(Prefix::Affinities(owner.clone(), Some(family))));
                let likely = self.likely_blocks.iter().filter(|cidr| Family::of(cidr) == family);
                queries.extend(likely.map(|cidr| Query::Key(Key::Block(*cidr))));
            }
        }
        if let Some(handle) = &self.handle {
            queries.push(Query::Key(Key::Handle(handle.clone())));
        }
        queries
    }

    pub(crate) fn owner(&self) -> AffinityOwner {
        let kind = match self.intended_use {
            IntendedUse::LoadBalancer => AffinityType::Virtual,
            IntendedUse::Workload | IntendedUse::Tunnel => AffinityType::Host,
        };
        AffinityOwner { kind, name: self.host.clone() }
    }
}

/// Asks for one address.
#[derive(Debug, Clone)]
pub struct AssignIp {
    /// The address.
    pub ip: IpAddr,
    /// The node that asks.
    pub host: String,
    /// Whom it is for.
    pub handle: Option<String>,
    /// What is recorded with it.
    pub attributes: BTreeMap<String, String>,
    /// What it is for; its pool must allow that.
    pub intended_use: Option<IntendedUse>,
    /// The most addresses of the handle in the family.
    pub max_per_handle: Option<u32>,
    /// What a new block keeps for the host (Windows).
    pub host_reserved: Option<HostReserved>,
    /// Whether it is no failure that the handle has the address already: what a repeated ADD needs.
    pub reuse: bool,
    /// A handle from which the address is taken, should that have it: in the same commit, so that it
    /// is nobody's at no time, and it doesn't cool down.
    pub from: Option<String>,
}

impl AssignIp {
    /// What to read first, at one revision.
    pub fn queries(&self) -> Vec<Query> {
        AssignIp::queries_of(std::slice::from_ref(self))
    }

    /// What to read before several addresses are assigned, at one revision.
    pub fn queries_of(requests: &[AssignIp]) -> Vec<Query> {
        let mut queries =
            vec![Query::Key(Key::IpamConfig), Query::Prefix(Prefix::kind(Kind::IpPool))];
        let handles: BTreeSet<&String> = requests
            .iter()
            .flat_map(|request| [&request.handle, &request.from])
            .flatten()
            .collect();
        queries.extend(handles.into_iter().map(|id| Query::Key(Key::Handle(id.clone()))));
        queries
    }
}

/// An address that was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// The prefix length of its block; 32 or 128 for one that the handle's maximum answered with.
    pub block_prefix_len: u8,
    /// The name of its pool, if an enabled one holds it.
    pub pool: Option<String>,
    /// The sequence number that it was assigned under: with it a release is exact.
    pub sequence_number: u64,
    /// Whether the handle had it before.
    pub reused: bool,
}

impl Assigned {
    /// Its block.
    pub fn block(&self) -> Option<IpNet> {
        IpNet::new(self.address, self.block_prefix_len).ok().map(|block| block.trunc())
    }

    /// What releases exactly this allocation.
    pub fn release_guard(&self, handle: Option<&str>) -> ReleaseGuard {
        ReleaseGuard {
            address: self.address,
            handle: handle.map(str::to_owned),
            sequence_number: Some(self.sequence_number),
        }
    }
}

/// The addresses of one family.
#[derive(Debug, Clone, Default)]
pub struct FamilyResult {
    /// The addresses.
    pub addresses: Vec<Assigned>,
    /// How many were asked for.
    pub requested: u32,
    /// Why there aren't more, in upstream's words.
    pub messages: Vec<String>,
    /// What ended the search before its time, when some addresses had been found.
    pub error: Option<IpamError>,
    /// The handle of what the host reserves in each block, if it does.
    pub host_reserved: Option<String>,
}

impl FamilyResult {
    /// What is missing, in upstream's words; none when nothing is.
    pub fn partial_fulfillment(&self, family: Family) -> Option<String> {
        let (found, requested) = (self.addresses.len(), self.requested);
        if found >= requested as usize {
            return None;
        }
        let name = family_name(family);
        let mut text = format!("Assigned {found} out of {requested} requested {name} addresses");
        for message in &self.messages {
            text.push_str("; ");
            text.push_str(message);
        }
        if let Some(handle) = &self.host_reserved {
            text.push_str("; HostReservedAttr: ");
            text.push_str(handle);
        }
        Some(text)
    }
}

/// The answer to [`AutoAssign`].
#[derive(Debug, Clone, Default)]
pub struct Assignment {
    /// The IPv4 addresses.
    pub v4: FamilyResult,
    /// The IPv6 addresses.
    pub v6: FamilyResult,
}

impl Assignment {
    /// All addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = &Assigned> {
        self.v4.addresses.iter().chain(&self.v6.addresses)
    }

    /// What is missing, in upstream's words; none when nothing is.
    pub fn partial_fulfillment(&self) -> Option<String> {
        let texts: Vec<String> = [(Family::V4, &self.v4), (Family::V6, &self.v6)]
            .into_iter()
            .filter_map(|(family, result)| result.partial_fulfillment(family))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

/// A handle id that can be stored: not empty, and without `/`, which would make its key one that
/// nobody reads.
pub(crate) fn check_handle(handle: Option<&str>) -> Result<(), IpamError> {
    match handle {
        Some(id) => check_name("handle", id),
        None => Ok(()),
    }
}

pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), IpamError> {
    let problem = if name.is_empty() {
        "it must not be empty"
    } else if name.contains('/') {
        "it must not contain a slash"
    } else {
        return Ok(());
    };
    Err(IpamError::Invalid { field, value: name.to_owned(), problem: problem.to_owned() })
}

#[cfg(test)]
mod tests;
