//! The commands, a module each.

pub mod classic;
pub mod completion;
pub mod convert;
pub mod datastore;
pub mod ipam;
pub mod node;
pub mod version;

use std::process::ExitCode;

use crate::cli::Command;
use crate::context::Context;

/// What a command comes to: an exit status, or an error for stderr and exit status 1.
pub type Outcome = anyhow::Result<ExitCode>;

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Completion(command) => command.run(),
        Command::Convert(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Ipam(command) => ipam::run(command, context),
        Command::Node(command) => node::run(command, context),
        Command::Datastore(command) => datastore::run(command, context),
        Command::Version(command) => command.run(context),
        Command::Classic(command) => classic::run(command, context),
    }
}
