//! Every vector recorded from upstream.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

fn golden<T: DeserializeOwned>(table: &str) -> Vec<T> {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/names.json")).unwrap();
    let rows: Vec<T> = serde_json::from_value(all[table].clone()).unwrap();
    assert!(!rows.is_empty(), "{table}");
    rows
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome {
    ok: bool,
    name: String,
    matches: bool,
    node: String,
    orchestrator: String,
    endpoint: String,
    workload: String,
    pod: String,
    #[serde(rename = "containerID")]
    container_id: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Row {
    name: String,
    node: String,
    orchestrator: String,
    endpoint: String,
    workload: String,
    pod: String,
    #[serde(rename = "containerID")]
    container_id: String,
    result: Outcome,
    prefix_result: Outcome,
}

impl Row {
    fn identifiers(&self) -> WorkloadEndpointName {
        WorkloadEndpointName {
            node: self.node.clone(),
            orchestrator: self.orchestrator.clone(),
            endpoint: self.endpoint.clone(),
            workload: self.workload.clone(),
            pod: self.pod.clone(),
            container_id: self.container_id.clone(),
        }
    }
}

impl Outcome {
    fn expected(&self) -> Option<&str> {
        self.ok.then_some(self.name.as_str())
    }
}

#[test]
fn endpoint_names_are_upstreams() {
    for row in golden::<Row>("workload_endpoint_name") {
        let ids = row.identifiers();
        assert_eq!(ids.name().ok().as_deref(), row.result.expected(), "{ids:?}");
        assert_eq!(ids.name_prefix().ok().as_deref(), row.prefix_result.expected(), "{ids:?}");
    }
}

#[test]
fn endpoint_names_are_read_as_upstream_reads_them() {
    for row in golden::<Row>("workload_endpoint_name_parse") {
        let expected = row.result.ok.then(|| WorkloadEndpointName {
            node: row.result.node.clone(),
            orchestrator: row.result.orchestrator.clone(),
            endpoint: row.result.endpoint.clone(),
            workload: row.result.workload.clone(),
            pod: row.result.pod.clone(),
            container_id: row.result.container_id.clone(),
        });
        assert_eq!(WorkloadEndpointName::parse(&row.name).ok(), expected, "{}", row.name);
    }
}

#[test]
fn endpoint_names_match_as_upstream_matches_them() {
    for row in golden::<Row>("workload_endpoint_name_matches") {
        let expected = row.result.ok.then_some(row.result.matches);
        assert_eq!(row.identifiers().matches(&row.name).ok(), expected, "{}", row.name);
    }
}

#[test]
fn an_error_names_the_field_and_its_value() {
    let ids = WorkloadEndpointName {
        node: "n".into(),
        orchestrator: "k8s".into(),
        pod: "p-".into(),
        endpoint: "eth0".into(),
        ..Default::default()
    };
    let message = ids.name().unwrap_err().to_string();
    assert!(message.contains("pod") && message.contains("\"p-\""), "{message}");
}

#[test]
fn host_links_are_upstreams() {
    #[derive(Deserialize)]
    struct Row {
        namespace: String,
        pod: String,
        #[serde(rename = "FELIX_INTERFACEPREFIX")]
        prefixes: String,
        name: String,
    }
    for row in golden::<Row>("k8s_host_link") {
        assert_eq!(k8s_host_link(&row.prefixes, &row.namespace, &row.pod), row.name);
    }
    assert_eq!(k8s_host_link("eni,veth,foo", "namespace", "podname"), "eni82111e10a96");
    assert_eq!(cni_host_link("badbeef"), "calibadbeef");
    assert_eq!(cni_host_link("f00dcafe0123456789ab"), "calif00dcafe012");
}

#[test]
fn handles_are_upstreams() {
    #[derive(Deserialize)]
    struct Plain {
        network: String,
        #[serde(rename = "containerID")]
        container_id: String,
        handle: String,
    }
    for row in golden::<Plain>("handle_id") {
        assert_eq!(handle_id(&row.network, &row.container_id), row.handle);
    }
    #[derive(Deserialize)]
    struct Vm {
        network: String,
        namespace: String,
        vm: String,
        handle: serde_json::Value,
    }
    for row in golden::<Vm>("vm_handle_id") {
        let handle = vm_handle_id(&row.network, &row.namespace, &row.vm);
        match row.handle.as_str() {
            Some(expected) => assert_eq!(handle, expected),
            // Upstream crashes here. What we make must still be short and not end in the name.
            None => assert!(handle.len() <= 128 && !handle.contains(&row.vm), "{handle}"),
        }
    }
    assert_eq!(legacy_k8s_handle_id("shop", "cart-0"), "shop.cart-0");
    assert_eq!(legacy_cni_handle_id("abc"), "abc");
}

/// Weak point 19 (`reference/ipam.md` 15.2): upstream crashes for most of these lengths.
#[test]
fn a_virtual_machine_with_a_name_of_any_length_has_a_short_handle_of_its_own() {
    for network in 1..=253 {
        let network = "n".repeat(network);
        for vm in [1, 63, 84, 127, 128, 253] {
            let [one, other] = ['a', 'b']
                .map(|end| vm_handle_id(&network, "shop", &format!("{}{end}", "v".repeat(vm))));
            assert!(one.len() <= 128, "{one}");
            // The network's name alone may fill the handle; no network is called so.
            assert!(one != other || network.len() > 110, "{one}");
        }
        vm_handle_id(&network, "läden", "größe".repeat(60).as_str());
        vm_handle_id(&"ñ".repeat(network.len()), "shop", "vm");
    }
}

#[test]
fn tunnel_handles_are_upstreams() {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/golden/names.json")).unwrap();
    let recorded = &all["tunnel_handles"];
    for (tunnel, name) in [
        (Tunnel::Ipip, "ipip"),
        (Tunnel::Vxlan, "vxlan"),
        (Tunnel::VxlanV6, "vxlan_v6"),
        (Tunnel::Wireguard, "wireguard"),
        (Tunnel::WireguardV6, "wireguard_v6"),
    ] {
        assert_eq!(tunnel.handle_id("node-1"), recorded[name].as_str().unwrap());
    }
}

#[test]
fn network_and_node_names_are_judged_as_upstream_does() {
    #[derive(Deserialize)]
    struct Network {
        name: String,
        ok: bool,
    }
    for row in golden::<Network>("network_name_valid") {
        assert_eq!(is_valid_network_name(&row.name), row.ok, "{:?}", row.name);
    }
    #[derive(Deserialize)]
    struct Node {
        os_hostname: String,
        name: String,
    }
    for row in golden::<Node>("node_name_from_hostname") {
        assert_eq!(node_name_from_hostname(&row.os_hostname), row.name);
    }
}

#[test]
fn status_files_are_named_as_felix_names_them() {
    let file = |name: &str| endpoint_status_file("shop", name);
    assert_eq!(file("n-k8s-cart--0-eth0").unwrap(), "k8s shop%2Fcart-0 eth0");
    let odd = WorkloadEndpointName {
        node: "n".into(),
        orchestrator: "k8/s".into(),
        workload: "t/est p".into(),
        endpoint: "eth/0".into(),
        ..Default::default()
    };
    assert_eq!(file(&odd.name().unwrap()).unwrap(), "k8%2Fs shop%2Ft%2Fest%20p eth%2F0");
    assert!(file("n-k8s-cart").is_err());
    assert!(endpoint_status_file("", "n-k8s-p-e").is_err());
}

#[test]
fn names_are_judged() {
    for good in ["a", "1", "a.b", "a-b.c", &"a".repeat(253)] {
        assert!(is_valid_name(good), "{good}");
    }
    for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a b", "ü", "a.-b", &"a".repeat(254)] {
        assert!(!is_valid_name(bad), "{bad}");
    }
    assert!(is_valid_short_name(&"x".repeat(63)) && !is_valid_short_name(&"x".repeat(64)));
    assert!(!is_valid_short_name("a.b"));
    assert!(is_valid_container_id("C0NT-1") && !is_valid_container_id("a_b"));
    assert!(!is_valid_container_id("a-") && !is_valid_container_id(""));
    assert!(is_valid_interface_name("*") && is_valid_interface_name("eth0.100"));
    assert!(!is_valid_interface_name("") && !is_valid_interface_name("sixteen-letters!"));
    assert!(!is_valid_interface_name(&"x".repeat(16)) && !is_valid_interface_name("a/b"));
}

proptest! {
    #[test]
    fn a_name_is_read_back_as_what_it_was_made_of(
        segment in prop::array::uniform3("[a-zA-Z0-9._ü]([a-zA-Z0-9._ü-]{0,6}[a-zA-Z0-9._])?"),
        orchestrator in "k8s|cni|libnetwork|openstack",
    ) {
        let [node, third, endpoint] = segment;
        let mut ids =
            WorkloadEndpointName { node, endpoint, orchestrator, ..WorkloadEndpointName::default() };
        match ids.orchestrator.as_str() {
            "k8s" => ids.pod = third,
            "cni" => ids.container_id = third,
            "libnetwork" => {}
            _ => ids.workload = third,
        }
        let name = ids.name().unwrap();
        prop_assert!(ids.matches(&name).unwrap());
        prop_assert!(name.starts_with(&ids.name_prefix().unwrap()));
        prop_assert_eq!(WorkloadEndpointName::parse(&name).unwrap(), ids);
    }

    #[test]
    fn no_name_makes_the_reader_panic(name in r"-{0,3}\PC{0,6}-{0,3}\PC{0,6}-{0,3}") {
        let _ = WorkloadEndpointName::parse(&name);
        let _ = endpoint_status_file("shop", &name);
    }
}
