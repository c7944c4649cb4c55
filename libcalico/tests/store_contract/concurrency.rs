//! Many at once, each with the store opened anew, as processes have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libcalico::store::{Change, Committed, Guard, Prefix, Query, Store};

use crate::bench::{Bench, Opener, handle, put, soon};

const THREADS: usize = 8;
const ROUNDS: usize = 15;

/// Runs `work` in threads, each with its own runtime and its own store.
fn threads<T, F>(opener: &Opener, work: F) -> Vec<std::thread::JoinHandle<T>>
where
    T: Send + 'static,
    F: AsyncFn(usize, Arc<dyn Store>) -> T + Clone + Send + 'static,
{
    let spawn = |index| {
        let (opener, work) = (opener.clone(), work.clone());
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work(index, opener()))
        })
    };
    (0..THREADS).map(spawn).collect()
}

async fn join<T: Send + 'static>(threads: Vec<std::thread::JoinHandle<T>>) -> Vec<T> {
    let joined = tokio::task::spawn_blocking(|| {
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    joined.await.unwrap()
}

pub async fn increments_of_eight_threads_lose_nothing(bench: Bench) {
    let counter = handle("counter");
    bench.done(&[Change::create(counter.clone(), b"0".to_vec())]).await;
    let work = async |_, store: Arc<dyn Store>| {
        let counter = handle("counter");
        let first = store.read(&[Query::Key(counter.clone())], soon()).await.unwrap();
        let mut present = first.results[0][0].clone();
        for _ in 0..ROUNDS {
            loop {
                let value: usize = std::str::from_utf8(&present.value).unwrap().parse().unwrap();
                let next = (value + 1).to_string().into_bytes();
                let change = Change::update(counter.clone(), present.revision, next.clone());
                match store.commit(&[change], soon()).await.unwrap() {
                    Committed::Done(revision) => {
                        present.value = next;
                        present.revision = revision;
                        break;
                    }
                    Committed::Conflict(documents) => present = documents[0].clone().unwrap(),
                }
            }
        }
    };
    join(threads(&bench.opener(), work)).await;
    let value = bench.get(&counter).await.unwrap().value;
    assert_eq!(String::from_utf8(value).unwrap(), (THREADS * ROUNDS).to_string());
}

pub async fn one_of_many_creators_wins(bench: Bench) {
    let work = async |index: usize, store: Arc<dyn Store>| {
        let mut won = 0;
        for round in 0..ROUNDS {
            let key = handle(&format!("{round}"));
            let change = put(&key, Guard::Absent, &index.to_string());
            won += usize::from(matches!(
                store.commit(&[change], soon()).await.unwrap(),
                Committed::Done(_)
            ));
        }
        won
    };
    let won = join(threads(&bench.opener(), work)).await;
    assert_eq!(won.iter().sum::<usize>(), ROUNDS);
    let list = bench.read(&[Query::Prefix(Prefix::All)]).await;
    for (index, won) in won.into_iter().enumerate() {
        let mine =
            |found: &&libcalico::store::Document| found.value == index.to_string().as_bytes();
        assert_eq!(list.results[0].iter().filter(mine).count(), won);
    }
}

pub async fn a_reader_never_sees_half_a_commit(bench: Bench) {
    let pair = [handle("a"), handle("z")];
    bench.done(&pair.each_ref().map(|key| put(key, Guard::Absent, "0"))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (opener, stop, pair) = (bench.opener(), stop.clone(), pair.clone());
        move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store = opener();
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let value = round.to_string();
                    let changes = pair.each_ref().map(|key| put(key, Guard::Any, &value));
                    store.commit(&changes, soon()).await.unwrap();
                }
                round
            })
        }
    });
    // So many queries that etcd takes them in several transactions.
    let mut queries = vec![Query::Key(pair[0].clone())];
    queries.resize(200, Query::Prefix(Prefix::Handles(String::new())));
    queries.push(Query::Key(pair[1].clone()));
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 20 {
        let snapshot = bench.read(&queries).await;
        let first = snapshot.results[0][0].clone();
        assert_eq!(snapshot.revision, first.revision);
        for found in snapshot.results.iter().flatten() {
            assert_eq!((&found.value, found.revision), (&first.value, first.revision));
        }
        seen.insert(first.revision);
    }
    stop.store(true, Ordering::Relaxed);
    let rounds = tokio::task::spawn_blocking(|| writer.join().unwrap()).await.unwrap();
    assert!(rounds >= 19, "the writer was at work");
}
