//! `calicoctl node`: what concerns the host that it runs on (`reference/calicoctl.md` section 8).

mod bird;
pub mod checksystem;
pub mod diags;
mod processes;
pub mod run;
pub mod status;

use clap::Subcommand;
use nix::unistd::Uid;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl node`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Checks whether this host's kernel has what Calico needs.
    Checksystem(checksystem::Checksystem),
    /// Collects logs and the state of this host into one file.
    Diags(diags::Diags),
    /// Registers this node; the daemon comes later.
    Run(Box<run::Run>),
    /// Shows the state of this node's BGP sessions.
    Status,
}

/// Does what the command says. All of them look at what only root may see.
pub fn run(command: Command, context: &Context) -> Outcome {
    if !Uid::effective().is_root() {
        anyhow::bail!("Need super user privileges: Operation not permitted");
    }
    match command {
        Command::Checksystem(command) => command.run(),
        Command::Diags(command) => command.run(context),
        Command::Run(command) => command.run(context),
        Command::Status => status::run(),
    }
}
