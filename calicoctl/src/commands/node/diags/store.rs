//! What a bundle says of the datastore: whether it answers, what it holds, whether it is consistent.
//! Looking changes nothing: a local store that isn't there is not made.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use libcalico::ipam::check::check;
use libcalico::resources::{ClusterInformation, Kind, Object};
use libcalico::store::{Document, Key, Prefix, Query};

use crate::context::{self, Context};

/// How long the datastore may take for its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The state of the datastore that the configuration names.
pub async fn health(context: &Context) -> String {
    match examine(context).await {
        Ok(text) => text,
        Err(error) => format!("{error:#}\n"),
    }
}

async fn examine(context: &Context) -> anyhow::Result<String> {
    let config = context.datastore()?;
    if let Some(path) = context::absent(&config) {
        return Ok(format!("the local store {} is not there yet\n", path.display()));
    }
    let store = config.open()?;
    let mut text = format!("{}\n", store.describe());
    let started = Instant::now();
    let snapshot = store.read(&[Query::Prefix(Prefix::All)], started + LIMIT).await?;
    writeln!(
        text,
        "answered in {} ms, revision {}",
        started.elapsed().as_millis(),
        snapshot.revision
    )?;
    let documents: Vec<Document> = snapshot.results.into_iter().flatten().collect();
    let cluster = Key::global(Kind::ClusterInformation, "default");
    let cluster = documents.iter().find(|document| document.key == cluster);
    match cluster.map(ClusterInformation::decode) {
        None => writeln!(text, "it has no ClusterInformation: nobody has set it up")?,
        Some(Err(error)) => writeln!(text, "{error}")?,
        Some(Ok(cluster)) => writeln!(text, "{}", serde_json::to_string_pretty(&cluster)?)?,
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for document in &documents {
        *kinds.entry(kind(&document.key)).or_default() += 1;
    }
    for (kind, count) in kinds {
        writeln!(text, "{count:>8} {kind}")?;
    }
    let report = check(&documents);
    writeln!(
        text,
        "{} blocks, {} addresses in use, {} cooling down",
        report.blocks, report.in_use, report.cooling
    )?;
    writeln!(text, "{} findings of the consistency check", report.problems.len())?;
    for problem in &report.problems {
        writeln!(text, "{problem}")?;
    }
    Ok(text)
}

fn kind(key: &Key) -> &'static str {
    match key {
        Key::Resource { kind, .. } => kind.name(),
        Key::Block(_) => "block",
        Key::Affinity(..) => "affinity",
        Key::Handle(_) => "handle",
        Key::IpamConfig => "IPAM configuration",
        Key::LegacyHost(_) => "host of a release before 3.0",
    }
}

#[cfg(feature = "local")]
pub use local::integrity;

#[cfg(feature = "local")]
mod local {
    use std::time::Instant;

    use libcalico::config::{DEFAULT_LOCAL_PATH, DatastoreConfig};
    use libcalico::store::LocalStore;

    use crate::context::Context;

    /// What SQLite says of the file of the local store; nothing where there is none.
    pub async fn integrity(context: &Context) -> Option<String> {
        let path = match context.datastore() {
            Ok(DatastoreConfig::Local(local)) => local.path,
            _ => DEFAULT_LOCAL_PATH.into(),
        };
        if !path.exists() {
            return None;
        }
        let findings = LocalStore::new(&path).integrity(Instant::now() + super::LIMIT).await;
        let text = match findings {
            Ok(findings) if findings.is_empty() => "ok".to_owned(),
            Ok(findings) => findings.join("\n"),
            Err(error) => error.to_string(),
        };
        Some(format!("{}\n{text}\n", path.display()))
    }
}
