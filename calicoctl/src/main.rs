//! `calicoctl`, the operator's command (`reference/calicoctl.md`).
//!
//! [`cli`] is the one table of commands; each command is a module of [`commands`].

/// Says something on standard error, if anybody listens: the one of the standard library panics where
/// nobody does, in the middle of the work.
macro_rules! eprintln {
    ($($said:tt)*) => {{
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr().lock(),
            format_args!("{}\n", format_args!($($said)*)),
        );
    }};
}

mod cli;
mod commands;
mod config_file;
mod context;
#[cfg(test)]
mod fuzz;
mod input;
mod kinds;
mod output;
mod progress;
mod this_node;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use context::Context;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(commands::classic::in_order(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    if let Err(error) = cli.global.start_log() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let context = Context::new(cli.global);
    match commands::run(cli.command, &context) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::FAILURE,
        Err(error) if is_no_room(&error) => {
            eprintln!("failed to write the answer: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the answer didn't fit where it was to go: other files' errors bear their names.
fn is_no_room(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    error.chain().count() == 1
        && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::StorageFull)
}

/// Whether nobody reads our answer any more, as `head` does when it has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
