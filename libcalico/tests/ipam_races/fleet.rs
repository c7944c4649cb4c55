//! A fleet: two nodes of ours and two of upstream's take and release addresses of one small pool,
//! thousands of times. In memory at random one request after the other, with every invariant
//! checked after each write; on etcd really in parallel. `FLEET` sets how often each node acts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libcalico::clock;
use libcalico::config::Settings;
use libcalico::ipam::Allocator;
use libcalico::ipam::check::{Severity, check};
use libcalico::store::{Action, Change, Committed, Guard, Key, Store};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::actor::{Act, Actor, assign, assign_ip, ours, ours_does, release, upstream_does};
use crate::etcd_server::Etcd;
use crate::race::{HOSTS, Race, clean_up, documents, furniture};
use crate::seeds::{number, pick};
use crate::upstream::{Clock, Taken, Upstream, soon};

/// 64 addresses in blocks of 8.
const POOL: [(&str, u8); 1] = [("10.0.0.0/26", 29)];

#[test]
fn in_memory() {
    for strict in [false, true] {
        let mut random = SmallRng::seed_from_u64(number("SEED").unwrap_or(u64::from(strict)));
        let count = number("FLEET").unwrap_or(250);
        let nodes: Vec<Actor> = HOSTS
            .iter()
            .map(|host| Actor {
                upstream: is_upstreams(host),
                ..ours(host, script(host, count, &mut random))
            })
            .collect();
        let mut race = Race::of("a fleet", nodes).on(&POOL);
        race.strict = strict;
        // A second a commit, so that empty blocks grow old.
        race.tick = 1_000_000_000;
        race.run(&mut |fork| Some(pick(&fork, &mut random)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_etcd() {
    let etcd = Etcd::start();
    for strict in [false, true] {
        on_real_store(&|| store(&etcd), strict, number("FLEET").unwrap_or(40)).await;
    }
}

fn store(etcd: &Etcd) -> Arc<dyn Store> {
    let settings = Settings { etcd_endpoints: Some(etcd.url()), ..Settings::default() };
    settings.resolve().expect("settings").open().expect("a store")
}

fn is_upstreams(host: &str) -> bool {
    host == "c" || host == "d"
}

/// Takes and releases, a little more of the first; all of it is released at the end.
fn script(host: &str, count: u64, random: &mut SmallRng) -> Vec<Act> {
    let mut live: Vec<String> = Vec::new();
    let mut acts = Vec::new();
    for number in 0..count {
        let handle = format!("{host}-{number}");
        let most = if random.random_range(0..10) == 0 { 24 } else { 12 };
        if live.is_empty() || (live.len() < most && random.random_range(0..9) < 5) {
            acts.push(match random.random_range(0..8) {
                0 => assign_ip(&handle, &format!("10.0.0.{}", random.random_range(0..64))),
                1 => assign(&handle, 3),
                _ => assign(&handle, 1),
            });
            live.push(handle);
        } else {
            acts.push(release(&live.swap_remove(random.random_range(0..live.len()))));
        }
    }
    acts.extend(live.iter().map(|handle| release(handle)));
    acts
}

/// Who has which address.
type Holders = Arc<Mutex<BTreeMap<IpAddr, String>>>;

async fn on_real_store(open: &dyn Fn() -> Arc<dyn Store>, strict: bool, count: u64) {
    let store = open();
    for (path, value) in furniture(&POOL, strict, 0) {
        let key = Key::parse(&path).expect("a key");
        let change = Change { key, guard: Guard::Any, action: Action::Put(value) };
        let committed = store.commit(&[change], soon()).await.expect("the store answers");
        assert!(matches!(committed, Committed::Done(_)));
    }
    // A clock that runs fast, so that empty blocks grow old.
    let started = (Instant::now(), clock::now());
    let clock: Clock = Arc::new(move || started.1 + started.0.elapsed() * 100);
    let holders = Holders::default();
    let mut random = SmallRng::seed_from_u64(number("SEED").unwrap_or(u64::from(strict)));
    let nodes: Vec<_> = HOSTS
        .iter()
        .map(|host| {
            let acts = script(host, count, &mut random);
            tokio::spawn(work(open(), host, acts, clock.clone(), holders.clone()))
        })
        .collect();
    let mut failed = BTreeSet::new();
    while nodes.iter().any(|node| !node.is_finished()) {
        let report = check(&documents(&*store).await);
        failed.extend(report.at_least(Severity::Broken).map(ToString::to_string));
        tokio::task::yield_now().await;
    }
    for node in nodes {
        node.await.expect("no address was given twice or lost");
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let report = check(&documents(&*store).await);
    assert_eq!((report.in_use, report.cooling), (0, 0), "{report:#?}");
    let left = clean_up(&*store, clock, &|| (), HOSTS.into_iter()).await;
    assert!(left.is_empty(), "{left:#?}");
}

/// One node. What it takes nobody else may have; what it has it finds when it releases.
async fn work(
    store: Arc<dyn Store>,
    host: &'static str,
    acts: Vec<Act>,
    clock: Clock,
    holders: Holders,
) {
    let now = clock.clone();
    let allocator = Allocator::with_clock(&*store, move || now());
    let process = Upstream { store: store.clone(), host: host.to_owned(), clock };
    for act in acts {
        let handle = act.handle().unwrap_or_default().to_owned();
        if act == release(&handle) {
            let mine = take_back(&holders, &handle);
            let found = find(&*store, &handle).await;
            assert_eq!(found, mine, "{handle} has other addresses than it was told");
        }
        let taken: Vec<Taken> = if is_upstreams(host) {
            upstream_does(&process, &act, &[]).await.0
        } else {
            ours_does(&allocator, host, &act, &[]).await.unwrap_or_default()
        };
        let mut holders = holders.lock().expect("nobody panicked");
        for one in taken {
            let other = holders.insert(one.address, handle.clone());
            assert_eq!(other, None, "{} was given to {handle}, too", one.address);
        }
    }
}

fn take_back(holders: &Holders, handle: &str) -> BTreeSet<IpAddr> {
    let mut holders = holders.lock().expect("nobody panicked");
    let mine = holders.extract_if(.., |_, holder| holder == handle);
    mine.map(|(address, _)| address).collect()
}

/// What the blocks say that a handle has.
async fn find(store: &dyn Store, handle: &str) -> BTreeSet<IpAddr> {
    let blocks =
        documents(store).await.into_iter().filter(|found| matches!(found.key, Key::Block(_)));
    let blocks = blocks.map(|found| libcalico::ipam::Block::decode(&found.value).expect("a block"));
    blocks.flat_map(|block| block.addresses_of(handle)).collect()
}
