//! `calicoctl ipam`.

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl ipam`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows how much of the pools is in use.
    Show,
}

/// Does what the command says.
pub fn run(command: Command, _context: &Context) -> Outcome {
    match command {
        Command::Show => anyhow::bail!("not there yet"),
    }
}
