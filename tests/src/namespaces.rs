//! Entering the namespaces of a simulated host, on a thread of its own.
//!
//! Namespaces belong to a thread. Whatever has to happen inside happens on a thread that enters,
//! does it, and ends: the test's own threads never leave the machine's namespaces.

use std::fs::File;
use std::io;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// Open namespaces of one host. They live as long as these files are open, or processes in them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub(crate) net: File,
    pub(crate) mounts: File,
    pub(crate) pids: File,
    pub(crate) names: File,
}

impl Namespaces {
    /// Opens the namespaces of a process.
    pub(crate) fn of(pid: u32) -> Result<Namespaces> {
        let open = |name: &str| {
            File::open(format!("/proc/{pid}/ns/{name}"))
                .with_context(|| format!("opening the {name} namespace of process {pid}"))
        };
        Ok(Namespaces {
            net: open("net")?,
            mounts: open("mnt")?,
            pids: open("pid")?,
            names: open("uts")?,
        })
    }

    /// Runs `body` in this host's mounts and name, and in the network namespace `net`. Children
    /// that it starts are processes of this host. It can't start threads.
    pub(crate) fn enter<T: Send>(
        &self,
        net: &File,
        body: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T> {
        on_own_thread(|| {
            // A thread that shares its root and working directory can't change its mounts.
            unshare(CloneFlags::CLONE_FS)?;
            setns(net, CloneFlags::CLONE_NEWNET)?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
            setns(&self.names, CloneFlags::CLONE_NEWUTS)?;
            setns(&self.pids, CloneFlags::CLONE_NEWPID)?;
            body()
        })
    }
}

/// Runs `body` on a new thread, which ends with it.
pub(crate) fn on_own_thread<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(body).join())
        .map_err(|_| anyhow!("panic on a thread inside a namespace"))?
        .context("working inside a namespace")
}
