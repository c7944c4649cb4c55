//! `calicoctl node`: what concerns the host that it runs on (`reference/calicoctl.md` section 8).

pub mod bird;
pub mod checksystem;
pub mod diags;
mod processes;
pub mod run;
pub mod status;

use clap::Subcommand;
use nix::unistd::Uid;

use super::{Outcome, classic};
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
    /// BGP peers of this node alone.
    #[command(subcommand)]
    Bgppeer(classic::peer::Command),
    /// BGP of this node alone.
    #[command(subcommand)]
    Bgp(classic::NodeBgp),
    /// Takes this node out of the cluster.
    Stop(classic::NodeStop),
}

/// Does what the command says. Those that look at this host look at what only root may see.
pub fn run(command: Command, context: &Context) -> Outcome {
    let needs_root = !matches!(command, Command::Bgppeer(_) | Command::Bgp(_));
    if needs_root && !Uid::effective().is_root() {
        anyhow::bail!("Need super user privileges: Operation not permitted");
    }
    match command {
        Command::Checksystem(command) => command.run(),
        Command::Diags(command) => command.run(context),
        Command::Run(command) => command.run(context),
        Command::Status => status::run(),
        Command::Bgppeer(command) => classic::peer::run_here(command, context),
        Command::Bgp(classic::NodeBgp::Peer(command)) => classic::peer::run_here(command, context),
        Command::Stop(stop) => stop.run(context),
    }
}
