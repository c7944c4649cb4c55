//! `calicoctl ipam`: addresses, who has them, and how they are given (`reference/calicoctl.md`
//! section 6). `map`, `explain` and `check --fix` are ours.

mod check;
mod configure;
mod explain;
mod map;
mod release;
mod show;
mod split;
mod survey;

use std::io::Write;
use std::net::IpAddr;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::Outcome;
use crate::context::Context;

/// The commands of `calicoctl ipam`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows how much of the pools is in use, or who has an address.
    Show(show::Show),
    /// Draws the address space of each pool: blocks, their owners, their use.
    Map(map::Map),
    /// Tells which pools a new workload would be offered, and why the others not.
    Explain(explain::Explain),
    /// Looks for addresses that are lost or in use twice, and for objects that contradict each
    /// other.
    Check(check::Check),
    /// Gives addresses back that are not in use.
    Release(release::Release),
    /// Sets how addresses are given.
    Configure(configure::Configure),
    /// Splits a pool into smaller ones.
    Split(split::Split),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Show(command) => command.run(context),
        Command::Map(command) => command.run(context),
        Command::Explain(command) => command.run(context),
        Command::Check(command) => command.run(context),
        Command::Release(command) => command.run(context),
        Command::Configure(command) => command.run(context),
        Command::Split(command) => command.run(context),
    }
}

/// How a command answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints an answer for programs.
fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, answer)?;
    writeln!(out)?;
    Ok(())
}

/// Reads an address, with upstream's words for what is none.
fn parse_ip(text: &str) -> anyhow::Result<IpAddr> {
    match text.parse() {
        Ok(ip) => Ok(ip),
        Err(_) => bail!("invalid IP address specified: {text}"),
    }
}
