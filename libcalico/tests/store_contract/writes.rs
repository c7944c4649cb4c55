//! Commits: guards, atomicity, revisions, values.

use libcalico::resources::Kind;
use libcalico::store::{
    Action, Change, Committed, Guard, Key, MAX_CHANGES, Prefix, Query, StoreErrorKind,
};

use crate::bench::{Bench, change, document, handle, put, soon};

pub async fn creating_needs_absence(bench: Bench) {
    let key = handle("a");
    let revision = bench.done(&[Change::create(key.clone(), b"1".to_vec())]).await;
    let found = bench.conflict(&[Change::create(key.clone(), b"2".to_vec())]).await;
    assert_eq!(found, [Some(document(&key, "1", revision))]);
    assert_eq!(bench.get(&key).await, Some(document(&key, "1", revision)));

    bench.done(&[Change::delete(key.clone(), revision)]).await;
    let again = bench.done(&[Change::create(key.clone(), b"3".to_vec())]).await;
    assert_eq!(bench.get(&key).await, Some(document(&key, "3", again)));
}

pub async fn updating_and_deleting_need_the_revision(bench: Bench) {
    let key = handle("a");
    assert_eq!(bench.conflict(&[Change::update(key.clone(), 1, b"0".to_vec())]).await, [None]);
    assert_eq!(bench.conflict(&[Change::delete(key.clone(), 1)]).await, [None]);

    let first = bench.done(&[Change::create(key.clone(), b"1".to_vec())]).await;
    let second = bench.done(&[Change::update(key.clone(), first, b"2".to_vec())]).await;
    let present = [Some(document(&key, "2", second))];
    for stale in [first, second + 1, 0] {
        assert_eq!(
            bench.conflict(&[Change::update(key.clone(), stale, b"3".to_vec())]).await,
            present
        );
        assert_eq!(bench.conflict(&[Change::delete(key.clone(), stale)]).await, present);
    }
    assert_eq!(bench.get(&key).await, Some(document(&key, "2", second)));
    bench.done(&[Change::delete(key.clone(), second)]).await;
    assert_eq!(bench.get(&key).await, None);
}

pub async fn any_writes_over_and_removes_what_may_not_be_there(bench: Bench) {
    let key = handle("a");
    bench.done(&[change(&key, Guard::Any, Action::Delete)]).await;
    bench.done(&[put(&key, Guard::Any, "1")]).await;
    let revision = bench.done(&[put(&key, Guard::Any, "2")]).await;
    assert_eq!(bench.get(&key).await, Some(document(&key, "2", revision)));
    bench.done(&[change(&key, Guard::Any, Action::Delete)]).await;
    assert_eq!(bench.get(&key).await, None);
}

pub async fn all_changes_are_made_or_none(bench: Bench) {
    let (a, b, c, d) = (handle("a"), handle("b"), handle("c"), handle("d"));
    let first = bench.done(&[put(&b, Guard::Absent, "b"), put(&d, Guard::Absent, "d")]).await;
    let before = bench.read(&[Query::Prefix(Prefix::All)]).await;
    // The last guard fails: the conflict shows all keys, in the order of the changes.
    let found = bench
        .conflict(&[
            put(&c, Guard::Absent, "c"),
            Change::update(b.clone(), first, b"b2".to_vec()),
            Change::delete(d.clone(), first),
            change(&a, Guard::Revision(first), Action::Check),
        ])
        .await;
    let present = |key, value| Some(document(key, value, first));
    assert_eq!(found, [None, present(&b, "b"), present(&d, "d"), None]);
    assert_eq!(bench.read(&[Query::Prefix(Prefix::All)]).await, before);

    let second = bench
        .done(&[
            put(&c, Guard::Absent, "c"),
            Change::update(b.clone(), first, b"b2".to_vec()),
            Change::delete(d.clone(), first),
            change(&a, Guard::Absent, Action::Check),
        ])
        .await;
    let after = bench.read(&[Query::Prefix(Prefix::All)]).await;
    assert_eq!(after.results, [[document(&b, "b2", second), document(&c, "c", second)]]);
}

pub async fn checks_guard_without_writing(bench: Bench) {
    let (key, absent) = (Key::global(Kind::ClusterInformation, "default"), handle("x"));
    let first = bench.done(&[put(&key, Guard::Absent, "{}")]).await;
    let checks = [
        change(&key, Guard::Revision(first), Action::Check),
        change(&absent, Guard::Absent, Action::Check),
    ];
    assert_eq!(bench.done(&checks).await, first);
    assert_eq!(bench.done(&[]).await, first);
    let second = bench.done(&[put(&key, Guard::Any, "{}")]).await;
    assert_eq!(bench.conflict(&checks).await, [Some(document(&key, "{}", second)), None]);
    let guarded = [checks[0].clone(), put(&absent, Guard::Absent, "1")];
    bench.conflict(&guarded).await;
    assert_eq!(bench.get(&absent).await, None);
}

pub async fn a_commit_has_one_revision_and_each_is_higher(bench: Bench) {
    let mut last = bench.read(&[]).await.revision;
    for round in 0..5 {
        let keys = [handle("a"), handle("b"), handle(&format!("c{round}"))];
        let changes = keys.each_ref().map(|key| put(key, Guard::Any, "{}"));
        let revision = bench.done(&changes).await;
        assert!(revision > last);
        last = revision;
        let queries = keys.each_ref().map(|key| Query::Key(key.clone()));
        let snapshot = bench.read(&queries).await;
        assert_eq!(snapshot.revision, revision);
        assert!(snapshot.results.iter().flatten().all(|found| found.revision == revision));
    }
    // A conflict takes no revision, and a removal does.
    bench.conflict(&[put(&handle("a"), Guard::Absent, "{}")]).await;
    assert_eq!(bench.read(&[]).await.revision, last);
    assert!(bench.done(&[Change::delete(handle("a"), last)]).await > last);
}

pub async fn a_commit_that_can_not_be_is_invalid(bench: Bench) {
    let key = handle("a");
    let many: Vec<_> =
        (0..=MAX_CHANGES).map(|n| put(&handle(&n.to_string()), Guard::Any, "{}")).collect();
    let huge = vec![b'x'; 1_600_000];
    let cases = [
        vec![put(&key, Guard::Any, "1"), put(&key, Guard::Any, "2")],
        vec![put(&handle("a/b"), Guard::Any, "1")],
        vec![put(&Key::global(Kind::WorkloadEndpoint, "a"), Guard::Any, "1")],
        many.clone(),
        vec![change(&key, Guard::Any, Action::Put(huge))],
    ];
    for changes in cases {
        let error = bench.store.commit(&changes, soon()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    }
    let wrong = Query::Key(Key::global(Kind::IpPool, ""));
    let error = bench.store.read(&[wrong], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert_eq!(bench.read(&[Query::Prefix(Prefix::All)]).await.results, [vec![]]);
    bench.done(&many[1..]).await;
}

pub async fn values_of_any_bytes_and_a_megabyte_come_back(bench: Bench) {
    let large = vec![b'x'; 1 << 20];
    let values = [
        Vec::new(),
        b"{}".to_vec(),
        "{\"é\":\"\u{1F980} \u{0000}\"}".as_bytes().to_vec(),
        (0..=u8::MAX).collect(),
        large,
    ];
    for (n, value) in values.iter().enumerate() {
        let key = handle(&n.to_string());
        bench.done(&[Change::create(key.clone(), value.clone())]).await;
        assert_eq!(&bench.get(&key).await.unwrap().value, value, "value {n}");
    }
    // Also all at once: a list may be larger than one message of the client's default.
    for n in 5..12 {
        let key = handle(&n.to_string());
        bench.done(&[Change::create(key, vec![b'y'; 1 << 20])]).await;
    }
    let list = bench.read(&[Query::Prefix(Prefix::Handles(String::new()))]).await;
    let bytes: usize = list.results.iter().flatten().map(|found| found.value.len()).sum();
    assert!(bytes > 8 << 20);
    let conflict = bench.commit(&[put(&handle("4"), Guard::Absent, "")]).await;
    let Committed::Conflict(found) = conflict else { panic!("{conflict:?}") };
    assert_eq!(found[0].as_ref().unwrap().value.len(), 1 << 20);
}
