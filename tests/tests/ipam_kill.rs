//! Both plugins killed at any instant, hundreds of times on each store: DEL or GC takes back what
//! is left, nothing is given twice, and who was not killed keeps what it has.
//!
//! Each round several workers at once start calls and kill them; then the runtime's part follows.
//! In even rounds that is DEL for all, in odd ones DEL for some and a GC for the others; after each
//! the host must look as before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Backend, Call, Network, Pod, addresses, objects, scene};

/// Workers, rounds, and calls that each worker kills in a round.
const WORKERS: usize = 5;
const ROUNDS: usize = 10;
const KILLS: usize = 10;
const PLUGINS: [&str; 2] = ["calico-ipam", "calico"];
/// Of so many kills, one is of `calico`, which needs a namespace and takes longer.
const EVERY: usize = 3;

#[test]
fn local_store_survives_kills() {
    scene("ipam-kill-local", |scene| play(&Network::without_pools(scene, Backend::Local)?));
}

#[test]
fn etcd_survives_kills() {
    scene("ipam-kill-etcd", |scene| play(&Network::without_pools(scene, Backend::Etcd)?));
}

/// How long undisturbed calls take, so that the instants cover all of them.
struct Durations(BTreeMap<(&'static str, &'static str), Duration>);

impl Durations {
    /// An instant within a call and a little later, the `n`th of many that are spread evenly.
    fn instant(&self, plugin: &'static str, verb: &'static str, n: usize) -> Duration {
        // The golden ratio: any number of such steps is spread evenly.
        let part = (n as f64 * 0.618_033_988_749_895).fract();
        self.0[&(plugin, verb)].mul_f64(part * 1.1)
    }
}

fn play(network: &Network) -> Result<()> {
    network.put([
        objects::pool("pool-v4", "10.65.0.0/24", 28),
        objects::pool("pool-v6", "fd00:65::/120", 124),
    ])?;
    let durations = measure(network)?;
    // Those who were there before must have the same at the end.
    let survivors = ["keep-1", "keep-2"];
    let mut kept = Vec::new();
    for container in survivors {
        kept.push(addresses(&ipam(network, "ADD", container)?.result()?)?);
    }
    let before = network.before()?;
    let mut running = 0;
    for round in 0..ROUNDS {
        let context = || format!("round {round} of {ROUNDS}");
        let pods: Vec<Pod> = (0..WORKERS)
            .map(|worker| network.host().pod(&format!("pod{worker}")))
            .collect::<Result<_>>()?;
        let killed = thread::scope(|scope| {
            let workers: Vec<_> = pods
                .iter()
                .enumerate()
                .map(|(worker, pod)| {
                    let durations = &durations;
                    scope.spawn(move || work(network, durations, pod, round, worker))
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Result<usize>>| {
                thread.join().ok().context("panic")?
            };
            workers.into_iter().map(join).sum::<Result<usize>>()
        });
        running += killed.with_context(context)?;
        if has_gc(round) {
            gc(network, &survivors)?.done().with_context(context)?;
        }
        for pod in pods {
            pod.remove()?;
        }
        before.nothing_left().with_context(context)?;
    }
    for (container, kept) in survivors.iter().zip(kept) {
        let add = ipam(network, "ADD", container)?;
        ensure!(addresses(&add.result()?)? == kept, "{container} doesn't have {kept:?} any more");
        add.verb("DEL").done()?;
    }
    let all = WORKERS * ROUNDS * KILLS;
    // Those that had ended show that the instants reach the end of a call.
    eprintln!("{running} of {all} were still running");
    ensure!(all >= 500 && running > all / 2 && running < all, "{running} of {all} were running");
    Ok(())
}

fn has_gc(round: usize) -> bool {
    round % 2 == 1
}

/// One worker's part of a round. Answers how many were still running when they were killed.
fn work(
    network: &Network,
    durations: &Durations,
    pod: &Pod,
    round: usize,
    worker: usize,
) -> Result<usize> {
    let mut running = 0;
    for n in 0..KILLS {
        let at = (round * WORKERS + worker) * KILLS + n;
        let container = format!("c{at}");
        let (plugin, add) = match at % EVERY {
            0 => ("calico", calico(network, "ADD", &container)?.pod(pod)),
            _ => ("calico-ipam", ipam(network, "ADD", &container)?),
        };
        let del = add.verb("DEL");
        // Half of the kills are of DEL, after an ADD that succeeded.
        let verb = if (at / EVERY).is_multiple_of(2) { "ADD" } else { "DEL" };
        let victim = if verb == "ADD" { &add } else { &del };
        if verb == "DEL" {
            add.result()?;
        }
        running += usize::from(victim.kill_after(durations.instant(plugin, verb, at))?);
        // The runtime tries again, or gives up and leaves it to GC. The next one on the namespace
        // needs it empty.
        match at % 7 {
            // Of `calico` only the last one in the namespace.
            0 | 3 if has_gc(round) && (plugin == "calico-ipam" || n + EVERY >= KILLS) => {}
            1 if verb == "ADD" && plugin == "calico-ipam" => {
                let given: Vec<IpAddr> = addresses(&add.result()?)?;
                ensure!(given.len() == 2, "{given:?}");
                del.done()?;
            }
            2 => del.clone().env("CNI_NETNS", "").done()?,
            _ => del.done()?,
        }
    }
    Ok(running)
}

/// As many calls at once as there are workers: a machine with few processors makes them longer.
fn measure(network: &Network) -> Result<Durations> {
    let pods: Vec<Pod> = (0..WORKERS)
        .map(|worker| network.host().pod(&format!("first{worker}")))
        .collect::<Result<_>>()?;
    let mut durations = BTreeMap::new();
    for plugin in PLUGINS {
        // The first time they make what stays: the blocks, the profile.
        for _ in 0..2 {
            let times = thread::scope(|scope| {
                let start = |pod| scope.spawn(move || time(network, plugin, pod));
                let threads: Vec<_> = pods.iter().map(start).collect();
                let times =
                    threads.into_iter().map(|thread| thread.join().ok().context("panic")?);
                times.collect::<Result<Vec<_>>>()
            })?;
            for (at, verb) in ["ADD", "DEL"].into_iter().enumerate() {
                let sum: Duration = times.iter().map(|times| times[at]).sum();
                durations.insert((plugin, verb), sum / WORKERS as u32);
            }
        }
    }
    pods.into_iter().try_for_each(Pod::remove)?;
    Ok(Durations(durations))
}

fn time(network: &Network, plugin: &str, pod: &Pod) -> Result<[Duration; 2]> {
    let add = match plugin {
        "calico" => calico(network, "ADD", pod.name())?.pod(pod),
        _ => ipam(network, "ADD", pod.name())?,
    };
    let mut times = [Duration::ZERO; 2];
    for (time, verb) in times.iter_mut().zip(["ADD", "DEL"]) {
        let answer = add.verb(verb).run()?;
        ensure!(answer.exit == Some(0), "{answer:?}");
        *time = answer.elapsed;
    }
    Ok(times)
}

fn config(network: &Network) -> Result<Value> {
    let mut config = network.config()?;
    config["cniVersion"] = json!("1.1.0");
    config["ipam"]["assign_ipv6"] = json!("true");
    Ok(config)
}

fn ipam(network: &Network, verb: &str, container: &str) -> Result<Call> {
    Ok(network.ipam(verb)?.config(&config(network)?).container(container))
}

fn calico(network: &Network, verb: &str, container: &str) -> Result<Call> {
    Ok(network.call(verb)?.config(&config(network)?).container(container))
}

/// GC of both: `calico` runs that of IPAM too.
fn gc(network: &Network, survivors: &[&str]) -> Result<Call> {
    let mut config = config(network)?;
    let valid = survivors.iter().map(|id| json!({"containerID": id, "ifname": "eth0"}));
    config["cni.dev/valid-attachments"] = valid.collect();
    Ok(network.call("GC")?.config(&config).without("CNI_CONTAINERID"))
}
