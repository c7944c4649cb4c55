//! `ipam split`: everything is checked first, and what it does is one commit.

use anyhow::{Result, ensure};
use tests::{Network, RESOURCES, objects, on_both_stores};

use crate::{add, json_of};

on_both_stores! {
    what_can_not_be_split_is_left_as_it_is
    many_parts_are_made_and_an_interrupted_run_is_repeated
}

fn what_can_not_be_split_is_left_as_it_is(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.66.0.0/24", 28)])?;
    add(network, &["c1"])?;
    let refused = |line: &str, wanted: &str| -> Result<()> {
        let text = network.ctl(line).refused()?;
        ensure!(text.contains(wanted) && text.lines().count() == 1, "{line}: {text}");
        Ok(())
    };
    refused("ipam split 4 --name pool-a", "the datastore is not locked")?;
    refused("ipam split 4", "no name or CIDR provided")?;
    network.ctl("datastore lock").ok()?;
    let before = network.store().dump()?;
    for number in ["3", "0", "x", "-2"] {
        let line = format!("ipam split --name pool-a -- {number}");
        refused(&line, &format!("not a valid power of 2: {number}"))?;
    }
    refused("ipam split 512 --name pool-a", "not large enough to be split into 512 parts")?;
    // Upstream disables the pool, makes parts smaller than a block, and fails then.
    refused("ipam split 32 --name pool-a", "they would be /29, and its blocks are /28")?;
    refused("ipam split 2 --name pool-b", "unable to find IP pool with the name pool-b")?;
    refused("ipam split 2 --cidr 10.67.0.0/24", "unable to find IP pool with the CIDR")?;
    refused("ipam split 2 --cidr nonsense", "invalid CIDR: nonsense")?;
    network.put([objects::pool("split-pool-a-1", "10.67.0.0/24", 28)])?;
    refused("ipam split 2 --name pool-a", "pool split-pool-a-1 is there already")?;
    network.remove(&objects::pool("split-pool-a-1", "10.67.0.0/24", 28).0)?;
    let after = network.store().dump()?;
    ensure!(after == before, "{after:#?}");
    Ok(())
}

fn many_parts_are_made_and_an_interrupted_run_is_repeated(network: &Network) -> Result<()> {
    network.put([objects::pool("pool-a", "10.66.0.0/20", 28)])?;
    add(network, &["c1"])?;
    network.ctl("datastore lock").ok()?;
    // What a run that was killed half-way leaves: the old pool disabled, some of the parts.
    let (key, mut old) = objects::pool("pool-a", "10.66.0.0/20", 28);
    old["spec"]["disabled"] = true.into();
    network.put([(key.clone(), old)])?;
    network.put([objects::pool("split-pool-a-0", "10.66.0.0/28", 28)])?;
    let done = json_of(network, "ipam split 256 --cidr 10.66.0.0/20 -o json")?;
    ensure!(done["pools"].as_array().map(Vec::len) == Some(256), "{done}");
    let dump = network.store().dump()?;
    let folder = format!("{RESOURCES}/ippools/");
    let pools: Vec<_> = dump.under(&folder).collect();
    ensure!(pools.len() == 256 && !dump.0.contains_key(&key), "{} pools", pools.len());
    ensure!(pools.iter().all(|(_, pool)| pool["spec"].get("disabled").is_none()));
    network.ctl("datastore unlock").ok()?;
    // The address of before is in a pool, and its block still gives addresses.
    let before = dump.allocations().len();
    add(network, &["c2"])?;
    ensure!(network.store().dump()?.allocations().len() == before + 1);
    Ok(())
}
