//! `calicoctl datastore migrate import`: into an empty etcd or embedded store.
//!
//! Upstream imports into Kubernetes only and refuses etcd before it looks at the file. Here a
//! complete export of ours goes into either store; upstream's own format, which lacks endpoints and
//! profiles, goes into the embedded store, and into etcd with `--force`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use libcalico::bootstrap;
use libcalico::client::{Client, prepare_create};
use libcalico::clock;
use libcalico::resources::{ClusterInformation, Kind, Object, encode, schema};
use libcalico::store::{
    Change, Committed, Document, Key, MAX_CHANGES, MAX_COMMIT_BYTES, Prefix, Query,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Builder;

use super::file::{self, Content};
use crate::commands::Outcome;
use crate::context::Context;
use crate::progress::doing;

/// The annotation of ClusterInformation that says which file is being read in. It goes with the
/// last commit.
const UNDER_WAY: &str = "calico-rs/import";

/// What a commit of several may be, with room for ClusterInformation.
const BATCH_CHANGES: usize = MAX_CHANGES - 8;
const BATCH_BYTES: usize = MAX_COMMIT_BYTES * 3 / 4;

/// Flags of `datastore migrate import`.
#[derive(Debug, Args)]
pub struct Import {
    /// What export printed, or - for standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: String,
    /// Imports upstream's format into etcd, too, although it has no endpoints and no profiles.
    #[arg(long)]
    force: bool,
}

impl Import {
    /// Reads the file in.
    pub fn run(self, context: &Context) -> Outcome {
        // COMPAT: the versions of the two clusters are not compared here.
        let client = context.client_of_any_version()?;
        let text = file::read(&self.filename);
        let is_ours = text.as_ref().is_ok_and(|text| file::is_complete(text));
        if !client.store().is_embedded() && !is_ours && !self.force {
            bail!(
                "invalid datastore type: etcdv3 to import to for datastore migration. Datastore type \
                 must be kubernetes, which calicoctl does not speak to; into etcd goes what \
                 'export --format complete' printed, or anything with --force"
            );
        }
        let text = text?;
        let content = file::parse(&self.filename, &text)?;
        ensure!(
            content.complete || !content.ipam.is_empty(),
            "no IPAM resources specified in file {}",
            self.filename
        );
        let (resources, ipam) = (content.resources.len(), content.ipam.len());
        let digest = Sha256::digest(text.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let import = import(content, &digest, &client, context);
        context.block_on(doing("importing", import))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "Successfully applied {resources} resource(s)")?;
        writeln!(out, "Importing IPAM resources")?;
        writeln!(out, "Successfully applied {ipam} IPAM resource(s)")?;
        writeln!(
            out,
            "Datastore information successfully imported. The datastore is locked: look at it, and \
             unlock it (calicoctl datastore migrate unlock) once the nodes use it."
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn import(
    content: Content,
    digest: &str,
    client: &Client,
    context: &Context,
) -> anyhow::Result<()> {
    let queries = [Query::Prefix(Prefix::All)];
    let read = client.store().read(&queries, context.deadline()).await?;
    let present: BTreeMap<Key, Document> =
        read.results.into_iter().flatten().map(|found| (found.key.clone(), found)).collect();
    let cluster_key = Key::global(Kind::ClusterInformation, "default");
    let old_cluster = present.get(&cluster_key).map(ClusterInformation::decode).transpose()?;
    let under_way = old_cluster.as_ref().and_then(|old| old.metadata.annotations.get(UNDER_WAY));
    let resumed = match under_way {
        Some(found) => {
            ensure!(
                found == digest,
                "the import of another file into this datastore was interrupted: finish that one first"
            );
            true
        }
        None => false,
    };
    let documents = documents(&content)?;
    let missing = missing(&documents, &present, resumed)?;
    let mut cluster = ClusterInformation::new("default", content.cluster.spec.clone());
    cluster.metadata = content.cluster.metadata.clone();
    if !content.complete
        && let Some(old) = &old_cluster
    {
        // COMPAT: of a Kubernetes cluster's, upstream takes these two.
        cluster = old.clone();
        cluster.spec.cluster_guid = content.cluster.spec.cluster_guid.clone();
        cluster.spec.calico_version = content.cluster.spec.calico_version.clone();
    }
    cluster.spec.datastore_ready = Some(false);
    cluster.metadata.annotations.remove(UNDER_WAY);
    // The pools are those of the file.
    bootstrap::decide(&mut cluster);
    let revision = present.get(&cluster_key).map(|found| found.revision);
    write(missing, cluster, revision, digest, client, context).await
}

/// Every document of the file, as it is to be stored.
fn documents(content: &Content) -> anyhow::Result<BTreeMap<Key, Vec<u8>>> {
    let mut documents = BTreeMap::new();
    for resource in &content.resources {
        let key = file::key_of_resource(resource)?;
        let name = key.path()?;
        let value = match content.complete {
            true => encode(resource),
            false => created(resource, &content.cluster).with_context(|| name.clone())?,
        };
        ensure!(documents.insert(key, value).is_none(), "the file has {name} twice");
    }
    for (key, value) in &content.ipam {
        let name = key.path()?;
        ensure!(
            documents.insert(key.clone(), encode(value)).is_none(),
            "the file has {name} twice"
        );
    }
    Ok(documents)
}

/// A resource as a create of it is stored, with the defaults and after the rules of its kind. Its
/// identity comes from its name and its time from the cluster's, so that a repeated import makes the
/// same one.
fn created(resource: &Value, cluster: &ClusterInformation) -> anyhow::Result<Vec<u8>> {
    // A cluster may hold what another release wrote: only what a person wrote is read strictly.
    let mut resource = schema::read_stored(resource.clone())?;
    resource.metadata.resource_version.clear();
    let name = format!("{} {}", cluster.spec.cluster_guid, resource.key().path()?);
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(Sha256::digest(name)).for_each(|(byte, of_name)| *byte = of_name);
    let uid = Builder::from_random_bytes(bytes).into_uuid();
    let since = cluster.metadata.creation_timestamp;
    let now = since.unwrap_or_else(clock::now);
    prepare_create(&mut resource, now, uid)?;
    Ok(resource.encode())
}

/// What isn't there yet. What is there and isn't of this file stops the import; the built-in tiers,
/// which every store makes, are written over.
fn missing(
    documents: &BTreeMap<Key, Vec<u8>>,
    present: &BTreeMap<Key, Document>,
    resumed: bool,
) -> anyhow::Result<Vec<Change>> {
    let is_tier = |key: &Key| matches!(key, Key::Resource { kind: Kind::Tier, name, .. } if is_built_in(name));
    let is_cluster =
        |key: &Key| matches!(key, Key::Resource { kind: Kind::ClusterInformation, .. });
    let strange: Vec<String> = present
        .iter()
        .filter(|(key, _)| !is_tier(key) && !is_cluster(key))
        .filter(|(key, found)| !resumed || documents.get(*key) != Some(&found.value))
        .filter_map(|(key, _)| key.path().ok())
        .collect();
    if let Some(first) = strange.first() {
        bail!(
            "datastore already has Calico resources: {} of them, like {first}; import needs an empty \
             one",
            strange.len()
        );
    }
    let change = |(key, value): (&Key, &Vec<u8>)| match present.get(key) {
        None => Some(Change::create(key.clone(), value.clone())),
        Some(found) if found.value == *value => None,
        Some(found) => Some(Change::update(key.clone(), found.revision, value.clone())),
    };
    Ok(documents.iter().filter_map(change).collect())
}

fn is_built_in(tier: &str) -> bool {
    libcalico::resources::tier::built_in().any(|built_in| built_in.metadata.name == tier)
}

/// Writes: in one commit where it fits. Else ClusterInformation, locked and with the mark of the
/// file, comes first, and without the mark last: what an interrupted import left is continued by the
/// next one of the same file.
async fn write(
    changes: Vec<Change>,
    cluster: ClusterInformation,
    revision: Option<i64>,
    digest: &str,
    client: &Client,
    context: &Context,
) -> anyhow::Result<()> {
    let put = |cluster: &ClusterInformation, revision: Option<i64>| match revision {
        Some(revision) => Change::update(cluster.key(), revision, cluster.encode()),
        None => Change::create(cluster.key(), cluster.encode()),
    };
    let mut batches = batches(changes);
    let last = batches.pop().unwrap_or_default();
    let mut revision = revision;
    if !batches.is_empty() {
        let mut marked = cluster.clone();
        marked.metadata.annotations.insert(UNDER_WAY.to_owned(), digest.to_owned());
        revision = Some(commit(vec![put(&marked, revision)], client, context).await?);
    }
    for batch in batches {
        commit(batch, client, context).await?;
    }
    let mut last = last;
    last.push(put(&cluster, revision));
    commit(last, client, context).await?;
    Ok(())
}

fn batches(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for change in changes {
        let size = match &change.action {
            libcalico::store::Action::Put(value) => value.len() + 500,
            _ => 500,
        };
        if !batch.is_empty() && (batch.len() >= BATCH_CHANGES || bytes + size > BATCH_BYTES) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(change);
    }
    batches.push(batch);
    batches
}

async fn commit(changes: Vec<Change>, client: &Client, context: &Context) -> anyhow::Result<i64> {
    match client.store().commit(&changes, context.deadline()).await? {
        Committed::Done(revision) => Ok(revision),
        Committed::Conflict(_) => bail!(
            "somebody else writes into this datastore: nothing further was imported; stop that, and \
             import the same file again"
        ),
    }
}
