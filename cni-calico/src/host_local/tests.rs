//! The words and the routes, each right and wrong.

use serde_json::json;

use super::*;

fn config(ipam: Value) -> NetworkConfig {
    let config = json!({
        "cniVersion": "1.0.0", "name": "net-1", "type": "calico", "unknown": 18446744073709551615_u64,
        "ipam": ipam,
    });
    NetworkConfig::decode(config.to_string()).unwrap()
}

fn host_local(mut ipam: Value) -> NetworkConfig {
    ipam["type"] = "host-local".into();
    config(ipam)
}

/// The `ipam` of a configuration that was changed.
fn ipam(bytes: &[u8]) -> Value {
    let mut document: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(document["unknown"], json!(18446744073709551615_u64), "{document}");
    assert_eq!(document["name"], "net-1");
    document["ipam"].take()
}

fn ranges(v4: Option<&str>, v6: Option<&str>) -> PodCidrs {
    PodCidrs { v4: v4.map(|text| text.parse().unwrap()), v6: v6.map(|text| text.parse().unwrap()) }
}

const BOTH: (Option<&str>, Option<&str>) = (Some("10.10.0.0/24"), Some("dead:beef::/96"));

#[test]
fn k6_to_k8_words_become_the_ranges_of_the_node() {
    for (given, expected) in [
        // K6
        (json!({"subnet": "usePodCidr"}), json!({"subnet": "10.10.0.0/24"})),
        (json!({"subnet": "USEPODCIDR"}), json!({"subnet": "10.10.0.0/24"})),
        (json!({"subnet": "usePodCidrIPv6"}), json!({"subnet": "dead:beef::/96"})),
        // K7
        (
            json!({"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "fd00::/96", "x": 1}]]}),
            json!({"ranges": [[{"subnet": "10.10.0.0/24"}], [{"subnet": "fd00::/96", "x": 1}]]}),
        ),
        // K8
        (
            json!({"ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usepodcidripv6"}]]}),
            json!({"ranges": [[{"subnet": "10.10.0.0/24"}], [{"subnet": "dead:beef::/96"}]]}),
        ),
        (
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "usePodCidr"}]], "routes": []}),
            json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "10.10.0.0/24"}]],
                   "routes": []}),
        ),
    ] {
        let config = host_local(given.clone());
        let bytes = for_addition(&config, Some(&ranges(BOTH.0, BOTH.1))).unwrap();
        let mut expected = expected;
        expected["type"] = "host-local".into();
        assert_eq!(ipam(&bytes.unwrap()), expected, "{given}");
    }
}

#[test]
fn without_a_word_the_configuration_stays_as_it_came() {
    for config in [
        host_local(json!({"subnet": "10.0.0.0/24"})),
        host_local(json!({"ranges": null, "subnet": null})),
        host_local(json!({"ranges": [[{"rangeStart": "usePodCidr"}]]})),
        config(json!({"type": "calico-ipam", "subnet": "usePodCidr"})),
        config(json!(null)),
    ] {
        assert_eq!(for_addition(&config, None), Ok(None));
        assert_eq!(for_removal(&config), None);
    }
}

#[test]
fn a_word_without_its_range_is_named() {
    for (ipam, ranges, wrong) in [
        (json!({"subnet": "usePodCidr"}), Some(ranges(None, BOTH.1)), "ipam.subnet"),
        (
            json!({"ranges": [[], [{"subnet": "usePodCidrIPv6"}]]}),
            Some(ranges(BOTH.0, None)),
            "ipam.ranges[1][0].subnet",
        ),
        (json!({"subnet": "usePodCidr"}), None, "ipam.subnet"),
    ] {
        let config = host_local(ipam.clone());
        let error = for_addition(&config, ranges.as_ref()).unwrap_err();
        assert!(error.msg.starts_with(wrong), "{ipam}: {}", error.msg);
    }
}

#[test]
fn a_wrong_shape_fails_an_addition_and_no_removal() {
    for (ipam, wrong) in [
        (json!({"ranges": {}}), "ipam.ranges must"),
        (json!({"ranges": ["a"]}), "ipam.ranges[0] must"),
        (json!({"ranges": [[], [7]]}), "ipam.ranges[1][0] must"),
    ] {
        let config = host_local(ipam.clone());
        let error = for_addition(&config, None).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE);
        assert!(error.msg.starts_with(wrong), "{ipam}: {}", error.msg);
        assert_eq!(for_removal(&config), None);
    }
}

#[test]
fn a_removal_asks_nobody() {
    let config = host_local(json!({
        "subnet": "usePodCidr",
        "ranges": [[{"subnet": "usePodCidr"}], [{"subnet": "usePodCidrIPv6"}]],
    }));
    assert_eq!(
        ipam(&for_removal(&config).unwrap()),
        json!({
            "type": "host-local", "subnet": "0.0.0.0/0",
            "ranges": [[{"subnet": "0.0.0.0/0"}], [{"subnet": "::/0"}]],
        })
    );
}

#[test]
fn routes_are_the_destinations_of_the_list() {
    let nets =
        |list: &[&str]| Some(list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>());
    for (given, expected) in [
        (json!({}), None),
        (json!({"routes": null}), None),
        (json!({"routes": []}), None),
        (json!({"routes": [{"gw": "10.0.0.1"}, {"dst": null}]}), None),
        // K9
        (
            json!({"routes": [
                {"dst": "10.123.0.0/16", "gw": "10.123.0.1"}, {"dst": "10.124.0.9/16"},
                {"dst": "dead:beef::/96"},
            ]}),
            nets(&["10.123.0.0/16", "10.124.0.0/16", "dead:beef::/96"]),
        ),
    ] {
        assert_eq!(routes(&host_local(given.clone())), Ok(expected), "{given}");
    }
    let other = config(json!({"type": "dhcp", "routes": "as it likes"}));
    assert_eq!(routes(&other), Ok(None));
}

#[test]
fn fix_40_a_malformed_route_is_an_error_that_names_it() {
    for (given, wrong) in [
        (json!("10.0.0.0/8"), "ipam.routes is \"10.0.0.0/8\""),
        (json!(["10.0.0.0/8"]), "ipam.routes[0] is \"10.0.0.0/8\""),
        (json!([{"dst": "10.0.0.0/8"}, 7]), "ipam.routes[1] is 7"),
        (json!([{"dst": 10}]), "ipam.routes[0].dst is 10"),
        (json!([{"dst": "10.0.0.0"}]), "ipam.routes[0].dst is \"10.0.0.0\""),
        (json!([{"dst": ""}]), "ipam.routes[0].dst is \"\""),
    ] {
        let error = routes(&host_local(json!({ "routes": given }))).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE);
        assert!(error.msg.starts_with(wrong), "{}", error.msg);
    }
}
