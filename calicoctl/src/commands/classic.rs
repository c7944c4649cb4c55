//! The commands of Calico's early documents, as front ends over today's resources
//! (`reference/calicoctl.md` sections 1.1, 1.2 and 2).

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

/// The classic commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints or sets the AS number of nodes that have none of their own.
    DefaultNodeAs {
        /// The number to set.
        number: Option<String>,
    },
}

/// Does what the command says.
pub fn run(command: Command, _context: &Context) -> Outcome {
    match command {
        Command::DefaultNodeAs { .. } => anyhow::bail!("not there yet"),
    }
}
