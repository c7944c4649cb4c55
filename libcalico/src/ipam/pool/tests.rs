//! The choice of pools: the tables J and NS of the acceptance list (`reference/ipam.md` 16.10).

use super::*;
use crate::resources::Kind;

fn pool(name: &str, cidr: &str) -> Pool {
    let value = serde_json::json!({ "spec": { "cidr": cidr } }).to_string().into_bytes();
    Pool::from_document(&Document { key: Key::global(Kind::IpPool, name), value, revision: 1 })
        .expect("a pool")
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn chosen(
    pools: &[Pool],
    family: Family,
    requested: &[PoolRef],
    namespace: &Labels,
) -> Result<Vec<String>, IpamError> {
    let request = PoolRequest {
        family,
        requested,
        intended_use: IntendedUse::Workload,
        node_labels: &labels(&[("foo", "bar")]),
        namespace_labels: namespace,
        max_block_size: 128,
        host: "n1",
    };
    Ok(choose(pools, &request)?.pools.into_iter().map(|pool| pool.name).collect())
}

#[test]
fn j1_to_j14_enabled_selected_and_requested() {
    const MATCH: &str = "foo == 'bar'";
    const MISMATCH: &str = "foo != 'bar'";
    for (family, first, second) in
        [(Family::V4, "10.0.0.1/24", "20.0.0.0/24"), (Family::V6, "fd00:1::1/120", "fd00:2::/120")]
    {
        for (row, enabled, selectors, requested, expected) in [
            ("J1", [true, true], ["", ""], None, Some(&["1", "2"][..])),
            ("J2", [true, true], ["", ""], Some(first), Some(&["1"])),
            ("J3", [true, true], [MATCH, MISMATCH], None, Some(&["1"])),
            ("J4", [true, true], [MATCH, MISMATCH], Some(first), Some(&["1"])),
            ("J5", [true, true], [MISMATCH, "all()"], None, Some(&["2"])),
            ("J6", [true, true], [MISMATCH, ""], Some(first), Some(&["1"])),
            ("J7", [true, true], [MATCH, ""], Some(second), Some(&["2"])),
            ("J8", [false, true], ["", ""], None, Some(&["2"])),
            ("J9", [false, true], ["", ""], Some(first), None),
            ("J10", [false, true], ["", ""], Some(second), Some(&["2"])),
            ("J11", [false, true], ["", MATCH], None, Some(&["2"])),
            ("J12", [false, true], ["", MATCH], Some(second), Some(&["2"])),
            ("J13", [false, true], ["", MISMATCH], None, None),
            ("J14", [false, true], ["", MISMATCH], Some(second), Some(&["2"])),
        ] {
            let mut pools = [pool("1", first), pool("2", second)];
            for index in 0..2 {
                pools[index].disabled = !enabled[index];
                pools[index].node_selector = selectors[index].to_owned();
            }
            let requested: Vec<PoolRef> = requested
                .map(|cidr: &str| PoolRef::Cidr(cidr.parse().expect("a network")))
                .into_iter()
                .collect();
            let found = chosen(&pools, family, &requested, &Labels::new());
            assert_eq!(
                found.ok().as_deref(),
                expected
                    .map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{row} {family:?}"
            );
        }
    }
}

#[test]
fn ns1_to_ns11_namespaces() {
    let production = labels(&[("environment", "production"), ("team", "a")]);
    let development = labels(&[("environment", "development")]);
    let pools = |node: &str, namespace: &str| {
        let mut pool = pool("1", "10.0.0.0/24");
        pool.node_selector = node.to_owned();
        pool.namespace_selector = namespace.to_owned();
        [pool]
    };
    let prod = "environment == 'production'";
    for (row, node, namespace, labels, expected) in [
        ("NS1", "", "", &development, true),
        ("NS2", "", prod, &production, true),
        ("NS3", "", prod, &development, false),
        ("NS4", "foo == 'bar'", prod, &production, true),
        ("NS5", "foo == 'bar'", prod, &development, false),
        ("NS6", "foo == 'x'", prod, &production, false),
        ("NS7", "", "environment == 'production' && team == 'a'", &production, true),
        ("NS8", "", "environment == 'production' && team == 'b'", &production, false),
        ("SN", "", "has(environment)", &Labels::new(), false),
        ("SN", "", "environment not in {'production'}", &Labels::new(), true),
    ] {
        let found = chosen(&pools(node, namespace), Family::V4, &[], labels);
        assert_eq!(found.is_ok(), expected, "{row} {found:?}");
    }
    let three = [
        Pool { namespace_selector: prod.into(), ..pool("1", "10.0.0.0/24") },
        Pool {
            namespace_selector: "environment == 'development'".into(),
            ..pool("2", "10.0.1.0/24")
        },
        pool("3", "10.0.2.0/24"),
    ];
    assert_eq!(chosen(&three, Family::V4, &[], &production).expect("NS9"), ["1", "3"]);
    let error = chosen(&pools("", "environment ==="), Family::V4, &[], &production);
    let error = error.expect_err("NS10").to_string();
    assert!(error.starts_with("pool 1 has an invalid namespaceSelector"), "{error}");
    let requested = [PoolRef::Name("1".into())];
    let found = chosen(&pools("foo == 'x'", prod), Family::V4, &requested, &development);
    assert_eq!(found.expect("NS11"), ["1"]);
}

#[test]
fn every_pool_that_is_passed_over_is_named_with_the_reason() {
    let pools = [
        Pool { disabled: true, ..pool("off", "10.0.0.0/24") },
        Pool { deleting: true, ..pool("going", "10.0.1.0/24") },
        Pool { not_allocatable: true, ..pool("overlapping", "10.0.2.0/24") },
        Pool { node_selector: "!all()".into(), ..pool("elsewhere", "10.0.3.0/24") },
        Pool { namespace_selector: "has(x)".into(), ..pool("private", "10.0.4.0/24") },
        Pool { automatic: false, ..pool("manual", "10.0.5.0/24") },
        pool("six", "fd00::/120"),
    ];
    let error = chosen(&pools, Family::V4, &[], &Labels::new()).expect_err("none fits").to_string();
    assert_eq!(
        error,
        "no configured Calico pools for node n1; pool off 10.0.0.0/24: disabled; pool going \
         10.0.1.0/24: being deleted; pool overlapping 10.0.2.0/24: marked not allocatable; pool \
         elsewhere 10.0.3.0/24: its nodeSelector does not match the node; pool private 10.0.4.0/24: \
         its namespaceSelector does not match the namespace; pool manual 10.0.5.0/24: its \
         assignmentMode is Manual and it was not asked for; no IPv4 pool is left: create one, or \
         change one of those; see calicoctl get ippool -o wide"
    );
    let only_tunnel = [Pool { allowed_uses: vec!["Tunnel".into()], ..pool("t", "10.0.0.0/24") }];
    let error = chosen(&only_tunnel, Family::V4, &[], &Labels::new()).expect_err("no use");
    assert_eq!(
        error.to_string(),
        "cannot find a qualified ippool, no pools match the required use (Workload); pool t \
         10.0.0.0/24: not allowed for this use; no IPv4 pool is left: create one, or change one of \
         those; see calicoctl get ippool -o wide"
    );
}

#[test]
fn defaults_are_those_of_readers() {
    let pool = pool("p", "10.0.0.7/16");
    assert_eq!(pool.cidr.to_string(), "10.0.0.0/16");
    assert_eq!((pool.block_size, pool.automatic, pool.is_enabled()), (26, true, true));
    assert!(pool.allows(IntendedUse::Workload) && pool.allows(IntendedUse::Tunnel));
    assert!(!pool.allows(IntendedUse::LoadBalancer));
    let value =
        br#"{"metadata":{"deletionTimestamp":null},"spec":{"cidr":"fd00::/64","blockSize":0},
        "status":{"conditions":[{"type":"Allocatable","status":"False"}]}}"#;
    let document =
        Document { key: Key::global(Kind::IpPool, "p"), value: value.to_vec(), revision: 1 };
    let pool = Pool::from_document(&document).expect("a pool");
    assert_eq!((pool.block_size, pool.not_allocatable, pool.deleting), (122, true, false));
}
