//! The pure block tests of the acceptance list (`reference/ipam.md` 16.12), and the recorded bytes.

use super::*;

fn block() -> Block {
    Block::new(net("100.64.0.0/24"), Some(&AffinityOwner::host("n1")), None, at(1_787_405_600))
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([100, 64, 0, last])
}

fn take(block: &mut Block, handle: &str, last: u8) {
    block.assign(ip(last), Some(handle), &BTreeMap::new()).expect("it is free");
}

fn guard(last: u8, handle: Option<&str>, sequence_number: Option<u64>) -> ReleaseGuard {
    ReleaseGuard { address: ip(last), handle: handle.map(str::to_owned), sequence_number }
}

fn sound(block: &Block) {
    assert_eq!(block.problems(), Vec::<String>::new());
    for (key, _) in block.sequence_number_for_allocation.iter().flatten() {
        let ordinal: usize = key.parse().expect("an ordinal");
        assert!(block.allocations[ordinal].is_some(), "sequence number of free ordinal {ordinal}");
    }
}

#[test]
fn b1_b2_b3_what_counts_as_empty() {
    let mut block = block();
    assert!(block.is_empty());
    let windows = HostReserved {
        start_of_block: 3,
        end_of_block: 1,
        handle: "Windows-Reserved-IPAM-handle".into(),
        note: "windows host rsvd".into(),
    };
    assert!(Block::new(net("100.64.0.0/29"), None, Some(&windows), at(0)).is_empty());
    take(&mut block, "h", 5);
    assert!(!block.is_empty());
}

#[test]
fn b4_b5_addresses_in_use() {
    let mut block = block();
    assert_eq!(block.allocated().count(), 0);
    take(&mut block, "a", 10);
    take(&mut block, "b", 20);
    let found: Vec<IpAddr> = block.allocated().map(|(ip, _)| ip).collect();
    assert_eq!(found, [ip(10), ip(20)]);
}

#[test]
fn b6_b7_b8_free_addresses() {
    let mut block = block();
    take(&mut block, "a", 10);
    take(&mut block, "b", 20);
    assert_eq!(block.free_count(&AddressFilter::default()), 254);
    let upper = AddressFilter::new([net("100.64.0.128/25")]);
    take(&mut block, "c", 200);
    take(&mut block, "d", 201);
    assert_eq!(block.free_count(&upper), 126);
    assert_eq!(block.free_count(&AddressFilter::new([net("100.64.0.0/16")])), 0);
}

#[test]
fn b9_b10_b11_reserved_addresses() {
    let mut block = block();
    take(&mut block, "a", 200);
    assert_eq!(block.reserved_count(&AddressFilter::default()), 0);
    assert_eq!(block.reserved_count(&AddressFilter::new([net("100.64.0.128/25")])), 128);
    assert_eq!(block.reserved_count(&AddressFilter::new([net("100.0.0.0/8")])), 256);
}

#[test]
fn b12_addresses_of_a_handle() {
    let mut block = block();
    assert!(block.addresses_of("h").is_empty());
    take(&mut block, "h", 1);
    assert_eq!(block.addresses_of("h"), [ip(1)]);
    take(&mut block, "h", 2);
    assert_eq!(block.records().len(), 1, "equal records are shared");
    let other = BTreeMap::from([("pod".to_owned(), "p".to_owned())]);
    block.assign(ip(3), Some("h\r\neth0"), &other).expect("it is free");
    assert_eq!(block.records().len(), 2);
    assert_eq!(block.addresses_of("h"), [ip(1), ip(2), ip(3)]);
}

#[test]
fn b13_b14_the_record_of_an_address() {
    let mut block = block();
    assert_eq!(block.record(ip(1)), Ok(None));
    take(&mut block, "h", 1);
    let record = block.record(ip(1)).expect("inside").expect("allocated");
    assert_eq!((record.handle(), record.alternate_owner_attrs.len()), (Some("h"), 0));
    assert!(matches!(
        block.record("10.0.0.1".parse().expect("an address")),
        Err(BlockError::Outside { .. })
    ));
}

#[test]
fn b15_b16_b17_release_by_address() {
    let mut block = block();
    take(&mut block, "h", 1);
    let sequence = block.sequence_of(ip(1)).expect("inside");
    let done =
        block.release(&[guard(1, Some("h"), Some(sequence))], at(10), 0).expect("the guards hold");
    assert_eq!(done.handles, BTreeMap::from([("h".to_owned(), 1)]));
    assert!(block.is_empty());
    sound(&block);
    for last in [1, 2, 3] {
        take(&mut block, "h", last);
    }
    block.release(&[guard(2, None, None)], at(10), 0).expect("no guards");
    assert_eq!(block.addresses_of("h"), [ip(1), ip(3)]);
    block.release(&[guard(1, None, None), guard(3, None, None)], at(10), 0).expect("no guards");
    assert_eq!((block.is_empty(), block.attributes.as_deref()), (true, Some(&[][..])));
    assert_eq!(block.unallocated[253..], [2, 1, 3]);
    sound(&block);
}

#[test]
fn b18_releasing_a_free_address_says_so() {
    let mut block = block();
    let before = block.clone();
    let done = block.release(&[guard(9, None, None), guard(9, None, None)], at(10), 0);
    assert_eq!(done, Ok(Released { unallocated: vec![ip(9)], ..Released::default() }));
    assert_eq!(block, before);
}

#[test]
fn b19_b20_a_wrong_guard_changes_nothing() {
    let mut block = block();
    take(&mut block, "h", 1);
    take(&mut block, "h", 2);
    let before = block.clone();
    let wrong_handle = [guard(1, Some("h"), None), guard(2, Some("other"), None)];
    assert!(matches!(block.release(&wrong_handle, at(10), 0), Err(BlockError::BadHandle { .. })));
    let wrong_sequence = [guard(1, None, None), guard(2, None, Some(1))];
    assert!(matches!(
        block.release(&wrong_sequence, at(10), 0),
        Err(BlockError::BadSequenceNumber { asked: 1, .. })
    ));
    assert_eq!(block, before);
}

#[test]
fn b21_to_b25_release_by_handle() {
    let mut block = block();
    assert!(block.release_by_handle("h", None, at(10), 0).is_empty());
    take(&mut block, "h", 1);
    take(&mut block, "other", 2);
    block.sequence_number += 1;
    take(&mut block, "h", 3);
    let later = block.sequence_number;
    take(&mut block, "h", 4);
    take(&mut block, "h", 5);
    assert_eq!(block.release_by_handle("h", Some(later), at(10), 0), [ip(3), ip(4), ip(5)]);
    assert_eq!(block.addresses_of("h"), [ip(1)]);
    assert_eq!(block.release_by_handle("h", None, at(10), 0), [ip(1)]);
    assert_eq!(block.unallocated[251..], [3, 4, 5, 1]);
    assert_eq!(block.addresses_of("other"), [ip(2)]);
    sound(&block);
}

#[test]
fn b26_b27_b28_collecting() {
    let mut fresh = block();
    assert!(!fresh.collect(at(100), 30));
    assert_eq!(fresh.attributes, None, "a block without records stays as it is");

    let mut block = block();
    take(&mut block, "h", 1);
    block.attributes.get_or_insert_default().insert(0, AttributeRecord::default());
    block.allocations[1] = Some(1);
    assert!(block.collect(at(100), 30));
    assert_eq!((block.records().len(), block.allocations[1]), (1, Some(0)));

    for last in [2, 3, 4, 5] {
        take(&mut block, "h", last);
    }
    block.release(&[guard(2, None, None), guard(3, None, None)], at(1000), 3600).expect("released");
    block.release(&[guard(4, None, None)], at(1055), 3600).expect("released");
    block.release(&[guard(5, None, None)], at(2000), 3600).expect("released");
    assert_eq!((block.cooling_count(), block.is_empty()), (4, false));
    assert!(block.collect(at(1060), 30));
    let left: Vec<IpAddr> = block.allocated().map(|(ip, _)| ip).collect();
    assert_eq!(left, [ip(1), ip(4), ip(5)]);
    assert!(!block.collect(at(1085), 30), "30 s are not over yet");
    assert!(block.collect(at(1086), 30));
    sound(&block);
}

#[test]
fn a_cooling_address_is_neither_free_nor_anybodys() {
    let mut block = block();
    take(&mut block, "h", 1);
    block.release_by_handle("h", None, at(1000), 30);
    assert_eq!(block.addresses_of("h"), Vec::<IpAddr>::new());
    let again = block.assign(ip(1), Some("h"), &BTreeMap::new());
    assert!(matches!(again, Err(BlockError::AlreadyAssigned { cooling: true, .. })));
    assert_eq!(
        block.auto_assign(256, None, &BTreeMap::new(), &AddressFilter::default()).len(),
        255
    );
}

#[test]
fn i9_free_addresses_are_reused_in_the_order_of_their_release() {
    let mut block = Block::new(net("10.9.0.0/30"), None, None, at(0));
    let filter = AddressFilter::default();
    let all = block.auto_assign(4, Some("h"), &BTreeMap::new(), &filter);
    for ip in [all[2], all[0], all[3]] {
        block
            .release(&[ReleaseGuard { address: ip, handle: None, sequence_number: None }], at(5), 0)
            .expect("released");
    }
    let again = block.auto_assign(4, Some("h"), &BTreeMap::new(), &filter);
    assert_eq!(again, [all[2], all[0], all[3]]);
}

#[test]
fn a_reserved_address_keeps_its_place_in_the_queue() {
    let mut block = Block::new(net("10.9.0.0/30"), None, None, at(0));
    let first = AddressFilter::new([net("10.9.0.0/31")]);
    assert_eq!(block.auto_assign(1, None, &BTreeMap::new(), &first)[0].to_string(), "10.9.0.2");
    assert_eq!(block.unallocated, [0, 1, 3]);
    assert_eq!(
        String::from_utf8_lossy(&block.encode()),
        concat!(
            r#"{"cidr":"10.9.0.0/30","affinity":null,"allocations":[null,null,0,null],"#,
            r#""unallocated":[0,1,3],"attributes":[{}],"sequenceNumber":0,"#,
            r#""sequenceNumberForAllocation":{"2":0},"deleted":false}"#
        )
    );
}

#[test]
fn what_windows_reserves_looks_as_recorded() {
    let windows = HostReserved {
        start_of_block: 3,
        end_of_block: 1,
        handle: WINDOWS_RESERVED_HANDLE.into(),
        note: "windows host rsvd".into(),
    };
    let owner = AffinityOwner::host("n1");
    let block = Block::new(net("10.9.0.8/29"), Some(&owner), Some(&windows), at(1_787_405_600));
    assert_eq!(
        String::from_utf8_lossy(&block.encode()),
        concat!(
            r#"{"cidr":"10.9.0.8/29","affinity":"host:n1","affinity_claim_time":"2026-08-22T13:33:20Z","#,
            r#""allocations":[0,0,0,null,null,null,null,0],"unallocated":[3,4,5,6],"#,
            r#""attributes":[{"handle_id":"windows-reserved-ipam-handle","#,
            r#""secondary":{"note":"windows host rsvd"}}],"sequenceNumber":1787405600000000000,"#,
            r#""sequenceNumberForAllocation":{},"deleted":false}"#
        )
    );
    sound(&block);
}

#[test]
fn damaged_blocks_are_refused_with_the_reason() {
    for (text, reason) in [
        ("{", "EOF"),
        (r#"{"cidr":"10.0.0.0/30","allocations":[null]}"#, "1 allocations for 4 addresses"),
        (
            r#"{"cidr":"10.0.0.0/31","allocations":[0,null],"unallocated":[1]}"#,
            "ordinal 0 refers to record 0 of 0",
        ),
        (
            r#"{"cidr":"10.0.0.0/31","allocations":[null,null],"unallocated":[0,1,1]}"#,
            "ordinal 1 is free twice",
        ),
        (
            r#"{"cidr":"10.0.0.0/31","allocations":[null,null],"unallocated":[0,7]}"#,
            "free ordinal 7 is out of range",
        ),
        (
            r#"{"cidr":"10.0.0.0/31","allocations":[0,null],"unallocated":[0,1],"attributes":[{}]}"#,
            "ordinal 0 is both free and allocated",
        ),
        (r#"{"cidr":"10.0.0.0/8","allocations":null}"#, "0 allocations for 16777216 addresses"),
        (r#"{"cidr":"::/0"}"#, "0 allocations"),
    ] {
        let error = Block::decode(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn unknown_fields_and_old_forms_survive() {
    let text = concat!(
            r#"{"cidr":"10.0.0.0/31","affinity":"host:n<1>","allocations":[0,null],"#,
            r#""unallocated":[1],"attributes":[{"handle_id":"h","later":{"b":[18446744073709551615]}}],"#,
            r#""sequenceNumber":18446744073709551615,"sequenceNumberForAllocation":null,"#,
            r#""deleted":false,"hostAffinity":"n1","future":true}"#
        )
        .replace('<', "\\u003c")
        .replace('>', "\\u003e");
    let block = Block::decode(text.as_bytes()).expect("decodes");
    assert_eq!(String::from_utf8_lossy(&block.encode()), text);
}

/// Every block, affinity, handle and configuration that upstream wrote comes out as it went in.
#[test]
fn recorded_objects_keep_their_bytes() {
    use crate::ipam::affinity::Affinity;
    use crate::ipam::config::IpamConfig;
    use crate::ipam::handle::Handle;
    use crate::store::Key;

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ipam");
    let mut counts = [0; 4];
    for entry in std::fs::read_dir(folder).expect("golden folder") {
        let path = entry.expect("golden file").path();
        let text = std::fs::read_to_string(&path).expect("golden file");
        let trace: serde_json::Value = serde_json::from_str(&text).expect("golden JSON");
        for step in trace["steps"].as_array().expect("steps") {
            for document in step["after"].as_array().into_iter().flatten() {
                let key = document["key"].as_str().expect("a key");
                let value = document["value"].as_str().expect("a value");
                let (kind, again) = match Key::parse(key) {
                    Some(Key::Block(cidr)) => {
                        let block = Block::decode(value.as_bytes()).expect("a block");
                        assert_eq!(block.cidr, cidr);
                        (0, block.encode())
                    }
                    Some(Key::Affinity(..)) => {
                        (1, Affinity::decode(value.as_bytes()).expect("an affinity").encode())
                    }
                    Some(Key::Handle(_)) => {
                        (2, Handle::decode(value.as_bytes()).expect("a handle").encode())
                    }
                    Some(Key::IpamConfig) => {
                        // One was edited by hand, with a field that upstream leaves out.
                        if value.contains(r#""strict_affinity":false"#) {
                            continue;
                        }
                        (3, IpamConfig::decode(value.as_bytes()).expect("a config").encode())
                    }
                    _ => continue,
                };
                assert_eq!(String::from_utf8_lossy(&again), value, "{key} in {}", path.display());
                counts[kind] += 1;
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 30), "{counts:?}");
}
