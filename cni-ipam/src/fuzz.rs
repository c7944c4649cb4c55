//! What both plugins read: the shared configuration, and the file with the node's name.

use cni::NetworkConfig;

use crate::conf::{self, NetConf};
use crate::{datastore, node};

#[test]
fn configurations() {
    let mut seeds = fuzz::objects_with(&["cniVersion", "name", "type"], 30);
    seeds.push(
        br#"{"cniVersion":"1.0.0","name":"n","type":"calico-ipam","datastore_type":"etcdv3",
            "etcd_endpoints":"https://user:secret@10.0.0.2:2379","etcd_ca_cert_file":"/ca",
            "log_level":"debug","log_file_max_size":1,"timeout_seconds":{"add":-1,"del":9e9},
            "ipam":{"type":"calico-ipam","assign_ipv6":"true","ipv6_pools":["fd00::/64"]}}"#
            .to_vec(),
    );
    fuzz::run("shared-configuration", &seeds, |bytes| {
        let Ok(config) = NetworkConfig::decode(bytes) else { return };
        let Ok(conf) = NetConf::parse(&config) else { return };
        for command in [cni::Command::Add, cni::Command::Del, cni::Command::Status] {
            let _ = conf.end_of(command);
        }
        let pools = conf.ipam.ipv4_pools.iter().chain(&conf.ipam.ipv6_pools);
        let _ = pools.filter_map(|pool| conf::pool_cidr(pool)).count();
        if let Err(error) = datastore::config(&conf) {
            assert!(!error.msg.contains("secret@"), "{}", error.msg);
        }
    });
}

#[test]
fn the_file_with_the_nodes_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nodename");
    let conf = NetConf { nodename_file: path.to_string_lossy().into_owned(), ..NetConf::default() };
    fuzz::run("nodename", &fuzz::lines("node-1\n node.example.com \nNode_1"), |bytes| {
        std::fs::write(&path, bytes).unwrap();
        if let Ok(name) = node::name(&conf) {
            assert!(!name.is_empty() && !name.contains(['/', '\0', '\n']), "{name:?}");
        }
    });
}
