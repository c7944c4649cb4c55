//! Runs a program and writes, as its last line on standard error, how much memory the largest of its
//! processes had, in KiB.
//!
//! `scripts/bench` asks it because the kernel counts what a process had *before* it became the program:
//! a child of the bench itself would seem to have the bench's memory. This one is small.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("peak PROGRAM [ARGUMENT]...")?;
    let status = Command::new(&program).args(arguments).status();
    let status = status.with_context(|| program.display().to_string())?;
    eprintln!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
