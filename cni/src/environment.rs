//! The `CNI_*` variables: which verb needs which, and what their values may be (`cni-plugin.md`
//! section 0.1).

use std::{ffi::OsString, path::PathBuf};

use crate::{
    Args,
    Command::{self, Add, Check, Del, Gc, Status},
    Error, code,
    config::is_identifier,
    error,
};

/// Looks a variable up; the process environment, but for tests.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The longest name of an interface: the kernel's IFNAMSIZ without the final zero.
const IFNAME_MAX: usize = 15;

/// A variable, and the verbs that have a use for it.
struct Variable {
    name: &'static str,
    required: &'static [Command],
    optional: &'static [Command],
}

/// The variables in upstream's order. COMPAT: the specification calls CNI_PATH optional for most
/// verbs, but upstream's library demands it.
const VARIABLES: [Variable; 6] = [
    Variable { name: CONTAINER_ID, required: &[Add, Del, Check], optional: &[] },
    Variable { name: NETNS, required: &[Add, Check], optional: &[Del] },
    Variable { name: IFNAME, required: &[Add, Del, Check], optional: &[] },
    Variable { name: ARGS, required: &[], optional: &[Add, Del, Check] },
    Variable { name: PATH, required: &[Add, Del, Check, Gc, Status], optional: &[] },
    Variable { name: NETNS_OVERRIDE, required: &[], optional: &[Add, Del, Check] },
];

pub(crate) const COMMAND: &str = "CNI_COMMAND";
pub(crate) const CONTAINER_ID: &str = "CNI_CONTAINERID";
pub(crate) const NETNS: &str = "CNI_NETNS";
pub(crate) const IFNAME: &str = "CNI_IFNAME";
pub(crate) const ARGS: &str = "CNI_ARGS";
pub(crate) const PATH: &str = "CNI_PATH";
const NETNS_OVERRIDE: &str = "CNI_NETNS_OVERRIDE";

/// The variables of a verb; empty where they are absent or the verb has no use for them.
pub(crate) struct Environment {
    command: Command,
    pub(crate) container_id: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
    args: String,
    path: String,
    netns_override: String,
}

/// Reads `CNI_COMMAND`: `None` if it is absent or empty.
pub(crate) fn command(lookup: Lookup) -> Result<Option<Command>, Error> {
    match value(lookup, COMMAND)?.as_str() {
        "" => Ok(None),
        name => Command::parse(name).map(Some).ok_or_else(|| {
            invalid(format!(
                "{COMMAND} {:?} is unknown; use one of {}",
                error::excerpt(name),
                Command::ALL.map(Command::as_str).join(", ")
            ))
        }),
    }
}

impl Environment {
    /// Reads the variables of a verb. All that are missing are named in one error.
    pub(crate) fn read(command: Command, lookup: Lookup) -> Result<Self, Error> {
        let is_missing = |name: &str| lookup(name).is_none_or(|value| value.is_empty());
        let missing: Vec<&str> = VARIABLES
            .iter()
            .filter(|variable| variable.required.contains(&command) && is_missing(variable.name))
            .map(|variable| variable.name)
            .collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            return Err(invalid(format!(
                "{command} needs the environment variables [{names}]; set them"
            )));
        }
        let [container_id, netns, ifname, args, path, netns_override] = VARIABLES.map(|variable| {
            let is_used =
                variable.required.contains(&command) || variable.optional.contains(&command);
            if is_used { value(lookup, variable.name) } else { Ok(String::new()) }
        });
        Ok(Environment {
            command,
            container_id: container_id?,
            netns: netns?,
            ifname: ifname?,
            args: args?,
            path: path?,
            netns_override: netns_override?,
        })
    }

    /// Checks the container's id and the interface's name, for the verbs that have them.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if matches!(self.command, Add | Del | Check) {
            check_container_id(&self.container_id)?;
            check_ifname(&self.ifname)?;
        }
        Ok(())
    }

    /// The pairs of CNI_ARGS.
    pub(crate) fn args(&self) -> Result<Args, Error> {
        Ok(self.args.parse::<Args>()?)
    }

    /// The folders of CNI_PATH.
    pub(crate) fn path(&self) -> Vec<PathBuf> {
        self.path.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
    }

    /// Whether CNI_NETNS may be the plugin's own namespace.
    pub(crate) fn netns_override(&self) -> bool {
        self.netns_override == "1" || self.netns_override.eq_ignore_ascii_case("true")
    }
}

fn value(lookup: Lookup, name: &str) -> Result<String, Error> {
    lookup(name).unwrap_or_default().into_string().map_err(|value| {
        let value = value.to_string_lossy();
        invalid(format!("{name} {:?} is no UTF-8 text", error::excerpt(&value)))
    })
}

fn check_container_id(id: &str) -> Result<(), Error> {
    if is_identifier(id) {
        return Ok(());
    }
    Err(invalid(format!(
        "{CONTAINER_ID} {:?} must start with a letter or digit and go on with those, '_', '.' \
         or '-'",
        error::excerpt(id)
    )))
}

fn check_ifname(name: &str) -> Result<(), Error> {
    let cause = if name.len() > IFNAME_MAX {
        "is longer than 15 bytes"
    } else if name == "." || name == ".." {
        "is the name of a folder"
    } else if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        "has a '/', a ':' or a blank"
    } else {
        return Ok(());
    };
    Err(invalid(format!(
        "{IFNAME} {:?} {cause}; give the interface another name",
        error::excerpt(name)
    )))
}

fn invalid(msg: String) -> Error {
    Error::new(code::INVALID_ENVIRONMENT, msg)
}

#[cfg(test)]
mod tests;
