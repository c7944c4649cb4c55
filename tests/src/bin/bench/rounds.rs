//! Measuring in rounds: in each of them every rival has its turn, in an order that is drawn anew, so
//! that what disturbs the machine falls on all of them alike, and so does what one leaves to the next.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::launch::processor_time;
use crate::options::Effort;
use crate::site::{Pod, Rival, Site};
use crate::statistics::quantile;

/// However slow the machine is, so many rounds are played.
const FEWEST: usize = 2;
/// How many make the crowd at once.
const CROWD_WORKERS: usize = 8;

/// What was measured of one verb of a rival on a host, with so many workers.
#[derive(Debug, Default, Clone)]
pub struct Series {
    /// Of every call, in milliseconds.
    pub latency_ms: Vec<f64>,
    /// Of every round: the median of its calls, in milliseconds.
    pub typical_ms: Vec<f64>,
    /// Of every round: calls a second, all workers together.
    pub rate: Vec<f64>,
    /// Of every round: processor time a call, in milliseconds.
    pub cpu_ms: Vec<f64>,
}

/// ADD and DEL of a rival on a host, with so many workers.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Who.
    pub rival: Rival,
    /// How many pods were there already.
    pub crowd: usize,
    /// How many called at once.
    pub workers: usize,
    /// ADD.
    pub add: Series,
    /// DEL.
    pub del: Series,
}

/// A site with the namespaces that come and go.
#[derive(Debug)]
pub struct Stage {
    /// Where.
    pub site: Site,
    /// The namespaces.
    pub pods: Vec<Pod>,
}

impl Stage {
    /// Makes the namespaces, and attaches the site's crowd for good.
    pub fn prepare(site: Site, pods: usize) -> Result<Stage> {
        let crowd = site.pods(0..site.crowd)?;
        calls(&site, "ADD", &crowd, &[], CROWD_WORKERS).context("attaching the crowd")?;
        let pods = site.pods(site.crowd..site.crowd + pods)?;
        Ok(Stage { site, pods })
    }

    /// The first `count` namespaces, for the containers of a round.
    pub fn pods(&self, count: usize, round: usize) -> Vec<Pod> {
        let first = self.site.crowd;
        let pods = self.pods.iter().take(count).enumerate();
        pods.map(|(at, pod)| pod.in_round(first + at, round)).collect()
    }
}

/// Plays rounds with so many workers; the first is `begin`.
pub fn play(
    stages: &[Stage],
    workers: usize,
    effort: Effort,
    begin: usize,
    random: &mut StdRng,
) -> Result<Vec<Measured>> {
    let measured = |stage: &Stage| Measured {
        rival: stage.site.rival,
        crowd: stage.site.crowd,
        workers,
        add: Series::default(),
        del: Series::default(),
    };
    let mut all: Vec<Measured> = stages.iter().map(measured).collect();
    let mut order: Vec<usize> = (0..stages.len()).collect();
    let begun = Instant::now();
    for round in 0..effort.warm_up + effort.rounds {
        if round >= effort.warm_up + FEWEST && begun.elapsed() > effort.limit {
            break;
        }
        order.shuffle(random);
        for &at in &order {
            let stage = &stages[at];
            let pods = stage.pods(workers * effort.each, begin + round);
            let added = calls(&stage.site, "ADD", &pods, &[], workers)?;
            let deleted = calls(&stage.site, "DEL", &pods, &added.answers, workers)?;
            if round >= effort.warm_up {
                all[at].add.note(&added);
                all[at].del.note(&deleted);
            }
        }
    }
    Ok(all)
}

/// What many calls took.
#[derive(Debug)]
struct Calls {
    latencies: Vec<Duration>,
    answers: Vec<String>,
    whole: Duration,
    cpu: Duration,
}

impl Series {
    fn note(&mut self, calls: &Calls) {
        let count = calls.latencies.len() as f64;
        let latencies: Vec<f64> =
            calls.latencies.iter().map(|latency| latency.as_secs_f64() * 1e3).collect();
        self.typical_ms.push(quantile(&latencies, 0.5));
        self.latency_ms.extend(latencies);
        self.rate.push(count / calls.whole.as_secs_f64());
        self.cpu_ms.push(calls.cpu.as_secs_f64() * 1e3 / count);
    }
}

/// Calls the plugin for each pod once, `workers` at a time, each with the answer that its ADD had.
fn calls(
    site: &Site,
    verb: &str,
    pods: &[Pod],
    answers: &[String],
    workers: usize,
) -> Result<Calls> {
    let launches = pods.iter().enumerate();
    let launches = launches.map(|(at, pod)| site.call(verb, pod, answers.get(at).map(|a| &**a)));
    let launches = launches.collect::<Result<Vec<_>>>()?;
    let next = AtomicUsize::new(0);
    let outcomes: Vec<OnceLock<(Duration, String)>> =
        launches.iter().map(|_| OnceLock::new()).collect();
    // All are on the host before the first begins.
    let ready = std::sync::Barrier::new(workers);
    let cpu = processor_time()?;
    let work = || -> Result<(Instant, Instant)> {
        site.within(|| {
            ready.wait();
            let begun = Instant::now();
            while let at = next.fetch_add(1, Ordering::Relaxed)
                && let (Some(launch), Some(slot)) = (launches.get(at), outcomes.get(at))
            {
                let outcome = launch.run().with_context(|| verb.to_owned())?;
                let _ = slot.set((outcome.wall, outcome.stdout));
            }
            Ok((begun, Instant::now()))
        })
    };
    let spans = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let ends = workers.into_iter().map(|worker| worker.join());
        ends.map(|end| end.map_err(|_| anyhow!("a worker panicked"))?).collect::<Result<Vec<_>>>()
    })?;
    let begun = spans.iter().map(|span| span.0).min().context("no worker")?;
    let ended = spans.iter().map(|span| span.1).max().context("no worker")?;
    let mut all = Calls {
        latencies: Vec::new(),
        answers: Vec::new(),
        whole: ended - begun,
        cpu: processor_time()? - cpu,
    };
    for outcome in outcomes {
        let (wall, answer) = outcome.into_inner().context("a call was not made")?;
        all.latencies.push(wall);
        all.answers.push(answer);
    }
    Ok(all)
}
