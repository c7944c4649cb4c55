//! The fields of the network configuration that only `calico` reads
//! (`reference/cni-plugin.md` section 1.2).

use std::io::ErrorKind;
use std::path::PathBuf;

use cni::code;
use cni_ipam::conf::NetConf;
use cni_ipam::file;
use serde::Deserialize;

use crate::attachment::OWN_IPAM;
use crate::readiness::Gate;

const MTU_FILE: &str = "/var/lib/calico/mtu";
/// What IPv4 needs at least.
const MTU_V4: u32 = 68;
/// What IPv6 needs at least: the kernel takes it off an interface with less.
const MTU_V6: u32 = 1280;
/// What a 16-bit length can say at most.
const MTU_MAX: u32 = 65535;
/// What the kernel gives an interface at most.
const MAX_QUEUES: i64 = 4096;

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
    /// What the answer says of names, where IPAM says nothing.
    #[serde(rename = "dns")]
    pub dns: cni::Dns,
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
        conf.queues()?;
        if let Some(kind) = conf.own.dataplane_options.get("type") {
            return Err(cni::Error::new(
                code::UNSUPPORTED_FIELD,
                format!(
                    "dataplane_options.type is {kind}: only the Linux dataplane is here, leave it out"
                ),
            ));
        }
        if conf.own.policy_setup_timeout_seconds < 0 {
            return Err(invalid(format!(
                "policy_setup_timeout_seconds is {}: write 0 (off) or a number of seconds",
                conf.own.policy_setup_timeout_seconds
            )));
        }
        conf.gates()?;
        Ok(conf)
    }

    /// Reads what a removal needs. What only ADD looks at may be wrong: then there was no ADD, and
    /// a runtime that calls DEL all the same must be able to finish.
    pub fn for_removal(config: &cni::NetworkConfig) -> Result<Conf, cni::Error> {
        #[derive(Deserialize)]
        struct Removal {
            #[serde(rename = "defer_release", default)]
            defer_release: Option<bool>,
        }
        let Removal { defer_release } = config.parse()?;
        let own = Own { defer_release, ..Own::default() };
        Ok(Conf { shared: NetConf::read(config)?, own })
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

    /// Queues of each end; 1 if nothing is said, or less.
    pub fn queues(&self) -> Result<u32, cni::Error> {
        match self.own.num_queues {
            ..=1 => Ok(1),
            queues if queues <= MAX_QUEUES => Ok(u32::try_from(queues).unwrap_or(1)),
            queues => Err(invalid(format!(
                "num_queues is {queues}: write a number from 1 to {MAX_QUEUES}"
            ))),
        }
    }

    /// The interface's MTU: the configured one, else the MTU file's, else none, which leaves the
    /// choice to the kernel.
    pub fn mtu(&self) -> Result<Option<u32>, cni::Error> {
        let (source, mtu) = match self.own.mtu {
            0 => (MTU_FILE, mtu_from(MTU_FILE.into(), self.own.require_mtu_file)?),
            mtu => ("mtu", mtu),
        };
        if mtu == 0 {
            return Ok(None);
        }
        let v6 = self.shared.ipam.kind == OWN_IPAM && self.shared.wants_ipv6();
        let least = if v6 { MTU_V6 } else { MTU_V4 };
        match u32::try_from(mtu) {
            Ok(value) if (least..=MTU_MAX).contains(&value) => Ok(Some(value)),
            _ => Err(invalid(format!(
                "{source} is {mtu}: {} needs {least} to {MTU_MAX}, and 0 is the default",
                if v6 { "an interface with IPv6" } else { "an interface" }
            ))),
        }
    }
}

fn invalid(message: String) -> cni::Error {
    cni::Error::new(code::INVALID_CONFIG, message)
}

/// The number in the MTU file; 0 if there is none.
pub(crate) fn mtu_from(path: PathBuf, required: bool) -> Result<i64, cni::Error> {
    let shown = path.display();
    let text = match file::read_text(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(0),
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
    text.trim().parse().map_err(|_| {
        cni::Error::new(
            code::DECODING_FAILURE,
            format!("MTU file {shown} holds \"{}\", which is no number", text.trim()),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_mtu_file_is_trimmed_and_may_be_missing_unless_required() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mtu");
        assert_eq!(mtu_from(path.clone(), false).unwrap(), 0);
        assert_eq!(mtu_from(path.clone(), true).unwrap_err().code, code::TRY_AGAIN_LATER);
        fs::write(&path, " 1450\n").unwrap();
        assert_eq!(mtu_from(path.clone(), true).unwrap(), 1450);
        fs::write(&path, "many").unwrap();
        let error = mtu_from(path, false).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE);
        assert!(error.msg.contains("many"), "{}", error.msg);
    }

    fn conf(own: Own, assign_ipv6: &str) -> Conf {
        let mut shared = NetConf::default();
        shared.ipam.kind = OWN_IPAM.into();
        shared.ipam.assign_ipv6 = Some(assign_ipv6.into());
        Conf { shared, own }
    }

    #[test]
    fn an_mtu_that_no_interface_can_have_is_refused() {
        let mtu = |mtu, v6| conf(Own { mtu, ..Own::default() }, v6).mtu();
        for (value, v6) in [(68, "false"), (65535, "false"), (1280, "true")] {
            assert_eq!(mtu(value, v6), Ok(Some(u32::try_from(value).unwrap())));
        }
        for (value, v6) in
            [(-1, "false"), (67, "false"), (65536, "false"), (1279, "true"), (1 << 40, "false")]
        {
            let error = mtu(value, v6).unwrap_err();
            assert_eq!(error.code, code::INVALID_CONFIG);
            assert!(error.msg.starts_with(&format!("mtu is {value}: ")), "{}", error.msg);
        }
    }

    #[test]
    fn queues_are_at_least_one_and_at_most_the_kernels() {
        let queues = |num_queues| conf(Own { num_queues, ..Own::default() }, "").queues();
        for (value, expected) in [(-5, 1), (0, 1), (1, 1), (8, 8), (4096, 4096)] {
            assert_eq!(queues(value), Ok(expected));
        }
        for value in [4097, 1 << 40] {
            let error = queues(value).unwrap_err();
            assert!(error.code == code::INVALID_CONFIG && error.msg.contains("num_queues"));
        }
    }

    /// The same document with every name of a member in capitals.
    fn in_capitals(value: &serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.to_uppercase(), in_capitals(value)))
                .collect(),
            Value::Array(items) => items.iter().map(in_capitals).collect(),
            other => other.clone(),
        }
    }

    #[test]
    fn every_field_is_read_in_any_letter_case() {
        let written = serde_json::json!({
            "cniVersion": "1.0.0", "name": "net-1", "type": "calico",
            "nodename": "node-1", "nodename_file": "/n", "nodename_file_optional": true,
            "hostname": "host-1", "datastore_type": "etcdv3", "etcd_endpoints": "http://a:1",
            "etcd_username": "user", "etcd_password": "secret", "etcd_key_file": "/k",
            "etcd_cert_file": "/c", "etcd_ca_cert_file": "/ca", "ipam_lock_file": "/lock",
            "local": {"path": "/db", "ipv4_pool_cidr": "10.1.0.0/16", "ipv6_pool_cidr": "fd01::/64"},
            "ipam": {
                "type": "host-local", "assign_ipv4": "false", "assign_ipv6": "true",
                "ipv4_pools": ["a"], "ipv6_pools": ["b"], "subnet": "usePodCidr",
                "ranges": [[{"subnet": "usePodCidrIPv6"}]], "routes": [{"dst": "10.2.0.0/16"}],
            },
            "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/kubeconfig"},
            "runtimeConfig": {"ips": ["10.0.0.1"], "mac": "ca:fe:ca:fe:ca:fe"},
            "args": {
                "cni": {"ips": ["fd00::1"], "labels": [{"key": "a", "value": "b"}]},
                "org.apache.mesos": {"network_info": {"labels": {"labels": [
                    {"key": "c", "value": "d"},
                ]}}},
            },
            "timeout_seconds": {"add": 1, "del": 2, "check": 3, "gc": 4, "status": 5},
            "mtu": 1400, "require_mtu_file": true, "num_queues": 2, "device_type": "netkit",
            "include_default_routes": true, "container_settings": {"allow_ip_forwarding": true},
            "feature_control": {"ip_addrs_no_ipam": true, "floating_ips": true},
            "readiness_gates": ["http://127.0.0.1:1/"], "policy_setup_timeout_seconds": 7,
            "endpoint_status_dir": "/status", "defer_release": false,
            "dns": {"nameservers": ["10.0.0.2"], "domain": "d", "search": ["s"], "options": ["o"]},
        });
        let read = |document: &serde_json::Value| {
            use cni_ipam::asked;
            let config = cni::NetworkConfig::decode(document.to_string()).unwrap();
            let Conf { shared: asks, own } = Conf::parse(&config).unwrap();
            // What is kept as it was written is compared by what is read of it.
            let shared = NetConf {
                runtime_config: serde_json::Value::Null,
                args: serde_json::Value::Null,
                ..asks.clone()
            };
            [
                format!("{own:?}"),
                format!("{shared:?}"),
                shared.etcd_password.expose().to_owned(),
                format!("{:?}", asked::addresses(&asks, &cni::Args::default()).unwrap()),
                format!("{:?} {:?}", asked::mac(&asks), asked::labels(&asks)),
                format!("{:?}", crate::labels::mesos_labels(&asks.args)),
                format!("{:?}", crate::host_local::routes(&config)),
            ]
        };
        let expected = read(&written);
        assert_eq!(read(&in_capitals(&written)), expected);
        // Nothing was left at its default, so that a field which isn't found shows.
        for default in [format!("{:?}", Own::default()), format!("{:?}", NetConf::default())] {
            let fields = default.split_once('{').unwrap().1;
            for field in fields.trim_matches(['{', '}', ' ']).split(", ") {
                let kept_apart = [
                    "runtime_config",
                    "args",
                    "dataplane_options",
                    "etcd_discovery",
                    "etcd_password",
                ];
                let is_kept_apart = kept_apart.iter().any(|name| field.starts_with(name));
                let is_there = expected.iter().any(|text| text.contains(&format!("{field},")));
                assert!(is_kept_apart || !is_there, "{field} is at its default: {expected:#?}");
            }
        }
        let config = cni::NetworkConfig::decode(in_capitals(&written).to_string()).unwrap();
        let given = crate::host_local::for_removal(&config).unwrap();
        let given = String::from_utf8(given).unwrap();
        assert!(given.contains("0.0.0.0/0") && given.contains("::/0"), "{given}");
        assert!(!given.to_lowercase().contains("usepodcidr"), "{given}");
    }
}
