//! `calicoctl version`: versions of this program and of the cluster.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::context::Context;

/// Flags of `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// This program's version only.
    #[arg(long)]
    pub client: bool,
}

impl Version {
    /// Prints the versions.
    pub fn run(self, _context: &Context) -> Outcome {
        let mut out = std::io::stdout().lock();
        writeln!(out, "Client Version:    {}", env!("CARGO_PKG_VERSION"))?;
        Ok(ExitCode::SUCCESS)
    }
}
