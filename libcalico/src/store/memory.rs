//! A store in memory, for tests: the same contract as the real ones, plus counters and faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;

use super::commit;
use super::path::successor;
use super::{
    Action, Change, Committed, Document, Event, Key, Prefix, Query, Revision, Snapshot, Store,
    StoreError, StoreErrorKind, Watch,
};

/// A revisioned store in memory. Clones share their content.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// What becomes of a commit instead of its being made.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It fails with this error and changes nothing.
    Fail(StoreError),
    /// It is made, and its answer is lost: [`StoreErrorKind::Unknown`].
    LoseAnswer,
    /// It is lost on its way, and nobody can tell: [`StoreErrorKind::Unknown`].
    LoseRequest,
}

/// Commits wait while one of these lives.
#[must_use = "commits go on as soon as this is dropped"]
pub struct Hold {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    reads: AtomicU64,
    commits: AtomicU64,
    /// The revision, for those who wait for the next one.
    revision: watch::Sender<Revision>,
    /// How many hold the commits.
    holds: watch::Sender<usize>,
}

struct State {
    revision: Revision,
    /// Changes up to this revision are no longer kept.
    compacted: Revision,
    documents: BTreeMap<String, (Vec<u8>, Revision)>,
    /// Every change: the value, or `None` for a removal.
    history: Vec<(Revision, String, Option<Vec<u8>>)>,
    /// Faults by the number of the commit that they befall.
    faults: BTreeMap<u64, Fault>,
}

impl Default for Shared {
    fn default() -> Shared {
        // Like etcd, an empty store is at revision 1.
        let state = State {
            revision: 1,
            compacted: 0,
            documents: BTreeMap::new(),
            history: Vec::new(),
            faults: BTreeMap::new(),
        };
        Shared {
            state: Mutex::new(state),
            reads: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            revision: watch::Sender::new(1),
            holds: watch::Sender::new(0),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// How many reads were asked.
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }

    /// How many commits were asked, those that failed included.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Lets the `nth` commit from now on (1 is the next one) meet with a fault.
    pub fn inject(&self, nth: u64, fault: Fault) {
        let number = self.commits() + nth;
        self.state().faults.insert(number, fault);
    }

    /// Holds all commits until the answer is dropped. A commit whose deadline comes first fails
    /// as unavailable, with nothing changed.
    pub fn hold(&self) -> Hold {
        self.shared.holds.send_modify(|holds| *holds += 1);
        Hold { shared: self.shared.clone() }
    }

    /// Forgets the changes up to `revision`: watches from before fail as compacted.
    pub fn compact(&self, revision: Revision) {
        let mut state = self.state();
        state.compacted = state.compacted.max(revision);
        state.history.retain(|(at, ..)| *at > revision);
    }

    /// Every document by the text of its key.
    pub fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        state.documents.iter().map(|(path, (value, _))| (path.clone(), value.clone())).collect()
    }

    /// Writes a value under any text, also one that is no key.
    pub fn put_raw(&self, path: &str, value: &[u8]) -> Revision {
        let revision = {
            let mut state = self.state();
            state.revision += 1;
            let at = state.revision;
            state.put(path, Some(value.to_vec()), at);
            at
        };
        self.shared.revision.send_replace(revision);
        revision
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.holds.send_modify(|holds| *holds = holds.saturating_sub(1));
    }
}

impl State {
    fn put(&mut self, path: &str, value: Option<Vec<u8>>, revision: Revision) {
        match &value {
            Some(value) => {
                self.documents.insert(path.to_owned(), (value.clone(), revision));
            }
            None => {
                self.documents.remove(path);
            }
        }
        self.history.push((revision, path.to_owned(), value));
    }

    fn read(&self, query: &Query) -> Result<Vec<Document>, StoreError> {
        let (prefix, with_values) = match query {
            Query::Key(key) => {
                let found = self.document(key, &key.path()?);
                return Ok(found.into_iter().collect());
            }
            Query::Prefix(prefix) => (prefix, true),
            Query::Keys(prefix) => (prefix, false),
        };
        let start = prefix.path();
        let end = successor(start.as_bytes());
        let inside = |path: &str| end.as_ref().is_none_or(|end| path.as_bytes() < end.as_slice());
        Ok(self
            .documents
            .range(start..)
            .take_while(|(path, _)| inside(path))
            .filter_map(|(path, (value, revision))| {
                let key = Key::parse(path).filter(|key| prefix.contains(key))?;
                let value = if with_values { value.clone() } else { Vec::new() };
                Some(Document { key, value, revision: *revision })
            })
            .collect())
    }

    fn document(&self, key: &Key, path: &str) -> Option<Document> {
        let (value, revision) = self.documents.get(path)?;
        Some(Document { key: key.clone(), value: value.clone(), revision: *revision })
    }

    fn commit(&mut self, changes: &[Change], paths: &[String]) -> Committed {
        let holds = changes.iter().zip(paths).all(|(change, path)| {
            change.guard.holds(self.documents.get(path).map(|(_, revision)| *revision))
        });
        if !holds {
            let present = changes.iter().zip(paths);
            return Committed::Conflict(
                present.map(|(change, path)| self.document(&change.key, path)).collect(),
            );
        }
        let next = self.revision + 1;
        for (change, path) in changes.iter().zip(paths) {
            match &change.action {
                Action::Check => continue,
                Action::Delete if !self.documents.contains_key(path) => continue,
                Action::Delete => self.put(path, None, next),
                Action::Put(value) => self.put(path, Some(value.clone()), next),
            }
            self.revision = next;
        }
        Committed::Done(self.revision)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, queries: &[Query], _deadline: Instant) -> Result<Snapshot, StoreError> {
        self.shared.reads.fetch_add(1, Ordering::Relaxed);
        let state = self.state();
        let results = queries.iter().map(|query| state.read(query)).collect::<Result<_, _>>()?;
        Ok(Snapshot { revision: state.revision, results })
    }

    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError> {
        let number = self.shared.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let paths = commit::paths(changes)?;
        let mut holds = self.shared.holds.subscribe();
        let free = holds.wait_for(|holds| *holds == 0);
        if tokio::time::timeout_at(deadline.into(), free).await.is_err() {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("{}: commit {number} was held until its deadline", self.describe()),
            ));
        }
        let lost = || {
            let message = format!("{}: the answer to commit {number} was lost", self.describe());
            StoreError::new(StoreErrorKind::Unknown, message)
        };
        let (committed, fault, revision) = {
            let mut state = self.state();
            let fault = state.faults.remove(&number);
            match fault {
                Some(Fault::Fail(error)) => return Err(error),
                Some(Fault::LoseRequest) => return Err(lost()),
                fault => (state.commit(changes, &paths), fault, state.revision),
            }
        };
        self.shared.revision.send_if_modified(|known| {
            let newer = revision > *known;
            *known = revision.max(*known);
            newer
        });
        match fault {
            Some(_) => Err(lost()),
            None => Ok(committed),
        }
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let revisions = self.shared.revision.subscribe();
        Ok(Box::new(MemoryWatch {
            store: self.clone(),
            prefix: prefix.clone(),
            after,
            pending: Vec::new(),
            revisions,
        }))
    }

    fn describe(&self) -> String {
        "store in memory".to_owned()
    }
}

struct MemoryWatch {
    store: MemoryStore,
    prefix: Prefix,
    /// Changes up to this revision were taken over into `pending`.
    after: Revision,
    /// Events to hand out, the last one first.
    pending: Vec<Event>,
    revisions: watch::Receiver<Revision>,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Ok(event);
            }
            let newest = *self.revisions.borrow_and_update();
            if newest > self.after {
                self.pending = self.store.state().events(&self.prefix, self.after, newest)?;
                self.pending.reverse();
                self.after = newest;
            } else if self.revisions.changed().await.is_err() {
                // The sender lives in the store that this watch holds.
                let message = format!("{} is gone", self.store.describe());
                return Err(StoreError::new(StoreErrorKind::Unavailable, message));
            }
        }
    }
}

impl State {
    fn events(
        &self,
        prefix: &Prefix,
        after: Revision,
        until: Revision,
    ) -> Result<Vec<Event>, StoreError> {
        if after < self.compacted {
            return Err(StoreError::new(
                StoreErrorKind::Compacted,
                format!("changes after revision {after} are no longer kept: list again"),
            ));
        }
        let wanted = self.history.iter().filter(|(at, ..)| (after + 1..=until).contains(at));
        Ok(wanted
            .filter_map(|(revision, path, value)| {
                let key = Key::parse(path).filter(|key| prefix.contains(key))?;
                Some(match value {
                    Some(value) => {
                        Event::Put(Document { key, value: value.clone(), revision: *revision })
                    }
                    None => Event::Deleted(key, *revision),
                })
            })
            .collect())
    }
}

#[cfg(test)]
mod tests;
