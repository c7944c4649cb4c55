//! `calicoctl completion` and `calicoctl man`: made from the one table of commands.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Outcome;
use crate::cli::Cli;
use crate::kinds::KindInfo;

/// What other commands call the argument that is a kind of resource.
const KIND: &str = "kind";

/// Flags of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell whose script is printed.
    #[arg(value_enum)]
    pub shell: Known,
}

/// The shells that we write scripts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Known {
    /// Source it from ~/.bashrc, or put it into /etc/bash_completion.d.
    Bash,
    /// Put it into a folder of $fpath, as _calicoctl.
    Zsh,
    /// Put it into ~/.config/fish/completions, as calicoctl.fish.
    Fish,
}

/// Flags of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder that gets the pages, like /usr/local/share/man/man1.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl Completion {
    /// Prints the script.
    pub fn run(self) -> Outcome {
        let shell = match self.shell {
            Known::Bash => Shell::Bash,
            Known::Zsh => Shell::Zsh,
            Known::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut table(), "calicoctl", &mut script);
        io::Write::write_all(&mut io::stdout().lock(), &script)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    /// Writes a page for each command.
    pub fn run(self) -> Outcome {
        let folder = &self.folder;
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .with_context(|| format!("failed to write man pages into {}", folder.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The table of commands, with the kinds where one is asked for.
fn table() -> Command {
    let mut table = Cli::command();
    table.build();
    with_kinds(table)
}

fn with_kinds(command: Command) -> Command {
    let has_kind = command.get_arguments().any(|argument| argument.get_id() == KIND);
    let command = match has_kind {
        true => {
            let kinds = PossibleValuesParser::new(KindInfo::every_alias());
            command.mut_arg(KIND, |argument| argument.value_parser(kinds))
        }
        false => command,
    };
    command.mut_subcommands(with_kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `check` with each command and the words that lead to it.
    fn each(command: &Command, words: &str, check: &mut impl FnMut(&Command, &str)) {
        check(command, words);
        for inner in command.get_subcommands() {
            each(inner, &format!("{words} {}", inner.get_name()), check);
        }
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        let mut count = 0;
        each(&Cli::command(), "calicoctl", &mut |command, words| {
            count += 1;
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty(), "{words} has no help text");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{words}: {} has no help text", argument.get_id());
            }
        });
        assert!(count > 10, "only {count} commands");
    }

    #[test]
    fn the_table_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kinds_are_offered_where_one_is_asked_for() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut table(), "calicoctl", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("bgpconfig") && script.contains("ippools"), "{script}");
        assert!(!script.contains("blockaffinity"));
    }
}
