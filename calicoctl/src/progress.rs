//! A sign of life for what takes more than a second, on a terminal only.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a command may be silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says on standard error what is being done, once that has taken a second, until it is dropped.
pub struct Progress {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Something begins that may take long.
    pub fn start(what: &str) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { end: None, thread: None };
        }
        let what = what.to_owned();
        let (end, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut seconds = 0;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(PATIENCE) {
                seconds += 1;
                let _ = write!(std::io::stderr().lock(), "\r{what} ... {seconds} s");
            }
            if seconds > 0 {
                let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
            }
        });
        Progress { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
