//! Commits whose answer is lost: what became of them is found out, and each is made once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libcalico::store::{Change, Committed, Guard, Store, StoreErrorKind};

use crate::proxy::{Loss, Proxy};
use crate::server::Etcd;
use crate::{endpoints, get, handle, limit, open, soon};

/// An etcd behind a proxy, a store that goes through it and one that doesn't.
struct Bench {
    etcd: Arc<Mutex<Etcd>>,
    proxy: Proxy,
    store: Arc<dyn Store>,
    direct: Arc<dyn Store>,
}

impl Bench {
    async fn start() -> Bench {
        let etcd = Etcd::start();
        let proxy = Proxy::start(etcd.address());
        let store = open(endpoints(&[&proxy.url()]));
        let direct = open(endpoints(&[&etcd.url()]));
        // The connection is there before anything is lost on it.
        store.read(&[], soon()).await.unwrap();
        Bench { etcd: Arc::new(Mutex::new(etcd)), proxy, store, direct }
    }

    /// Loses the answer of a commit once it is known to have been made, and then does something.
    fn after(&self, id: &str, value: &str, then: impl FnOnce(&Etcd) + Send + 'static) -> Loss {
        Loss::Answer(self.once_made(id, value, then))
    }

    /// Waits until a document has this value, then does something.
    fn once_made(
        &self,
        id: &str,
        value: &str,
        then: impl FnOnce(&Etcd) + Send + 'static,
    ) -> Box<dyn FnOnce() + Send> {
        let (etcd, path) = (self.etcd.clone(), path(id));
        let value = value.to_owned();
        Box::new(move || {
            let etcd = etcd.lock().unwrap();
            let until = Instant::now() + Duration::from_secs(20);
            while etcd.ctl(&["get", "--print-value-only", &path]).trim() != value {
                assert!(Instant::now() < until, "{path} never became {value}");
            }
            then(&etcd);
        })
    }

    async fn commit(&self, changes: &[Change]) -> Committed {
        self.store.commit(changes, soon()).await.unwrap()
    }
}

fn path(id: &str) -> String {
    handle(id).path().unwrap()
}

fn create(id: &str) -> Change {
    Change::create(handle(id), id.as_bytes().to_vec())
}

#[tokio::test]
async fn a_commit_that_was_made_is_done() {
    let bench = Bench::start().await;
    bench.proxy.lose(bench.after("a", "a", |_| {}));
    let Committed::Done(revision) = bench.commit(&[create("a"), create("b")]).await else {
        panic!("a conflict with itself");
    };
    let found = get(&bench.direct, &handle("b")).await.unwrap();
    assert_eq!(found.revision, revision, "made once");

    bench.proxy.lose(bench.after("a", "2", |_| {}));
    let update = Change::update(handle("a"), revision, b"2".to_vec());
    let Committed::Done(second) =
        bench.commit(&[update, Change::delete(handle("b"), revision)]).await
    else {
        panic!("a conflict with itself");
    };
    assert_eq!(get(&bench.direct, &handle("a")).await.unwrap().revision, second);
    assert_eq!(second, revision + 1);
}

#[tokio::test]
async fn a_commit_that_was_lost_on_its_way_is_sent_again() {
    let bench = Bench::start().await;
    bench.proxy.lose(Loss::Request);
    let committed = bench.commit(&[create("a")]).await;
    assert!(matches!(committed, Committed::Done(_)), "{committed:?}");
    assert_eq!(get(&bench.direct, &handle("a")).await.unwrap().value, b"a");
}

#[tokio::test]
async fn a_commit_that_arrives_late_is_no_conflict_with_its_second_try() {
    let bench = Bench::start().await;
    let made = bench.once_made("a", "marked-value", |_| {});
    bench.proxy.lose(Loss::Late(b"marked-value", made));
    let create = Change::create(handle("a"), b"marked-value".to_vec());
    let committed = bench.commit(&[create]).await;
    let found = get(&bench.direct, &handle("a")).await.unwrap();
    assert_eq!(committed, Committed::Done(found.revision));
    // The first try made it: the second one came too late.
    assert_eq!(bench.direct.read(&[], soon()).await.unwrap().revision, found.revision);
}

#[tokio::test]
async fn a_commit_whose_answer_never_comes_is_looked_up_before_the_deadline() {
    let bench = Bench::start().await;
    bench.proxy.lose(Loss::Silently);
    let committed = bench.store.commit(&[create("a")], limit(6000)).await.unwrap();
    let found = get(&bench.direct, &handle("a")).await.unwrap();
    assert_eq!(committed, Committed::Done(found.revision));
}

#[tokio::test]
async fn a_conflict_whose_answer_was_lost_is_a_conflict() {
    let bench = Bench::start().await;
    bench.direct.commit(&[Change::create(handle("a"), b"theirs".to_vec())], soon()).await.unwrap();
    bench.proxy.lose(Loss::Answer(Box::new(|| {})));
    let Committed::Conflict(found) = bench.commit(&[create("b"), create("a")]).await else {
        panic!("somebody else's document was taken for ours");
    };
    assert_eq!(found[0], None);
    assert_eq!(found[1].as_ref().unwrap().value, b"theirs");
    assert_eq!(get(&bench.direct, &handle("b")).await, None);
}

#[tokio::test]
async fn a_commit_that_others_have_built_on_is_still_done() {
    let bench = Bench::start().await;
    // Of two documents one was changed since: the other one tells when.
    bench.proxy.lose(bench.after("a", "a", |etcd| {
        etcd.ctl(&["put", &path("a"), "theirs"]);
    }));
    let Committed::Done(first) = bench.commit(&[create("a"), create("b")]).await else {
        panic!("taken for somebody else's");
    };
    assert_eq!(get(&bench.direct, &handle("b")).await.unwrap().revision, first);

    // A creation that was changed since: its creation tells.
    bench.proxy.lose(bench.after("c", "c", |etcd| {
        etcd.ctl(&["put", &path("c"), "theirs"]);
    }));
    let Committed::Done(second) = bench.commit(&[create("c")]).await else {
        panic!("taken for somebody else's");
    };
    let found = get(&bench.direct, &handle("c")).await.unwrap();
    assert_eq!((found.value.as_slice(), found.revision), (b"theirs".as_slice(), second + 1));

    // An update on which others built: only the history tells.
    bench.proxy.lose(bench.after("b", "mine", |etcd| {
        etcd.ctl(&["put", &path("b"), "theirs"]);
        etcd.ctl(&["put", &path("b"), "theirs again"]);
    }));
    let update = Change::update(handle("b"), first, b"mine".to_vec());
    let Committed::Done(third) = bench.commit(&[update]).await else {
        panic!("taken for somebody else's");
    };
    assert_eq!(get(&bench.direct, &handle("b")).await.unwrap().revision, third + 2);
}

#[tokio::test]
async fn an_update_that_others_came_before_is_a_conflict() {
    let bench = Bench::start().await;
    let Committed::Done(first) = bench.commit(&[create("a")]).await else { panic!() };
    // The request is dropped with its connection, while somebody else changes the document.
    let theirs = Change::update(handle("a"), first, b"theirs".to_vec());
    bench.direct.commit(&[theirs], soon()).await.unwrap();
    bench.proxy.lose(Loss::Request);
    let update = Change::update(handle("a"), first, b"mine".to_vec());
    let Committed::Conflict(found) = bench.commit(&[update]).await else {
        panic!("taken for ours");
    };
    assert_eq!(found[0].as_ref().unwrap().value, b"theirs");
}

#[tokio::test]
async fn a_server_killed_between_request_and_answer_is_waited_for() {
    let bench = Bench::start().await;
    let etcd = bench.etcd.clone();
    let made = bench.once_made("a", "a", |_| {});
    let (killed, restart) = std::sync::mpsc::channel();
    bench.proxy.lose(Loss::Answer(Box::new(move || {
        made();
        etcd.lock().unwrap().kill();
        killed.send(()).unwrap();
    })));
    let etcd = bench.etcd.clone();
    let restarter = std::thread::spawn(move || {
        restart.recv().unwrap();
        etcd.lock().unwrap().restart();
    });
    let committed = bench.commit(&[create("a")]).await;
    restarter.join().unwrap();
    let found = get(&bench.direct, &handle("a")).await.unwrap();
    assert_eq!(committed, Committed::Done(found.revision));
}

#[tokio::test]
async fn a_fate_that_nobody_can_tell_is_unknown_and_names_the_documents() {
    let bench = Bench::start().await;
    let close = bench.proxy.closer();
    bench.proxy.lose(bench.after("a", "a", move |_| close()));
    let error = bench.store.commit(&[create("a")], limit(5000)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unknown, "{error}");
    assert!(error.message.contains(&path("a")), "{error}");
    assert!(error.message.contains("refused the connection"), "{error}");
}

#[tokio::test]
async fn counting_over_a_network_that_loses_answers_counts_right() {
    const ROUNDS: u32 = 12;
    let bench = Bench::start().await;
    let counter = handle("counter");
    let first = bench.commit(&[Change::create(counter.clone(), b"0".to_vec())]).await;
    let Committed::Done(mut revision) = first else { panic!("{first:?}") };
    let mut value = 0;
    let mut own = 0;
    while own < ROUNDS {
        match own % 3 {
            0 => bench.proxy.lose(Loss::Request),
            1 => bench.proxy.lose(Loss::Answer(Box::new(|| {}))),
            _ => {}
        }
        let next = (value + 1).to_string().into_bytes();
        let guard = Guard::Revision(revision);
        let change = Change { guard, ..Change::update(counter.clone(), revision, next) };
        match bench.commit(&[change]).await {
            Committed::Done(at) => (value, revision, own) = (value + 1, at, own + 1),
            Committed::Conflict(found) => panic!("nobody else counts: {found:?}"),
        }
    }
    let found = get(&bench.direct, &counter).await.unwrap();
    assert_eq!((found.value, found.revision), (ROUNDS.to_string().into_bytes(), revision));
}
