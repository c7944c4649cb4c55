//! What every command works with: the global flags, the datastore, the deadline.

use std::cell::OnceCell;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use cni_calico::owed;
use cni_ipam::run::Deadline;
use libcalico::client::{Client, ErrorKind};
use libcalico::config::{DatastoreConfig, Settings};
use libcalico::resources::ClusterInformationSpec;
use libcalico::store::Store;
use tokio::runtime::{Handle, Runtime};

use crate::cli::Global;
use crate::commands::version;
use crate::progress::{doing, told};
use crate::{config_file, this_node};

/// How long one request to the datastore may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// How long a command may be kept by what deleted containers have left.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

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
    /// (`reference/calicoctl.md` section 3.3). An embedded one that isn't there yet is not made by
    /// looking for something in it.
    pub fn client(&self) -> anyhow::Result<Client> {
        if let Some(path) = absent(&self.datastore()?) {
            bail!(self.describe_absent(&path)?);
        }
        self.client_of_first_write()
    }

    /// The same for what may be the first in the datastore: an embedded one that isn't there is made.
    pub fn client_of_first_write(&self) -> anyhow::Result<Client> {
        let client = self.client_of_any_version()?;
        self.block_on(self.prepare(&client))?;
        Ok(client)
    }

    /// Opens the datastore, whatever version it is of.
    pub fn client_of_any_version(&self) -> anyhow::Result<Client> {
        let store = self.datastore()?.open().context("failed to create Calico API client")?;
        Ok(Client::new(store))
    }

    /// Says where a datastore comes from; and, to who has set nothing, that there may be another one.
    fn describe_absent(&self, path: &Path) -> anyhow::Result<String> {
        let elsewhere = match self.settings()? == Settings::default() {
            true => ". For a cluster's, set ETCD_ENDPOINTS or write /etc/calico/calicoctl.cfg",
            false => "",
        };
        Ok(format!(
            "there is no datastore at {} yet: this host's first container makes it, or `calicoctl \
             node run --init-only`, or the first resource that you create{elsewhere}",
            path.display()
        ))
    }

    /// Checks the version, and pays what this node owes.
    async fn prepare(&self, client: &Client) -> anyhow::Result<()> {
        let read = client.get::<ClusterInformationSpec>("", "default", self.deadline());
        let cluster = match doing("asking the datastore", read).await {
            Ok(cluster) => cluster.spec,
            // What follows would only wait in vain a second time.
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error.into()),
            Err(_) => return Ok(()),
        };
        if !self.global.allow_version_mismatch
            && let Some(message) = version::mismatch(&cluster.calico_version)
        {
            bail!(message);
        }
        if cluster.datastore_ready == Some(true)
            && let Ok(node) = this_node::name()
        {
            settle(&**client.store(), &node).await;
        }
        Ok(())
    }

    /// When a request that begins now is given up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + REQUEST_LIMIT
    }

    /// Runs a command's requests to their end, and tells what they are about when they take long.
    /// Fails within itself, where to wait would be to wait for ever.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        ensure!(Handle::try_current().is_err(), "a defect: this is to be awaited, not blocked on");
        self.runtime()?.block_on(told(work))
    }

    /// Does nothing for a while.
    pub fn pause(&self, time: Duration) -> anyhow::Result<()> {
        self.runtime()?.block_on(async { tokio::time::sleep(time).await });
        Ok(())
    }

    fn runtime(&self) -> anyhow::Result<&Runtime> {
        match self.runtime.get() {
            Some(runtime) => Ok(runtime),
            None => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                Ok(self.runtime.get_or_init(|| runtime))
            }
        }
    }
}

/// The file of an embedded datastore that isn't there yet. To open it would make it.
pub fn absent(config: &DatastoreConfig) -> Option<PathBuf> {
    match config {
        #[cfg(feature = "local")]
        DatastoreConfig::Local(local) if libcalico::store::LocalStore::is_absent(&local.path) => {
            Some(local.path.clone())
        }
        _ => None,
    }
}

/// Releases what containers of this node had that were deleted while the datastore was away, as the
/// plugin's next call would. Where that fails it is logged, and left to a later call.
pub async fn settle(store: &dyn Store, node: &str) {
    let settled = owed::settle_store(store, node, Deadline::after(SETTLE_LIMIT));
    doing("releasing what deleted containers have left", settled).await;
}
