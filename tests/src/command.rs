//! Running a program to its end, never longer than a limit.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// The longest that a program may take, unless a test says otherwise.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What became of a program.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Output {
    /// Both streams as text, for messages.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}",
            String::from_utf8_lossy(&self.stdout).trim_end(),
            String::from_utf8_lossy(&self.stderr).trim_end()
        )
    }
}

/// Starts a command through `start`, feeds it `stdin` and waits for its end. A program that is
/// still there after `limit` is killed, which is an error. Children that it leaves behind are not
/// waited for, even when they hold its streams.
pub(crate) fn finish(
    mut command: Command,
    start: impl FnOnce(Command) -> Result<Child>,
    stdin: &[u8],
    limit: Duration,
) -> Result<Output> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let started = Instant::now();
    let mut child = start(command)?;
    let mut input = child.stdin.take().context("standard input is no pipe")?;
    let (status, over) = thread::scope(|scope| {
        // A program that doesn't read its input closes the pipe: no error of ours.
        scope.spawn(move || input.write_all(stdin));
        kill_after(&mut child, limit)
    })?;
    let elapsed = started.elapsed();
    let output = Output { status, stdout: content(&mut out)?, stderr: content(&mut err)?, elapsed };
    ensure!(!over, "program did not end within {limit:?}: {}", output.text());
    Ok(output)
}

/// Waits for the end of a child for a while, then kills it. Tells how it ended, and whether it was
/// killed.
pub(crate) fn kill_after(child: &mut Child, limit: Duration) -> Result<(ExitStatus, bool)> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (sender, ended) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Not reaped yet, so that its number is still its own when it is killed below.
            sender.send(waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT))
        });
        let over = ended.recv_timeout(limit).is_err();
        if over {
            child.kill()?;
        }
        Ok((child.wait()?, over))
    })
}

fn content(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
