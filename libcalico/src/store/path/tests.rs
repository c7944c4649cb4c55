//! The spelling of keys against what upstream's own functions gave.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../tests/golden/names.json")).unwrap()
}

fn rows<'a>(golden: &'a Value, table: &str) -> &'a [Value] {
    golden[table].as_array().unwrap()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// Checks a key against a row with `ok` and `path`, both ways.
fn check(row: &Value, key: Key) {
    match row["ok"].as_bool().unwrap() {
        true => assert_eq!(key.path().as_deref(), Ok(text(row, "path")), "{row}"),
        false => assert!(key.path().is_err(), "{row}"),
    }
}

fn kind_of(name: &str) -> AffinityType {
    match name {
        "virtual" => AffinityType::Virtual,
        _ => AffinityType::Host,
    }
}

#[test]
fn keys_are_spelled_as_upstream_spells_them() {
    let golden = golden();
    for row in rows(&golden, "block_key") {
        check(row, Key::Block(text(row, "cidr").parse().unwrap()));
    }
    for row in rows(&golden, "affinity_key") {
        let owner =
            AffinityOwner { kind: kind_of(text(row, "type")), name: text(row, "host").into() };
        check(row, Key::Affinity(owner, text(row, "cidr").parse().unwrap()));
    }
    for row in rows(&golden, "handle_key") {
        match text(row, "handle") {
            // Upstream spells it so and can't read it back: we refuse it.
            "a/b" => assert!(Key::Handle("a/b".into()).path().is_err()),
            id => check(row, Key::Handle(id.into())),
        }
    }
    for row in rows(&golden, "resource_key") {
        match Kind::from_name(text(row, "kind")) {
            None => assert_eq!(row["ok"], false, "{row}"),
            Some(kind) => {
                let namespace = kind.namespaced().then(|| text(row, "namespace").to_owned());
                check(row, Key::Resource { kind, namespace, name: text(row, "name").into() });
            }
        }
    }
    check(&golden["config_key"], Key::IpamConfig);
    check(&golden["host_key"], Key::LegacyHost("node-1".into()));
}

#[test]
fn texts_parse_as_upstream_parses_them() {
    // What upstream's general function doesn't know, but its own lists do.
    let ours = [
        "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.65.0.0-26",
        "/calico/ipam/v2/virtual/load-balancer/ipv6/block/fd00:65::-122",
        "/calico/ipam/v2/config",
        "/calico/ipam/v2/host/node-1",
    ];
    for row in rows(&golden(), "key_parse") {
        let path = text(row, "path");
        let key = Key::parse(path).map(|key| match key {
            Key::Block(cidr) => format!("BlockKey(cidr={cidr})"),
            Key::Affinity(owner, cidr) => {
                let kind = match owner.kind {
                    AffinityType::Host => "host",
                    AffinityType::Virtual => "virtual",
                };
                format!("BlockAffinityKey(cidr={cidr}, host={}, affinityType={kind})", owner.name)
            }
            Key::Handle(id) => format!("IPAMHandleKey(id={id})"),
            Key::Resource { kind, namespace: None, name } => format!("{}({name})", kind.name()),
            Key::Resource { kind, namespace: Some(namespace), name } => {
                format!("{}({namespace}/{name})", kind.name())
            }
            Key::IpamConfig => "config".into(),
            Key::LegacyHost(host) => format!("host {host}"),
        });
        match row["ok"].as_bool().unwrap() {
            true => assert_eq!(key.as_deref(), Some(text(row, "key")), "{row}"),
            false => assert_eq!(key.is_some(), ours.contains(&path), "{row} gave {key:?}"),
        }
    }
}

#[test]
fn list_roots_are_upstreams_and_end_in_a_slash() {
    let golden = golden();
    let family = |row: &Value| match text(row, "version") {
        "4" => Some(Family::V4),
        "6" => Some(Family::V6),
        _ => None,
    };
    let closed = |path: &str| match path.ends_with('/') {
        true => path.to_owned(),
        false => format!("{path}/"),
    };
    for row in rows(&golden, "block_list_root") {
        assert_eq!(Prefix::Blocks(family(row)).path(), closed(text(row, "prefix")));
    }
    for row in rows(&golden, "affinity_list_root") {
        let kind = kind_of(text(row, "type"));
        let prefix = match text(row, "host") {
            "" => Prefix::AllAffinities(kind),
            name => Prefix::Affinities(AffinityOwner { kind, name: name.into() }, family(row)),
        };
        assert_eq!(prefix.path(), closed(text(row, "prefix")), "{row}");
    }
}

#[test]
fn a_key_without_its_parts_has_no_spelling() {
    let wrong = [
        Key::global(Kind::NetworkPolicy, "np"),
        Key::namespaced(Kind::IpPool, "ns", "pool"),
        Key::global(Kind::IpPool, ""),
        Key::global(Kind::IpPool, "a/b"),
        Key::namespaced(Kind::NetworkPolicy, "a/b", "np"),
        Key::LegacyHost("a/b".into()),
        Key::Affinity(AffinityOwner::host("a/b"), "10.0.0.0/26".parse().unwrap()),
    ];
    for key in wrong {
        assert!(key.path().is_err(), "{key:?}");
    }
}

#[test]
fn a_prefix_holds_only_its_own_keys() {
    let affinity =
        |name: &str, cidr: &str| Key::Affinity(AffinityOwner::host(name), cidr.parse().unwrap());
    let of_a = Prefix::Affinities(AffinityOwner::host("a"), None);
    assert!(of_a.contains(&affinity("a", "10.0.0.0/26")));
    assert!(!of_a.contains(&affinity("ab", "10.0.0.0/26")));
    assert!(!of_a.contains(&Key::LegacyHost("a".into())));
    assert!(!Prefix::AllAffinities(AffinityType::Host).contains(&Key::LegacyHost("a".into())));
    assert!(
        !Prefix::Affinities(AffinityOwner::host("a"), Some(Family::V4))
            .contains(&affinity("a", "fd00::/122"))
    );
    let named = Prefix::Resources {
        kind: Kind::WorkloadEndpoint,
        namespace: None,
        name_prefix: "node-".into(),
    };
    assert!(named.contains(&Key::namespaced(Kind::WorkloadEndpoint, "ns", "node-1")));
    assert!(!named.contains(&Key::namespaced(Kind::WorkloadEndpoint, "node-", "x")));
    assert!(
        Key::namespaced(Kind::WorkloadEndpoint, "ns", "node-1")
            .path()
            .unwrap()
            .starts_with(&named.path())
    );
}

#[test]
fn the_successor_ends_a_prefix_in_byte_order() {
    assert_eq!(successor(b"/a/"), Some(b"/a0".to_vec()));
    assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
    assert_eq!(successor(b"\xff"), None);
    assert_eq!(successor(b""), None);
}

fn any_key() -> impl Strategy<Value = Key> {
    let name = "[a-z0-9.%: é-]{1,12}";
    let cidr = prop_oneof![
        (any::<[u8; 4]>(), 0..=32u8).prop_map(|(addr, len)| IpNet::new(
            std::net::IpAddr::from(addr),
            len
        )
        .unwrap()
        .trunc()),
        (any::<[u8; 16]>(), 0..=128u8).prop_map(|(addr, len)| IpNet::new(
            std::net::IpAddr::from(addr),
            len
        )
        .unwrap()
        .trunc()),
    ];
    let owner = (any::<bool>(), name).prop_map(|(host, name)| AffinityOwner {
        kind: if host { AffinityType::Host } else { AffinityType::Virtual },
        name,
    });
    let kind = proptest::sample::select(Kind::all().collect::<Vec<_>>());
    prop_oneof![
        (kind, name, name).prop_map(|(kind, namespace, name)| Key::Resource {
            kind,
            namespace: kind.namespaced().then_some(namespace),
            name
        }),
        cidr.clone().prop_map(Key::Block),
        (owner, cidr).prop_map(|(owner, cidr)| Key::Affinity(owner, cidr)),
        name.prop_map(Key::Handle),
        name.prop_map(Key::LegacyHost),
    ]
}

proptest! {
    #[test]
    fn what_is_spelled_parses_back(key in any_key()) {
        let path = key.path().unwrap();
        prop_assert!(path.starts_with(&Prefix::All.path()));
        prop_assert_eq!(Key::parse(&path), Some(key));
    }

    #[test]
    fn nothing_makes_the_parser_panic(path in "(/calico/(resources/v3/projectcalico.org|ipam/v2)/)?[a-z0-9/:.@-]*") {
        let _ = Key::parse(&path);
    }
}
