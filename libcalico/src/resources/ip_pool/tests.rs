//! What IPAM asks of a pool.

use super::*;

fn spec(cidr: &str) -> IpPoolSpec {
    IpPoolSpec { cidr: cidr.to_owned(), ..IpPoolSpec::default() }
}

fn labels(pairs: &[(&str, &str)]) -> StringMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_range_is_read_as_upstream_reads_it() {
    for (cidr, expected) in [
        ("10.65.0.0/16", Some("10.65.0.0/16")),
        ("FD00:65:0::/64", Some("fd00:65::/64")),
        ("::ffff:10.65.0.0/112", Some("10.65.0.0/16")),
        ("::ffff:0.0.0.0/90", Some("::ffff:0.0.0.0/90")),
        ("10.65.0.0", None),
        ("10.65/16", None),
        ("", None),
    ] {
        let net = spec(cidr).net().map(|net| net.to_string());
        assert_eq!(net.as_deref(), expected, "{cidr}");
    }
}

#[test]
fn blocks_have_the_size_that_is_set_or_the_default_of_the_family() {
    assert_eq!(spec("10.65.0.0/16").block_prefix_len(), Some(26));
    assert_eq!(spec("fd00:65::/64").block_prefix_len(), Some(122));
    for (cidr, size, expected) in [
        ("10.65.0.0/16", 32, Some(32)),
        ("10.65.0.0/16", 19, None),
        ("fd00:65::/64", 26, None),
        ("fd00:65::/64", 300, None),
        ("10.65.0.0/16", -1, None),
        ("junk", 26, None),
    ] {
        let spec = IpPoolSpec { block_size: size, ..spec(cidr) };
        assert_eq!(spec.block_prefix_len(), expected, "{cidr} {size}");
    }
}

#[test]
fn selectors_choose_nodes_and_namespaces() {
    let rack_a = labels(&[("rack", "a")]);
    let mut spec = spec("10.65.0.0/16");
    assert!(spec.selects_node(&labels(&[])).unwrap(), "no selector is for all");
    assert!(spec.selects_namespace(&labels(&[])).unwrap());
    spec.node_selector = "rack == 'a'".into();
    spec.namespace_selector = "rack != 'a'".into();
    assert!(spec.selects_node(&rack_a).unwrap() && !spec.selects_node(&labels(&[])).unwrap());
    assert!(!spec.selects_namespace(&rack_a).unwrap());
    spec.node_selector = "rack ==".into();
    assert!(spec.selects_node(&rack_a).is_err());
}

#[test]
fn uses_and_mode_have_their_defaults_when_nothing_is_stored() {
    let mut spec = spec("10.65.0.0/16");
    assert!(spec.is_automatic() && spec.allows(&AllowedUse::Workload));
    assert!(spec.allows(&AllowedUse::Tunnel) && !spec.allows(&AllowedUse::LoadBalancer));
    spec.allowed_uses = vec![AllowedUse::Tunnel];
    spec.assignment_mode = Some(AssignmentMode::Manual);
    assert!(!spec.is_automatic() && !spec.allows(&AllowedUse::Workload));
}

#[test]
fn a_pool_is_enabled_unless_something_speaks_against_it() {
    let pool = IpPool::new("p", spec("10.65.0.0/16"));
    assert!(pool.is_enabled());
    let mut disabled = pool.clone();
    disabled.spec.disabled = true;
    assert!(!disabled.is_enabled());
    let mut leaving = pool.clone();
    leaving.metadata.deletion_timestamp = Some(time::OffsetDateTime::UNIX_EPOCH);
    assert!(!leaving.is_enabled());
    for (kind, status, enabled) in [
        ("Allocatable", "False", false),
        ("Allocatable", "True", true),
        ("Allocatable", "Unknown", true),
        ("Other", "False", true),
    ] {
        let condition =
            Condition { kind: kind.into(), status: status.into(), ..Condition::default() };
        let mut judged = pool.clone();
        judged.status =
            Some(IpPoolStatus { conditions: vec![condition], ..IpPoolStatus::default() });
        assert_eq!(judged.is_enabled(), enabled, "{kind} {status}");
    }
}
