//! Who is measured, and where: each rival on hosts of its own, one empty and one with a crowd of
//! pods, with everything that the rival needs.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tests::{Etcd, EtcdMode, Host, LIMIT, Scene, binary_dir, conflist, objects, plugin_of};

use crate::launch::Launch;

/// The folder of the plugins on every host.
const BIN: &str = "/opt/cni/bin";
/// A bridge of Linux takes so many ports; some are for those who come and go.
const BRIDGE_CROWD: usize = 800;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rival {
    /// The kernel's work alone.
    #[serde(rename = "floor")]
    Floor,
    /// Ours, on the embedded store.
    #[serde(rename = "local")]
    Local,
    /// Ours, on an etcd on loopback.
    #[serde(rename = "etcd")]
    Etcd,
    /// Ours, on an etcd on loopback over TLS with a client's certificate.
    #[serde(rename = "etcd-tls")]
    EtcdTls,
    /// Debian's `ptp` with `host-local`.
    #[serde(rename = "ptp")]
    Ptp,
    /// Debian's `bridge` with `host-local`.
    #[serde(rename = "bridge")]
    Bridge,
}

impl Rival {
    /// All of them, in the order of the tables.
    pub const ALL: [Rival; 6] =
        [Rival::Floor, Rival::Local, Rival::Etcd, Rival::EtcdTls, Rival::Ptp, Rival::Bridge];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Rival::Floor => "floor: the kernel alone",
            Rival::Local => "calico, local store",
            Rival::Etcd => "calico, etcd",
            Rival::EtcdTls => "calico, etcd with TLS",
            Rival::Ptp => "ptp + host-local",
            Rival::Bridge => "bridge + host-local",
        }
    }

    /// Whether it is ours.
    pub fn is_ours(self) -> bool {
        matches!(self, Rival::Local | Rival::Etcd | Rival::EtcdTls)
    }

    fn slug(self) -> &'static str {
        match self {
            Rival::Floor => "floor",
            Rival::Local => "local",
            Rival::Etcd => "etcd",
            Rival::EtcdTls => "tls",
            Rival::Ptp => "ptp",
            Rival::Bridge => "bridge",
        }
    }

    /// The files that make up the plugin, as the machine has them.
    pub fn programs(self) -> Result<Vec<PathBuf>> {
        let debian = |name: &str| Path::new("/usr/lib/cni").join(name);
        let ours = binary_dir()?;
        Ok(match self {
            Rival::Floor => vec![ours.join("floor")],
            Rival::Local | Rival::Etcd | Rival::EtcdTls => {
                vec![ours.join("calico"), ours.join("calico-ipam")]
            }
            Rival::Ptp => vec![debian("ptp"), debian("host-local")],
            Rival::Bridge => vec![debian("bridge"), debian("host-local")],
        })
    }
}

/// A rival on a host.
#[derive(Debug)]
pub struct Site {
    /// Who.
    pub rival: Rival,
    /// How many pods are there all the time.
    pub crowd: usize,
    /// The host.
    pub host: Arc<Host>,
    /// The host's etcd.
    pub etcd: Option<Arc<Etcd>>,
    program: PathBuf,
    config: Value,
}

/// A container's network namespace, and what its next container is called.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The namespace's path on the host.
    pub netns: String,
    /// The container's id, as long and as mixed as a runtime's.
    pub id: String,
    /// The address that the floor gives it; the others choose one.
    pub address: Ipv4Addr,
}

impl Site {
    /// Makes the host, and the store if that is a server. `crowd` is what is wanted; a bridge can't
    /// have more than its ports.
    pub fn new(scene: &Scene, rival: Rival, crowd: usize) -> Result<Site> {
        let crowd = if rival == Rival::Bridge { crowd.min(BRIDGE_CROWD) } else { crowd };
        let place = if crowd == 0 { "empty" } else { "full" };
        let host = scene.host(&format!("{}-{place}", rival.slug()))?;
        let mode = match rival {
            Rival::Etcd => Some(EtcdMode::Plain),
            Rival::EtcdTls => Some(EtcdMode::Tls),
            _ => None,
        };
        let etcd = mode.map(|mode| Etcd::start_durable(&host, mode)).transpose()?;
        if let Some(etcd) = &etcd {
            // As calico/node and the operator would have written it.
            host.write("/var/lib/calico/nodename", host.name())?;
            for (key, object) in [
                objects::cluster(true),
                objects::node(host.name()),
                objects::pool("pool-a", "10.65.0.0/16", 26),
            ] {
                etcd.put(&key, &object.to_string())?;
            }
        }
        let plugin = match rival {
            Rival::Floor => binary_dir()?.join("floor"),
            Rival::Ptp => Path::new(BIN).join("ptp"),
            Rival::Bridge => Path::new(BIN).join("bridge"),
            Rival::Local | Rival::Etcd | Rival::EtcdTls => Path::new(BIN).join("calico"),
        };
        Ok(Site { rival, crowd, host, etcd, program: plugin, config: config(rival)? })
    }

    /// A call of the rival's plugin. DEL gets the result of ADD, as runtimes hand it over.
    pub fn call(&self, verb: &str, pod: &Pod, result: Option<&str>) -> Result<Launch> {
        let mut config = self.config.clone();
        if let Some(result) = result {
            config["prevResult"] =
                serde_json::from_str(result).with_context(|| format!("answer {result}"))?;
        }
        let mut env = vec![
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", pod.id.clone()),
            ("CNI_NETNS", pod.netns.clone()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_PATH", BIN.to_owned()),
        ];
        if self.rival == Rival::Floor {
            env.push(("CNI_ARGS", format!("IP={}", pod.address)));
        }
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Launch { argv: vec![self.program.clone()], env, stdin: config.to_string().into() })
    }

    /// The same call, which tells how long its steps took.
    pub fn telling_call(&self, verb: &str, pod: &Pod, result: Option<&str>) -> Result<Launch> {
        let mut call = self.call(verb, pod, result)?;
        let mut config: Value = serde_json::from_slice(&call.stdin)?;
        config["log_level"] = json!("debug");
        call.stdin = config.to_string().into();
        Ok(call)
    }

    /// Makes the namespaces `numbers` on the host, by one process.
    pub fn pods(&self, numbers: Range<usize>) -> Result<Vec<Pod>> {
        let lines: String = numbers.clone().map(|n| format!("netns add b{n}\n")).collect();
        let mut command = tests::command("ip");
        command.args(["-batch", "-"]);
        let output = self.host.output(command, lines.as_bytes(), LIMIT)?;
        ensure!(output.status.success(), "making namespaces: {}", output.text());
        Ok(numbers.map(Pod::new).collect())
    }

    /// Runs `body` on a thread of its own on the host.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.host.within(|| Ok(body()))?.with_context(|| self.rival.name())
    }
}

impl Pod {
    fn new(number: usize) -> Pod {
        // 10.128.0.1 and on.
        let address = Ipv4Addr::from_bits(0x0a80_0001 + u32::try_from(number).unwrap_or_default());
        Pod { netns: format!("/run/netns/b{number}"), id: id(number, 0), address }
    }

    /// The same namespace, for the container of another round.
    pub fn in_round(&self, number: usize, round: usize) -> Pod {
        Pod { id: id(number, round + 1), ..self.clone() }
    }
}

/// An id of 64 digits that is no other pod's and no other round's.
fn id(number: usize, round: usize) -> String {
    let seed = (round as u64) << 32 | number as u64;
    // An odd factor: no two numbers meet.
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{mixed:016x}").repeat(4)
}

fn config(rival: Rival) -> Result<Value> {
    let host_local = |subnet: &str| json!({"type": "host-local", "subnet": subnet});
    let ours = |name: &str| -> Result<Value> {
        let mut config = plugin_of(&conflist(name)?)?;
        // One address, as the others give.
        config["ipam"] = json!({"type": "calico-ipam"});
        Ok(config)
    };
    Ok(match rival {
        Rival::Floor => json!({"cniVersion": "1.0.0", "name": "floor", "type": "floor"}),
        Rival::Local => ours("standalone")?,
        Rival::Etcd => ours("etcd")?,
        Rival::EtcdTls => ours("etcd-tls")?,
        Rival::Ptp => json!({
            "cniVersion": "1.0.0", "name": "plain", "type": "ptp", "ipam": host_local("10.1.0.0/16")
        }),
        Rival::Bridge => json!({
            "cniVersion": "1.0.0", "name": "bridged", "type": "bridge", "bridge": "cni0",
            "isGateway": true, "ipam": host_local("10.2.0.0/16")
        }),
    })
}

/// How many bytes of disk a folder takes, with all in it.
pub fn disk_usage(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += disk_usage(&entry.path())?;
        }
    }
    Ok(bytes)
}
