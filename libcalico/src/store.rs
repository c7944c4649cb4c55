//! The store: revisioned documents under typed keys.
//!
//! [`Store`] is all that the rest of the library knows of a datastore. A backend spells a [`Key`]
//! in its own way, reads several ranges at one revision, and commits a list of guarded changes:
//! all or nothing, where it has transactions (etcd, local); in their order, stopping at the first
//! that fails, where it hasn't (Kubernetes, later). Code that plans changes orders them so that
//! every prefix of the list leaves a state that the next run repairs.

mod commit;
mod error;
mod etcd;
mod key;
#[cfg(feature = "local")]
mod local;
mod memory;
mod path;

use std::time::Instant;

use async_trait::async_trait;

pub use commit::{MAX_CHANGES, MAX_COMMIT_BYTES};
pub use error::{StoreError, StoreErrorKind};
pub use etcd::EtcdStore;
pub use key::{AffinityOwner, AffinityType, Family, Key, Prefix};
#[cfg(feature = "local")]
pub use local::LocalStore;
pub use memory::{Fault, Hold, MemoryStore};
pub use path::PathError;

/// A revision of the store. Every commit raises it; a document carries that of its last change.
pub type Revision = i64;

/// A stored value with its key and the revision of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key.
    pub key: Key,
    /// The JSON text, as upstream writes it.
    pub value: Vec<u8>,
    /// The revision of its last change (etcd's `mod_revision`).
    pub revision: Revision,
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// One document.
    Key(Key),
    /// Every document under a prefix, in the byte order of the keys' text.
    Prefix(Prefix),
    /// The keys under a prefix, with empty values: for ranges whose values are large.
    Keys(Prefix),
}

/// The answer to a list of queries, all taken at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The store's revision at which everything was read.
    pub revision: Revision,
    /// One list a query, in the order of the queries. Documents whose key doesn't parse are left
    /// out, as upstream does.
    pub results: Vec<Vec<Document>>,
}

/// What must hold of a document for a commit to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: whatever is there is written over.
    Any,
    /// There is no such document.
    Absent,
    /// The document is there and was last changed at this revision.
    Revision(Revision),
}

/// What a commit does to a document once its guard holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Only the guard counts.
    Check,
    /// Write this value.
    Put(Vec<u8>),
    /// Remove the document. Removing what isn't there is no failure under `Guard::Any`.
    Delete,
}

/// One guarded change of a commit. A commit names a key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The document.
    pub key: Key,
    /// What must hold of it.
    pub guard: Guard,
    /// What becomes of it.
    pub action: Action,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Every change was made, at this revision. A commit of nothing but checks that hold answers
    /// the revision at which they were checked.
    Done(Revision),
    /// A guard didn't hold and nothing was changed. Holds the present documents of all the
    /// commit's keys, in the order of the changes, so that a retry needs no further read.
    Conflict(Vec<Option<Document>>),
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was created or changed.
    Put(Document),
    /// It was removed, at this revision.
    Deleted(Key, Revision),
}

/// A running watch: call [`Watch::next`] until it fails, then list again.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next event. Events come in the order of their revisions. A change that a later
    /// one of the same document has overtaken may be left out (the local store keeps no old
    /// values), so react to the state, not to the step. An error ends the watch (the revision is too
    /// old, the server is gone): list again and watch from there.
    async fn next(&mut self) -> Result<Event, StoreError>;
}

/// Revisioned documents. Every call ends by `deadline` at the latest, with
/// [`StoreErrorKind::Unavailable`] when the store couldn't be asked.
#[async_trait]
pub trait Store: Send + Sync {
    /// Answers all queries at one revision, in one round trip.
    async fn read(&self, queries: &[Query], deadline: Instant) -> Result<Snapshot, StoreError>;

    /// Makes all changes or none. When the answer to a commit was lost, the backend finds out what
    /// became of it before it tries again; where it can't find out, the error's kind is
    /// [`StoreErrorKind::Unknown`] and the caller reads back.
    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError>;

    /// Watches a prefix for changes after a revision.
    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// A short name for messages, without secrets: `etcd at https://10.0.0.2:2379`,
    /// `local store /var/lib/calico/calico.db`.
    fn describe(&self) -> String;

    /// Whether it is this host's own, which no node agent sets up: the first container does.
    fn is_embedded(&self) -> bool {
        false
    }
}

impl Change {
    /// Writes a document that must not exist yet.
    pub fn create(key: Key, value: Vec<u8>) -> Change {
        Change { key, guard: Guard::Absent, action: Action::Put(value) }
    }

    /// Writes a document that must still be as it was read at `revision`.
    pub fn update(key: Key, revision: Revision, value: Vec<u8>) -> Change {
        Change { key, guard: Guard::Revision(revision), action: Action::Put(value) }
    }

    /// Removes a document that must still be as it was read at `revision`.
    pub fn delete(key: Key, revision: Revision) -> Change {
        Change { key, guard: Guard::Revision(revision), action: Action::Delete }
    }
}
