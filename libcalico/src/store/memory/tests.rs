//! The faults and counters; the contract is tested in `tests/store_contract.rs`.

use std::time::Duration;

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn create(id: &str) -> Change {
    Change::create(Key::Handle(id.into()), b"{}".to_vec())
}

#[tokio::test]
async fn faults_befall_the_commit_that_they_name() {
    let store = MemoryStore::new();
    let broken = StoreError::new(StoreErrorKind::Unavailable, "broken");
    store.inject(2, Fault::Fail(broken));
    store.inject(3, Fault::LoseAnswer);
    store.inject(4, Fault::LoseRequest);

    assert_eq!(store.commit(&[create("a")], soon()).await.unwrap(), Committed::Done(2));
    let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::Unknown, StoreErrorKind::Unknown];
    for (id, kind) in ["b", "c", "d"].into_iter().zip(kinds) {
        assert_eq!(store.commit(&[create(id)], soon()).await.unwrap_err().kind, kind, "{id}");
    }
    let made: Vec<_> = store.dump().into_keys().collect();
    assert_eq!(made, ["/calico/ipam/v2/handle/a", "/calico/ipam/v2/handle/c"]);
    assert_eq!((store.commits(), store.reads()), (4, 0));
}

#[tokio::test]
async fn a_hold_keeps_commits_back_until_it_is_dropped() {
    let store = MemoryStore::new();
    let hold = store.hold();
    let now = Instant::now();
    let error = store.commit(&[create("a")], now).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(store.dump().is_empty());

    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&[create("b")], soon()).await }
    });
    tokio::task::yield_now().await;
    assert!(store.dump().is_empty());
    drop(hold);
    assert_eq!(waiting.await.unwrap().unwrap(), Committed::Done(2));
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_fails_as_compacted() {
    let store = MemoryStore::new();
    store.commit(&[create("a")], soon()).await.unwrap();
    store.commit(&[create("b")], soon()).await.unwrap();
    store.compact(2);
    let mut late = store.watch(&Prefix::All, 1).await.unwrap();
    assert_eq!(late.next().await.unwrap_err().kind, StoreErrorKind::Compacted);
    let mut kept = store.watch(&Prefix::All, 2).await.unwrap();
    assert!(matches!(kept.next().await, Ok(Event::Put(document)) if document.revision == 3));
}
