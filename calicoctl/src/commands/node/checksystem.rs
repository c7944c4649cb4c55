//! `calicoctl node checksystem`: does the kernel have what Calico and our plugins use?
//! (`reference/calicoctl.md` sections 8.3 and 2.8)
//!
//! `--fix` is ours: it loads what can be loaded and writes what must be set, and tells each step.
//! What an operator may not want, as IPv6 forwarding on a host that lives by router advertisements,
//! is left to them.

mod modules;

use std::io::{self, StdoutLock, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use netutils::sysctl;
use nix::sys::utsname::uname;

use crate::commands::Outcome;
use modules::{Kernel, Module};

/// The oldest kernel that upstream names.
const MINIMUM: [u32; 3] = [2, 6, 24];
/// From here on IPv6 is forwarded for a single interface.
const FORWARDS_BY_LINK: [u32; 3] = [6, 17, 0];

/// Flags of `node checksystem`.
#[derive(Debug, Args)]
pub struct Checksystem {
    /// The file with the kernel's configuration [default: /boot/config-RELEASE, /proc/config.gz].
    #[arg(short = 'f', long = "kernel-config", value_name = "FILE")]
    pub kernel_config: Option<PathBuf>,
    /// Load the modules that are missing and write the settings that are wrong.
    #[arg(long)]
    pub fix: bool,
}

/// What is known of one thing that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Fail,
    /// Not there, and one can do without.
    Skip,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Fail => "FAIL",
            State::Skip => "SKIP",
        }
    }
}

/// A setting that forwards packets.
struct Setting {
    name: &'static str,
    needed: bool,
    why: &'static str,
}

impl Checksystem {
    /// Checks, and repairs if that was asked for.
    pub fn run(self) -> Outcome {
        let names = uname().context("failed to ask for the kernel's version")?;
        let release = names.release().to_string_lossy().into_owned();
        let kernel = Kernel::of_this_host(&release, self.kernel_config.as_deref())?;
        let mut check = Check { out: io::stdout().lock(), fix: self.fix, failed: 0, repaired: 0 };

        writeln!(check.out, "Checking kernel version...")?;
        let version = version(&release);
        let is_recent = version.is_none_or(|version| version >= MINIMUM);
        check.row(&release, if is_recent { State::Ok } else { State::Fail })?;
        writeln!(check.out, "Checking kernel modules...")?;
        check.modules(&kernel, &modules::OF_CALICO)?;
        writeln!(check.out, "Checking what the CNI plugins need...")?;
        check.modules(&kernel, &modules::OF_PLUGINS)?;
        for setting in settings(version) {
            check.setting(&setting)?;
        }
        check.verdict()
    }
}

/// The check as it goes on.
struct Check {
    out: StdoutLock<'static>,
    fix: bool,
    failed: usize,
    repaired: usize,
}

impl Check {
    fn row(&mut self, name: &str, state: State) -> io::Result<()> {
        self.failed += usize::from(state == State::Fail);
        writeln!(self.out, "\t\t{name:<20}\t\t\t\t\t{}", state.word())
    }

    fn modules(&mut self, kernel: &Kernel, modules: &[Module]) -> io::Result<()> {
        for module in modules {
            let missing = if module.optional { State::Skip } else { State::Fail };
            let current = module.names.last().copied().unwrap_or_default();
            match kernel.find(module) {
                Some(name) => self.row(name, State::Ok)?,
                None if self.fix => {
                    let loaded = self.load(module)?;
                    self.row(current, if loaded { State::Ok } else { missing })?;
                }
                None => self.row(current, missing)?,
            }
        }
        Ok(())
    }

    /// Loads the first of a module's names that can be.
    fn load(&mut self, module: &Module) -> io::Result<bool> {
        for name in module.names.iter().rev() {
            write!(self.out, "Loading module {name}: ")?;
            self.out.flush()?;
            let failure = match Command::new("modprobe").arg(name).output() {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
                Err(error) => Some(format!("modprobe can't be run: {error}")),
            };
            match failure {
                None => {
                    writeln!(self.out, "done")?;
                    self.repaired += 1;
                    return Ok(true);
                }
                Some(reason) => writeln!(self.out, "{}", reason.replace('\n', "; "))?,
            }
        }
        Ok(false)
    }

    fn setting(&mut self, setting: &Setting) -> io::Result<()> {
        let dotted = setting.name.replace('/', ".");
        let value = sysctl::read(setting.name);
        let is_on = value.as_ref().is_ok_and(|value| value != "0");
        if is_on {
            return self.row(&dotted, State::Ok);
        }
        if !setting.needed {
            self.row(&dotted, State::Skip)?;
            return writeln!(self.out, "\t\t  {}", setting.why);
        }
        if self.fix && value.is_ok() {
            write!(self.out, "Setting {dotted} to 1: ")?;
            match sysctl::write(setting.name, "1") {
                Ok(()) => {
                    self.repaired += 1;
                    writeln!(self.out, "done")?;
                    return self.row(&dotted, State::Ok);
                }
                Err(error) => writeln!(self.out, "{error}")?,
            }
        }
        self.row(&dotted, State::Fail)?;
        writeln!(self.out, "\t\t  {}", setting.why)
    }

    fn verdict(mut self) -> Outcome {
        if self.repaired > 0 {
            writeln!(
                self.out,
                "Repaired until the next start: to keep it, write modules to \
                 /etc/modules-load.d/calico.conf and settings to /etc/sysctl.d/calico.conf."
            )?;
        }
        if self.failed > 0 {
            bail!("system doesn't meet one or more minimum systems requirements to run Calico");
        }
        writeln!(self.out, "System meets minimum system requirements to run Calico!")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What must be set for packets to come and go. The plugins set what concerns their own links.
fn settings(version: Option<[u32; 3]>) -> Vec<Setting> {
    let mut settings = vec![Setting {
        name: "net/ipv4/ip_forward",
        needed: true,
        why: "without it no packet from outside of the host reaches a pod",
    }];
    let by_link = version.is_some_and(|version| version >= FORWARDS_BY_LINK);
    if sysctl::ipv6_is_available() && !by_link {
        settings.push(Setting {
            name: "net/ipv6/conf/all/forwarding",
            needed: false,
            why: "IPv6 between pods needs it before Linux 6.17; set it to 1 unless the host takes \
                  its own routes from router advertisements",
        });
    }
    settings
}

/// The numbers that a release begins with: `6.1.0-13-amd64`, `5.15`.
fn version(release: &str) -> Option<[u32; 3]> {
    let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let major = parts.next()??;
    let mut rest = || parts.next().flatten().unwrap_or(0);
    Some([major, rest(), rest()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_far_as_they_go() {
        for (release, expected) in [
            ("6.1.0-13-amd64", Some([6, 1, 0])),
            ("5.15", Some([5, 15, 0])),
            ("2.6.24", Some([2, 6, 24])),
            ("6.18.44-fc-v669", Some([6, 18, 44])),
            ("4.rc1", Some([4, 0, 0])),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("2.6.23").unwrap() < MINIMUM && version("2.6.24-1").unwrap() >= MINIMUM);
    }

    #[test]
    fn forwarding_of_ipv6_is_only_asked_of_older_kernels() {
        let names = |version| settings(version).iter().map(|s| s.name).collect::<Vec<_>>();
        assert_eq!(names(Some([6, 17, 0])), ["net/ipv4/ip_forward"]);
        let older = settings(Some([6, 16, 9]));
        assert!(older.iter().filter(|setting| setting.needed).count() == 1);
    }
}
