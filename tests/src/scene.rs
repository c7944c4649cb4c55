//! A scene owns what a test makes, and decides at its end what is kept.

use std::env;
use std::fs;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use crate::host::Host;
use crate::kernel::Kernel;
use crate::store::Stores;

/// What a test has made: its directory and its hosts.
#[derive(Debug)]
pub struct Scene {
    dir: TempDir,
    hosts: Mutex<Vec<Arc<Host>>>,
}

/// Plays a test: `body` makes hosts and works on them. When it succeeds nothing is left; when it
/// fails or panics, the directory stays, with the logs, the stores and what the kernel showed.
///
/// # Panics
/// When `body` fails: the message tells where the directory is.
pub fn scene(name: &str, body: impl FnOnce(&Scene) -> Result<()>) {
    let scene = Scene::new(name).expect("making the test's directory");
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(&scene)))
        .unwrap_or_else(|_| Err(anyhow!("panic, see above")));
    if let Err(error) = result.and_then(|()| scene.consistent()).and_then(|()| scene.finish()) {
        let dir = scene.keep();
        panic!("{name}: {error:#}\nkept {dir}");
    }
}

impl Scene {
    fn new(name: &str) -> Result<Scene> {
        let root = env::temp_dir();
        let dir = tempfile::Builder::new()
            .prefix(&format!("calico-rs-{name}-"))
            .tempdir_in(&root)
            .with_context(|| format!("in {}", root.display()))?;
        Ok(Scene { dir, hosts: Mutex::new(Vec::new()) })
    }

    /// Makes a host with this name. Its addresses are 192.0.2.N and 2001:db8::N for the Nth host.
    pub fn host(&self, name: &str) -> Result<Arc<Host>> {
        let mut hosts = self.hosts.lock().expect("no holder panics");
        let number = u8::try_from(hosts.len() + 1).context("too many hosts")?;
        let host = Host::new(self.dir.path(), name, number)?;
        hosts.push(host.clone());
        Ok(host)
    }

    /// The test's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Fails when a store of any host contradicts itself. A test that is about damaged stores
    /// repairs them before it ends.
    fn consistent(&self) -> Result<()> {
        for host in self.hosts.lock().expect("no holder panics").iter() {
            for dump in Stores::all_of(host)? {
                dump.consistent().with_context(|| format!("host {}", host.name()))?;
            }
        }
        Ok(())
    }

    /// Ends the hosts of a test that has passed and removes its directory.
    fn finish(&self) -> Result<()> {
        for host in self.hosts.lock().expect("no holder panics").iter() {
            host.stop()?;
        }
        self.remove_control_groups()?;
        fs::remove_dir_all(self.dir.path())
            .with_context(|| format!("removing {}", self.dir.path().display()))
    }

    /// Removes the control groups of the test's containers, of every hierarchy. The runtimes remove
    /// their own, but not the parent.
    fn remove_control_groups(&self) -> Result<()> {
        let name = self.dir.path().file_name().context("directory without a name")?;
        let root = Path::new("/sys/fs/cgroup");
        let mut folders = vec![root.join(name)];
        for entry in fs::read_dir(root)? {
            folders.push(entry?.path().join(name));
        }
        folders.iter().filter(|folder| folder.is_dir()).try_for_each(|folder| {
            remove_group(folder).with_context(|| format!("removing {}", folder.display()))
        })
    }

    /// Writes down what a failed test has left, ends its hosts and keeps its directory.
    fn keep(mut self) -> String {
        self.dir.disable_cleanup(true);
        for host in self.hosts.lock().expect("no holder panics").iter() {
            let report = match Kernel::of_host(host) {
                Ok(kernel) => format!("{:#}", kernel.raw()),
                Err(error) => format!("{error:#}"),
            };
            let _ = fs::write(host.dir().join("kernel.json"), report);
            let _ = fs::write(host.dir().join("store.json"), Stores::report(host));
            let _ = host.stop();
        }
        let _ = self.remove_control_groups();
        self.dir.path().display().to_string()
    }
}

/// Removes a control group with those in it; the files in them can't be removed, and needn't be.
fn remove_group(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
