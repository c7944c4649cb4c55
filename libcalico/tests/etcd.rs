//! What only etcd has: several servers, lost answers, TLS, users.

#[path = "etcd/failover.rs"]
mod failover;
#[path = "etcd/lost_answers.rs"]
mod lost_answers;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/etcd.rs"]
mod server;
#[path = "etcd/tls.rs"]
mod tls;
#[path = "etcd/users.rs"]
mod users;
#[path = "etcd/watches.rs"]
mod watches;

use std::sync::Arc;
use std::time::{Duration, Instant};

use libcalico::config::Settings;
use libcalico::store::{Document, Key, Query, Store, StoreError};

/// Long enough for the slowest machine; only a broken store takes it.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Shorter, for those who wait for it.
fn limit(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

fn handle(id: &str) -> Key {
    Key::Handle(id.to_owned())
}

fn endpoints(urls: &[&str]) -> Settings {
    Settings { etcd_endpoints: Some(urls.join(",")), ..Settings::default() }
}

fn open(settings: Settings) -> Arc<dyn Store> {
    settings.resolve().unwrap().open().unwrap()
}

/// The error that the first call of a store with these settings gives.
async fn first_error(settings: Settings) -> StoreError {
    open(settings).read(&[], soon()).await.unwrap_err()
}

async fn get(store: &Arc<dyn Store>, key: &Key) -> Option<Document> {
    let mut snapshot = store.read(&[Query::Key(key.clone())], soon()).await.unwrap();
    snapshot.results.remove(0).pop()
}
