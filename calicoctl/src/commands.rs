//! The commands, a module each.

pub mod apply;
mod batch;
mod change;
pub mod classic;
pub mod completion;
pub mod convert;
pub mod create;
pub mod datastore;
pub mod delete;
mod fault;
pub mod get;
pub mod ipam;
pub mod label;
mod namespace;
pub mod node;
pub mod patch;
pub mod replace;
mod v1_names;
pub mod validate;
pub mod version;
mod which;
mod write;

use std::process::ExitCode;

use crate::cli::Command;
use crate::context::Context;

/// What a command comes to: an exit status, or an error for stderr and exit status 1.
pub type Outcome = anyhow::Result<ExitCode>;

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Create(command) => command.run(context),
        Command::Apply(command) => command.run(context),
        Command::Replace(command) => command.run(context),
        Command::Delete(command) => command.run(context),
        Command::Get(command) => command.run(context),
        Command::Patch(command) => command.run(context),
        Command::Label(command) => command.run(context),
        Command::Validate(command) => command.run(),
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
