//! A pod's JSON in, its endpoint out: the rows of `reference/cni-plugin.md` 6.2, 6.3, 9.2 and 9.3.

use serde_json::json;

use super::*;
use crate::resources::Object;
use crate::resources::validation::FieldErrors;

/// A running pod, changed.
fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "cart-0", "namespace": "shop", "generateName": "cart-",
            "uid": "5b1d0a52-6c0e-4a70-9d7e-0f7a4f1f2c11", "resourceVersion": "4711",
            "creationTimestamp": "2026-03-02T10:15:42Z",
            "labels": {"app": "cart"}, "annotations": {},
            "managedFields": [{"manager": "kubelet"}],
        },
        "spec": {
            "nodeName": "node-a1", "serviceAccountName": "cart-sa",
            "containers": [{"name": "c", "image": "i", "ports": null}],
        },
        "status": {"phase": "Running", "podIP": "10.65.14.7",
                   "podIPs": [{"ip": "10.65.14.7"}, {"ip": "fd00:65::e07"}]},
    });
    change(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn endpoint(change: impl FnOnce(&mut Value)) -> WorkloadEndpoint {
    pod(change).endpoint("").unwrap().endpoint
}

fn error(change: impl FnOnce(&mut Value)) -> String {
    pod(change).endpoint("").unwrap_err().to_string()
}

fn annotate(pod: &mut Value, name: &str, value: &str) {
    pod["metadata"]["annotations"][name] = value.into();
}

/// No status yet: what the annotations say counts.
fn annotated(name: &'static str, value: &'static str) -> impl FnOnce(&mut Value) {
    move |pod| {
        pod["status"] = json!({"phase": "Pending"});
        annotate(pod, name, value);
    }
}

#[test]
fn the_worked_example_of_the_sheet() {
    let endpoint = endpoint(|pod| {
        annotate(pod, "cni.projectcalico.org/containerID", "4be1f7a0");
        annotate(pod, "cni.projectcalico.org/floatingIPs", r#"["198.51.100.20"]"#);
        annotate(pod, "cni.projectcalico.org/allowedSourcePrefixes", r#"["203.0.113.5/28"]"#);
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    });
    let written: Value = serde_json::from_slice(&crate::resources::encode(&endpoint)).unwrap();
    assert_eq!(
        written,
        json!({
            "kind": "WorkloadEndpoint", "apiVersion": "projectcalico.org/v3",
            "metadata": {
                "name": "node--a1-k8s-cart--0-eth0", "namespace": "shop", "generateName": "cart-",
                "uid": "5b1d0a52-6c0e-4a70-9d7e-0f7a4f1f2c11", "resourceVersion": "4711",
                "creationTimestamp": "2026-03-02T10:15:42Z",
                "labels": {
                    "app": "cart", "projectcalico.org/namespace": "shop",
                    "projectcalico.org/orchestrator": "k8s",
                    "projectcalico.org/serviceaccount": "cart-sa",
                },
            },
            "spec": {
                "orchestrator": "k8s", "node": "node-a1", "pod": "cart-0", "endpoint": "eth0",
                "containerID": "4be1f7a0", "serviceAccountName": "cart-sa",
                "ipNetworks": ["10.65.14.7/32", "fd00:65::e07/128"],
                "ipNATs": [{"internalIP": "10.65.14.7", "externalIP": "198.51.100.20"}],
                "profiles": ["kns.shop", "ksa.shop.cart-sa"],
                "interfaceName": "cali18582a65b10",
                "ports": [{
                    "name": "http", "protocol": "TCP", "port": 8080, "hostPort": 0, "hostIP": "",
                }],
                "allowSpoofedSourcePrefixes": ["203.0.113.0/28"],
            },
        })
    );
    // What a write insists on holds.
    let mut errors = FieldErrors::default();
    endpoint.validate(None, &mut errors);
    assert_eq!(errors.into_result(String::new()), Ok(()));
}

#[test]
fn addresses_come_from_the_first_place_that_has_any() {
    let of = |change: &dyn Fn(&mut Value)| endpoint(|pod| change(pod)).spec.ip_networks;
    assert_eq!(of(&|_| {}), ["10.65.14.7/32", "fd00:65::e07/128"]);
    assert_eq!(of(&|pod| pod["status"]["podIPs"] = json!(null)), ["10.65.14.7/32"]);
    // Status beats annotation.
    assert_eq!(of(&|pod| annotate(pod, annotation::POD_IPS, "10.1.1.1/32")).len(), 2);
    for (name, value, expected) in [
        (annotation::POD_IPS, "10.1.1.1/32,fd00::1/128", vec!["10.1.1.1/32", "fd00::1/128"]),
        (annotation::POD_IPS, "10.1.1.1, fd00::1", vec!["10.1.1.1/32", "fd00::1/128"]),
        (annotation::POD_IP, "10.1.1.1/32", vec!["10.1.1.1/32"]),
        (annotation::POD_IP, "10.1.1.1", vec!["10.1.1.1/32"]),
        (annotation::AWS_POD_IPS, "10.1.1.1", vec!["10.1.1.1/32"]),
        (annotation::AWS_POD_IPS, "10.1.1.1,10.1.1.2", vec!["10.1.1.1/32", "10.1.1.2/32"]),
        (annotation::POD_IP, "", vec![]),
    ] {
        assert_eq!(endpoint(annotated(name, value)).spec.ip_networks, expected, "{name} {value}");
    }
    let both = endpoint(|pod| {
        annotated(annotation::POD_IPS, "10.1.1.1,fd00::1")(pod);
        annotate(pod, annotation::POD_IP, "10.2.2.2");
        annotate(pod, annotation::AWS_POD_IPS, "10.3.3.3");
    });
    assert_eq!(both.spec.ip_networks, ["10.1.1.1/32", "fd00::1/128"]);
    let neither = endpoint(|pod| {
        annotated(annotation::POD_IP, "10.2.2.2")(pod);
        annotate(pod, annotation::AWS_POD_IPS, "10.3.3.3");
    });
    assert_eq!(neither.spec.ip_networks, ["10.2.2.2/32"]);
}

#[test]
fn an_address_that_is_none_fails_and_says_where() {
    for (place, change) in [
        (annotation::POD_IPS, annotated(annotation::POD_IPS, "10.1.1.1,10.1.1.x")),
        (annotation::POD_IP, annotated(annotation::POD_IP, "10.1.1.x")),
        (annotation::AWS_POD_IPS, annotated(annotation::AWS_POD_IPS, "10.1.1.x")),
    ] {
        let error = error(change);
        assert!(error.contains(place) && error.contains("\"10.1.1.x\""), "{place}: {error}");
        assert!(error.contains("pod shop/cart-0"), "{error}");
    }
    let error = error(|pod| pod["status"]["podIPs"][1]["ip"] = "10.1.1.x".into());
    assert!(error.contains("status.podIPs"), "{error}");
}

#[test]
fn a_finished_pod_has_no_addresses() {
    let leaving = |pod: &mut Value| {
        pod["metadata"]["deletionTimestamp"] = "2026-03-02T11:00:00Z".into();
    };
    // phase, leaving, annotation that is there but empty -> has addresses
    for (phase, is_leaving, emptied, has) in [
        ("Running", false, None, true),
        ("Pending", false, None, true),
        ("Running", true, None, true),
        ("Running", false, Some(annotation::POD_IP), true),
        ("Running", true, Some(annotation::POD_IP), false),
        ("Running", false, Some(annotation::AWS_POD_IPS), true),
        ("Running", true, Some(annotation::AWS_POD_IPS), false),
        ("Running", true, Some(annotation::POD_IPS), true),
        ("Succeeded", false, None, false),
        ("Failed", false, None, false),
        ("Completed", false, None, false),
        ("Unknown", false, None, true),
    ] {
        let endpoint = endpoint(|pod| {
            pod["status"]["phase"] = phase.into();
            if is_leaving {
                leaving(pod);
            }
            if let Some(name) = emptied {
                annotate(pod, name, "");
            }
            annotate(pod, annotation::FLOATING_IPS, r#"["198.51.100.20"]"#);
        });
        let case = format!("{phase} {is_leaving} {emptied:?}");
        assert_eq!(!endpoint.spec.ip_networks.is_empty(), has, "{case}");
        assert_eq!(!endpoint.spec.ip_nats.is_empty(), has, "{case}");
    }
}

#[test]
fn a_pod_without_a_name_or_node_has_no_endpoint() {
    for (change, missing) in [
        (&(|pod: &mut Value| pod["spec"]["nodeName"] = json!("")) as &dyn Fn(&mut Value), "node"),
        (&|pod| pod["spec"]["nodeName"] = json!(null), "node"),
        (&|pod| pod["metadata"]["name"] = json!(""), "pod"),
    ] {
        let error = error(change);
        assert!(error.contains(&format!("the {missing} is missing")), "{error}");
    }
    assert!(pod(|_| {}).has_endpoint());
    assert!(!pod(|pod| pod["spec"]["nodeName"] = json!("")).has_endpoint());
    assert!(!pod(|pod| pod["spec"]["hostNetwork"] = json!(true)).has_endpoint());
}

#[test]
fn k2_ports_with_a_name_or_a_port_of_the_host() {
    let ports = |ports: Value, init: Value| {
        let endpoint = endpoint(|pod| {
            pod["spec"]["containers"][0]["ports"] = ports;
            pod["spec"]["initContainers"] = json!([{ "ports": init }]);
        });
        serde_json::to_value(endpoint.spec.ports).unwrap()
    };
    let port = |name: &str, protocol: &str, port: u16, host_port: u16, host_ip: &str| {
        json!({
            "name": name, "protocol": protocol, "port": port, "hostPort": host_port,
            "hostIP": host_ip,
        })
    };
    let declared = json!([
        {"name": "anon", "containerPort": 555},
        {"containerPort": 80},
        {"containerPort": 81, "hostPort": 8081, "hostIP": "192.0.2.2"},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "sip", "containerPort": 5060, "protocol": "SCTP"},
        {"name": "odd", "containerPort": 7, "protocol": "DCCP"},
        {"name": "none", "containerPort": 0},
    ]);
    let init = json!([{"name": "early", "containerPort": 9, "protocol": "TCP"}]);
    assert_eq!(
        ports(declared, init),
        json!([
            port("anon", "TCP", 555, 0, ""),
            port("", "TCP", 81, 8081, "192.0.2.2"),
            port("dns", "UDP", 53, 0, ""),
            port("sip", "SCTP", 5060, 0, ""),
            port("early", "TCP", 9, 0, ""),
        ])
    );
    assert_eq!(ports(json!(null), json!(null)), json!([]));
}

#[test]
fn k33_the_service_account_is_label_profile_and_field() {
    let with = |account: &str| endpoint(|pod| pod["spec"]["serviceAccountName"] = account.into());
    let endpoint = with("testserviceaccount");
    assert_eq!(endpoint.spec.service_account_name, "testserviceaccount");
    assert_eq!(endpoint.spec.profiles, ["kns.shop", "ksa.shop.testserviceaccount"]);
    assert_eq!(endpoint.metadata.labels[LABEL_SERVICE_ACCOUNT], "testserviceaccount");
    let endpoint = with("");
    assert_eq!(endpoint.spec.profiles, ["kns.shop"]);
    assert!(!endpoint.metadata.labels.contains_key(LABEL_SERVICE_ACCOUNT));
    // FIX 28: a name of 63 characters is a legal value, which upstream leaves out.
    for (length, has) in [(62, true), (63, true), (64, false)] {
        let account = "a".repeat(length);
        let endpoint = with(&account);
        assert_eq!(endpoint.metadata.labels.contains_key(LABEL_SERVICE_ACCOUNT), has, "{length}");
        assert_eq!(endpoint.spec.profiles[1], format!("ksa.shop.{account}"));
    }
}

#[test]
fn k34_the_pods_own_metadata_stays() {
    let endpoint = endpoint(|pod| {
        pod["metadata"]["labels"] = json!({
            "app": "cart", "projectcalico.org/namespace": "elsewhere",
            "projectcalico.org/orchestrator": "none",
        });
        annotate(pod, "k8s.v1.cni.cncf.io/network-status", "[{}]");
        annotate(pod, "kubectl.kubernetes.io/last-applied-configuration", "{}");
    });
    assert_eq!(endpoint.metadata.generate_name, "cart-");
    // Nobody can pass for another namespace's pod by a label of his own.
    assert_eq!(endpoint.metadata.labels[LABEL_NAMESPACE], "shop");
    assert_eq!(endpoint.metadata.labels[LABEL_ORCHESTRATOR], "k8s");
    assert_eq!(
        endpoint.metadata.annotations,
        StringMap::from([("k8s.v1.cni.cncf.io/network-status".into(), "[{}]".into())])
    );
}

#[test]
fn floating_addresses_are_paired_by_family() {
    let nats = |pod_ips: Value, floating: &str| {
        let endpoint = endpoint(|pod| {
            pod["status"] = json!({"phase": "Running", "podIPs": pod_ips});
            annotate(pod, annotation::FLOATING_IPS, floating);
        });
        let nats = endpoint.spec.ip_nats.into_iter();
        nats.map(|nat| format!("{}>{}", nat.external_ip, nat.internal_ip)).collect::<Vec<_>>()
    };
    let dual = json!([{"ip": "10.65.14.7"}, {"ip": "fd00:65::e07"}]);
    let v4 = json!([{"ip": "10.65.14.7"}]);
    let floating = r#"["198.51.100.20", "2001:db8::20"]"#;
    // K26, then K20.
    let both = ["198.51.100.20>10.65.14.7", "2001:db8::20>fd00:65::e07"];
    assert_eq!(nats(dual, floating), both);
    assert_eq!(nats(v4.clone(), r#"["198.51.100.20"]"#), both[..1]);
    // Without a pod address of the family it waits for one.
    assert_eq!(nats(v4, floating), both[..1]);
    assert_eq!(nats(json!([]), floating), Vec::<String>::new());
}

#[test]
fn k19_prefixes_are_normalised() {
    for (value, expected) in [
        ("", vec![]),
        ("[]", vec![]),
        (r#"["8.8.8.8/32","1.1.1.0/24"]"#, vec!["8.8.8.8/32", "1.1.1.0/24"]),
        (r#"["1.1.1.7/24", "2001:DB8::7/64"]"#, vec!["1.1.1.0/24", "2001:db8::/64"]),
    ] {
        let endpoint = endpoint(|pod| annotate(pod, annotation::ALLOWED_SOURCE_PREFIXES, value));
        assert_eq!(endpoint.spec.allow_spoofed_source_prefixes, expected, "{value}");
    }
}

#[test]
fn a_malformed_annotation_is_named() {
    for (name, value) in [
        (annotation::ALLOWED_SOURCE_PREFIXES, r#"["8.8.8.8"]"#),
        (annotation::ALLOWED_SOURCE_PREFIXES, "8.8.8.8/32"),
        (annotation::FLOATING_IPS, "{"),
        (annotation::FLOATING_IPS, r#"["here"]"#),
    ] {
        let error = error(|pod| annotate(pod, name, value));
        assert!(error.contains(name) && error.contains("pod shop/cart-0"), "{error}");
    }
}

#[test]
fn limits_are_on_the_endpoint_and_wrong_ones_only_warn() {
    let converted = pod(|pod| {
        annotate(pod, "kubernetes.io/egress-bandwidth", "1M");
        annotate(pod, "qos.projectcalico.org/ingressBandwidth", "fast");
    });
    let converted = converted.endpoint("").unwrap();
    assert_eq!(
        converted.endpoint.spec.qos_controls.map(Value::Object),
        Some(json!({"egressBandwidth": 1_000_000, "egressBurst": 4_294_967_296_i64}))
    );
    assert_eq!(converted.warnings.len(), 1);
    assert!(converted.warnings[0].contains("ingressBandwidth"), "{:?}", converted.warnings);
}

#[test]
fn the_link_has_the_prefix_of_the_reader() {
    let converted = pod(|pod| {
        pod["metadata"]["namespace"] = "namespace".into();
        pod["metadata"]["name"] = "podname".into();
    });
    let endpoint = converted.endpoint("eni,veth,foo").unwrap().endpoint;
    assert_eq!(endpoint.spec.interface_name, "eni82111e10a96");
}

#[test]
fn fix_42_a_removal_reads_what_is_there() {
    let record = PodRecord::read(&json!({
        "metadata": {
            "name": "cart-0", "namespace": "shop", "uid": "u-1", "resourceVersion": "4711",
            "annotations": {
                "cni.projectcalico.org/containerID": "4be1",
                "cni.projectcalico.org/podIP": "10.65.14.7/32",
                "cni.projectcalico.org/podIPs": "what?",
                "cni.projectcalico.org/floatingIPs": "{",
                "cni.projectcalico.org/allowedSourcePrefixes": "[",
            },
        },
        "spec": {"nodeName": "node-a1", "containers": "none"},
    }));
    assert_eq!(
        record,
        PodRecord {
            name: "cart-0".into(),
            namespace: "shop".into(),
            uid: "u-1".into(),
            resource_version: "4711".into(),
            node: "node-a1".into(),
            host_network: false,
            container_id: "4be1".into(),
            has_addresses: true,
        }
    );
    assert!(record.has_endpoint_on("node-a1") && !record.has_endpoint_on("node-b"));
    for odd in [json!(null), json!([]), json!("pod"), json!({"metadata": {"annotations": [1]}})] {
        assert_eq!(PodRecord::read(&odd), PodRecord::default(), "{odd}");
    }
    assert!(!PodRecord::default().has_endpoint_on(""));
}

#[test]
fn fix_15_a_sandbox_of_a_former_pod_is_told_by_its_uid() {
    let pod = pod(|pod| annotate(pod, "kubernetes.io/config.mirror", "f00d"));
    assert!(pod.is_run_as("5b1d0a52-6c0e-4a70-9d7e-0f7a4f1f2c11"));
    // Of a file on the node.
    assert!(pod.is_run_as("f00d"));
    assert!(!pod.is_run_as("5b1d0a52-6c0e-4a70-9d7e-0f7a4f1f2c12"));
    assert!(!pod.is_run_as(""));
}
