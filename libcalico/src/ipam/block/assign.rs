//! Assigning inside a block (`reference/ipam.md` 6.2 and 6.3).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{AttributeRecord, Block, BlockError};
use crate::ipam::reservation::AddressFilter;
use crate::ipam::{address, handle};

impl Block {
    /// Takes up to `count` free addresses from the head of the queue. Reserved ones keep their
    /// place.
    pub fn auto_assign(
        &mut self,
        count: usize,
        handle: Option<&str>,
        attributes: &BTreeMap<String, String>,
        filter: &AddressFilter,
    ) -> Vec<IpAddr> {
        let mut taken = Vec::new();
        let mut kept = Vec::with_capacity(self.unallocated.len());
        for ordinal in std::mem::take(&mut self.unallocated) {
            match address::nth(self.cidr, u128::from(ordinal)) {
                Some(ip) if taken.len() < count && !filter.contains(ip) => {
                    taken.push((ordinal, ip))
                }
                _ => kept.push(ordinal),
            }
        }
        self.unallocated = kept;
        if !taken.is_empty() {
            let record = self.record_for(handle, attributes);
            for (ordinal, _) in &taken {
                self.allocate(*ordinal, record);
            }
        }
        taken.into_iter().map(|(_, ip)| ip).collect()
    }

    /// Takes one address. Reservations are not asked: they only bind automatic assignment.
    pub fn assign(
        &mut self,
        ip: IpAddr,
        handle: Option<&str>,
        attributes: &BTreeMap<String, String>,
    ) -> Result<(), BlockError> {
        let ordinal = self.ordinal(ip)?;
        if let Some(record) = self.record_of(ordinal) {
            return Err(BlockError::AlreadyAssigned {
                ip,
                handle: record.handle().map(str::to_owned),
                cooling: record.released_at.is_some(),
            });
        }
        let record = self.record_for(handle, attributes);
        self.unallocated.retain(|free| *free != ordinal);
        self.allocate(ordinal, record);
        Ok(())
    }

    /// Takes an address from a handle, to be given to another one at once: it doesn't cool down.
    /// False if the handle doesn't have it.
    pub fn take_from(&mut self, handle: &str, ip: IpAddr) -> Result<bool, BlockError> {
        let ordinal = self.ordinal(ip)?;
        let handle = handle::sanitize(handle);
        if self.record_of(ordinal).is_none_or(|record| record.handle() != Some(handle)) {
            return Ok(false);
        }
        if let Some(allocation) = self.allocations.get_mut(ordinal as usize) {
            *allocation = None;
        }
        self.unallocated.push(ordinal);
        self.drop_unreferenced_records();
        Ok(true)
    }

    fn allocate(&mut self, ordinal: u32, record: u32) {
        if let Some(allocation) = self.allocations.get_mut(ordinal as usize) {
            *allocation = Some(record);
        }
        let sequence = self.sequence_number;
        self.sequence_number_for_allocation
            .get_or_insert_default()
            .insert(ordinal.to_string(), sequence);
    }

    /// The index of the record of this holder; a new one if there is none.
    fn record_for(&mut self, handle: Option<&str>, attributes: &BTreeMap<String, String>) -> u32 {
        let record = AttributeRecord {
            handle_id: handle.map(str::to_owned),
            secondary: attributes.clone(),
            ..AttributeRecord::default()
        };
        let records = self.attributes.get_or_insert_default();
        let index = records.iter().position(|known| *known == record).unwrap_or_else(|| {
            records.push(record);
            records.len() - 1
        });
        index as u32
    }
}
