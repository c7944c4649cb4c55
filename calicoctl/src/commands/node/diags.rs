//! `calicoctl node diags`: one file with all that somebody needs who helps from afar
//! (`reference/calicoctl.md` section 8.2), and our plugins' own things.
//!
//! Nothing in it is secret, and nothing that is missing stops it. The folder and the bundle are
//! readable by root alone all the same.

mod bundle;
mod redact;
mod store;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use libcalico::clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};
use time::macros::format_description;
use tokio::process::Command;

use super::bird;
use super::processes::Processes;
use crate::commands::Outcome;
use crate::context::Context;
use bundle::Bundle;
use redact::Redactor;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What programs tell: a file's name, and the commands of which the first is taken that is there.
const COMMANDS: &[(&str, &[&str])] = &[
    ("date", &["date"]),
    ("hostname", &["hostname"]),
    ("kernel", &["uname -a"]),
    ("ip_address", &["ip -d address"]),
    ("ip_route_v4", &["ip -4 route show table all"]),
    ("ip_route_v6", &["ip -6 route show table all"]),
    ("ip_rule_v4", &["ip -4 rule"]),
    ("ip_rule_v6", &["ip -6 rule"]),
    ("ip_neighbours", &["ip neighbour"]),
    ("nft_ruleset", &["nft -a list ruleset"]),
    ("iptables", &["iptables-save -c"]),
    ("ip6tables", &["ip6tables-save -c"]),
    ("ipsets", &["ipset list"]),
    ("sysctl", &["sysctl net.ipv4 net.ipv6"]),
    ("sockets", &["ss -anp", "netstat -anp"]),
    ("journal", &["journalctl -u calico-node.service -u calico-node --no-pager -n 20000"]),
    (
        "container_logs",
        &[
            "docker logs --tail 20000 calico-node",
            "nerdctl logs --tail 20000 calico-node",
            "crictl logs --tail 20000 calico-node",
        ],
    ),
];

/// Files that say how Calico and BIRD are set up.
const SETTINGS: [&str; 8] = [
    "/etc/calico/felix.cfg",
    "/etc/calico/confd/config/bird.cfg",
    "/etc/calico/confd/config/bird6.cfg",
    "/etc/bird/bird.conf",
    "/etc/bird/bird6.conf",
    "/etc/bird.conf",
    "/var/lib/calico/nodename",
    "/var/lib/calico/mtu",
];
/// Where runtimes look for network configurations.
const NETWORKS: &str = "/etc/cni/net.d";
/// What DEL owes the store.
const OWED: &str = "/var/lib/calico/owed";

/// Flags of `node diags`.
#[derive(Debug, Args)]
pub struct Diags {
    /// The folder of Calico's logs.
    #[arg(long, default_value = "/var/log/calico", value_name = "DIR")]
    pub log_dir: PathBuf,
}

impl Diags {
    /// Collects everything into a bundle, and tells where that is.
    pub fn run(self, context: &Context) -> Outcome {
        context.block_on(self.collect(context))
    }

    async fn collect(self, context: &Context) -> Outcome {
        let now = clock::now();
        let stamp = now.format(format_description!("[year][month][day]_[hour][minute][second]"))?;
        let template = std::env::temp_dir().join("calicoXXXXXX");
        let folder = mkdtemp(&template)
            .with_context(|| format!("failed to make a folder in {}", template.display()))?;
        let path = folder.join(format!("diags-{stamp}.tar.gz"));
        say("Collecting diagnostics")?;
        let settings = settings(context);
        let redactor = redactor(&settings);
        let modified = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let mut bundle = Bundle::create(&path, redactor, modified)
            .with_context(|| format!("failed to make {}", path.display()))?;
        self.fill(&mut bundle, &settings, context)
            .await
            .and_then(|()| bundle.finish())
            .with_context(|| format!("failed to write {}", path.display()))?;
        say(&format!("\nDiags saved to {}", path.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn fill(
        &self,
        bundle: &mut Bundle,
        settings: &[PathBuf],
        context: &Context,
    ) -> io::Result<()> {
        bundle.add("version", &format!("calicoctl {}\n", env!("CARGO_PKG_VERSION")))?;
        // Felix writes it into its log, which comes last.
        for pid in felix_to_signal() {
            say(&format!("Asking Felix (process {pid}) for its state"))?;
            let _ = kill(pid, Signal::SIGUSR1);
        }
        for (name, commands) in COMMANDS {
            match output(commands).await {
                Ok(text) => {
                    say(&format!("Dumping {name}"))?;
                    bundle.add(name, &text)?;
                }
                Err(reason) => say(&format!("Skipping {name}: {reason}"))?,
            }
        }
        for (name, daemon, socket) in
            [("bird_protocols", "BIRDv4", "bird.ctl"), ("bird6_protocols", "BIRDv6", "bird6.ctl")]
        {
            match bird::query(daemon, socket, "show protocols all") {
                Ok((_, lines)) => bundle.add(name, &lines.join("\n"))?,
                Err(error) => say(&format!("Skipping {name}: {error}"))?,
            }
        }
        say("Looking at the datastore")?;
        bundle.add("datastore", &store::health(context).await)?;
        #[cfg(feature = "local")]
        if let Some(text) = store::integrity(context).await {
            bundle.add("calico.db_integrity", &text)?;
        }
        bundle.add("environment", &environment())?;
        for path in settings {
            add_file(bundle, &format!("settings{}", path.display()), path)?;
        }
        if Path::new(OWED).is_dir() {
            add_folder(bundle, "owed", Path::new(OWED))?;
        }
        for path in settings.iter().flat_map(|path| log_of(path)) {
            add_file(bundle, &format!("plugin_log{}", path.display()), &path)?;
        }
        say(&format!("Copying the logs of {}", self.log_dir.display()))?;
        add_folder(bundle, "logs", &self.log_dir)
    }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

fn add_file(bundle: &mut Bundle, name: &str, path: &Path) -> io::Result<()> {
    match bundle.add_file(name, path)? {
        Some(reason) => say(&format!("Skipping {}: {reason}", path.display())),
        None => Ok(()),
    }
}

fn add_folder(bundle: &mut Bundle, name: &str, folder: &Path) -> io::Result<()> {
    bundle
        .add_folder(name, folder)?
        .iter()
        .try_for_each(|reason| say(&format!("Skipping {reason}")))
}

/// The configurations that are there. Certificates, keys and kubeconfigs are none of them.
fn settings(context: &Context) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(NETWORKS).into_iter().flatten().flatten();
    let mut networks: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    networks.retain(|path| {
        path.extension().is_some_and(|end| end == "conf" || end == "conflist" || end == "json")
    });
    networks.sort();
    let own = [PathBuf::from(&context.global.config)];
    let others = SETTINGS.iter().map(PathBuf::from);
    let mut all: Vec<PathBuf> = own.into_iter().chain(networks).chain(others).collect();
    all.retain(|path| path.is_file());
    all
}

/// One that knows the secrets of the configurations and of the environment.
fn redactor(settings: &[PathBuf]) -> Redactor {
    let mut redactor = Redactor::default();
    for path in settings {
        if let Ok(Some(text)) = bundle::tail(path) {
            redactor.learn(&text);
        }
    }
    for (name, value) in std::env::vars().filter(|(name, _)| redact::is_secret(name)) {
        redactor.learn(&format!("{name}={value}"));
        redactor.learn_value(&value);
    }
    redactor
}

/// The variables that the command or a plugin would look at.
fn environment() -> String {
    const NAMES: [&str; 8] =
        ["CALICO_", "ETCD_", "DATASTORE_TYPE", "FELIX_", "IP", "NODENAME", "K8S_", "CNI_"];
    let mut variables: Vec<String> = std::env::vars()
        .filter(|(name, _)| NAMES.iter().any(|start| name.starts_with(start)))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    variables.sort();
    variables.concat()
}

/// The log that a network configuration names, and the one before it.
fn log_of(settings: &Path) -> Vec<PathBuf> {
    let text = std::fs::read(settings).unwrap_or_default();
    let Ok(network) = serde_json::from_slice::<serde_json::Value>(&text) else { return Vec::new() };
    let plugins = network["plugins"].as_array().cloned().unwrap_or_else(|| vec![network]);
    let paths = plugins.iter().filter_map(|plugin| plugin["log_file_path"].as_str());
    let both = paths.flat_map(|path| [PathBuf::from(path), PathBuf::from(format!("{path}.1"))]);
    both.filter(|path| path.is_file()).collect()
}

/// The processes of Felix that take SIGUSR1 as a question: it would end any other.
fn felix_to_signal() -> Vec<Pid> {
    let pids = Processes::running().map(|processes| processes.felix()).unwrap_or_default();
    let catches = |pid: &Pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & (1 << (Signal::SIGUSR1 as u64 - 1)) != 0)
    };
    pids.into_iter().filter(catches).collect()
}

/// What the first of the commands prints whose program is there, on both streams.
async fn output(commands: &[&str]) -> Result<String, String> {
    let mut missing = Vec::new();
    for line in commands {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(LIMIT, command.output()).await {
            Ok(Ok(output)) => {
                let (out, err) = (&output.stdout, &output.stderr);
                let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
                let end = match output.status.success() {
                    true => String::new(),
                    false => format!("({})\n", output.status),
                };
                return Ok(format!("# {line}\n{out}{err}{end}"));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => missing.push(program),
            Ok(Err(error)) => return Err(format!("{program}: {error}")),
            Err(_) => return Err(format!("{line}: no end within {} s", LIMIT.as_secs())),
        }
    }
    Err(format!("not installed: {}", missing.join(", ")))
}
