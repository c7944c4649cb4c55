//! Making the namespaces of a host, and what is mounted in them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::ENVIRONMENT;
use crate::binaries::binary_dir;

/// The folders that a host has for itself, and their names in its directory.
pub(super) const OWN: [(&str, &str); 5] =
    [("/var/run", "run"), ("/run", "run"), ("/etc", "etc"), ("/opt", "opt"), ("/var/lib", "lib")];

/// Makes the host's own folders.
pub(super) fn fill(dir: &Path) -> Result<()> {
    for folder in [
        "run/machine-etc",
        "run/netns",
        "etc/cni/net.d",
        "opt/bin",
        "opt/cni/bin",
        "lib/calico",
        "lib/cni",
    ] {
        fs::create_dir_all(dir.join(folder))
            .with_context(|| format!("creating {folder} in {}", dir.display()))?;
    }
    for entry in fs::read_dir("/etc")? {
        let name = entry?.file_name();
        if name != "cni" && name != "calico" {
            symlink(Path::new("/run/machine-etc").join(&name), dir.join("etc").join(&name))?;
        }
    }
    Ok(())
}

/// Leaves the machine's namespaces and starts process 1 in new ones. Runs on a thread of its own.
pub(super) fn separate(dir: &Path, name: &str) -> io::Result<Child> {
    unshare(
        CloneFlags::CLONE_FS
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWPID,
    )?;
    sethostname(name)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount_binaries(&dir.join("opt"))?;
    mount_sys(&dir.join("run/machine-etc"))?;
    bind(Path::new("/etc"), &dir.join("run/machine-etc"))?;
    for (folder, own) in OWN {
        // A link to /run on every Debian; then there is nothing to mount over.
        if folder != "/var/run" {
            bind(&dir.join(own), Path::new(folder))?;
        }
    }
    Command::new("/bin/bash")
        .args(["-c", "mount -t proc proc /proc && echo ready && read -r _"])
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

/// Puts Debian's plugins and ours where runtimes look for them, and `calicoctl` beside.
fn mount_binaries(opt: &Path) -> io::Result<()> {
    let ours = binary_dir().map_err(io::Error::other)?;
    let command = opt.join("bin/calicoctl");
    File::create(&command)?;
    bind(&ours.join("calicoctl"), &command)?;
    let bin = opt.join("cni/bin");
    // One program by two names, as it ships.
    let mut plugins: Vec<(OsString, PathBuf)> =
        ["calico", "calico-ipam"].map(|name| (name.into(), ours.join("calico"))).into();
    if let Ok(folder) = fs::read_dir("/usr/lib/cni") {
        for entry in folder {
            let entry = entry?;
            plugins.push((entry.file_name(), entry.path()));
        }
    }
    for (name, plugin) in plugins {
        File::create(bin.join(&name))?;
        bind(&plugin, &bin.join(&name))?;
    }
    Ok(())
}

/// Shows the new network namespace in `/sys`, and keeps the machine's control groups there.
fn mount_sys(aside: &Path) -> io::Result<()> {
    bind(Path::new("/sys/fs/cgroup"), aside)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)?;
    bind(aside, Path::new("/sys/fs/cgroup"))?;
    umount2(aside, MntFlags::MNT_DETACH)?;
    Ok(())
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|errno| io::Error::other(format!("binding {from:?} to {to:?}: {errno}")))
}
