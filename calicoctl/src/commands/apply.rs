//! `calicoctl apply`.

use clap::Args;

use super::Outcome;
use super::batch::Verb;
use super::namespace::Namespace;
use super::write::{self, Mode};
use crate::context::Context;
use crate::input::Files;

/// Flags of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    namespace: Namespace,
}

impl Apply {
    /// Writes the resources of the files.
    pub fn run(self, context: &Context) -> Outcome {
        let verb = Verb { base: "apply", past: "applied" };
        write::run(context, &self.files, &self.namespace, Mode::Apply, verb)
    }
}
