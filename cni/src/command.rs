//! The verbs of the protocol: the values of `CNI_COMMAND`.

use std::fmt;

use crate::Version;

/// What the runtime asks a plugin to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container to the network.
    Add,
    /// Take an attachment back.
    Del,
    /// See whether an attachment is still as ADD left it (since 0.4.0).
    Check,
    /// Remove what belongs to attachments that are no longer valid (since 1.1.0).
    Gc,
    /// Tell whether an ADD could be served now (since 1.1.0).
    Status,
    /// List the versions of the protocol that the plugin speaks.
    Version,
}

impl Command {
    /// Every verb, in the order of the specification.
    pub const ALL: [Command; 6] = [
        Command::Add,
        Command::Del,
        Command::Check,
        Command::Gc,
        Command::Status,
        Command::Version,
    ];

    /// The verb as `CNI_COMMAND` spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }

    /// The verb that `CNI_COMMAND` names; upper case only, as the specification has it.
    pub fn parse(name: &str) -> Option<Command> {
        Command::ALL.into_iter().find(|command| command.as_str() == name)
    }

    /// The first version of the protocol that has the verb.
    pub const fn since(self) -> Version {
        match self {
            Command::Add | Command::Del | Command::Version => Version::V0_1_0,
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_read_back_from_its_name() {
        for command in Command::ALL {
            assert_eq!(Command::parse(&command.to_string()), Some(command));
        }
    }

    #[test]
    fn other_names_are_no_verbs() {
        for name in ["", "add", "Add", "ADD ", "FROB"] {
            assert_eq!(Command::parse(name), None, "{name:?}");
        }
    }
}
