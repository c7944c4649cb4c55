//! Results against recorded ones of upstream, and as properties.

use proptest::prelude::*;

use super::*;
use crate::golden;

/// The results of ADD in a recorded trace, as upstream printed them.
fn recorded(file: &str) -> Vec<String> {
    golden::steps(file)
        .iter()
        .filter(|step| step["do"]["env"]["CNI_COMMAND"] == "ADD" && step["exit"] == 0)
        .map(|step| step["stdout"].as_str().unwrap().to_owned())
        .collect()
}

fn read(text: &str) -> AddResult {
    // The fallback must not matter: every recorded result has its version.
    let result = AddResult::from_json(text.as_bytes(), Version::V0_1_0).unwrap();
    assert_eq!(result, AddResult::from_json(text.as_bytes(), Version::LATEST).unwrap());
    result
}

fn version_of(text: &str) -> Version {
    let value: Value = serde_json::from_str(text).unwrap();
    value["cniVersion"].as_str().unwrap().parse().unwrap()
}

#[test]
fn recorded_results_are_written_as_they_were_read() {
    let mut compared = 0;
    for file in golden::files() {
        for text in recorded(&file) {
            assert_eq!(read(&text).to_json(version_of(&text)).unwrap(), text, "{file}");
            compared += 1;
        }
    }
    assert!(compared >= 25, "only {compared} results");
}

#[test]
fn one_result_is_written_in_each_version_as_upstream_does() {
    for family in ["v4", "v6", "dual"] {
        let newest = read(&recorded(&format!("version-1.0.0-{family}.json"))[0]);
        for version in Version::ALL.into_iter().filter(|version| *version < Version::V1_1_0) {
            let expected = &recorded(&format!("version-{version}-{family}.json"))[0];
            assert_eq!(version_of(expected), version);
            let mut result = newest.clone();
            // Each recorded run has made a new hardware address.
            if let Some(interface) = read(expected).interfaces.pop() {
                result.interfaces[1].mac = interface.mac;
            }
            assert_eq!(&result.to_json(version).unwrap(), expected, "{version} {family}");
        }
    }
}

#[test]
fn only_1_x_carries_the_mtu() {
    let result = read(&recorded("cni-mtu-options.json")[0]);
    assert_eq!(result.interfaces[1].mtu, Some(1400));
    let has_mtu = |version| result.to_json(version).unwrap().contains("mtu");
    assert!(has_mtu(Version::V1_1_0) && has_mtu(Version::V1_0_0) && !has_mtu(Version::V0_4_0));
}

fn full() -> AddResult {
    AddResult {
        dns: Dns {
            domain: "example.org".into(),
            nameservers: vec!["192.0.2.53".into()],
            options: vec!["ndots:5".into()],
            search: vec!["a.example.org".into()],
        },
        interfaces: vec![Interface {
            mac: "ee:ee:ee:ee:ee:ee".into(),
            mtu: Some(1440),
            name: "eth0".into(),
            pci_id: "0000:00:1f.6".into(),
            sandbox: "/run/netns/a".into(),
            socket_path: "/run/s".into(),
        }],
        ips: vec![IpConfig {
            address: "10.65.0.7/26".parse().unwrap(),
            gateway: Some("169.254.1.1".parse().unwrap()),
            interface: Some(0),
        }],
        routes: vec![Route {
            advmss: Some(1400),
            dst: "0.0.0.0/0".parse().unwrap(),
            gw: Some("169.254.1.1".parse().unwrap()),
            mtu: Some(1440),
            priority: Some(100),
            scope: Some(0),
            table: Some(254),
        }],
    }
}

#[test]
fn members_of_1_1_0_are_in_alphabetical_order() {
    let expected = r#"{
    "cniVersion": "1.1.0",
    "dns": {
        "domain": "example.org",
        "nameservers": [
            "192.0.2.53"
        ],
        "options": [
            "ndots:5"
        ],
        "search": [
            "a.example.org"
        ]
    },
    "interfaces": [
        {
            "mac": "ee:ee:ee:ee:ee:ee",
            "mtu": 1440,
            "name": "eth0",
            "pciID": "0000:00:1f.6",
            "sandbox": "/run/netns/a",
            "socketPath": "/run/s"
        }
    ],
    "ips": [
        {
            "address": "10.65.0.7/26",
            "gateway": "169.254.1.1",
            "interface": 0
        }
    ],
    "routes": [
        {
            "advmss": 1400,
            "dst": "0.0.0.0/0",
            "gw": "169.254.1.1",
            "mtu": 1440,
            "priority": 100,
            "scope": 0,
            "table": 254
        }
    ]
}"#;
    assert_eq!(full().to_json(Version::V1_1_0).unwrap(), expected);
}

#[test]
fn without_addresses_only_0_1_and_0_2_fail() {
    let result = AddResult { ips: Vec::new(), ..full() };
    for version in Version::ALL {
        match result.to_json(version) {
            Ok(_) => assert!(version >= Version::V0_3_0, "{version}"),
            Err(error) => {
                assert!(version < Version::V0_3_0, "{version}");
                assert_eq!(error.code, code::INCOMPATIBLE_VERSION);
                assert!(error.msg.contains(version.as_str()), "{error}");
            }
        }
    }
}

#[test]
fn what_go_takes_is_taken() {
    let text = r#"{"cniVersion": null, "interfaces": null, "unknown": [1], "routes": [{"dst": "::/0", "gw": ""}],
        "ips": [{"version": "4", "address": "10.0.0.1/24", "gateway": "", "interface": null}], "dns": {"search": null}}"#;
    for fallback in [Version::V0_3_1, Version::V1_1_0] {
        let result = AddResult::from_json(text.as_bytes(), fallback).unwrap();
        assert_eq!(result.ips, [IpConfig::new("10.0.0.1/24".parse().unwrap())]);
        assert_eq!(result.routes, [Route::to("::/0".parse().unwrap())]);
    }
}

#[test]
fn a_result_without_version_has_that_of_the_configuration() {
    let text = br#"{"ip4": {"ip": "10.0.0.1/24", "gateway": "10.0.0.254", "routes": [{"dst": "0.0.0.0/0"}]}}"#;
    let old = AddResult::from_json(text, Version::V0_2_0).unwrap();
    assert_eq!(old.ips[0].gateway, Some("10.0.0.254".parse().unwrap()));
    assert_eq!(old.routes, [Route::to("0.0.0.0/0".parse().unwrap())]);
    assert_eq!(AddResult::from_json(text, Version::V1_0_0).unwrap(), AddResult::default());
}

#[test]
fn faults_are_named() {
    let fails = |text: &str, code, named: &str| {
        let error = AddResult::from_json(text.as_bytes(), Version::LATEST).unwrap_err();
        assert_eq!(error.code, code, "{text}: {error}");
        assert!(error.msg.contains(named), "{text}: {error}");
    };
    fails("", code::DECODING_FAILURE, "EOF");
    fails("[]", code::DECODING_FAILURE, "no object");
    fails(r#"{"cniVersion": 1}"#, code::DECODING_FAILURE, "cniVersion");
    fails(r#"{"cniVersion": "3.0.0"}"#, code::INCOMPATIBLE_VERSION, "3.0.0");
    fails(r#"{"ips": [{"address": "10.0.0.1"}]}"#, code::DECODING_FAILURE, "ips[0].address");
    fails(
        r#"{"ips": [{"address": "10.0.0.1/8", "interface": -1}]}"#,
        code::DECODING_FAILURE,
        "ips[0].interface",
    );
    fails(r#"{"cniVersion": "0.2.0", "ip6": {"ip": "x"}}"#, code::DECODING_FAILURE, "ip6.ip");
}

prop_compose! {
    fn any_ip()(address in any::<IpAddr>(), length in 0u8..=128) -> IpNet {
        let length = length.min(if address.is_ipv4() { 32 } else { 128 });
        IpNet::new(address, length).unwrap()
    }
}

prop_compose! {
    fn any_interface()(
        mac in "[0-9a-f:]{0,17}", mtu in proptest::option::of(1u32..), name in ".{0,15}",
        pci_id in "[0-9a-f:]{0,8}", sandbox in ".{0,20}", socket_path in ".{0,20}",
    ) -> Interface {
        Interface { mac, mtu, name, pci_id, sandbox, socket_path }
    }
}

prop_compose! {
    fn any_route()(
        dst in any_ip(), gw in any::<Option<IpAddr>>(), mtu in proptest::option::of(1u32..),
        advmss in proptest::option::of(1u32..), priority in proptest::option::of(1u32..),
        scope in any::<Option<u8>>(), table in any::<Option<u32>>(),
    ) -> Route {
        Route { advmss, dst, gw, mtu, priority, scope, table }
    }
}

prop_compose! {
    fn any_ip_config()(
        address in any_ip(), gateway in any::<Option<IpAddr>>(), interface in proptest::option::of(0usize..9),
    ) -> IpConfig {
        IpConfig { address, gateway, interface }
    }
}

prop_compose! {
    fn any_dns()(
        domain in ".{0,9}", nameservers in proptest::collection::vec(".{0,9}", 0..3),
        options in proptest::collection::vec(".{0,9}", 0..3), search in proptest::collection::vec(".{0,9}", 0..3),
    ) -> Dns {
        Dns { domain, nameservers, options, search }
    }
}

prop_compose! {
    fn any_result()(
        dns in any_dns(), interfaces in proptest::collection::vec(any_interface(), 0..4),
        ips in proptest::collection::vec(any_ip_config(), 0..4),
        routes in proptest::collection::vec(any_route(), 0..4),
    ) -> AddResult {
        AddResult { dns, interfaces, ips, routes }
    }
}

/// What a version can express of a result: the specification, written down a second time.
fn expressible(mut result: AddResult, version: Version) -> AddResult {
    if version < Version::V1_0_0 {
        for interface in &mut result.interfaces {
            (interface.mtu, interface.pci_id, interface.socket_path) = Default::default();
        }
    }
    if version < Version::V0_3_0 {
        let is_v4 = |net: &IpNet| net.addr().is_ipv4();
        let first = |v4| result.ips.iter().find(|ip| is_v4(&ip.address) == v4).cloned();
        let (v4, v6) = (first(true), first(false));
        let routes = std::mem::take(&mut result.routes).into_iter();
        let routes = routes.map(|route| Route { gw: route.gw, ..Route::to(route.dst) });
        let (to_v4, to_v6): (Vec<_>, Vec<_>) = routes.partition(|route| is_v4(&route.dst));
        result.routes.extend(to_v4.into_iter().filter(|_| v4.is_some()));
        result.routes.extend(to_v6.into_iter().filter(|_| v6.is_some()));
        result.ips = [v4, v6].into_iter().flatten().collect();
        result.ips.iter_mut().for_each(|ip| ip.interface = None);
        result.interfaces.clear();
    }
    result
}

proptest! {
    #[test]
    fn a_version_keeps_all_that_it_can_express(result in any_result(), index in 0..Version::ALL.len()) {
        let version = Version::ALL[index];
        match result.to_json(version) {
            Ok(text) => {
                let back = AddResult::from_json(text.as_bytes(), Version::LATEST).unwrap();
                prop_assert_eq!(&back, &expressible(result, version));
                prop_assert_eq!(back.to_json(version).unwrap(), text);
            }
            Err(_) => prop_assert!(version < Version::V0_3_0 && result.ips.is_empty()),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), index in 0..Version::ALL.len()) {
        if let Err(error) = AddResult::from_json(&bytes, Version::ALL[index]) {
            prop_assert_eq!(error.code, code::DECODING_FAILURE);
        }
    }

    #[test]
    fn a_damaged_result_is_read_or_refused(
        result in any_result(), index in 0..Version::ALL.len(), at in any::<prop::sample::Index>(), by in any::<u8>(),
    ) {
        let version = Version::ALL[index];
        if let Ok(text) = result.to_json(version) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = by;
            if let Err(error) = AddResult::from_json(&bytes, version) {
                prop_assert!([code::DECODING_FAILURE, code::INCOMPATIBLE_VERSION].contains(&error.code));
            }
        }
    }
}
