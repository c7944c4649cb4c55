//! `calicoctl create`.

use clap::Args;

use super::Outcome;
use super::batch::Verb;
use super::namespace::Namespace;
use super::write::{self, Mode};
use crate::context::Context;
use crate::input::Files;

/// Flags of `create`.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    namespace: Namespace,
    /// Leave resources as they are that are there already.
    #[arg(long)]
    skip_exists: bool,
}

impl Create {
    /// Writes the resources of the files.
    pub fn run(self, context: &Context) -> Outcome {
        let verb = Verb { base: "create", past: "created" };
        let mode = match self.skip_exists {
            true => Mode::CreateIfMissing,
            false => Mode::Create,
        };
        write::run(context, &self.files, &self.namespace, mode, verb)
    }
}
