//! Whether a DEL or GC may take a pod's endpoint away (`reference/cni-plugin.md` sections 5.2 and
//! 5.9): the container's id decides. Decisions only; the requests are their caller's.

use std::collections::BTreeSet;
use std::time::Duration;

use super::failure::{Failure, FailureKind};
use super::pod_endpoint::PodRecord;

/// How often a change that somebody else forestalled is tried.
pub const ATTEMPTS: u32 = 6;
/// The longest pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// What a DEL does after it has looked for the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterGet {
    /// The endpoint is gone, or another sandbox's: go on with the addresses, whose handle is the
    /// container's own.
    Leave,
    /// Empty the pod's addresses: [`super::patch::of_removal`].
    Remove,
    /// Whose it is can't be known now: fail, and the runtime tries again.
    Fail,
}

/// What a DEL does after it has asked for the removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterRemoval {
    /// Go on with the addresses.
    Done,
    /// Look again after this pause.
    Again(Duration),
    /// Fail.
    Fail,
}

/// Decides on what a GET of the pod has brought.
pub fn after_get(
    answer: Result<&PodRecord, FailureKind>,
    node: &str,
    container_id: &str,
) -> AfterGet {
    match answer {
        Err(FailureKind::NotFound) => AfterGet::Leave,
        Err(_) => AfterGet::Fail,
        Ok(pod) if !pod.has_endpoint_on(node) => AfterGet::Leave,
        Ok(pod) if pod.container_id.is_empty() || pod.container_id == container_id => {
            AfterGet::Remove
        }
        Ok(_) => AfterGet::Leave,
    }
}

/// Decides on what the removal has brought. `attempt` counts from 1; `random` is from 0 to 1.
pub fn after_removal(answer: Result<(), &Failure>, attempt: u32, random: f64) -> AfterRemoval {
    match answer.map_err(|failure| failure.kind) {
        Ok(()) | Err(FailureKind::NotFound | FailureKind::Unsupported) => AfterRemoval::Done,
        Err(FailureKind::Conflict) if attempt < ATTEMPTS => {
            AfterRemoval::Again(pause(attempt, random))
        }
        Err(_) => AfterRemoval::Fail,
    }
}

/// A pod changes often while it ends: who was forestalled waits a little, and not all the same.
fn pause(attempt: u32, random: f64) -> Duration {
    let longest = FIRST_PAUSE * 2u32.saturating_pow(attempt.saturating_sub(1).min(ATTEMPTS));
    longest.mul_f64(random.clamp(0.0, 1.0))
}

/// Whether GC may empty a pod's addresses: it runs here, and none of the sandboxes that the runtime
/// knows has them.
pub fn is_garbage(pod: &PodRecord, node: &str, valid: &BTreeSet<&str>) -> bool {
    pod.has_endpoint_on(node)
        && pod.has_addresses
        && !pod.container_id.is_empty()
        && !valid.contains(pod.container_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(container_id: &str) -> PodRecord {
        PodRecord {
            node: "node-a1".into(),
            container_id: container_id.into(),
            has_addresses: true,
            ..PodRecord::default()
        }
    }

    fn failure(kind: FailureKind) -> Failure {
        Failure { kind, status: 0, request: String::new(), message: String::new() }
    }

    #[test]
    fn the_containers_id_decides() {
        let elsewhere = PodRecord { node: "node-b".into(), ..pod("x") };
        let host_network = PodRecord { host_network: true, ..pod("x") };
        let unscheduled = PodRecord { node: String::new(), ..pod("x") };
        for (answer, expected) in [
            (Ok(&pod("x")), AfterGet::Remove),
            // Nobody has written whose it is.
            (Ok(&pod("")), AfterGet::Remove),
            // K27, K28: a DEL of a sandbox that was replaced.
            (Ok(&pod("y")), AfterGet::Leave),
            (Ok(&elsewhere), AfterGet::Leave),
            (Ok(&host_network), AfterGet::Leave),
            (Ok(&unscheduled), AfterGet::Leave),
            (Err(FailureKind::NotFound), AfterGet::Leave),
            (Err(FailureKind::Unauthorized), AfterGet::Fail),
            (Err(FailureKind::Unavailable), AfterGet::Fail),
            (Err(FailureKind::Refused), AfterGet::Fail),
        ] {
            assert_eq!(after_get(answer, "node-a1", "x"), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_conflict_is_tried_again_and_nothing_else() {
        use FailureKind::*;
        for kind in [NotFound, Unsupported] {
            assert_eq!(after_removal(Err(&failure(kind)), 1, 0.5), AfterRemoval::Done);
        }
        for kind in [AlreadyExists, Unauthorized, Expired, Unavailable, Refused] {
            assert_eq!(after_removal(Err(&failure(kind)), 1, 0.5), AfterRemoval::Fail);
        }
        assert_eq!(after_removal(Ok(()), ATTEMPTS, 0.5), AfterRemoval::Done);
        let conflict = failure(Conflict);
        let pauses: Vec<AfterRemoval> =
            (1..=ATTEMPTS).map(|attempt| after_removal(Err(&conflict), attempt, 0.5)).collect();
        let millis = [10, 20, 40, 80, 160].map(Duration::from_millis).map(AfterRemoval::Again);
        assert_eq!(pauses[..5], millis);
        assert_eq!(pauses[5], AfterRemoval::Fail);
        assert_eq!(after_removal(Err(&conflict), 3, 0.0), AfterRemoval::Again(Duration::ZERO));
        assert_eq!(after_removal(Err(&conflict), 0, 7.0), AfterRemoval::Again(FIRST_PAUSE));
    }

    #[test]
    fn garbage_is_what_no_valid_sandbox_has() {
        let valid = BTreeSet::from(["x"]);
        let is_garbage = |pod: PodRecord| is_garbage(&pod, "node-a1", &valid);
        assert!(is_garbage(pod("y")));
        assert!(!is_garbage(pod("x")));
        assert!(!is_garbage(pod("")), "nobody knows whose it is");
        assert!(!is_garbage(PodRecord { node: "node-b".into(), ..pod("y") }));
        assert!(!is_garbage(PodRecord { host_network: true, ..pod("y") }));
        assert!(!is_garbage(PodRecord { has_addresses: false, ..pod("y") }));
    }
}
