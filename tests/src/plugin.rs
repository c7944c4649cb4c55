//! Calling a plugin as a runtime does: environment and standard input in, one document out.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::kill_after;
use crate::host::{self, Host};
use crate::pod::Pod;

/// The folder of the plugins on every host.
const BIN: &str = "/opt/cni/bin";

/// The longest that a call may take, unless a test says otherwise: more than any verb's own limit, so
/// that on a busy machine the plugin is the first to say that there was no time.
const LIMIT: Duration = Duration::from_secs(90);

/// How often a call is made that can't be done now.
const ATTEMPTS: usize = 5;

/// One call of a plugin. Its environment holds the `CNI_*` variables given here and nothing else.
#[derive(Debug, Clone)]
pub struct Call {
    host: Arc<Host>,
    program: String,
    args: Vec<String>,
    env: Vec<(String, OsString)>,
    stdin: Vec<u8>,
    limit: Duration,
}

/// What a plugin answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit status; `None` when a signal ended it.
    pub exit: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl Call {
    /// A call of `/opt/cni/bin/<plugin>` with a verb, for the container `c1` and the interface
    /// `eth0`, which the other methods change.
    pub fn new(host: &Arc<Host>, plugin: &str, verb: &str) -> Call {
        Call {
            host: host.clone(),
            program: format!("{BIN}/{plugin}"),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            limit: LIMIT,
        }
        .env("CNI_COMMAND", verb)
        .env("CNI_PATH", BIN)
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_IFNAME", "eth0")
    }

    /// Sets a variable of the environment.
    pub fn env(self, name: &str, value: &str) -> Call {
        self.env_bytes(name, value.as_bytes())
    }

    /// Sets a variable of the environment to any bytes.
    pub fn env_bytes(mut self, name: &str, value: &[u8]) -> Call {
        self = self.without(name);
        self.env.push((name.to_owned(), OsStr::from_bytes(value).to_owned()));
        self
    }

    /// Leaves a variable out.
    pub fn without(mut self, name: &str) -> Call {
        self.env.retain(|(other, _)| other != name);
        self
    }

    /// The same call with another verb.
    pub fn verb(&self, verb: &str) -> Call {
        self.clone().env("CNI_COMMAND", verb)
    }

    /// The container's id.
    pub fn container(self, id: &str) -> Call {
        self.env("CNI_CONTAINERID", id)
    }

    /// The container's namespace.
    pub fn pod(self, pod: &Pod) -> Call {
        let path = pod.path();
        self.env("CNI_NETNS", &path)
    }

    /// The name of the interface in the container.
    pub fn ifname(self, name: &str) -> Call {
        self.env("CNI_IFNAME", name)
    }

    /// `CNI_ARGS`.
    pub fn args(self, args: &str) -> Call {
        self.env("CNI_ARGS", args)
    }

    /// One more argument on the command line, where a runtime gives none.
    pub fn argument(mut self, text: &str) -> Call {
        self.args.push(text.to_owned());
        self
    }

    /// The network configuration.
    pub fn config(self, config: &Value) -> Call {
        self.stdin(config.to_string())
    }

    /// Any bytes on standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.stdin = bytes.into();
        self
    }

    /// The longest that the call may take: 90 s if nothing is said.
    pub fn limit(mut self, limit: Duration) -> Call {
        self.limit = limit;
        self
    }

    /// The host that it is called on.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Runs the plugin to its end.
    pub fn run(&self) -> Result<Answer> {
        let output = self.host.output(self.command(), &self.stdin, self.limit)?;
        Ok(Answer {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).context("standard output is no text")?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed: output.elapsed,
        })
    }

    /// Runs the plugin, which must succeed and answer one JSON document.
    pub fn result(&self) -> Result<Value> {
        let answer = self.run()?;
        ensure!(answer.exit == Some(0), "{} failed: {answer:#?}", self.name());
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("{} answered {answer:#?}", self.name()))
    }

    /// Runs the plugin, which must succeed and answer nothing.
    pub fn done(&self) -> Result<()> {
        let answer = self.run()?;
        ensure!(
            answer.exit == Some(0) && answer.stdout.is_empty(),
            "{} failed or said something: {answer:#?}",
            self.name()
        );
        Ok(())
    }

    /// Runs the plugin as a runtime does, which tries again what can't be done now: a store that
    /// others keep busy, or a machine on which nothing is done in time. Any other failure is one.
    pub fn insist(&self) -> Result<Answer> {
        for _ in 0..ATTEMPTS {
            let answer = self.run()?;
            if answer.exit == Some(0) {
                return Ok(answer);
            }
            let (code, message) = answer.error().with_context(|| self.name())?;
            ensure!(code == 11, "{} failed with {code}: {message}", self.name());
        }
        bail!("{} can't be done now, {ATTEMPTS} times", self.name())
    }

    /// Runs the plugin, which must fail and answer one error object: its code and message.
    pub fn error(&self) -> Result<(u64, String)> {
        let answer = self.run()?;
        answer.error().with_context(|| self.name())
    }

    /// Starts the plugin and kills it after a while, with no chance to tidy up. Tells whether it
    /// was still running; either way it has ended.
    pub fn kill_after(&self, pause: Duration) -> Result<bool> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = self.host.within(|| command.spawn())?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(&self.stdin)?;
        drop(stdin);
        Ok(kill_after(&mut child, pause)?.1)
    }

    /// Starts the plugin and lets it run.
    pub fn start(&self) -> Result<Running> {
        let mut command = self.command();
        let out = tempfile::tempfile()?;
        command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(Stdio::null());
        let mut child = self.host.within(|| command.spawn())?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(&self.stdin)?;
        Ok(Running { child, out, limit: self.limit, started: Instant::now() })
    }

    fn command(&self) -> std::process::Command {
        let mut command = host::command(&self.program);
        command.args(&self.args).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn name(&self) -> String {
        let env: Vec<_> =
            self.env.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
        format!("{} {}", env.join(" "), self.program)
    }
}

/// A plugin that is running.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: File,
    limit: Duration,
    started: Instant,
}

impl Running {
    /// Waits until one of its threads has this name.
    pub fn until_thread(&self, name: &str) -> Result<()> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let end = Instant::now() + self.limit;
        while Instant::now() < end {
            for task in fs::read_dir(&tasks)? {
                let comm = fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
                if comm.trim() == name {
                    return Ok(());
                }
            }
            thread::yield_now();
        }
        bail!("no thread {name} in {tasks}")
    }

    /// Waits until it has stopped itself, or has ended: tells which.
    pub(crate) fn has_stopped(&self) -> Result<bool> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        Ok(matches!(waitid(Id::Pid(pid), flags)?, WaitStatus::Stopped(..)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Waits for its end; a signal that ended it makes an exit status of none.
    pub fn answer(self) -> Result<Answer> {
        let limit = self.limit;
        let (answer, over) = self.end(limit)?;
        ensure!(!over, "the plugin did not end within {limit:?}");
        Ok(answer)
    }

    /// Kills it after a while, unless it has ended.
    pub fn killed_after(self, pause: Duration) -> Result<Answer> {
        Ok(self.end(pause)?.0)
    }

    /// What it answered, and whether it was killed at the limit.
    fn end(mut self, limit: Duration) -> Result<(Answer, bool)> {
        let (status, over) = kill_after(&mut self.child, limit)?;
        let mut stdout = String::new();
        self.out.seek(SeekFrom::Start(0))?;
        self.out.read_to_string(&mut stdout)?;
        let elapsed = self.started.elapsed();
        let answer = Answer { exit: status.code(), stdout, stderr: String::new(), elapsed };
        Ok((answer, over))
    }
}

impl Drop for Running {
    /// A host ends when its last process does, and has been waited for.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    /// The code and message of the one error object that a failed plugin answers.
    pub fn error(&self) -> Result<(u64, String)> {
        ensure!(
            matches!(self.exit, Some(code) if code != 0),
            "exit status is no failure: {self:#?}"
        );
        let error: Value = serde_json::from_str(&self.stdout)
            .with_context(|| format!("standard output is not one JSON document: {self:#?}"))?;
        let code = error["code"].as_u64().with_context(|| format!("no code in {error}"))?;
        let msg = error["msg"].as_str().with_context(|| format!("no msg in {error}"))?;
        ensure!(code > 0 && !msg.is_empty(), "empty error: {error}");
        let details = error["details"].as_str().unwrap_or_default();
        Ok((code, if details.is_empty() { msg.to_owned() } else { format!("{msg}: {details}") }))
    }
}
