//! Many calls at once: nobody gets another one's address, and nobody fails.

use std::collections::BTreeSet;
use std::thread;

use anyhow::{Context, Result, ensure};
use tests::{Network, Pod, addresses, scene};

const PODS: usize = 32;

#[test]
fn pods_at_once_on_the_local_store() {
    scene("parallel-local", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn pods_at_once_on_etcd() {
    scene("parallel-etcd", |scene| play(&Network::etcd(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let before = network.before()?;
    let pods: Vec<Pod> =
        (0..PODS).map(|n| network.host().pod(&format!("p{n}"))).collect::<Result<_>>()?;
    let call =
        |verb: &str, pod: &Pod| anyhow::Ok(network.call(verb)?.container(pod.name()).pod(pod));
    let each = |work: &(dyn Fn(&Pod) -> Result<Vec<std::net::IpAddr>> + Sync)| {
        thread::scope(|scope| {
            let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(move || work(pod))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().ok().context("panic")?)
                .collect::<Result<Vec<_>>>()
        })
    };
    let given = each(&|pod| addresses(&call("ADD", pod)?.result()?))?;
    let all: Vec<_> = given.iter().flatten().collect();
    let different: BTreeSet<_> = all.iter().collect();
    ensure!(all.len() >= PODS && different.len() == all.len(), "given twice: {given:?}");
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().len() == PODS && dump.handles().len() == PODS, "{dump:#?}");
    ensure!(dump.allocations().len() == all.len(), "{:?}", dump.allocations());
    for addresses in &given {
        network.check_pod(addresses, |_| Ok(()))?;
    }
    each(&|pod| call("DEL", pod)?.done().map(|()| Vec::new()))?;
    before.nothing_left()
}
