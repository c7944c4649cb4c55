//! A store that stalls: every call ends by its deadline, as unavailable, with nothing changed.

use std::future::Future;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use libcalico::store::{Guard, Query, Store, StoreError, StoreErrorKind};

use crate::bench::{Bench, etcd_store, handle, put};
use crate::etcd_server::Etcd;

const LIMIT: Duration = Duration::from_millis(300);

/// What a call may take beyond its deadline on a busy machine.
const GRACE: Duration = Duration::from_millis(1500);

/// Awaits a call with the deadline that `LIMIT` gives, and checks that it keeps it.
async fn stalls<T: std::fmt::Debug, F>(call: impl FnOnce(Instant) -> F) -> StoreErrorKind
where
    F: Future<Output = Result<T, StoreError>>,
{
    let begin = Instant::now();
    let error = call(begin + LIMIT).await.unwrap_err();
    let took = begin.elapsed();
    assert!(took > LIMIT / 2 && took < LIMIT + GRACE, "{took:?}: {error}");
    error.kind
}

async fn read_stalls(store: &dyn Store) -> StoreErrorKind {
    let queries = [Query::Key(handle("a"))];
    stalls(|deadline| store.read(&queries, deadline)).await
}

async fn commit_stalls(store: &dyn Store) -> StoreErrorKind {
    let changes = [put(&handle("a"), Guard::Absent, "{}")];
    stalls(|deadline| store.commit(&changes, deadline)).await
}

#[tokio::test]
async fn a_held_store_in_memory() {
    let store = libcalico::store::MemoryStore::new();
    let hold = store.hold();
    assert_eq!(commit_stalls(&store).await, StoreErrorKind::Unavailable);
    drop(hold);
    assert!(store.dump().is_empty());
}

#[tokio::test]
#[cfg(feature = "local")]
async fn a_local_store_that_another_process_has_locked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calico.db");
    let store = crate::bench::local_store(&path);
    store.read(&[], crate::bench::soon()).await.unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(commit_stalls(&*store).await, StoreErrorKind::Unavailable);
    // Readers don't mind a writer.
    store.read(&[Query::Key(handle("a"))], crate::bench::soon()).await.unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    drop(store);
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    // Also for a process that has to open it first.
    let late = crate::bench::local_store(&path);
    assert_eq!(commit_stalls(&*late).await, StoreErrorKind::Unavailable);
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    let made = late.commit(&[put(&handle("a"), Guard::Absent, "{}")], crate::bench::soon()).await;
    assert!(matches!(made, Ok(libcalico::store::Committed::Done(_))), "{made:?}");
}

#[tokio::test]
async fn an_etcd_that_was_stopped() {
    let etcd = Etcd::start();
    let store = etcd_store(&etcd.url());
    store.read(&[], crate::bench::soon()).await.unwrap();
    etcd.pause();
    assert_eq!(read_stalls(&*store).await, StoreErrorKind::Unavailable);
    // It may still read what was sent: nobody can tell.
    assert_eq!(commit_stalls(&*store).await, StoreErrorKind::Unknown);
    etcd.resume();
    store.read(&[], crate::bench::soon()).await.unwrap();
}

#[tokio::test]
async fn an_etcd_that_accepts_and_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = etcd_store(&format!("http://{}", listener.local_addr().unwrap()));
    assert_eq!(read_stalls(&*store).await, StoreErrorKind::Unavailable);
    assert_eq!(commit_stalls(&*store).await, StoreErrorKind::Unknown);
}

#[tokio::test]
async fn an_etcd_that_is_waited_for_in_vain_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let store = etcd_store(&format!("http://{address}"));
    let deadline = Instant::now() + LIMIT;
    let error = store.read(&[], deadline).await.unwrap_err();
    assert!(error.message.contains(&format!("http://{address} gave no answer")), "{error}");
}

#[tokio::test]
async fn a_past_deadline_fails_at_once() {
    let bench = Bench::etcd();
    let begin = Instant::now();
    let error = bench.store.read(&[Query::Key(handle("a"))], begin).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(begin.elapsed() < GRACE);
}
