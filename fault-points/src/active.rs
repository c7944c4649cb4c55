//! What happens at a point, in a build that has them.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, raise};

use crate::{CLOCK, VARIABLE};

enum Plan {
    Nothing,
    Trace(PathBuf),
    Signal { signal: Signal, name: String, count: usize, reached: AtomicUsize },
}

static PLAN: OnceLock<Plan> = OnceLock::new();

/// What [`reach!`](crate::reach) calls.
pub fn reached(name: &str) {
    match PLAN.get_or_init(plan) {
        Plan::Nothing => {}
        Plan::Trace(path) => {
            // One write a line: whole lines, whoever else writes.
            let file = File::options().create(true).append(true).open(path);
            let written = file.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes()));
            written.unwrap_or_else(|error| panic!("{VARIABLE}: {}: {error}", path.display()));
        }
        Plan::Signal { signal, name: wanted, count, reached } => {
            if name == wanted && reached.fetch_add(1, Ordering::Relaxed) + 1 == *count {
                let _ = raise(*signal);
            }
        }
    }
}

/// What [`clock_error!`](crate::clock_error) calls.
pub fn clock_error() -> i64 {
    static SECONDS: OnceLock<i64> = OnceLock::new();
    *SECONDS.get_or_init(|| match std::env::var(CLOCK) {
        Err(_) => 0,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{CLOCK} is {text:?}: no seconds")),
    })
}

fn plan() -> Plan {
    let Ok(text) = std::env::var(VARIABLE) else { return Plan::Nothing };
    let words: Vec<&str> = text.split(' ').collect();
    let signal = |signal, name: &str, count: &str| {
        let count = count.parse().ok()?;
        Some(Plan::Signal { signal, name: name.into(), count, reached: AtomicUsize::new(0) })
    };
    let plan = match words[..] {
        ["trace", path] => Some(Plan::Trace(path.into())),
        ["kill", name, count] => signal(Signal::SIGKILL, name, count),
        ["stop", name, count] => signal(Signal::SIGSTOP, name, count),
        _ => None,
    };
    // A typing error in a test must not look like a point that is never reached.
    plan.unwrap_or_else(|| panic!("{VARIABLE} is {text:?}: see the table in fault-points"))
}
