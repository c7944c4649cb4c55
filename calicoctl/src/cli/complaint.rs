//! What is wrong with the arguments, in one line as upstream words it.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Cli;
use crate::kinds::{did_you_mean, nearest};

/// Flags that told resources of Calico 2 apart.
const IDENTIFIERS: [&str; 4] = ["--node", "--orchestrator", "--scope", "--workload"];

/// Prints what is wrong with the arguments, in one line, or the help that was asked for.
pub fn explain(error: &clap::Error) -> ExitCode {
    if let ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =
        error.kind()
    {
        return match write!(std::io::stdout().lock(), "{}", error.render()) {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody can be told why.
            Err(_) => ExitCode::FAILURE,
        };
    }
    // Whoever wrote them: a file's name needn't be UTF-8.
    let word = |word: std::ffi::OsString| word.to_string_lossy().into_owned();
    let words: Vec<String> = std::env::args_os().skip(1).map(word).collect();
    eprintln!("{}", line(error, &words));
    ExitCode::FAILURE
}

/// The one line. `words` are the arguments as they were written.
fn line(error: &clap::Error, words: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(list)) => Some(list.join(", ")),
        _ => None,
    };
    let first = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(list)) => list.first().cloned(),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg).unwrap_or_default();
    let has = |verb: &str| words.iter().any(|word| word == verb);
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with("--") => {
            let name = argument.split('=').next().unwrap_or_default();
            if IDENTIFIERS.contains(&name) && ["get", "delete"].iter().any(|verb| has(verb)) {
                return format!(
                    "unknown flag: {name}: today a resource has one name, which tells them all: see \
                     calicoctl get KIND -o wide"
                );
            }
            format!(
                "unknown flag: {name}{}",
                did_you_mean(first(ContextKind::SuggestedArg).as_deref())
            )
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let letter = argument.chars().nth(1).unwrap_or('-');
            let is_it = |word: &&String| !word.starts_with("--") && word.contains(letter);
            let mut flags = words.iter().filter(|word| word.starts_with('-'));
            let word = flags.find(is_it).map_or(argument.as_str(), String::as_str);
            format!("unknown shorthand flag: '{letter}' in {word}")
        }
        ErrorKind::UnknownArgument => {
            format!("unexpected argument \"{argument}\": see {}", help(words))
        }
        ErrorKind::InvalidSubcommand => {
            let command = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            let known = commands_beside(&command, words);
            let suggestion = nearest(&command, known.iter().map(String::as_str));
            match (suggestion, command.as_str()) {
                (None, "cluster") => format!(
                    "unknown command \"{command}\": it asks the Kubernetes API, which is not \
                     supported yet; run calicoctl node diags on each node"
                ),
                (None, _) => format!("unknown command \"{command}\": see {}", help(words)),
                _ => format!("unknown command \"{command}\"{}", did_you_mean(suggestion)),
            }
        }
        ErrorKind::MissingSubcommand => format!("no command: see {}", help(words)),
        ErrorKind::MissingRequiredArgument => {
            format!("missing argument: {argument}: see {}", help(words))
        }
        ErrorKind::InvalidValue
            if text(ContextKind::InvalidValue).is_some_and(|v| v.is_empty()) =>
        {
            format!("flag needs an argument: {argument}")
        }
        ErrorKind::InvalidValue => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let valid = text(ContextKind::ValidValue).unwrap_or_default();
            format!("invalid value '{value}' for '{argument}': it is one of {valid}")
        }
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// The command that says what may stand behind these words.
fn help(words: &[String]) -> String {
    let (mut command, mut line) = (Cli::command(), "calicoctl".to_owned());
    for word in words {
        if let Some(found) = command.find_subcommand(word).cloned() {
            line = format!("{line} {}", found.get_name());
            command = found;
        }
    }
    line + " --help"
}

/// The commands that could stand where `unknown` stands.
fn commands_beside(unknown: &str, words: &[String]) -> Vec<String> {
    let mut parent = Cli::command();
    for word in words.iter().take_while(|word| *word != unknown) {
        if let Some(command) = parent.find_subcommand(word) {
            parent = command.clone();
        }
    }
    let known = parent.get_subcommands().filter(|command| !command.is_hide_set());
    known.map(|command| command.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn complaint(words: &str) -> String {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let all = std::iter::once("calicoctl".to_owned()).chain(words.iter().cloned());
        line(&Cli::try_parse_from(all).expect_err("these arguments are wrong"), &words)
    }

    #[test]
    fn wrong_arguments_get_one_line() {
        for (words, expected) in [
            ("get --unknown-flag", "unknown flag: --unknown-flag"),
            ("get --unknown-flag=3", "unknown flag: --unknown-flag"),
            ("create -m", "unknown shorthand flag: 'm' in -m"),
            ("create -f x -mfoo", "unknown shorthand flag: 'm' in -mfoo"),
            ("create --skip-exist", "unknown flag: --skip-exist: did you mean \"--skip-exists\"?"),
            ("frob", "unknown command \"frob\": see calicoctl --help"),
            ("ipam frob", "unknown command \"frob\": see calicoctl ipam --help"),
            (
                "cluster diags",
                "unknown command \"cluster\": it asks the Kubernetes API, which is not supported yet; \
                 run calicoctl node diags on each node",
            ),
            ("creat", "unknown command \"creat\": did you mean \"create\"?"),
            ("ipam shwo", "unknown command \"shwo\": did you mean \"show\"?"),
            ("gte pool", "unknown command \"gte\": did you mean \"get\"?"),
            ("foo", "unknown command \"foo\": see calicoctl --help"),
            ("-l debug", "no command: see calicoctl --help"),
            (
                "get wep --node=a",
                "unknown flag: --node: today a resource has one name, which tells them all: see \
                 calicoctl get KIND -o wide",
            ),
            ("create x", "unexpected argument \"x\": see calicoctl create --help"),
            ("create -f", "flag needs an argument: --filename <FILE>"),
            ("get pool -o", "flag needs an argument: --output <FORMAT>"),
            ("patch pool", "missing argument: --patch <PATCH>, <NAME>: see calicoctl patch --help"),
            ("container add web", "missing argument: <IP>: see calicoctl container add --help"),
        ] {
            assert_eq!(complaint(words), expected, "{words}");
        }
    }
}
