//! `calicoctl version`: versions of this program and of the cluster (`reference/calicoctl.md`
//! sections 3.3 and 4.9).

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use libcalico::client::Client;
use libcalico::resources::ClusterInformationSpec;

use super::{Outcome, fault};
use crate::context::Context;

/// This program's version.
pub const OURS: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The commit that it was built from, where the build said so.
const COMMIT: Option<&str> = option_env!("CALICO_RS_COMMIT");

/// The releases of Calico whose data this program reads and writes exactly: major, first and last
/// minor number.
const SPEAKS: (u32, u32, u32) = (3, 32, 33);

/// Flags of `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// This program's version only.
    #[arg(long)]
    pub client: bool,
    /// Look again and again after this time, like 5s or 1m30s, and print what is new.
    #[arg(long, value_name = "DURATION")]
    pub poll: Option<String>,
}

impl Version {
    /// Prints the versions.
    pub fn run(self, context: &Context) -> Outcome {
        let pause = match self.poll.as_deref() {
            None | Some("0") => None,
            Some(text) => match parse_duration(text) {
                Some(pause) => Some(pause),
                None => bail!("invalid poll duration specified: {text}"),
            },
        };
        let mut shown = Shown::default();
        shown.print("Client Version:", OURS)?;
        shown.print("Git commit:", COMMIT.unwrap_or("unknown"))?;
        if self.client {
            return Ok(ExitCode::SUCCESS);
        }
        let client = match context.settings()?.resolve().map(|config| config.open()) {
            Ok(Ok(store)) => Client::new(store),
            Ok(Err(error)) => return undetectable(&error),
            Err(error) => return undetectable(&error),
        };
        loop {
            let read = context.block_on(async {
                let read = client.get::<ClusterInformationSpec>("", "default", context.deadline());
                read.await.map_err(|error| {
                    let cause = fault::message(&error);
                    anyhow!("unable to retrieve Cluster Version or Type: {cause}")
                })
            });
            match (read, pause) {
                (Ok(cluster), _) => {
                    shown.print("Cluster Version:", &cluster.spec.calico_version)?;
                    shown.print("Cluster Type:", &cluster.spec.cluster_type)?;
                }
                (Err(error), None) => return Err(error),
                // It may come back: that is what one waits for.
                (Err(error), Some(_)) => eprintln!("{error}"),
            }
            match pause {
                None => return Ok(ExitCode::SUCCESS),
                Some(pause) => context.pause(pause)?,
            }
        }
    }
}

fn undetectable(cause: &dyn std::error::Error) -> Outcome {
    writeln!(std::io::stdout().lock(), "Unable to detect installed Calico version")?;
    tracing::info!("{cause}");
    Ok(ExitCode::SUCCESS)
}

/// What has been printed: of each line the last value.
#[derive(Default)]
struct Shown(Vec<(&'static str, String)>);

impl Shown {
    /// Prints a line, unless it is what was printed last.
    fn print(&mut self, label: &'static str, value: &str) -> std::io::Result<()> {
        let value = if value.is_empty() { "unknown" } else { value };
        let known = self.0.iter_mut().find(|(known, _)| *known == label);
        match known {
            Some((_, last)) if last == value => return Ok(()),
            Some((_, last)) => value.clone_into(last),
            None => self.0.push((label, value.to_owned())),
        }
        writeln!(std::io::stdout().lock(), "{label:<19}{value}")
    }
}

/// Why we had better not touch a cluster of this version; nothing when we may.
pub fn mismatch(cluster: &str) -> Option<String> {
    let (major, first, last) = SPEAKS;
    let number = cluster.strip_prefix('v').unwrap_or(cluster);
    let number = number.split('-').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
    let known = parts.next().flatten() == Some(major)
        && parts.next().flatten().is_some_and(|minor| (first..=last).contains(&minor));
    (!cluster.is_empty() && !known).then(|| {
        format!(
            "version mismatch.\nClient Version:   {OURS}, made for v{major}.{first} to \
             v{major}.{last}\nCluster Version:  {cluster}\nUse --allow-version-mismatch to override"
        )
    })
}

/// A duration as Go writes it: numbers with units, like `1m30s` or `500ms`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = number.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = tail;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_does() {
        for (text, expected) in [
            ("5s", Some(Duration::from_secs(5))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("1.5h", Some(Duration::from_secs(5400))),
            ("500ms", Some(Duration::from_millis(500))),
            ("5", None),
            ("s", None),
            ("5x", None),
            ("-5s", None),
            ("", None),
            ("0s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn releases_that_we_know_are_no_mismatch() {
        for known in ["", "v3.32.1", "v3.33.0-0.dev-123-gabcdef", "3.32.0"] {
            assert_eq!(mismatch(known), None, "{known}");
        }
        for other in ["v3.1.0", "v3.34.0", "v4.32.0", "master"] {
            let message = mismatch(other).expect(other);
            assert_eq!(message.lines().count(), 4, "{message}");
            assert!(message.contains(other));
        }
    }
}
