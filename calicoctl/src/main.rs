//! `calicoctl`, the operator's command (`reference/calicoctl.md`).
//!
//! [`cli`] is the one table of commands; each command is a module of [`commands`].

mod cli;
mod commands;
mod config_file;
mod context;
mod output;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use context::Context;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(commands::classic::in_order(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    let context = Context::new(cli.global);
    match commands::run(cli.command, &context) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
