//! Random sequences of operations on one block, beside a plain model of who has what.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const COOLDOWN: i64 = 30;

#[derive(Debug, Clone)]
enum Op {
    Auto { count: usize, handle: u8 },
    One { ordinal: u8, handle: u8 },
    Release { ordinal: u8, handle: Option<u8> },
    ReleaseHandle { handle: u8 },
    Wait { seconds: i64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..6usize, 0..4u8).prop_map(|(count, handle)| Op::Auto { count, handle }),
        (0..16u8, 0..4u8).prop_map(|(ordinal, handle)| Op::One { ordinal, handle }),
        (0..16u8, proptest::option::of(0..4u8))
            .prop_map(|(ordinal, handle)| Op::Release { ordinal, handle }),
        (0..4u8).prop_map(|handle| Op::ReleaseHandle { handle }),
        (0..40i64).prop_map(|seconds| Op::Wait { seconds }),
    ]
}

/// Who has what, what cools down since when, and the queue of what is free.
struct Model {
    held: BTreeMap<u8, u8>,
    cooling: BTreeMap<u8, i64>,
    free: VecDeque<u8>,
    now: i64,
    cooldown: i64,
}

impl Model {
    fn collect(&mut self) {
        let (now, cooldown) = (self.now, self.cooldown);
        let warm = |since: &i64| cooldown == 0 || since + cooldown < now;
        self.free
            .extend(self.cooling.iter().filter(|(_, at)| warm(at)).map(|(ordinal, _)| *ordinal));
        self.cooling.retain(|_, at| !warm(at));
    }

    fn release(&mut self, ordinals: &[u8]) {
        for ordinal in ordinals {
            self.held.remove(ordinal);
            self.cooling.insert(*ordinal, self.now);
        }
        self.collect();
    }
}

fn ip(ordinal: u8) -> IpAddr {
    IpAddr::from([10, 9, 0, 16 + ordinal])
}

fn name(handle: u8) -> String {
    format!("h{handle}")
}

proptest! {
    #[test]
    fn a_block_does_what_its_model_does(
        ops in proptest::collection::vec(op(), 1..60),
        reserved in proptest::option::of(0..4u8),
        cools in any::<bool>(),
    ) {
        let net = format!("10.9.0.{}/30", 16 + 4 * reserved.unwrap_or(0)).parse().expect("a network");
        let filter = AddressFilter::new(reserved.map(|_| net));
        let cooldown = if cools { COOLDOWN } else { 0 };
        let mut model = Model {
            held: BTreeMap::new(),
            cooling: BTreeMap::new(),
            free: (0..16).collect(),
            now: 1_787_405_600,
            cooldown,
        };
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).expect("a time");
        let cidr = "10.9.0.16/28".parse().expect("a network");
        let mut block = Block::new(cidr, None, None, at(model.now));
        for op in ops {
            block = Block::decode(&block.encode()).expect("what was written can be read");
            block.collect(at(model.now), cooldown);
            model.collect();
            block.sequence_number += 1;
            let attributes = BTreeMap::new();
            match op {
                Op::Auto { count, handle } => {
                    let found = block.auto_assign(count, Some(&name(handle)), &attributes, &filter);
                    let open: Vec<u8> =
                        model.free.iter().copied().filter(|free| !filter.contains(ip(*free))).collect();
                    let expected: Vec<u8> = open.into_iter().take(count).collect();
                    prop_assert_eq!(found, expected.iter().map(|free| ip(*free)).collect::<Vec<_>>());
                    model.free.retain(|free| !expected.contains(free));
                    model.held.extend(expected.into_iter().map(|free| (free, handle)));
                }
                Op::One { ordinal, handle } => {
                    let taken = block.assign(ip(ordinal), Some(&name(handle)), &attributes).is_ok();
                    prop_assert_eq!(taken, model.free.contains(&ordinal));
                    if taken {
                        model.free.retain(|free| *free != ordinal);
                        model.held.insert(ordinal, handle);
                    }
                }
                Op::Release { ordinal, handle } => {
                    let guard = ReleaseGuard {
                        address: ip(ordinal),
                        handle: handle.map(name),
                        sequence_number: None,
                    };
                    let before = block.clone();
                    let holder = model.held.get(&ordinal).copied();
                    match block.release(&[guard], at(model.now), cooldown) {
                        Ok(done) => {
                            prop_assert!(handle.is_none() || holder.is_none() || holder == handle);
                            prop_assert_eq!(done.released.len(), usize::from(holder.is_some()));
                            if holder.is_some() {
                                model.release(&[ordinal]);
                            }
                        }
                        Err(_) => {
                            prop_assert!(holder.is_some() && handle.is_some() && holder != handle);
                            prop_assert_eq!(&block, &before);
                        }
                    }
                }
                Op::ReleaseHandle { handle } => {
                    let ordinals: Vec<u8> = model
                        .held
                        .iter()
                        .filter(|(_, holder)| **holder == handle)
                        .map(|(ordinal, _)| *ordinal)
                        .collect();
                    let found = block.release_by_handle(&name(handle), None, at(model.now), cooldown);
                    prop_assert_eq!(found.len(), ordinals.len());
                    if !ordinals.is_empty() {
                        model.release(&ordinals);
                    }
                }
                Op::Wait { seconds } => model.now += seconds,
            }
            prop_assert_eq!(block.problems(), Vec::<String>::new());
            let queue: Vec<u32> = model.free.iter().map(|free| u32::from(*free)).collect();
            prop_assert_eq!(&block.unallocated, &queue);
            prop_assert_eq!(block.cooling_count(), model.cooling.len());
            for handle in 0..4 {
                let held = model.held.iter().filter(|(_, holder)| **holder == handle);
                let expected: Vec<IpAddr> = held.map(|(ordinal, _)| ip(*ordinal)).collect();
                prop_assert_eq!(block.addresses_of(&name(handle)), expected);
            }
            let numbered = block.sequence_number_for_allocation.as_ref().map_or(0, BTreeMap::len);
            prop_assert_eq!(numbered, 16 - model.free.len());
        }
    }
}
