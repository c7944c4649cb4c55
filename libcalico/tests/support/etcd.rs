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
    child: Option<Child>,
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

    /// The members of one cluster, without TLS.
    pub fn start_cluster(members: usize) -> Vec<Etcd> {
        let hosts: Vec<_> = (0..members).map(|_| random_host()).collect();
        let cluster: Vec<_> =
            hosts.iter().map(|host| format!("{host}=http://{host}:2380")).collect();
        let extra = vec![format!("--initial-cluster={}", cluster.join(","))];
        let prepare = |host| Etcd::prepare(host, "http", extra.clone());
        let mut members: Vec<_> = hosts.into_iter().map(prepare).collect();
        // None is ready before most are.
        let starting: Vec<_> = members.iter_mut().map(Etcd::spawn).collect();
        members.iter_mut().zip(starting).for_each(|(etcd, ready)| etcd.wait(&ready));
        members
    }

    fn launch(host: String, scheme: &'static str, mut extra: Vec<String>) -> Etcd {
        extra.push(format!("--initial-cluster={host}=http://{host}:2380"));
        let mut etcd = Etcd::prepare(host, scheme, extra);
        etcd.restart();
        etcd
    }

    fn prepare(host: String, scheme: &'static str, extra: Vec<String>) -> Etcd {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir().unwrap();
        Etcd { host, scheme, extra, child: None, dir: Some(dir) }
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
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it (again), on its data.
    pub fn restart(&mut self) {
        let ready = self.spawn();
        self.wait(&ready);
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
        let child = self.child.as_ref().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Starts the process; the answer hears of it when it serves.
    fn spawn(&mut self) -> mpsc::Receiver<()> {
        let (scheme, host) = (self.scheme, &self.host);
        let (client, peer) = (format!("{scheme}://{host}:2379"), format!("http://{host}:2380"));
        let mut child = Command::new("etcd")
            .args(["--logger=zap", "--log-outputs=stderr", "--unsafe-no-fsync"])
            .arg(format!("--name={host}"))
            .arg(format!("--data-dir={}", self.dir().join("data").display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .args(&self.extra)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcd is installed");
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        self.child = Some(child);
        let mut log = File::options().create(true).append(true).open(self.log()).unwrap();
        let (ready, wait) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                if line.contains("serving") && line.contains("client traffic") {
                    let _ = ready.send(());
                }
            }
        });
        wait
    }

    fn wait(&mut self, ready: &mpsc::Receiver<()>) {
        if ready.recv_timeout(START_LIMIT).is_err() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            panic!("etcd didn't start:\n{log}");
        }
    }

    fn log(&self) -> PathBuf {
        self.dir().join("log")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
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
