//! Who makes the faults, and mends them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::history::Trouble;
use super::plan::{Fault, Planned};
use super::world::{FOLDER, World};
use crate::command::LIMIT;
use crate::etcd::Etcd;
use crate::host;

/// Makes the faults of a track, each at its time, until all is over. Whatever happens, what was
/// begun is mended.
pub(super) fn haunt(world: &World, track: &[Planned]) -> Result<()> {
    let began = Instant::now();
    for planned in track {
        if !world.pause(planned.at.saturating_sub(began.elapsed())) {
            return Ok(());
        }
        let fault = planned.fault;
        let start = world.history.now();
        let what = trouble(world, planned).with_context(|| format!("{fault:?}"))?;
        let end = world.history.now();
        world.history.trouble(Trouble { what, excuses: fault.excuses(), start, end })?;
    }
    Ok(())
}

/// Makes a fault, lets it last, and mends it: what it was.
fn trouble(world: &World, planned: &Planned) -> Result<String> {
    let wait = || {
        world.pause(planned.lasts);
    };
    let name = format!("{:?}", planned.fault);
    match planned.fault {
        Fault::MemberKilled(member) => {
            kill(&[&world.members[member]], wait)?;
        }
        Fault::MajorityKilled(survivor) => {
            let others = world.members.iter().enumerate();
            let others: Vec<_> =
                others.filter(|(n, _)| *n != survivor).map(|(_, member)| member).collect();
            kill(&others, wait)?;
        }
        Fault::LeaderPaused => {
            let leader = leader(world)?;
            leader.pause()?;
            wait();
            leader.resume()?;
            return Ok(format!("{name}: {}", leader.host().name()));
        }
        Fault::LeaderCut => {
            let leader = leader(world)?;
            let (hub, wire) = (hub(world)?, leader.host().name());
            set(hub, wire, "down")?;
            wait();
            set(hub, wire, "up")?;
            return Ok(format!("{name}: {wire}"));
        }
        Fault::NodeCut(node) | Fault::NodeSilenced(node) => {
            let node = &world.nodes[node].host;
            let end = if matches!(planned.fault, Fault::NodeCut(_)) { node } else { hub(world)? };
            set(end, node.name(), "down")?;
            wait();
            set(end, node.name(), "up")?;
        }
        Fault::Clock(node, seconds) => {
            world.set_clock(node, seconds);
            wait();
            world.set_clock(node, 0);
        }
        Fault::DiskFull => {
            let host = &world.nodes[0].host;
            let filler = PathBuf::from(FOLDER).join("filler");
            host.within(|| fill(File::create(&filler)?))?;
            wait();
            host.within(|| fs::remove_file(&filler))?;
        }
        Fault::ReadOnly => {
            let host = &world.nodes[0].host;
            // Made where nobody opens files meanwhile: a mount that is in use can't be changed.
            let aside = "/run/read-only";
            host.run(["mkdir", "-p", aside])?;
            host.run(["mount", "--bind", FOLDER, aside])?;
            host.run(["mount", "-o", "remount,bind,ro", aside])?;
            host.run(["mount", "--bind", aside, FOLDER])?;
            host.run(["umount", aside])?;
            wait();
            // Those that have files open there go on with them.
            host.run(["umount", "--lazy", FOLDER])?;
        }
        Fault::LockHeld => {
            let host = &world.nodes[0].host;
            let mut command = host::command("sqlite3");
            command.args(["-bail", &format!("{FOLDER}/calico.db")]);
            command.stdin(Stdio::piped()).stdout(Stdio::null());
            let mut child = host.within(|| command.spawn())?;
            let mut stdin = child.stdin.take().context("no standard input")?;
            writeln!(stdin, ".timeout 5000\nBEGIN IMMEDIATE;")?;
            wait();
            drop(stdin);
            ensure!(child.wait()?.success(), "sqlite3 didn't get the lock");
        }
    }
    Ok(name)
}

fn kill(members: &[&Arc<Etcd>], wait: impl Fn()) -> Result<()> {
    members.iter().try_for_each(|member| member.kill())?;
    wait();
    // Each serves only when most of them do.
    thread::scope(|scope| {
        let starting: Vec<_> =
            members.iter().map(|member| scope.spawn(|| member.restart())).collect();
        starting.into_iter().try_for_each(|thread| thread.join().ok().context("panic")?)
    })
}

/// The leader, once there is one.
fn leader(world: &World) -> Result<&Arc<Etcd>> {
    let started = Instant::now();
    loop {
        if let Some(leader) = world.members.iter().find(|member| member.leads()) {
            return Ok(leader);
        }
        ensure!(started.elapsed() < LIMIT, "no member leads");
        world.pause(Duration::from_millis(50));
    }
}

fn hub(world: &World) -> Result<&Arc<host::Host>> {
    world.hub.as_ref().context("a host without a network")
}

fn set(host: &host::Host, link: &str, state: &str) -> Result<()> {
    host.run(["ip", "link", "set", link, state]).map(drop)
}

/// Writes until there is no room.
fn fill(mut file: File) -> io::Result<()> {
    let piece = [b'x'; 4096];
    loop {
        match file.write(&piece) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
