//! `calicoctl container` wires what no runtime wires (`reference/calicoctl.md` section 2.2), on both
//! stores: texts, kernel, endpoint, and nothing left.

#[path = "calicoctl_container/failures.rs"]
mod failures;
#[path = "calicoctl_container/others.rs"]
mod others;

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Before, Ctl, Network, Pod, objects, scene};

tests::on_both_stores! {
    containers_reach_each_other_and_the_host
    further_addresses_come_and_go
    every_way_to_ask_for_an_address
    profiles_of_a_container
}

/// A pool of each family.
fn pools(network: &Network) -> Result<()> {
    network.put([
        objects::pool("pool-a", "10.65.0.0/24", 26),
        objects::pool("pool-v6", "fd00:65::/64", 122),
    ])
}

fn says(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.ok()?;
    ensure!(said == expected, "said {said:?} instead of {expected:?}");
    Ok(())
}

fn refuses(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.refused()?;
    ensure!(said == format!("{expected}\n"), "refused with {said:?} instead of {expected:?}");
    Ok(())
}

fn parse(address: &str) -> Result<IpAddr> {
    address.parse().with_context(|| address.to_owned())
}

/// Fails when something is left of a change to a container that is wired. The host's end gets its
/// link-local address from the kernel, some time after it was wired.
fn nothing_more(before: &Before) -> Result<()> {
    let by_itself = ["addr: ", "fe80:", "ff00::"];
    let mut left = before.left()?;
    left.retain(|what| !by_itself.iter().any(|part| what.contains(part)));
    ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    Ok(())
}

/// The only endpoint of the store.
fn endpoint(network: &Network) -> Result<Value> {
    let dump = network.store().dump()?;
    let endpoints = dump.endpoints();
    ensure!(endpoints.len() == 1, "{endpoints:#?}");
    Ok(endpoints[0].clone())
}

fn containers_reach_each_other_and_the_host(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let (a, b) = (host.pod("a")?, host.pod("b")?);
    let before = network.before()?;
    says(
        network.ctl("container add /run/netns/a 10.65.0.5"),
        "IP 10.65.0.5 added to /run/netns/a\n",
    )?;
    says(
        network.ctl("container add /run/netns/b 10.65.0.6 --interface=net0"),
        "IP 10.65.0.6 added to /run/netns/b\n",
    )?;
    let (of_a, of_b) = (parse("10.65.0.5")?, parse("10.65.0.6")?);
    network.check_pod(&[of_a], |to| a.ping(to))?;
    network.check_pod(&[of_b], |to| b.ping(to))?;
    a.ping(of_b)?;
    b.ping(of_a)?;
    // The interface, its gateway and its neighbour are the plugin's.
    let routes = a.ip("route")?;
    ensure!(routes[0]["gateway"] == "169.254.1.1" && routes[0]["dev"] == "eth1", "{routes}");
    ensure!(b.ip("link show net0")?[0]["operstate"] == "UP");

    let (key, stored) = network.store().endpoint("-eth1")?;
    ensure!(key.ends_with("/default/node--a-docker-run--netns--a-eth1"), "{key}");
    let spec = &stored["spec"];
    ensure!(
        spec["orchestrator"] == "docker"
            && spec["workload"] == "run-netns-a"
            && spec["node"] == "node-a"
            && spec["endpoint"] == "eth1"
            && spec["ipNetworks"] == json!(["10.65.0.5/32"])
            && spec["profiles"] == Value::Null,
        "{stored:#}"
    );
    ensure!(stored["metadata"]["labels"]["projectcalico.org/orchestrator"] == "docker");
    let link =
        &host.ip(&format!("link show {}", spec["interfaceName"].as_str().context("name")?))?;
    let alias = link[0]["ifalias"].as_str().unwrap_or_default();
    ensure!(alias.starts_with("calico-rs:calicoctl:container/run-netns-a/eth1@"), "{link}");

    says(
        network.ctl("container /run/netns/a endpoint-id show"),
        "node--a-docker-run--netns--a-eth1\n",
    )?;
    refuses(
        network.ctl("container add /run/netns/a 10.65.0.7"),
        "/run/netns/a has already been configured with Calico Networking.",
    )?;
    refuses(
        network.ctl("container add /run/netns/a ipv4 --interface=eth2"),
        "/run/netns/a has already been configured with Calico Networking.",
    )?;
    for name in ["a", "b"] {
        says(
            network.ctl(&format!("container remove /run/netns/{name}")),
            &format!("Removed Calico interface from /run/netns/{name}\n"),
        )?;
        refuses(
            network.ctl(&format!("container remove /run/netns/{name}")),
            &format!("Container /run/netns/{name} is unknown to Calico."),
        )?;
    }
    ensure!(a.ip("link")?.as_array().is_some_and(|links| links.len() == 1), "a link is left");
    before.nothing_left()
}

fn further_addresses_come_and_go(network: &Network) -> Result<()> {
    pools(network)?;
    let pod = network.host().pod("a")?;
    let before = network.before()?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    let one = network.before()?;
    for ip in ["10.65.0.200", "fd00:65::7", "fd00:65::8"] {
        says(
            network.ctl(&format!("container /run/netns/a ip add {ip}")),
            &format!("IP {ip} added to /run/netns/a\n"),
        )?;
    }
    let all = ["10.65.0.5", "10.65.0.200", "fd00:65::7", "fd00:65::8"].map(parse);
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    network.check_pod(&all, |to| pod.ping(to))?;
    let networks = json!(["10.65.0.5/32", "10.65.0.200/32", "fd00:65::7/128", "fd00:65::8/128"]);
    ensure!(endpoint(network)?["spec"]["ipNetworks"] == networks);

    refuses(
        network.ctl("container /run/netns/a ip add 10.65.0.200"),
        "IP address is already assigned in pool 10.65.0.0/24",
    )?;
    refuses(
        network.ctl("container /run/netns/a ip remove 10.65.0.9"),
        "IP address is not assigned to container. Aborting.",
    )?;
    for ip in ["10.65.0.200", "fd00:65::8", "fd00:65::7"] {
        says(
            network.ctl(&format!("container /run/netns/a ip remove {ip}")),
            &format!("IP {ip} removed from /run/netns/a\n"),
        )?;
        ensure!(network.host().ping(parse(ip)?).is_err(), "{ip} still answers");
    }
    network.check_pod(&all[..1], |to| pod.ping(to))?;
    let addresses = pod.ip("addr show eth1")?;
    let global = addresses[0]["addr_info"].as_array().into_iter().flatten();
    ensure!(global.filter(|one| one["scope"] == "global").count() == 1, "{addresses}");
    // But for the link-local address of the host's end, and its routes, nothing is left of IPv6.
    let left = one.left()?;
    ensure!(left.iter().all(|what| !what.contains("fd00:65")), "{left:#?}");

    network.ctl("container remove /run/netns/a").ok()?;
    before.nothing_left()
}

/// A second address finds its way where another network has the default route, and where an
/// interface is named.
#[test]
fn further_addresses_beside_another_network() {
    scene("ctl-beside", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("a")?;
        let before = network.before()?;
        let id = "c1";
        let result = network.add(&pod, id)?;
        network.ctl("container add /run/netns/a ipv4").ok()?;
        let said = network.ctl("container /run/netns/a ip add ipv4 --interface=eth1").ok()?;
        let second = said.split(' ').nth(1).context("no address")?.to_owned();
        network.ctl("container /run/netns/a ip add ipv6").ok()?;
        let spec = network.store().endpoint("-eth1")?.1;
        let networks = spec["spec"]["ipNetworks"].as_array().context("no networks")?.clone();
        ensure!(networks.len() == 3, "{networks:?}");
        for address in tests::addresses(&result)? {
            network.host().ping(address)?;
        }
        for address in networks.iter().filter_map(Value::as_str) {
            network.host().ping(parse(address.split('/').next().unwrap_or_default())?)?;
        }
        let rules = |pod: &Pod| pod.run(["ip", "rule", "show"]);
        ensure!(rules(&pod)?.contains(&second), "{}", rules(&pod)?);
        network.ctl(&format!("container /run/netns/a ip remove {second}")).ok()?;
        ensure!(!rules(&pod)?.contains(&second), "{}", rules(&pod)?);
        let first = networks[0].as_str().context("no text")?.trim_end_matches("/32");
        network.host().ping(parse(first)?)?;
        refuses(
            network.ctl("container /run/netns/a ip add ipv4 --interface=eth7"),
            "/run/netns/a doesn't contain any endpoints",
        )?;
        network.ctl("container remove /run/netns/a").ok()?;
        ensure!(rules(&pod)?.lines().count() == 3, "{}", rules(&pod)?);
        network.del(&pod, id)?;
        before.nothing_left()
    });
}

fn every_way_to_ask_for_an_address(network: &Network) -> Result<()> {
    network.put([
        objects::pool("pool-a", "10.65.0.0/24", 26),
        objects::pool("pool-b", "10.66.0.0/24", 26),
        objects::pool("pool-v6", "fd00:65::/64", 122),
    ])?;
    let _pod = network.host().pod("a")?;
    let before = network.before()?;
    for (ask, within) in [
        ("ipv4", "10.6"),
        ("ipv6", "fd00:65::"),
        ("10.66.0.0/24", "10.66.0."),
        ("10.66.0.7/24", "10.66.0."),
        ("pool-b", "10.66.0."),
        ("fd00:65::/64", "fd00:65::"),
        ("10.65.0.9/32", "10.65.0.9"),
    ] {
        let said = network.ctl(&format!("container add /run/netns/a {ask}")).ok()?;
        ensure!(said.starts_with(&format!("IP {within}")), "{ask}: {said}");
        network.ctl("container remove /run/netns/a").ok()?;
        before.nothing_left()?;
    }
    for (ask, reason) in [
        ("10.67.0.1", "10.67.0.1 is not in any configured pools"),
        ("10.67.0.0/24", "10.67.0.0/24 is not in any configured pools"),
        (
            "somewhere",
            "\"somewhere\" is no address and no pool: give an address, ipv4, ipv6, or a pool's CIDR",
        ),
    ] {
        refuses(network.ctl(&format!("container add /run/netns/a {ask}")), reason)?;
    }
    before.nothing_left()
}

fn profiles_of_a_container(network: &Network) -> Result<()> {
    pools(network)?;
    let _pod = network.host().pod("a")?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    for profile in ["web", "db", "PROF_A"] {
        network.ctl(&format!("profile add {profile}")).ok()?;
    }
    let profiles = |expected: Value| -> Result<()> {
        let stored = endpoint(network)?["spec"]["profiles"].clone();
        ensure!(stored == expected, "{stored} instead of {expected}");
        Ok(())
    };
    says(
        network.ctl("container /run/netns/a profile append web db"),
        "Profiles web, db appended\n",
    )?;
    profiles(json!(["web", "db"]))?;
    refuses(
        network.ctl("container /run/netns/a profile append web"),
        "Profile web is already in endpoint profile list",
    )?;
    refuses(
        network.ctl("container /run/netns/a profile append missing"),
        "Profile missing not found.",
    )?;
    says(network.ctl("container /run/netns/a profile remove web"), "Profiles web removed\n")?;
    refuses(
        network.ctl("container /run/netns/a profile remove web"),
        "Profile web is not in endpoint profile list",
    )?;
    says(
        network.ctl("container /run/netns/a profile set PROF_A web"),
        "Profiles PROF_A, web set\n",
    )?;
    profiles(json!(["prof-a-447651e6", "web"]))?;
    // Another address leaves them alone.
    network.ctl("container /run/netns/a ip add ipv4").ok()?;
    profiles(json!(["prof-a-447651e6", "web"]))?;
    refuses(
        network.ctl("profile remove web"),
        "Profile web is in use by 1 endpoints, of which node--a-docker-run--netns--a-eth1 is one: \
         take it from them, or use --no-check",
    )?;
    network.ctl("container remove /run/netns/a").ok()?;
    Ok(())
}

/// The first command on a fresh host is `container add`.
#[test]
fn a_fresh_host_sets_itself_up() {
    scene("ctl-fresh", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("a")?;
        refuses(
            network.ctl("container remove /run/netns/a"),
            "there is no datastore at /var/lib/calico/calico.db yet: this host's first container makes \
             it, or `calicoctl node run --init-only`, or the first resource that you create",
        )?;
        let said = network.ctl("container add /run/netns/a ipv4").ok()?;
        let ip = parse(said.split(' ').nth(1).context("no address")?)?;
        network.check_pod(&[ip], |to| pod.ping(to))?;
        network.ctl("container remove /run/netns/a").ok()?;
        Ok(())
    });
}
