//! Which node this is (`reference/cni-plugin.md` section 1.4, `reference/bgp-node.md` section 6).

use std::fs;
use std::path::PathBuf;

use libcalico::names::is_valid_name;
use nix::unistd::gethostname;

/// Where the plugins look for the node's name, unless `CALICO_NODENAME_FILE` says otherwise.
const NODENAME_FILE: &str = "/var/lib/calico/nodename";

/// What is no name for a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NodeNameError {
    #[error("this host has no name of its own: set NODENAME to the name of its Node")]
    Missing,
    #[error(
        "{source_name} {name:?} is no name for a node: lower-case letters, digits, '-' and '.', at \
         most 253; set NODENAME to another one"
    )]
    Invalid { source_name: String, name: String },
}

/// A node's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName {
    /// The name.
    pub name: String,
    /// What said so.
    pub source: String,
}

/// The file with this node's name.
pub struct NodeNameFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds, if it can be read.
    pub content: Option<String>,
}

impl NodeNameFile {
    /// Reads it.
    pub fn read() -> NodeNameFile {
        let path = variable("CALICO_NODENAME_FILE").filter(|path| !path.is_empty());
        let path = PathBuf::from(path.as_deref().unwrap_or(NODENAME_FILE));
        NodeNameFile { content: fs::read_to_string(&path).ok(), path }
    }
}

/// This node's name, for commands without a flag for it.
pub fn name() -> anyhow::Result<String> {
    Ok(NodeName::here(None, &NodeNameFile::read())?.name)
}

impl NodeName {
    /// The name of this node, unless the flag gives another one.
    pub fn here(flag: Option<&str>, file: &NodeNameFile) -> Result<NodeName, NodeNameError> {
        let host = gethostname().map(|name| name.to_string_lossy().into_owned());
        let path = file.path.to_string_lossy();
        let file = (&*path, file.content.as_deref());
        NodeName::choose(flag, file, variable, &host.unwrap_or_default())
    }

    /// The first that says anything of the flag, `NODENAME`, the nodename file, `HOSTNAME` and the
    /// host's own name. The last two in lower case.
    fn choose(
        flag: Option<&str>,
        (path, content): (&str, Option<&str>),
        variable: impl Fn(&str) -> Option<String>,
        host: &str,
    ) -> Result<NodeName, NodeNameError> {
        let variable = |name: &str| variable(name).unwrap_or_default();
        let candidates = [
            ("--name", flag.unwrap_or_default().to_owned()),
            ("NODENAME", variable("NODENAME")),
            (path, content.unwrap_or_default().to_owned()),
            ("HOSTNAME", variable("HOSTNAME").to_lowercase()),
            ("the host's name", host.to_lowercase()),
        ];
        let mut candidates =
            candidates.into_iter().map(|(source, name)| (source, name.trim().to_owned()));
        let (source, name) =
            candidates.find(|(_, name)| !name.is_empty()).ok_or(NodeNameError::Missing)?;
        match is_valid_name(&name) {
            true => Ok(NodeName { name, source: source.to_owned() }),
            false => Err(NodeNameError::Invalid { source_name: source.to_owned(), name }),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_says_a_name_names_the_node() {
        let choose = |flag, file, variables: &[(&str, &str)], host| {
            let lookup = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            NodeName::choose(flag, ("/file", file), lookup, host).map(|chosen| chosen.name)
        };
        let all = &[("NODENAME", "b"), ("HOSTNAME", "D")];
        assert_eq!(choose(Some("a"), Some("c"), all, "E").as_deref(), Ok("a"));
        assert_eq!(choose(None, Some("c"), all, "E").as_deref(), Ok("b"));
        assert_eq!(choose(None, Some("c\n"), &[("HOSTNAME", "D")], "E").as_deref(), Ok("c"));
        assert_eq!(choose(None, Some(" \n"), &[("HOSTNAME", " D ")], "E").as_deref(), Ok("d"));
        assert_eq!(choose(None, None, &[], "E.example").as_deref(), Ok("e.example"));
        assert_eq!(choose(None, None, &[], ""), Err(NodeNameError::Missing));
        let upper = choose(Some("Upper"), None, &[], "e").unwrap_err().to_string();
        assert!(upper.starts_with("--name \"Upper\" is no name for a node"), "{upper}");
    }
}
