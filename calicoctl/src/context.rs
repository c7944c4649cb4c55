//! What every command works with: the global flags, the datastore, the deadline.

use std::cell::OnceCell;
use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use libcalico::client::{Client, ErrorKind};
use libcalico::config::{DatastoreConfig, Settings};
use libcalico::resources::ClusterInformationSpec;
use tokio::runtime::Runtime;

use crate::cli::Global;
use crate::commands::version;
use crate::config_file;

/// How long one request to the datastore may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// After this time a person wants to know what we are doing.
const PATIENCE: Duration = Duration::from_secs(1);

/// What every command works with.
pub struct Context {
    /// The global flags.
    pub global: Global,
    runtime: OnceCell<Runtime>,
}

impl Context {
    /// For these flags.
    pub fn new(global: Global) -> Context {
        Context { global, runtime: OnceCell::new() }
    }

    /// Where the datastore is: what the configuration file says, or else the environment.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let environment = || Settings::from_env(|name| std::env::var(name).ok());
        Ok(config_file::read(&self.global.config)?.unwrap_or_else(environment))
    }

    /// The datastore that they name.
    pub fn datastore(&self) -> anyhow::Result<DatastoreConfig> {
        let resolved = || Ok::<_, anyhow::Error>(self.settings()?.resolve()?);
        resolved().context("failed to create Calico API client")
    }

    /// Opens the datastore and checks that it is of a version that we know how to change
    /// (`reference/calicoctl.md` section 3.3). Not from within [`Context::block_on`].
    pub fn client(&self) -> anyhow::Result<Client> {
        let client = self.client_of_any_version()?;
        if !self.global.allow_version_mismatch {
            self.block_on(self.check_version(&client))?;
        }
        Ok(client)
    }

    /// Opens the datastore, whatever version it is of.
    pub fn client_of_any_version(&self) -> anyhow::Result<Client> {
        let store = self.datastore()?.open().context("failed to create Calico API client")?;
        Ok(Client::new(store))
    }

    async fn check_version(&self, client: &Client) -> anyhow::Result<()> {
        let read = client.get::<ClusterInformationSpec>("", "default", self.deadline());
        match patiently("asking the datastore", read).await {
            Ok(cluster) => match version::mismatch(&cluster.spec.calico_version) {
                Some(message) => bail!(message),
                None => Ok(()),
            },
            // What follows would only wait in vain a second time.
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error.into()),
            Err(_) => Ok(()),
        }
    }

    /// When a request that begins now is given up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + REQUEST_LIMIT
    }

    /// Runs a command's requests to their end.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                self.runtime.get_or_init(|| runtime)
            }
        };
        runtime.block_on(work)
    }
}

/// Does some work, and tells the person at the terminal what it is when it takes long.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if std::io::stderr().is_terminal() {
        eprintln!("{what} ...");
    }
    work.await
}
