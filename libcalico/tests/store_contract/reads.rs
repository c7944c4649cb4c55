//! Reading: single documents, prefixes, their order and their limits.

use libcalico::resources::Kind;
use libcalico::store::{AffinityOwner, AffinityType, Family, Guard, Key, Prefix, Query};

use crate::bench::{Bench, document, handle, put};

fn owner(kind: AffinityType, name: &str) -> AffinityOwner {
    AffinityOwner { kind, name: name.to_owned() }
}

/// The keys under a prefix, by both ways of listing.
async fn keys(bench: &Bench, prefix: Prefix) -> Vec<Key> {
    let snapshot = bench.read(&[Query::Prefix(prefix.clone()), Query::Keys(prefix)]).await;
    let [documents, keys] = <[_; 2]>::try_from(snapshot.results).unwrap();
    assert!(keys.iter().all(|document| document.value.is_empty()));
    let plain = |documents: Vec<libcalico::store::Document>| {
        documents.into_iter().map(|document| (document.key, document.revision)).collect::<Vec<_>>()
    };
    let (documents, keys) = (plain(documents), plain(keys));
    assert_eq!(documents, keys);
    keys.into_iter().map(|(key, _)| key).collect()
}

pub async fn an_empty_store_has_nothing(bench: Bench) {
    let snapshot = bench
        .read(&[Query::Key(handle("a")), Query::Prefix(Prefix::All), Query::Keys(Prefix::All)])
        .await;
    assert_eq!(snapshot.results, [vec![], vec![], vec![]]);
    assert!(snapshot.revision >= 1);
    let nothing = bench.read(&[]).await;
    assert_eq!((nothing.revision, nothing.results.len()), (snapshot.revision, 0));
}

pub async fn a_document_is_found_by_its_key_and_its_prefixes(bench: Bench) {
    let key = Key::namespaced(Kind::WorkloadEndpoint, "shop", "node--1-k8s-cart--0-eth0");
    let revision = bench.done(&[put(&key, Guard::Absent, r#"{"a":1}"#)]).await;
    let expected = vec![document(&key, r#"{"a":1}"#, revision)];
    let prefix = |namespace: Option<&str>, name_prefix: &str| {
        Query::Prefix(Prefix::Resources {
            kind: Kind::WorkloadEndpoint,
            namespace: namespace.map(str::to_owned),
            name_prefix: name_prefix.to_owned(),
        })
    };
    let found = [
        Query::Key(key.clone()),
        Query::Prefix(Prefix::All),
        prefix(None, ""),
        prefix(Some("shop"), ""),
        prefix(Some("shop"), "node--1-"),
        prefix(None, "node--1-"),
    ];
    let not_found = [
        Query::Key(Key::namespaced(Kind::WorkloadEndpoint, "shop", "node")),
        prefix(Some("sho"), ""),
        prefix(Some("shop"), "node--2-"),
        prefix(None, "shop"),
        Query::Prefix(Prefix::kind(Kind::Node)),
    ];
    let snapshot = bench.read(&[found.as_slice(), not_found.as_slice()].concat()).await;
    assert_eq!(snapshot.revision, revision);
    assert_eq!(snapshot.results.len(), found.len() + not_found.len());
    for (index, result) in snapshot.results.into_iter().enumerate() {
        let expected = if index < found.len() { expected.as_slice() } else { &[] };
        assert_eq!(result, expected, "query {index}");
    }
}

pub async fn prefixes_end_where_names_end(bench: Bench) {
    let cidr = |text: &str| text.parse().unwrap();
    let (v4, v6) = (cidr("10.0.0.0/26"), cidr("fd00::/122"));
    let affinity = |kind, name, cidr| Key::Affinity(owner(kind, name), cidr);
    use AffinityType::{Host, Virtual};
    let all = [
        affinity(Host, "a", v4),
        affinity(Host, "a", v6),
        affinity(Host, "ab", v4),
        affinity(Virtual, "a", v4),
        Key::LegacyHost("a".into()),
        Key::LegacyHost("b".into()),
        Key::Block(v4),
        Key::Block(v6),
        Key::IpamConfig,
        handle("a.1"),
        handle("ab.1"),
        handle("odd %2f é \u{1F980}"),
        Key::global(Kind::Node, "a"),
        Key::global(Kind::NetworkSet, "no").clone(),
    ];
    // The last one isn't spelled without its namespace: it only shows that nothing is written.
    let changes: Vec<_> = all.iter().map(|key| put(key, Guard::Absent, "{}")).collect();
    assert!(bench.store.commit(&changes, crate::bench::soon()).await.is_err());
    bench.done(&changes[..changes.len() - 1]).await;

    let cases = [
        (Prefix::Affinities(owner(Host, "a"), None), vec![&all[0], &all[1]]),
        (Prefix::Affinities(owner(Host, "a"), Some(Family::V4)), vec![&all[0]]),
        (Prefix::Affinities(owner(Host, "a"), Some(Family::V6)), vec![&all[1]]),
        (Prefix::Affinities(owner(Host, "b"), None), vec![]),
        (Prefix::Affinities(owner(Virtual, "a"), None), vec![&all[3]]),
        (Prefix::AllAffinities(Host), vec![&all[0], &all[1], &all[2]]),
        (Prefix::AllAffinities(Virtual), vec![&all[3]]),
        (Prefix::Blocks(None), vec![&all[6], &all[7]]),
        (Prefix::Blocks(Some(Family::V4)), vec![&all[6]]),
        (Prefix::Blocks(Some(Family::V6)), vec![&all[7]]),
        (Prefix::Handles("a".into()), vec![&all[9], &all[10]]),
        (Prefix::Handles("a.".into()), vec![&all[9]]),
        (Prefix::Handles("odd %2f é".into()), vec![&all[11]]),
        (Prefix::Handles("A".into()), vec![]),
        (Prefix::kind(Kind::Node), vec![&all[12]]),
        (Prefix::kind(Kind::NetworkSet), vec![]),
    ];
    for (prefix, expected) in cases {
        let found = keys(&bench, prefix.clone()).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{prefix:?}");
    }
    assert_eq!(keys(&bench, Prefix::All).await.len(), all.len() - 1);
    assert!(bench.get(&Key::LegacyHost("a".into())).await.is_some());
    assert!(bench.get(&Key::IpamConfig).await.is_some());
}

pub async fn lists_are_in_byte_order(bench: Bench) {
    let ordered =
        ["A", "B.1", "a", "a b", "a-", "a.", "a0", "aa", "b", "é", "\u{FFFD}", "\u{1F980}"];
    let mut changes: Vec<_> =
        ordered.iter().map(|id| put(&handle(id), Guard::Absent, "{}")).collect();
    changes.reverse();
    bench.done(&changes).await;
    let expected: Vec<_> = ordered.iter().map(|id| handle(id)).collect();
    assert_eq!(keys(&bench, Prefix::Handles(String::new())).await, expected);

    // Blocks are tried in the order of their text, not of their numbers.
    let blocks = ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.64/26"];
    let blocks = blocks.map(|cidr| Key::Block(cidr.parse().unwrap()));
    bench.done(&blocks.each_ref().map(|key| put(key, Guard::Absent, "{}"))).await;
    assert_eq!(keys(&bench, Prefix::Blocks(None)).await, blocks);
}

pub async fn what_is_no_key_is_passed_over(bench: Bench) {
    let key = handle("a");
    let revision = bench.done(&[put(&key, Guard::Absent, "{}")]).await;
    for path in [
        "/calico/ipam/v2/handle/a/b",
        "/calico/ipam/v2/assignment/ipv4/block/junk",
        "/calico/felix/v1/host/a/endpoint/b",
        "/calico/resources/v3/projectcalico.org/unknowns/a",
        "/calicox",
        "/other",
    ] {
        bench.put_raw(path, "{}");
    }
    assert_eq!(keys(&bench, Prefix::All).await, std::slice::from_ref(&key));
    assert_eq!(bench.get(&key).await, Some(document(&key, "{}", revision)));
}

pub async fn many_queries_are_answered_at_one_revision(bench: Bench) {
    let key = |n: usize| handle(&format!("{n:03}"));
    let changes: Vec<_> = (0..100).map(|n| put(&key(n), Guard::Absent, &n.to_string())).collect();
    let revision = bench.done(&changes).await;
    // More than etcd takes in a transaction, with gaps.
    let queries: Vec<_> = (0..300).map(|n| Query::Key(key(n))).collect();
    let snapshot = bench.read(&queries).await;
    assert_eq!(snapshot.results.len(), queries.len());
    for (n, found) in snapshot.results.into_iter().enumerate() {
        let expected = (n < 100).then(|| document(&key(n), &n.to_string(), revision));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}
