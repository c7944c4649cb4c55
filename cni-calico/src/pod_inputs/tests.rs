//! From the API's JSON to what ADD does, with the rows of `reference/cni-plugin.md` 9.2.

use cni::NetworkConfig;
use cni_ipam::identity::Workload;
use serde_json::{Value, json};

use super::*;

fn conf(change: impl FnOnce(&mut Value)) -> Conf {
    let mut document = json!({
        "cniVersion": "1.0.0", "name": "net-1", "type": "calico", "policy": {"type": "k8s"},
        "ipam": {"type": "calico-ipam", "ipv4_pools": ["default"], "ipv6_pools": ["default-6"]},
    });
    change(&mut document);
    Conf::parse(&NetworkConfig::decode(document.to_string()).unwrap()).unwrap()
}

fn plain() -> Conf {
    conf(|_| {})
}

/// A pod with these annotations of Calico's.
fn pod(annotations: &[(&str, &str)]) -> Pod {
    let annotations: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| match name.contains('/') {
            true => ((*name).to_owned(), json!(value)),
            false => (format!("cni.projectcalico.org/{name}"), json!(value)),
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {
            "name": "cart-0", "namespace": "shop", "uid": "u-1", "generateName": "cart-",
            "labels": {"app": "cart"}, "annotations": annotations,
        },
        "spec": {
            "nodeName": "node-a1", "serviceAccountName": "cart-sa",
            "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}],
        },
    }))
    .unwrap()
}

fn read(annotations: &[(&str, &str)], conf: &mut Conf) -> Result<PodInputs, Error> {
    PodInputs::read(&pod(annotations), &Namespace::default(), Some("u-1"), conf)
}

/// The endpoint that these inputs make, with these addresses.
fn filled(inputs: &PodInputs, addresses: &[&str]) -> Value {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let mut endpoint = WorkloadEndpoint::default();
    endpoint.spec.profiles = vec!["net-1".into()];
    inputs.fill(&mut endpoint, &addresses);
    serde_json::to_value(&endpoint).unwrap()
}

#[test]
fn the_pods_own_go_into_the_endpoint() {
    let inputs = read(
        &[
            ("allowedSourcePrefixes", r#"["8.8.8.8/32","1.1.1.0/24"]"#),
            ("qos.projectcalico.org/ingressPacketRate", "100"),
        ],
        &mut plain(),
    )
    .unwrap();
    let endpoint = filled(&inputs, &["10.65.14.7"]);
    // K2, K19, K33, K34, FIX 26
    assert_eq!(
        endpoint["spec"],
        json!({
            "serviceAccountName": "cart-sa",
            "profiles": ["kns.shop", "ksa.shop.cart-sa"],
            "ports": [{
                "name": "http", "protocol": "TCP", "port": 8080, "hostPort": 0, "hostIP": "",
            }],
            "allowSpoofedSourcePrefixes": ["8.8.8.8/32", "1.1.1.0/24"],
            "qosControls": {"ingressPacketRate": 100, "ingressPacketBurst": 5},
        })
    );
    assert_eq!(endpoint["metadata"]["generateName"], "cart-");
    assert_eq!(
        endpoint["metadata"]["labels"],
        json!({
            "app": "cart", "projectcalico.org/namespace": "shop",
            "projectcalico.org/orchestrator": "k8s", "projectcalico.org/serviceaccount": "cart-sa",
        })
    );
}

#[test]
fn without_a_pod_nothing_is_said() {
    let endpoint = filled(&PodInputs::default(), &["10.65.14.7"]);
    assert_eq!(endpoint["spec"], json!({"profiles": ["net-1"]}));
    assert!(PodInputs::default().mac.is_none() && !PodInputs::default().takes_over);
}

#[test]
fn k20_and_k26_floating_addresses_are_paired_anew_each_time() {
    let mut conf = conf(|conf| {
        conf["feature_control"] = json!({"floating_ips": true});
        conf["ipam"]["assign_ipv6"] = json!("true");
    });
    let floating = [("floatingIPs", r#"["198.51.100.20","2001:db8::20"]"#)];
    let inputs = read(&floating, &mut conf).unwrap();
    let mut endpoint = WorkloadEndpoint::default();
    for _ in 0..2 {
        // FIX 10: what a former sandbox had doesn't stay beside it.
        inputs.fill(&mut endpoint, &["10.65.14.7".parse().unwrap(), "fd00::7".parse().unwrap()]);
        assert_eq!(
            serde_json::to_value(&endpoint.spec.ip_nats).unwrap(),
            json!([
                {"internalIP": "10.65.14.7", "externalIP": "198.51.100.20"},
                {"internalIP": "fd00::7", "externalIP": "2001:db8::20"},
            ])
        );
    }
    // Before there are addresses there is nothing to pair.
    assert_eq!(filled(&inputs, &[])["spec"]["ipNATs"], json!(null));
}

#[test]
fn fix_10_a_family_that_the_network_doesnt_give_is_refused_early() {
    let mut conf = conf(|conf| conf["feature_control"] = json!({"floating_ips": true}));
    let error = read(&[("floatingIPs", r#"["2001:db8::20"]"#)], &mut conf).unwrap_err();
    assert_eq!(error.code, code::INVALID_CONFIG);
    assert!(error.msg.contains("floatingIPs") && error.msg.contains("2001:db8::20"));
    // Another IPAM plugin's families are its secret: what doesn't fit is left out then.
    conf.shared.ipam.kind = "host-local".into();
    let inputs = read(&[("floatingIPs", r#"["2001:db8::20"]"#)], &mut conf).unwrap();
    assert_eq!(filled(&inputs, &["10.65.14.7"])["spec"]["ipNATs"], json!(null));
}

#[test]
fn k12_to_k18_and_k41_pools_and_families_take_the_configured_ones_place() {
    let mut conf = plain();
    let asked = [
        ("ipv4pools", r#"["10.0.0.0/24","pool-b"]"#),
        ("ipv6pools", "[]"),
        ("ipFamilies", r#"["IPv6","IPv4"]"#),
    ];
    let inputs = read(&asked, &mut conf).unwrap();
    assert_eq!(inputs.addresses, Named::None);
    assert_eq!(conf.shared.ipam.ipv4_pools, ["10.0.0.0/24", "pool-b"]);
    assert_eq!(conf.shared.ipam.ipv6_pools, [""; 0]);
    assert!(conf.shared.wants_ipv4() && conf.shared.wants_ipv6());
    let mut conf = plain();
    read(&[("ipFamilies", r#"["IPv6"]"#)], &mut conf).unwrap();
    assert!(!conf.shared.wants_ipv4() && conf.shared.wants_ipv6());
    assert_eq!(conf.shared.ipam.ipv4_pools, ["default"]);
    // What our IPAM makes of it.
    let request = cni_ipam::request::any(&conf.shared, "node-a1").unwrap();
    assert_eq!((request.v4, request.v6), (0, 1));
}

#[test]
fn k22_and_k25_named_addresses() {
    let one: Vec<IpAddr> = vec!["20.0.0.111".parse().unwrap()];
    let inputs = read(&[("ipAddrs", r#"["20.0.0.111"]"#)], &mut plain()).unwrap();
    assert_eq!(inputs.addresses, Named::FromIpam(one.clone()));
    let mut allowed = conf(|conf| conf["feature_control"] = json!({"ip_addrs_no_ipam": true}));
    let inputs = read(&[("ipAddrsNoIpam", r#"["20.0.0.111"]"#)], &mut allowed).unwrap();
    assert_eq!(inputs.addresses, Named::WithoutIpam(one));
}

#[test]
fn fix_8_every_mistake_shows_before_anything_is_touched() {
    // K21, K23, K24, K39 and their like, each with the code of its kind.
    for (name, value, code) in [
        ("floatingIPs", r#"["198.51.100.20"]"#, code::INVALID_CONFIG),
        ("floatingIPs", "{", code::DECODING_FAILURE),
        ("ipAddrsNoIpam", r#"["10.0.0.1"]"#, code::INVALID_CONFIG),
        ("ipAddrs", r#"["10.0.0.1","10.0.0.2"]"#, code::DECODING_FAILURE),
        ("ipAddrs", "[]", code::DECODING_FAILURE),
        ("ipv4pools", "pool-b", code::DECODING_FAILURE),
        ("ipv6pools", r#"["10.0.0.0/8"]"#, code::DECODING_FAILURE),
        ("ipFamilies", r#"["IPv5"]"#, code::DECODING_FAILURE),
        ("allowedSourcePrefixes", r#"["8.8.8.8"]"#, code::DECODING_FAILURE),
        ("hwAddr", "this is not a MAC", code::DECODING_FAILURE),
        ("hwAddr", "01:00:5e:00:00:01", code::DECODING_FAILURE),
        ("hwAddr", "00:00:00:00:00:00", code::DECODING_FAILURE),
        ("hwAddr", "ee:ee:ee:ee:ee:ee", code::DECODING_FAILURE),
    ] {
        let error = read(&[(name, value)], &mut plain()).unwrap_err();
        let named = format!("annotation cni.projectcalico.org/{name} of pod shop/cart-0");
        assert_eq!(error.code, code, "{}", error.msg);
        assert!(error.msg.starts_with(&named), "{}", error.msg);
    }
}

#[test]
fn k38_the_mac() {
    for text in ["ca:fe:ca:fe:ca:fe", "CA-FE-CA-FE-CA-FE", "cafe.cafe.cafe"] {
        let inputs = read(&[("hwAddr", text)], &mut plain()).unwrap();
        assert_eq!(inputs.mac.map(|mac| mac.to_string()).as_deref(), Some("ca:fe:ca:fe:ca:fe"));
    }
    assert_eq!(read(&[("hwAddr", "")], &mut plain()).unwrap().mac, None);
}

#[test]
fn fix_15_a_pod_of_another_uid_is_not_ours() {
    let read = |uid| PodInputs::read(&pod(&[]), &Namespace::default(), uid, &mut plain());
    assert!(read(None).is_ok() && read(Some("u-1")).is_ok());
    let error = read(Some("u-0")).unwrap_err();
    assert_eq!(error.code, code::UNKNOWN_CONTAINER);
    assert!(error.msg.contains("u-0") && error.msg.contains("u-1"), "{}", error.msg);
}

#[test]
fn fix_34_only_what_the_former_sandbox_has_goes_back_by_its_own_handle() {
    let identity = Identity {
        workload: Workload::Pod { namespace: "shop".into(), name: "cart-0".into() },
        container_id: "c2".into(),
        ifname: "eth0".into(),
        node: "node-a1".into(),
        network: "net-1".into(),
    };
    let former = |container_id: &str, networks: &[&str]| {
        let mut endpoint = WorkloadEndpoint::default();
        endpoint.spec.container_id = container_id.into();
        endpoint.spec.ip_networks = networks.iter().map(|text| (*text).to_owned()).collect();
        endpoint
    };
    let inputs = read(&[("ipAddrs", r#"["20.0.0.111","fd00::1"]"#)], &mut plain()).unwrap();
    let held = |former: WorkloadEndpoint| inputs.held_by(&former, &identity);
    let (one, other) = ("20.0.0.111/32", "20.0.0.112/32");
    let addresses = vec!["20.0.0.111".parse().unwrap()];
    let expected = Some(Held { handle: "net-1.c1".to_owned(), addresses });
    assert_eq!(held(former("c1", &[one, other])), expected);
    assert_eq!(held(former("c1", &[other])), None);
    // The pod's own sandbox keeps what it has, and of nobody's nothing is known.
    assert_eq!(held(former("c2", &[one])), None);
    assert_eq!(held(former("", &[one])), None);
    // Who names none, or asks no IPAM, takes nothing back.
    let without = PodInputs {
        addresses: Named::WithoutIpam(vec!["20.0.0.111".parse().unwrap()]),
        ..PodInputs::default()
    };
    assert_eq!(without.held_by(&former("c1", &[one]), &identity), None);
    assert_eq!(PodInputs::default().held_by(&former("c1", &[one]), &identity), None);
}
