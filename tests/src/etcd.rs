//! A real etcd on a simulated host.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

use crate::command::LIMIT;
use crate::host::{self, Host, Service};
use crate::store::etcd_pairs;

/// Where the certificates are on the host: where `conf/etcd-tls.conflist` looks for them.
const CERTIFICATES: &str = "/etc/calico/etcd";

/// The most operations of one transaction that an etcd takes.
const MAX_OPERATIONS: usize = 128;

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
    member: Option<Member>,
    durable: bool,
    service: Mutex<Service>,
}

/// What a member knows of its cluster.
#[derive(Debug, Clone)]
struct Member {
    address: IpAddr,
    /// `--initial-cluster`: all members, each with its host's name.
    cluster: String,
}

impl Etcd {
    /// Starts an etcd on port 2379 of a host's loopback and waits until it serves. It is quick, and
    /// wouldn't survive the machine's end.
    pub fn start(host: &Arc<Host>, mode: EtcdMode) -> Result<Arc<Etcd>> {
        Etcd::alone(host, mode, false)
    }

    /// The same, but what it has acknowledged is on the disk, as in a cluster that means it.
    pub fn start_durable(host: &Arc<Host>, mode: EtcdMode) -> Result<Arc<Etcd>> {
        Etcd::alone(host, mode, true)
    }

    fn alone(host: &Arc<Host>, mode: EtcdMode, durable: bool) -> Result<Arc<Etcd>> {
        if mode == EtcdMode::Tls {
            certificates(host)?;
        }
        let etcd = Etcd::launched(host, mode, None, durable)?;
        if mode == EtcdMode::Password {
            for command in ["user add root:pass", "user grant-role root root", "auth enable"] {
                // There are no users yet, so this needs no password.
                ctl(host, mode, command.split(' '), false)?;
            }
        }
        Ok(etcd)
    }

    /// Starts a cluster: a member on each of these hosts, which reach each other by these addresses.
    /// Each has port 2379 of its loopback, too.
    pub fn cluster(places: &[(Arc<Host>, IpAddr)]) -> Result<Vec<Arc<Etcd>>> {
        let url = |(host, address): &(Arc<Host>, IpAddr)| {
            format!("{}=http://{address}:2380", host.name())
        };
        let cluster = places.iter().map(url).collect::<Vec<_>>().join(",");
        // No member serves before most of them are there.
        thread::scope(|scope| {
            let start = |(host, address): &(Arc<Host>, IpAddr)| {
                let (host, member) =
                    (host.clone(), Member { address: *address, cluster: cluster.clone() });
                scope.spawn(move || Etcd::launched(&host, EtcdMode::Plain, Some(member), false))
            };
            let members: Vec<_> = places.iter().map(start).collect();
            members.into_iter().map(|member| member.join().ok().context("panic")?).collect()
        })
    }

    fn launched(
        host: &Arc<Host>,
        mode: EtcdMode,
        member: Option<Member>,
        durable: bool,
    ) -> Result<Arc<Etcd>> {
        let service = Mutex::new(launch(host, mode, member.as_ref(), durable)?);
        host.has_etcd(mode);
        Ok(Arc::new(Etcd { host: host.clone(), mode, member, durable, service }))
    }

    /// Whether it leads its cluster; one that doesn't run leads nobody.
    pub fn leads(&self) -> bool {
        let metrics = self.http("GET /metrics", "").unwrap_or_default();
        metrics.lines().any(|line| line == "etcd_server_is_leader 1")
    }

    /// The host that it runs on.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// Its address for a client on the same host.
    pub fn endpoint(&self) -> &'static str {
        endpoint(self.mode)
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
        ctl(&self.host, self.mode, ["put", "--", key, value], true).map(drop)
    }

    /// Deletes everything under a prefix.
    pub fn delete_prefix(&self, prefix: &str) -> Result<()> {
        ctl(&self.host, self.mode, ["del", "--prefix", prefix], true).map(drop)
    }

    /// Everything under a prefix, in the order of the keys.
    pub fn get_prefix(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        get_prefix(&self.host, self.mode, prefix)
    }

    /// Writes documents, and deletes those without a value, many in one transaction.
    pub fn write(&self, documents: &[(String, Option<String>)]) -> Result<()> {
        let operation = |(key, value): &(String, Option<String>)| {
            let key = BASE64_STANDARD.encode(key);
            match value {
                Some(value) => {
                    let value = BASE64_STANDARD.encode(value);
                    json!({"request_put": {"key": key, "value": value}})
                }
                None => json!({"request_delete_range": {"key": key}}),
            }
        };
        for some in documents.chunks(MAX_OPERATIONS) {
            let operations: Vec<Value> = some.iter().map(operation).collect();
            let answer = self.http("POST /v3/kv/txn", &json!({"success": operations}).to_string());
            let answer: Value = serde_json::from_str(&answer?).context("answer of etcd")?;
            ensure!(answer["succeeded"] == true, "etcd: {answer}");
        }
        Ok(())
    }

    /// How many requests of each kind have reached it since it was started, as it counts them
    /// itself: `Txn`, `Range`, `Put`, `Watch`, and so on.
    pub fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let mut requests = BTreeMap::new();
        for line in self.http("GET /metrics", "")?.lines() {
            let Some(rest) = line.strip_prefix("grpc_server_started_total{grpc_method=\"") else {
                continue;
            };
            let (method, _) = rest.split_once('"').context("metric without a method")?;
            let (_, count) = rest.rsplit_once(' ').context("metric without a count")?;
            let count = count.parse::<f64>().with_context(|| line.to_owned())?;
            // The service's name is left out: no two services have a method of the same name.
            requests.insert(method.to_owned(), count as u64);
        }
        ensure!(!requests.is_empty(), "etcd counts no requests");
        Ok(requests)
    }

    /// How many bytes its answers to clients have had since it was started.
    pub fn bytes_sent(&self) -> Result<u64> {
        self.number("etcd_network_client_grpc_sent_bytes_total")
    }

    /// How many bytes its data has, without what it keeps free.
    pub fn bytes_stored(&self) -> Result<u64> {
        self.number("etcd_mvcc_db_total_size_in_use_in_bytes")
    }

    /// One of its metrics.
    fn number(&self, name: &str) -> Result<u64> {
        let metrics = self.http("GET /metrics", "")?;
        let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok();
        let value = metrics.lines().find_map(number);
        Ok(value.with_context(|| format!("etcd has no number {name}"))? as u64)
    }

    /// One plain request of HTTP: the answer's content.
    fn http(&self, request: &str, body: &str) -> Result<String> {
        ensure!(self.mode == EtcdMode::Plain, "only of an etcd without TLS and users");
        let text = format!("{request} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = self.host.within(|| {
            let mut stream = TcpStream::connect("127.0.0.1:2379")?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(text.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        let (head, content) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        ensure!(head.contains(" 200 "), "{request}: {answer}");
        Ok(content.to_owned())
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
        *self.service.lock().expect("no holder panics") =
            launch(&self.host, self.mode, self.member.as_ref(), self.durable)?;
        Ok(())
    }

    fn service(&self) -> Service {
        self.service.lock().expect("no holder panics").clone()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.service().lock().expect("no holder panics").id();
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }
}

/// Everything under a prefix of the etcd on a host; nothing if it has ended.
pub(crate) fn everything(host: &Host, mode: EtcdMode) -> Result<Vec<(String, String)>> {
    let connected = host.within(|| match TcpStream::connect("127.0.0.1:2379") {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        stream => stream.map(|_| true),
    })?;
    if connected { get_prefix(host, mode, "/calico/") } else { Ok(Vec::new()) }
}

fn get_prefix(host: &Host, mode: EtcdMode, prefix: &str) -> Result<Vec<(String, String)>> {
    etcd_pairs(&ctl(host, mode, ["get", "--prefix", prefix, "-w", "json"], true)?)
}

/// Its address for a client on the same host.
fn endpoint(mode: EtcdMode) -> &'static str {
    match mode {
        EtcdMode::Tls => "https://127.0.0.1:2379",
        EtcdMode::Plain | EtcdMode::Password => "http://127.0.0.1:2379",
    }
}

/// Runs `etcdctl`.
fn ctl<'a>(
    host: &Host,
    mode: EtcdMode,
    args: impl IntoIterator<Item = &'a str>,
    user: bool,
) -> Result<String> {
    let mut command = host::command("etcdctl");
    command.env("ETCDCTL_API", "3").arg("--endpoints").arg(endpoint(mode));
    if mode == EtcdMode::Tls {
        command.args(["--cacert", &format!("{CERTIFICATES}/ca.pem")]);
        command.args(["--cert", &format!("{CERTIFICATES}/cert.pem")]);
        command.args(["--key", &format!("{CERTIFICATES}/key.pem")]);
    }
    if mode == EtcdMode::Password && user {
        command.args(["--user", "root:pass"]);
    }
    command.args(args);
    let output = host.output(command, b"", LIMIT)?;
    ensure!(output.status.success(), "etcdctl: {}", output.text());
    String::from_utf8(output.stdout).context("answer of etcdctl")
}

fn launch(
    host: &Arc<Host>,
    mode: EtcdMode,
    member: Option<&Member>,
    durable: bool,
) -> Result<Service> {
    let scheme = if mode == EtcdMode::Tls { "https" } else { "http" };
    // Hosts that are wired to this one reach it too; there is no other way in.
    let listen = format!("{scheme}://0.0.0.0:2379");
    let advertise = match member {
        Some(member) => format!("{scheme}://{}:2379", member.address),
        None => endpoint(mode).to_owned(),
    };
    let peer = match member {
        Some(member) => format!("http://{}:2380", member.address),
        None => "http://127.0.0.1:2380".to_owned(),
    };
    let mut command = host::command("etcd");
    command.args(["--data-dir", "/var/lib/etcd", "--logger", "zap", "--log-outputs", "stdout"]);
    command.args(["--listen-client-urls", &listen, "--advertise-client-urls", &advertise]);
    command.args(["--listen-peer-urls", &peer]);
    if !durable {
        command.arg("--unsafe-no-fsync");
    }
    if let Some(member) = member {
        command.args(["--name", host.name(), "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &member.cluster]);
    }
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
