//! What holds of every block, whatever was done to it before (`reference/ipam.md` section 6).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::ipam::reservation::AddressFilter;
use libcalico::ipam::{Block, BlockError, HostReserved, ReleaseGuard};
use libcalico::store::AffinityOwner;
use proptest::prelude::*;
use time::OffsetDateTime;

/// One of what can be done inside a block.
#[derive(Debug, Clone)]
enum Deed {
    Auto { handle: u8, node: u8, count: usize },
    Assign { handle: u8, ordinal: u8 },
    Release { ordinals: Vec<u8> },
    ReleaseHandle { handle: u8 },
    Collect,
}

const SIZE: u8 = 16;

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..4u8, 0..2u8, 1..5usize).prop_map(|(handle, node, count)| Deed::Auto {
            handle,
            node,
            count
        }),
        (0..4u8, 0..SIZE).prop_map(|(handle, ordinal)| Deed::Assign { handle, ordinal }),
        prop::collection::vec(0..SIZE, 1..5).prop_map(|ordinals| Deed::Release { ordinals }),
        (0..4u8).prop_map(|handle| Deed::ReleaseHandle { handle }),
        Just(Deed::Collect),
    ];
    prop::collection::vec(deed, 0..40)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn ip(ordinal: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, ordinal])
}

fn at(seconds: usize) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_787_405_600 + seconds as i64).expect("a time")
}

fn name(handle: u8) -> String {
    format!("net.{handle}")
}

fn guard(ordinal: u8) -> ReleaseGuard {
    ReleaseGuard { address: ip(ordinal), handle: None, sequence_number: None }
}

fn new_block(windows: bool) -> Block {
    let reserved = HostReserved {
        start_of_block: 3,
        end_of_block: 1,
        handle: "windows-reserved-ipam-handle".into(),
        note: "windows host rsvd".into(),
    };
    let owner = AffinityOwner::host("n1");
    Block::new(net("10.0.0.0/28"), Some(&owner), windows.then_some(&reserved), at(0))
}

/// Does all of it, a second each; a write raises the sequence number.
fn after(deeds: &[Deed], windows: bool, cooldown: i64) -> Block {
    let mut block = new_block(windows);
    for (second, deed) in deeds.iter().enumerate() {
        act(&mut block, deed, at(second), cooldown);
        sound(&block);
    }
    block
}

fn act(block: &mut Block, deed: &Deed, now: OffsetDateTime, cooldown: i64) {
    block.collect(now, cooldown);
    match deed {
        Deed::Auto { handle, node, count } => {
            let attributes = BTreeMap::from([("node".to_owned(), node.to_string())]);
            let none = AddressFilter::default();
            block.auto_assign(*count, Some(&name(*handle)), &attributes, &none);
        }
        Deed::Assign { handle, ordinal } => {
            let _ = block.assign(ip(*ordinal), Some(&name(*handle)), &BTreeMap::new());
        }
        Deed::Release { ordinals } => {
            // What Windows reserves stays.
            let windows = |guard: &ReleaseGuard| {
                let record = block.record(guard.address).expect("it is in the block");
                record.and_then(|record| record.handle()).is_some_and(|id| id.contains("windows"))
            };
            let guards: Vec<_> =
                ordinals.iter().map(|at| guard(*at)).filter(|guard| !windows(guard)).collect();
            block.release(&guards, now, cooldown).expect("there are no guards");
        }
        Deed::ReleaseHandle { handle } => {
            block.release_by_handle(&name(*handle), None, now, cooldown);
        }
        Deed::Collect => {}
    }
    block.sequence_number += 1;
}

fn sound(block: &Block) {
    assert_eq!(block.problems(), Vec::<String>::new());
    let numbers = block.sequence_number_for_allocation.iter().flatten();
    for (ordinal, number) in numbers {
        let ordinal: usize = ordinal.parse().expect("an ordinal");
        assert!(block.allocations[ordinal].is_some(), "a sequence number of free {ordinal}");
        assert!(*number < block.sequence_number, "{ordinal} was given in the future");
    }
    let used: BTreeSet<u32> = block.allocations.iter().copied().flatten().collect();
    assert_eq!(used.len(), block.attributes.iter().flatten().count(), "a record of nobody");
}

/// Who has what, however records and free addresses are ordered.
fn holders(block: &Block) -> BTreeMap<IpAddr, (Option<String>, BTreeMap<String, String>)> {
    block
        .allocated()
        .map(|(ip, record)| (ip, (record.handle_id.clone(), record.secondary.clone())))
        .collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(deeds in deeds(), windows: bool, cooldown in 0..6i64) {
        let block = after(&deeds, windows, cooldown);
        let bytes = block.encode();
        let read = Block::decode(&bytes).expect("it is sound");
        prop_assert_eq!(&read, &block);
        prop_assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn unknown_fields_are_kept(deeds in deeds(), field in "x[a-z]{1,8}", value: i64) {
        let mut json: serde_json::Value =
            serde_json::from_slice(&after(&deeds, false, 2).encode()).expect("JSON");
        json[&field] = value.into();
        let read = Block::decode(json.to_string().as_bytes()).expect("it is sound");
        let again: serde_json::Value = serde_json::from_slice(&read.encode()).expect("JSON");
        prop_assert_eq!(again, json);
    }

    /// A second release finds nothing, and changes nothing.
    #[test]
    fn a_release_is_idempotent(
        deeds in deeds(),
        ordinals in prop::collection::btree_set(0..SIZE, 1..SIZE as usize),
        cooldown in 0..6i64,
    ) {
        let mut block = after(&deeds, false, cooldown);
        let now = at(deeds.len());
        block.collect(now, cooldown);
        let guards: Vec<_> = ordinals.iter().map(|ordinal| guard(*ordinal)).collect();
        let first = block.release(&guards, now, cooldown).expect("there are no guards");
        prop_assert_eq!(first.released.len() + first.unallocated.len(), guards.len());
        let once = block.clone();
        let second = block.release(&guards, now, cooldown).expect("there are no guards");
        prop_assert_eq!(second.released, Vec::<IpAddr>::new());
        prop_assert_eq!(second.unallocated.len(), guards.len());
        prop_assert_eq!(&block, &once);
        for handle in 0..4 {
            block.release_by_handle(&name(handle), None, now, cooldown);
            let once = block.clone();
            let again = block.release_by_handle(&name(handle), None, now, cooldown);
            prop_assert_eq!(again, Vec::<IpAddr>::new());
            prop_assert_eq!(&block, &once);
        }
        let in_use = block.allocated().filter(|(_, record)| record.released_at.is_none());
        prop_assert_eq!(in_use.count(), 0);
    }

    /// What was seen of an allocation releases that one, and never a later one.
    #[test]
    fn a_guarded_release_is_exact(deeds in deeds(), count in 1..4usize) {
        let mut block = after(&deeds, false, 0);
        let none = (BTreeMap::new(), AddressFilter::default());
        let seen = block.sequence_number;
        let ips = block.auto_assign(count, Some("me"), &none.0, &none.1);
        block.sequence_number += 1;
        let guards: Vec<_> = ips
            .iter()
            .map(|ip| ReleaseGuard {
                address: *ip,
                handle: Some("me".into()),
                sequence_number: Some(seen),
            })
            .collect();
        let released = block.release(&guards, at(100), 0).expect("they hold").released;
        prop_assert_eq!(BTreeSet::from_iter(released), BTreeSet::from_iter(ips.clone()));
        block.sequence_number += 1;
        for ip in &ips {
            block.assign(*ip, Some("me"), &none.0).expect("it is free");
        }
        block.sequence_number += 1;
        let before = block.clone();
        let stale = block.release(&guards, at(100), 0);
        prop_assert!(
            guards.is_empty() || matches!(stale, Err(BlockError::BadSequenceNumber { .. })),
            "{:?}", stale
        );
        prop_assert_eq!(block, before);
    }

    /// What was free longest is given first, whoever released it and how.
    #[test]
    fn free_addresses_queue(deeds in deeds()) {
        let mut block = new_block(false);
        let mut queue: VecDeque<u32> = (0..u32::from(SIZE)).collect();
        for (second, deed) in deeds.iter().enumerate() {
            let before: BTreeSet<IpAddr> = block.allocated().map(|(ip, _)| ip).collect();
            act(&mut block, deed, at(second), 0);
            let now: BTreeSet<IpAddr> = block.allocated().map(|(ip, _)| ip).collect();
            let taken = now.difference(&before).count();
            match deed {
                Deed::Auto { .. } => drop(queue.drain(..taken)),
                Deed::Assign { ordinal, .. } => queue.retain(|free| *free != u32::from(*ordinal)),
                _ => {}
            }
            for ip in before.difference(&now) {
                let IpAddr::V4(ip) = ip else { continue };
                queue.push_back(ip.octets()[3].into());
            }
            prop_assert!(block.unallocated.iter().eq(&queue), "{:?} {:?}", block.unallocated, queue);
        }
    }

    /// Taken and released is as before, but for the sequence numbers and the order of the free ones.
    #[test]
    fn taken_and_released_is_as_before(deeds in deeds(), count in 0..6usize, own_handle: bool) {
        let mut block = after(&deeds, false, 0);
        block.collect(at(deeds.len()), 0);
        let before = block.clone();
        let none = (BTreeMap::new(), AddressFilter::default());
        let handle = if own_handle { "me" } else { "net.0" };
        let ips = block.auto_assign(count, Some(handle), &none.0, &none.1);
        prop_assert_eq!(ips.len(), count.min(before.unallocated.len()));
        let guards: Vec<_> = ips
            .iter()
            .map(|ip| ReleaseGuard { address: *ip, handle: None, sequence_number: None })
            .collect();
        block.release(&guards, at(100), 0).expect("there are no guards");
        prop_assert_eq!(holders(&block), holders(&before));
        let free = |block: &Block| block.unallocated.iter().copied().collect::<BTreeSet<u32>>();
        prop_assert_eq!(free(&block), free(&before));
        prop_assert_eq!(
            block.sequence_number_for_allocation.unwrap_or_default(),
            before.sequence_number_for_allocation.unwrap_or_default()
        );
    }

    /// A cooling address is nobody's: neither free nor in use, until its time is over.
    #[test]
    fn a_released_address_cools_down(deeds in deeds(), cooldown in 1..60i64) {
        let mut block = after(&deeds, false, cooldown);
        let now = at(deeds.len());
        let handles: Vec<String> = (0..4).map(name).collect();
        for handle in &handles {
            block.release_by_handle(handle, None, now, cooldown);
        }
        let (cooling, none) = (block.cooling_count(), AddressFilter::default());
        prop_assert_eq!(cooling + block.free_count(&none), usize::from(SIZE));
        for handle in &handles {
            prop_assert_eq!(block.addresses_of(handle), Vec::<IpAddr>::new());
        }
        block.collect(now + time::Duration::seconds(cooldown + 1), cooldown);
        prop_assert_eq!(block.free_count(&none), usize::from(SIZE));
        prop_assert!(block.is_empty());
    }
}
