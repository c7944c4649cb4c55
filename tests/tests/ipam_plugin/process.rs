//! The plugin as a process: what it needs of its environment and its arguments, and what it leaves
//! alone.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{LIMIT, Network, binary_dir, command, on_both_stores};

use crate::{call, only, put_pools, taken};

on_both_stores! {
    the_environment_has_the_protocols_variables_only
    values_that_name_nothing_real_are_not_opened
    the_configuration_may_be_an_argument_too
    the_program_of_its_own_is_the_same
}

/// Neither a search path, a home nor anything else is needed, and nothing may be missing.
fn the_environment_has_the_protocols_variables_only(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = call(network, "ADD", json!({}))?;
    only(&add.result()?)?;
    for missing in ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"] {
        let (code, message) = add.clone().without(missing).error()?;
        ensure!(code == 4 && message.contains(missing), "without {missing}: {code} {message}");
    }
    // DEL needs no namespace.
    add.verb("DEL").without("CNI_NETNS").done()
}

fn values_that_name_nothing_real_are_not_opened(network: &Network) -> Result<()> {
    put_pools(network)?;
    let mut strace = command("strace");
    strace.args(["-f", "-o", "/run/trace", "-e", "trace=%file,%desc", "/opt/cni/bin/calico-ipam"]);
    strace.envs([("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "nowhere-b")]);
    strace.envs([("CNI_IFNAME", "nowhere-c"), ("CNI_PATH", "nowhere-d")]);
    let config = network.config()?.to_string();
    let output = network.host().output(strace, config.as_bytes(), LIMIT)?;
    ensure!(output.status.success(), "{}", output.text());
    only(&serde_json::from_slice(&output.stdout)?)?;
    let trace = std::fs::read_to_string(network.host().path("/run/trace"))?;
    ensure!(trace.contains("ipam.lock"), "nothing was traced: {trace}");
    // The answer and the log are written, not opened.
    let calls = trace.lines().filter(|line| !line.contains(" write("));
    for line in calls {
        for value in ["nowhere-b", "nowhere-c", "nowhere-d"] {
            ensure!(!line.contains(value), "{line}");
        }
    }
    Ok(())
}

/// Upstream's own test suite calls it so; what counts is standard input.
fn the_configuration_may_be_an_argument_too(network: &Network) -> Result<()> {
    put_pools(network)?;
    let config = network.config()?;
    let mut other: Value = config.clone();
    other["name"] = json!("another");
    let add = call(network, "ADD", json!({}))?.argument(&other.to_string());
    only(&add.result()?)?;
    let dump = network.store().dump()?;
    let handle = dump.handles().first().copied().context("no handle")?.to_owned();
    ensure!(handle.ends_with("/calico.c1"), "{handle}");
    add.verb("DEL").done()?;
    ensure!(taken(network)? == 0);
    Ok(())
}

/// What ships as `calico-ipam`, and is called by all other tests, is `calico` by that name.
fn the_program_of_its_own_is_the_same(network: &Network) -> Result<()> {
    put_pools(network)?;
    let alone = binary_dir()?.join("calico-ipam");
    let shipped = "/opt/cni/bin/calico-ipam".into();
    let config = network.config()?.to_string();
    let answers = [shipped, alone].map(|program: std::path::PathBuf| -> Result<_> {
        let ask = |argument: &[&str], verb: &str| {
            let mut call = command(&program);
            call.args(argument).env("CNI_COMMAND", verb);
            network.host().output(call, config.as_bytes(), LIMIT)
        };
        let asked =
            [ask(&["-h"], "")?, ask(&["-v"], "")?, ask(&[], "VERSION")?, ask(&[], "STATUS")?];
        Ok(asked.map(|answer| (answer.status.code(), answer.text())))
    });
    let [shipped, alone] = answers;
    let (shipped, alone) = (shipped?, alone?);
    ensure!(shipped == alone, "{shipped:#?} {alone:#?}");
    ensure!(shipped[0].1.contains("calico-ipam [-v]"), "{shipped:#?}");
    Ok(())
}
