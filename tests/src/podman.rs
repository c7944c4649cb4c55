//! podman on a simulated host, with its CNI backend.

use std::sync::Arc;

use anyhow::Result;
use serde_json::Value;

use crate::host::Host;
use crate::image::{self, WAIT};

/// The name of the image in podman's store.
const IMAGE: &str = "localhost/busybox";

/// Resource limits may only be lowered everywhere that tests run, crun refuses some layouts of
/// control groups, and locks are files of the host because shared memory is the machine's.
const CONFIG: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
apparmor_profile = ""
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
num_locks = 32
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
"#;

/// podman with an image of its own. It has no daemon.
#[derive(Debug)]
pub struct Podman {
    host: Arc<Host>,
}

impl Podman {
    /// Sets podman up on a host with this network configuration.
    pub fn new(host: &Arc<Host>, conflist: &Value) -> Result<Podman> {
        host.write("/etc/cni/net.d/10-calico.conflist", conflist.to_string())?;
        host.write("/run/containers.conf", CONFIG)?;
        let podman = Podman { host: host.clone() };
        image::root(&host.path("/var/lib"))?;
        podman.run(&["import", "/var/lib/root.tar", IMAGE])?;
        Ok(podman)
    }

    /// Starts a container on a network; its id.
    pub fn start(&self, name: &str, network: &str) -> Result<String> {
        let group = self.host.control_group();
        let start = ["run", "--detach", "--network", network, "--cgroup-parent", &group];
        let id = self.run(&[&start[..], &["--name", name, IMAGE], &WAIT[..]].concat())?;
        Ok(id.trim().to_owned())
    }

    /// Runs a program in a container.
    pub fn exec(&self, name: &str, argv: &[&str]) -> Result<String> {
        self.run(&[&["exec", name][..], argv].concat())
    }

    /// What podman knows of a container.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["inspect", name])?)?)
    }

    /// Removes a container, running or not.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.run(&["rm", "--force", "--time", "0", name]).map(drop)
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let environment = ["env", "CONTAINERS_CONF=/run/containers.conf"];
        let podman = ["podman", "--storage-driver=vfs"];
        self.host.run(environment.iter().chain(&podman).chain(args))
    }
}
