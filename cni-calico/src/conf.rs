//! The fields of the network configuration that only `calico` reads
//! (`reference/cni-plugin.md` section 1.2).

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use cni::code;
use cni_ipam::conf::NetConf;
use serde::Deserialize;

use crate::readiness::Gate;

const MTU_FILE: &str = "/var/lib/calico/mtu";

/// The plugin's whole configuration.
#[derive(Debug, Clone)]
pub struct Conf {
    /// What both plugins read.
    pub shared: NetConf,
    /// What only this one reads.
    pub own: Own,
}

/// The fields of `calico` alone.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Own {
    /// The interface's MTU; 0: the MTU file's, else the kernel's default.
    #[serde(rename = "mtu")]
    pub mtu: i64,
    /// Whether `/var/lib/calico/mtu` must be there. It is read only when `mtu` is 0.
    #[serde(rename = "require_mtu_file")]
    pub require_mtu_file: bool,
    /// Queues of each end of the pair; 0 or less: 1.
    #[serde(rename = "num_queues")]
    pub num_queues: i64,
    /// `veth` (also when empty) or `netkit`.
    #[serde(rename = "device_type")]
    pub device_type: String,
    /// Whether a pod with host-local whose `ipam.routes` say its routes gets the default ones too.
    #[serde(rename = "include_default_routes")]
    pub include_default_routes: bool,
    /// What the container may do.
    #[serde(rename = "container_settings")]
    pub container_settings: ContainerSettings,
    /// Features that the operator must allow.
    #[serde(rename = "feature_control")]
    pub feature_control: FeatureControl,
    /// Another dataplane than Linux.
    #[serde(rename = "dataplane_options")]
    pub dataplane_options: serde_json::Map<String, serde_json::Value>,
    /// URLs that must answer before a container is added.
    #[serde(rename = "readiness_gates")]
    pub readiness_gates: Vec<String>,
    /// How long to wait for Felix after an ADD; Kubernetes only.
    #[serde(rename = "policy_setup_timeout_seconds")]
    pub policy_setup_timeout_seconds: i64,
    /// Where Felix says so; empty: `/var/run/calico/endpoint-status`.
    #[serde(rename = "endpoint_status_dir")]
    pub endpoint_status_dir: String,
    /// Whether DEL succeeds while the store is away, and leaves its release to a later call. (Ours;
    /// absent: true.)
    #[serde(rename = "defer_release")]
    pub defer_release: Option<bool>,
    /// Arguments of the orchestrator.
    #[serde(rename = "args")]
    pub args: serde_json::Value,
}

impl Own {
    /// See [`Own::defer_release`].
    pub fn defers_release(&self) -> bool {
        self.defer_release.unwrap_or(true)
    }
}

/// `container_settings`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ContainerSettings {
    /// Whether the container forwards.
    #[serde(rename = "allow_ip_forwarding")]
    pub allow_ip_forwarding: bool,
}

/// `feature_control`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FeatureControl {
    /// Allows an annotation of pods that passes IPAM by.
    #[serde(rename = "ip_addrs_no_ipam")]
    pub ip_addrs_no_ipam: bool,
    /// Allows an annotation of pods for floating addresses.
    #[serde(rename = "floating_ips")]
    pub floating_ips: bool,
}

/// The kind of pair that connects a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceType {
    /// A veth pair.
    Veth,
    /// A netkit pair, or veth where the kernel has none.
    Netkit,
}

impl Conf {
    /// Reads the configuration and refuses what can't be done, before anything is touched.
    pub fn parse(config: &cni::NetworkConfig) -> Result<Conf, cni::Error> {
        let conf = Conf { shared: NetConf::parse(config)?, own: config.parse()? };
        conf.device_type()?;
        if let Some(kind) = conf.own.dataplane_options.get("type") {
            return Err(cni::Error::new(
                code::UNSUPPORTED_FIELD,
                format!(
                    "dataplane_options.type is {kind}: only the Linux dataplane is here, leave it out"
                ),
            ));
        }
        if conf.own.policy_setup_timeout_seconds < 0 {
            return Err(cni::Error::new(
                code::INVALID_CONFIG,
                format!(
                    "policy_setup_timeout_seconds is {}: write 0 (off) or a number of seconds",
                    conf.own.policy_setup_timeout_seconds
                ),
            ));
        }
        conf.gates()?;
        Ok(conf)
    }

    /// Reads what a removal needs. What only ADD looks at may be wrong: then there was no ADD, and
    /// a runtime that calls DEL all the same must be able to finish.
    pub fn for_removal(config: &cni::NetworkConfig) -> Result<Conf, cni::Error> {
        #[derive(Deserialize)]
        struct Removal {
            #[serde(rename = "args", default)]
            args: serde_json::Value,
            #[serde(rename = "defer_release", default)]
            defer_release: Option<bool>,
        }
        let Removal { args, defer_release } = config.parse()?;
        let own = Own { args, defer_release, ..Own::default() };
        Ok(Conf { shared: NetConf::parse(config)?, own })
    }

    /// What must answer before a container is attached.
    pub fn gates(&self) -> Result<Vec<Gate>, cni::Error> {
        self.own.readiness_gates.iter().map(|url| Gate::parse(url)).collect()
    }

    /// The kind of pair that is asked for.
    pub fn device_type(&self) -> Result<DeviceType, cni::Error> {
        match self.own.device_type.as_str() {
            "" | "veth" => Ok(DeviceType::Veth),
            "netkit" => Ok(DeviceType::Netkit),
            other => Err(cni::Error::new(
                code::UNSUPPORTED_FIELD,
                format!("device_type is \"{other}\": write \"veth\" or \"netkit\""),
            )),
        }
    }

    /// Queues of each end.
    pub fn queues(&self) -> u32 {
        u32::try_from(self.own.num_queues).unwrap_or(0).max(1)
    }

    /// The interface's MTU: the configured one, else the MTU file's, else none, which leaves the
    /// choice to the kernel.
    pub fn mtu(&self) -> Result<Option<u32>, cni::Error> {
        match self.own.mtu {
            0 => mtu_from(MTU_FILE.into(), self.own.require_mtu_file),
            // What IPv4 needs at least, and what a 16-bit length can say at most.
            mtu @ 68..=65535 => Ok(u32::try_from(mtu).ok()),
            mtu => Err(cni::Error::new(
                code::INVALID_CONFIG,
                format!("mtu is {mtu}: write a number from 68 to 65535, or 0 for the default"),
            )),
        }
    }
}

fn mtu_from(path: PathBuf, required: bool) -> Result<Option<u32>, cni::Error> {
    let shown = path.display();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(cni::Error::new(
                code::TRY_AGAIN_LATER,
                format!(
                    "MTU file {shown} does not exist and require_mtu_file is set: Felix writes it when it starts"
                ),
            ));
        }
        Err(error) => {
            return Err(cni::Error::new(
                code::IO_FAILURE,
                format!("MTU file {shown} can't be read: {error}"),
            ));
        }
    };
    match text.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(mtu) => Ok(Some(mtu)),
        Err(_) => Err(cni::Error::new(
            code::DECODING_FAILURE,
            format!("MTU file {shown} holds \"{}\", which is no number", text.trim()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mtu_file_is_trimmed_and_may_be_missing_unless_required() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mtu");
        assert_eq!(mtu_from(path.clone(), false).unwrap(), None);
        assert_eq!(mtu_from(path.clone(), true).unwrap_err().code, code::TRY_AGAIN_LATER);
        fs::write(&path, " 1450\n").unwrap();
        assert_eq!(mtu_from(path.clone(), true).unwrap(), Some(1450));
        fs::write(&path, "many").unwrap();
        let error = mtu_from(path, false).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE);
        assert!(error.msg.contains("many"), "{}", error.msg);
    }
}
