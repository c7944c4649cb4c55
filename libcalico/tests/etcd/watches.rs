//! Watches that end.

use std::time::Duration;

use libcalico::store::{Change, Prefix, StoreErrorKind};

use crate::server::Etcd;
use crate::{endpoints, handle, open, soon};

#[tokio::test]
async fn a_watch_from_a_compacted_revision_says_so() {
    let etcd = Etcd::start();
    let store = open(endpoints(&[&etcd.url()]));
    for id in ["a", "b", "c"] {
        store.commit(&[Change::create(handle(id), vec![])], soon()).await.unwrap();
    }
    etcd.ctl(&["compaction", "4"]);
    let error = match store.watch(&Prefix::All, 1).await {
        Err(error) => error,
        Ok(mut watch) => watch.next().await.unwrap_err(),
    };
    assert_eq!(error.kind, StoreErrorKind::Compacted, "{error}");
    let mut kept = store.watch(&Prefix::All, 3).await.unwrap();
    kept.next().await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_when_its_server_does() {
    let mut etcd = Etcd::start();
    let store = open(endpoints(&[&etcd.url()]));
    let mut watch = store.watch(&Prefix::All, 1).await.unwrap();
    etcd.kill();
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains(&etcd.url()), "{error}");
}
