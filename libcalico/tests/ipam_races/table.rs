//! The table that the actors of a race sit at: one store, of which each request waits for its turn.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Instant;

use async_trait::async_trait;
use libcalico::resources::Kind;
use libcalico::store::{
    Action, Change, Committed, Document, Key, MemoryStore, Prefix, Query, Revision, Snapshot,
    Store, StoreError, Watch,
};
use time::OffsetDateTime;

use crate::monitor::Monitor;

/// When the races take place.
const START: i64 = 1_787_405_600;

pub struct Table {
    pub store: MemoryStore,
    seats: Mutex<Vec<Seat>>,
    monitor: Mutex<Monitor>,
    versions: Mutex<Versions>,
    /// Nanoseconds since the start.
    clock: AtomicI64,
    /// What the clock advances with each commit; else it only advances when a block is deleted,
    /// so that a new block of the same network has a higher sequence number.
    tick: i64,
    trace: Option<Mutex<Vec<String>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    waiting: bool,
    granted: bool,
    /// The last request changed something.
    wrote: bool,
    /// All that it was answered so far.
    heard: u64,
}

/// How often each key was written: unlike revisions this doesn't tell in which order independent
/// writes came, so states that differ in nothing else count as one.
#[derive(Default)]
struct Versions {
    /// The number of writes, and the hash of the key with its value.
    of: HashMap<Key, (u64, u64)>,
    /// The sum of the hashes.
    hash: u64,
}

/// The store as one actor sees it.
pub struct Seated {
    table: Arc<Table>,
    seat: usize,
}

impl Table {
    pub fn new(monitor: Monitor, seats: usize, tick: i64, traced: bool) -> Arc<Table> {
        Arc::new(Table {
            store: MemoryStore::new(),
            seats: Mutex::new(vec![Seat::default(); seats]),
            monitor: Mutex::new(monitor),
            versions: Mutex::default(),
            clock: AtomicI64::new(0),
            tick,
            trace: traced.then(Mutex::default),
        })
    }

    pub fn seat(self: &Arc<Table>, seat: usize) -> Arc<dyn Store> {
        Arc::new(Seated { table: self.clone(), seat })
    }

    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().expect("nobody panicked")
    }

    pub fn now(&self) -> OffsetDateTime {
        let start = OffsetDateTime::from_unix_timestamp(START).expect("a time");
        start + time::Duration::nanoseconds(self.clock.load(Ordering::Relaxed))
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000_000_000, Ordering::Relaxed);
    }

    /// Lets the actor make its next request.
    pub fn grant(&self, seat: usize) {
        let seat = &mut self.seats()[seat];
        seat.granted = true;
        seat.wrote = false;
    }

    /// Whether the actor waits for its turn; else it sleeps.
    pub fn is_waiting(&self, seat: usize) -> bool {
        self.seats()[seat].waiting
    }

    pub fn wrote(&self, seat: usize) -> bool {
        self.seats()[seat].wrote
    }

    /// What decides about all that can follow: the documents, and what each actor has heard.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.versions().hash.hash(&mut hasher);
        self.clock.load(Ordering::Relaxed).hash(&mut hasher);
        for seat in self.seats().iter() {
            seat.heard.hash(&mut hasher);
        }
        hasher.finish()
    }

    pub fn trace(&self) -> String {
        let lines = self.trace.as_ref().map(|trace| trace.lock().expect("nobody panicked").clone());
        lines.unwrap_or_default().join("\n")
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().expect("nobody panicked")
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().expect("nobody panicked")
    }

    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.lock().expect("nobody panicked").push(line());
        }
    }

    fn heard(&self, seat: usize, documents: &[&Document], outcome: u8) {
        let mut hasher = DefaultHasher::new();
        let mut seats = self.seats();
        let versions = self.versions();
        (seats[seat].heard, outcome, self.clock.load(Ordering::Relaxed)).hash(&mut hasher);
        for document in documents {
            let version = versions.of.get(&document.key).map(|(version, _)| version);
            (&document.key, &document.value, version).hash(&mut hasher);
        }
        seats[seat].heard = hasher.finish();
    }

    async fn turn(&self, seat: usize) {
        poll_fn(|_| {
            let seat = &mut self.seats()[seat];
            seat.waiting = !seat.granted;
            if std::mem::take(&mut seat.granted) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn wrote_changes(&self, seat: usize, changes: &[Change]) {
        let mut versions = self.versions();
        let mut deleted = false;
        for change in changes {
            let (key, value) = match &change.action {
                Action::Check => continue,
                Action::Put(value) => (&change.key, Some(value)),
                Action::Delete => (&change.key, None),
            };
            deleted |= value.is_none() && matches!(key, Key::Block(_));
            let (version, old) = versions.of.get(key).copied().unwrap_or_default();
            let new = hash_of(&(key, value, version + 1));
            versions.of.insert(key.clone(), (version + 1, new));
            versions.hash = versions.hash.wrapping_sub(old).wrapping_add(new);
        }
        drop(versions);
        let tick = if self.tick > 0 { self.tick } else { i64::from(deleted) * 1_000_000 };
        self.clock.fetch_add(tick, Ordering::Relaxed);
        self.seats()[seat].wrote = true;
    }
}

pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Pools, nodes, reservations and the configuration don't change during a race: when they are read
/// makes no difference, so that takes no turn.
fn is_fixed(queries: &[Query]) -> bool {
    queries.iter().all(|query| {
        matches!(
            query,
            Query::Key(Key::IpamConfig | Key::Resource { .. })
                | Query::Prefix(Prefix::Resources {
                    kind: Kind::IpPool | Kind::IpReservation | Kind::Node,
                    ..
                })
        )
    })
}

#[async_trait]
impl Store for Seated {
    async fn read(&self, queries: &[Query], deadline: Instant) -> Result<Snapshot, StoreError> {
        let table = &self.table;
        if is_fixed(queries) {
            return table.store.read(queries, deadline).await;
        }
        table.turn(self.seat).await;
        let snapshot = table.store.read(queries, deadline).await?;
        table.note(|| {
            let found: usize = snapshot.results.iter().map(Vec::len).sum();
            format!("{}: reads {queries:?}: {found} found", self.seat)
        });
        let documents: Vec<&Document> = snapshot.results.iter().flatten().collect();
        table.heard(self.seat, &documents, 0);
        Ok(snapshot)
    }

    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError> {
        let table = &self.table;
        let planned = table.clock.load(Ordering::Relaxed);
        table.turn(self.seat).await;
        let committed = table.store.commit(changes, deadline).await?;
        table.note(|| format!("{}: {}", self.seat, describe(changes, &committed)));
        match &committed {
            Committed::Done(_) => {
                let now = table.clock.load(Ordering::Relaxed);
                table.monitor().committed(self.seat, changes, planned, now);
                table.wrote_changes(self.seat, changes);
                table.heard(self.seat, &[], 1);
            }
            Committed::Conflict(present) => {
                table.monitor().lost(self.seat, changes);
                let documents: Vec<&Document> = present.iter().flatten().collect();
                table.heard(self.seat, &documents, 2);
            }
        }
        Ok(committed)
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.table.store.watch(prefix, after).await
    }

    fn describe(&self) -> String {
        format!("seat {} at the table", self.seat)
    }
}

fn describe(changes: &[Change], committed: &Committed) -> String {
    let outcome = match committed {
        Committed::Done(_) => "commits",
        Committed::Conflict(_) => "loses",
    };
    let changes: Vec<String> = changes
        .iter()
        .map(|change| {
            let action = match &change.action {
                Action::Check => "check".to_owned(),
                Action::Delete => "delete".to_owned(),
                Action::Put(value) => format!("put {}", String::from_utf8_lossy(value)),
            };
            format!("\n      {:?} {:?} {action}", change.key, change.guard)
        })
        .collect();
    format!("{outcome}{}", changes.concat())
}
