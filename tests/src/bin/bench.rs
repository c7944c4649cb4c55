//! `scripts/bench`: how long ADD and DEL take, beside a peer that was measured in the same run.
//!
//! The variants take turns, round by round, so noise falls on all of them alike. Quote the ratios:
//! milliseconds are this machine's and this minute's. The peer is `ptp` with `host-local`, from
//! Debian's containernetworking-plugins: a pair, an address, routes, and no datastore.
#![allow(clippy::disallowed_macros, reason = "a report on standard output is what this is for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};
use tests::{Call, Etcd, EtcdMode, Host, conflist, plugin_of, scene};

const WARM_UP: usize = 3;
const PARALLEL: usize = 8;

struct Variant {
    name: &'static str,
    host: Arc<Host>,
    plugin: &'static str,
    config: Value,
    add: Figures,
    del: Figures,
}

#[derive(Default)]
struct Figures {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
}

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(40);
    scene("bench", |scene| {
        let host = scene.host("node-a")?;
        let etcd = Etcd::start(&host, EtcdMode::Plain)?;
        let tls_host = scene.host("node-b")?;
        let tls = Etcd::start(&tls_host, EtcdMode::Tls)?;
        seed(&host, &etcd)?;
        seed(&tls_host, &tls)?;
        let ptp = json!({
            "cniVersion": "1.0.0", "name": "plain", "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}
        });
        let mut on_etcd = plugin_of(&conflist("etcd")?)?;
        on_etcd["nodename"] = json!("node-a");
        let mut on_tls = plugin_of(&conflist("etcd-tls")?)?;
        on_tls["nodename"] = json!("node-b");
        let mut on_local = plugin_of(&conflist("standalone")?)?;
        on_local["ipam"] = json!({"type": "calico-ipam"});
        let mut variants = [
            Variant::new("ptp + host-local", &host, "ptp", ptp),
            Variant::new("calico, local", &host, "calico", on_local),
            Variant::new("calico, etcd", &host, "calico", on_etcd),
            Variant::new("calico, etcd with TLS", &tls_host, "calico", on_tls),
        ];
        for round in 0..rounds + WARM_UP {
            for variant in &mut variants {
                variant.measure(round, round >= WARM_UP)?;
            }
        }
        report(&variants, rounds);
        parallel(&variants)
    });
}

/// What calico/node would have written.
fn seed(host: &Host, etcd: &Etcd) -> Result<()> {
    let resources = "/calico/resources/v3/projectcalico.org";
    let meta = |name: &str| {
        json!({"name": name, "uid": "5b1d0a52-6c0e-4a70-9d7e-0f7a4f1f2c11",
               "creationTimestamp": "2026-01-01T00:00:00Z"})
    };
    let object = |kind: &str, name: &str, spec: Value| {
        json!({"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": meta(name),
               "spec": spec})
    };
    let ready = json!({"clusterGUID": "2e648184f0714f04a7adad15fc7f1570", "datastoreReady": true});
    let pool = json!({"cidr": "10.65.0.0/16", "blockSize": 26, "nodeSelector": "all()"});
    for (key, value) in [
        ("clusterinformations/default", object("ClusterInformation", "default", ready)),
        ("ippools/pool-a", object("IPPool", "pool-a", pool)),
        (&format!("nodes/{}", host.name()), object("Node", host.name(), json!({}))),
    ] {
        etcd.put(&format!("{resources}/{key}"), &value.to_string())?;
    }
    Ok(())
}

impl Variant {
    fn new(name: &'static str, host: &Arc<Host>, plugin: &'static str, config: Value) -> Variant {
        let (add, del) = (Figures::default(), Figures::default());
        Variant { name, host: host.clone(), plugin, config, add, del }
    }

    fn call(&self, verb: &str) -> Call {
        Call::new(&self.host, self.plugin, verb).config(&self.config)
    }

    fn measure(&mut self, round: usize, counts: bool) -> Result<()> {
        let pod = self.host.pod(&format!("p{round}"))?;
        let id = format!("bench{round}");
        let add = self.call("ADD").pod(&pod).container(&id);
        let del = add.clone().verb("DEL");
        for (call, figures) in [(add, &mut self.add), (del, &mut self.del)] {
            let before = cpu()?;
            let answer = call.run()?;
            let after = cpu()?;
            ensure!(answer.exit == Some(0), "{}: {answer:#?}", self.name);
            if counts {
                figures.wall_ms.push(answer.elapsed.as_secs_f64() * 1e3);
                figures.cpu_ms.push((after - before).as_secs_f64() * 1e3);
            }
        }
        pod.remove()
    }
}

/// The processor time of all processes that we have waited for.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get(((last as f64) * q).round() as usize).copied().unwrap_or(f64::NAN)
}

fn report(variants: &[Variant], rounds: usize) {
    println!(
        "\none at a time, {rounds} rounds, the variants in turn; milliseconds, ratio to the first\n"
    );
    println!("| | ADD p50 | ratio | ADD p95 | ADD cpu | DEL p50 | ratio | DEL p95 | DEL cpu |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let peer = |pick: fn(&Variant) -> &Figures| quantile(&pick(&variants[0]).wall_ms, 0.5);
    let (add, del) = (peer(|variant| &variant.add), peer(|variant| &variant.del));
    for variant in variants {
        let row = |figures: &Figures, peer: f64| {
            let p50 = quantile(&figures.wall_ms, 0.5);
            format!(
                "{p50:.1} | {:.2} | {:.1} | {:.1}",
                p50 / peer,
                quantile(&figures.wall_ms, 0.95),
                quantile(&figures.cpu_ms, 0.5),
            )
        };
        println!("| {} | {} | {} |", variant.name, row(&variant.add, add), row(&variant.del, del));
    }
}

/// Eight at a time.
fn parallel(variants: &[Variant]) -> Result<()> {
    const EACH: usize = 8;
    println!("\n{PARALLEL} at a time, {} in all; calls a second\n", PARALLEL * EACH);
    println!("| | ADD/s | DEL/s |");
    println!("|---|---|---|");
    for variant in variants {
        let pods = (0..PARALLEL * EACH)
            .map(|number| variant.host.pod(&format!("q{number}")))
            .collect::<Result<Vec<_>>>()?;
        let mut rates = Vec::new();
        for verb in ["ADD", "DEL"] {
            let next = AtomicUsize::new(0);
            let started = Instant::now();
            thread::scope(|scope| {
                let workers: Vec<_> = (0..PARALLEL)
                    .map(|_| {
                        scope.spawn(|| -> Result<()> {
                            loop {
                                let number = next.fetch_add(1, Ordering::Relaxed);
                                let Some(pod) = pods.get(number) else { return Ok(()) };
                                let id = format!("many{number}");
                                let call = variant.call(verb).pod(pod).container(&id);
                                let answer = call.run()?;
                                ensure!(answer.exit == Some(0), "{}: {answer:#?}", variant.name);
                            }
                        })
                    })
                    .collect();
                workers.into_iter().try_for_each(|worker| {
                    worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?
                })
            })
            .context("parallel calls")?;
            rates.push((PARALLEL * EACH) as f64 / started.elapsed().as_secs_f64());
        }
        println!("| {} | {:.0} | {:.0} |", variant.name, rates[0], rates[1]);
        for pod in pods {
            pod.remove()?;
        }
    }
    Ok(())
}
