//! containerd on a simulated host, with its command line `ctr`.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::command::{LIMIT, kill_after};
use crate::host::{self, Host, Service};
use crate::image::{self, IMAGE};

/// Where containerd listens, on its host.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Its configuration. Score adjustment and copy-on-write file systems are not to be had everywhere
/// that tests run.
const CONFIG: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "calico-rs.test/busybox:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#;

/// A running containerd, with the image of [`crate::image`] for `ctr` and for the CRI service.
#[derive(Debug)]
pub struct Containerd {
    host: Arc<Host>,
}

/// A container that `ctr run` is attached to: its network is removed before that returns.
#[derive(Debug)]
pub struct Attached {
    host: Arc<Host>,
    id: String,
    ctr: Service,
}

impl Containerd {
    /// Starts containerd with this network configuration, and waits until it serves.
    pub fn start(host: &Arc<Host>, conflist: &Value) -> Result<Arc<Containerd>> {
        host.write("/etc/cni/net.d/10-calico.conflist", conflist.to_string())?;
        host.write("/run/containerd/config.toml", CONFIG)?;
        let mut command = host::command("containerd");
        command.args(["--config", "/run/containerd/config.toml"]);
        host.serve("containerd", command, "containerd successfully booted")?;
        let archive = image::oci(&host.path("/var/lib"))?;
        let archive = format!("/var/lib/{}", archive.file_name().unwrap_or_default().display());
        for namespace in ["default", "k8s.io"] {
            host.run([
                "ctr",
                "-n",
                namespace,
                "images",
                "import",
                "--snapshotter=native",
                &archive,
            ])?;
        }
        Ok(Arc::new(Containerd { host: host.clone() }))
    }

    /// The host that it runs on.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// `ctr run --cni`: returns when the container runs, with its network.
    pub fn run(self: &Arc<Self>, id: &str) -> Result<Attached> {
        let mut command = host::command("ctr");
        command.args(["run", "--rm", "--cni", "--snapshotter=native", "--cgroup"]);
        command.arg(format!("{}/{id}", self.host.control_group())).args([IMAGE, id]);
        // It says so when it runs: ctr sets its network up before that.
        command.args(["/bin/sh", "-c", "echo running; exec sleep 1000"]);
        let ctr = self.host.serve(&format!("ctr-{id}"), command, "running")?;
        Ok(Attached { host: self.host.clone(), id: id.to_owned(), ctr })
    }
}

impl Attached {
    /// Its id, as it was given.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a program in the container, as `ctr task exec` does.
    pub fn exec(&self, argv: &[&str]) -> Result<String> {
        let start = ["ctr", "task", "exec", "--exec-id", "e1", &self.id];
        self.host.run(start.iter().chain(argv))
    }

    /// Ends the container; `ctr run` then removes its network and the container, and must succeed.
    pub fn end(self) -> Result<()> {
        self.host.run(["ctr", "task", "kill", "-s", "SIGKILL", &self.id])?;
        let mut ctr = self.ctr.lock().expect("no holder panics");
        let (status, over) = kill_after(&mut ctr, LIMIT)?;
        // The status is that of the container: ended by signal 9.
        ensure!(!over && status.code() == Some(137), "ctr run ended with {status}: see its log");
        Ok(())
    }
}
