//! Every annotation of `reference/cni-plugin.md` 3.6, right and wrong, with the rows of 9.2 that it
//! is about.

use serde_json::json;

use super::*;
use crate::kubernetes::AnnotationFault;

const PLAIN: Allowed =
    Allowed { calico_ipam: true, ip_addrs_no_ipam: false, floating_ips: false, families: None };
const ALL: Allowed = Allowed { ip_addrs_no_ipam: true, floating_ips: true, ..PLAIN };

/// What a pod with these annotations asks, in a namespace with those.
fn read(
    pod: &[(&str, &str)],
    namespace: &[(&str, &str)],
    allowed: Allowed,
) -> Result<PodRequest, String> {
    let annotations = |list: &[(&str, &str)]| {
        let full = |name: &str| format!("cni.projectcalico.org/{name}");
        let map = list.iter().map(|(name, value)| (full(name), json!(value)));
        serde_json::Value::Object(map.collect())
    };
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "cart-0", "namespace": "shop", "annotations": annotations(pod)},
    }))
    .unwrap();
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": "shop", "annotations": annotations(namespace)},
    }))
    .unwrap();
    PodRequest::read(&pod, &namespace, allowed).map_err(|error| error.to_string())
}

/// The addresses that are asked for.
fn addresses(pod: &[(&str, &str)], namespace: &[(&str, &str)]) -> AddressRequest {
    read(pod, namespace, PLAIN).unwrap().addresses
}

fn any(v4_pools: Option<&[&str]>, families: Option<(bool, bool)>) -> AddressRequest {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    AddressRequest::Any {
        v4_pools: v4_pools.map(owned),
        v6_pools: None,
        families: families.map(|(v4, v6)| Families { v4, v6 }),
    }
}

/// Checks that a request is refused with a message that has all of these.
fn refused(pod: &[(&str, &str)], allowed: Allowed, words: &[&str]) {
    let error = read(pod, &[], allowed).unwrap_err();
    for word in words.iter().chain(&["pod shop/cart-0"]) {
        assert!(error.contains(word), "{pod:?}: {error} lacks {word}");
    }
}

#[test]
fn without_annotations_nothing_is_asked() {
    for allowed in [ALL, PLAIN, Allowed::default()] {
        assert_eq!(read(&[], &[], allowed), Ok(PodRequest::default()));
    }
    let empty = ["ipv4pools", "ipv6pools", "ipFamilies", "ipAddrs", "ipAddrsNoIpam", "floatingIPs"];
    let empty: Vec<_> = empty.iter().map(|name| (*name, "")).collect();
    assert_eq!(read(&empty, &empty, PLAIN), Ok(PodRequest::default()));
}

#[test]
fn k12_to_k18_pools_of_the_namespace_and_of_the_pod() {
    let (one, other) = (("ipv4pools", r#"["10.0.0.0/16"]"#), ("ipv4pools", r#"["pool-b"]"#));
    let cidr = any(Some(&["10.0.0.0/16"]), None);
    let name = any(Some(&["pool-b"]), None);
    for (pod, namespace, expected) in [
        // K12, K17, K18, K16
        (None, Some(one), cidr.clone()),
        (Some(one), None, cidr.clone()),
        (Some(other), None, name.clone()),
        (Some(other), Some(one), name),
        // An empty value is none; an empty list is one.
        (Some(("ipv4pools", "")), Some(one), cidr),
        (Some(("ipv4pools", "[]")), Some(one), any(Some(&[]), None)),
    ] {
        let asked = addresses(&Vec::from_iter(pod), &Vec::from_iter(namespace));
        assert_eq!(asked, expected, "{pod:?} {namespace:?}");
    }
    // K15, K41
    let both = [("ipv4pools", r#"["10.0.0.0/24","10.1.0.0/24"]"#), ("ipv6pools", r#"["p6"]"#)];
    let AddressRequest::Any { v4_pools, v6_pools, .. } = addresses(&both, &[]) else {
        panic!("not any");
    };
    assert_eq!(v4_pools.map(|pools| pools.len()), Some(2));
    assert_eq!(v6_pools, Some(vec!["p6".into()]));
}

#[test]
fn a_pool_of_the_wrong_family_is_refused() {
    refused(&[("ipv4pools", r#"["fd00::/64"]"#)], PLAIN, &["ipv4pools", "fd00::/64", "IPv4"]);
    refused(&[("ipv6pools", r#"["10.0.0.0/16"]"#)], PLAIN, &["ipv6pools", "10.0.0.0/16", "IPv6"]);
    refused(&[("ipv4pools", r#"[""]"#)], PLAIN, &["ipv4pools"]);
    refused(&[("ipv4pools", "pool-b")], PLAIN, &["ipv4pools", "JSON list"]);
    // It is the namespace's fault where it is.
    let error = read(&[], &[("ipv4pools", "pool-b")], PLAIN).unwrap_err();
    assert!(error.contains("namespace shop"), "{error}");
}

#[test]
fn families_of_the_pod_come_before_the_namespaces() {
    let v4 = ("ipFamilies", r#"["IPv4"]"#);
    let both = ("ipFamilies", r#"["IPv4","IPv6"]"#);
    let v6 = ("ipFamilies", r#"["IPv6"]"#);
    assert_eq!(addresses(&[], &[v4]), any(None, Some((true, false))));
    assert_eq!(addresses(&[both], &[v4]), any(None, Some((true, true))));
    assert_eq!(addresses(&[v6], &[both]), any(None, Some((false, true))));
    for value in [r#"["ipv4"]"#, r#"["IPv5"]"#, "[]", "IPv4", "[4]"] {
        refused(&[("ipFamilies", value)], PLAIN, &["ipFamilies"]);
    }
}

#[test]
fn k25_requested_addresses() {
    let these = |list: &[&str]| {
        AddressRequest::These(list.iter().map(|text| text.parse().unwrap()).collect())
    };
    for (value, expected) in [
        (r#"["20.0.0.111"]"#, vec!["20.0.0.111"]),
        (r#"["fd00::1"]"#, vec!["fd00::1"]),
        (r#"["20.0.0.111","fd00::1"]"#, vec!["20.0.0.111", "fd00::1"]),
        (r#"["fd00::1","20.0.0.111"]"#, vec!["fd00::1", "20.0.0.111"]),
    ] {
        // Pools and families don't bind what is requested.
        let pod = [("ipAddrs", value), ("ipFamilies", "nonsense"), ("ipv4pools", "nonsense")];
        assert_eq!(addresses(&pod, &[]), these(&expected), "{value}");
    }
    for value in [
        "[]",
        "20.0.0.111",
        r#"["20.0.0.111/32"]"#,
        r#"["20.0.0.x"]"#,
        r#"["20.0.0.1","20.0.0.2"]"#,
        r#"["fd00::1","fd00::2"]"#,
        r#"["20.0.0.1","fd00::1","20.0.0.2"]"#,
    ] {
        refused(&[("ipAddrs", value)], PLAIN, &["ipAddrs"]);
    }
    let other = Allowed { calico_ipam: false, ..ALL };
    refused(&[("ipAddrs", r#"["20.0.0.1"]"#)], other, &["ipAddrs", "calico-ipam"]);
}

#[test]
fn k22_to_k24_addresses_without_ipam() {
    let one = [("ipAddrsNoIpam", r#"["10.0.0.1"]"#)];
    let expected = AddressRequest::WithoutIpam(vec!["10.0.0.1".parse().unwrap()]);
    assert_eq!(read(&one, &[], ALL).map(|asked| asked.addresses), Ok(expected));
    refused(&one, PLAIN, &["ipAddrsNoIpam", "feature_control.ip_addrs_no_ipam"]);
    refused(&one, Allowed { calico_ipam: false, ..ALL }, &["ipAddrsNoIpam", "calico-ipam"]);
    refused(&[("ipAddrsNoIpam", r#"["10.0.0.1","10.0.0.2"]"#)], ALL, &["one of each family"]);
    let both = [one[0], ("ipAddrs", r#"["10.0.0.2"]"#)];
    refused(&both, ALL, &["ipAddrs", "ipAddrsNoIpam", "only one"]);
}

#[test]
fn k20_and_k21_floating_addresses() {
    let floating = [("floatingIPs", r#"["198.51.100.20","2001:db8::20"]"#)];
    let asked = read(&floating, &[], ALL).unwrap();
    assert_eq!(asked.floating_ips.len(), 2);
    refused(&floating, PLAIN, &["floatingIPs", "feature_control.floating_ips"]);
    refused(&[("floatingIPs", "{")], ALL, &["floatingIPs", "JSON list"]);
    refused(&[("floatingIPs", r#"["one"]"#)], ALL, &["floatingIPs", "\"one\""]);
    // An empty list asks for nothing, so nothing has to be allowed.
    assert_eq!(read(&[("floatingIPs", "[]")], &[], PLAIN), Ok(PodRequest::default()));
}

#[test]
fn fix_10_a_floating_address_needs_one_of_its_family() {
    let v6 = ("floatingIPs", r#"["2001:db8::20"]"#);
    for pod in [
        [v6, ("ipFamilies", r#"["IPv4"]"#)],
        [v6, ("ipAddrs", r#"["10.0.0.1"]"#)],
        [v6, ("ipAddrsNoIpam", r#"["10.0.0.1"]"#)],
    ] {
        refused(&pod, ALL, &["floatingIPs", "2001:db8::20", "family"]);
    }
    assert!(read(&[v6, ("ipFamilies", r#"["IPv6"]"#)], &[], ALL).is_ok());
    // The network's own families count where the pod asks for none.
    let only_v4 = Allowed { families: Some(Families { v4: true, v6: false }), ..ALL };
    refused(&[v6], only_v4, &["floatingIPs", "2001:db8::20", "family"]);
    assert!(read(&[v6, ("ipFamilies", r#"["IPv6"]"#)], &[], only_v4).is_ok());
}

#[test]
fn k19_allowed_source_prefixes() {
    let asked = read(
        &[("allowedSourcePrefixes", r#"["8.8.8.8/32","1.1.1.7/24"]"#)],
        &[],
        Allowed::default(),
    );
    let networks = ["8.8.8.8/32", "1.1.1.0/24"].map(|text| text.parse().unwrap());
    assert_eq!(asked.unwrap().allowed_source_prefixes, networks);
    refused(&[("allowedSourcePrefixes", r#"["8.8.8.8"]"#)], PLAIN, &["allowedSourcePrefixes"]);
    refused(&[("allowedSourcePrefixes", "8.8.8.8/32")], PLAIN, &["allowedSourcePrefixes"]);
}

#[test]
fn another_ipam_plugin_has_no_pools_or_families_of_ours() {
    let pod = [("ipv4pools", "nonsense"), ("ipFamilies", "nonsense")];
    assert_eq!(read(&pod, &[], Allowed::default()), Ok(PodRequest::default()));
}

#[test]
fn k38_the_mac_is_handed_on_as_it_is_written() {
    let asked = read(&[("hwAddr", "ca:fe:ca:fe:ca:fe")], &[], PLAIN).unwrap();
    assert_eq!(asked.mac.as_deref(), Some("ca:fe:ca:fe:ca:fe"));
}

#[test]
fn what_is_malformed_is_told_from_what_is_not_allowed() {
    let fault = |pod: serde_json::Value, allowed| {
        let pod = json!({"metadata": {"name": "cart-0", "namespace": "shop", "annotations": pod}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        PodRequest::read(&pod, &Namespace::default(), allowed).unwrap_err().fault
    };
    let floating = json!({"cni.projectcalico.org/floatingIPs": "[\"198.51.100.20\"]"});
    assert_eq!(fault(floating, PLAIN), AnnotationFault::NotAllowed);
    let malformed = json!({"cni.projectcalico.org/floatingIPs": "198.51.100.20"});
    assert_eq!(fault(malformed, PLAIN), AnnotationFault::Malformed);
}
