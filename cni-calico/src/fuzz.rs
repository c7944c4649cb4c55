//! What only this plugin reads: its part of the configuration, labels, notes, damaged endpoints,
//! readiness gates and the MTU file.

use cni::NetworkConfig;
use libcalico::store::{Document, Key};

use crate::conf::{self, Conf};
use crate::endpoint::Stored;
use crate::labels;
use crate::owed::note;
use crate::readiness::Gate;

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

#[test]
fn configurations() {
    let mut seeds = fuzz::objects_with(&["cniVersion", "name", "type"], 30);
    seeds.push(
        br#"{"cniVersion":"1.0.0","name":"n","type":"calico","ipam":{"type":"calico-ipam",
            "assign_ipv4":"true","ipv4_pools":["10.0.0.0/16","name"]},"mtu":1440,"num_queues":2,
            "device_type":"netkit","readiness_gates":["http://127.0.0.1:9099/readiness"],
            "timeout_seconds":{"add":60},"defer_release":false,"local":{"path":"/db"},
            "container_settings":{"allow_ip_forwarding":true},"feature_control":{},
            "policy":{"type":"k8s"},"args":{"org.apache.mesos":{"network_info":{"labels":
            {"labels":[{"key":"a/b","value":"$my..val"}]}}}}}"#
            .to_vec(),
    );
    fuzz::run("configuration", &seeds, |bytes| {
        let Ok(config) = NetworkConfig::decode(bytes) else { return };
        if let Ok(conf) = Conf::parse(&config) {
            let _ = (conf.gates(), conf.queues(), conf.own.defers_release());
            let _ = conf.shared.end_of(cni::Command::Add);
            labels::mesos_labels(&conf.shared.args);
            // What ADD takes DEL takes too.
            assert!(Conf::for_removal(&config).is_ok());
        }
    });
}

#[test]
fn notes() {
    let seeds = fuzz::lines(
        r#"{"network":"n","node":"a","containerID":"c1","ifname":"eth0","namespace":"default","ipam":true,"store":"etcd"}
{"network":"n","node":"a","containerID":"c1","ifname":"eth0","namespace":"shop","pod":"web-0","ipam":false}"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fuzz::run("note", &seeds, |bytes| {
        std::fs::write(folder.join("a:b:c.json"), bytes).unwrap();
        for found in note::all(folder) {
            let identity = found.note.identity();
            let _ = crate::endpoint::EndpointId::of(&identity);
            assert!(found.note.is_about(&identity));
        }
    });
}

#[test]
fn damaged_endpoints() {
    let path = "/calico/resources/v3/projectcalico.org/workloadendpoints/";
    let seeds: Vec<Vec<u8>> =
        fuzz::documents(path).into_iter().map(|(_, value)| value).take(40).collect();
    let key = Key::parse(&format!("{path}default/node--1-cni-c1-eth0")).expect("a key");
    fuzz::run("damaged-endpoint", &seeds, |bytes| {
        let document = Document { key: key.clone(), value: bytes.to_vec(), revision: 1 };
        let stored = Stored::read_damaged(&document);
        let _ = crate::endpoint::addresses(&stored.endpoint);
    });
}

#[test]
fn readiness_gates_and_the_mtu_file() {
    let seeds = fuzz::lines("http://127.0.0.1:9099/readiness\nhttp://[::1]/a?b=c#d\n1440\n 1450 ");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mtu");
    fuzz::run("gate-or-mtu", &seeds, |bytes| {
        let _ = Gate::parse(text(bytes));
        std::fs::write(&path, bytes).unwrap();
        let _ = conf::mtu_from(path.clone(), true);
    });
}
