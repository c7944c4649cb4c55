//! A plugin that is killed at any instant leaves nothing that the next DEL doesn't remove.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Network, scene};

/// How many times it is killed.
const TIMES: u32 = 40;

#[test]
fn kill_add_on_the_local_store() {
    scene("kill-local", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn kill_add_on_etcd() {
    scene("kill-etcd", |scene| play(&Network::etcd(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let host = network.host();
    // The first one makes what stays: the store, the block, the profile.
    let pod = host.pod("first")?;
    let add = network.call("ADD")?.container("first").pod(&pod);
    add.result()?;
    add.verb("DEL").done()?;
    // How long one takes now, so that the instants cover all of it.
    let add = network.call("ADD")?.container("first").pod(&pod);
    let started = Instant::now();
    add.result()?;
    let whole = started.elapsed();
    add.verb("DEL").done()?;
    pod.remove()?;

    let before = network.before()?;
    let mut killed = 0;
    for turn in 0..TIMES {
        let name = format!("k{turn}");
        let pod = host.pod(&name)?;
        let add = network.call("ADD")?.container(&name).pod(&pod);
        // Instants spread evenly over the whole of it and a little more.
        let pause = whole * turn / (TIMES - 4);
        killed += u32::from(add.kill_after(pause)?);
        let context = || format!("killed after {pause:?} of {whole:?}");
        add.verb("DEL").done().with_context(context)?;
        before.nothing_left().with_context(context)?;
        // And what it held can be given again.
        if turn % 8 == 0 {
            add.result().with_context(context)?;
            add.verb("DEL").done().with_context(context)?;
            before.nothing_left().with_context(context)?;
        }
        pod.remove()?;
    }
    ensure!(killed >= TIMES / 4, "only {killed} of {TIMES} were still running: nothing was tested");
    Ok(())
}

#[test]
fn kill_del_on_the_local_store() {
    scene("kill-del-local", |scene| kill_del(&Network::standalone(scene)?));
}

#[test]
fn kill_del_on_etcd() {
    scene("kill-del-etcd", |scene| kill_del(&Network::etcd(scene)?));
}

fn kill_del(network: &Network) -> Result<()> {
    let host = network.host();
    let pod = host.pod("p")?;
    let add = network.call("ADD")?.container("c").pod(&pod);
    let del = add.verb("DEL");
    add.result()?;
    let started = Instant::now();
    del.done()?;
    let whole = started.elapsed();
    let before = network.before()?;
    for turn in 0..TIMES / 2 {
        add.result()?;
        let pause: Duration = whole * turn / (TIMES / 2 - 2);
        del.kill_after(pause)?;
        let context = || format!("killed after {pause:?} of {whole:?}");
        // The runtime calls it again, sometimes without the namespace.
        if turn % 2 == 0 {
            del.done().with_context(context)?;
        } else {
            del.clone().env("CNI_NETNS", "").done().with_context(context)?;
        }
        before.nothing_left().with_context(context)?;
    }
    Ok(())
}
