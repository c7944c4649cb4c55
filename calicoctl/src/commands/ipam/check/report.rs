//! The report of a check, in the form that upstream's program and ours read and write
//! (`reference/calicoctl.md` 6.3).

use std::collections::BTreeMap;
use std::net::IpAddr;

use libcalico::ipam::Block;
use serde::{Deserialize, Serialize};

use super::Findings;
use crate::commands::ipam::survey::Survey;

/// What a check found, and in which cluster when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The release of Calico that the cluster runs; upstream writes that of its program, which is
    /// the same.
    #[serde(rename = "version", default)]
    pub version: String,
    /// Which cluster.
    #[serde(rename = "clusterGUID", default)]
    pub cluster_guid: String,
    /// Whether the datastore was locked.
    #[serde(rename = "datastoreLocked", default)]
    pub datastore_locked: bool,
    /// The revision of ClusterInformation: locking and unlocking change it.
    #[serde(rename = "clusterInformationRevision", default)]
    pub cluster_information_revision: String,
    /// What the cluster runs on.
    #[serde(rename = "clusterType", default)]
    pub cluster_type: String,
    /// Every allocated address.
    #[serde(rename = "allocations", default)]
    pub allocations: BTreeMap<String, Vec<Allocation>>,
    /// Handles without any address.
    #[serde(rename = "leakedHandles", default, skip_serializing_if = "Vec::is_empty")]
    pub leaked_handles: Vec<LeakedHandle>,
}

/// An allocated address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Allocation {
    /// The address.
    #[serde(rename = "ip")]
    pub ip: IpAddr,
    /// Its handle.
    #[serde(rename = "handle", default)]
    pub handle: String,
    /// The sequence number that it was assigned under.
    #[serde(rename = "sequenceNumber", default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<u64>,
    /// Its pod.
    #[serde(rename = "pod", default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The pod's namespace.
    #[serde(rename = "namespace", default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The node that asked for it.
    #[serde(rename = "node", default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Which kind of tunnel, or `LoadBalancer`.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// When it was given.
    #[serde(rename = "creationTimestamp", default, skip_serializing_if = "String::is_empty")]
    pub creation_timestamp: String,
    /// Whether somebody uses it.
    #[serde(rename = "inUse", default)]
    pub in_use: bool,
    /// Whether its block belongs to another node.
    #[serde(rename = "borrowed", default, skip_serializing_if = "is_false")]
    pub borrowed: bool,
    /// Who uses it.
    #[serde(rename = "owners", default)]
    pub owners: Option<Vec<String>>,
}

/// A handle without any address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeakedHandle {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its identity, where Kubernetes keeps it.
    #[serde(rename = "UID", default)]
    pub uid: Option<String>,
    /// Its revision at the time.
    #[serde(rename = "Revision", default)]
    pub revision: String,
}

fn is_false(value: &bool) -> bool {
    !*value
}

impl Report {
    /// The report of a look at the datastore.
    pub fn new(survey: &Survey, findings: &Findings) -> Report {
        let cluster = survey.cluster.as_ref();
        let text = |value: fn(&libcalico::resources::ClusterInformation) -> &String| {
            cluster.map(value).cloned().unwrap_or_default()
        };
        let mut allocations: BTreeMap<String, Vec<Allocation>> = BTreeMap::new();
        for block in survey.blocks.values() {
            for (ip, record) in block.allocated().filter(|(_, found)| found.released_at.is_none()) {
                let attribute =
                    |name: &str| record.secondary.get(name).cloned().unwrap_or_default();
                let node = attribute("node");
                let owners = findings.users.get(&ip).cloned();
                allocations.entry(ip.to_string()).or_default().push(Allocation {
                    ip,
                    handle: record.handle().unwrap_or_default().to_owned(),
                    sequence_number: Some(block.sequence_of(ip).unwrap_or_default()),
                    pod: attribute("pod"),
                    namespace: attribute("namespace"),
                    kind: attribute("type"),
                    creation_timestamp: attribute("timestamp"),
                    in_use: owners.is_some(),
                    borrowed: !node.is_empty() && !is_of(block, &node),
                    node,
                    owners,
                });
            }
        }
        let leaked = |(id, revision): (&String, &i64)| LeakedHandle {
            id: id.clone(),
            uid: None,
            revision: revision.to_string(),
        };
        Report {
            version: text(|cluster| &cluster.spec.calico_version),
            cluster_guid: text(|cluster| &cluster.spec.cluster_guid),
            datastore_locked: survey.is_locked(),
            cluster_information_revision: text(|cluster| &cluster.metadata.resource_version),
            cluster_type: text(|cluster| &cluster.spec.cluster_type),
            allocations,
            leaked_handles: findings.idle_handles.iter().map(leaked).collect(),
        }
    }

    /// Its JSON text.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Whether a block belongs to a node.
fn is_of(block: &Block, node: &str) -> bool {
    block.affinity.as_deref().and_then(|text| text.strip_prefix("host:")) == Some(node)
}
