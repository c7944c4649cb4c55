//! The rows of the acceptance list, section 16.15. (18 is Kubernetes'.)

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tests::{Network, objects, on_both_stores};

use crate::{V4, V6, call, dual, networks, only, put_pools, taken};

on_both_stores! {
    row_1_an_ipv4_address_when_no_family_is_named
    row_2_an_ipv4_address_when_it_is_asked_for
    row_3_an_ipv6_address
    row_4_both_families
    row_5_no_address_without_the_ipv6_pool
    row_6_no_address_without_the_ipv4_pool
    row_7_out_of_a_listed_pool
    row_8_out_of_two_listed_pools
    row_9_a_disabled_pool_is_passed_over
    row_10_a_listed_pool_that_does_not_exist
    row_11_one_of_two_listed_pools_does_not_exist
    row_12_a_requested_address
    row_13_a_requested_address_again_after_a_release
    row_14_a_requested_address_twice
    row_15_a_requested_address_of_a_pool_for_tunnels
    row_16_a_release_of_nothing
    row_17_a_release_of_former_handles
}

fn one_family(network: &Network, ipam: Value, pool: &str, prefix: u8) -> Result<()> {
    put_pools(network)?;
    let before = network.before()?;
    let add = call(network, "ADD", ipam)?;
    let found = networks(&add.result()?)?;
    let pool: IpNet = pool.parse()?;
    ensure!(found.len() == 1 && found[0].prefix_len() == prefix, "{found:?}");
    ensure!(pool.contains(&found[0].addr()), "{found:?} is not of {pool}");
    add.verb("DEL").done()?;
    before.nothing_left()
}

fn row_1_an_ipv4_address_when_no_family_is_named(network: &Network) -> Result<()> {
    one_family(network, json!({}), V4, 26)
}

fn row_2_an_ipv4_address_when_it_is_asked_for(network: &Network) -> Result<()> {
    one_family(network, json!({"assign_ipv4": "true"}), V4, 26)
}

fn row_3_an_ipv6_address(network: &Network) -> Result<()> {
    one_family(network, json!({"assign_ipv4": "false", "assign_ipv6": "true"}), V6, 122)
}

fn row_4_both_families(network: &Network) -> Result<()> {
    put_pools(network)?;
    let before = network.before()?;
    let add = dual(network, "ADD")?;
    let found = networks(&add.result()?)?;
    let lengths: Vec<u8> = found.iter().map(IpNet::prefix_len).collect();
    ensure!(lengths == [26, 122], "IPv4 and then IPv6: {found:?}");
    add.verb("DEL").done()?;
    before.nothing_left()
}

/// Neither family is given when one can't be.
fn without_a_pool(network: &Network, missing: &str, family: &str) -> Result<()> {
    put_pools(network)?;
    let before = network.before()?;
    let (key, _) = objects::pool(missing, V4, 26);
    network.remove(&key)?;
    let add = dual(network, "ADD")?;
    let answer = add.run()?;
    let (code, message) = answer.error()?;
    ensure!(!answer.stdout.contains("ips"), "{answer:?}");
    ensure!(code == 104 && message.contains("cannot find a qualified ippool"), "{code} {message}");
    ensure!(message.contains(family), "the message doesn't name {family}: {message}");
    ensure!(taken(network)? == 0, "an address of the other family was taken");
    add.verb("DEL").done()?;
    before.nothing_left()
}

fn row_5_no_address_without_the_ipv6_pool(network: &Network) -> Result<()> {
    without_a_pool(network, "pool-v6", "IPv6")
}

fn row_6_no_address_without_the_ipv4_pool(network: &Network) -> Result<()> {
    without_a_pool(network, "pool-v4", "IPv4")
}

fn row_7_out_of_a_listed_pool(network: &Network) -> Result<()> {
    put_pools(network)?;
    network.put([objects::pool("pool-b", "192.169.1.0/24", 26)])?;
    for listed in ["192.169.1.0/24", "pool-b"] {
        let add = call(network, "ADD", json!({"ipv4_pools": [listed]}))?
            .container(listed.get(..3).context("short")?);
        let address = only(&add.result()?)?;
        ensure!(address.to_string().starts_with("192.169.1."), "{address} for {listed}");
    }
    Ok(())
}

fn row_8_out_of_two_listed_pools(network: &Network) -> Result<()> {
    put_pools(network)?;
    // Blocks of one address: the first pool is full after one.
    network.put([
        objects::pool("pool-b", "192.169.1.0/32", 32),
        objects::pool("pool-c", "192.169.2.0/24", 26),
    ])?;
    let listed = json!({"ipv4_pools": ["192.169.1.0/32", "192.169.2.0/24"]});
    for (container, expected) in [("c1", "192.169.1.0"), ("c2", "192.169.2."), ("c3", "192.169.2.")]
    {
        let address = only(&call(network, "ADD", listed.clone())?.container(container).result()?)?;
        ensure!(address.to_string().starts_with(expected), "{address} for {container}");
    }
    Ok(())
}

fn row_9_a_disabled_pool_is_passed_over(network: &Network) -> Result<()> {
    let (key, mut pool) = objects::pool("pool-a", "192.168.0.0/24", 26);
    network.put([(key.clone(), pool.clone())])?;
    let first = call(network, "ADD", json!({}))?.container("c1");
    ensure!(only(&first.result()?)?.to_string().starts_with("192.168.0."));
    pool["spec"]["disabled"] = json!(true);
    network.put([(key, pool), objects::pool("pool-b", "192.169.1.0/24", 26)])?;
    let second = call(network, "ADD", json!({}))?.container("c2");
    ensure!(only(&second.result()?)?.to_string().starts_with("192.169.1."));
    // What a disabled pool has given goes back all the same.
    first.verb("DEL").done()?;
    second.verb("DEL").done()?;
    ensure!(taken(network)? == 0);
    Ok(())
}

fn unknown_pool(network: &Network, listed: Value) -> Result<()> {
    put_pools(network)?;
    let (_, message) = call(network, "ADD", json!({"ipv4_pools": listed}))?.error()?;
    ensure!(message.contains("192.169.1.0/24) does not exist"), "{message}");
    ensure!(taken(network)? == 0);
    Ok(())
}

fn row_10_a_listed_pool_that_does_not_exist(network: &Network) -> Result<()> {
    unknown_pool(network, json!(["192.169.1.0/24"]))
}

fn row_11_one_of_two_listed_pools_does_not_exist(network: &Network) -> Result<()> {
    unknown_pool(network, json!([V4, "192.169.1.0/24"]))
}

fn row_12_a_requested_address(network: &Network) -> Result<()> {
    put_pools(network)?;
    for (container, ip, expected) in [
        ("c1", "192.168.123.123", "192.168.123.123/32"),
        ("c2", "fd80:24e2:f998:72d6::77", "fd80:24e2:f998:72d6::77/128"),
    ] {
        let add = call(network, "ADD", json!({}))?.container(container).args(&format!("IP={ip}"));
        ensure!(networks(&add.result()?)? == [expected.parse::<IpNet>()?]);
        add.verb("DEL").done()?;
    }
    Ok(())
}

fn row_13_a_requested_address_again_after_a_release(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = call(network, "ADD", json!({}))?.args("IP=192.168.123.123");
    let first = add.result()?;
    add.verb("DEL").done()?;
    ensure!(add.result()? == first);
    add.verb("DEL").done()
}

fn row_14_a_requested_address_twice(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = call(network, "ADD", json!({}))?.args("IP=192.168.123.123");
    add.result()?;
    for again in [add.clone(), add.clone().container("c2")] {
        let (_, message) = again.error()?;
        ensure!(message.contains("192.168.123.123"), "{message}");
        ensure!(message.contains("Address already assigned in block"), "{message}");
    }
    ensure!(taken(network)? == 1);
    Ok(())
}

fn row_15_a_requested_address_of_a_pool_for_tunnels(network: &Network) -> Result<()> {
    let (key, mut pool) = objects::pool("pool-t", V4, 26);
    pool["spec"]["allowedUses"] = json!(["Tunnel"]);
    network.put([(key, pool)])?;
    let (_, message) = call(network, "ADD", json!({}))?.args("IP=192.168.123.123").error()?;
    for part in ["192.168.123.123", "pool-t", "Workload", "Tunnel"] {
        ensure!(message.contains(part), "no {part}: {message}");
    }
    ensure!(taken(network)? == 0);
    Ok(())
}

fn row_16_a_release_of_nothing(network: &Network) -> Result<()> {
    put_pools(network)?;
    let dump = network.store().dump()?;
    call(network, "DEL", json!({}))?.done()?;
    ensure!(network.store().dump()? == dump, "something was written");
    Ok(())
}

fn row_17_a_release_of_former_handles(network: &Network) -> Result<()> {
    put_pools(network)?;
    let add = call(network, "ADD", json!({}))?.container("c1");
    for former in ["c1", "calico.c1"] {
        add.result()?;
        // The same allocation, as releases before 2 wrote it.
        let mut dump = network.store().dump()?;
        for (key, value) in &mut dump.0 {
            if key.contains("/assignment/") {
                value["attributes"][0]["handle_id"] = json!(former);
            }
        }
        let handle = dump.0.remove("/calico/ipam/v2/handle/calico.c1").context("no handle")?;
        network.remove("/calico/ipam/v2/handle/calico.c1")?;
        let ipam = dump.0.into_iter().filter(|(key, _)| key.contains("/assignment/"));
        network.put(ipam.chain([(format!("/calico/ipam/v2/handle/{former}"), handle)]))?;
        ensure!(network.store().dump()?.check().in_use == 1);
        network.store().dump()?.consistent()?;

        add.verb("DEL").done()?;
        let dump = network.store().dump()?;
        ensure!(dump.handles().is_empty() && dump.allocations().is_empty(), "{dump:#?}");
    }
    Ok(())
}
