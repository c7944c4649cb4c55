//! The one table of commands: arguments, help, completions and man pages come from it.

mod complaint;
mod log;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    apply, classic, completion, convert, create, datastore, delete, get, ipam, label, node, patch,
    replace, validate, version,
};

pub use complaint::explain;

/// Looks after Calico's resources, addresses and nodes.
#[derive(Debug, Parser)]
#[command(name = "calicoctl", disable_version_flag = true, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command has, before it or after it.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The level from which log lines are written: panic, fatal, error, warn, info or debug.
    #[arg(short, long, global = true, default_value = "warn", value_name = "LEVEL")]
    pub log_level: String,
    /// The file that says how to reach the datastore.
    #[arg(short, long, global = true, default_value = crate::config_file::DEFAULT_PATH, value_name = "FILE")]
    pub config: String,
    /// The context of the kubeconfig file.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Go on although the cluster's version is another one.
    #[arg(long, global = true)]
    pub allow_version_mismatch: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes new resources.
    Create(create::Create),
    /// Makes resources, or changes those that are there.
    Apply(apply::Apply),
    /// Changes resources that are there.
    Replace(replace::Replace),
    /// Removes resources.
    Delete(delete::Delete),
    /// Shows resources.
    Get(get::Get),
    /// Changes fields of a resource.
    Patch(patch::Patch),
    /// Sets or removes a label of a resource.
    Label(label::Label),
    /// Checks resources without a datastore.
    Validate(validate::Validate),
    /// Old resources, v1 and Kubernetes' policies, as today's.
    Convert(convert::Convert),
    /// Addresses: who has them, and how they are given.
    #[command(subcommand)]
    Ipam(ipam::Command),
    /// This node.
    #[command(subcommand)]
    Node(node::Command),
    /// The datastore as a whole.
    #[command(subcommand)]
    Datastore(datastore::Command),
    /// The script with which a shell completes these commands.
    Completion(completion::Completion),
    /// Writes manual pages of these commands.
    Man(completion::Man),
    /// Versions of this program and of the cluster.
    Version(version::Version),
    #[command(flatten)]
    Classic(classic::Command),
}
