//! What is aimed at, and whether it was reached. A target that is missed is no error: timing is no
//! test's verdict.

use serde::{Deserialize, Serialize};

use crate::breakdown::Counts;
use crate::footprint::Footprint;
use crate::rounds::{Measured, Series};
use crate::site::Rival;
use crate::statistics::Median;

/// What upstream's plugin takes beside `ptp` with `host-local`, in one run on one machine (Calico's
/// main of August 2026, etcd 3.4 on loopback): 149 ms for 11.8 ms, and 7.8 ADDs a second for 95.8.
/// It isn't here to be measured, so ours is held against `ptp`, and `ptp` against upstream; on either
/// store, though upstream has no store of its own to do without etcd.
const UPSTREAM_LATENCY: f64 = 149.0 / 11.8;
const UPSTREAM_RATE: f64 = 7.8 / 95.8;

/// The most workers that a target is about.
const MANY: usize = 32;

/// A target, and what was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    /// What was measured.
    pub what: String,
    /// `ratio`, `ms`, `MiB` or `requests`.
    pub unit: String,
    /// Whether more is better.
    pub more_is_better: bool,
    /// The limit.
    pub limit: f64,
    /// The measure; none if this run was not about it.
    pub measured: Option<Median>,
    /// Whether the median is on the right side.
    pub is_met: Option<bool>,
}

/// All that was measured.
pub struct Evidence<'a> {
    /// Times.
    pub measured: &'a [Measured],
    /// Counts.
    pub counts: &'a [Counts],
    /// Memory and sizes.
    pub footprints: &'a [Footprint],
}

impl Evidence<'_> {
    /// Every target.
    pub fn targets(&self) -> Vec<Target> {
        use Rival::{Etcd, Floor, Local, Ptp};
        let add = |rival, workers, full| self.find(rival, workers, full).map(|case| &case.add);
        let del = |rival| self.find(rival, 1, false).map(|case| &case.del);
        let latency = |above: Option<&Series>, below: Option<&Series>| {
            Median::of_ratios(&above?.typical_ms, &below?.typical_ms)
        };
        let rate = |above: Option<&Series>, below: Option<&Series>| {
            Median::of_ratios(&above?.rate, &below?.rate)
        };
        let one = |rival| add(rival, 1, false);
        let many = |rival| add(rival, MANY, false);
        let crowded = |rival| latency(add(rival, 1, true), one(rival));
        let cpu = |rival| Median::of(&one(rival)?.cpu_ms);
        let upstream =
            |rival| latency(one(rival), one(Ptp)).map(|ratio| ratio.times(1.0 / UPSTREAM_LATENCY));
        let upstream_rate =
            |rival| rate(many(rival), many(Ptp)).map(|ratio| ratio.times(1.0 / UPSTREAM_RATE));
        vec![
            at_most("ADD, local store, against ptp", 0.40, latency(one(Local), one(Ptp))),
            at_most("ADD, etcd, against ptp", 0.50, latency(one(Etcd), one(Ptp))),
            at_least(
                "ADDs a second, 32 workers, local store, against ptp",
                3.0,
                rate(many(Local), many(Ptp)),
            ),
            at_most("ADD on a full host against an empty one, local store", 1.25, crowded(Local)),
            at_most("ADD on a full host against an empty one, etcd", 1.25, crowded(Etcd)),
            at_most("ADD, local store, against the floor", 3.0, latency(one(Local), one(Floor))),
            at_most("DEL, local store, against ptp", 0.40, latency(del(Local), del(Ptp))),
            at_most("DEL, etcd, against ptp", 0.40, latency(del(Etcd), del(Ptp))),
            at_most("ADD, local store, against upstream (by ptp)", 0.03, upstream(Local)),
            at_most("ADD, etcd, against upstream (by ptp)", 0.03, upstream(Etcd)),
            at_least(
                "ADDs a second, 32 workers, local store, against upstream (by ptp)",
                50.0,
                upstream_rate(Local),
            ),
            at_least(
                "ADDs a second, 32 workers, etcd, against upstream (by ptp)",
                50.0,
                upstream_rate(Etcd),
            ),
            at_most("processor time of an ADD, local store", 3.0, cpu(Local)).in_units("ms"),
            at_most("processor time of an ADD, etcd", 3.0, cpu(Etcd)).in_units("ms"),
            at_most("peak memory of a process", 8.0, self.peak()).in_units("MiB"),
            at_most("calico and calico-ipam", 8.0, self.size()).in_units("MiB"),
            at_most("requests to etcd of an ADD", 5.0, self.requests("ADD")).in_units("requests"),
            at_most("requests to etcd of a DEL", 4.0, self.requests("DEL")).in_units("requests"),
        ]
    }

    fn find(&self, rival: Rival, workers: usize, full: bool) -> Option<&Measured> {
        self.measured
            .iter()
            .find(|case| case.rival == rival && case.workers == workers && (case.crowd > 0) == full)
    }

    fn peak(&self) -> Option<Median> {
        let ours = self.footprints.iter().filter(|footprint| footprint.rival.is_ours());
        let peak = ours.map(|footprint| footprint.peak_kib).max_by(f64::total_cmp)?;
        Some(Median::exactly(peak / 1024.0))
    }

    fn size(&self) -> Option<Median> {
        let ours = self.footprints.iter().find(|footprint| footprint.rival.is_ours())?;
        Some(Median::exactly(ours.programs_bytes as f64 / f64::from(1 << 20)))
    }

    fn requests(&self, verb: &str) -> Option<Median> {
        let counts = self.counts.iter().filter(|count| count.verb == verb);
        let requests = counts.filter_map(|count| count.requests).max()?;
        Some(Median::exactly(requests as f64))
    }
}

impl Target {
    fn in_units(self, unit: &str) -> Target {
        Target { unit: unit.to_owned(), ..self }
    }
}

fn at_most(what: &str, limit: f64, measured: Option<Median>) -> Target {
    let is_met = measured.map(|measured| measured.median <= limit);
    let (what, unit) = (what.to_owned(), "ratio".to_owned());
    Target { what, unit, more_is_better: false, limit, measured, is_met }
}

fn at_least(what: &str, limit: f64, measured: Option<Median>) -> Target {
    let is_met = measured.map(|measured| measured.median >= limit);
    Target { more_is_better: true, is_met, ..at_most(what, limit, measured) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rival: Rival, workers: usize, crowd: usize, ms: f64) -> Measured {
        let series = Series {
            latency_ms: vec![ms; 9],
            typical_ms: vec![ms; 9],
            rate: vec![1e3 / ms; 9],
            cpu_ms: vec![ms / 2.0; 9],
        };
        Measured { rival, crowd, workers, add: series.clone(), del: series }
    }

    #[test]
    fn targets_are_met_on_their_own_side_and_open_where_nothing_was_measured() {
        let measured = [
            case(Rival::Ptp, 1, 0, 12.0),
            case(Rival::Local, 1, 0, 3.0),
            case(Rival::Local, 1, 1000, 6.0),
            case(Rival::Ptp, 32, 0, 100.0),
            case(Rival::Local, 32, 0, 40.0),
        ];
        let evidence = Evidence { measured: &measured, counts: &[], footprints: &[] };
        let targets = evidence.targets();
        let found = |what: &str| {
            let target = targets.iter().find(|target| target.what == what).unwrap();
            (target.measured.map(|measured| measured.median), target.is_met)
        };
        assert_eq!(found("ADD, local store, against ptp"), (Some(0.25), Some(true)));
        assert_eq!(
            found("ADDs a second, 32 workers, local store, against ptp"),
            (Some(2.5), Some(false))
        );
        assert_eq!(
            found("ADD on a full host against an empty one, local store"),
            (Some(2.0), Some(false))
        );
        assert_eq!(found("ADD, etcd, against ptp"), (None, None));
        assert_eq!(found("processor time of an ADD, local store"), (Some(1.5), Some(true)));
    }
}
