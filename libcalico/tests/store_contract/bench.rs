//! A store under test, and how to get at it otherwise.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libcalico::config::Settings;
use libcalico::store::{
    Action, Change, Committed, Document, Guard, Key, MemoryStore, Query, Revision, Snapshot, Store,
};

use crate::etcd_server::Etcd;

/// A fresh, empty store.
pub struct Bench {
    pub store: Arc<dyn Store>,
    kind: Kind,
}

/// Opens the store once more, as another process would.
pub type Opener = Arc<dyn Fn() -> Arc<dyn Store> + Send + Sync>;

enum Kind {
    Memory(MemoryStore),
    #[cfg(feature = "local")]
    Local(tempfile::TempDir),
    Etcd(Etcd),
}

/// Long enough for the slowest machine; only a broken store takes it.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// The store of an etcd without TLS.
pub fn etcd_store(urls: &str) -> Arc<dyn Store> {
    let settings = Settings { etcd_endpoints: Some(urls.to_owned()), ..Settings::default() };
    settings.resolve().unwrap().open().unwrap()
}

#[cfg(feature = "local")]
pub fn local_store(path: &std::path::Path) -> Arc<dyn Store> {
    let settings = Settings {
        datastore_type: Some("local".to_owned()),
        local_path: Some(path.to_str().unwrap().to_owned()),
        ..Settings::default()
    };
    settings.resolve().unwrap().open().unwrap()
}

impl Bench {
    pub fn memory() -> Bench {
        let store = MemoryStore::new();
        Bench { store: Arc::new(store.clone()), kind: Kind::Memory(store) }
    }

    #[cfg(feature = "local")]
    pub fn local() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        Bench { store: local_store(&dir.path().join("calico.db")), kind: Kind::Local(dir) }
    }

    pub fn etcd() -> Bench {
        let etcd = Etcd::start();
        Bench { store: etcd_store(&etcd.url()), kind: Kind::Etcd(etcd) }
    }

    /// How to open it once more.
    pub fn opener(&self) -> Opener {
        match &self.kind {
            Kind::Memory(store) => {
                let store = store.clone();
                Arc::new(move || Arc::new(store.clone()))
            }
            #[cfg(feature = "local")]
            Kind::Local(dir) => {
                let path = dir.path().join("calico.db");
                Arc::new(move || local_store(&path))
            }
            Kind::Etcd(etcd) => {
                let url = etcd.url();
                Arc::new(move || etcd_store(&url))
            }
        }
    }

    /// Writes under any text, behind the store's back.
    pub fn put_raw(&self, path: &str, value: &str) {
        match &self.kind {
            Kind::Memory(store) => {
                store.put_raw(path, value.as_bytes());
            }
            #[cfg(feature = "local")]
            Kind::Local(dir) => {
                let database = rusqlite::Connection::open(dir.path().join("calico.db")).unwrap();
                database
                    .execute(
                        "INSERT INTO documents (key, revision, value) VALUES (?1, 1, ?2)",
                        [path, value],
                    )
                    .unwrap();
            }
            Kind::Etcd(etcd) => {
                etcd.ctl(&["put", "--", path, value]);
            }
        }
    }

    pub async fn read(&self, queries: &[Query]) -> Snapshot {
        self.store.read(queries, soon()).await.unwrap()
    }

    /// The one document under a key.
    pub async fn get(&self, key: &Key) -> Option<Document> {
        let mut snapshot = self.read(&[Query::Key(key.clone())]).await;
        assert_eq!(snapshot.results.len(), 1);
        let mut found = snapshot.results.remove(0);
        assert!(found.len() <= 1);
        found.pop()
    }

    pub async fn commit(&self, changes: &[Change]) -> Committed {
        self.store.commit(changes, soon()).await.unwrap()
    }

    /// A commit that must succeed.
    pub async fn done(&self, changes: &[Change]) -> Revision {
        match self.commit(changes).await {
            Committed::Done(revision) => revision,
            conflict => panic!("{conflict:?}"),
        }
    }

    /// A commit that must conflict.
    pub async fn conflict(&self, changes: &[Change]) -> Vec<Option<Document>> {
        match self.commit(changes).await {
            Committed::Conflict(documents) => documents,
            done => panic!("{done:?}"),
        }
    }
}

pub fn handle(id: &str) -> Key {
    Key::Handle(id.to_owned())
}

pub fn change(key: &Key, guard: Guard, action: Action) -> Change {
    Change { key: key.clone(), guard, action }
}

pub fn put(key: &Key, guard: Guard, value: &str) -> Change {
    change(key, guard, Action::Put(value.into()))
}

pub fn document(key: &Key, value: &str, revision: Revision) -> Document {
    Document { key: key.clone(), value: value.into(), revision }
}
