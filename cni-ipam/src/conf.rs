//! The network configuration of Calico's plugins, as far as both of them read it
//! (`reference/cni-plugin.md` section 1.2). Unknown keys are ignored, `null` is a field's default.

use std::path::PathBuf;
use std::time::Duration;

use cni::Command;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use libcalico::config::Secret;
use serde::Deserialize;
use serde_json::Value;

use crate::run::Deadline;

/// The fields that `calico` and `calico-ipam` share. JSON names are upstream's; `local` is ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NetConf {
    /// Address management.
    #[serde(rename = "ipam")]
    pub ipam: Ipam,
    /// This node's name; empty: read from [`NetConf::nodename_file`].
    #[serde(rename = "nodename")]
    pub nodename: String,
    /// A file that holds this node's name; empty: `/var/lib/calico/nodename`.
    #[serde(rename = "nodename_file")]
    pub nodename_file: String,
    /// Whether that file may be missing; then the name is the host's. Always so with the local
    /// datastore.
    #[serde(rename = "nodename_file_optional")]
    pub nodename_file_optional: bool,
    /// A former name of `nodename`, of lower priority than the file.
    #[serde(rename = "hostname")]
    pub hostname: String,
    /// `etcdv3` or `local`; empty: `etcdv3` when endpoints are known, else `local`.
    #[serde(rename = "datastore_type")]
    pub datastore_type: String,
    /// Comma-separated URLs.
    #[serde(rename = "etcd_endpoints")]
    pub etcd_endpoints: String,
    /// A domain whose SRV records name the endpoints.
    #[serde(rename = "etcd_discovery_srv")]
    pub etcd_discovery_srv: String,
    /// The user, where the servers ask for one. (Ours: upstream takes it from the environment only.)
    #[serde(rename = "etcd_username")]
    pub etcd_username: String,
    /// The user's password.
    #[serde(rename = "etcd_password")]
    pub etcd_password: Secret,
    /// PEM file of the client's key.
    #[serde(rename = "etcd_key_file")]
    pub etcd_key_file: String,
    /// PEM file of the client's certificate.
    #[serde(rename = "etcd_cert_file")]
    pub etcd_cert_file: String,
    /// PEM file of the certificates that sign the servers'.
    #[serde(rename = "etcd_ca_cert_file")]
    pub etcd_ca_cert_file: String,
    /// The embedded store.
    #[serde(rename = "local")]
    pub local: Local,
    /// Policy of Kubernetes.
    #[serde(rename = "policy")]
    pub policy: Policy,
    /// What the runtime adds for one container: see [`crate::asked`].
    #[serde(rename = "runtimeConfig")]
    pub runtime_config: Value,
    /// Arguments of the orchestrator, likewise.
    #[serde(rename = "args")]
    pub args: Value,
    /// The lock on which this node's allocations queue; empty: `/var/run/calico/ipam.lock`.
    #[serde(rename = "ipam_lock_file")]
    pub ipam_lock_file: String,
    /// How long the verbs may take. (Ours: upstream's have no limit.)
    #[serde(rename = "timeout_seconds")]
    pub timeout_seconds: Timeouts,
}

/// The `ipam` object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Ipam {
    /// The IPAM plugin's name; `calico-ipam` runs in process.
    #[serde(rename = "type")]
    pub kind: String,
    /// `"false"`: no IPv4 address. A string, as upstream has it.
    #[serde(rename = "assign_ipv4")]
    pub assign_ipv4: Option<String>,
    /// `"true"`: an IPv6 address.
    #[serde(rename = "assign_ipv6")]
    pub assign_ipv6: Option<String>,
    /// Only these pools: CIDRs or names.
    #[serde(rename = "ipv4_pools")]
    pub ipv4_pools: Vec<String>,
    /// Only these pools: CIDRs or names.
    #[serde(rename = "ipv6_pools")]
    pub ipv6_pools: Vec<String>,
}

/// The `timeout_seconds` object: how long a verb may take in all. A runtime has a limit of its own
/// (kubelet's is two minutes), after which it kills us; ours is shorter, so that there is time to
/// undo. 0 or less: the default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// 60.
    #[serde(rename = "add")]
    pub add: i64,
    /// 30.
    #[serde(rename = "del")]
    pub del: i64,
    /// 30.
    #[serde(rename = "check")]
    pub check: i64,
    /// 60.
    #[serde(rename = "gc")]
    pub gc: i64,
    /// 10.
    #[serde(rename = "status")]
    pub status: i64,
}

impl Timeouts {
    fn of(&self, command: Command) -> Duration {
        let (configured, default) = match command {
            Command::Add => (self.add, 60),
            Command::Del => (self.del, 30),
            Command::Check => (self.check, 30),
            Command::Gc => (self.gc, 60),
            Command::Status | Command::Version => (self.status, 10),
        };
        let seconds = u64::try_from(configured).ok().filter(|seconds| *seconds > 0);
        Duration::from_secs(seconds.unwrap_or(default))
    }
}

/// The `local` object: the embedded store of one host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Local {
    /// Its file; absent: `/var/lib/calico/calico.db`.
    #[serde(rename = "path")]
    pub path: Option<PathBuf>,
    /// The IPv4 pool of a fresh store; absent: the first of a few private ranges that the host
    /// itself has no address in.
    #[serde(rename = "ipv4_pool_cidr")]
    pub ipv4_pool_cidr: Option<Ipv4Net>,
    /// The IPv6 pool of a fresh store; absent: `fd80:24e2:f998:72d6::/64`.
    #[serde(rename = "ipv6_pool_cidr")]
    pub ipv6_pool_cidr: Option<Ipv6Net>,
}

/// The `policy` object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Empty: endpoints get the network's own profile. `k8s`: Kubernetes' profiles.
    #[serde(rename = "type")]
    pub kind: String,
}

impl NetConf {
    /// Reads the configuration, whatever it asks for.
    pub fn read(config: &cni::NetworkConfig) -> Result<NetConf, cni::Error> {
        config.parse()
    }

    /// Reads the configuration and refuses what can't be meant.
    pub fn parse(config: &cni::NetworkConfig) -> Result<NetConf, cni::Error> {
        let conf = NetConf::read(config)?;
        for (field, value) in [
            ("ipam.assign_ipv4", &conf.ipam.assign_ipv4),
            ("ipam.assign_ipv6", &conf.ipam.assign_ipv6),
        ] {
            // COMPAT: upstream takes any text and only looks for the two words; so do we, but a
            // word in another case is surely a mistake.
            if let Some(value) = value
                && !matches!(value.as_str(), "" | "true" | "false")
                && matches!(value.to_lowercase().as_str(), "true" | "false")
            {
                return Err(invalid(format!(
                    "{field} is \"{value}\": write \"true\" or \"false\" in lower case"
                )));
            }
        }
        if !matches!(conf.policy.kind.as_str(), "" | "k8s") {
            return Err(invalid(format!(
                "policy.type is \"{}\": leave it out, or write \"k8s\"",
                conf.policy.kind
            )));
        }
        Ok(conf)
    }

    /// The end of a verb that begins now.
    pub fn end_of(&self, command: Command) -> Deadline {
        Deadline::after(self.timeout_seconds.of(command))
    }

    /// Whether an IPv4 address is wanted.
    pub fn wants_ipv4(&self) -> bool {
        self.ipam.assign_ipv4.as_deref() != Some("false")
    }

    /// Whether an IPv6 address is wanted.
    pub fn wants_ipv6(&self) -> bool {
        self.ipam.assign_ipv6.as_deref() == Some("true")
    }
}

/// An entry of `ipv4_pools` or `ipv6_pools`, which is a CIDR or else a pool's name.
pub fn pool_cidr(entry: &str) -> Option<IpNet> {
    entry.parse().ok()
}

fn invalid(message: String) -> cni::Error {
    cni::Error::new(cni::code::INVALID_CONFIG, message)
}
