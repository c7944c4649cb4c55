//! Damage, repair, soundness: each kind of damage is found by the checker, repaired by its plan and
//! gone afterwards; what may not be touched stays, and whoever comes first wins.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::ipam::check::{Severity, check};
use crate::store::{Committed, MemoryStore, Prefix, Query, Store};

const BLOCK: &str = "10.0.0.0/30";
const OTHER: &str = "10.0.0.8/30";

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn owner() -> AffinityOwner {
    AffinityOwner::host("n1")
}

fn affinity(state: AffinityState) -> Vec<u8> {
    Affinity { state, ..Affinity::default() }.encode()
}

struct Scene {
    store: MemoryStore,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// A pool, a node, and a block of it with two addresses of one handle.
    fn sound() -> Scene {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let scene = Scene { store: MemoryStore::new(), runtime: runtime.expect("a runtime") };
        let mut block = Block::new(net(BLOCK), Some(&owner()), None, OffsetDateTime::UNIX_EPOCH);
        for address in ["10.0.0.1", "10.0.0.2"] {
            block.assign(ip(address), Some("h"), &BTreeMap::new()).expect("it is free");
        }
        let mut handle = Handle::default();
        handle.add(net(BLOCK), 2);
        let pool = br#"{"spec":{"cidr":"10.0.0.0/24","blockSize":30}}"#.to_vec();
        scene.put(Key::Block(net(BLOCK)), block.encode());
        scene.put(Key::Affinity(owner(), net(BLOCK)), affinity(AffinityState::Confirmed));
        scene.put(Key::Handle("h".into()), handle.encode());
        scene.put(Key::global(Kind::IpPool, "p"), pool);
        scene.put(Key::global(Kind::Node, "n1"), b"{}".to_vec());
        scene
    }

    fn commit(&self, changes: &[Change]) -> Committed {
        let deadline = Instant::now() + Duration::from_secs(5);
        self.runtime.block_on(self.store.commit(changes, deadline)).expect("a commit")
    }

    fn put(&self, key: Key, value: Vec<u8>) {
        self.commit(&[Change { key, guard: Guard::Any, action: Action::Put(value) }]);
    }

    fn delete(&self, key: Key) {
        self.commit(&[Change { key, guard: Guard::Any, action: Action::Delete }]);
    }

    fn block(&self, change: impl FnOnce(&mut Block)) {
        let mut block = self.stored();
        change(&mut block);
        self.put(Key::Block(net(BLOCK)), block.encode());
    }

    fn stored(&self) -> Block {
        let key = Key::Block(net(BLOCK));
        let documents = self.documents();
        let document = documents.iter().find(|document| document.key == key).expect("a block");
        serde_json::from_slice(&document.value).expect("a block")
    }

    fn documents(&self) -> Vec<Document> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let read = self.store.read(&[Query::Prefix(Prefix::All)], deadline);
        self.runtime.block_on(read).expect("a read").results.remove(0)
    }

    fn plan(&self, locked: bool) -> Plan {
        plan(&self.documents(), locked, OffsetDateTime::UNIX_EPOCH)
    }

    /// Repairs until nothing is left to do; the texts of what was done.
    fn repair(&self, locked: bool) -> Vec<String> {
        let mut done = Vec::new();
        for _ in 0..5 {
            let plan = self.plan(locked);
            if plan.repairs.is_empty() {
                return done;
            }
            for repair in plan.repairs {
                if matches!(self.commit(&repair.changes), Committed::Done(_)) {
                    done.push(repair.text);
                }
            }
        }
        panic!("it never ends: {done:#?}")
    }
}

/// Damages a sound store, and repairs it: afterwards there are no findings, and the addresses that
/// were in use still are.
fn heals(damage: impl Fn(&Scene), text: &str) {
    let scene = Scene::sound();
    damage(&scene);
    let found = check(&scene.documents()).problems;
    assert!(!found.is_empty(), "{text}: the checker finds nothing");
    let done = scene.repair(false);
    assert!(done.iter().any(|done| done.contains(text)), "{text:?} is not in {done:#?}");
    assert_eq!(check(&scene.documents()).problems, [], "after {done:#?}");
    let in_use: Vec<_> = scene.stored().allocated().map(|(ip, _)| ip).collect();
    assert_eq!(in_use, [ip("10.0.0.1"), ip("10.0.0.2")]);
}

#[test]
fn a_sound_store_is_left_as_it_is() {
    let scene = Scene::sound();
    assert_eq!(scene.plan(true), Plan::default());
    assert_eq!(check(&scene.documents()).problems, []);
}

#[test]
fn lists_follow_from_the_allocations() {
    let text = "wrote its free list";
    heals(|scene| scene.block(|block| block.unallocated = vec![3]), text);
    heals(|scene| scene.block(|block| block.unallocated = vec![3, 0, 3]), text);
    heals(|scene| scene.block(|block| block.unallocated = vec![1, 9, 0, 3]), text);
    heals(
        |scene| {
            scene.block(|block| {
                block.sequence_number_for_allocation.get_or_insert_default().insert("3".into(), 7);
            });
        },
        text,
    );
    heals(
        |scene| {
            scene.block(|block| block.attributes.get_or_insert_default().push(Default::default()));
        },
        text,
    );
}

#[test]
fn the_order_of_the_free_list_survives() {
    let scene = Scene::sound();
    scene.block(|block| block.unallocated = vec![3, 3, 0]);
    let before = scene.stored().sequence_number;
    scene.repair(false);
    assert_eq!(scene.stored().unallocated, [3, 0]);
    assert_eq!(scene.stored().sequence_number, before + 1);
}

#[test]
fn a_block_has_its_owner_and_an_affinity_its_block() {
    let key = || Key::Affinity(owner(), net(BLOCK));
    let confirmed = "confirmed that it belongs to host:n1";
    heals(|scene| scene.delete(key()), confirmed);
    heals(|scene| scene.put(key(), affinity(AffinityState::Pending)), confirmed);
    heals(|scene| scene.put(key(), affinity(AffinityState::PendingDeletion)), confirmed);
    let stale = || Key::Affinity(AffinityOwner::host("n2"), net(BLOCK));
    heals(|scene| scene.put(stale(), affinity(AffinityState::Pending)), "as host:n1 has the block");
    let gone = || Key::Affinity(owner(), net(OTHER));
    let text = "there is no such block";
    heals(|scene| scene.put(gone(), affinity(AffinityState::Confirmed)), text);
    heals(|scene| scene.put(gone(), affinity(AffinityState::PendingDeletion)), text);
}

#[test]
fn empty_blocks_of_nobody_go() {
    heals(
        |scene| {
            let block = Block::new(net(OTHER), None, None, OffsetDateTime::UNIX_EPOCH);
            scene.put(Key::Block(net(OTHER)), block.encode());
        },
        "empty and ownerless",
    );
    heals(
        |scene| {
            let outside = net("10.9.0.0/30");
            let block = Block::new(outside, Some(&owner()), None, OffsetDateTime::UNIX_EPOCH);
            scene.put(Key::Block(outside), block.encode());
            scene.put(Key::Affinity(owner(), outside), affinity(AffinityState::Confirmed));
        },
        "empty and in no pool",
    );
}

#[test]
fn handles_count_what_blocks_hold() {
    let handle = |count| {
        let mut handle = Handle::default();
        handle.add(net(BLOCK), count);
        handle.encode()
    };
    let key = || Key::Handle("h".into());
    heals(|scene| scene.delete(key()), "made anew for its 2 addresses");
    heals(|scene| scene.put(key(), handle(1)), "counts its 2 addresses now");
    heals(|scene| scene.put(key(), handle(3)), "counts its 2 addresses now");
    heals(|scene| scene.put(Key::Handle("i".into()), handle(1)), "deleted, as it has no address");
    let empty = || Handle::default().encode();
    heals(|scene| scene.put(Key::Handle("i".into()), empty()), "deleted, as it has no address");
}

/// Upstream counts first and writes the block afterwards: its write must fail then.
#[test]
fn a_count_that_goes_down_voids_what_is_under_way() {
    let scene = Scene::sound();
    let mut handle = Handle::default();
    handle.add(net(BLOCK), 1);
    scene.put(Key::Handle("i".into()), handle.encode());
    let seen = scene.documents().into_iter().find(|found| found.key == Key::Block(net(BLOCK)));
    let seen = seen.expect("a block");
    assert_eq!(scene.repair(false), ["handle i: deleted, as it has no address"]);
    let write = Change::update(seen.key, seen.revision, seen.value);
    assert!(matches!(scene.commit(&[write]), Committed::Conflict(_)));
}

/// A pending affinity without block is a claim of upstream's that is under way, unless its node is
/// gone or the datastore is locked.
#[test]
fn a_claim_under_way_is_left_alone() {
    let pending = |scene: &Scene| {
        scene.put(Key::Affinity(owner(), net(OTHER)), affinity(AffinityState::Pending));
    };
    let scene = Scene::sound();
    pending(&scene);
    let plan = scene.plan(false);
    assert_eq!(plan.repairs, []);
    assert!(plan.left_alone[0].contains("lock the datastore"), "{plan:?}");
    assert_eq!(scene.repair(true).len(), 1);
    assert_eq!(check(&scene.documents()).problems, []);

    let scene = Scene::sound();
    pending(&scene);
    scene.delete(Key::global(Kind::Node, "n1"));
    let repairs = scene.plan(false).repairs;
    assert_eq!(repairs.len(), 1);
    // The node comes back before the repair is made: it may be claiming.
    scene.put(Key::global(Kind::Node, "n1"), b"{}".to_vec());
    assert!(matches!(scene.commit(&repairs[0].changes), Committed::Conflict(_)));
}

/// The release of a node that is gone is finished; its addresses stay.
#[test]
fn the_release_of_a_lost_node_is_finished() {
    let scene = Scene::sound();
    scene.put(Key::Affinity(owner(), net(BLOCK)), affinity(AffinityState::PendingDeletion));
    scene.delete(Key::global(Kind::Node, "n1"));
    assert_eq!(scene.repair(false).len(), 1);
    assert_eq!(scene.stored().affinity, None);
    assert_eq!(scene.stored().allocated().count(), 2);
    assert_eq!(check(&scene.documents()).at_least(Severity::Waste).count(), 0);
}

/// Who has an address that refers to no record is lost: nothing is guessed, and handles that count
/// in such a block keep their counts.
#[test]
fn what_is_lost_is_left_alone() {
    let scene = Scene::sound();
    scene.block(|block| block.allocations[3] = Some(9));
    let plan = scene.plan(true);
    assert_eq!(plan.repairs, []);
    assert!(plan.left_alone[0].contains("compare it with a backup"), "{plan:?}");
    let scene = Scene::sound();
    scene.put(Key::Block(net(BLOCK)), b"{".to_vec());
    assert_eq!(scene.plan(true).repairs, []);
}

/// Whoever changes a document after it was read wins.
#[test]
fn every_repair_is_guarded() {
    for damage in [
        |scene: &Scene| scene.block(|block| block.unallocated = vec![3]),
        |scene: &Scene| scene.delete(Key::Affinity(owner(), net(BLOCK))),
        |scene: &Scene| scene.delete(Key::Handle("h".into())),
    ] {
        let scene = Scene::sound();
        damage(&scene);
        let repairs = scene.plan(false).repairs;
        scene.block(|block| block.sequence_number += 1);
        for repair in repairs {
            let committed = scene.commit(&repair.changes);
            assert!(matches!(committed, Committed::Conflict(_)), "{repair:?}");
        }
    }
}
