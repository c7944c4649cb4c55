//! A child process with a deadline: fed and read at once, so that neither side waits for the
//! other's full pipe.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    sys::wait::{Id, WaitPidFlag, waitid},
    unistd::Pid,
};

use crate::error;

/// How much standard output is kept; a result has some kilobytes.
const STDOUT_MAX: usize = 16 << 20;

/// How much of the end of standard error is kept for an error's details.
const STDERR_KEPT: usize = 1024;

/// How long the output is still read after the child's end: a grandchild may hold the pipes open
/// for ever.
const GRACE: Duration = Duration::from_secs(1);

/// The pauses before a program is started again that somebody is just writing ("text file busy").
const BUSY_PAUSES_MS: [u64; 7] = [10, 20, 40, 80, 160, 320, 640];

/// What a child left.
pub(super) struct Output {
    /// `None` if our parent had us ignore SIGCHLD: then the kernel forgets the status.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Vec<u8>,
    stderr: VecDeque<u8>,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("can't start: {0}")]
    Start(io::Error),
    #[error("no answer after {} ms, killed", .after.as_millis())]
    Deadline { after: Duration },
    #[error("stopped before it was started")]
    Stopped,
}

/// Ends a call from another thread, for good: what has not been started is not started any more.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Running>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Running {
    stopped: bool,
    /// The child, while nobody has reaped it, so that the number is still its own.
    child: Option<Pid>,
}

impl Stop {
    /// Waits for a running program, and kills it when `grace` is over. The wait is worth it: one
    /// that is killed between two writes leaves what not even its own DEL finds (host-local makes
    /// a lease's file first and writes the container's id into it then).
    pub fn stop(&self, grace: Duration) {
        let mut running = self.running();
        running.stopped = true;
        let (running, _) = self
            .0
            .ended
            .wait_timeout_while(running, grace, |running| running.child.is_some())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = running.child {
            let _ = kill(child, Signal::SIGKILL);
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a child, unless it is too late.
    fn start(&self, start: impl FnOnce() -> Result<Child, Failure>) -> Result<Child, Failure> {
        let mut running = self.running();
        if running.stopped {
            return Err(Failure::Stopped);
        }
        let child = start()?;
        running.child = Some(Pid::from_raw(child.id().cast_signed()));
        Ok(child)
    }

    /// Reaps the child.
    fn reap(&self, child: &mut Child) -> Option<ExitStatus> {
        let mut running = self.running();
        running.child = None;
        let status = child.wait().ok();
        self.0.ended.notify_all();
        status
    }
}

enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ended,
}

/// Runs a command to its end, or kills it at the deadline.
pub(super) fn run(
    mut command: Command,
    stdin: Vec<u8>,
    deadline: Instant,
    stop: &Stop,
) -> Result<Output, Failure> {
    let started = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    fault_points::reach!("delegate.start");
    #[expect(clippy::disallowed_methods, reason = "the end of a write to a program wakes nobody")]
    let mut child = stop.start(|| start(&mut command, deadline, thread::sleep))?;
    fault_points::reach!("delegate.started");

    let (sender, events) = mpsc::sync_channel(16);
    if let Some(mut pipe) = child.stdin.take() {
        // A child that doesn't read all of it closes the pipe: that is its own affair.
        thread::spawn(move || pipe.write_all(&stdin));
    }
    if let Some(pipe) = child.stdout.take() {
        forward(pipe, sender.clone(), Event::Stdout);
    }
    if let Some(pipe) = child.stderr.take() {
        forward(pipe, sender.clone(), Event::Stderr);
    }
    announce_end(&child, sender);

    let (mut stdout, mut stderr) = (Vec::new(), VecDeque::new());
    let (mut limit, mut ended) = (deadline, false);
    // The channel closes when both pipes are at their end and the child has ended.
    loop {
        let left = limit.saturating_duration_since(Instant::now());
        let event =
            if left.is_zero() { Err(RecvTimeoutError::Timeout) } else { events.recv_timeout(left) };
        match event {
            Ok(Event::Stdout(bytes)) => {
                let room = STDOUT_MAX.saturating_sub(stdout.len());
                stdout.extend(bytes.into_iter().take(room));
            }
            Ok(Event::Stderr(bytes)) => {
                let _ = io::stderr().write_all(&bytes);
                stderr.extend(bytes);
                stderr.drain(..stderr.len().saturating_sub(STDERR_KEPT));
            }
            Ok(Event::Ended) => {
                ended = true;
                limit = Instant::now() + GRACE;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if ended => break,
            Err(RecvTimeoutError::Timeout) => {
                end(&mut child, &events, stop);
                return Err(Failure::Deadline { after: started.elapsed() });
            }
        }
    }
    let status = stop.reap(&mut child);
    fault_points::reach!("delegate.ended");
    Ok(Output { status, stdout, stderr })
}

/// Starts the command; while its program is being written, after a pause and up to the deadline,
/// again.
pub(super) fn start(
    command: &mut Command,
    deadline: Instant,
    mut sleep: impl FnMut(Duration),
) -> Result<Child, Failure> {
    let mut pauses = BUSY_PAUSES_MS.into_iter().map(Duration::from_millis);
    loop {
        match (command.spawn(), pauses.next()) {
            (Ok(child), _) => return Ok(child),
            (Err(cause), Some(pause))
                if cause.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() + pause < deadline =>
            {
                sleep(pause);
            }
            (Err(cause), _) => return Err(Failure::Start(cause)),
        }
    }
}

fn forward(
    mut pipe: impl Read + Send + 'static,
    to: SyncSender<Event>,
    event: fn(Vec<u8>) -> Event,
) {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if to.send(event(bytes)).is_err() {
                        break;
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    });
}

/// Tells when the child has ended, and leaves it unreaped: so its process id stays valid for a
/// kill.
fn announce_end(child: &Child, to: SyncSender<Event>) {
    let pid = Pid::from_raw(child.id().cast_signed());
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
        to.send(Event::Ended)
    });
}

/// Kills the child and reaps it, unless it is stuck in the kernel.
fn end(child: &mut Child, events: &mpsc::Receiver<Event>, stop: &Stop) {
    let _ = child.kill();
    let limit = Instant::now() + GRACE;
    while let Ok(event) = events.recv_timeout(limit.saturating_duration_since(Instant::now())) {
        if matches!(event, Event::Ended) {
            stop.reap(child);
            return;
        }
    }
}

impl Output {
    /// The start of standard output and the end of standard error, for an error's details.
    pub(super) fn details(&self) -> String {
        let stdout = error::excerpt(&String::from_utf8_lossy(&self.stdout));
        let stderr: Vec<u8> = self.stderr.iter().copied().collect();
        let stderr = String::from_utf8_lossy(&stderr);
        format!("standard output {stdout:?}, standard error ends with {:?}", stderr.trim_end())
    }
}
