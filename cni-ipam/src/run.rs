//! One verb in a runtime: a deadline for all that it does, and signals that end it in order.
//!
//! The limits here are those of parts; the whole has [`NetConf::end_of`](crate::conf::NetConf::end_of).

use std::future::Future;
use std::time::{Duration, Instant};

use cni::code;
use tokio::signal::unix::{SignalKind, signal};

/// How long another IPAM plugin's DEL may take, which is also what takes a failed ADD back.
pub const DEL_LIMIT: Duration = Duration::from_secs(20);
/// How long a verb may wait for the datastore. A runtime tries ADD again by itself.
pub const STORE_LIMIT: Duration = Duration::from_secs(10);
/// How long DEL waits for the datastore: a pod mustn't be stuck because a server is gone.
pub const DEL_STORE_LIMIT: Duration = Duration::from_secs(4);
/// How long STATUS and the self-test wait: they answer a question about now.
pub const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// The end of a verb: no part of it may last longer.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(limit: Duration) -> Deadline {
        Deadline(deadline(limit))
    }

    /// The end of a part, begun now, that may take so long, and no longer than the whole.
    pub fn within(self, limit: Duration) -> Instant {
        self.0.min(deadline(limit))
    }

    /// The end of the whole.
    pub fn end(self) -> Instant {
        self.0
    }
}

/// The instant at which a wait of this length, begun now, is over.
pub fn deadline(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or(now)
}

/// Runs a verb that has nothing to undo, on a runtime of its own: until it is done, its time is over,
/// or a signal ends it.
pub fn block_on<T>(
    end: Deadline,
    verb: impl Future<Output = Result<T, cni::Error>>,
) -> Result<T, cni::Error> {
    block_on_unbounded(async {
        tokio::select! {
            // Signals are watched before anything is begun.
            biased;
            why = interrupted(end) => Err(why.error("the next call goes on with what is left")),
            outcome = verb => outcome,
        }
    })
}

/// The same for a verb that looks after its end itself.
pub fn block_on_unbounded<T>(
    verb: impl Future<Output = Result<T, cni::Error>>,
) -> Result<T, cni::Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            cni::Error::new(code::INTERNAL, format!("the runtime can't be started: {error}"))
        })?;
    let outcome = runtime.block_on(verb);
    if outcome.is_ok() {
        // PERF: the process ends with its answer, and nothing is under way any more. Taking threads
        // and sockets down one by one first would be a tenth of an ADD. After a failure a thread may
        // still wait for another plugin, and is waited for.
        std::mem::forget(runtime);
    }
    outcome
}

/// Why a verb ends before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The process was told to end.
    Signal,
    /// The verb's time is over.
    Late,
}

impl Interruption {
    /// The answer, which says what becomes of the work.
    pub fn error(self, what_now: &str) -> cni::Error {
        let why = match self {
            Interruption::Signal => "ended by a signal before it was done",
            Interruption::Late => "not done when its time was over (see \"timeout_seconds\")",
        };
        cni::Error::new(code::TRY_AGAIN_LATER, format!("{why}; {what_now}"))
    }
}

/// Returns once the process is told to end (SIGTERM, SIGINT, SIGHUP) or the time is over.
pub async fn interrupted(end: Deadline) -> Interruption {
    let told = async {
        let mut signals = Vec::new();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            match signal(kind) {
                Ok(one) => signals.push(one),
                Err(error) => tracing::warn!("signals can't be watched: {error}"),
            }
        }
        if signals.is_empty() {
            return std::future::pending().await;
        }
        std::future::poll_fn(|context| {
            if signals.iter_mut().any(|one| one.poll_recv(context).is_ready()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
    };
    tokio::select! {
        () = told => Interruption::Signal,
        () = tokio::time::sleep_until(end.end().into()) => Interruption::Late,
    }
}
