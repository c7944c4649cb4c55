//! Released addresses cool down before they are given out again (`reference/ipam.md` 6.1).

use time::{Duration, OffsetDateTime};

use super::{AttributeRecord, Block};
use crate::ipam::timestamp;

impl Block {
    /// Frees the addresses that have cooled down and drops the records that nothing refers to.
    /// Whoever loads a block does this first. Answers whether anything changed.
    pub fn collect(&mut self, now: OffsetDateTime, cooldown_seconds: i64) -> bool {
        let warm: Vec<bool> = self
            .records()
            .iter()
            .map(|record| has_cooled_down(record, now, cooldown_seconds))
            .collect();
        let mut changed = false;
        for ordinal in 0..self.allocations.len() {
            let allocation = &mut self.allocations[ordinal];
            if allocation.is_some_and(|index| warm.get(index as usize) == Some(&true)) {
                *allocation = None;
                self.unallocated.push(ordinal as u32);
                if let Some(sequence) = &mut self.sequence_number_for_allocation {
                    sequence.remove(&ordinal.to_string());
                }
                changed = true;
            }
        }
        self.drop_unreferenced_records() || changed
    }

    /// How many addresses cool down.
    pub fn cooling_count(&self) -> usize {
        let cooling = |index: &&u32| {
            self.records().get(**index as usize).is_some_and(|record| record.released_at.is_some())
        };
        self.allocations.iter().flatten().filter(cooling).count()
    }
}

fn has_cooled_down(record: &AttributeRecord, now: OffsetDateTime, cooldown_seconds: i64) -> bool {
    let Some(released_at) = &record.released_at else { return false };
    // Without a cooldown a released address is free at once; nor do we wait on a time that can't
    // be read.
    match timestamp::parse(released_at) {
        Some(at) if cooldown_seconds > 0 => at + Duration::seconds(cooldown_seconds) < now,
        _ => true,
    }
}
