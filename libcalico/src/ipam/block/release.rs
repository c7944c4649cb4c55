//! Releasing inside a block (`reference/ipam.md` 6.4 and 6.5).

use std::collections::BTreeMap;
use std::net::IpAddr;

use time::OffsetDateTime;

use super::{AttributeRecord, Block, BlockError};
use crate::ipam::{handle, timestamp};

/// An address to release, with what must hold of its allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReleaseGuard {
    /// The address.
    pub address: IpAddr,
    /// Its handle must be this one.
    pub handle: Option<String>,
    /// It must have been assigned under this sequence number.
    pub sequence_number: Option<u64>,
}

/// What a release by address did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Addresses that were free already.
    pub unallocated: Vec<IpAddr>,
    /// How many addresses were released of each handle.
    pub handles: BTreeMap<String, usize>,
    /// The addresses that were released.
    pub released: Vec<IpAddr>,
}

impl Block {
    /// Releases addresses, all of them or, when a guard fails, none. An address that is named
    /// twice counts once: its last guard.
    pub fn release(
        &mut self,
        guards: &[ReleaseGuard],
        now: OffsetDateTime,
        cooldown_seconds: i64,
    ) -> Result<Released, BlockError> {
        let by_address: BTreeMap<IpAddr, &ReleaseGuard> =
            guards.iter().map(|guard| (guard.address, guard)).collect();
        let mut outcome = Released::default();
        let mut ordinals = Vec::new();
        for (ip, guard) in by_address {
            let ordinal = self.ordinal(ip)?;
            self.check_sequence(guard)?;
            let Some(record) =
                self.record_of(ordinal).filter(|record| record.released_at.is_none())
            else {
                outcome.unallocated.push(ip);
                continue;
            };
            let found = record.handle();
            if let Some(asked) = guard.handle.as_deref().map(handle::sanitize)
                && found.unwrap_or_default() != asked
            {
                return Err(BlockError::BadHandle {
                    ip,
                    block: self.cidr,
                    found: found.unwrap_or_default().to_owned(),
                    asked: asked.to_owned(),
                });
            }
            if let Some(found) = found {
                *outcome.handles.entry(found.to_owned()).or_default() += 1;
            }
            ordinals.push(ordinal);
            outcome.released.push(ip);
        }
        if !ordinals.is_empty() {
            self.cool(&ordinals, now);
            let sequence = self.sequence_number;
            let numbers = self.sequence_number_for_allocation.get_or_insert_default();
            for ordinal in ordinals {
                numbers.insert(ordinal.to_string(), sequence);
            }
            self.collect(now, cooldown_seconds);
        }
        Ok(outcome)
    }

    fn check_sequence(&self, guard: &ReleaseGuard) -> Result<(), BlockError> {
        let Some(asked) = guard.sequence_number else { return Ok(()) };
        let found = self.sequence_of(guard.address)?;
        if found == asked {
            return Ok(());
        }
        Err(BlockError::BadSequenceNumber { ip: guard.address, block: self.cidr, found, asked })
    }

    /// Releases what a handle has, or of that only what was assigned under this sequence number.
    pub fn release_by_handle(
        &mut self,
        handle: &str,
        sequence_number: Option<u64>,
        now: OffsetDateTime,
        cooldown_seconds: i64,
    ) -> Vec<IpAddr> {
        let mut ips = self.addresses_of(handle);
        if let Some(asked) = sequence_number {
            ips.retain(|ip| self.sequence_of(*ip) == Ok(asked));
        }
        let ordinals: Vec<u32> = ips.iter().filter_map(|ip| self.ordinal(*ip).ok()).collect();
        if !ordinals.is_empty() {
            self.cool(&ordinals, now);
            self.collect(now, cooldown_seconds);
        }
        ips
    }

    fn cool(&mut self, ordinals: &[u32], now: OffsetDateTime) {
        let records = self.attributes.get_or_insert_default();
        let index = records.len() as u32;
        records.push(AttributeRecord {
            released_at: Some(timestamp::format(now)),
            ..AttributeRecord::default()
        });
        for ordinal in ordinals {
            if let Some(allocation) = self.allocations.get_mut(*ordinal as usize) {
                *allocation = Some(index);
            }
        }
    }
}
