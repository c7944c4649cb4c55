//! One call of a plugin, as a runtime makes it, and what it took.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments: a plugin has none, but a tracer in front of it has.
    pub argv: Vec<PathBuf>,
    /// All of its environment.
    pub env: Vec<(String, String)>,
    /// The network configuration.
    pub stdin: Vec<u8>,
}

/// How it went.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// From before the start until both streams had ended and the process was waited for.
    pub wall: Duration,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Launch {
    /// Runs it on the calling thread, which is on the right host already. A program that fails is an
    /// error with its words.
    pub fn run(&self) -> io::Result<Outcome> {
        let (program, arguments) = self.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let started = Instant::now();
        let mut child = command.spawn()?;
        // A pipe takes all of a configuration at once, and all that is said on standard error.
        child.stdin.take().map(|mut stdin| stdin.write_all(&self.stdin)).transpose()?;
        child.stdout.take().map(|mut stdout| stdout.read_to_end(&mut out)).transpose()?;
        child.stderr.take().map(|mut stderr| stderr.read_to_end(&mut err)).transpose()?;
        let status = child.wait()?;
        let wall = started.elapsed();
        let stdout = String::from_utf8_lossy(&out).into_owned();
        let stderr = String::from_utf8_lossy(&err).into_owned();
        if !status.success() {
            return Err(io::Error::other(format!("{program:?}: {status}\n{stdout}\n{stderr}")));
        }
        Ok(Outcome { wall, stdout, stderr })
    }
}

/// The processor time, user's and system's, of all processes that we have waited for, and of those
/// that they have waited for. What a DEL of ours leaves behind sleeps, and isn't ours to wait for.
pub fn processor_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: TimeVal| time.num_microseconds().unsigned_abs();
    Ok(Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time())))
}

/// How often those processes touched a page that wasn't there yet, without the disk's doing.
pub fn page_faults() -> io::Result<u64> {
    Ok(getrusage(UsageWho::RUSAGE_CHILDREN)?.minor_page_faults().unsigned_abs())
}
