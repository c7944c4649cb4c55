//! The lock: `datastoreReady` of ClusterInformation. Whoever finds it false changes nothing.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context as _;
use libcalico::bootstrap::ensure_initialised;
use libcalico::client::{Client, ErrorKind};
use libcalico::resources::ClusterInformationSpec;

use crate::commands::Outcome;
use crate::context::Context;

/// How often a change that another one crossed is tried again.
const ATTEMPTS: usize = 10;

/// Locks or unlocks.
pub fn run(ready: bool, context: &Context) -> Outcome {
    let client = context.client()?;
    context.block_on(set(ready, &client, context))?;
    let state = if ready { "unlocked" } else { "locked" };
    writeln!(std::io::stdout(), "Datastore {state}.")?;
    Ok(ExitCode::SUCCESS)
}

async fn set(ready: bool, client: &Client, context: &Context) -> anyhow::Result<()> {
    ensure_initialised(&**client.store(), context.deadline()).await?;
    for attempt in 1.. {
        let mut cluster =
            client.get::<ClusterInformationSpec>("", "default", context.deadline()).await?;
        if cluster.spec.datastore_ready == Some(ready) {
            break;
        }
        cluster.spec.datastore_ready = Some(ready);
        match client.update(cluster, context.deadline()).await {
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => {}
            set => {
                set.context("failed to write ClusterInformation")?;
                break;
            }
        }
    }
    Ok(())
}
