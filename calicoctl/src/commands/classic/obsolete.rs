//! Former names of commands that live elsewhere now, and commands whose time is over
//! (`reference/calicoctl.md` section 2.8).

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::commands::{Outcome, node};
use crate::context::Context;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the state of this node's BGP sessions: `node status`.
    Status,
    /// Checks whether this host's kernel has what Calico needs: `node checksystem`.
    Checksystem(node::checksystem::Checksystem),
    /// Collects logs and the state of this host into one file: `node diags`.
    Diags(EarlyDiags),
    /// Ended with Calico 0.5.
    #[command(hide = true)]
    RestartDockerWithAlternativeUnixSocket,
    /// Ended with Calico 0.5.
    #[command(hide = true)]
    RestartDockerWithoutAlternativeUnixSocket,
}

/// Flags of `diags`.
#[derive(Debug, Args)]
pub struct EarlyDiags {
    #[command(flatten)]
    bundle: node::diags::Diags,
    /// Nothing is sent anywhere any more.
    #[arg(long, hide = true)]
    upload: bool,
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Status => node::run(node::Command::Status, context),
        Command::Checksystem(command) => node::run(node::Command::Checksystem(command), context),
        Command::Diags(EarlyDiags { upload: true, .. }) => {
            bail!(
                "--upload is no more: nothing is sent anywhere; calicoctl diags prints the path of \
                 the bundle"
            )
        }
        Command::Diags(EarlyDiags { bundle, .. }) => {
            node::run(node::Command::Diags(bundle), context)
        }
        Command::RestartDockerWithAlternativeUnixSocket
        | Command::RestartDockerWithoutAlternativeUnixSocket => {
            bail!(
                "the proxy in front of Docker's socket ended with Calico v0.5, and with it this \
                 command: see calicoctl container add"
            )
        }
    }
}
