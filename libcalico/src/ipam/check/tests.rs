//! Each thing that can be wrong is found, by its rule and by name; a sound store has no findings.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::*;

struct Documents(BTreeMap<Key, Vec<u8>>);

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn owner() -> AffinityOwner {
    AffinityOwner::host("n1")
}

const BLOCK: &str = "10.0.0.0/30";

/// A pool, a block with one address, its affinity, its handle, its endpoint.
fn sound() -> Documents {
    let mut block = Block::new(net(BLOCK), Some(&owner()), None, OffsetDateTime::UNIX_EPOCH);
    let ip = "10.0.0.1".parse().expect("an address");
    block.assign(ip, Some("h"), &BTreeMap::new()).expect("it is free");
    let mut handle = Handle::default();
    handle.add(net(BLOCK), 1);
    let pool = br#"{"spec":{"cidr":"10.0.0.0/24","blockSize":30}}"#.to_vec();
    Documents(BTreeMap::from([
        (Key::Block(net(BLOCK)), block.encode()),
        (Key::Affinity(owner(), net(BLOCK)), Affinity::confirmed().encode()),
        (Key::Handle("h".into()), handle.encode()),
        (Key::global(Kind::IpPool, "p"), pool),
        endpoint("w1", "10.0.0.1/32"),
    ]))
}

fn endpoint(name: &str, network: &str) -> (Key, Vec<u8>) {
    let value = serde_json::json!({ "spec": { "ipNetworks": [network] } });
    let key = Key::namespaced(Kind::WorkloadEndpoint, "default", name);
    (key, value.to_string().into_bytes())
}

impl Documents {
    fn block(&mut self, change: impl FnOnce(&mut Block)) {
        let value = self.0.get_mut(&Key::Block(net(BLOCK))).expect("a block");
        let mut block = Block::decode(value).expect("a block");
        change(&mut block);
        *value = block.encode();
    }

    fn put(&mut self, key: Key, value: Vec<u8>) {
        self.0.insert(key, value);
    }

    fn check(&self) -> Report {
        let document = |(key, value): (&Key, &Vec<u8>)| Document {
            key: key.clone(),
            value: value.clone(),
            revision: 1,
        };
        check(&self.0.iter().map(document).collect::<Vec<_>>())
    }
}

/// The only finding after a change to a sound store.
fn finding(change: impl FnOnce(&mut Documents)) -> (Severity, &'static str, String) {
    let mut documents = sound();
    change(&mut documents);
    let mut problems = documents.check().problems;
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let problem = problems.remove(0);
    (problem.severity, problem.rule, problem.text)
}

#[test]
fn a_sound_store_has_no_findings() {
    let report = sound().check();
    assert_eq!(report.problems, []);
    assert_eq!((report.blocks, report.in_use, report.cooling), (1, 1, 0));
}

#[test]
fn what_must_never_be() {
    use Severity::Broken;
    let damaged = finding(|all| {
        all.put(Key::Block(net("10.0.0.8/30")), b"{".to_vec());
    });
    assert_eq!((damaged.0, damaged.1), (Broken, "I2"));
    let misplaced = finding(|all| {
        let value = all.0[&Key::Block(net(BLOCK))].clone();
        all.put(Key::Block(net("10.0.0.8/30")), value);
    });
    assert_eq!(misplaced.2, "block 10.0.0.8/30 says that it is 10.0.0.0/30");
    let overlapping = finding(|all| {
        let cidr = net("10.0.0.0/28");
        let block = Block::new(cidr, Some(&owner()), None, OffsetDateTime::UNIX_EPOCH);
        all.put(Key::Block(cidr), block.encode());
        all.put(Key::Affinity(owner(), cidr), Affinity::confirmed().encode());
    });
    assert_eq!(overlapping.2, "blocks 10.0.0.0/28 and 10.0.0.0/30 overlap");
    let uncounted = finding(|all| {
        all.0.remove(&Key::Handle("h".into()));
    });
    assert_eq!(
        uncounted,
        (Broken, "I6", "handle h counts 0 of its 1 addresses in block 10.0.0.0/30".to_owned())
    );
    let numbered = finding(|all| {
        all.block(|block| {
            block.sequence_number_for_allocation.get_or_insert_default().insert("3".into(), 1);
        });
    });
    assert_eq!((numbered.0, numbered.1), (Broken, "6.3"));
    let twice = finding(|all| all.0.extend([endpoint("w2", "10.0.0.1/32")]));
    assert_eq!(twice.2, "endpoints default/w1 and default/w2 both use 10.0.0.1");
    let unallocated = finding(|all| all.0.extend([endpoint("w2", "10.0.0.2/32")]));
    assert_eq!(unallocated.2, "endpoint default/w2 uses 10.0.0.2, which is not allocated");
}

#[test]
fn what_upstream_left_half_done() {
    use Severity::HalfDone;
    let key = || Key::Affinity(owner(), net(BLOCK));
    let lost = finding(|all| {
        all.0.remove(&key());
    });
    assert_eq!((lost.0, lost.1), (HalfDone, "I3"));
    for (state, text) in [
        (AffinityState::Pending, "host:n1 is about to claim 10.0.0.0/30"),
        (AffinityState::PendingDeletion, "host:n1 is about to give up 10.0.0.0/30"),
    ] {
        let found = finding(|all| {
            all.put(key(), Affinity { state, ..Affinity::default() }.encode());
        });
        assert_eq!(found, (HalfDone, "I4", text.to_owned()));
    }
    for (cidr, text) in [
        ("10.0.0.8/30", "host:n2 has an affinity for 10.0.0.8/30, which doesn't exist"),
        (BLOCK, "host:n2 has an affinity for 10.0.0.0/30, which belongs to host:n1"),
    ] {
        let found = finding(|all| {
            let other = AffinityOwner::host("n2");
            all.put(Key::Affinity(other, net(cidr)), Affinity::confirmed().encode());
        });
        assert_eq!(found, (HalfDone, "I4", text.to_owned()));
    }
}

#[test]
fn what_is_wasted() {
    use Severity::Waste;
    let counted = finding(|all| {
        let mut handle = Handle::default();
        handle.add(net(BLOCK), 3);
        all.put(Key::Handle("h".into()), handle.encode());
    });
    let text = "handle h counts 3 addresses in block 10.0.0.0/30, which holds 1";
    assert_eq!(counted, (Waste, "W4", text.to_owned()));
    let empty = finding(|all| all.put(Key::Handle("i".into()), Handle::default().encode()));
    assert_eq!(empty.2, "handle i has nothing");
    let ownerless = finding(|all| {
        let block = Block::new(net("10.0.0.8/30"), None, None, OffsetDateTime::UNIX_EPOCH);
        all.put(Key::Block(net("10.0.0.8/30")), block.encode());
    });
    assert_eq!((ownerless.0, ownerless.1), (Waste, "W16"));
    let record = finding(|all| {
        all.block(|block| {
            block.attributes.get_or_insert_default().push(Default::default());
        });
    });
    assert_eq!(record.2, "block 10.0.0.0/30: nothing refers to record 1");
    let orphan = finding(|all| {
        all.0.remove(&Key::global(Kind::IpPool, "p"));
    });
    assert_eq!((orphan.0, orphan.1), (Waste, "orphan"));
}

#[test]
fn the_worst_comes_first() {
    let mut documents = sound();
    documents.put(Key::Handle("i".into()), Handle::default().encode());
    documents.0.remove(&Key::Handle("h".into()));
    let report = documents.check();
    let severities: Vec<_> = report.problems.iter().map(|problem| problem.severity).collect();
    assert_eq!(severities, [Severity::Broken, Severity::Waste]);
    assert_eq!(report.at_least(Severity::HalfDone).count(), 1);
}
