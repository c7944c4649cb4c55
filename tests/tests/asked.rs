//! What a runtime asks for by its capabilities: an address of each family, and a MAC
//! (`reference/cni-plugin.md` section 3.6, where pods ask for the same by annotations).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, Pod, addresses, on_each_store};

/// An ADD with this `runtimeConfig`.
fn add(network: &Network, pod: &Pod, runtime_config: &Value) -> Result<Call> {
    Ok(network.call_with("ADD", "runtimeConfig", runtime_config)?.pod(pod))
}

/// An address of each family that nobody has, out of the blocks of a container that is there.
fn free(network: &Network) -> Result<[IpAddr; 2]> {
    let pod = network.host().pod("other")?;
    let taken = addresses(&network.add(&pod, "other")?)?;
    let [IpAddr::V4(v4), IpAddr::V6(v6)] = taken.as_slice() else {
        anyhow::bail!("not one of each family: {taken:?}")
    };
    let v4 = std::net::Ipv4Addr::from_bits(v4.to_bits() + 9);
    let v6 = std::net::Ipv6Addr::from_bits(v6.to_bits() + 9);
    Ok([v4.into(), v6.into()])
}

#[test]
fn k25_and_k41_an_address_of_each_family_is_taken_together() {
    on_each_store("asked", |network| {
        let [v4, v6] = free(network)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        // In the order that they are asked for, which is the endpoint's order too.
        let call = add(network, &pod, &json!({"ips": [format!("{v6}/64"), format!("{v4}/24")]}))?;
        let result = call.result()?;
        ensure!(addresses(&result)? == [v6, v4], "{result:#}");
        let (_, endpoint) = network.store().endpoint("-c1-eth0")?;
        let nets = json!([format!("{v6}/128"), format!("{v4}/32")]);
        ensure!(endpoint["spec"]["ipNetworks"] == nets, "{endpoint:#}");
        network.check_pod(&[v4, v6], |to| pod.ping(to))?;
        network.check(&pod, "c1", &result)?.done()?;
        // FIX 34: a repeated ADD keeps them, and takes nothing from anybody.
        let again = call.result()?;
        ensure!(addresses(&again)? == [v6, v4], "{again:#}");
        call.verb("DEL").done()?;
        before.nothing_left()
    });
}

#[test]
fn fix_8_of_two_addresses_both_are_taken_or_none() {
    on_each_store("asked-taken", |network| {
        let [v4, v6] = free(network)?;
        let pod = network.host().pod("p1")?;
        let owner = network.host().pod("p2")?;
        let held = add(network, &owner, &json!({"ips": [v6.to_string()]}))?.container("c2");
        held.result()?;
        let before = network.before()?;
        let ask = add(network, &pod, &json!({"ips": [v4.to_string(), v6.to_string()]}))?;
        let (code, message) = ask.error()?;
        ensure!(code == 104 && message.contains(&v6.to_string()), "{code} {message}");
        before.nothing_left()?;
        network.host().ping(v6)?;
        // Two of one family are no dual stack.
        let two = add(network, &pod, &json!({"ips": ["10.65.0.1", "10.65.0.2"]}))?;
        let (code, message) = two.error()?;
        ensure!(code == 2 && message.contains("10.65.0.1, 10.65.0.2"), "{code} {message}");
        before.nothing_left()
    });
}

#[test]
fn k38_and_fix_22_the_mac_is_there_from_birth() {
    on_each_store("asked-mac", |network| {
        let pod = network.host().pod("p1")?;
        let result = add(network, &pod, &json!({"mac": "CA-FE-CA-FE-CA-FE"}))?.result()?;
        let mac = "ca:fe:ca:fe:ca:fe";
        ensure!(result["interfaces"][1]["mac"] == mac, "{result:#}");
        let link = pod.ip("link show dev eth0")?;
        ensure!(link[0]["address"] == mac, "{link:#}");
        // Set later, it would leave an address that follows from the kernel's own choice.
        let shown = pod.ip("-6 addr show dev eth0 scope link")?;
        let locals = shown[0]["addr_info"].as_array().context("no addresses")?;
        let locals: Vec<_> =
            locals.iter().filter_map(|address| address["local"].as_str()).collect();
        ensure!(locals == ["fe80::c8fe:caff:fefe:cafe"], "{shown:#}");
        let (_, endpoint) = network.store().endpoint("-c1-eth0")?;
        ensure!(endpoint["spec"]["mac"] == mac, "{endpoint:#}");
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))
    });
}

#[test]
fn k39_what_is_no_mac_is_refused_before_anything_is_touched() {
    on_each_store("asked-no-mac", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for mac in ["this is not a MAC", "ee:ee:ee:ee:ee:ee", "01:00:5e:00:00:01"] {
            let call = add(network, &pod, &json!({ "mac": mac }))?;
            let (code, message) = call.error()?;
            ensure!(code == 7 && message.contains("runtimeConfig.mac"), "{code} {message}");
            call.verb("DEL").done()?;
        }
        before.nothing_left()
    });
}
