//! The results: `bench.json` is [`Report`], field by field; and the tables that are printed.

use serde::{Deserialize, Serialize};

use crate::breakdown::{Counts, Steps};
use crate::footprint::Footprint;
use crate::machine::Machine;
use crate::rounds::{Measured, Series};
use crate::site::Rival;
use crate::statistics::{Median, quantile};
use crate::table::Table;
use crate::targets::Target;

/// The number of the shape: another one means that a field has another name or meaning.
pub const SHAPE: u32 = 1;

/// All results of a run. Times are in milliseconds; a median is an object with its 95 % interval:
/// `{"median": 3.1, "low": 3.0, "high": 3.2}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SHAPE`].
    pub shape: u32,
    /// When the run ended: `2026-11-21`.
    pub date: String,
    /// The state of the repository, as `git describe` tells it.
    pub commit: String,
    /// How the run was asked for.
    pub command: String,
    /// What it ran on.
    pub machine: Machine,
    /// Times: one entry a rival, verb, number of workers, and number of pods there.
    pub cases: Vec<Case>,
    /// Where the time of a call of ours goes.
    pub steps: Vec<Steps>,
    /// What a call asks for.
    pub counts: Vec<Counts>,
    /// Memory and sizes.
    pub footprints: Vec<Footprint>,
    /// What is aimed at.
    pub targets: Vec<Target>,
    /// What was not measured, and why.
    pub notes: Vec<String>,
}

/// The times of a verb of a rival on a host, with so many workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Case {
    /// Who.
    pub rival: Rival,
    /// `ADD` or `DEL`.
    pub verb: String,
    /// How many called at once.
    pub workers: usize,
    /// How many pods were there already.
    pub pods: usize,
    /// How many rounds.
    pub rounds: usize,
    /// Quantiles of all calls' latencies.
    pub p50_ms: f64,
    /// The latency that 95 of 100 calls don't exceed.
    pub p95_ms: f64,
    /// The latency that 99 of 100 calls don't exceed.
    pub p99_ms: f64,
    /// Calls a second, all workers together: median of the rounds.
    pub rate: Median,
    /// Processor time of a call, user's and system's: median of the rounds.
    pub cpu_ms: Median,
    /// Latency against `ptp` with `host-local` in the same round, on a host as full.
    pub latency_to_ptp: Option<Median>,
    /// The same of calls a second.
    pub rate_to_ptp: Option<Median>,
    /// The latency of each call, smallest first.
    pub latencies_ms: Vec<f64>,
}

/// The cases of what was measured.
pub fn cases(measured: &[Measured]) -> Vec<Case> {
    let mut cases = Vec::new();
    for one in measured {
        let peer = measured.iter().find(|other| {
            other.rival == Rival::Ptp
                && other.workers == one.workers
                && (other.crowd > 0) == (one.crowd > 0)
        });
        for (verb, series, peer) in [
            ("ADD", &one.add, peer.map(|peer| &peer.add)),
            ("DEL", &one.del, peer.map(|peer| &peer.del)),
        ] {
            cases.extend(case(one, verb, series, peer));
        }
    }
    cases
}

fn case(measured: &Measured, verb: &str, series: &Series, peer: Option<&Series>) -> Option<Case> {
    let quantile = |q| quantile(&series.latency_ms, q);
    let round = |ms: &f64| (ms * 1e3).round() / 1e3;
    let mut latencies_ms: Vec<f64> = series.latency_ms.iter().map(round).collect();
    latencies_ms.sort_by(f64::total_cmp);
    let peer = peer.filter(|_| measured.rival != Rival::Ptp);
    Some(Case {
        rival: measured.rival,
        verb: verb.to_owned(),
        workers: measured.workers,
        pods: measured.crowd,
        rounds: series.rate.len(),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        rate: Median::of(&series.rate)?,
        cpu_ms: Median::of(&series.cpu_ms)?,
        latency_to_ptp: peer
            .and_then(|peer| Median::of_ratios(&series.typical_ms, &peer.typical_ms)),
        rate_to_ptp: peer.and_then(|peer| Median::of_ratios(&series.rate, &peer.rate)),
        latencies_ms,
    })
}

impl Report {
    /// Everything, for the terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}, {}, commit {}\nRatios are medians of pairs from one round, with their 95 % \
             interval. ptp is ptp + host-local.\n",
            self.machine.line(),
            self.command,
            self.date,
            self.commit,
        );
        let mut groups: Vec<(&str, usize, bool)> = Vec::new();
        for case in &self.cases {
            let group = (case.verb.as_str(), case.workers, case.pods > 0);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups.sort_by_key(|(verb, workers, full)| (*full, *workers, *verb));
        for (verb, workers, full) in groups {
            let cases = self.cases.iter().filter(|case| {
                case.verb == verb && case.workers == workers && (case.pods > 0) == full
            });
            text.push_str(&format!("\n{}", times(verb, workers, full, cases)));
        }
        text.push('\n');
        for section in [self.breakdown(), self.asked(), self.taken(), self.aims()] {
            text.push_str(&format!("{section}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("{note}\n"));
        }
        text
    }

    /// The part of README.md.
    pub fn readme(&self) -> String {
        let mut text = format!(
            "`{}` on {}, commit {}: {}. Ratios are medians of pairs from one round, with their 95 % \
             interval.\n\n{}\n",
            self.command,
            self.date,
            self.commit,
            self.machine.line(),
            self.aims(),
        );
        let most = self.cases.iter().map(|case| case.workers).max().unwrap_or(1);
        for workers in [1, most] {
            for verb in ["ADD", "DEL"] {
                let cases = self
                    .cases
                    .iter()
                    .filter(|case| case.verb == verb && case.workers == workers && case.pods == 0);
                text.push_str(&format!("\n{}", times(verb, workers, false, cases)));
            }
        }
        text.push_str(&format!("\n{}", self.breakdown()));
        text
    }

    /// Where the time goes: a row a step, a column a store.
    fn breakdown(&self) -> String {
        let of_verb = |verb: &'static str| {
            let columns: Vec<&Steps> = self.steps.iter().filter(|it| it.verb == verb).collect();
            let title = format!("{verb}: medians, ms");
            let head = columns.iter().map(|it| it.rival.name().trim_start_matches("calico, "));
            let head: Vec<&str> = std::iter::once(title.as_str()).chain(head).collect();
            let mut table = Table::new(&head);
            let mut row = |name: &str, of: &dyn Fn(&Steps) -> Option<f64>| {
                let cell = |it: &&Steps| of(it).map_or("–".to_owned(), |ms| format!("{ms:.2}"));
                table.row(std::iter::once(name.to_owned()).chain(columns.iter().map(cell)));
            };
            row("whole, as the caller sees it", &|it| Some(it.wall_ms));
            row("start and end of the process", &|it| Some(it.wall_ms - it.verb_ms));
            let mut names: Vec<&str> = Vec::new();
            for (name, _) in columns.iter().flat_map(|it| &it.steps) {
                if !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
            for name in names {
                row(name, &|it| it.steps.iter().find(|step| step.0 == name).map(|step| step.1));
            }
            table.text()
        };
        let steps = "The steps overlap, and `assign` and `release` hold a `commit`.";
        format!("{}\n{}\n{steps}\n", of_verb("ADD"), of_verb("DEL"))
    }

    /// What is asked of the kernel and of the store.
    fn asked(&self) -> String {
        let head = [
            "one call",
            "page faults",
            "syscalls",
            "netlink",
            "fsync",
            "programs",
            "children",
            "etcd",
        ];
        let mut table = Table::new(&head);
        let number = |count: Option<u64>| count.map_or("–".to_owned(), |count| count.to_string());
        for one in &self.counts {
            table.row([
                format!("{}, {}", one.verb, one.rival.name()),
                one.page_faults.to_string(),
                number(one.syscalls),
                number(one.netlink),
                number(one.syncs),
                number(one.programs),
                number(one.children),
                number(one.requests),
            ]);
        }
        table.text()
    }

    /// Memory and sizes.
    fn taken(&self) -> String {
        let mut table = Table::new(&["", "peak memory, MiB", "programs, MiB", "store, KiB a pod"]);
        for one in &self.footprints {
            let store = one.store_bytes_per_pod.map(|bytes| format!("{:.1}", bytes / 1024.0));
            table.row([
                one.rival.name().to_owned(),
                format!("{:.1}", one.peak_kib / 1024.0),
                format!("{:.1}", one.programs_bytes as f64 / f64::from(1 << 20)),
                store.unwrap_or_else(|| "–".to_owned()),
            ]);
        }
        table.text()
    }

    /// The targets.
    fn aims(&self) -> String {
        let mut table = Table::new(&["target", "limit", "measured", ""]);
        for target in &self.targets {
            let unit = match target.unit.as_str() {
                "ratio" | "requests" => String::new(),
                unit => format!(" {unit}"),
            };
            let sign = if target.more_is_better { "≥" } else { "≤" };
            table.row([
                target.what.clone(),
                format!("{sign} {}{unit}", target.limit),
                target.measured.map_or("–".to_owned(), |measured| ratio(&measured)),
                match target.is_met {
                    Some(true) => "met",
                    Some(false) => "NOT MET",
                    None => "not measured",
                }
                .to_owned(),
            ]);
        }
        table.text()
    }
}

fn times<'a>(
    verb: &str,
    workers: usize,
    full: bool,
    cases: impl Iterator<Item = &'a Case>,
) -> String {
    let cases: Vec<&Case> = cases.collect();
    let pods = cases.iter().map(|case| case.pods).max().unwrap_or(0);
    let place = if full { format!("{pods} pods") } else { "empty host".to_owned() };
    let plural = if workers == 1 { "" } else { "s" };
    let title = format!("{verb}, {workers} worker{plural}, {place}");
    let head = [title.as_str(), "p50 ms", "p95", "p99", "to ptp", "calls/s", "to ptp", "CPU ms"];
    let mut table = Table::new(&head);
    for case in cases {
        let to_ptp = |median: Option<Median>| median.map_or("–".to_owned(), |m| ratio(&m));
        table.row([
            case.rival.name().to_owned(),
            figure(case.p50_ms),
            figure(case.p95_ms),
            figure(case.p99_ms),
            to_ptp(case.latency_to_ptp),
            format!("{:.0}", case.rate.median),
            to_ptp(case.rate_to_ptp),
            figure(case.cpu_ms.median),
        ]);
    }
    table.text()
}

/// A median with its interval, if it has one.
fn ratio(median: &Median) -> String {
    let Median { median, low, high } = *median;
    match low == high {
        true => figure(median),
        false => format!("{} ({}–{})", figure(median), figure(low), figure(high)),
    }
}

/// A number with the digits that say something, so that it has five characters however large it is.
fn figure(number: f64) -> String {
    let digits = match number {
        _ if number < 0.1 => 3,
        _ if number < 10.0 => 2,
        _ if number < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$}")
}
