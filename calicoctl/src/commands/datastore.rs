//! `calicoctl datastore`.

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl datastore`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Locks, unlocks, exports and imports the datastore.
    Migrate,
}

/// Does what the command says.
pub fn run(command: Command, _context: &Context) -> Outcome {
    match command {
        Command::Migrate => anyhow::bail!("not there yet"),
    }
}
