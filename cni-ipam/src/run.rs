//! One verb in a runtime: a deadline, and signals that end it in order.

use std::future::Future;
use std::time::{Duration, Instant};

use cni::code;
use tokio::signal::unix::{SignalKind, signal};

/// How long a verb may take in all; what is begun is undone when the time is over.
pub const ADD_LIMIT: Duration = Duration::from_secs(60);
/// How long another IPAM plugin's DEL may take, which is also what takes a failed ADD back.
pub const DEL_LIMIT: Duration = Duration::from_secs(20);
/// How long a verb may wait for the datastore. A runtime tries ADD again by itself.
pub const STORE_LIMIT: Duration = Duration::from_secs(10);
/// How long DEL waits for the datastore: a pod mustn't be stuck because a server is gone.
pub const DEL_STORE_LIMIT: Duration = Duration::from_secs(4);
/// How long STATUS and the self-test wait: they answer a question about now.
pub const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// The instant at which a wait of this length, begun now, is over.
pub fn deadline(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or(now)
}

/// Runs a verb to its end on a runtime of its own.
pub fn block_on<T>(verb: impl Future<Output = Result<T, cni::Error>>) -> Result<T, cni::Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            cni::Error::new(code::INTERNAL, format!("the runtime can't be started: {error}"))
        })?;
    runtime.block_on(verb)
}

/// Answers an error once the process is told to end (SIGTERM, SIGINT, SIGHUP) or `limit` is over.
pub async fn interrupted(limit: Duration) -> cni::Error {
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
        () = told => cni::Error::new(
            code::TRY_AGAIN_LATER,
            "ended by a signal before it was done; what it began is undone",
        ),
        () = tokio::time::sleep(limit) => cni::Error::new(
            code::TRY_AGAIN_LATER,
            format!("not done within {} s; what it began is undone", limit.as_secs()),
        ),
    }
}
