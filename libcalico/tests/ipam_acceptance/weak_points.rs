//! The weak points of upstream (`reference/ipam.md` 15.2) that no other row shows, what happens when
//! others write in between or answers are lost, and what belongs into the same commit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libcalico::clock;
use libcalico::ipam::block::AttributeRecord;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::{AssignIp, AutoAssign, Block, IpamError, IpamErrorKind};
use libcalico::resources::Kind;
use libcalico::store::{
    AffinityOwner, Change, Fault, Key, MAX_COMMIT_BYTES, MemoryStore, Query, StoreError,
    StoreErrorKind,
};

use crate::cluster::{Cluster, found, ip, net, pool, soon, wanted};
use crate::rows;

async fn small(cluster: &Cluster) {
    cluster.nodes(&["host-a", "host-b"]).await;
    cluster.pool(pool("pool1", "10.0.0.0/24").block_size(30)).await;
}

async fn handle(cluster: &Cluster, id: &str) -> Option<Handle> {
    let query = [Query::Key(Key::Handle(id.into()))];
    let found = cluster.store.read(&query, soon()).await.expect("it reads");
    found.results[0].first().map(|document| Handle::decode(&document.value).expect("a handle"))
}

fn block_path(cidr: &str) -> String {
    format!("/calico/ipam/v2/assignment/ipv4/block/{}", cidr.replace('/', "-"))
}

/// Somebody writes a block that is there.
fn rewrite(cidr: &'static str) -> impl FnOnce(&MemoryStore) + Send {
    move |store| {
        let value = store.dump()[&block_path(cidr)].clone();
        let mut block = Block::decode(&value).expect("a block");
        block.sequence_number += 1;
        store.put_raw(&block_path(cidr), &block.encode());
    }
}

fn endpoint(name: &str) -> Key {
    Key::namespaced(Kind::WorkloadEndpoint, "default", name)
}

rows! { only on memory:
    async fn weak1_a_handle_counts_what_was_obtained(cluster) {
        small(cluster).await;
        let request = AutoAssign { handle: Some("h".into()), ..wanted("host-a", 5, 0) };
        assert_eq!(found(&cluster.auto(&request).await), 5);
        let mut counts: Vec<i64> =
            handle(cluster, "h").await.expect("there").block.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 4]);
    }

    async fn weak2_a_lost_race_for_an_address_counts_it_once(cluster) {
        small(cluster).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("other")).await.expect("assigned");
        for _ in 0..3 {
            cluster.before_commit(rewrite("10.0.0.0/30"));
        }
        let mut request = cluster.ip_request("10.0.0.2", "host-a", Some("vm"));
        request.max_per_handle = Some(1);
        cluster.allocator().assign_ip(&request, None, None, soon()).await.expect("assigned");
        assert_eq!(handle(cluster, "vm").await.expect("there").block["10.0.0.0/30"], 1);
    }

    /// An address goes from a pod's former sandbox to the new one in one commit, though a cooldown is
    /// set; what the former one lost meanwhile, or never had, is taken from nobody.
    async fn an_address_is_handed_over_in_one_commit_and_only_by_its_holder(cluster) {
        small(cluster).await;
        cluster.config(|config| config.ip_cooldown_seconds = 3600).await;
        for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.5"] {
            cluster.assign_ip(ip, "host-a", Some("net.old")).await.expect("assigned");
        }
        cluster.assign_ip("10.0.0.3", "host-a", Some("net.other")).await.expect("assigned");
        let take = |ip: &str| {
            let mut request = cluster.ip_request(ip, "host-a", Some("net.new"));
            request.from = Some("net.old".into());
            request
        };
        let requests = [take("10.0.0.1"), take("10.0.0.5")];
        let (taken, _, commits) = cluster
            .count(async || cluster.allocator().assign_ips(&requests, None, None, soon()).await)
            .await;
        assert_eq!((taken.expect("taken").len(), commits), (2, 1));
        assert_eq!(handle(cluster, "net.old").await.expect("there").block["10.0.0.0/30"], 1);
        assert!(!handle(cluster, "net.old").await.expect("there").block.contains_key("10.0.0.4/30"));
        assert_eq!(handle(cluster, "net.new").await.expect("there").block.len(), 2);
        cluster.consistent().await;
        // All or nothing, and not from another one.
        let requests = [take("10.0.0.2"), take("10.0.0.3")];
        let refused = cluster.allocator().assign_ips(&requests, None, None, soon()).await;
        assert_eq!(refused.expect_err("it is another one's").kind(), IpamErrorKind::Conflict);
        let left = cluster.allocator().ips_by_handle("net.old", soon()).await;
        assert_eq!(left.expect("there"), [ip("10.0.0.2")]);
        // The former one's DEL comes in between: the address cools down, and is nobody's to take.
        cluster.before_commit(|store| {
            let value = store.dump()[&block_path("10.0.0.0/30")].clone();
            let mut block = Block::decode(&value).expect("a block");
            let now = clock::now();
            assert_eq!(block.release_by_handle("net.old", None, now, 3600), [ip("10.0.0.2")]);
            store.put_raw(&block_path("10.0.0.0/30"), &block.encode());
        });
        let late = cluster.allocator().assign_ip(&take("10.0.0.2"), None, None, soon()).await;
        assert_eq!(late.expect_err("it cools down").kind(), IpamErrorKind::Conflict);
        // The last address takes the handle with it.
        cluster.release("net.old").await;
        let request = cluster.ip_request("10.0.0.1", "host-a", Some("net.last"));
        let requests = [AssignIp { from: Some("net.new".into()), ..request }];
        cluster.allocator().assign_ips(&requests, None, None, soon()).await.expect("taken");
        cluster.release("net.new").await;
        assert_eq!(cluster.handles().await, ["net.last", "net.other"]);
        cluster.consistent().await;
    }

    async fn weak3_a_block_that_another_host_claims_meanwhile(cluster) {
        small(cluster).await;
        cluster.before_commit(|store| {
            let owner = AffinityOwner::host("host-b");
            let now = clock::now();
            let block = Block::new(net("10.0.0.0/30"), Some(&owner), None, now);
            store.put_raw(&block_path("10.0.0.0/30"), &block.encode());
            let confirmed = br#"{"state":"confirmed","deleted":false}"#;
            store.put_raw("/calico/ipam/v2/host/host-b/ipv4/block/10.0.0.0-30", confirmed);
        });
        cluster.assign_ip("10.0.0.2", "host-a", Some("h")).await.expect("borrowed");
        let block = cluster.block("10.0.0.0/30").await.expect("there");
        assert_eq!(block.affinity.as_deref(), Some("host:host-b"));
        assert!(cluster.affinities(&AffinityOwner::host("host-a")).await.is_empty());
    }

    async fn race9_an_address_that_is_taken_meanwhile_keeps_its_block(cluster) {
        small(cluster).await;
        let owner = AffinityOwner::host("host-a");
        cluster.allocator().claim_affinity(net("10.0.0.0/30"), &owner, soon()).await.expect("claimed");
        cluster.before_commit(|store| {
            let path = block_path("10.0.0.0/30");
            let mut block = Block::decode(&store.dump()[&path]).expect("a block");
            block.assign(ip("10.0.0.1"), None, &Default::default()).expect("free");
            block.sequence_number += 1;
            store.put_raw(&path, &block.encode());
        });
        let allocator = cluster.allocator();
        allocator.release_affinity(net("10.0.0.0/24"), &owner, false, soon()).await.expect("given up");
        let block = cluster.block("10.0.0.0/30").await.expect("it stays");
        assert_eq!((block.affinity.as_deref(), block.allocated().count()), (None, 1));
        cluster.release_ip(ip("10.0.0.1")).await;
        assert!(cluster.blocks().await.is_empty());
    }

    async fn weak4_lost_races_are_paused_after_and_end_with_the_deadline(cluster) {
        small(cluster).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("other")).await.expect("assigned");
        for _ in 0..10_000 {
            cluster.before_commit(rewrite("10.0.0.0/30"));
        }
        let request = cluster.ip_request("10.0.0.2", "host-a", Some("h"));
        let deadline = Instant::now() + Duration::from_millis(400);
        let allocator = cluster.allocator();
        let assign = async || allocator.assign_ip(&request, None, None, deadline).await;
        let (result, _, commits) = cluster.count(assign).await;
        let error = result.expect_err("overtaken each time");
        assert!(error.to_string().starts_with("Max retries hit - excessive concurrent IPAM requests"));
        assert_eq!(error.kind(), IpamErrorKind::Unavailable);
        assert!((3..60).contains(&commits), "{commits} commits");
        assert!(Instant::now() < deadline + Duration::from_millis(200));
        assert!(handle(cluster, "h").await.is_none());
        cluster.watched().before_commits.lock().expect("no panic").clear();
    }

    async fn weak8_a_handle_that_counts_too_much_goes_with_its_release(cluster) {
        small(cluster).await;
        cluster.assign("host-a", "other").await.expect("assigned");
        let there = cluster.blocks().await[0].cidr;
        let mut stale = Handle::default();
        stale.add(there, 1);
        stale.add(net("10.0.0.252/30"), 1);
        cluster.put(Key::Handle("stale".into()), stale.encode()).await;
        let before = cluster.blocks().await[0].sequence_number;
        assert!(cluster.release("stale").await.is_empty());
        assert_eq!(cluster.handles().await, ["other"]);
        // An upstream process that was about to write the address has to look again.
        assert_eq!(cluster.blocks().await[0].sequence_number, before + 1);
    }

    async fn weak12_weak13_nothing_is_read_twice_and_no_node_without_need(cluster) {
        small(cluster).await;
        cluster.watched().asked.lock().expect("no panic").clear();
        cluster.assign("host-a", "h").await.expect("assigned");
        let asked = |what: &dyn Fn(&Query) -> bool| {
            let asked = cluster.watched().asked.lock().expect("no panic");
            asked.iter().filter(|query| what(query)).count()
        };
        let config = |query: &Query| *query == Query::Key(Key::IpamConfig);
        let node = |query: &Query| {
            matches!(query, Query::Key(Key::Resource { kind: Kind::Node, .. }))
        };
        assert_eq!((asked(&config), asked(&node)), (1, 1));
        cluster.release("h").await;
        assert_eq!((asked(&config), asked(&node)), (2, 1));
    }

    async fn weak15_dual_stack_gives_both_families_or_leaves_nothing(cluster) {
        small(cluster).await;
        cluster.pool(pool("pool6", "fd00::/128").block_size(128)).await;
        let request = AutoAssign {
            handle: Some("h".into()),
            all_or_nothing: true,
            ..wanted("host-a", 1, 1)
        };
        cluster.auto(&request).await.expect("both");
        let before = cluster.blocks().await;
        let second = AutoAssign { handle: Some("i".into()), ..request.clone() };
        let error = cluster.auto(&second).await.expect_err("no IPv6");
        assert_eq!(error.kind(), IpamErrorKind::Exhausted);
        assert!(error.to_string().starts_with(
            "Assigned 0 out of 1 requested IPv6 addresses; No IPs available in pools: [fd00::/128]"
        ), "{error}");
        assert_eq!((cluster.blocks().await, cluster.handles().await.len()), (before, 1));
        cluster.delete_pool("pool6").await;
        let error = cluster.auto(&second).await.expect_err("no pool").to_string();
        assert!(error.starts_with("cannot find a qualified ippool"), "{error}");
        assert_eq!(cluster.handles().await, ["h"]);
    }

    async fn weak20_cooling_addresses_are_counted_apart(cluster) {
        small(cluster).await;
        cluster.config(|config| config.ip_cooldown_seconds = 60).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.assign("host-a", "i").await.expect("assigned");
        cluster.release("h").await;
        let usage = cluster.allocator().utilization(&[], soon()).await.expect("counted").pools[0].usage;
        assert_eq!((usage.in_use, usage.cooling), (2, 1));
    }

    async fn weak21_a_clock_that_runs_ahead_keeps_no_block_for_ever(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/30").block_size(30)).await;
        cluster.config(|config| config.strict_affinity = true).await;
        cluster.wait(86_400);
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.wait(-86_400);
        cluster.release("h").await;
        assert_eq!(found(&cluster.auto(&wanted("host-b", 1, 0)).await), 1);
    }

    async fn weak23_a_block_that_becomes_too_large_is_named(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/20").block_size(20)).await;
        cluster.assign("host-a", "first").await.expect("assigned");
        // All but a few addresses are in use, with attributes so long that there is just room left.
        let mut block = cluster.block("10.0.0.0/20").await.expect("a block");
        let mut fill = |length: usize| {
            for ordinal in 1..4000u32 {
                let text = format!("{ordinal:04}{}", "x".repeat(length));
                let secondary = BTreeMap::from([("pod".to_owned(), text)]);
                let record = AttributeRecord { secondary, ..AttributeRecord::default() };
                let records = block.attributes.get_or_insert_default();
                records.truncate(ordinal as usize);
                records.push(record);
                block.allocations[ordinal as usize] = Some(ordinal);
            }
            block.unallocated = (4000..4096).collect();
            block.encode()
        };
        let room = MAX_COMMIT_BYTES - fill(0).len();
        cluster.put(Key::Block(net("10.0.0.0/20")), fill(room / 4000 - 1)).await;
        let mut request = AutoAssign::new("host-a");
        request.attributes.insert("pod".into(), "p".repeat(1000));
        let mut error = None;
        for n in 0..96 {
            request.handle = Some(format!("h{n}"));
            if let Err(failure) = cluster.auto(&request).await {
                error = Some(failure);
                break;
            }
        }
        let error = error.expect("the block can't take all of them");
        let text = error.to_string();
        assert!(matches!(error, IpamError::BlockTooLarge { .. }), "{text}");
        assert_eq!(error.kind(), IpamErrorKind::Invalid);
        for part in ["block 10.0.0.0/20 would take 157", "release addresses", "blockSize above 20"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(cluster.handles().await.len() > 1, "the first ones found room");
        // The next step helps.
        assert_eq!(cluster.release("h0").await.len(), 1);
        cluster.auto(&request).await.expect("there is room again");
    }

    async fn weak24_every_call_ends_by_its_deadline(cluster) {
        small(cluster).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        let hold = cluster.watched().store.hold();
        let request = AutoAssign::new("host-a");
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = cluster.allocator().auto_assign(&request, None, None, deadline).await;
        assert_eq!(error.expect_err("held").kind(), IpamErrorKind::Unavailable);
        drop(hold);
    }

    async fn an_exhausted_pool_is_explained(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/30").block_size(30)).await;
        cluster.pool(pool("off", "20.0.0.0/24").disabled()).await;
        cluster.reserve(&["10.0.0.3/32"]).await;
        cluster.config(|config| config.ip_cooldown_seconds = 600).await;
        cluster.assign("host-a", "h1").await.expect("assigned");
        cluster.assign("host-a", "h2").await.expect("assigned");
        let mut request = AutoAssign { handle: Some("h3".into()), ..AutoAssign::new("host-b") };
        request.attributes.insert("node".into(), "host-b".into());
        cluster.auto(&request).await.expect("borrowed");
        cluster.release("h1").await;
        let error = cluster.assign("host-b", "h4").await.expect_err("exhausted");
        assert_eq!(
            error.to_string(),
            "Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: \
             [10.0.0.0/30]; pool pool1 10.0.0.0/30: 1 of 1 blocks used, 0 by node host-b; \
             addresses: 2 in use, 1 borrowed by this node, 1 cooling down, 1 reserved, 0 free in \
             blocks of others; pool off 20.0.0.0/24: disabled; add a pool, or free addresses; \
             see calicoctl ipam show --show-blocks"
        );
    }

    async fn a_repeated_add_gets_what_the_handle_has(cluster) {
        small(cluster).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let mut request = AutoAssign { handle: Some("h".into()), reuse: true, ..AutoAssign::new("host-a") };
        let first = cluster.auto(&request).await.expect("assigned");
        let before = cluster.blocks().await;
        let again = cluster.auto(&request).await.expect("the same");
        let (first, again) = (&first.v4.addresses[0], &again.v4.addresses[0]);
        assert_eq!((first.address, first.block_prefix_len), (again.address, again.block_prefix_len));
        assert!(again.reused && !first.reused && again.sequence_number == first.sequence_number);
        assert_eq!(cluster.blocks().await, before, "nothing was written");
        // A family that is missing is added.
        request.v6 = 1;
        let both = cluster.auto(&request).await.expect("both");
        assert_eq!(both.v4.addresses[0].address, again.address);
        assert_eq!(both.v6.addresses.len(), 1);
        assert_eq!(cluster.release("h").await.len(), 2);
        let mut one = cluster.ip_request("10.0.0.1", "host-a", Some("x"));
        one.reuse = true;
        for reused in [false, true] {
            let assigned = cluster.allocator().assign_ip(&one, None, None, soon()).await.expect("x");
            assert_eq!(assigned.reused, reused);
        }
        one.handle = Some("y".into());
        assert!(cluster.allocator().assign_ip(&one, None, None, soon()).await.is_err());
    }

    async fn what_comes_with_the_addresses_is_in_the_same_commit(cluster) {
        small(cluster).await;
        let request = AutoAssign { handle: Some("h".into()), ..AutoAssign::new("host-a") };
        let companion = |assigned: &[libcalico::ipam::Assigned]| {
            let value = assigned[0].address.to_string().into_bytes();
            vec![Change::create(endpoint("w"), value)]
        };
        let allocator = cluster.allocator();
        let add = async || allocator.auto_assign(&request, None, Some(&companion), soon()).await;
        let (assigned, _, commits) = cluster.count(add).await;
        let address = assigned.expect("assigned").v4.addresses[0].address;
        assert_eq!(commits, 1);
        let dump = cluster.watched().store.dump();
        let stored = dump.iter().find(|(path, _)| path.ends_with("/default/w")).expect("stored").1;
        assert_eq!(*stored, address.to_string().into_bytes());
        // It exists now: a second time nothing is taken, and the caller learns what is there.
        let before = cluster.blocks().await;
        let error = add().await.expect_err("it exists");
        assert_eq!(error.kind(), IpamErrorKind::Conflict);
        let IpamError::CompanionConflict(present) = error else { panic!("another failure") };
        assert_eq!(present.len(), 1);
        assert_eq!(present[0].as_ref().map(|found| &found.value), Some(stored));
        assert_eq!(cluster.blocks().await, before);
        // With a release, too; also when there is nothing to release.
        let revision = present[0].as_ref().map_or(0, |found| found.revision);
        let handles = ["h".to_owned()];
        let extra = |revision| vec![Change::delete(endpoint("w"), revision)];
        let wrong = allocator.release_by_handle(&handles, None, extra(revision + 7), soon()).await;
        assert!(matches!(wrong, Err(IpamError::CompanionConflict(_))));
        assert_eq!(cluster.blocks().await, before);
        let released = allocator.release_by_handle(&handles, None, extra(revision), soon()).await;
        assert_eq!(released.expect("released"), [address]);
        assert!(!cluster.watched().store.dump().keys().any(|path| path.ends_with("/default/w")));
        let revision = {
            cluster.put(endpoint("w"), b"x".to_vec()).await;
            let found = cluster.store.read(&[Query::Key(endpoint("w"))], soon()).await.expect("x");
            found.results[0][0].revision
        };
        let released = allocator.release_by_handle(&handles, None, extra(revision), soon()).await;
        assert!(released.expect("nothing").is_empty());
        assert!(!cluster.watched().store.dump().keys().any(|path| path.ends_with("/default/w")));
    }

    async fn an_answer_that_is_lost_leaves_one_address_not_two(cluster) {
        small(cluster).await;
        for (index, fault) in [Fault::LoseAnswer, Fault::LoseRequest].into_iter().enumerate() {
            let id = format!("h{index}");
            cluster.watched().store.inject(1, fault.clone());
            cluster.assign("host-a", &id).await.expect("assigned");
            assert_eq!(cluster.allocator().ips_by_handle(&id, soon()).await.expect("one").len(), 1);
            cluster.watched().store.inject(1, fault);
            assert_eq!(cluster.release(&id).await.len(), 1);
            assert!(handle(cluster, &id).await.is_none());
        }
        let refused = StoreError::new(StoreErrorKind::Unauthorized, "no");
        cluster.watched().store.inject(1, Fault::Fail(refused));
        let error = cluster.assign("host-a", "h").await.expect_err("refused");
        assert_eq!(error.kind(), IpamErrorKind::Unavailable);
        assert!(cluster.handles().await.is_empty());
    }

    async fn bad_requests_are_refused_before_anything_is_read(cluster) {
        small(cluster).await;
        let bad = [
            AutoAssign { handle: Some("a/b".into()), ..AutoAssign::new("host-a") },
            AutoAssign { handle: Some(String::new()), ..AutoAssign::new("host-a") },
            AutoAssign::new(""),
            AutoAssign::new("a/b"),
        ];
        for request in bad {
            let (result, reads, _) = cluster.count(async || cluster.auto(&request).await).await;
            assert_eq!((result.expect_err("refused").kind(), reads), (IpamErrorKind::Invalid, 0));
        }
        let error = cluster.auto(&AutoAssign::new("nobody")).await.expect_err("no such node");
        assert_eq!(error.kind(), IpamErrorKind::NotFound);
        assert!(error.to_string().starts_with("node nobody does not exist"), "{error}");
        let many = AutoAssign { all_or_nothing: true, ..wanted("host-a", 90, 0) };
        assert_eq!(cluster.auto(&many).await.map(drop).expect_err("20 blocks").kind(), IpamErrorKind::Exhausted);
        cluster.pool(pool("big", "20.0.0.0/16").block_size(30)).await;
        let many = AutoAssign { max_blocks_per_host: Some(1000), ..wanted("host-a", 2000, 0) };
        let all = AutoAssign { all_or_nothing: true, ..many.clone() };
        assert!(matches!(cluster.auto(&all).await, Err(IpamError::TooMany { addresses: 2000 })));
        assert!(cluster.blocks().await.is_empty());
        assert_eq!(found(&cluster.auto(&many).await), 2000, "without all or nothing in several commits");
    }

    async fn a_damaged_block_is_passed_over_and_named(cluster) {
        small(cluster).await;
        let walk = libcalico::ipam::walk::Walk::new("host-a", net("10.0.0.0/24"), 30, 0);
        let first = walk.nth(0).expect("a block");
        let path = block_path(&first.to_string());
        cluster.watched().store.put_raw(&path, b"{\"cidr\":");
        let assigned = cluster.assign("host-a", "h").await.expect("from another block");
        assert!(!first.contains(&assigned.address));
        let inside = first.network().to_string();
        let error = cluster.assign_ip(&inside, "host-a", None).await.expect_err("damaged");
        assert_eq!(error.kind(), IpamErrorKind::Internal);
        assert!(error.to_string().contains(&format!("block {first}")), "{error}");
        cluster.delete(Key::Block(first)).await;
    }

    async fn a_damaged_block_does_not_keep_the_others_from_their_release(cluster) {
        small(cluster).await;
        let request = AutoAssign { handle: Some("h".into()), ..wanted("host-a", 6, 0) };
        cluster.auto(&request).await.expect("assigned");
        let blocks = cluster.blocks().await;
        let path = block_path(&blocks[0].cidr.to_string());
        let sound = cluster.watched().store.dump()[&path].clone();
        cluster.watched().store.put_raw(&path, b"{\"cidr\":");
        cluster.put(endpoint("w"), b"x".to_vec()).await;
        let found = cluster.store.read(&[Query::Key(endpoint("w"))], soon()).await.expect("it reads");
        let extra = vec![Change::delete(endpoint("w"), found.results[0][0].revision)];
        let handles = ["h".to_owned()];
        let result = cluster.allocator().release_by_handle(&handles, None, extra, soon()).await;
        assert_eq!(result.expect_err("damaged").kind(), IpamErrorKind::Internal);
        let counted = handle(cluster, "h").await.expect("for the damaged block").block;
        let names: Vec<String> = counted.into_keys().collect();
        assert_eq!(names, [blocks[0].cidr.to_string()]);
        assert!(cluster.block(&blocks[1].cidr.to_string()).await.is_none_or(|block| block.is_empty()));
        cluster.watched().store.put_raw(&path, &sound);
        assert!(!cluster.release("h").await.is_empty());
        assert!(cluster.handles().await.is_empty());
    }

    async fn a_repeated_add_keeps_its_address_when_its_pool_is_gone(cluster) {
        small(cluster).await;
        let request = AutoAssign { handle: Some("h".into()), reuse: true, ..AutoAssign::new("host-a") };
        let first = cluster.auto(&request).await.expect("assigned");
        cluster.pool(pool("pool1", "10.0.0.0/24").block_size(30).disabled()).await;
        let again = cluster.auto(&request).await.expect("the same");
        assert_eq!(again.v4.addresses[0].address, first.v4.addresses[0].address);
        let other = AutoAssign { handle: Some("i".into()), ..request };
        assert!(cluster.auto(&other).await.is_err());
    }

    async fn a_pool_that_is_disabled_meanwhile_gives_no_new_block(cluster) {
        small(cluster).await;
        cluster.before_commit(|store| {
            let path = "/calico/resources/v3/projectcalico.org/ippools/pool1";
            store.put_raw(path, br#"{"spec":{"cidr":"10.0.0.0/24","blockSize":30,"disabled":true}}"#);
        });
        let error = cluster.assign("host-a", "h").await.expect_err("disabled");
        assert!(error.to_string().contains("pool pool1 10.0.0.0/24: disabled"), "{error}");
        assert!(cluster.blocks().await.is_empty() && cluster.handles().await.is_empty());
    }

    async fn what_earlier_commits_took_is_answered_beside_a_failure(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/16").block_size(30)).await;
        cluster.before_commit(|_| {});
        cluster.before_commit(|store| {
            let path = "/calico/resources/v3/projectcalico.org/ippools/pool1";
            store.put_raw(path, br#"{"spec":{"cidr":"10.0.0.0/16","blockSize":30,"disabled":true}}"#);
        });
        let request = AutoAssign {
            handle: Some("h".into()),
            max_blocks_per_host: Some(1000),
            ..wanted("host-a", 2000, 0)
        };
        let v4 = cluster.auto(&request).await.expect("a part").v4;
        assert!(matches!(v4.error, Some(IpamError::NoQualifiedPool { .. })), "{:?}", v4.error);
        assert!((100..1000).contains(&v4.addresses.len()));
        assert_eq!(cluster.release("h").await.len(), v4.addresses.len());
    }

    async fn a_reserved_pool_however_large_is_passed_over_at_once(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool6", "fd00::/64")).await;
        cluster.reserve(&["fd00::/65"]).await;
        let request = AutoAssign { v4: 0, v6: 1, ..AutoAssign::new("host-a") };
        for _ in 0..3 {
            let found = cluster.auto(&request).await.expect("assigned").v6.addresses[0].address;
            assert!(net("fd00::8000:0:0:0/65").contains(&found), "{found}");
        }
        cluster.reserve(&["fd00::/16"]).await;
        assert_eq!(cluster.auto(&request).await.expect_err("reserved").kind(), IpamErrorKind::Exhausted);
        assert!(ip("fd00::1").is_ipv6());
    }
}
