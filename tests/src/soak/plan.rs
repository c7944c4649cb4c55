//! What is going to happen, out of a seed: the faults and their times, and what each worker does
//! next. Real processes take their own time, so the same plan meets them at other instants; what is
//! planned is the same.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Before the first fault.
const QUIET: Duration = Duration::from_secs(2);
/// The shortest and the longest time from the beginning of a fault to the next one of its track.
const PERIODS: (Duration, Duration) = (Duration::from_millis(2500), Duration::from_secs(8));

/// A fault of the surroundings. Nodes and members have numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A member is killed and restarted.
    MemberKilled(usize),
    /// All members but one are.
    MajorityKilled(usize),
    /// The leader stands still.
    LeaderPaused,
    /// The leader's wire is down: nobody reaches it.
    LeaderCut,
    /// A node's interface is down.
    NodeCut(usize),
    /// A node's wire is down at its other end: what it sends is lost.
    NodeSilenced(usize),
    /// A node's clock is wrong by so many seconds.
    Clock(usize, i64),
    /// The file system of the local store is full.
    DiskFull,
    /// It is read-only for whoever opens it now.
    ReadOnly,
    /// Somebody's tool holds the local store's lock.
    LockHeld,
}

impl Fault {
    /// Whether calls may fail while it lasts.
    pub(super) fn excuses(self) -> bool {
        !matches!(self, Fault::Clock(..))
    }
}

/// A fault with its time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) lasts: Duration,
    pub(super) fault: Fault,
}

/// What is going to happen.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    /// The faults, by who does them: two of different tracks may coincide.
    pub(super) tracks: [Vec<Planned>; 2],
}

/// Something that a worker may do with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Del,
    Check,
    AddAgain,
    Gc,
}

/// What is done to the process of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// Nothing.
    Whole,
    /// It is killed after this part of the time that such a call takes.
    KilledAfter(f64),
    /// It kills itself at one of its points: this part of all of them.
    KilledAt(f64),
    /// It stands still at one of its points, for a while.
    StoppedAt(f64, Duration),
}

impl Plan {
    pub(super) fn new(seed: u64, length: Duration, nodes: usize, members: usize) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let node = |rng: &mut StdRng| rng.random_range(0..nodes);
        let clocks = [3600, -86_400].map(|by| Fault::Clock(node(rng), by));
        let tracks = match members {
            0 => [vec![Fault::DiskFull, Fault::ReadOnly, Fault::LockHeld], clocks.to_vec()],
            _ => [
                vec![
                    Fault::MemberKilled(rng.random_range(0..members)),
                    Fault::MajorityKilled(rng.random_range(0..members)),
                    Fault::LeaderPaused,
                    Fault::LeaderCut,
                ],
                [vec![Fault::NodeCut(node(rng)), Fault::NodeSilenced(node(rng))], clocks.to_vec()]
                    .concat(),
            ],
        };
        let tracks = tracks.map(|kinds| schedule(kinds, length, rng));
        Plan { seed, tracks }
    }

    /// The choices of a worker.
    pub(super) fn worker(&self, number: usize) -> Choices {
        Choices(StdRng::seed_from_u64(self.seed ^ (number as u64 + 1).rotate_left(32)))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        for planned in self.tracks.iter().flatten() {
            let Planned { at, lasts, fault } = planned;
            write!(
                f,
                "\n  {:6.2} s, for {:.2} s: {fault:?}",
                at.as_secs_f32(),
                lasts.as_secs_f32()
            )?;
        }
        Ok(())
    }
}

/// Every kind of fault once, in some order; then again, while there is time.
fn schedule(mut kinds: Vec<Fault>, length: Duration, rng: &mut StdRng) -> Vec<Planned> {
    let share = length.saturating_sub(QUIET) / u32::try_from(kinds.len()).unwrap_or(1);
    let period = share.clamp(PERIODS.0, PERIODS.1);
    let mut planned = Vec::new();
    let mut begin = QUIET;
    loop {
        kinds.shuffle(rng);
        for fault in &kinds {
            let at = begin + period.mul_f64(rng.random_range(0.0..0.2));
            let lasts = period.mul_f64(rng.random_range(0.3..0.6));
            begin += period;
            if begin > length {
                return planned;
            }
            planned.push(Planned { at, lasts, fault: *fault });
        }
    }
}

/// What a worker does, one choice after the other.
#[derive(Debug)]
pub(super) struct Choices(StdRng);

impl Choices {
    /// One of so many.
    pub(super) fn one_of(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// True so often.
    pub(super) fn chance(&mut self, part: f64) -> bool {
        self.0.random_bool(part)
    }

    /// With a container that is attached.
    pub(super) fn choice(&mut self) -> Choice {
        match self.0.random_range(0..100) {
            0..45 => Choice::Del,
            45..85 => Choice::Check,
            85..95 => Choice::AddAgain,
            _ => Choice::Gc,
        }
    }

    /// Of a process.
    pub(super) fn fate(&mut self) -> Fate {
        let part = self.0.random_range(0.0..1.0);
        match self.0.random_range(0..100) {
            0..70 => Fate::Whole,
            70..85 => Fate::KilledAfter(part * 1.2),
            85..95 => Fate::KilledAt(part),
            _ => {
                let pause = Duration::from_millis(self.0.random_range(20..400));
                Fate::StoppedAt(part, pause)
            }
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Whole => write!(f, "whole"),
            Fate::KilledAfter(part) => write!(f, "killed after {part:.2} of its time"),
            Fate::KilledAt(part) => write!(f, "killed at {part:.2} of its points"),
            Fate::StoppedAt(part, pause) => {
                write!(f, "stopped at {part:.2} of its points for {} ms", pause.as_millis())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_plan_and_a_short_one_has_every_fault() {
        let text = |seed| Plan::new(seed, Duration::from_secs(20), 3, 3).to_string();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
        for (seconds, members, kinds) in [(20, 3, [4, 4]), (20, 0, [3, 2]), (12, 3, [4, 4])] {
            let plan = Plan::new(7, Duration::from_secs(seconds), 3, members);
            for (track, kinds) in plan.tracks.iter().zip(kinds) {
                let mut seen: Vec<String> =
                    track.iter().map(|planned| format!("{:?}", planned.fault)).collect();
                let in_turn = track.windows(2).all(|two| two[0].at + two[0].lasts < two[1].at);
                assert!(in_turn, "{plan}");
                seen.sort();
                seen.dedup();
                assert_eq!(seen.len(), kinds, "{plan}");
            }
        }
        let (one, same) = (Plan::new(7, QUIET, 1, 0), Plan::new(7, QUIET, 1, 0));
        let choices = |plan: &Plan| {
            let mut choices = plan.worker(2);
            (0..50).map(|_| choices.fate().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(choices(&one), choices(&same));
    }
}
