//! The structure of a block: the rules that its lists keep (`reference/datamodel.md` 6.3), and how the
//! lists that follow from the allocations are written anew.

use super::{Block, MAX_ADDRESSES};
use crate::ipam::address;

impl Block {
    /// The structural rules that it breaks. Records that nothing refers to are harmless and not among
    /// them.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let size = address::size(self.cidr);
        if size > MAX_ADDRESSES || self.allocations.len() as u128 != size {
            found.push(format!("{} allocations for {size} addresses", self.allocations.len()));
            return found;
        }
        let records = self.records().len();
        for (ordinal, index) in self.allocations.iter().enumerate() {
            if let Some(index) = index.filter(|index| *index as usize >= records) {
                found.push(format!("ordinal {ordinal} refers to record {index} of {records}"));
            }
        }
        let mut free = vec![false; self.allocations.len()];
        for ordinal in &self.unallocated {
            match free.get_mut(*ordinal as usize) {
                None => found.push(format!("free ordinal {ordinal} is out of range")),
                Some(seen) if *seen => found.push(format!("ordinal {ordinal} is free twice")),
                Some(seen) => *seen = true,
            }
        }
        for (ordinal, (index, free)) in self.allocations.iter().zip(&free).enumerate() {
            if index.is_some() == *free {
                let both =
                    if *free { "both free and allocated" } else { "neither free nor allocated" };
                found.push(format!("ordinal {ordinal} is {both}"));
            }
        }
        found
    }

    /// Writes what follows from the allocations anew: the free list (in its order, as far as it is
    /// right), the records that something refers to, the sequence numbers of allocated addresses.
    /// False if the allocations themselves are damaged: then nothing is changed.
    pub(crate) fn rebuild_lists(&mut self) -> bool {
        let records = self.records().len();
        let size = address::size(self.cidr);
        let refers_to_none =
            |index: &u32| usize::try_from(*index).is_ok_and(|index| index >= records);
        if size > MAX_ADDRESSES
            || self.allocations.len() as u128 != size
            || self.allocations.iter().flatten().any(refers_to_none)
        {
            return false;
        }
        let is_free =
            |ordinal: u32| self.allocations.get(ordinal as usize).is_some_and(Option::is_none);
        let mut seen = std::collections::BTreeSet::new();
        let mut free: Vec<u32> = self.unallocated.clone();
        free.retain(|ordinal| is_free(*ordinal) && seen.insert(*ordinal));
        let all = 0..self.allocations.len() as u32;
        free.extend(all.filter(|ordinal| is_free(*ordinal) && !seen.contains(ordinal)));
        if let Some(numbers) = &mut self.sequence_number_for_allocation {
            numbers.retain(|ordinal, _| {
                let ordinal = ordinal.parse::<usize>().ok();
                ordinal
                    .and_then(|ordinal| self.allocations.get(ordinal))
                    .is_some_and(Option::is_some)
            });
        }
        self.unallocated = free;
        self.drop_unreferenced_records();
        true
    }

    pub(super) fn drop_unreferenced_records(&mut self) -> bool {
        let Some(records) = self.attributes.take() else { return false };
        let mut used = vec![false; records.len()];
        for index in self.allocations.iter().flatten() {
            if let Some(used) = used.get_mut(*index as usize) {
                *used = true;
            }
        }
        let mut renumbered = vec![0; records.len()];
        let mut kept = Vec::with_capacity(records.len());
        for (old, record) in records.into_iter().enumerate() {
            if used[old] {
                renumbered[old] = kept.len() as u32;
                kept.push(record);
            }
        }
        let changed = kept.len() != used.len();
        for index in self.allocations.iter_mut().flatten() {
            *index = renumbered.get(*index as usize).copied().unwrap_or(*index);
        }
        self.attributes = Some(kept);
        changed
    }
}
