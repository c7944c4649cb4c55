//! Which datastore, where, and with which credentials (`reference/datamodel.md` section 9).
//!
//! [`Settings`] are the raw texts, as a network configuration, a file or the environment gives
//! them; [`Settings::or`] puts one over the other, [`Settings::resolve`] checks them and decides.
//! What is written down explicitly wins over the environment: a variable of the process that
//! happened to start us never redirects a configured plugin.

mod endpoint;
mod secret;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::store::{EtcdStore, Store, StoreError};

pub use endpoint::{Endpoint, without_user};
pub use secret::Secret;

/// The file of the local store, unless another one is named.
pub const DEFAULT_LOCAL_PATH: &str = "/var/lib/calico/calico.db";

/// How long one endpoint may take to accept a connection.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of a datastore as they were written, unchecked. An empty text counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `datastore_type`, `DATASTORE_TYPE`: `etcdv3` or `local`.
    pub datastore_type: Option<String>,
    /// `etcd_endpoints`, `ETCD_ENDPOINTS`: URLs with commas between.
    pub etcd_endpoints: Option<String>,
    /// `etcd_discovery_srv`, `ETCD_DISCOVERY_SRV`: a DNS domain.
    pub etcd_discovery_srv: Option<String>,
    /// `etcd_username`, `ETCD_USERNAME`.
    pub etcd_username: Option<String>,
    /// `etcd_password`, `ETCD_PASSWORD`.
    pub etcd_password: Option<Secret>,
    /// `etcd_key_file`, `ETCD_KEY_FILE`.
    pub etcd_key_file: Option<String>,
    /// `etcd_cert_file`, `ETCD_CERT_FILE`.
    pub etcd_cert_file: Option<String>,
    /// `etcd_ca_cert_file`, `ETCD_CA_CERT_FILE`.
    pub etcd_ca_cert_file: Option<String>,
    /// The private key as PEM text. No variable, on purpose.
    pub etcd_key: Option<Secret>,
    /// The certificate as PEM text. No variable.
    pub etcd_cert: Option<String>,
    /// The authorities' certificates as PEM text. No variable.
    pub etcd_ca_cert: Option<String>,
    /// The file of the local store. No variable.
    pub local_path: Option<String>,
}

/// The datastore that the settings chose, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatastoreConfig {
    /// An etcd cluster.
    Etcd(EtcdConfig),
    /// A file on this host.
    #[cfg(feature = "local")]
    Local(LocalConfig),
}

/// How to reach an etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// At least one; the order is that of preference only at equal health.
    pub endpoints: Vec<Endpoint>,
    /// User and password, where the cluster asks for them.
    pub user: Option<(String, Secret)>,
    /// The authorities that sign the servers' certificates.
    pub ca: Option<Pem>,
    /// Our certificate and its key.
    pub identity: Option<(Pem, Pem)>,
    /// How long one endpoint may take to accept a connection, TLS and login included.
    pub connect_timeout: Duration,
}

/// Where the local store lies.
#[cfg(feature = "local")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// Its file; the folder is made when it isn't there.
    pub path: PathBuf,
}

/// PEM material: a file's path, or the text itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pem {
    /// In a file, read when the store is opened.
    File(PathBuf),
    /// In the settings.
    Inline(Secret),
}

/// Settings that don't make a datastore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A type that we don't know or don't have.
    #[error("datastore_type {value:?} is not supported: use \"etcdv3\"{}", if cfg!(feature = "local") { " or \"local\"" } else { "" })]
    Type {
        /// As it was written.
        value: String,
    },
    /// Two settings that exclude one another.
    #[error("{first} and {second} exclude one another: set one of them")]
    Both {
        /// The one.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A setting that makes no sense without another one.
    #[error("{present} is set, but {missing} is not: set both or none")]
    Half {
        /// The one that is there.
        present: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// No endpoints, though etcd is meant.
    #[error("no etcd endpoints: set etcd_endpoints, like \"https://10.0.0.2:2379\"")]
    NoEndpoints,
    /// DNS discovery.
    #[error(
        "etcd_discovery_srv {domain:?} is not supported yet: list the servers in etcd_endpoints"
    )]
    Discovery {
        /// The domain.
        domain: String,
    },
    /// A URL that is none, or none of etcd's. `url` shows no user and no password.
    #[error("etcd_endpoints: {url:?} {reason}")]
    Endpoint {
        /// As it was written, without secrets.
        url: String,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// An endpoint of TLS without the authorities to check it.
    #[error(
        "the endpoint {url} speaks TLS: set etcd_ca_cert_file to the certificate of its authority"
    )]
    NoAuthority {
        /// The endpoint.
        url: String,
    },
}

impl Settings {
    /// Reads the environment: `CALICO_<NAME>` first (its presence wins, even empty), then
    /// `<NAME>`. `lookup` is [`std::env::var`] in life, a map in tests.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Settings {
        let get = |name: &str| lookup(&format!("CALICO_{name}")).or_else(|| lookup(name));
        Settings {
            datastore_type: get("DATASTORE_TYPE"),
            etcd_endpoints: get("ETCD_ENDPOINTS"),
            etcd_discovery_srv: get("ETCD_DISCOVERY_SRV"),
            etcd_username: get("ETCD_USERNAME"),
            etcd_password: get("ETCD_PASSWORD").map(Secret::new),
            etcd_key_file: get("ETCD_KEY_FILE"),
            etcd_cert_file: get("ETCD_CERT_FILE"),
            etcd_ca_cert_file: get("ETCD_CA_CERT_FILE"),
            ..Settings::default()
        }
    }

    /// These settings, and where they say nothing the others. What belongs together is taken from
    /// one side: user and password, certificate and key, endpoints and discovery, file and text.
    pub fn or(self, others: Settings) -> Settings {
        let (mine, theirs) = (self.without_empty(), others.without_empty());
        let user = mine.etcd_username.is_some() || mine.etcd_password.is_some();
        let (username, password) = match user {
            true => (mine.etcd_username, mine.etcd_password),
            false => (theirs.etcd_username, theirs.etcd_password),
        };
        let place = mine.etcd_endpoints.is_some() || mine.etcd_discovery_srv.is_some();
        let (endpoints, discovery) = match place {
            true => (mine.etcd_endpoints, mine.etcd_discovery_srv),
            false => (theirs.etcd_endpoints, theirs.etcd_discovery_srv),
        };
        let identity = mine.etcd_key_file.is_some()
            || mine.etcd_cert_file.is_some()
            || mine.etcd_key.is_some()
            || mine.etcd_cert.is_some();
        let (key_file, cert_file, key, cert) = match identity {
            true => (mine.etcd_key_file, mine.etcd_cert_file, mine.etcd_key, mine.etcd_cert),
            false => {
                (theirs.etcd_key_file, theirs.etcd_cert_file, theirs.etcd_key, theirs.etcd_cert)
            }
        };
        let (ca_file, ca) = match mine.etcd_ca_cert_file.is_some() || mine.etcd_ca_cert.is_some() {
            true => (mine.etcd_ca_cert_file, mine.etcd_ca_cert),
            false => (theirs.etcd_ca_cert_file, theirs.etcd_ca_cert),
        };
        Settings {
            // Explicit endpoints mean etcd and an explicit file the local store, whatever the
            // environment names.
            datastore_type: match (mine.datastore_type, place, &mine.local_path) {
                (None, true, _) => None,
                (None, false, Some(_)) => Some("local".to_owned()),
                (kind, _, _) => kind.or(theirs.datastore_type),
            },
            etcd_endpoints: endpoints,
            etcd_discovery_srv: discovery,
            etcd_username: username,
            etcd_password: password,
            etcd_key_file: key_file,
            etcd_cert_file: cert_file,
            etcd_ca_cert_file: ca_file,
            etcd_key: key,
            etcd_cert: cert,
            etcd_ca_cert: ca,
            local_path: mine.local_path.or(theirs.local_path),
        }
    }

    /// Checks the settings and decides on the datastore. Without a type, endpoints mean etcd and
    /// nothing at all means the local store.
    pub fn resolve(self) -> Result<DatastoreConfig, ConfigError> {
        let settings = self.without_empty();
        let etcd_named = settings.etcd_endpoints.is_some() || settings.etcd_discovery_srv.is_some();
        match settings.datastore_type.as_deref() {
            Some("etcdv3") => settings.resolve_etcd().map(DatastoreConfig::Etcd),
            None if etcd_named => settings.resolve_etcd().map(DatastoreConfig::Etcd),
            #[cfg(feature = "local")]
            None | Some("local") => {
                let path = settings.local_path.unwrap_or_else(|| DEFAULT_LOCAL_PATH.to_owned());
                Ok(DatastoreConfig::Local(LocalConfig { path: path.into() }))
            }
            #[cfg(not(feature = "local"))]
            None => Err(ConfigError::NoEndpoints),
            Some(other) => Err(ConfigError::Type { value: other.to_owned() }),
        }
    }

    fn resolve_etcd(self) -> Result<EtcdConfig, ConfigError> {
        if let Some(domain) = self.etcd_discovery_srv {
            return Err(match self.etcd_endpoints {
                Some(_) => {
                    ConfigError::Both { first: "etcd_endpoints", second: "etcd_discovery_srv" }
                }
                None => ConfigError::Discovery { domain },
            });
        }
        let endpoints = self.etcd_endpoints.ok_or(ConfigError::NoEndpoints)?;
        let endpoints = Endpoint::parse_list(&endpoints)?;
        if endpoints.is_empty() {
            return Err(ConfigError::NoEndpoints);
        }
        let ca = pem(
            ("etcd_ca_cert_file", self.etcd_ca_cert_file),
            ("etcd_ca_cert", self.etcd_ca_cert.map(Secret::new)),
        )?;
        let cert = pem(
            ("etcd_cert_file", self.etcd_cert_file),
            ("etcd_cert", self.etcd_cert.map(Secret::new)),
        )?;
        let key = pem(("etcd_key_file", self.etcd_key_file), ("etcd_key", self.etcd_key))?;
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => match (&cert, &key) {
                (Pem::File(_), Pem::Inline(_)) => {
                    return Err(ConfigError::Both { first: "etcd_cert_file", second: "etcd_key" });
                }
                (Pem::Inline(_), Pem::File(_)) => {
                    return Err(ConfigError::Both { first: "etcd_cert", second: "etcd_key_file" });
                }
                _ => Some((cert, key)),
            },
            (None, None) => None,
            (Some(cert), None) => {
                let (present, missing) = match cert {
                    Pem::File(_) => ("etcd_cert_file", "etcd_key_file"),
                    Pem::Inline(_) => ("etcd_cert", "etcd_key"),
                };
                return Err(ConfigError::Half { present, missing });
            }
            (None, Some(key)) => {
                let (present, missing) = match key {
                    Pem::File(_) => ("etcd_key_file", "etcd_cert_file"),
                    Pem::Inline(_) => ("etcd_key", "etcd_cert"),
                };
                return Err(ConfigError::Half { present, missing });
            }
        };
        if let (None, Some(endpoint)) = (&ca, endpoints.iter().find(|endpoint| endpoint.tls())) {
            return Err(ConfigError::NoAuthority { url: endpoint.to_string() });
        }
        // COMPAT: one of the two alone is passed over, as upstream does.
        let user = self.etcd_username.zip(self.etcd_password);
        Ok(EtcdConfig { endpoints, user, ca, identity, connect_timeout: DEFAULT_CONNECT_TIMEOUT })
    }

    /// The settings with `None` for every empty text.
    fn without_empty(self) -> Settings {
        let text = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
        let secret = |value: Option<Secret>| value.filter(|value| !value.expose().is_empty());
        Settings {
            datastore_type: text(self.datastore_type),
            etcd_endpoints: text(self.etcd_endpoints),
            etcd_discovery_srv: text(self.etcd_discovery_srv),
            etcd_username: text(self.etcd_username),
            etcd_password: secret(self.etcd_password),
            etcd_key_file: text(self.etcd_key_file),
            etcd_cert_file: text(self.etcd_cert_file),
            etcd_ca_cert_file: text(self.etcd_ca_cert_file),
            etcd_key: secret(self.etcd_key),
            etcd_cert: text(self.etcd_cert),
            etcd_ca_cert: text(self.etcd_ca_cert),
            local_path: text(self.local_path),
        }
    }
}

impl DatastoreConfig {
    /// Opens the store. Certificates are read here; nothing is asked before the first call.
    pub fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            DatastoreConfig::Etcd(config) => Ok(Arc::new(EtcdStore::new(config)?)),
            #[cfg(feature = "local")]
            DatastoreConfig::Local(config) => {
                Ok(Arc::new(crate::store::LocalStore::new(&config.path)))
            }
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Inline(_) => f.write_str("(in the configuration)"),
        }
    }
}

/// The material of one item, of which the file or the text may be given.
fn pem(
    (file_name, file): (&'static str, Option<String>),
    (text_name, text): (&'static str, Option<Secret>),
) -> Result<Option<Pem>, ConfigError> {
    match (file, text) {
        (Some(_), Some(_)) => Err(ConfigError::Both { first: file_name, second: text_name }),
        (Some(file), None) => Ok(Some(Pem::File(file.into()))),
        (None, Some(text)) => Ok(Some(Pem::Inline(text))),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
