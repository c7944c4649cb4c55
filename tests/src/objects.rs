//! The objects that an operator makes, as they are stored.

use serde_json::{Value, json};

/// A key and its document.
pub type Object = (String, Value);

/// A resource.
pub fn resource(kind: &str, plural: &str, name: &str, spec: Value) -> Object {
    let object = json!({
        "kind": kind, "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "uid": "cca955fb-e8c8-4916-aee1-ecfb73ef0585",
                     "creationTimestamp": "2026-11-21T15:04:33Z"},
        "spec": spec,
    });
    (format!("/calico/resources/v3/projectcalico.org/{plural}/{name}"), object)
}

/// The cluster, ready or locked.
pub fn cluster(ready: bool) -> Object {
    let guid = "89d0a9d4d914493ca0901f78b3b2e4e6";
    let spec = json!({"clusterGUID": guid, "datastoreReady": ready});
    resource("ClusterInformation", "clusterinformations", "default", spec)
}

/// A node, as calico/node registers it.
pub fn node(name: &str) -> Object {
    resource("Node", "nodes", name, json!({"bgp": {"ipv4Address": "192.0.2.1/24"}}))
}

/// A pool with blocks of this prefix length. Its further fields can be changed in the answer.
pub fn pool(name: &str, cidr: &str, block_size: u8) -> Object {
    let spec = json!({
        "cidr": cidr, "vxlanMode": "Never", "ipipMode": "Never", "blockSize": block_size,
        "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
    });
    resource("IPPool", "ippools", name, spec)
}

/// A reservation.
pub fn reservation(name: &str, cidrs: &[&str]) -> Object {
    resource("IPReservation", "ipreservations", name, json!({"reservedCIDRs": cidrs}))
}

/// The configuration of IPAM.
pub fn ipam_config(strict_affinity: bool, auto_allocate: bool, max_blocks: u32) -> Object {
    let config = json!({
        "strict_affinity": strict_affinity, "auto_allocate_blocks": auto_allocate,
        "maxBlocksPerHost": max_blocks,
    });
    ("/calico/ipam/v2/config".to_owned(), config)
}
