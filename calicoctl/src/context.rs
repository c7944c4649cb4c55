//! What every command works with: the global flags, the datastore, the deadline.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use libcalico::client::Client;
use libcalico::config::{DatastoreConfig, Settings};

use crate::cli::Global;

/// How long one request to the datastore may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What every command works with.
pub struct Context {
    /// The global flags.
    pub global: Global,
}

impl Context {
    /// For these flags.
    pub fn new(global: Global) -> Context {
        Context { global }
    }

    /// The datastore that the configuration file names, or else the environment.
    pub fn datastore(&self) -> anyhow::Result<DatastoreConfig> {
        let settings = Settings::from_env(|name| std::env::var(name).ok());
        settings.resolve().context("failed to create Calico API client")
    }

    /// Opens that datastore.
    pub fn client(&self) -> anyhow::Result<Client> {
        let store = self.datastore()?.open().context("failed to create Calico API client")?;
        Ok(Client::new(store))
    }

    /// When a request that begins now is given up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + REQUEST_LIMIT
    }

    /// Runs a command's requests to their end.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work)
    }
}
