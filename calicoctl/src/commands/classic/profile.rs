//! `calicoctl profile`: Profiles as tags and rules (`reference/calicoctl.md` sections 2.3 to 2.5).

mod rule;
mod rules;
mod tag;

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::names::is_valid_name;
use libcalico::resources::{Kind, Profile, ProfileSpec, WorkloadEndpointSpec};
use serde_json::Value;

use super::{edit, endpoint, table};
use crate::commands::Outcome;
use crate::commands::v1_names;
use crate::context::Context;
use rule::Rule;

/// The spelling of the early documents.
pub const GRAMMAR: &str =
    "The name may stand in the middle: `profile web tag add db`, `profile web rule show`.";

/// The commands of `calicoctl profile`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the profiles.
    Show {
        /// With the endpoints that have them.
        #[arg(long)]
        detailed: bool,
    },
    /// Adds a profile, whose endpoints reach each other and everything else.
    Add {
        /// Its name.
        profile: String,
    },
    /// Removes a profile that no endpoint has.
    Remove {
        /// Its name.
        profile: String,
        /// Even if endpoints have it.
        #[arg(long)]
        no_check: bool,
    },
    /// The tags that its endpoints get.
    #[command(subcommand)]
    Tag(tag::Command),
    /// Its rules.
    #[command(subcommand)]
    Rule(rules::Command),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Show { detailed } => show(detailed, context),
        Command::Add { profile } => add(&profile, context),
        Command::Remove { profile, no_check } => remove(&profile, no_check, context),
        Command::Tag(command) => tag::run(command, context),
        Command::Rule(command) => rules::run(command, context),
    }
}

fn add(name: &str, context: &Context) -> Outcome {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) {
        bail!("profile name {name:?} is not valid: use 1 to 40 letters, digits, '_', '.' and '-'");
    }
    let stored = v1_names::profile(name);
    let spec = ProfileSpec {
        ingress: vec![Rule::allow_from_tag(name).to_stored()?],
        egress: vec![Rule::allow().to_stored()?],
        labels_to_apply: [(name.to_owned(), String::new())].into(),
        ..ProfileSpec::default()
    };
    let client = context.client_of_first_write()?;
    let created = context.block_on(async {
        let profile = Profile::new(&stored, spec);
        match edit::create(&client, profile, context.deadline()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.into()),
        }
    })?;
    if created && !is_valid_name(name) {
        eprintln!("profile {name} is stored as {stored}: names are lower case today");
    }
    let mut out = std::io::stdout().lock();
    match created {
        true => writeln!(out, "Created profile {name}")?,
        false => writeln!(out, "Profile {name} already exists.")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, no_check: bool, context: &Context) -> Outcome {
    let stored = v1_names::profile(name);
    let client = context.client()?;
    context.block_on(async {
        if !no_check {
            let users = users(&client, &stored, context).await?;
            if let Some(first) = users.first() {
                bail!(
                    "Profile {name} is in use by {} endpoints, of which {first} is one: take it \
                     from them, or use --no-check",
                    users.len()
                );
            }
        }
        let deadline = context.deadline();
        match client.delete::<ProfileSpec>("", &stored, None, deadline).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("Couldn't find profile with name {name}")
            }
            Err(error) => Err(error.into()),
        }
    })?;
    writeln!(std::io::stdout().lock(), "Deleted profile {name}")?;
    Ok(ExitCode::SUCCESS)
}

/// The endpoints of containers and hosts that have a profile.
async fn users(client: &Client, stored: &str, context: &Context) -> anyhow::Result<Vec<String>> {
    let deadline = context.deadline();
    let workloads = client.list::<WorkloadEndpointSpec>(None, deadline).await?.items;
    let hosts = client.list_any(Kind::HostEndpoint, None, deadline).await?.items;
    let workloads = workloads.into_iter().filter_map(|endpoint| {
        let has = endpoint.spec.profiles.iter().any(|profile| profile == stored);
        has.then_some(endpoint.metadata.name)
    });
    let hosts = hosts.into_iter().filter_map(|endpoint| {
        let profiles = endpoint.spec.get("profiles").and_then(Value::as_array);
        let has = profiles.is_some_and(|profiles| profiles.iter().any(|one| one == stored));
        has.then_some(endpoint.metadata.name)
    });
    Ok(workloads.chain(hosts).collect())
}

fn show(detailed: bool, context: &Context) -> Outcome {
    let client = context.client()?;
    let (profiles, endpoints) = context.block_on(async {
        let profiles = client.list::<ProfileSpec>(None, context.deadline()).await?.items;
        let endpoints = match detailed {
            true => client.list::<WorkloadEndpointSpec>(None, context.deadline()).await?.items,
            false => Vec::new(),
        };
        Ok((profiles, endpoints))
    })?;
    let names = profiles.into_iter().map(|profile| profile.metadata.name);
    let shown = match detailed {
        false => table::centred(["Name"], names.map(|name| [name]).collect()),
        true => {
            let headings = ["Name", "Host", "Workload Type", "Workload ID", "Endpoint ID", "State"];
            let mut rows = Vec::new();
            for name in names {
                let has = |profile: &String| *profile == name;
                let members =
                    endpoints.iter().filter(|endpoint| endpoint.spec.profiles.iter().any(has));
                let before = rows.len();
                rows.extend(members.map(|member| {
                    let workload: String =
                        endpoint::workload(&member.spec).chars().take(12).collect();
                    [
                        name.clone(),
                        member.spec.node.clone(),
                        member.spec.orchestrator.clone(),
                        workload,
                        member.metadata.name.clone(),
                        endpoint::STATE.to_owned(),
                    ]
                }));
                if rows.len() == before {
                    let none = || "None".to_owned();
                    rows.push([name, none(), none(), none(), none(), none()]);
                }
            }
            table::centred(headings, rows)
        }
    };
    write!(std::io::stdout().lock(), "{shown}")?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a profile.
async fn get(client: &Client, name: &str, context: &Context) -> anyhow::Result<Profile> {
    let stored = v1_names::profile(name);
    match edit::find(client, &stored, context.deadline()).await? {
        Some(profile) => Ok(profile),
        None => bail!("Profile {name} not found."),
    }
}

/// Changes a profile.
async fn change(
    client: &Client,
    name: &str,
    context: &Context,
    edit: impl Fn(&mut Profile) -> anyhow::Result<()>,
) -> anyhow::Result<Profile> {
    let stored = v1_names::profile(name);
    let changed = edit::change(client, "", &stored, context.deadline(), edit).await;
    changed.map_err(|error| match error.downcast_ref::<ClientError>() {
        Some(cause) if cause.kind() == ErrorKind::NotFound => {
            anyhow::anyhow!("Profile {name} not found.")
        }
        _ => error,
    })
}
