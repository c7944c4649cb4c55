//! `calicoctl node`.

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl node`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the state of this node's BGP sessions.
    Status,
}

/// Does what the command says.
pub fn run(command: Command, _context: &Context) -> Outcome {
    match command {
        Command::Status => anyhow::bail!("not there yet"),
    }
}
