//! `calicoctl datastore migrate-policy-names`: releases before 3.32 stored policies of the default
//! tier under `default.<name>` (`reference/datamodel.md` 3.4).

use std::io::Write;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use libcalico::client::Client;
use libcalico::resources::{AnyResource, Kind, Object};
use libcalico::store::{Change, Committed, Document, Key, Prefix, Query};

use crate::commands::Outcome;
use crate::context::Context;

/// The kinds whose names had a prefix.
const KINDS: [Kind; 4] = [
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
];

/// Renames them; safe to repeat.
pub fn run(context: &Context) -> Outcome {
    let client = context.client()?;
    let migrated = context.block_on(migrate(&client, context))?;
    writeln!(std::io::stdout(), "Policy name migration complete, migrated {migrated} policies.")?;
    Ok(ExitCode::SUCCESS)
}

async fn migrate(client: &Client, context: &Context) -> anyhow::Result<usize> {
    let queries = KINDS.map(|kind| Query::Prefix(Prefix::kind(kind)));
    let read = client.store().read(&queries, context.deadline()).await?;
    let documents: Vec<Document> = read.results.into_iter().flatten().collect();
    let mut migrated = 0;
    for document in &documents {
        let Some(renamed) = renamed(document)? else { continue };
        let new_key = renamed.key();
        let mut changes = vec![Change::delete(document.key.clone(), document.revision)];
        match documents.iter().find(|other| other.key == new_key) {
            None => changes.push(Change::create(new_key, renamed.encode())),
            // An earlier run was interrupted, or somebody made another one since.
            Some(other) => ensure!(
                AnyResource::decode(other)?.spec == renamed.spec,
                "{} is stored as {} too, with another content: delete one of the two",
                renamed.metadata.name,
                document.key.path()?
            ),
        }
        match client.store().commit(&changes, context.deadline()).await? {
            Committed::Done(_) => migrated += 1,
            Committed::Conflict(_) => {
                bail!("{} was changed meanwhile: run this again", document.key.path()?)
            }
        }
    }
    Ok(migrated)
}

/// The policy under its own name, if it is stored under another one.
fn renamed(document: &Document) -> anyhow::Result<Option<AnyResource>> {
    let Key::Resource { name: stored, .. } = &document.key else { return Ok(None) };
    let policy = AnyResource::decode(document)?;
    let tier = policy.spec["tier"].as_str().unwrap_or_default();
    let is_renamed = matches!(tier, "" | "default") && policy.metadata.name != *stored;
    Ok(is_renamed.then_some(policy))
}
