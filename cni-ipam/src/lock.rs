//! The lock on which a node's allocations queue (`reference/ipam.md` section 13.3).
//!
//! It only spares the processes of one node lost races; what is correct doesn't rest on it. So a
//! lock that can't be had is logged and done without. What is in its file: [`crate::recent`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::oneshot;

use crate::file::NoWait;
use crate::run::Deadline;

const DEFAULT_PATH: &str = "/var/run/calico/ipam.lock";
/// How long to queue: one holder takes some milliseconds, so this is a queue of thousands, or a
/// holder that is stuck.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for the lock, for no more than half of the time that the verb still has: what it guards has
/// to be done too. It is held until the answer is dropped. `path` is the configured one, or empty.
pub async fn acquire(path: &str, end: Deadline) -> Option<Flock<File>> {
    let left = end.end().saturating_duration_since(Instant::now());
    acquire_within(path, PATIENCE.min(left / 2)).await
}

/// Takes the lock if nobody has it. `path` is the configured one, or empty.
pub fn if_free(path: &str) -> Option<Flock<File>> {
    try_acquire(resolve(path))
}

fn resolve(path: &str) -> &Path {
    Path::new(if path.is_empty() { DEFAULT_PATH } else { path })
}

async fn acquire_within(path: &str, patience: Duration) -> Option<Flock<File>> {
    let path = resolve(path);
    fault_points::reach!("lock.queue");
    match queue(path, patience).await {
        Ok(lock) => {
            fault_points::reach!("lock.taken");
            Some(lock)
        }
        Err(error) => {
            tracing::warn!("going on without the lock {}: {error}", path.display());
            None
        }
    }
}

/// Takes the lock if it is free.
pub fn try_acquire(path: &Path) -> Option<Flock<File>> {
    Flock::lock(open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = options.no_wait().open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file")),
    }
}

async fn queue(path: &Path, patience: Duration) -> io::Result<Flock<File>> {
    hold(open(path)?, patience).await.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{error}; who holds it: fuser {}", path.display()),
        ),
        _ => error,
    })
}

/// A lock; dropping it gives it back.
pub type Held = Flock<File>;

/// Waits for the lock of an open file, whatever that is.
pub async fn hold(file: File, patience: Duration) -> io::Result<Held> {
    let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, errno)) => return Err(errno.into()),
    };
    // The kernel queues in order of arrival, but only those that wait inside of its call.
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("lock".into()).spawn(move || {
        // Nobody may listen any more: then the lock is dropped, and so given back.
        let _ = sender.send(Flock::lock(file, FlockArg::LockExclusive));
    })?;
    match tokio::time::timeout(patience, receiver).await {
        Ok(Ok(Ok(lock))) => Ok(lock),
        Ok(Ok(Err((_, errno)))) => Err(errno.into()),
        Ok(Err(_)) => Err(io::Error::other("the waiting thread ended")),
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("not free within {patience:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_waiter_gets_the_lock_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/ipam.lock");
        let path = path.to_str().unwrap();
        let first = acquire(path, soon()).await.unwrap();
        let mut second = std::pin::pin!(acquire(path, soon()));
        tokio::select! {
            biased;
            _ = &mut second => panic!("two have the lock"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        assert!(second.await.is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stuck_holder_is_waited_for_so_long_and_no_longer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipam.lock");
        let path = path.to_str().unwrap();
        let stuck = acquire(path, soon()).await.unwrap();
        let patience = Duration::from_millis(50);
        let begun = std::time::Instant::now();
        assert!(acquire_within(path, patience).await.is_none());
        assert!(begun.elapsed() >= patience);
        // Whoever gave up doesn't take the lock when it is given back at last.
        drop(stuck);
        assert!(acquire(path, soon()).await.is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lock_that_can_not_be_had_is_done_without() {
        assert!(acquire("/proc/nowhere/ipam.lock", soon()).await.is_none());
    }
}
