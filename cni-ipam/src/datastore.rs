//! From the configuration to an open, ready store.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use cni::code;
use libcalico::bootstrap::{self, Bootstrap};
use libcalico::config::{ConfigError, DatastoreConfig, Settings};
use libcalico::resources::{ClusterInformation, Kind, Object};
use libcalico::store::{Document, Key, Query, Store};

use crate::conf::{self, NetConf};
use crate::fault;

/// An open store.
pub struct Datastore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Set for an embedded store, which sets itself up; elsewhere calico/node does it.
    embedded: Option<Embedded>,
}

/// What a fresh embedded store is set up from.
struct Embedded {
    node: String,
    conf: conf::Local,
}

/// Opens the store that the configuration names, for as long as the process lives. Nothing is asked
/// yet.
pub fn open(conf: &NetConf, node: &str) -> Result<Datastore, cni::Error> {
    let config = config(conf)?;
    let embedded =
        is_embedded(&config).then(|| Embedded { node: node.to_owned(), conf: conf.local.clone() });
    let store = config.open().map_err(|error| fault::store(&error))?;
    // PERF: it stays open until the process has answered and ends; closing it before would make the
    // caller wait for what the kernel does anyway.
    std::mem::forget(Arc::clone(&store));
    Ok(Datastore { store, embedded })
}

/// A store that is open already. `embedded` is this node's name for an embedded store, which sets
/// itself up.
pub fn over(store: Arc<dyn Store>, embedded: Option<&str>) -> Datastore {
    let embedded =
        embedded.map(|node| Embedded { node: node.to_owned(), conf: conf::Local::default() });
    Datastore { store, embedded }
}

/// Whether a store is the host's own, so that no cluster gives names to nodes.
pub fn is_embedded(config: &DatastoreConfig) -> bool {
    !matches!(config, DatastoreConfig::Etcd(_))
}

/// The store that the configuration names, or what is wrong with its settings. What the
/// configuration leaves out comes from the environment.
pub fn config(conf: &NetConf) -> Result<DatastoreConfig, cni::Error> {
    if conf.datastore_type == "kubernetes" {
        return Err(cni::Error::new(
            code::UNSUPPORTED_FIELD,
            "datastore_type is \"kubernetes\", which is not supported yet: use \"etcdv3\" or \
             \"local\"",
        ));
    }
    let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    let settings = Settings {
        datastore_type: text(&conf.datastore_type),
        etcd_endpoints: text(&conf.etcd_endpoints),
        etcd_discovery_srv: text(&conf.etcd_discovery_srv),
        etcd_username: text(&conf.etcd_username),
        etcd_password: Some(conf.etcd_password.clone()).filter(|text| !text.expose().is_empty()),
        etcd_key_file: text(&conf.etcd_key_file),
        etcd_cert_file: text(&conf.etcd_cert_file),
        etcd_ca_cert_file: text(&conf.etcd_ca_cert_file),
        local_path: conf.local.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
        ..Settings::default()
    };
    settings.or(Settings::from_env(|name| std::env::var(name).ok())).resolve().map_err(|error| {
        let code = match error {
            ConfigError::Type { .. } => code::UNSUPPORTED_FIELD,
            _ => code::INVALID_CONFIG,
        };
        cni::Error::new(code, error.to_string())
    })
}

impl Embedded {
    /// What a fresh store begins with. Looks at the host's addresses, so only when it is fresh.
    fn bootstrap(&self) -> Bootstrap {
        Bootstrap {
            node_name: self.node.clone(),
            ipv4_pool: self
                .conf
                .ipv4_pool_cidr
                .or_else(|| bootstrap::free_ipv4_pool(&host_addresses())),
            ipv6_pool: self.conf.ipv6_pool_cidr.or_else(|| bootstrap::IPV6_POOL_CIDR.parse().ok()),
        }
    }
}

fn host_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter(|interface| !interface.interface_name.starts_with("cali"))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

/// Asks whether the cluster is ready: put it in the first read.
pub fn readiness_query() -> Query {
    Query::Key(Key::global(Kind::ClusterInformation, "default"))
}

/// Whether the answer to [`readiness_query`] says that work may begin. A missing flag counts as
/// not ready: upstream's client panics there.
pub fn ensure_ready(answer: &[Document], store: &dyn Store) -> Result<(), cni::Error> {
    let not_ready = |what: String| Err(cni::Error::new(code::TRY_AGAIN_LATER, what));
    let Some(document) = answer.first() else {
        return not_ready(format!(
            "{} is not initialised: it has no ClusterInformation \"default\"; calico/node writes it \
             when it first starts",
            store.describe()
        ));
    };
    let information =
        ClusterInformation::decode(document).map_err(|error| fault::damaged(&error))?;
    match information.spec.datastore_ready {
        Some(true) => Ok(()),
        Some(false) => not_ready(format!(
            "{} is locked (ClusterInformation \"default\" has datastoreReady: false): an upgrade or \
             a migration is going on; it ends with `calicoctl datastore migrate unlock`",
            store.describe()
        )),
        None => not_ready(format!(
            "{} is not ready: ClusterInformation \"default\" has no datastoreReady; calico/node sets \
             it when it starts",
            store.describe()
        )),
    }
}

impl Datastore {
    /// Whether this is an embedded store that nobody has set up: it holds nothing.
    pub fn is_fresh(&self, cluster: &[Document]) -> bool {
        self.embedded.is_some() && cluster.is_empty()
    }

    /// Sets up an embedded store that had no container yet, or knows another name of this node; does
    /// nothing to any other store. True if something was written, so that what was read is read again.
    pub async fn bootstrap(
        &self,
        cluster: &[Document],
        node: &[Document],
        deadline: Instant,
    ) -> Result<bool, cni::Error> {
        let Some(embedded) = &self.embedded else { return Ok(false) };
        let is_undecided = |document: &Document| {
            ClusterInformation::decode(document).is_ok_and(|found| bootstrap::is_undecided(&found))
        };
        if cluster.first().is_some_and(|found| !is_undecided(found)) && !node.is_empty() {
            return Ok(false);
        }
        tracing::info!("setting up {}", self.store.describe());
        bootstrap::bootstrap_local(&*self.store, &embedded.bootstrap(), deadline)
            .await
            .map_err(|error| fault::damaged(&error))?;
        Ok(true)
    }
}
