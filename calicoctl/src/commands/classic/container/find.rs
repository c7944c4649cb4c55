//! From what an operator calls a container to its id and its network namespace.
//!
//! A path and a process speak for themselves. Anything else is the name or the id of a container,
//! and `docker inspect` is asked, or else `podman inspect`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use sha1::{Digest, Sha1};

/// The label of an endpoint that tells the container's name.
pub const LABEL: &str = "calicoctl/container";

/// The programs that are asked, in this order.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// How long an engine may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;

/// A container that can be wired.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    /// What its endpoint calls it: letters, digits and dashes.
    pub id: String,
    /// Its network namespace.
    pub netns: PathBuf,
    /// Its name, where an engine knows one.
    name: Option<String>,
}

/// What became of a search.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It runs.
    Running(Container),
    /// It runs in the host's network.
    HostNetwork(String),
    /// It is known, and doesn't run.
    Stopped(String),
    /// Nobody knows it.
    Unknown(Reason),
}

/// Why a container isn't known.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Absent,
    /// Whoever could know it couldn't be asked.
    Unasked(String),
}

impl Reason {
    /// As an error.
    pub fn not_found(&self, name: &str) -> anyhow::Error {
        match self {
            Reason::Absent => anyhow!("Container {name} was not found."),
            Reason::Unasked(why) => anyhow!("Container {name} was not found. {why}"),
        }
    }
}

impl Container {
    /// The label that keeps the container's name.
    pub fn label(&self) -> Option<(String, String)> {
        let name = self.name.as_ref().filter(|name| name.len() <= LONGEST_LABEL)?;
        Some((LABEL.to_owned(), name.clone()))
    }
}

/// A container that runs in a network of its own.
pub fn running(name: &str) -> anyhow::Result<Container> {
    match find(name)? {
        Lookup::Running(container) => Ok(container),
        Lookup::HostNetwork(_) => {
            bail!("Can't add {name} to Calico because it is running NetworkMode = host.")
        }
        Lookup::Stopped(_) => bail!("{name} is not currently running."),
        Lookup::Unknown(reason) => Err(reason.not_found(name)),
    }
}

/// Looks for a container.
pub fn find(name: &str) -> anyhow::Result<Lookup> {
    let process = format!("/proc/{name}/ns/net");
    let is_process = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    if name.starts_with('/') {
        return Ok(by_path(name));
    }
    if is_process && Path::new(&process).exists() {
        return Ok(by_path(&process));
    }
    by_engine(name)
}

fn by_path(path: &str) -> Lookup {
    let id = path_id(path);
    match Path::new(path).exists() {
        true => Lookup::Running(Container { id, netns: path.into(), name: None }),
        // What is left of it in the store still has its id.
        false => Lookup::Unknown(Reason::Absent),
    }
}

/// The id that stands for a path: the path with dashes for slashes. What an endpoint's name can't
/// hold is left out, and a digest keeps such paths apart.
pub fn path_id(path: &str) -> String {
    let plain = path.trim_matches('/').replace('/', "-");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let trimmed = plain.trim_matches('-');
    if trimmed == plain && !plain.is_empty() && plain.chars().all(fits) {
        return plain;
    }
    let kept: String = plain.to_lowercase().chars().filter(|c| fits(*c)).collect();
    let digest = Sha1::digest(path.as_bytes());
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    match kept.trim_matches('-') {
        "" => digest,
        kept => format!("{kept}-{digest}"),
    }
}

/// What `inspect` tells of a container, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "HostConfig", default)]
    host_config: HostConfig,
}

#[derive(Debug, Deserialize)]
struct State {
    #[serde(rename = "Running", default)]
    running: bool,
    #[serde(rename = "Pid", default)]
    pid: u32,
}

#[derive(Debug, Default, Deserialize)]
struct HostConfig {
    #[serde(rename = "NetworkMode", default)]
    network_mode: String,
}

fn by_engine(name: &str) -> anyhow::Result<Lookup> {
    let mut troubles = Vec::new();
    let mut asked = false;
    for engine in ENGINES {
        let mut command = Command::new(engine);
        command.args(["inspect", "--type", "container", "--", name]);
        match run(command)? {
            None => {}
            Some(Ok(answer)) => {
                return read(&answer).with_context(|| format!("answer of {engine} inspect"));
            }
            Some(Err(complaint)) => {
                asked = true;
                if !is_absence(&complaint) {
                    troubles.push(format!("{engine}: {complaint}"));
                }
            }
        }
    }
    Ok(Lookup::Unknown(match (asked, troubles.is_empty()) {
        (true, true) => Reason::Absent,
        (true, false) => Reason::Unasked(troubles.join("; ")),
        (false, _) => Reason::Unasked(
            "Neither docker nor podman is in PATH: give the path of its network namespace, or \
             the number of one of its processes."
                .to_owned(),
        ),
    }))
}

/// Whether an engine says that there is no such container.
fn is_absence(complaint: &str) -> bool {
    let complaint = complaint.to_lowercase();
    ["no such container", "no such object", "no container with"]
        .iter()
        .any(|words| complaint.contains(words))
}

/// Reads what `inspect` printed.
fn read(answer: &[u8]) -> anyhow::Result<Lookup> {
    let containers: Vec<Inspected> = serde_json::from_slice(answer)?;
    let container = containers.into_iter().next().context("it is empty")?;
    let Inspected { id, name, state, host_config } = container;
    Ok(match (state.running && state.pid != 0, host_config.network_mode.as_str()) {
        (true, "host") => Lookup::HostNetwork(id),
        (true, _) => Lookup::Running(Container {
            id,
            netns: format!("/proc/{}/ns/net", state.pid).into(),
            name: Some(name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty()),
        }),
        (false, _) => Lookup::Stopped(id),
    })
}

/// Runs a program to its end: what it printed, or its complaint. Nothing if there is no such
/// program.
fn run(mut command: Command) -> anyhow::Result<Option<Result<Vec<u8>, String>>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Ok(Some(Err(error.to_string()))),
    };
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        let _ = err.as_mut().map(|err| err.read_to_string(&mut text));
        text
    });
    thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = out.as_mut().map(|out| out.read_to_end(&mut answer));
        let _ = sender.send(answer);
    });
    let Ok(answer) = receiver.recv_timeout(LIMIT) else {
        let _ = child.kill();
        let _ = child.wait();
        return Ok(Some(Err(format!("no answer within {} s", LIMIT.as_secs()))));
    };
    let status = child.wait().with_context(|| format!("waiting for {program}"))?;
    if status.success() {
        return Ok(Some(Ok(answer)));
    }
    let complaint = complaints.join().unwrap_or_default();
    Ok(Some(Err(complaint.split_whitespace().collect::<Vec<_>>().join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_makes_an_id_that_a_name_can_hold() {
        assert_eq!(path_id("/run/netns/web"), "run-netns-web");
        assert_eq!(path_id("/proc/123/ns/net"), "proc-123-ns-net");
        let odd = ["/run/netns/Web", "/run/netns/web_1", "/run/netns/-", "/", "/run/a.b"];
        for path in odd {
            let id = path_id(path);
            assert!(libcalico::names::is_valid_container_id(&id), "{path}: {id}");
            assert!(libcalico::names::is_valid_name(&id), "{path}: {id}");
        }
        assert_ne!(path_id("/run/netns/Web"), path_id("/run/netns/web"));
        assert_ne!(path_id("/run/netns/WEB"), path_id("/run/netns/Web"));
    }

    #[test]
    fn an_engines_answer_tells_what_can_be_done() {
        let inspect = |running: bool, pid: u32, mode: &str| {
            let text = format!(
                r#"[{{"Id":"abc","Name":"/web","State":{{"Running":{running},"Pid":{pid}}},
                     "HostConfig":{{"NetworkMode":"{mode}"}},"Mounts":[]}}]"#
            );
            read(text.as_bytes()).unwrap()
        };
        let Lookup::Running(container) = inspect(true, 7, "none") else { panic!("not running") };
        assert_eq!(container.netns, Path::new("/proc/7/ns/net"));
        assert_eq!(container.label(), Some((LABEL.to_owned(), "web".to_owned())));
        assert_eq!(inspect(true, 7, "host"), Lookup::HostNetwork("abc".into()));
        assert_eq!(inspect(false, 0, "none"), Lookup::Stopped("abc".into()));
        assert!(read(b"[]").is_err() && read(b"{}").is_err());
    }

    #[test]
    fn engines_say_in_several_ways_that_there_is_none() {
        assert!(is_absence("Error: No such container: web"));
        assert!(is_absence("Error: inspecting object: no such container web"));
        assert!(!is_absence("Cannot connect to the Docker daemon at unix:///var/run/docker.sock"));
    }
}
