//! A simulated host: a node made of namespaces.
//!
//! Its network, mounts, processes and host name are its own. `/run`, `/etc`, `/opt` and `/var/lib`
//! are folders of the test's directory, mounted over the machine's inside its mount namespace only;
//! `/etc` shows the machine's files, but has its own `cni` and `calico`. `lo` is up, a wire that ends
//! on the host itself holds its addresses, and no route leads out.
//!
//! Process 1 waits for the end of a pipe that the test holds. When the test's process goes, in
//! whatever way, so does process 1, and the kernel ends everything else that runs on the host.

mod mounts;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::CloneFlags;
use nix::unistd::Uid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use serde_json::Value;

use crate::command::{LIMIT, Output, finish};
use crate::etcd::EtcdMode;
use crate::namespaces::{Namespaces, on_own_thread};
use crate::pod::{self, Pod};
use mounts::{OWN, fill, separate};

/// The environment of the programs that a host runs.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
];

/// A program that goes on running on a host.
pub type Service = Arc<Mutex<Child>>;

/// A simulated host. It ends, with all its processes, when it is dropped.
#[derive(Debug)]
pub struct Host {
    name: String,
    dir: PathBuf,
    addresses: [IpAddr; 2],
    namespaces: Namespaces,
    init: Mutex<Option<(Child, ChildStdin)>>,
    services: Mutex<Vec<Service>>,
    etcd: Mutex<Option<EtcdMode>>,
}

impl Host {
    /// Makes a host whose directory is `dir/name`. `number` is the last part of its addresses.
    pub(crate) fn new(dir: &Path, name: &str, number: u8) -> Result<Arc<Host>> {
        ensure!(
            Uid::effective().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let dir = dir.join(name);
        fill(&dir)?;
        let mut init = on_own_thread(|| separate(&dir, name))?;
        let stdin = init.stdin.take().context("process 1 has no standard input")?;
        let ready = BufReader::new(init.stdout.take().context("process 1 has no standard output")?)
            .lines()
            .next();
        if !matches!(ready, Some(Ok(ref line)) if line == "ready") {
            bail!("process 1 of host {name} did not start: {}", init.wait()?);
        }
        let host = Arc::new(Host {
            name: name.to_owned(),
            dir,
            addresses: [
                IpAddr::from([192, 0, 2, number]),
                IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)]),
            ],
            namespaces: Namespaces::of(init.id())?,
            init: Mutex::new(Some((init, stdin))),
            services: Mutex::default(),
            etcd: Mutex::default(),
        });
        host.bring_up()?;
        Ok(host)
    }

    fn bring_up(&self) -> Result<()> {
        let [v4, v6] = self.addresses;
        // Not of one interface before Linux 6.17: forwarding IPv6 is the operator's decision.
        self.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        for command in [
            "ip link set lo up".to_owned(),
            // Not every kernel has dummy interfaces. The fixed addresses are the only ones.
            "ip link add uplink0 type veth peer name uplink1".to_owned(),
            "ip link set uplink0 addrgenmode none up".to_owned(),
            "ip link set uplink1 addrgenmode none up".to_owned(),
            format!("ip address add {v4}/24 dev uplink0"),
            format!("ip address add {v6}/64 dev uplink0 nodad"),
        ] {
            self.run(command.split(' '))?;
        }
        // The kernel makes the routes of an IPv6 address a little later; a picture of the host that
        // lacks them would not be the one that a test returns to.
        let started = Instant::now();
        loop {
            let routes = self.ip("-6 route show table local dev uplink0")?;
            let count = |kind: &str| {
                let routes = routes.as_array().into_iter().flatten();
                routes.filter(|route| route["type"] == kind).count()
            };
            if count("local") == 1 && count("anycast") == 1 {
                return Ok(());
            }
            ensure!(started.elapsed() < LIMIT, "{v6} never became usable: {routes}");
        }
    }

    /// Its host name, which is the node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.addresses[1]
    }

    /// Where a file under `/run`, `/etc`, `/opt` or `/var/lib` of the host is for the test.
    ///
    /// # Panics
    /// When the path is in none of those folders.
    pub fn path(&self, inside: &str) -> PathBuf {
        for (folder, own) in OWN {
            if let Ok(rest) = Path::new(inside).strip_prefix(folder) {
                return self.dir.join(own).join(rest);
            }
        }
        panic!("{inside} is in no folder of the host's own");
    }

    /// The host's directory, which is kept when the test fails.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The parent of the control groups of this test's containers.
    pub(crate) fn control_group(&self) -> String {
        let scene = self.dir.parent().and_then(Path::file_name).unwrap_or_default();
        format!("/{}", scene.display())
    }

    /// Writes a file of the host, with the folders above it.
    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(inside);
        let folder = path.parent().context("file without a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    }

    /// Runs a program on the host; its standard output, if it succeeds.
    pub fn run<I, S>(&self, argv: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        run_checked(self, &self.namespaces.net, argv)
    }

    /// Runs a command to its end with this input and limit, whatever its status.
    pub fn output(&self, command: Command, stdin: &[u8], limit: Duration) -> Result<Output> {
        output(self, &self.namespaces.net, command, stdin, limit)
    }

    /// Starts a program that goes on running, and waits until it prints a line that contains
    /// `ready`. What it prints is in `<name>.log` of the host's directory. It ends with the host at
    /// the latest.
    pub fn serve(&self, name: &str, mut command: Command, ready: &str) -> Result<Service> {
        let path = self.dir.join(format!("{name}.log"));
        let mut log = File::options().create(true).append(true).open(&path)?;
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        // The command holds ends of the pipe: it goes before the pipe is read to its end.
        let service = Arc::new(Mutex::new(self.start(&self.namespaces.net, command)?));
        self.services.lock().expect("no holder panics").push(service.clone());
        let (sender, is_ready) = mpsc::channel();
        let ready = ready.to_owned();
        thread::spawn(move || -> io::Result<()> {
            for line in BufReader::new(reader).lines() {
                let line = line?;
                writeln!(log, "{line}")?;
                if line.contains(&ready) {
                    let _ = sender.send(());
                }
            }
            Ok(())
        });
        if is_ready.recv_timeout(LIMIT).is_err() {
            bail!("{name} on {} is not ready: see {}", self.name, path.display());
        }
        Ok(service)
    }

    /// Runs an `ip -j` command on the host.
    pub fn ip(&self, args: &str) -> Result<Value> {
        let text = self.run(["ip", "-j"].into_iter().chain(args.split(' ')))?;
        if text.trim().is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        serde_json::from_str(&text).with_context(|| format!("answer of ip -j {args}"))
    }

    /// Runs `body` on a thread inside the host, where it may open sockets and files.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
        self.namespaces.enter(&self.namespaces.net, body)
    }

    /// The value of a sysctl under `/proc/sys/net`: `ipv4/conf/lo/forwarding`.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = format!("/proc/sys/net/{name}");
        let text = self.within(|| fs::read_to_string(&path));
        Ok(text.with_context(|| format!("reading {path}"))?.trim().to_owned())
    }

    /// Writes a sysctl under `/proc/sys/net`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{name}");
        self.within(|| fs::write(&path, value)).with_context(|| format!("writing {path}"))
    }

    /// Pings an address from the host.
    pub fn ping(&self, to: IpAddr) -> Result<()> {
        self.run(pod::ping(to)).map(drop)
    }

    /// Makes a container's network namespace on this host.
    pub fn pod(self: &Arc<Self>, name: &str) -> Result<Pod> {
        Pod::new(self, name)
    }

    /// Joins two hosts by a wire: an interface `name` on each, without addresses, up.
    pub fn wire(&self, other: &Host, name: &str) -> Result<()> {
        let far = {
            let init = other.init.lock().expect("no holder panics");
            init.as_ref().context("the other host has ended")?.0.id()
        };
        // From the machine's own mounts, where the other host's process has a number.
        let status = on_own_thread(|| {
            nix::sched::setns(&self.namespaces.net, CloneFlags::CLONE_NEWNET)?;
            Command::new("ip")
                .args(["link", "add", name, "up", "type", "veth", "peer", "name", name])
                .args(["netns", &format!("/proc/{far}/ns/net")])
                .status()
        })?;
        ensure!(status.success(), "joining {} and {} by {name}", self.name, other.name);
        other.run(["ip", "link", "set", name, "up"]).map(drop)
    }

    /// The processes of the host, without its process 1: numbers and command lines.
    pub fn processes(&self) -> Result<Vec<(u32, String)>> {
        let list = self.within(|| {
            let mut list = Vec::new();
            for entry in fs::read_dir("/proc")? {
                let entry = entry?;
                let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                else {
                    continue;
                };
                // One that ends meanwhile has no command line, as a zombie.
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                if pid != 1 && !line.is_empty() {
                    list.push((pid, line.trim_end().to_owned()));
                }
            }
            Ok(list)
        })?;
        Ok(list)
    }

    /// Whether a process of the host is neither a service of the test's own nor ends within
    /// [`LIMIT`]. The kernel may be at work for one that a plugin has left to it, for some
    /// milliseconds.
    pub fn stays(&self, pid: u32) -> Result<bool> {
        let init = self.init.lock().expect("no holder panics").as_ref().map(|(init, _)| init.id());
        let init = init.context("the host has ended")?;
        let Some(number) = machine_number(init, pid)? else { return Ok(false) };
        let services = self.services.lock().expect("no holder panics");
        let is_it = |service: &Service| {
            service.lock().expect("no holder panics").id()
                == number.as_raw_nonzero().get().cast_unsigned()
        };
        if services.iter().any(is_it) {
            return Ok(false);
        }
        let process = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            opened => opened?,
        };
        let limit = rustix::time::Timespec::try_from(LIMIT)?;
        let mut end = [PollFd::new(&process, PollFlags::IN)];
        Ok(rustix::event::poll(&mut end, Some(&limit))? == 0)
    }

    /// Remembers that an etcd runs here: its content is looked at when the test ends.
    pub(crate) fn has_etcd(&self, mode: EtcdMode) {
        *self.etcd.lock().expect("no holder panics") = Some(mode);
    }

    /// The kind of the etcd that runs, or ran, here.
    pub(crate) fn etcd(&self) -> Option<EtcdMode> {
        *self.etcd.lock().expect("no holder panics")
    }

    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Ends process 1 and with it every process of the host; when this returns they are gone.
    pub(crate) fn stop(&self) -> Result<()> {
        let Some((mut init, stdin)) = self.init.lock().expect("no holder panics").take() else {
            return Ok(());
        };
        drop(stdin);
        // Process 1 ends when all others are gone, and ours are gone when we have waited for them.
        for service in self.services.lock().expect("no holder panics").drain(..) {
            let mut service = service.lock().expect("no holder panics");
            let _ = service.kill();
            service.wait()?;
        }
        init.wait().with_context(|| format!("ending host {}", self.name))?;
        Ok(())
    }

    fn start(&self, net: &File, mut command: Command) -> Result<Child> {
        let program = command.get_program().to_string_lossy().into_owned();
        self.namespaces
            .enter(net, || command.spawn())
            .with_context(|| format!("starting {program} on {}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The number that the machine gives to a process of the host whose process 1 has this number; none
/// if it is gone.
fn machine_number(init: u32, pid: u32) -> io::Result<Option<Pid>> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    let of_host = namespace(&init.to_string());
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(name) = name.to_str().filter(|name| name.parse::<i32>().is_ok()) else { continue };
        // A process that ends meanwhile has nothing to read.
        let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner = numbers.and_then(|numbers| numbers.split_whitespace().next_back());
        if inner == Some(&pid.to_string()) && namespace(name) == of_host {
            return Ok(name.parse().ok().and_then(Pid::from_raw));
        }
    }
    Ok(None)
}

/// A command with the environment of a host, and nothing else of ours.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(ENVIRONMENT);
    command
}

pub(crate) fn output(
    host: &Host,
    net: &File,
    command: Command,
    stdin: &[u8],
    limit: Duration,
) -> Result<Output> {
    let line = format!("{command:?}");
    finish(command, |command| host.start(net, command), stdin, limit).with_context(|| line)
}

pub(crate) fn run_checked<I, S>(host: &Host, net: &File, argv: I) -> Result<String>
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let argv: Vec<S> = argv.into_iter().collect();
    let words: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
    let (program, args) = words.split_first().context("empty command")?;
    let mut command = command(program);
    command.args(args);
    let output = output(host, net, command, b"", LIMIT)?;
    ensure!(output.status.success(), "{}: {}: {}", words.join(" "), output.status, output.text());
    String::from_utf8(output.stdout).context("output is no text")
}
