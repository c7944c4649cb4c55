//! Whatever stands in a store, a configuration or an environment: read or refused, never a panic.

use std::collections::BTreeMap;

use libcalico::config::Settings;
use libcalico::ipam::affinity::Affinity;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::{Block, IpamConfig, check};
use libcalico::kubernetes::{Allowed, Namespace, Pod, PodRecord, PodRequest};
use libcalico::resources::{
    AnyResource, ClusterInformation, IpPool, IpReservation, IpamConfiguration, Node, Object,
    Profile, Tier, WorkloadEndpoint,
};
use libcalico::selector::Selector;
use libcalico::store::{Document, Key};

const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

fn values(prefix: &str, most: usize) -> Vec<Vec<u8>> {
    fuzz::documents(prefix).into_iter().map(|(_, value)| value).take(most).collect()
}

/// Reads an object; if that works, what it writes reads as the same.
fn round<T: Object + PartialEq>(kind_path: &str, value: &[u8]) {
    let key = Key::parse(kind_path).expect("a key");
    let document = |value: Vec<u8>| Document { key: key.clone(), value, revision: 1 };
    let Ok(mut object) = T::decode(&document(value.to_vec())) else { return };
    let again = T::decode(&document(object.encode()));
    let again = again.unwrap_or_else(|error| panic!("what was written can't be read: {error}"));
    assert_eq!(again.encode(), object.encode());
    object.default_on_write();
    let _ = libcalico::client::prepare_update(&mut object, None);
}

macro_rules! resources {
    ($($test:ident: $type:ty, $path:literal;)*) => {
        $(#[test]
        fn $test() {
            let folder = format!("{RESOURCES}{}/", $path.split('/').next().unwrap_or_default());
            let seeds = values(&folder, 40);
            let path = format!("{RESOURCES}{}", $path);
            fuzz::run(concat!("resource-", stringify!($test)), &seeds, |value| {
                round::<$type>(&path, value);
                round::<AnyResource>(&path, value);
            });
        })*
    };
}

resources! {
    cluster_information: ClusterInformation, "clusterinformations/default";
    ip_pool: IpPool, "ippools/a";
    ip_reservation: IpReservation, "ipreservations/a";
    ipam_configuration: IpamConfiguration, "ipamconfigurations/default";
    node: Node, "nodes/a";
    profile: Profile, "profiles/a";
    tier: Tier, "tiers/a";
    workload_endpoint: WorkloadEndpoint, "workloadendpoints/default/a";
    network_policy: AnyResource, "networkpolicies/default/a";
    felix_configuration: AnyResource, "felixconfigurations/default";
    bgp_peer: AnyResource, "bgppeers/a";
}

#[test]
fn blocks() {
    let seeds = values("/calico/ipam/v2/assignment/", 40);
    let now = time::OffsetDateTime::UNIX_EPOCH;
    fuzz::run("block", &seeds, |value| {
        let Ok(mut block) = Block::decode(value) else { return };
        let again = Block::decode(&block.encode());
        let again = again.unwrap_or_else(|error| panic!("what was written can't be read: {error}"));
        assert_eq!(again.encode(), block.encode());
        let _ = block.problems();
        let _ = (block.is_empty(), block.cooling_count(), block.owner());
        let handles: Vec<String> =
            block.allocated().filter_map(|(_, record)| record.handle_id.clone()).collect();
        for handle in handles.iter().take(4) {
            let _ = block.addresses_of(handle);
        }
        block.collect(now, 0);
        let _ = Block::decode(&block.encode());
    });
}

#[test]
fn handles_affinities_and_configurations_of_ipam() {
    let mut seeds = values("/calico/ipam/v2/handle/", 20);
    seeds.extend(values("/calico/ipam/v2/host/", 20));
    seeds.extend(values("/calico/ipam/v2/config", 5));
    fuzz::run("ipam-objects", &seeds, |value| {
        if let Ok(mut handle) = Handle::decode(value) {
            assert_eq!(
                Handle::decode(&handle.encode()).expect("our own").encode(),
                handle.encode()
            );
            let blocks: Vec<_> = handle.blocks().collect();
            for block in blocks {
                handle.add(block, 1);
                handle.subtract(block, 1, 0);
            }
        }
        let _ = Affinity::decode(value);
        let _ = IpamConfig::decode(value);
    });
}

#[test]
fn a_store_with_one_damaged_document_can_be_checked() {
    let all = fuzz::documents("/calico/ipam/");
    let documents: Vec<Document> = all
        .iter()
        .filter_map(|(key, value)| {
            Some(Document { key: Key::parse(key)?, value: value.clone(), revision: 1 })
        })
        .take(60)
        .collect();
    let seeds: Vec<Vec<u8>> = documents.iter().map(|document| document.value.clone()).collect();
    fuzz::run("check", &seeds, |value| {
        for index in [0, documents.len() / 2, documents.len() - 1] {
            let mut damaged = documents.clone();
            damaged[index].value = value.to_vec();
            let _ = check::check(&damaged).problems.len();
        }
    });
}

#[test]
fn keys() {
    let mut seeds: Vec<Vec<u8>> =
        fuzz::documents("/calico/").into_iter().map(|(key, _)| key.into_bytes()).collect();
    seeds.truncate(200);
    fuzz::run("key", &seeds, |bytes| {
        let Some(key) = Key::parse(text(bytes)) else { return };
        // What can be read may be spelled in another way; that way stays.
        if let Ok(path) = key.path() {
            assert_eq!(Key::parse(&path), Some(key), "{path}");
        }
    });
}

#[test]
fn selectors() {
    let mut seeds = fuzz::objects_with(&["selector", "id"], 200);
    seeds.retain(|seed| seed.len() < 4096);
    let mut seeds: Vec<Vec<u8>> = seeds
        .iter()
        .filter_map(|seed| serde_json::from_slice::<serde_json::Value>(seed).ok())
        .filter_map(|value| Some(value["selector"].as_str()?.as_bytes().to_vec()))
        .collect();
    seeds.extend(fuzz::lines(
        "a == 'b' && (c != \"d\" || !has(e)) && f in {'g', 'h'}\nall()\nglobal()\n\
         k starts with 'x' && k ends with 'y' || k contains 'z'\nnot_in not in {}\n((((((a == 'b'))))))",
    ));
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    fuzz::run("selector", &seeds, |bytes| {
        let Ok(selector) = Selector::parse(text(bytes)) else { return };
        let shown = selector.to_string();
        let again = Selector::parse(&shown);
        let again = again.unwrap_or_else(|error| panic!("{shown:?} can't be read: {error}"));
        assert_eq!(again.to_string(), shown);
        assert_eq!(again.matches(&labels), selector.matches(&labels), "{shown}");
        let _ = selector.unique_id();
    });
}

#[test]
fn endpoints_of_etcd() {
    let seeds = fuzz::lines(
        "https://10.0.0.2:2379,https://10.0.0.3:2379\nhttp://user:secret@[::1]:2379/\n\
         http://etcd.example,unix:///run/etcd.sock\nlocalhost:2379",
    );
    fuzz::run("etcd-endpoints", &seeds, |bytes| {
        let endpoints = Some(text(bytes).to_owned());
        for ca in [None, Some("/ca.pem".to_owned())] {
            let settings = Settings {
                etcd_endpoints: endpoints.clone(),
                etcd_ca_cert_file: ca,
                ..Settings::default()
            };
            if let Err(error) = settings.resolve() {
                assert!(!error.to_string().contains("secret@"), "{error}");
            }
        }
    });
}

#[test]
fn pods_and_what_their_annotations_ask() {
    let pod = serde_json::json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "cart-0", "namespace": "shop", "generateName": "cart-", "uid": "u",
            "creationTimestamp": "2026-03-02T10:15:42Z", "labels": {"app": "cart"},
            "annotations": {
                "cni.projectcalico.org/ipv4pools": "[\"10.0.0.0/16\",\"pool-a\"]",
                "cni.projectcalico.org/ipv6pools": "[\"fd00::/64\"]",
                "cni.projectcalico.org/ipFamilies": "[\"IPv4\",\"IPv6\"]",
                "cni.projectcalico.org/ipAddrs": "[\"10.0.0.7\",\"fd00::7\"]",
                "cni.projectcalico.org/floatingIPs": "[\"198.51.100.20\"]",
                "cni.projectcalico.org/allowedSourcePrefixes": "[\"203.0.113.5/28\"]",
                "cni.projectcalico.org/hwAddr": "1c:0c:0a:c0:ff:ee",
                "cni.projectcalico.org/containerID": "c1",
                "kubernetes.io/ingress-bandwidth": "10M",
                "qos.projectcalico.org/egressPacketRate": "1k",
            },
        },
        "spec": {"nodeName": "node-a1", "serviceAccountName": "sa", "containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080,
                                     "hostIP": "0.0.0.0", "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": "10.65.14.7", "podIPs": [{"ip": "10.65.14.7"}]},
    });
    let mut bare = pod.clone();
    bare["metadata"]["annotations"] = serde_json::json!({});
    let mut waiting = pod.clone();
    waiting["status"] = serde_json::json!({"phase": "Pending"});
    let seeds = [pod, bare, waiting].map(|pod| pod.to_string().into_bytes());
    let allowed =
        Allowed { calico_ipam: true, ip_addrs_no_ipam: true, floating_ips: true, families: None };
    fuzz::run("pod", &seeds, |bytes| {
        if let Ok(value) = serde_json::from_slice(bytes) {
            let _ = PodRecord::read(&value);
        }
        let namespace: Namespace = serde_json::from_slice(bytes).unwrap_or_default();
        let Ok(pod) = serde_json::from_slice::<Pod>(bytes) else { return };
        let _ = pod.endpoint("");
        let _ = PodRequest::read(&pod, &namespace, allowed);
        let _ = PodRequest::read(&pod, &Namespace::default(), allowed);
    });
}
