//! Many at once: nobody fails, nobody gets another one's address, and nobody waits for a process
//! that is stuck.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Backend, Call, Host, Network, Scene, addresses, objects, on_both_stores, scene};

on_both_stores! {
    sixty_four_adds_at_once_on_one_node
    a_stuck_holder_of_the_lock_delays_but_does_not_stop
}

/// What the lock's queue waits at most: the constant of `cni-ipam/src/lock.rs`.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a verb waits for the store at most: that of `cni-ipam/src/run.rs`.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// Runs all calls at once.
fn at_once<T: Send>(calls: &[Call], run: impl Fn(&Call) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = calls.iter().map(|call| scope.spawn(move || run(call))).collect();
        threads.into_iter().map(|thread| thread.join().ok().context("panic")?).collect()
    })
}

/// ADD for all at once: every one gets addresses that nobody else has.
fn add_all(adds: &[Call], each: usize) -> Result<Vec<Vec<IpAddr>>> {
    let given = at_once(adds, |add| addresses(&add.result()?))?;
    let different: BTreeSet<&IpAddr> = given.iter().flatten().collect();
    ensure!(given.iter().all(|given| given.len() == each), "{given:?}");
    ensure!(different.len() == adds.len() * each, "given twice: {given:?}");
    Ok(given)
}

/// DEL for all at once, some of them twice at once.
fn delete_all(adds: &[Call]) -> Result<()> {
    let twice: Vec<Call> =
        adds.iter().chain(adds.iter().step_by(8)).map(|add| add.verb("DEL")).collect();
    at_once(&twice, Call::done).map(drop)
}

fn sixty_four_adds_at_once_on_one_node(network: &Network) -> Result<()> {
    // Small blocks: the last of them is claimed while others are filled.
    network.put([
        objects::pool("pool-v4", "10.65.0.0/16", 28),
        objects::pool("pool-v6", "fd00:65::/64", 124),
    ])?;
    let before = network.before()?;
    let mut config = network.config()?;
    config["ipam"]["assign_ipv6"] = json!("true");
    let add = |n: usize| Ok(network.ipam("ADD")?.config(&config).container(&format!("c{n}")));
    let adds: Vec<Call> = (0..64).map(add).collect::<Result<_>>()?;
    add_all(&adds, 2)?;
    let dump = network.store().dump()?;
    dump.consistent()?;
    ensure!(dump.handles().len() == 64 && dump.allocations().len() == 128);
    // They queue, so no block is claimed for nothing.
    let blocks = dump.check().blocks;
    ensure!(blocks == 8, "{blocks} blocks for 64 addresses of each family");
    delete_all(&adds)?;
    before.nothing_left()
}

/// A node and its configuration.
type Node = (Arc<Host>, Value);

/// Four nodes that share an etcd, each by a wire of its own to the etcd's host.
fn nodes(scene: &Scene) -> Result<(Network, Vec<Node>)> {
    let network = Network::without_pools(scene, Backend::Etcd)?;
    let mut nodes = vec![(network.host().clone(), network.config()?)];
    for (n, name) in ["node-b", "node-c", "node-d"].into_iter().enumerate() {
        let host = scene.host(name)?;
        let wire = format!("wire{n}");
        network.host().wire(&host, &wire)?;
        let give = |host: &Host, last: usize| {
            let address = format!("198.51.100.{}/30", 4 * n + last);
            host.run(["ip", "address", "add", &address, "dev", &wire]).map(drop)
        };
        give(network.host(), 1)?;
        give(&host, 2)?;
        let mut config = network.config()?;
        config["etcd_endpoints"] = json!(format!("http://198.51.100.{}:2379", 4 * n + 1));
        host.write("/var/lib/calico/nodename", name)?;
        network.put([objects::node(name)])?;
        nodes.push((host, config));
    }
    Ok((network, nodes))
}

#[test]
fn four_nodes_with_thirty_two_adds_each_at_once_on_one_pool() {
    scene("contention-nodes", |scene| {
        let (network, nodes) = nodes(scene)?;
        // 136 addresses for 128: every node comes to borrow, and the last ones are contended for.
        network.put([
            objects::pool("pool-a", "10.65.0.0/25", 29),
            objects::pool("pool-b", "10.65.1.0/29", 30),
        ])?;
        let mut adds = Vec::new();
        for (at, (host, config)) in nodes.iter().enumerate() {
            for n in 0..32 {
                let add = Call::new(host, "calico-ipam", "ADD").config(config);
                let add = add.container(&format!("c{at}-{n}")).env("CNI_NETNS", "/run/netns/none");
                adds.push(add);
            }
        }
        for _ in 0..2 {
            add_all(&adds, 1)?;
            let dump = network.store().dump()?;
            dump.consistent()?;
            ensure!(dump.handles().len() == 128 && dump.allocations().len() == 128);
            delete_all(&adds)?;
            let dump = network.store().dump()?;
            ensure!(dump.handles().is_empty() && dump.allocations().is_empty(), "{dump:#?}");
            dump.consistent()?;
        }
        Ok(())
    });
}

/// One lock is held for ever by a process that is stuck, another for longer than a verb waits for
/// the store. Behind the first ADDs go on without it; behind the second their own time begins when
/// they have the lock.
#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn a_stuck_holder_of_the_lock_delays_but_does_not_stop(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.65.0.0/16", 26)])?;
    let host = network.host();
    let hold = |name: &str| -> Result<File> {
        let path = format!("/run/calico/{name}.lock");
        host.write(&path, "")?;
        let file = File::open(host.path(&path))?;
        file.lock()?;
        Ok(file)
    };
    let (_held, slow_holder) = (hold("stuck")?, hold("slow")?);
    let call = |name: &str, container: &str| -> Result<Call> {
        let mut config = network.config()?;
        config["ipam_lock_file"] = json!(format!("/run/calico/{name}.lock"));
        Ok(network.ipam("ADD")?.config(&config).container(container).limit(Duration::from_secs(60)))
    };
    let stuck: Vec<Call> =
        (0..4).map(|n| call("stuck", &format!("s{n}"))).collect::<Result<_>>()?;
    let slow: Vec<Call> = (0..4).map(|n| call("slow", &format!("w{n}"))).collect::<Result<_>>()?;
    // Another lock is none of theirs.
    let started = Instant::now();
    call("free", "f")?.result()?;
    ensure!(started.elapsed() < PATIENCE, "waited for another file's lock");

    let started = Instant::now();
    let elapsed = thread::scope(|scope| {
        let stuck = scope.spawn(|| add_all(&stuck, 1).map(|_| started.elapsed()));
        let slow = scope.spawn(|| add_all(&slow, 1).map(|_| started.elapsed()));
        // Longer than any verb waits for the store.
        thread::sleep(STORE_LIMIT + Duration::from_secs(1));
        drop(slow_holder);
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Duration>>| {
            thread.join().ok().context("panic")?
        };
        anyhow::Ok((join(stuck)?, join(slow)?))
    })?;
    let (behind_stuck, behind_slow) = elapsed;
    ensure!(behind_stuck >= PATIENCE, "{behind_stuck:?}: the lock wasn't queued for");
    ensure!(behind_stuck < PATIENCE + STORE_LIMIT, "{behind_stuck:?}: waited too long");
    ensure!(behind_slow >= STORE_LIMIT && behind_slow < PATIENCE, "{behind_slow:?}");
    network.store().dump()?.consistent()
}
