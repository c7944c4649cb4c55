//! `calicoctl datastore` (`reference/calicoctl.md` section 7): the lock, and moving everything from
//! one datastore to another. `lock` and `unlock` without `migrate` are ours.

mod export;
pub mod file;
mod import;
mod lock;
mod policy_names;

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl datastore`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Locks the datastore: nodes give no addresses and start no new work until it is unlocked.
    Lock,
    /// Unlocks the datastore.
    Unlock,
    /// Moves everything to another datastore.
    #[command(subcommand)]
    Migrate(Migrate),
    /// Drops the prefix "default." that releases before 3.32 stored policies with.
    MigratePolicyNames,
}

/// The commands of `calicoctl datastore migrate`.
#[derive(Debug, Subcommand)]
pub enum Migrate {
    /// Locks the datastore for the time of the migration.
    Lock,
    /// Unlocks the datastore.
    Unlock,
    /// Prints everything that is in the datastore.
    Export(export::Export),
    /// Reads what export printed into an empty datastore.
    Import(import::Import),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Lock | Command::Migrate(Migrate::Lock) => lock::run(false, context),
        Command::Unlock | Command::Migrate(Migrate::Unlock) => lock::run(true, context),
        Command::Migrate(Migrate::Export(command)) => command.run(context),
        Command::Migrate(Migrate::Import(command)) => command.run(context),
        Command::MigratePolicyNames => policy_names::run(context),
    }
}
