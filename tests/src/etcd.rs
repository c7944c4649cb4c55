//! A real etcd on a simulated host.

use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::command::LIMIT;
use crate::host::{self, Host, Service};
use crate::store::etcd_pairs;

/// Where the certificates are on the host: where `conf/etcd-tls.conflist` looks for them.
const CERTIFICATES: &str = "/etc/calico/etcd";

/// How clients reach an etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdMode {
    /// Plain text, no users.
    Plain,
    /// TLS, and every client shows a certificate.
    Tls,
    /// Plain text, and every client is the user `root` with the password `pass`.
    Password,
}

/// A running etcd. It ends with its host.
#[derive(Debug)]
pub struct Etcd {
    host: Arc<Host>,
    mode: EtcdMode,
    service: Mutex<Service>,
}

impl Etcd {
    /// Starts an etcd on port 2379 of a host's loopback and waits until it serves.
    pub fn start(host: &Arc<Host>, mode: EtcdMode) -> Result<Arc<Etcd>> {
        if mode == EtcdMode::Tls {
            certificates(host)?;
        }
        let service = Mutex::new(launch(host, mode)?);
        let etcd = Arc::new(Etcd { host: host.clone(), mode, service });
        if mode == EtcdMode::Password {
            for command in ["user add root:pass", "user grant-role root root", "auth enable"] {
                // There are no users yet, so this needs no password.
                etcd.ctl(command.split(' '), false)?;
            }
        }
        Ok(etcd)
    }

    /// The host that it runs on.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Its address for a client on the same host.
    pub fn endpoint(&self) -> &'static str {
        match self.mode {
            EtcdMode::Tls => "https://127.0.0.1:2379",
            EtcdMode::Plain | EtcdMode::Password => "http://127.0.0.1:2379",
        }
    }

    /// The members of a network configuration that name this etcd. User and password, where it has
    /// them, go into the plugin's environment: `ETCD_USERNAME` and `ETCD_PASSWORD`.
    pub fn config(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("datastore_type".to_owned(), json!("etcdv3"));
        members.insert("etcd_endpoints".to_owned(), json!(self.endpoint()));
        if self.mode == EtcdMode::Tls {
            for (member, file) in [
                ("etcd_ca_cert_file", "ca.pem"),
                ("etcd_cert_file", "cert.pem"),
                ("etcd_key_file", "key.pem"),
            ] {
                members.insert(member.to_owned(), json!(format!("{CERTIFICATES}/{file}")));
            }
        }
        members
    }

    /// Writes a value.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        // A value may begin with a dash.
        self.ctl(["put", "--", key, value], true).map(drop)
    }

    /// Deletes everything under a prefix.
    pub fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.ctl(["del", "--prefix", prefix], true).map(drop)
    }

    /// Everything under a prefix, in the order of the keys.
    pub fn get_prefix(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        etcd_pairs(&self.ctl(["get", "--prefix", prefix, "-w", "json"], true)?)
    }

    /// Stops it for a while: connections are made, answers are not.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`Etcd::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Ends it at once; its data stays.
    pub fn kill(&self) -> Result<()> {
        let service = self.service();
        let mut service = service.lock().expect("no holder panics");
        service.kill()?;
        service.wait()?;
        Ok(())
    }

    /// Starts it again on its data, after [`Etcd::kill`].
    pub fn restart(&self) -> Result<()> {
        *self.service.lock().expect("no holder panics") = launch(&self.host, self.mode)?;
        Ok(())
    }

    fn service(&self) -> Service {
        self.service.lock().expect("no holder panics").clone()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.service().lock().expect("no holder panics").id();
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    /// Runs `etcdctl`.
    fn ctl<'a>(&self, args: impl IntoIterator<Item = &'a str>, user: bool) -> Result<String> {
        let mut command = host::command("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoint());
        if self.mode == EtcdMode::Tls {
            command.args(["--cacert", &format!("{CERTIFICATES}/ca.pem")]);
            command.args(["--cert", &format!("{CERTIFICATES}/cert.pem")]);
            command.args(["--key", &format!("{CERTIFICATES}/key.pem")]);
        }
        if self.mode == EtcdMode::Password && user {
            command.args(["--user", "root:pass"]);
        }
        command.args(args);
        let output = self.host.output(command, b"", LIMIT)?;
        ensure!(output.status.success(), "etcdctl: {}", output.text());
        String::from_utf8(output.stdout).context("answer of etcdctl")
    }
}

fn launch(host: &Arc<Host>, mode: EtcdMode) -> Result<Service> {
    let scheme = if mode == EtcdMode::Tls { "https" } else { "http" };
    let urls = format!("{scheme}://127.0.0.1:2379");
    let mut command = host::command("etcd");
    command.args(["--data-dir", "/var/lib/etcd", "--logger", "zap", "--log-outputs", "stdout"]);
    command.args(["--listen-client-urls", &urls, "--advertise-client-urls", &urls]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync"]);
    if mode == EtcdMode::Tls {
        command.args(["--client-cert-auth", "--trusted-ca-file"]);
        command.arg(format!("{CERTIFICATES}/ca.pem"));
        command.args(["--cert-file", &format!("{CERTIFICATES}/server.pem")]);
        command.args(["--key-file", &format!("{CERTIFICATES}/server-key.pem")]);
    }
    host.serve("etcd", command, "serving client traffic")
}

/// Makes an authority, a server's certificate for the loopback and a client's.
fn certificates(host: &Arc<Host>) -> Result<()> {
    host.write(
        &format!("{CERTIFICATES}/openssl.cnf"),
        "[req]\ndistinguished_name=name\n[name]\n\
         [ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n\
         [server]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n\
         subjectAltName=IP:127.0.0.1,DNS:localhost\n\
         [client]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n",
    )?;
    for (name, certificate, key) in [
        ("ca", "ca.pem", "ca-key.pem"),
        ("server", "server.pem", "server-key.pem"),
        ("client", "cert.pem", "key.pem"),
    ] {
        let file = |name: &str| format!("{CERTIFICATES}/{name}");
        let mut command: Command = host::command("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-config", &file("openssl.cnf")]);
        command.args(["-extensions", name, "-subj", &format!("/CN={name}")]);
        command.args(["-keyout", &file(key), "-out", &file(certificate)]);
        if name != "ca" {
            command.args(["-CA", &format!("{CERTIFICATES}/ca.pem")]);
            command.args(["-CAkey", &format!("{CERTIFICATES}/ca-key.pem")]);
        }
        let output = host.output(command, b"", LIMIT)?;
        ensure!(output.status.success(), "openssl, certificate {name}: {}", output.text());
    }
    Ok(())
}
