//! A container's network namespace on a simulated host, as a runtime makes it.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::host::{Host, run_checked};

/// A network namespace at `/run/netns/<name>` of a host, with nothing in it but `lo`.
#[derive(Debug)]
pub struct Pod {
    host: Arc<Host>,
    name: String,
    net: File,
}

impl Pod {
    /// Makes the namespace.
    pub(crate) fn new(host: &Arc<Host>, name: &str) -> Result<Pod> {
        host.run(["ip", "netns", "add", name])?;
        host.run(["ip", "-n", name, "link", "set", "lo", "up"])?;
        let path = format!("/run/netns/{name}");
        let net = host.within(|| File::open(&path))?;
        Ok(Pod { host: host.clone(), name: name.to_owned(), net })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host that it is on.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The namespace's path, as its host sees it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a program in this namespace; its standard output, if it succeeds.
    pub fn run<I, S>(&self, argv: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        run_checked(&self.host, &self.net, argv)
    }

    /// Runs an `ip -j` command in this namespace.
    pub fn ip(&self, args: &str) -> Result<Value> {
        let text = self.run(["ip", "-j"].into_iter().chain(args.split(' ')))?;
        if text.trim().is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).with_context(|| format!("answer of ip -j {args}"))
    }

    /// Runs `body` on a thread inside this namespace, where it may open sockets and read sysctls.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        self.host.namespaces().enter(&self.net, body)
    }

    /// The value of a sysctl under `/proc/sys/net` in this namespace: `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = format!("/proc/sys/net/{name}");
        let text = self.within(|| std::fs::read_to_string(&path));
        Ok(text.with_context(|| format!("reading {path}"))?.trim().to_owned())
    }

    /// Pings an address from this namespace.
    pub fn ping(&self, to: IpAddr) -> Result<()> {
        self.run(ping(to)).map(drop)
    }

    /// Removes the namespace while the host goes on, as when a runtime has died.
    pub fn remove(self) -> Result<()> {
        let Pod { host, name, net } = self;
        drop(net);
        host.run(["ip", "netns", "del", &name]).map(drop)
    }
}

/// A ping that ends with the first answer, after 5 s at the latest.
pub(crate) fn ping(to: IpAddr) -> Vec<String> {
    ["ping", "-n", "-c", "1", "-w", "5", &to.to_string()].map(str::to_owned).to_vec()
}
