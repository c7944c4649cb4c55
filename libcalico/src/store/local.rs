//! The store in one file on this host: SQLite, shared by many processes, with the keys, the JSON,
//! the guards and the revisions that etcd has (`reference/crates-and-floor.md` section 3).
//!
//! A commit is one `BEGIN IMMEDIATE` transaction in write-ahead mode with `synchronous=FULL`: it is
//! on disk when it answers, and a process killed at any instant leaves either all of it or nothing.
//! SQLite blocks. A commit runs on a blocking thread: the kernel's part of a verb goes on while the
//! disk works. A read finds all in memory, mostly, and takes less time than waking a thread and being
//! woken by it; so it goes to the thread only where it has to wait. A lock of another process is
//! waited for here, not in SQLite, whose pauses grow to 100 ms and know no deadline.

mod database;
mod failure;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::{Instrument, debug_span};

use self::failure::Failure;
use super::commit;
use super::{
    Change, Committed, Prefix, Query, Revision, Snapshot, Store, StoreError, StoreErrorKind, Watch,
};

/// The first pause while another process holds the lock, and the longest one. A commit takes about
/// a millisecond.
const PAUSES: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(8));

/// A store in a file. Clones share one connection.
#[derive(Clone)]
pub struct LocalStore {
    path: Arc<PathBuf>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl LocalStore {
    /// The store in this file. Nothing is touched before the first call, which makes the file and
    /// its folder where they don't exist.
    pub fn new(path: &Path) -> LocalStore {
        LocalStore { path: Arc::new(path.to_owned()), connection: Arc::default() }
    }

    /// Whether there is no store at this place. Where only the file is gone, but not its log, there
    /// is a damaged one; where a link leads nowhere, it is away.
    pub fn is_absent(path: &Path) -> bool {
        !path.exists() && !database::has_log(path) && database::loose_link(path).is_none()
    }

    /// What SQLite finds wrong with the file; nothing where it is sound.
    pub async fn integrity(&self, deadline: Instant) -> Result<Vec<String>, StoreError> {
        self.run(deadline, Place::Aside, |connection, _| database::integrity(connection)).await
    }

    /// Runs `work` with the open database, again and again while another process is in the way, until
    /// the deadline.
    async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        place: Place,
        work: impl Fn(&mut Connection, &Gate) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let until = tokio::time::Instant::from_std(deadline);
        let lock = self.connection.clone().lock_owned();
        let Ok(mut slot) = tokio::time::timeout_at(until, lock).await else {
            return Err(self.error(StoreErrorKind::Unavailable, BUSY));
        };
        let (path, gate) = (self.path.clone(), Gate::default());
        // A store that has to be made first keeps the disk busy.
        if place == Place::HereFirst && path.exists() {
            match once(&mut slot, &path, |connection| work(connection, &gate)) {
                Err(Failure::Busy) => {}
                outcome => return outcome.map_err(|failure| failure.describe(&self.describe())),
            }
        }
        let worker = gate.clone();
        let task = tokio::task::spawn_blocking(move || {
            attempt(&mut slot, &path, deadline, |connection| work(connection, &worker))
        });
        match tokio::time::timeout_at(until, task).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(failure))) => Err(failure.describe(&self.describe())),
            Ok(Err(panic)) => Err(self.error(StoreErrorKind::Unknown, &panic.to_string())),
            Err(_) if gate.leave() => Err(self.error(StoreErrorKind::Unavailable, BUSY)),
            Err(_) => {
                let slow = "the disk didn't finish a commit before the deadline";
                Err(self.error(StoreErrorKind::Unknown, slow))
            }
        }
    }

    fn error(&self, kind: StoreErrorKind, reason: &str) -> StoreError {
        StoreError::new(kind, format!("{}: {reason}", self.describe()))
    }
}

/// Which thread works.
#[derive(PartialEq, Eq)]
enum Place {
    /// The caller's, unless it would have to wait.
    HereFirst,
    /// A blocking one.
    Aside,
}

/// Decides between a commit that is about to become durable and a caller who stops waiting for it:
/// only one of them gets through, so the caller knows whether anything can still happen.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicU8>);

impl Gate {
    const OPEN: u8 = 0;
    const PASSED: u8 = 1;
    const LEFT: u8 = 2;

    /// The commit goes ahead, unless the caller has left.
    fn pass(&self) -> bool {
        self.decide(Gate::PASSED)
    }

    /// The caller leaves, unless the commit went ahead.
    fn leave(&self) -> bool {
        self.decide(Gate::LEFT)
    }

    fn decide(&self, wanted: u8) -> bool {
        match self.0.compare_exchange(Gate::OPEN, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(earlier) => earlier == wanted,
        }
    }
}

/// What is said when a lock didn't come free.
const BUSY: &str = "another process or call held its lock until the deadline: see who with \
                    `fuser -v`, or allow more time";

/// Opens the database where it isn't open yet, and does the work.
fn once<T>(
    slot: &mut OwnedMutexGuard<Option<Connection>>,
    path: &Path,
    work: impl Fn(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match slot.as_mut() {
        Some(connection) => work(connection),
        None => database::open(path).and_then(|connection| work(slot.insert(connection))),
    }
}

/// The same until it isn't busy any more.
#[expect(clippy::disallowed_methods, reason = "SQLite tells nobody that a lock came free")]
fn attempt<T>(
    slot: &mut OwnedMutexGuard<Option<Connection>>,
    path: &Path,
    deadline: Instant,
    work: impl Fn(&mut Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut pause = PAUSES.0;
    loop {
        match once(slot, path, &work) {
            Err(Failure::Busy) => {
                // Differing pauses keep the waiting processes out of step.
                let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
                if Instant::now() + jittered >= deadline {
                    return Err(Failure::Busy);
                }
                thread::sleep(jittered);
                pause = PAUSES.1.min(pause * 2);
            }
            outcome => return outcome,
        }
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn read(&self, queries: &[Query], deadline: Instant) -> Result<Snapshot, StoreError> {
        let queries = queries.to_vec();
        let read =
            move |connection: &mut Connection, _: &Gate| database::read(connection, &queries);
        let answer = self.run(deadline, Place::HereFirst, read);
        let answer = answer.instrument(debug_span!("read")).await;
        fault_points::reach!("store.read");
        answer
    }

    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError> {
        let paths = commit::paths(changes)?;
        let changes = changes.to_vec();
        let path = self.path.clone();
        self.run(deadline, Place::Aside, move |connection, gate| {
            let committed = database::commit(connection, &changes, &paths, || gate.pass())?;
            watch::wake(&path);
            Ok(committed)
        })
        .instrument(debug_span!("commit"))
        .await
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(watch::LocalWatch::new(self.clone(), prefix.clone(), after).await?))
    }

    fn describe(&self) -> String {
        format!("local store {}", self.path.display())
    }

    fn is_embedded(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
