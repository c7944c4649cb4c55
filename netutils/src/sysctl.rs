//! Kernel settings under `/proc/sys`, as `reference/cni-plugin.md` sections 4.3 and 4.4 use them.
//!
//! `/proc/sys/net` shows the network namespace of the *thread* that opens a file. To read or write
//! another namespace's settings, call these functions inside of [`Netns::run`](crate::Netns::run).
//!
//! Settings are named by their path (`net/ipv4/conf/eth0.10/forwarding`), never by the dotted form,
//! which can't tell the dot of an interface's name from a separator.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

const ROOT: &str = "/proc/sys";

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The name is not a plain path below `/proc/sys`.
    #[error("{name:?} is not the name of a kernel setting; write it like net/ipv4/ip_forward")]
    Name {
        /// What was given.
        name: String,
    },
    /// The setting can't be read.
    #[error("cannot read {ROOT}/{name}: {source}")]
    Read {
        /// The setting, below `/proc/sys`.
        name: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The setting can't be written, or does not take the value.
    #[error("cannot write {value:?} to {ROOT}/{name}: {source}")]
    Write {
        /// The setting, below `/proc/sys`.
        name: String,
        /// The value that was to be written.
        value: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl SysctlError {
    /// Whether the setting does not exist: no such interface, or IPv6 is compiled out.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Name { .. } => false,
            Self::Read { source, .. } | Self::Write { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
        }
    }
}

/// One setting to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name below `/proc/sys`.
    pub name: String,
    /// The value.
    pub value: &'static str,
    /// Whether a failure ends the work; otherwise it becomes a warning.
    pub required: bool,
}

impl Setting {
    /// A setting whose failure is an error.
    pub fn required(name: impl Into<String>, value: &'static str) -> Self {
        Self { name: name.into(), value, required: true }
    }

    /// A setting whose failure is a warning.
    pub fn optional(name: impl Into<String>, value: &'static str) -> Self {
        Self { name: name.into(), value, required: false }
    }

    /// The last part of the name.
    pub fn key(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// The name of an IPv4 setting of one interface (or of `all`, or of `default`).
pub fn ipv4_conf(interface: &str, key: &str) -> String {
    format!("net/ipv4/conf/{interface}/{key}")
}

/// The name of an IPv6 setting of one interface (or of `all`, or of `default`).
pub fn ipv6_conf(interface: &str, key: &str) -> String {
    format!("net/ipv6/conf/{interface}/{key}")
}

/// The name of an IPv4 neighbour setting of one interface.
pub fn ipv4_neigh(interface: &str, key: &str) -> String {
    format!("net/ipv4/neigh/{interface}/{key}")
}

/// Whether the calling thread's namespace has IPv6 at all.
pub fn ipv6_is_available() -> bool {
    Path::new("/proc/sys/net/ipv6").is_dir()
}

/// Reads a setting, without the line's end.
pub fn read(name: &str) -> Result<String, SysctlError> {
    let text = fs::read_to_string(path(name)?)
        .map_err(|source| SysctlError::Read { name: name.to_owned(), source })?;
    Ok(text.trim_end().to_owned())
}

/// Writes a setting: one `write` to a file that must exist.
pub fn write(name: &str, value: &str) -> Result<(), SysctlError> {
    let path = path(name)?;
    fault_points::reach!("sysctl.write");
    let written = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        match file.write(value.as_bytes())? {
            length if length == value.len() => Ok(()),
            // The kernel takes a value as a whole or not at all; a second write would be a second value.
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    });
    written.map_err(|source| SysctlError::Write {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes the settings in their order. Ends at the first required one that fails; returns the
/// failures of the others.
pub fn write_all(settings: &[Setting]) -> Result<Vec<SysctlError>, SysctlError> {
    let mut warnings = Vec::new();
    for setting in settings {
        match write(&setting.name, setting.value) {
            Ok(()) => {}
            Err(error) if setting.required => return Err(error),
            Err(error) => warnings.push(error),
        }
    }
    fault_points::reach!("sysctls.written");
    Ok(warnings)
}

/// The file of a setting. Refuses names that would lead out of `/proc/sys`.
fn path(name: &str) -> Result<PathBuf, SysctlError> {
    let relative = Path::new(name);
    // Components alone would hide `.` and doubled slashes, which an interface's name can't have.
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)))
        && name.split('/').all(|part| !part.is_empty() && part != ".");
    if !plain {
        return Err(SysctlError::Name { name: name.to_owned() });
    }
    Ok(Path::new(ROOT).join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_root() {
        for name in ["", "/etc/passwd", "net/../../etc/passwd", "net//ipv4", "./net", "net/", ".."]
        {
            assert!(matches!(write(name, "1"), Err(SysctlError::Name { .. })), "{name}");
            assert!(matches!(read(name), Err(SysctlError::Name { .. })), "{name}");
        }
        let name = ipv4_conf("eth0.10", "forwarding");
        assert_eq!(path(&name).unwrap(), Path::new("/proc/sys/net/ipv4/conf/eth0.10/forwarding"));
    }

    #[test]
    fn a_missing_setting_is_neither_created_nor_found() {
        let error = write("net/ipv4/conf/no-such-link/forwarding", "1").unwrap_err();
        assert!(error.is_not_found());
        let text = error.to_string();
        assert!(
            text.starts_with("cannot write \"1\" to /proc/sys/net/ipv4/conf/no-such-link/"),
            "{text}"
        );
    }
}
