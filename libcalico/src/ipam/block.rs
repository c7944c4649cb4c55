//! A block of addresses: the wire type (`reference/datamodel.md` 6.1) and the operations inside one
//! block (`reference/ipam.md` section 6), as pure functions. The block alone says which address is
//! allocated.

mod assign;
mod cooldown;
mod release;
mod structure;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::affinity::{owner_text, parse_owner};
use super::reservation::AddressFilter;
use super::{address, handle, timestamp};
use crate::resources::codec;
use crate::store::AffinityOwner;

pub use release::{ReleaseGuard, Released};

/// The handle of addresses that Windows keeps for itself in each of its blocks.
pub const WINDOWS_RESERVED_HANDLE: &str = "windows-reserved-ipam-handle";

/// The largest number of addresses that we read a block of: upstream's own limit is 4096.
const MAX_ADDRESSES: u128 = 1 << 16;

/// A block as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its network.
    #[serde(rename = "cidr")]
    pub cidr: IpNet,
    /// Its owner: `host:<name>`, `virtual:<name>`, or nobody.
    #[serde(rename = "affinity", default)]
    pub affinity: Option<String>,
    /// When the owner took it. Absent in blocks of older releases, which counts as long ago.
    #[serde(rename = "affinity_claim_time", default, skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// For every address, free or the index of its record in `attributes`.
    #[serde(rename = "allocations", default, deserialize_with = "codec::null_as_default")]
    pub allocations: Vec<Option<u32>>,
    /// The free addresses: the head is given out next, what is freed goes to the tail.
    #[serde(rename = "unallocated", default, deserialize_with = "codec::null_as_default")]
    pub unallocated: Vec<u32>,
    /// The records that allocations share. `null` in a new block, `[]` in one that was emptied.
    #[serde(rename = "attributes", default)]
    pub attributes: Option<Vec<AttributeRecord>>,
    /// Starts at the time of creation in nanoseconds; every write of the block raises it by one.
    #[serde(rename = "sequenceNumber", default)]
    pub sequence_number: u64,
    /// The sequence number that each allocated address was assigned under, by decimal ordinal.
    #[serde(rename = "sequenceNumberForAllocation", default)]
    pub sequence_number_for_allocation: Option<BTreeMap<String, u64>>,
    /// Upstream's two-phase delete on Kubernetes; false elsewhere.
    #[serde(rename = "deleted", default)]
    pub deleted: bool,
    /// Historic; passed through.
    #[serde(rename = "hostAffinity", default, skip_serializing_if = "Option::is_none")]
    pub host_affinity: Option<String>,
    /// What other releases may have written.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// Who has an address, or since when it is cooling down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeRecord {
    /// The handle of its holder.
    #[serde(rename = "handle_id", default, skip_serializing_if = "Option::is_none")]
    pub handle_id: Option<String>,
    /// The attributes of the active owner.
    #[serde(
        rename = "secondary",
        default,
        deserialize_with = "codec::null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub secondary: BTreeMap<String, String>,
    /// The attributes of a second owner, while a virtual machine migrates.
    #[serde(
        rename = "alternateOwnerAttrs",
        default,
        deserialize_with = "codec::null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub alternate_owner_attrs: BTreeMap<String, String>,
    /// When it was released; only on records of addresses that cool down.
    #[serde(rename = "releasedAt", default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<String>,
    /// What other releases may have written.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// Addresses at both ends of each new block that are never given out (Windows needs 3 and 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReserved {
    /// How many at the start.
    pub start_of_block: u32,
    /// How many at the end.
    pub end_of_block: u32,
    /// Their handle.
    pub handle: String,
    /// Their note.
    pub note: String,
}

/// What is wrong with a block, or with what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The value is no block, or breaks a structural rule.
    #[error("block {block} is damaged: {problem}; see calicoctl ipam check")]
    Damaged {
        /// The block.
        block: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Strict affinity: nobody owns the block.
    #[error("Attempt to assign from block {block} with no affinity")]
    NoAffinity {
        /// The block.
        block: IpNet,
    },
    /// Strict affinity: somebody else owns the block.
    #[error("Block affinity ({found}) does not match provided ({asked}) in block {block}")]
    OtherAffinity {
        /// The block.
        block: IpNet,
        /// Its owner.
        found: String,
        /// Who asked.
        asked: String,
    },
    /// The address is allocated, or cools down.
    #[error("resource already exists: {ip} with error: Address already assigned in block")]
    AlreadyAssigned {
        /// The address.
        ip: IpAddr,
        /// Who has it.
        handle: Option<String>,
        /// Whether nobody has it any more, but not for long enough.
        cooling: bool,
    },
    /// The address isn't in the block.
    #[error("address {ip} is not in block {block}")]
    Outside {
        /// The address.
        ip: IpAddr,
        /// The block.
        block: IpNet,
    },
    /// A release named another handle than the address has.
    #[error(
        "update conflict: {ip} is held by handle {found:?}, not {asked:?}: nothing of block {block} was released"
    )]
    BadHandle {
        /// The address.
        ip: IpAddr,
        /// Its block.
        block: IpNet,
        /// Its handle.
        found: String,
        /// The handle that was named.
        asked: String,
    },
    /// A release saw an older allocation of the address.
    #[error(
        "update conflict: {ip} was assigned under sequence number {found}, not {asked}: nothing of block {block} was released"
    )]
    BadSequenceNumber {
        /// The address.
        ip: IpAddr,
        /// Its block.
        block: IpNet,
        /// Its sequence number.
        found: u64,
        /// The number that was named.
        asked: u64,
    },
}

impl Block {
    /// A new block: all addresses free and ascending, but for those that the host reserves.
    pub fn new(
        cidr: IpNet,
        owner: Option<&AffinityOwner>,
        reserved: Option<&HostReserved>,
        now: OffsetDateTime,
    ) -> Block {
        let cidr = cidr.trunc();
        let size = address::size(cidr).min(MAX_ADDRESSES) as u32;
        let mut block = Block {
            cidr,
            affinity: owner.map(owner_text),
            affinity_claim_time: owner.map(|_| timestamp::format(now)),
            allocations: vec![None; size as usize],
            unallocated: (0..size).collect(),
            attributes: None,
            sequence_number: timestamp::unix_nanos(now),
            sequence_number_for_allocation: Some(BTreeMap::new()),
            deleted: false,
            host_affinity: None,
            unknown: serde_json::Map::new(),
        };
        if let Some(reserved) = reserved {
            block.reserve_ends(reserved, size);
        }
        block
    }

    fn reserve_ends(&mut self, reserved: &HostReserved, size: u32) {
        let first_kept = reserved.start_of_block.min(size);
        let first_of_end = size.saturating_sub(reserved.end_of_block).max(first_kept);
        self.attributes = Some(vec![AttributeRecord {
            handle_id: Some(reserved.handle.clone()),
            secondary: BTreeMap::from([("note".to_owned(), reserved.note.clone())]),
            ..AttributeRecord::default()
        }]);
        for (ordinal, allocation) in (0u32..).zip(&mut self.allocations) {
            if ordinal < first_kept || ordinal >= first_of_end {
                *allocation = Some(0);
            }
        }
        self.unallocated = (first_kept..first_of_end).collect();
    }

    /// Reads a stored block and checks its structure.
    pub fn decode(value: &[u8]) -> Result<Block, BlockError> {
        let block: Block = serde_json::from_slice(value).map_err(|error| BlockError::Damaged {
            block: "of unreadable JSON".to_owned(),
            problem: error.to_string(),
        })?;
        match block.problems().into_iter().next() {
            None => Ok(block),
            Some(problem) => Err(BlockError::Damaged { block: block.cidr.to_string(), problem }),
        }
    }

    /// The JSON to store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(crate) fn records(&self) -> &[AttributeRecord] {
        self.attributes.as_deref().unwrap_or_default()
    }

    fn record_of(&self, ordinal: u32) -> Option<&AttributeRecord> {
        let index = (*self.allocations.get(ordinal as usize)?)?;
        self.records().get(index as usize)
    }

    /// The owner, if there is one of a known kind.
    pub fn owner(&self) -> Option<AffinityOwner> {
        self.affinity.as_deref().and_then(parse_owner)
    }

    /// Whether this owner has it.
    pub fn is_owned_by(&self, owner: &AffinityOwner) -> bool {
        self.affinity.as_deref() == Some(owner_text(owner).as_str())
    }

    /// Under strict affinity only its owner may take addresses.
    pub fn check_owner(&self, owner: &AffinityOwner) -> Result<(), BlockError> {
        match &self.affinity {
            None => Err(BlockError::NoAffinity { block: self.cidr }),
            Some(_) if self.is_owned_by(owner) => Ok(()),
            Some(found) => Err(BlockError::OtherAffinity {
                block: self.cidr,
                found: found.clone(),
                asked: owner_text(owner),
            }),
        }
    }

    /// Hands it to another owner, or to nobody.
    pub fn set_owner(&mut self, owner: Option<&AffinityOwner>, now: OffsetDateTime) {
        self.affinity = owner.map(owner_text);
        self.affinity_claim_time = owner.map(|_| timestamp::format(now));
    }

    fn ordinal(&self, ip: IpAddr) -> Result<u32, BlockError> {
        address::ordinal(self.cidr, ip)
            .and_then(|ordinal| u32::try_from(ordinal).ok())
            .ok_or(BlockError::Outside { ip, block: self.cidr })
    }

    fn ip(&self, ordinal: usize) -> Option<IpAddr> {
        address::nth(self.cidr, ordinal as u128)
    }

    /// Whether no address is in use. What Windows reserves doesn't count; what cools down does.
    pub fn is_empty(&self) -> bool {
        self.allocations.iter().flatten().all(|index| {
            let handle = self.records().get(*index as usize).and_then(AttributeRecord::handle);
            handle.is_some_and(|handle| handle.eq_ignore_ascii_case(WINDOWS_RESERVED_HANDLE))
        })
    }

    /// How many addresses can be given out.
    pub fn free_count(&self, filter: &AddressFilter) -> usize {
        if filter.covers(self.cidr) {
            return 0;
        }
        let free =
            |ordinal: &&u32| self.ip(**ordinal as usize).is_some_and(|ip| !filter.contains(ip));
        self.unallocated.iter().filter(free).count()
    }

    /// How many addresses are reserved, allocated or not.
    pub fn reserved_count(&self, filter: &AddressFilter) -> u128 {
        filter.count_in(self.cidr)
    }

    /// The allocated addresses with their records, cooling ones included, in ascending order.
    pub fn allocated(&self) -> impl Iterator<Item = (IpAddr, &AttributeRecord)> {
        self.allocations.iter().enumerate().filter_map(|(ordinal, index)| {
            let record = self.records().get((*index)? as usize)?;
            Some((self.ip(ordinal)?, record))
        })
    }

    /// The addresses that a handle has.
    pub fn addresses_of(&self, handle: &str) -> Vec<IpAddr> {
        let handle = handle::sanitize(handle);
        self.allocated()
            .filter(|(_, record)| record.handle() == Some(handle))
            .map(|(ip, _)| ip)
            .collect()
    }

    /// The record of an address; none when it is free.
    pub fn record(&self, ip: IpAddr) -> Result<Option<&AttributeRecord>, BlockError> {
        Ok(self.record_of(self.ordinal(ip)?))
    }

    /// The record of an address, to be changed. All addresses that share it change.
    pub fn record_mut(&mut self, ip: IpAddr) -> Result<Option<&mut AttributeRecord>, BlockError> {
        let ordinal = self.ordinal(ip)? as usize;
        let Some(index) = self.allocations.get(ordinal).copied().flatten() else { return Ok(None) };
        Ok(self.attributes.as_mut().and_then(|records| records.get_mut(index as usize)))
    }

    /// The sequence number that an address was assigned under; 0 when it is free.
    pub fn sequence_of(&self, ip: IpAddr) -> Result<u64, BlockError> {
        let ordinal = self.ordinal(ip)?.to_string();
        let numbers = self.sequence_number_for_allocation.as_ref();
        Ok(numbers.and_then(|numbers| numbers.get(&ordinal)).copied().unwrap_or(0))
    }

    /// For how long its owner has had it; `None` when that isn't known, which means for long.
    pub fn owned_for(&self, now: OffsetDateTime) -> Option<Duration> {
        let since = timestamp::parse(self.affinity_claim_time.as_deref()?)?;
        Some(now - since)
    }
}

impl AttributeRecord {
    /// The handle, without what an old migration appended.
    pub fn handle(&self) -> Option<&str> {
        self.handle_id.as_deref().map(handle::sanitize)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
