//! `calicoctl replace`.

use clap::Args;

use super::Outcome;
use super::batch::Verb;
use super::namespace::Namespace;
use super::write::{self, Mode};
use crate::context::Context;
use crate::input::Files;

/// Flags of `replace`.
#[derive(Debug, Args)]
pub struct Replace {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    namespace: Namespace,
}

impl Replace {
    /// Writes the resources of the files.
    pub fn run(self, context: &Context) -> Outcome {
        let verb = Verb { base: "replace", past: "replaced" };
        write::run(context, &self.files, &self.namespace, Mode::Replace, verb)
    }
}
