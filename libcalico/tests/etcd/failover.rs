//! Several servers, of which some refuse, are silent, or die.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use libcalico::store::{Change, Committed, Prefix, Query, StoreErrorKind};

use crate::proxy::Proxy;
use crate::server::Etcd;
use crate::{endpoints, first_error, get, handle, limit, open, soon};

/// An address that nobody listens on.
fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Somebody who accepts and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn one_good_server_among_dead_and_silent_ones_is_found_at_once() {
    let etcd = Etcd::start();
    let (_kept, silent) = silent();
    let (one, two) = (refusing(), refusing());
    let urls = [one.as_str(), silent.as_str(), &etcd.url(), two.as_str()];
    // Fresh stores, as fresh processes have them: each begins somewhere else.
    for n in 0..24 {
        let store = open(endpoints(&urls));
        let begin = Instant::now();
        let committed = match n % 2 {
            0 => {
                store.read(&[Query::Prefix(Prefix::All)], soon()).await.unwrap();
                store.commit(&[Change::create(handle(&n.to_string()), vec![])], soon()).await
            }
            // A commit that comes first may not try its luck with a silent server.
            _ => store.commit(&[Change::create(handle(&n.to_string()), vec![])], soon()).await,
        };
        assert!(matches!(committed, Ok(Committed::Done(_))), "{committed:?}");
        let took = begin.elapsed();
        // Usually under 10 ms, or 200 ms for each silent server before it; a commit that had been
        // sent to a silent one would have taken three seconds.
        assert!(took < Duration::from_millis(2500), "store {n} took {took:?}");
    }
}

#[tokio::test]
async fn when_all_are_dead_each_is_named_with_its_reason() {
    let (refused, also) = (refusing(), refusing());
    let (_kept, silent) = silent();
    let store = open(endpoints(&[&refused, &silent, &also]));
    for _ in 0..2 {
        let begin = Instant::now();
        let error = store.read(&[], limit(700)).await.unwrap_err();
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        for url in [&refused, &also] {
            assert!(error.message.contains(&format!("{url} refused the connection")), "{error}");
        }
        assert!(error.message.contains(&format!("{silent} gave no answer")), "{error}");
        assert!(error.message.contains("what etcd_endpoints says"), "{error}");
    }
}

#[tokio::test]
async fn refusing_servers_alone_fail_at_once() {
    let begin = Instant::now();
    let error = first_error(endpoints(&[&refusing(), &refusing()])).await;
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(begin.elapsed() < Duration::from_secs(5), "long before the deadline");
}

#[tokio::test]
async fn a_server_that_dies_between_two_calls_is_left() {
    let etcd = Etcd::start();
    let proxies = [Proxy::start(etcd.address()), Proxy::start(etcd.address())];
    let store = open(endpoints(&[&proxies[0].url(), &proxies[1].url()]));
    for _ in 0..3 {
        store.read(&[], soon()).await.unwrap();
    }
    let used = proxies.iter().position(|proxy| proxy.accepted() == 1).unwrap();
    assert_eq!(proxies[1 - used].accepted(), 0, "one connection at a time");
    proxies[used].close();
    store.commit(&[Change::create(handle("a"), b"1".to_vec())], soon()).await.unwrap();
    assert_eq!(get(&store, &handle("a")).await.unwrap().value, b"1");
    assert_eq!(proxies[1 - used].accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let etcd = Etcd::start();
    let proxy = Proxy::start(etcd.address());
    let store = open(endpoints(&[&proxy.url()]));
    store.read(&[], soon()).await.unwrap();
    proxy.lose(crate::proxy::Loss::Silently);
    // The only server is asked again over a new connection.
    store.read(&[], soon()).await.unwrap();
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let mut etcd = Etcd::start();
    let store = open(endpoints(&[&etcd.url()]));
    store.commit(&[Change::create(handle("a"), b"1".to_vec())], soon()).await.unwrap();
    etcd.kill();
    let error = store.read(&[], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    etcd.restart();
    assert_eq!(get(&store, &handle("a")).await.unwrap().value, b"1");
}

#[tokio::test]
async fn a_cluster_serves_while_it_has_a_majority() {
    let mut members = Etcd::start_cluster(3);
    let urls: Vec<_> = members.iter().map(Etcd::url).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let store = open(endpoints(&urls));
    let create = |id: &str| [Change::create(handle(id), id.as_bytes().to_vec())];
    store.commit(&create("a"), soon()).await.unwrap();
    members[0].kill();
    // A leader may have to be elected, and answers be lost: still it is made once.
    let committed = store.commit(&create("b"), soon()).await.unwrap();
    assert!(matches!(committed, Committed::Done(_)), "{committed:?}");
    let fresh = open(endpoints(&urls));
    assert_eq!(get(&fresh, &handle("b")).await.unwrap().value, b"b");

    members[1].kill();
    let begin = Instant::now();
    let key = Query::Key(handle("a"));
    let error = store.read(&[key], limit(1500)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    members[1].restart();
    assert_eq!(get(&store, &handle("a")).await.unwrap().value, b"a");
}
