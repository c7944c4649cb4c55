//! `calicoctl container C profile` and `endpoint-id`: the only endpoint of a container, whoever made
//! it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use libcalico::client::Client;
use libcalico::resources::{WorkloadEndpoint, WorkloadEndpointSpec};

use super::find::{self, Lookup};
use crate::commands::Outcome;
use crate::commands::classic::endpoint::{self, Edit};
use crate::context::Context;
use crate::this_node;

/// The commands of `calicoctl container C profile`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adds profiles behind those that the container has.
    Append {
        /// The container.
        container: String,
        /// Names of profiles.
        #[arg(required = true, value_name = "PROFILE")]
        profiles: Vec<String>,
    },
    /// Takes profiles from the container.
    Remove {
        /// The container.
        container: String,
        /// Names of profiles.
        #[arg(required = true, value_name = "PROFILE")]
        profiles: Vec<String>,
    },
    /// Replaces the container's profiles; by none, if none is named.
    Set {
        /// The container.
        container: String,
        /// Names of profiles.
        #[arg(value_name = "PROFILE")]
        profiles: Vec<String>,
    },
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    let (container, edit, profiles) = match command {
        Command::Append { container, profiles } => (container, Edit::Append, profiles),
        Command::Remove { container, profiles } => (container, Edit::Remove, profiles),
        Command::Set { container, profiles } => (container, Edit::Set, profiles),
    };
    let client = context.client()?;
    context.block_on(async {
        let mut found = of_container(&client, &container, context).await?;
        match (found.pop(), found.as_slice()) {
            (None, _) => bail!("{container} doesn't contain any endpoints"),
            (Some(only), []) => endpoint::apply(&client, &only, edit, &profiles, context).await,
            _ => bail!(
                "{container} has more than 1 endpoint: take calicoctl endpoint ID profile, with \
                 the ids that calicoctl container {container} endpoint-id show prints"
            ),
        }
    })?;
    endpoint::report(None, edit, &profiles)
}

/// Prints the names of a container's endpoints.
pub fn endpoint_id(container: &str, context: &Context) -> Outcome {
    let client = context.client()?;
    let found = context.block_on(of_container(&client, container, context))?;
    if found.is_empty() {
        bail!("No endpoint was found for {container}");
    }
    let mut out = std::io::stdout().lock();
    for endpoint in found {
        writeln!(out, "{}", endpoint.metadata.name)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The endpoints of a container on this node.
async fn of_container(
    client: &Client,
    container: &str,
    context: &Context,
) -> anyhow::Result<Vec<WorkloadEndpoint>> {
    let id = match find::find(container)? {
        Lookup::Running(found) => found.id,
        Lookup::HostNetwork(id) | Lookup::Stopped(id) => id,
        Lookup::Unknown(reason) => return Err(reason.not_found(container)),
    };
    let of_node = on_this_node(client, context).await?;
    let has_id = |spec: &WorkloadEndpointSpec| spec.workload == id || spec.container_id == id;
    Ok(of_node.into_iter().filter(|endpoint| has_id(&endpoint.spec)).collect())
}

/// As much of an id as engines print.
const SHORT_ID: usize = 12;

/// The id of a container that nobody knows any more but its endpoint: by its name, its id, or the
/// beginning of that.
pub async fn remembered(client: &Client, name: &str, context: &Context) -> anyhow::Result<String> {
    let is_short_id = name.len() >= SHORT_ID && name.bytes().all(|b| b.is_ascii_hexdigit());
    let mut ids: Vec<String> = on_this_node(client, context)
        .await?
        .into_iter()
        .filter(|endpoint| {
            let spec = &endpoint.spec;
            let named = endpoint.metadata.labels.get(find::LABEL).is_some_and(|of| of == name);
            spec.orchestrator == "docker"
                && (named || is_short_id && spec.workload.starts_with(name))
        })
        .map(|endpoint| endpoint.spec.workload)
        .collect();
    ids.dedup();
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        // Without an endpoint there can still be what a killed call left: by the whole id.
        [] => Ok(find::path_id(name)),
        _ => bail!("{name} could be any of {}: give the whole id", ids.join(", ")),
    }
}

async fn on_this_node(client: &Client, context: &Context) -> anyhow::Result<Vec<WorkloadEndpoint>> {
    let node = this_node::name()?;
    let all = client.list::<WorkloadEndpointSpec>(None, context.deadline()).await?.items;
    Ok(all.into_iter().filter(|endpoint| endpoint.spec.node == node).collect())
}
