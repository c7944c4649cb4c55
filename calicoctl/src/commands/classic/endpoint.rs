//! `calicoctl endpoint`: WorkloadEndpoints and their profiles (`reference/calicoctl.md` section 2.5).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use libcalico::client::Client;
use libcalico::resources::{ProfileSpec, WorkloadEndpoint, WorkloadEndpointSpec};

use super::{edit, table};
use crate::commands::Outcome;
use crate::commands::v1_names;
use crate::context::Context;

/// The spelling of the early documents.
pub const GRAMMAR: &str = "The id may stand in the middle: `endpoint ID profile append web`.";

/// Every endpoint that is stored is in use.
pub const STATE: &str = "active";

/// The commands of `calicoctl endpoint`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the endpoints: how many of which host, or one by one.
    Show {
        #[command(flatten)]
        which: Which,
        /// One by one.
        #[arg(long)]
        detailed: bool,
    },
    /// The profiles of one endpoint.
    #[command(subcommand)]
    Profile(Profiles),
}

/// The commands of `calicoctl endpoint E profile`.
#[derive(Debug, Subcommand)]
pub enum Profiles {
    /// Shows the profiles.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Adds profiles behind those that the endpoint has.
    Append {
        #[command(flatten)]
        which: Which,
        /// Names of profiles.
        #[arg(required = true, value_name = "PROFILE")]
        profiles: Vec<String>,
    },
    /// Takes profiles from the endpoint.
    Remove {
        #[command(flatten)]
        which: Which,
        /// Names of profiles.
        #[arg(required = true, value_name = "PROFILE")]
        profiles: Vec<String>,
    },
    /// Replaces the endpoint's profiles; by none, if none is named.
    Set {
        #[command(flatten)]
        which: Which,
        /// Names of profiles.
        #[arg(value_name = "PROFILE")]
        profiles: Vec<String>,
    },
}

/// Which endpoints are meant.
#[derive(Debug, Args)]
pub struct Which {
    /// On this host.
    #[arg(long, value_name = "HOSTNAME")]
    host: Option<String>,
    /// Of this orchestrator: docker, cni, k8s, …
    #[arg(long, value_name = "ORCHESTRATOR")]
    orchestrator: Option<String>,
    /// Of this workload.
    #[arg(long, value_name = "WORKLOAD")]
    workload: Option<String>,
    /// With this id, which is the endpoint's name or that of its interface.
    #[arg(long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
}

/// What is done with profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// They are added.
    Append,
    /// They are taken away.
    Remove,
    /// They are the only ones.
    Set,
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Show { which, detailed } => show(&which, detailed, context),
        Command::Profile(Profiles::Show { which }) => show_profiles(&which, context),
        Command::Profile(Profiles::Append { which, profiles }) => {
            edit_profiles(&which, Edit::Append, &profiles, context)
        }
        Command::Profile(Profiles::Remove { which, profiles }) => {
            edit_profiles(&which, Edit::Remove, &profiles, context)
        }
        Command::Profile(Profiles::Set { which, profiles }) => {
            edit_profiles(&which, Edit::Set, &profiles, context)
        }
    }
}

/// What an endpoint's orchestrator calls its workload.
pub fn workload(spec: &WorkloadEndpointSpec) -> &str {
    let all = [&spec.workload, &spec.pod, &spec.container_id];
    all.into_iter().find(|id| !id.is_empty()).map_or("", String::as_str)
}

impl Which {
    fn has(&self, endpoint: &WorkloadEndpoint) -> bool {
        let spec = &endpoint.spec;
        let fits = |wanted: &Option<String>, found: &[&str]| {
            wanted.as_deref().is_none_or(|wanted| found.contains(&wanted))
        };
        fits(&self.host, &[&spec.node])
            && fits(&self.orchestrator, &[&spec.orchestrator])
            && fits(&self.workload, &[workload(spec), &spec.container_id])
            && fits(&self.endpoint, &[&endpoint.metadata.name, &spec.endpoint])
    }

    async fn all(
        &self,
        client: &Client,
        context: &Context,
    ) -> anyhow::Result<Vec<WorkloadEndpoint>> {
        let all = client.list::<WorkloadEndpointSpec>(None, context.deadline()).await?;
        Ok(all.items.into_iter().filter(|endpoint| self.has(endpoint)).collect())
    }

    /// The only one that is meant.
    async fn one(&self, client: &Client, context: &Context) -> anyhow::Result<WorkloadEndpoint> {
        let mut found = self.all(client, context).await?;
        match (found.pop(), found.as_slice()) {
            (Some(one), []) => Ok(one),
            (None, _) => match &self.endpoint {
                Some(id) => bail!("Endpoint {id} is unknown to Calico."),
                None => bail!("No endpoint is known to Calico that fits."),
            },
            (Some(last), others) => {
                let all = others.iter().chain([&last]);
                let names: Vec<&str> =
                    all.map(|endpoint| endpoint.metadata.name.as_str()).collect();
                bail!(
                    "More than 1 endpoint matches ({}): say which with --host, --orchestrator, \
                     --workload or --endpoint.",
                    names.join(", ")
                )
            }
        }
    }
}

fn show(which: &Which, detailed: bool, context: &Context) -> Outcome {
    let client = context.client()?;
    let endpoints = context.block_on(which.all(&client, context))?;
    let shown = if detailed { one_by_one(&endpoints) } else { counted(&endpoints) };
    write!(std::io::stdout().lock(), "{shown}")?;
    Ok(ExitCode::SUCCESS)
}

/// A row for each orchestrator on each host.
fn counted(endpoints: &[WorkloadEndpoint]) -> String {
    let mut hosts: BTreeMap<(&str, &str), (BTreeSet<&str>, usize)> = BTreeMap::new();
    for WorkloadEndpoint { spec, .. } in endpoints {
        let (workloads, count) = hosts.entry((&spec.node, &spec.orchestrator)).or_default();
        workloads.insert(workload(spec));
        *count += 1;
    }
    let row =
        |((host, orchestrator), (workloads, count)): ((&str, &str), (BTreeSet<&str>, usize))| {
            [
                host.to_owned(),
                orchestrator.to_owned(),
                workloads.len().to_string(),
                count.to_string(),
            ]
        };
    let headings = ["Hostname", "Orchestrator ID", "Number of Workloads", "Number of Endpoints"];
    table::centred(headings, hosts.into_iter().map(row).collect()).to_string()
}

fn one_by_one(endpoints: &[WorkloadEndpoint]) -> String {
    let row = |endpoint: &WorkloadEndpoint| {
        let spec = &endpoint.spec;
        [
            spec.node.clone(),
            spec.orchestrator.clone(),
            workload(spec).to_owned(),
            endpoint.metadata.name.clone(),
            spec.ip_networks.join("\n"),
            spec.mac.clone(),
            spec.profiles.join(","),
            STATE.to_owned(),
        ]
    };
    let headings = [
        "Hostname",
        "Orchestrator ID",
        "Workload ID",
        "Endpoint ID",
        "Addresses",
        "MAC",
        "Profiles",
        "State",
    ];
    table::centred(headings, endpoints.iter().map(row).collect()).to_string()
}

fn show_profiles(which: &Which, context: &Context) -> Outcome {
    let client = context.client()?;
    let endpoint = context.block_on(which.one(&client, context))?;
    let mut out = std::io::stdout().lock();
    match endpoint.spec.profiles.is_empty() {
        true => writeln!(out, "Endpoint has no profiles associated with it.")?,
        false => {
            let rows = endpoint.spec.profiles.into_iter().map(|name| [name]).collect();
            write!(out, "{}", table::centred(["Name"], rows))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn edit_profiles(which: &Which, edit: Edit, profiles: &[String], context: &Context) -> Outcome {
    let client = context.client()?;
    context.block_on(async {
        let endpoint = which.one(&client, context).await?;
        apply(&client, &endpoint, edit, profiles, context).await
    })?;
    report(which.endpoint.as_deref(), edit, profiles)
}

/// Tells what was done with profiles.
pub fn report(endpoint: Option<&str>, edit: Edit, profiles: &[String]) -> Outcome {
    let (done, preposition) = match edit {
        Edit::Append => ("appended", "to"),
        Edit::Remove => ("removed", "from"),
        Edit::Set => ("set", "for"),
    };
    let profiles = profiles.join(", ");
    let mut out = std::io::stdout().lock();
    match endpoint {
        Some(endpoint) => writeln!(out, "Profiles {profiles} {done} {preposition} {endpoint}.")?,
        None => writeln!(out, "Profiles {profiles} {done}")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes the profiles of an endpoint. One that doesn't exist is refused: Felix would drop all
/// that the endpoint sends.
pub async fn apply(
    client: &Client,
    endpoint: &WorkloadEndpoint,
    edit: Edit,
    profiles: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let stored: Vec<String> = profiles.iter().map(|name| v1_names::profile(name)).collect();
    if edit != Edit::Remove {
        for (name, stored) in profiles.iter().zip(&stored) {
            if edit::find::<ProfileSpec>(client, stored, context.deadline()).await?.is_none() {
                bail!("Profile {name} not found.");
            }
        }
    }
    let metadata = &endpoint.metadata;
    let change = |endpoint: &mut WorkloadEndpoint| {
        endpoint.spec.profiles = edited(&endpoint.spec.profiles, edit, &stored)?;
        Ok(())
    };
    let (namespace, name) = (&metadata.namespace, &metadata.name);
    edit::change::<WorkloadEndpointSpec, anyhow::Error>(
        client,
        namespace,
        name,
        context.deadline(),
        change,
    )
    .await?;
    Ok(())
}

/// The profiles after an edit.
fn edited(before: &[String], edit: Edit, profiles: &[String]) -> anyhow::Result<Vec<String>> {
    let mut after = if edit == Edit::Set { Vec::new() } else { before.to_vec() };
    for profile in profiles {
        match edit {
            Edit::Append | Edit::Set if after.contains(profile) => {
                bail!("Profile {profile} is already in endpoint profile list")
            }
            Edit::Append | Edit::Set => after.push(profile.clone()),
            Edit::Remove if !after.contains(profile) => {
                bail!("Profile {profile} is not in endpoint profile list")
            }
            Edit::Remove => after.retain(|other| other != profile),
        }
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_appended_removed_and_set_in_their_order() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let result = |edit, names: &[&str]| {
            edited(&list(&["a", "b"]), edit, &list(names)).map_err(|error| error.to_string())
        };
        assert_eq!(result(Edit::Append, &["c", "d"]), Ok(list(&["a", "b", "c", "d"])));
        assert_eq!(result(Edit::Remove, &["a"]), Ok(list(&["b"])));
        assert_eq!(result(Edit::Set, &["d", "a"]), Ok(list(&["d", "a"])));
        assert_eq!(result(Edit::Set, &[]), Ok(list(&[])));
        assert!(result(Edit::Append, &["b"]).unwrap_err().contains("b is already"));
        assert!(result(Edit::Set, &["c", "c"]).is_err());
        assert!(result(Edit::Remove, &["c"]).unwrap_err().contains("c is not"));
    }

    #[test]
    fn each_row_tells_its_own_host() {
        let endpoint = |node: &str, workload: &str, ifname: &str| {
            WorkloadEndpoint::new(
                "e",
                WorkloadEndpointSpec {
                    node: node.into(),
                    orchestrator: "docker".into(),
                    workload: workload.into(),
                    endpoint: ifname.into(),
                    ..WorkloadEndpointSpec::default()
                },
            )
        };
        let endpoints = [
            endpoint("node-b", "c3", "eth1"),
            endpoint("node-a", "c1", "eth1"),
            endpoint("node-a", "c1", "eth2"),
            endpoint("node-a", "c2", "eth1"),
        ];
        let expected = "\
+----------+-----------------+---------------------+---------------------+
| Hostname | Orchestrator ID | Number of Workloads | Number of Endpoints |
+----------+-----------------+---------------------+---------------------+
|  node-a  |     docker      |          2          |          3          |
|  node-b  |     docker      |          1          |          1          |
+----------+-----------------+---------------------+---------------------+
";
        assert_eq!(counted(&endpoints), expected);
    }
}
