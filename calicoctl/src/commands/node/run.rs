//! `calicoctl node run`: registers this node (`reference/bgp-node.md` section 6,
//! `reference/calicoctl.md` sections 8.4 and 2.8).
//!
//! `--init-only` is ours and all that there is today: the node's daemon comes later. Names of flags
//! and variables are upstream's, so that the same unit file and environment will start it.

mod detect;
mod interfaces;
mod options;
mod plan;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use libcalico::clock;
use libcalico::config::DatastoreConfig;
use libcalico::store::{Committed, Query, Store, StoreErrorKind};
use uuid::Uuid;

use crate::commands::Outcome;
use crate::context::{self, Context};
use crate::this_node::{NodeName, NodeNameFile};
use options::{Flags, Options};
use plan::{Found, Host, Plan};

/// The folders that Calico's programs share.
const FOLDERS: [&str; 2] = ["/var/run/calico", "/var/lib/calico"];
/// How often a plan that somebody else's write crossed is made again.
const ATTEMPTS: usize = 10;
/// Between two looks at a datastore that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Flags of `node run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Register this node in the datastore, and stop there.
    #[arg(long)]
    pub init_only: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub dryrun: bool,
    /// The node's IPv4 address: an address, CIDR, autodetect or none [env: IP].
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The node's IPv6 address: an address, CIDR, autodetect or none [env: IP6].
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// The node's own AS number [env: AS].
    #[arg(long = "as", value_name = "NUMBER")]
    pub as_number: Option<String>,
    /// The node's name, otherwise that of the host [env: NODENAME].
    #[arg(long)]
    pub name: Option<String>,
    /// How an IPv4 address is found: first-found, can-reach=DEST, interface=REGEX,
    /// skip-interface=REGEX or cidr=CIDR [env: IP_AUTODETECTION_METHOD].
    #[arg(long, value_name = "METHOD")]
    pub ip_autodetection_method: Option<String>,
    /// How an IPv6 address is found [env: IP6_AUTODETECTION_METHOD].
    #[arg(long, value_name = "METHOD")]
    pub ip6_autodetection_method: Option<String>,
    /// What carries routes to other nodes: bird or none [env: CALICO_NETWORKING_BACKEND].
    #[arg(long)]
    pub backend: Option<String>,
    /// Make no default pools [env: NO_DEFAULT_POOLS].
    #[arg(long)]
    pub no_default_ippools: bool,
    /// The folder of Calico's logs.
    #[arg(long, default_value = "/var/log/calico", value_name = "DIR")]
    pub log_dir: PathBuf,
    /// Felix's configuration; for the daemon.
    #[arg(long, value_name = "FILE")]
    pub felix_config: Option<PathBuf>,
    /// Stay in the foreground, for a service manager; for the daemon.
    #[arg(long)]
    pub init_system: bool,
    /// The image of calico/node: there is none, and it is ignored.
    #[arg(long, value_name = "IMAGE")]
    pub node_image: Option<String>,
    /// Obsolete: libnetwork ended with Calico 3.0.
    #[arg(long, hide = true)]
    pub libnetwork: bool,
    /// Obsolete: libnetwork ended with Calico 3.0.
    #[arg(long, hide = true)]
    pub disable_docker_networking: bool,
    /// Obsolete: libnetwork ended with Calico 3.0.
    #[arg(long, hide = true, value_name = "PREFIX")]
    pub docker_networking_ifprefix: Option<String>,
}

impl Run {
    /// Registers the node, or says what to do about the rest.
    pub fn run(self, context: &Context) -> Outcome {
        self.warn_of_ignored();
        let lookup = |name: &str| std::env::var(name).ok();
        let flags = Flags {
            ip: self.ip.as_deref(),
            ip6: self.ip6.as_deref(),
            as_number: self.as_number.as_deref(),
            ip_method: self.ip_autodetection_method.as_deref(),
            ip6_method: self.ip6_autodetection_method.as_deref(),
            backend: self.backend.as_deref(),
            no_default_pools: self.no_default_ippools,
        };
        let options = Options::read(&flags, lookup)?;
        if !self.init_only && !self.dryrun {
            bail!(
                "the node daemon comes with a later release: register this node with `calicoctl \
                 node run --init-only`, and let upstream's calico/node, or a BIRD of your own, \
                 carry routes"
            );
        }
        let file = NodeNameFile::read();
        let name = NodeName::here(self.name.as_deref(), &file)?;
        let mut out = Report { out: io::stdout(), dry: self.dryrun };
        out.note(&format!("node name: {} (from {})", name.name, name.source))?;
        context.block_on(register(context, &name.name, &options, &mut out))?;
        self.prepare_host(&mut out, &name.name, &file)?;
        out.end(&name.name, self.init_only)
    }

    fn warn_of_ignored(&self) {
        let obsolete = self.libnetwork
            || self.disable_docker_networking
            || self.docker_networking_ifprefix.is_some();
        if obsolete {
            eprintln!("warning: the flags of Docker's libnetwork have no effect since Calico 3.0");
        }
        for (flag, is_given) in [
            ("--node-image", self.node_image.is_some()),
            ("--felix-config", self.felix_config.is_some()),
            ("--init-system", self.init_system),
        ] {
            if is_given && self.init_only {
                eprintln!("warning: {flag} has no effect with --init-only");
            }
        }
    }

    /// The folders, and the file with the node's name.
    fn prepare_host(
        &self,
        out: &mut Report,
        name: &str,
        NodeNameFile { path: file, content }: &NodeNameFile,
    ) -> anyhow::Result<()> {
        for folder in FOLDERS.map(Path::new).into_iter().chain([self.log_dir.as_path()]) {
            if !folder.is_dir() {
                out.did(&format!("create the folder {}", folder.display()), || {
                    fs::create_dir_all(folder)
                })?;
            }
        }
        match content.as_deref().map(str::trim) {
            Some(known) if known == name => return Ok(()),
            Some(known) if !known.is_empty() => eprintln!(
                "warning: {} says that this node is {known}; from now on it is {name}",
                file.display()
            ),
            _ => {}
        }
        out.did(&format!("write {}", file.display()), || write_name(file, name))
    }
}

/// Writes the name so that no plugin reads half of it.
fn write_name(file: &Path, name: &str) -> io::Result<()> {
    let aside = file.with_extension(format!("{}.new", std::process::id()));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&aside, name)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o644))?;
    fs::File::open(&aside)?.sync_all()?;
    fs::rename(&aside, file)
}

/// What is told while it is done, or instead of doing it.
struct Report {
    out: io::Stdout,
    dry: bool,
}

impl Report {
    fn note(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    fn step(&mut self, what: &str) -> io::Result<()> {
        let would = if self.dry { "would " } else { "" };
        writeln!(self.out, "{would}{what}")
    }

    fn did(&mut self, what: &str, work: impl FnOnce() -> io::Result<()>) -> anyhow::Result<()> {
        self.step(what)?;
        if !self.dry {
            work().with_context(|| format!("failed to {what}"))?;
        }
        Ok(())
    }

    fn end(&mut self, name: &str, init_only: bool) -> Outcome {
        match (self.dry, init_only) {
            (true, true) => self.note("Nothing was changed.")?,
            (true, false) => {
                self.note("Nothing was changed. The node daemon would start now: it comes with a later release.")?;
            }
            (false, _) => self.note(&format!("Calico node {name} is registered."))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes what the store lacks.
async fn register(
    context: &Context,
    name: &str,
    options: &Options,
    out: &mut Report,
) -> anyhow::Result<()> {
    let config = context.datastore()?;
    let store = config.open()?;
    let interfaces = interfaces::list().context("failed to list this host's interfaces")?;
    let [v4, v6] = &options.methods;
    let detected = [(v4, false), (v6, true)]
        .map(|(method, is_v6)| method.detect(is_v6, &interfaces, interfaces::source_to));
    let host = Host {
        name,
        options,
        interfaces: &interfaces,
        detected: &detected,
        has_ipv6: netutils::sysctl::ipv6_is_available(),
        is_etcd: matches!(config, DatastoreConfig::Etcd(_)),
    };
    let is_there = context::absent(&config).is_none();
    let mut told = false;
    for _ in 0..ATTEMPTS {
        // Looking at a local store would make it.
        let results = match is_there || !out.dry {
            true => read(context, &*store, &plan::queries(name), options.waits).await?,
            false => Vec::new(),
        };
        let found = Found::from_results(&results)?;
        let plan = plan::plan(&host, &found, clock::now(), Uuid::new_v4)?;
        if !told && plan.refusal.is_none() {
            plan.notes.iter().try_for_each(|note| out.note(note))?;
            told = true;
        }
        let is_written =
            plan.changes.is_empty() || out.dry || commit(context, &*store, &plan).await?;
        if !is_written {
            continue;
        }
        for change in plan.changes.iter().filter(|change| !plan::is_turnstile(&found, change)) {
            out.step(&plan::describe(change))?;
        }
        match plan.refusal {
            Some(refusal) => return Err(refusal.into()),
            None if out.dry => return Ok(()),
            None if plan.changes.is_empty() => {
                context::settle(&*store, name).await;
                return Ok(());
            }
            // Once more: is anything still missing?
            None => {}
        }
    }
    bail!("other writes to {} crossed ours again and again: try again", store.describe())
}

/// Whether all was written; if not, somebody was faster, and it has to be read again.
async fn commit(context: &Context, store: &dyn Store, plan: &Plan) -> anyhow::Result<bool> {
    match store.commit(&plan.changes, context.deadline()).await {
        Ok(Committed::Done(_)) => Ok(true),
        Ok(Committed::Conflict(_)) => Ok(false),
        // Whether it was made, the next read shows.
        Err(error) if error.kind == StoreErrorKind::Unknown => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn read(
    context: &Context,
    store: &dyn Store,
    queries: &[Query],
    waits: bool,
) -> anyhow::Result<Vec<Vec<libcalico::store::Document>>> {
    let mut is_told = false;
    loop {
        match store.read(queries, context.deadline()).await {
            Ok(snapshot) => return Ok(snapshot.results),
            Err(error) if waits && error.kind == StoreErrorKind::Unavailable => {
                if !is_told {
                    eprintln!("waiting for the datastore: {error}");
                    is_told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
