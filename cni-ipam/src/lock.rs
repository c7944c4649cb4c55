//! The lock on which a node's allocations queue (`reference/ipam.md` section 13.3).
//!
//! It only spares the processes of one node lost races; what is correct doesn't rest on it. So a
//! lock that can't be had is logged and done without.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::oneshot;

const DEFAULT_PATH: &str = "/var/run/calico/ipam.lock";
/// How long to queue: one holder takes some milliseconds, so this is a queue of thousands, or a
/// holder that is stuck.
const PATIENCE: Duration = Duration::from_secs(15);

/// Waits for the lock; it is held until the answer is dropped. `path` is the configured one, or
/// empty.
pub async fn acquire(path: &str) -> Option<Flock<File>> {
    acquire_within(path, PATIENCE).await
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
    match queue(path, patience).await {
        Ok(lock) => Some(lock),
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
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
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

    #[tokio::test(flavor = "current_thread")]
    async fn a_waiter_gets_the_lock_when_it_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/ipam.lock");
        let path = path.to_str().unwrap();
        let first = acquire(path).await.unwrap();
        let mut second = std::pin::pin!(acquire(path));
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
        let stuck = acquire(path).await.unwrap();
        let patience = Duration::from_millis(50);
        let begun = std::time::Instant::now();
        assert!(acquire_within(path, patience).await.is_none());
        assert!(begun.elapsed() >= patience);
        // Whoever gave up doesn't take the lock when it is given back at last.
        drop(stuck);
        assert!(acquire(path).await.is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_lock_that_can_not_be_had_is_done_without() {
        assert!(acquire("/proc/nowhere/ipam.lock").await.is_none());
    }
}
