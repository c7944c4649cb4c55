//! Watching.

use std::time::{Duration, Instant};

use libcalico::resources::Kind;
use libcalico::store::{Change, Event, Guard, Key, Prefix, Watch};

use crate::bench::{Bench, document, handle, put};

/// The next event, which must come promptly, though machines differ.
async fn next(watch: &mut Box<dyn Watch>) -> Event {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("an event").unwrap()
}

pub async fn a_watch_tells_of_each_change_in_order(bench: Bench) {
    let (a, b) = (handle("a"), handle("b"));
    let start = bench.read(&[]).await.revision;
    let mut watch = bench.store.watch(&Prefix::Handles(String::new()), start).await.unwrap();
    let writer = bench.opener()();
    let commit = async |changes: &[Change]| match writer
        .commit(changes, crate::bench::soon())
        .await
        .unwrap()
    {
        libcalico::store::Committed::Done(revision) => revision,
        conflict => panic!("{conflict:?}"),
    };

    let first = commit(&[put(&a, Guard::Absent, "1")]).await;
    assert_eq!(next(&mut watch).await, Event::Put(document(&a, "1", first)));
    // The watch sleeps when the commit comes: it must be woken, and soon; on a busy machine once
    // in three times will do.
    let mut second = first;
    let mut fastest = Duration::MAX;
    for value in ["2", "3", "4"] {
        let begin = Instant::now();
        let (revision, event) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                commit(&[put(&a, Guard::Any, value), put(&b, Guard::Any, value)]).await
            },
            next(&mut watch)
        );
        fastest = fastest.min(begin.elapsed());
        assert_eq!(event, Event::Put(document(&a, value, revision)));
        assert_eq!(next(&mut watch).await, Event::Put(document(&b, value, revision)));
        second = revision;
    }
    assert!(fastest < Duration::from_millis(900), "{fastest:?}");
    let third = commit(&[Change::delete(a.clone(), second)]).await;
    assert_eq!(next(&mut watch).await, Event::Deleted(a.clone(), third));
    let fourth = commit(&[put(&a, Guard::Absent, "3")]).await;
    assert_eq!(next(&mut watch).await, Event::Put(document(&a, "3", fourth)));
}

pub async fn a_watch_from_a_past_revision_catches_up(bench: Bench) {
    let keys = ["a", "b", "c"].map(handle);
    let zero = bench.done(&[put(&keys[2], Guard::Absent, "0")]).await;
    let one = bench.done(&[put(&keys[1], Guard::Absent, "1")]).await;
    let two = bench.done(&[put(&keys[0], Guard::Absent, "2")]).await;
    let three = bench.done(&[Change::delete(keys[2].clone(), zero)]).await;
    let expected = [
        Event::Put(document(&keys[1], "1", one)),
        Event::Put(document(&keys[0], "2", two)),
        Event::Deleted(keys[2].clone(), three),
    ];
    for (skip, after) in [zero, one, two].into_iter().enumerate() {
        let mut watch = bench.store.watch(&Prefix::All, after).await.unwrap();
        for event in &expected[skip..] {
            assert_eq!(&next(&mut watch).await, event);
        }
    }
}

pub async fn a_watch_tells_only_of_its_prefix(bench: Bench) {
    let start = bench.read(&[]).await.revision;
    let mut watch = bench.store.watch(&Prefix::kind(Kind::Node), start).await.unwrap();
    let node = Key::global(Kind::Node, "a");
    bench.done(&[put(&handle("a"), Guard::Absent, "{}")]).await;
    bench.put_raw("/calico/resources/v3/projectcalico.org/nodes/a/b", "{}");
    let revision = bench.done(&[put(&node, Guard::Absent, "{}")]).await;
    assert_eq!(next(&mut watch).await, Event::Put(document(&node, "{}", revision)));
}
