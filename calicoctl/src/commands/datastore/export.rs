//! `calicoctl datastore migrate export`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use libcalico::ipam::affinity::owner_text;
use libcalico::resources::{AnyResource, ClusterInformation, Kind, Object};
use libcalico::store::{AffinityOwner, AffinityType, Document, Key, Prefix, Query};
use serde_json::Value;

use super::file;
use crate::commands::Outcome;
use crate::context::Context;
use crate::progress::doing;

/// What upstream exports, in its order: what refers to nodes comes after them.
const KINDS: [Kind; 17] = [
    Kind::IpPool,
    Kind::BgpPeer,
    Kind::Tier,
    Kind::GlobalNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::KubeControllersConfiguration,
    Kind::NetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedKubernetesNetworkPolicy,
    Kind::NetworkSet,
    Kind::Node,
    Kind::BgpConfiguration,
    Kind::FelixConfiguration,
    Kind::IpReservation,
    Kind::BgpFilter,
];

/// The beginnings of the handles of tunnels, which a node's name follows.
const TUNNEL_HANDLES: [&str; 5] = [
    "ipip-tunnel-addr-",
    "vxlan-tunnel-addr-",
    "vxlan-v6-tunnel-addr-",
    "wireguard-tunnel-addr-",
    "wireguard-v6-tunnel-addr-",
];

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Upstream's, for an import into Kubernetes: without endpoints, profiles and identities.
    Kubernetes,
    /// Ours, for an import into etcd or into the embedded store: everything, as it is stored.
    Complete,
}

/// Flags of `datastore migrate export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The format: by default kubernetes from etcd, as upstream, and complete from the embedded
    /// store.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// What was read.
struct Everything {
    /// The documents of each kind, in the order of their keys.
    resources: BTreeMap<Kind, Vec<Document>>,
    cluster: ClusterInformation,
    ipam: Vec<Document>,
    revision: i64,
}

impl Export {
    /// Prints everything.
    pub fn run(self, context: &Context) -> Outcome {
        let client = context.client()?;
        let is_embedded = client.store().is_embedded();
        let default = if is_embedded { Format::Complete } else { Format::Kubernetes };
        let snapshot = context.block_on(async {
            let queries = [Query::Prefix(Prefix::All)];
            let read = client.store().read(&queries, context.deadline());
            Ok(doing("reading the datastore", read).await?)
        })?;
        let revision = snapshot.revision;
        let everything =
            Everything::of(snapshot.results.into_iter().flatten().collect(), revision)?;
        let text = match self.format.unwrap_or(default) {
            Format::Kubernetes => everything.for_kubernetes()?,
            Format::Complete => everything.complete()?,
        };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Everything {
    fn of(documents: Vec<Document>, revision: i64) -> anyhow::Result<Everything> {
        let (mut resources, mut ipam) = (BTreeMap::<Kind, Vec<Document>>::new(), Vec::new());
        let mut cluster = None;
        for document in documents {
            match &document.key {
                Key::Resource { kind: Kind::ClusterInformation, .. } => {
                    cluster = Some(ClusterInformation::decode(&document)?);
                }
                Key::Resource { kind, .. } => {
                    resources.entry(*kind).or_default().push(document);
                }
                Key::LegacyHost(_) => {}
                _ => ipam.push(document),
            }
        }
        let cluster = cluster.context("the datastore has no ClusterInformation: it is empty")?;
        ensure!(
            cluster.spec.datastore_ready == Some(false),
            "datastore is not locked. Run the `calicoctl datastore migrate lock` command in order to \
             begin migration"
        );
        Ok(Everything { resources, cluster, ipam, revision })
    }

    fn take(&mut self, kind: Kind) -> Vec<Document> {
        self.resources.remove(&kind).unwrap_or_default()
    }

    fn complete(mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        let further =
            Kind::all().filter(|kind| !KINDS.contains(kind) && *kind != Kind::ClusterInformation);
        for kind in KINDS.into_iter().chain(further) {
            let read = |document: Document| {
                serde_json::from_slice::<Value>(&document.value)
                    .with_context(|| format!("{:?} is no JSON: repair it first", document.key))
            };
            let items: Vec<Value> =
                self.take(kind).into_iter().map(read).collect::<anyhow::Result<_>>()?;
            if !items.is_empty() || KINDS.contains(&kind) {
                file::write_list(&mut text, kind, items, self.revision, true);
            }
        }
        file::write_rest(&mut text, &self.cluster, &self.ipam)?;
        Ok(text)
    }

    fn for_kubernetes(mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        let nodes = self.kubernetes_names()?;
        for kind in KINDS {
            let mut items = self
                .take(kind)
                .iter()
                .map(AnyResource::decode)
                .collect::<Result<Vec<AnyResource>, _>>()?;
            // These are Kubernetes' own policies, which are there already.
            items.retain(|item| !item.metadata.name.starts_with("knp.default."));
            if kind == Kind::Tier {
                let order = |tier: &AnyResource| tier.spec["order"].as_f64().unwrap_or(f64::MAX);
                items.sort_by(|a, b| order(a).total_cmp(&order(b)));
            }
            let prepared = items.iter_mut().map(|item| {
                prepare(kind, item, &nodes);
                serde_json::to_value(item)
            });
            let prepared = prepared.collect::<Result<Vec<Value>, _>>()?;
            file::write_list(&mut text, kind, prepared, self.revision, false);
        }
        let mut ipam = self.ipam;
        for document in &mut ipam {
            rename(document, &nodes)?;
        }
        file::write_rest(&mut text, &self.cluster, &ipam)?;
        Ok(text)
    }

    /// The names that Kubernetes has for the nodes.
    fn kubernetes_names(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut names = BTreeMap::new();
        for node in self.resources.get(&Kind::Node).into_iter().flatten() {
            let node = AnyResource::decode(node)?;
            let references = node.spec["orchRefs"].as_array().map_or(&[][..], Vec::as_slice);
            let reference = references.iter().rfind(|found| found["orchestrator"] == "k8s");
            let name = reference.and_then(|found| found["nodeName"].as_str()).unwrap_or_default();
            if name.is_empty() {
                bail!(
                    "node {} missing a 'k8s' orchestrator reference. Unable to export data unless \
                     every node has a 'k8s' orchestrator reference: for another datastore than \
                     Kubernetes use --format complete",
                    node.metadata.name
                );
            }
            names.insert(node.metadata.name.clone(), name.to_owned());
        }
        Ok(names)
    }
}

/// Takes away what a new cluster gives anew, and puts in its names of nodes.
fn prepare(kind: Kind, item: &mut AnyResource, nodes: &BTreeMap<String, String>) {
    let metadata = &mut item.metadata;
    metadata.uid.clear();
    metadata.resource_version.clear();
    metadata.creation_timestamp = None;
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    let name = &mut metadata.name;
    match kind {
        Kind::Node => {
            if let Some(new) = nodes.get(name) {
                *name = new.clone();
            }
        }
        Kind::BgpConfiguration | Kind::FelixConfiguration => {
            if let Some(new) = name.strip_prefix("node.").and_then(|node| nodes.get(node)) {
                *name = format!("node.{new}");
            }
        }
        _ => {}
    }
}

/// Puts the names that Kubernetes has for nodes into a document of IPAM's.
fn rename(document: &mut Document, nodes: &BTreeMap<String, String>) -> anyhow::Result<()> {
    if nodes.iter().all(|(old, new)| old == new) {
        return Ok(());
    }
    match &mut document.key {
        Key::Affinity(AffinityOwner { kind: AffinityType::Host, name }, _) => {
            if let Some(new) = nodes.get(name) {
                *name = new.clone();
            }
        }
        Key::Handle(id) => {
            if let Some(new) = renamed_handle(id, nodes) {
                *id = new;
            }
        }
        Key::Block(cidr) => {
            let mut block: Value = serde_json::from_slice(&document.value)
                .with_context(|| format!("block {cidr} can't be read"))?;
            rename_in_block(&mut block, nodes);
            document.value = serde_json::to_vec(&block)?;
        }
        _ => {}
    }
    Ok(())
}

fn rename_in_block(block: &mut Value, nodes: &BTreeMap<String, String>) {
    let node = block["affinity"].as_str().and_then(|owner| owner.strip_prefix("host:"));
    if let Some(new) = node.and_then(|node| nodes.get(node)) {
        block["affinity"] = owner_text(&AffinityOwner::host(new.as_str())).into();
    }
    let records = block.get_mut("attributes").and_then(Value::as_array_mut);
    for record in records.into_iter().flatten() {
        let node = record["secondary"]["node"].as_str();
        if let Some(new) = node.and_then(|node| nodes.get(node)) {
            record["secondary"]["node"] = new.as_str().into();
        }
        let handle = record["handle_id"].as_str();
        if let Some(new) = handle.and_then(|id| renamed_handle(id, nodes)) {
            record["handle_id"] = new.into();
        }
    }
}

/// The handle of a tunnel under the new name of its node.
fn renamed_handle(id: &str, nodes: &BTreeMap<String, String>) -> Option<String> {
    TUNNEL_HANDLES.iter().find_map(|prefix| {
        let new = nodes.get(id.strip_prefix(prefix)?)?;
        Some(format!("{prefix}{new}"))
    })
}
