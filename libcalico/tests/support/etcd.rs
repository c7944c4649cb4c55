//! Real etcd servers for tests: each on a loopback address of its own, so that none meets another.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running etcd. Ends with its owner; the folder with its log stays when the test failed.
pub struct Etcd {
    pub host: String,
    scheme: &'static str,
    extra: Vec<String>,
    child: Child,
    dir: Option<TempDir>,
}

impl Etcd {
    /// A server without TLS and without users.
    pub fn start() -> Etcd {
        Etcd::launch(random_host(), "http", Vec::new())
    }

    /// A server at this address that speaks TLS, with further arguments.
    pub fn start_tls(host: &str, extra: Vec<String>) -> Etcd {
        Etcd::launch(host.to_owned(), "https", extra)
    }

    fn launch(host: String, scheme: &'static str, extra: Vec<String>) -> Etcd {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir().unwrap();
        let child = spawn(dir.path(), &host, scheme, &extra);
        Etcd { host, scheme, extra, child, dir: Some(dir) }
    }

    /// `http://127.x.y.z:2379`.
    pub fn url(&self) -> String {
        format!("{}://{}:2379", self.scheme, self.host)
    }

    /// The address for plain connections.
    pub fn address(&self) -> String {
        format!("{}:2379", self.host)
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its data.
    pub fn restart(&mut self) {
        self.child = spawn(self.dir(), &self.host, self.scheme, &self.extra);
    }

    /// Stops it without its closing anything: it goes silent.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Runs etcdctl against it.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", self.url()))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "etcdctl {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(dir) = self.dir.take().filter(|_| std::thread::panicking()) {
            eprintln!("etcd's data and log are kept in {}", dir.keep().display());
        }
    }
}

/// An address of the loopback network that nobody else has.
pub fn random_host() -> String {
    format!(
        "127.{}.{}.{}",
        rand::random_range(16..250),
        rand::random_range(1..250),
        rand::random_range(1..250)
    )
}

fn spawn(dir: &Path, host: &str, scheme: &str, extra: &[String]) -> Child {
    let (client, peer) = (format!("{scheme}://{host}:2379"), format!("http://{host}:2380"));
    let mut child = Command::new("etcd")
        .args(["--name=test", "--logger=zap", "--log-outputs=stderr", "--unsafe-no-fsync"])
        .arg(format!("--data-dir={}", dir.join("data").display()))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=test={peer}"))
        .args(extra)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcd is installed");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log_path: PathBuf = dir.join("log");
    let mut log = File::options().create(true).append(true).open(&log_path).unwrap();
    let (ready, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
            if line.contains("serving") && line.contains("client") {
                let _ = ready.send(());
            }
        }
    });
    if wait.recv_timeout(START_LIMIT).is_err() {
        let _ = child.kill();
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        panic!("etcd didn't start:\n{log}");
    }
    child
}
