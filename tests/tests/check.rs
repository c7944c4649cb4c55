//! CHECK: all is well, or what is not (`reference/cni-plugin.md` section 5.8).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, Pod, addresses, on_each_store};

const ID: &str = "c1";
const LINK: &str = "calic1";

/// Attaches a container, does something to it, and expects CHECK to say so; then again, with the
/// container made anew by DEL and ADD.
struct Case<'a> {
    /// Commands in the container's namespace, or on the host.
    inside: bool,
    command: &'a str,
    /// The code, and what the message names.
    code: u64,
    names: &'a str,
}

const fn inside(command: &'static str, code: u64, names: &'static str) -> Case<'static> {
    Case { inside: true, command, code, names }
}

const fn outside(command: &'static str, code: u64, names: &'static str) -> Case<'static> {
    Case { inside: false, command, code, names }
}

const KERNEL: [Case; 23] = [
    inside("ip link set eth0 down", 111, "eth0 is down"),
    inside("ip link del eth0", 111, "eth0 is missing"),
    inside("ip link set eth0 mtu 1400", 111, "MTU 1400 instead of 1450"),
    inside("ip link set eth0 address 02:00:00:00:00:07", 111, "02:00:00:00:00:07"),
    inside("ip -4 address flush dev eth0", 112, "/32 is missing"),
    inside("ip -6 address flush dev eth0 scope global", 112, "/128 is missing"),
    inside("ip route del default", 113, "169.254.1.1"),
    inside("ip -6 route del default", 113, "fe80::ecee:eeff:feee:eeee"),
    inside("ip neigh replace 169.254.1.1 lladdr 02:00:00:00:00:07 dev eth0", 113, "169.254.1.1"),
    inside("ip neigh del 169.254.1.1 dev eth0", 113, "169.254.1.1"),
    inside("ip -6 neigh del fe80::ecee:eeff:feee:eeee dev eth0", 113, "fe80::ecee"),
    outside("ip link set calic1 down", 114, "calic1 is down"),
    outside("ip link set dev calic1 down name elsewhere", 114, "calic1 is missing"),
    outside("ip route flush dev calic1", 115, "calic1"),
    outside("ip -6 route flush dev calic1 protocol boot", 115, "calic1"),
    outside("sysctl -qw net.ipv4.conf.calic1.forwarding=0", 116, "calic1/forwarding"),
    outside("sysctl -qw net.ipv6.conf.calic1.forwarding=0", 116, "calic1/forwarding"),
    outside("sysctl -qw net.ipv4.conf.calic1.rp_filter=0", 116, "calic1/rp_filter"),
    outside("sysctl -qw net.ipv4.conf.calic1.proxy_arp=0", 116, "calic1/proxy_arp is 0"),
    outside("sysctl -qw net.ipv6.conf.calic1.proxy_ndp=0", 116, "calic1/proxy_ndp"),
    outside("sysctl -qw net.ipv6.conf.calic1.accept_dad=1", 116, "calic1/accept_dad is 1"),
    inside("sysctl -qw net.ipv6.conf.eth0.accept_dad=1", 116, "eth0/accept_dad is 1 instead of 0"),
    inside("sysctl -qw net.ipv6.conf.lo.disable_ipv6=1", 116, "lo/disable_ipv6 is 1"),
];

fn with_mtu(network: &mut Network) {
    network.conflist_mut()["plugins"][0]["mtu"] = json!(1450);
}

fn expect(call: &Call, code: u64, names: &str) -> Result<()> {
    let (found, message) = call.error()?;
    ensure!(found == code && message.contains(names), "{found} {message}");
    Ok(())
}

#[test]
fn a_healthy_container_passes_and_each_damage_of_the_kernels_part_is_named() {
    on_each_store("check-kernel", |network| {
        with_mtu(network);
        let before = network.before()?;
        for (number, case) in KERNEL.iter().enumerate() {
            let pod = network.host().pod(&format!("p{number}"))?;
            let result = network.add(&pod, ID)?;
            network.check(&pod, ID, &result)?.done()?;
            match case.inside {
                true => pod.run(case.command.split(' '))?,
                false => network.host().run(case.command.split(' '))?,
            };
            let check = network.check(&pod, ID, &result)?;
            expect(&check, case.code, case.names).context(case.command)?;
            network.del(&pod, ID)?;
            if case.command.contains("elsewhere") {
                ensure!(pod.run(["ip", "link", "show", "eth0"]).is_err(), "eth0 is left");
            }
            before.nothing_left().context(case.command)?;
            pod.remove()?;
        }
        Ok(())
    });
}

#[test]
fn a_host_link_that_is_not_the_containers_is_named() {
    on_each_store("check-peer", |network| {
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        let host = network.host();
        host.run(["ip", "link", "set", "dev", LINK, "down", "name", "moved"])?;
        let veth = ["ip", "link", "add", LINK, "up", "type", "veth", "peer", "name", "other"];
        host.run(veth)?;
        expect(&network.check(&pod, ID, &result)?, 114, "not the other end")
    });
}

#[test]
fn each_damage_of_the_stored_part_is_named() {
    on_each_store("check-store", |network| {
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        let check = network.check(&pod, ID, &result)?;
        check.done()?;
        let (key, endpoint) = network.store().endpoint("-eth0")?;
        network.store().delete(&key)?;
        expect(&check, 117, "WorkloadEndpoint")?;
        for (member, value, names) in [
            ("containerID", json!("c2"), "c2"),
            ("ipNetworks", json!([endpoint["spec"]["ipNetworks"][0]]), "lacks the address"),
        ] {
            let mut damaged = endpoint.clone();
            damaged["spec"][member] = value;
            network.store().put(&key, &damaged.to_string())?;
            expect(&check, 117, names)?;
        }
        network.store().put(&key, &endpoint.to_string())?;
        check.done()?;
        // The addresses are gone from IPAM, all else is as it was.
        Call::new(network.host(), "calico-ipam", "DEL")
            .pod(&pod)
            .config(&network.config()?)
            .done()?;
        expect(&check, 110, "IPAM does not hold")?;
        network.del(&pod, ID)
    });
}

#[test]
fn several_damages_are_told_at_once() {
    on_each_store("check-several", |network| {
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        pod.run(["ip", "route", "del", "default"])?;
        network.host().run(["ip", "route", "flush", "dev", LINK])?;
        let (code, message) = network.check(&pod, ID, &result)?.error()?;
        ensure!(code == 113 && message.contains("169.254.1.1"), "{code} {message}");
        ensure!(message.contains("no route for"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn what_later_plugins_and_the_container_add_is_no_failure() {
    on_each_store("check-extra", |network| {
        let pod = network.host().pod("p1")?;
        let mut result = network.add(&pod, ID)?;
        for command in [
            "ip address add 10.99.0.1/32 dev eth0",
            "ip route add 10.98.0.0/16 via 169.254.1.1 dev eth0",
            "ip link add dummy1 type veth peer name dummy2",
            "ip neigh add 10.98.0.1 lladdr 02:00:00:00:00:01 dev eth0",
        ] {
            pod.run(command.split(' '))?;
        }
        network.host().run(["ip", "route", "add", "10.99.0.1/32", "dev", LINK])?;
        // A later plugin's interface and address in the result are not ours.
        let list = |result: &mut Value, member: &str, value: Value| {
            result[member].as_array_mut().map(|list| list.push(value))
        };
        list(&mut result, "interfaces", json!({"name": "ifb0", "sandbox": ""}));
        list(&mut result, "interfaces", json!({"name": "tap0", "sandbox": pod.path()}));
        list(&mut result, "ips", json!({"address": "10.97.0.1/24", "interface": 3}));
        network.check(&pod, ID, &result)?.ifname("eth0").done()
    });
}

#[test]
fn a_setting_that_others_may_have_changed_is_no_failure() {
    on_each_store("check-settings", |network| {
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        for setting in
            ["ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1", "ipv6.conf.default.disable_ipv6=1"]
        {
            pod.run(["sysctl", "-qw", &format!("net.{setting}")])?;
        }
        network.host().run(["sysctl", "-qw", "net.ipv4.conf.calic1.route_localnet=0"])?;
        let check = network.check(&pod, ID, &result)?;
        check.done()?;
        // As Felix does for an endpoint that may send from other addresses than its own.
        let (key, _) = network.store().endpoint("-eth0")?;
        network.store().change(&key, |endpoint| {
            endpoint["spec"]["allowSpoofedSourcePrefixes"] = json!(["203.0.113.0/24"]);
        })?;
        network.host().run(["sysctl", "-qw", "net.ipv4.conf.calic1.rp_filter=0"])?;
        check.done()
    });
}

#[test]
fn a_container_that_shall_forward_is_checked_for_it() {
    on_each_store("check-forwarding", |network| {
        let settings = json!({"allow_ip_forwarding": true});
        network.conflist_mut()["plugins"][0]["container_settings"] = settings;
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        let check = network.check(&pod, ID, &result)?;
        check.done()?;
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            pod.run(["sysctl", "-qw", &format!("{name}=0")])?;
            expect(&check, 116, &format!("{} is 0 instead of 1", name.replace('.', "/")))?;
            pod.run(["sysctl", "-qw", &format!("{name}=1")])?;
        }
        check.done()
    });
}

#[test]
fn both_interfaces_of_a_container_are_checked_by_themselves() {
    on_each_store("check-net1", |network| {
        let pod = network.host().pod("p1")?;
        let first = network.add(&pod, ID)?;
        let second = network.call("ADD")?.container(ID).pod(&pod).ifname("net1").result()?;
        let checks = [
            network.check(&pod, ID, &first)?.ifname("eth0"),
            network.check(&pod, ID, &second)?.ifname("net1"),
        ];
        for check in &checks {
            check.done()?;
        }
        pod.run(["ip", "address", "flush", "dev", "net1", "scope", "global"])?;
        checks[0].done()?;
        expect(&checks[1], 112, "net1")
    });
}

#[test]
fn a_result_or_a_namespace_that_is_not_there_is_named() {
    on_each_store("check-missing", |network| {
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, ID)?;
        expect(&network.call("CHECK")?.container(ID).pod(&pod), 7, "prevResult")?;
        let gone: Pod = network.host().pod("gone")?;
        let check = network.check(&gone, ID, &result)?;
        gone.remove()?;
        expect(&check, 3, "CNI_NETNS")
    });
}

#[test]
fn calico_ipam_checks_its_addresses_alone() {
    on_each_store("check-ipam", |network| {
        let config = network.config()?;
        let ipam = |verb: &str, config: &Value| {
            let call = Call::new(network.host(), "calico-ipam", verb).config(config);
            call.env("CNI_NETNS", "b").ifname("c")
        };
        let result = ipam("ADD", &config).result()?;
        ensure!(addresses(&result)?.len() == 2);
        let mut checked = config.clone();
        checked["prevResult"] = result;
        ipam("CHECK", &checked).done()?;
        ipam("DEL", &config).done()?;
        expect(&ipam("CHECK", &checked), 110, "IPAM does not hold")
    });
}
