//! `calicoctl container` wires what no runtime wires (`reference/calicoctl.md` section 2.2), on both
//! stores: texts, kernel, endpoint, and nothing left.

use std::net::IpAddr;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Before, Ctl, Host, Network, Pod, objects, scene};

tests::on_both_stores! {
    containers_reach_each_other_and_the_host
    further_addresses_come_and_go
    every_way_to_ask_for_an_address
    a_bare_process_is_a_container
    an_engine_names_containers
    profiles_of_a_container
    what_can_not_be_done_says_so_and_leaves_nothing
    a_failure_in_the_kernel_leaves_nothing
    a_locked_store_refuses_and_a_later_remove_finds_all
    a_runtime_and_an_operator_do_not_meet
    many_at_once
    killed_at_any_time_and_removed
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

/// The number of a process in a namespace of its own.
fn unshared(host: &Host) -> Result<u32> {
    host.run(["setsid", "--fork", "unshare", "--net", "sleep", "1000"])?;
    let started = Instant::now();
    loop {
        let process = host.processes()?.into_iter().find(|(_, line)| line == "sleep 1000");
        if let Some((pid, _)) = process {
            return Ok(pid);
        }
        ensure!(started.elapsed() < tests::LIMIT, "no process");
        thread::yield_now();
    }
}

fn a_bare_process_is_a_container(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pid = unshared(host)?;
    let before = network.before()?;
    says(
        network.ctl(&format!("container add {pid} 10.65.0.5")),
        &format!("IP 10.65.0.5 added to {pid}\n"),
    )?;
    network.check_pod(&[parse("10.65.0.5")?], |to| {
        let target = pid.to_string();
        let ping = ["ping", "-n", "-c", "1", "-w", "5", &to.to_string()].map(str::to_owned);
        let enter = ["nsenter", "--net", "--target", &target].map(str::to_owned);
        host.run(enter.into_iter().chain(ping)).map(drop)
    })?;
    // The same namespace by another name.
    refuses(
        network.ctl(&format!("container add /proc/{pid}/ns/net 10.65.0.6")),
        &format!("/proc/{pid}/ns/net has already been configured with Calico Networking."),
    )?;
    // The process ends, and with it the interface; the store is told later.
    host.run(["kill", "-KILL", &pid.to_string()])?;
    host.run(["timeout", "20", "sh", "-c", &format!("while [ -e /proc/{pid} ]; do :; done")])?;
    let engine = Engine::on(host)?;
    engine.knows(&[])?;
    refuses(
        engine.ctl(network, &format!("container remove {pid}")),
        &format!("Container {pid} was not found."),
    )?;
    refuses(
        network.ctl(&format!("container remove /proc/{pid}/ns/net")),
        &format!("Container /proc/{pid}/ns/net was not found."),
    )?;
    says(
        network.ctl(&format!("container remove /proc/{pid}/ns/net --force")),
        &format!("Removed Calico interface from /proc/{pid}/ns/net\n"),
    )?;
    let left: Vec<_> =
        before.left()?.into_iter().filter(|what| !what.starts_with("process")).collect();
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

/// A stand-in for Docker's program, which answers what it is told to.
struct Engine<'a>(&'a Host);

impl Engine<'_> {
    fn on(host: &Host) -> Result<Engine<'_>> {
        host.run(["mkdir", "-p", "/opt/shim"])?;
        Ok(Engine(host))
    }

    /// Makes it know these containers: name, id, process, whether it runs, network mode.
    fn knows(&self, containers: &[(&str, &str, u32, bool, &str)]) -> Result<()> {
        let mut script =
            "#!/bin/sh\n[ \"$1 $2 $3 $4\" = 'inspect --type container --' ] || exit 9\n".to_owned();
        for (name, id, pid, running, mode) in containers {
            let answer = json!([{
                "Id": id, "Name": format!("/{name}"),
                "State": {"Running": running, "Pid": pid},
                "HostConfig": {"NetworkMode": mode},
            }]);
            script += &format!("case \"$5\" in {name}|{id}) echo '{answer}'; exit 0;; esac\n");
        }
        script += "echo \"Error: No such container: $5\" >&2\nexit 1\n";
        self.is(&script)
    }

    fn is(&self, script: &str) -> Result<()> {
        self.0.write("/opt/shim/docker", script)?;
        self.0.run(["chmod", "755", "/opt/shim/docker"]).map(drop)
    }

    fn ctl(&self, network: &Network, line: &str) -> Ctl {
        network.ctl(line).env("PATH", "/opt/shim:/bin.none")
    }
}

fn an_engine_names_containers(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pid = unshared(host)?;
    let engine = Engine::on(host)?;
    let id = "0123456789abcdef".repeat(4);
    let before = network.before()?;
    engine.knows(&[
        ("web", &id, pid, true, "none"),
        ("old", "aaaa", 0, false, "none"),
        ("proxy", "bbbb", pid, true, "host"),
    ])?;
    says(engine.ctl(network, "container add web 10.65.0.5"), "IP 10.65.0.5 added to web\n")?;
    host.ping(parse("10.65.0.5")?)?;
    let stored = endpoint(network)?;
    ensure!(stored["spec"]["workload"] == json!(id), "{stored:#}");
    ensure!(stored["metadata"]["labels"]["calicoctl/container"] == "web", "{stored:#}");
    refuses(
        engine.ctl(network, &format!("container add {id} 10.65.0.6")),
        &format!("{id} has already been configured with Calico Networking."),
    )?;
    for (line, reason) in [
        ("container add nobody 10.65.0.6", "Container nobody was not found."),
        ("container nobody endpoint-id show", "Container nobody was not found."),
        ("container add old 10.65.0.6", "old is not currently running."),
        ("container old ip add 10.65.0.6", "old is not currently running."),
        (
            "container add proxy 10.65.0.6",
            "Can't add proxy to Calico because it is running NetworkMode = host.",
        ),
        ("container remove old", "Container old is unknown to Calico."),
        ("container old endpoint-id show", "No endpoint was found for old"),
        ("container old profile append web", "old doesn't contain any endpoints"),
    ] {
        refuses(engine.ctl(network, line), reason)?;
    }
    // The engine has forgotten it: by its name, by the beginning of its id, and never a wrong one.
    engine.knows(&[])?;
    refuses(engine.ctl(network, "container remove web"), "Container web was not found.")?;
    refuses(
        engine.ctl(network, "container remove db --force"),
        "Container db is unknown to Calico.",
    )?;
    says(
        engine.ctl(network, "container remove web --force"),
        "Removed Calico interface from web\n",
    )?;
    before.nothing_left()?;
    engine.knows(&[("web", &id, pid, true, "none")])?;
    engine.ctl(network, "container add web ipv4").ok()?;
    engine.knows(&[("web", &id, 0, false, "none")])?;
    says(engine.ctl(network, "container remove web"), "Removed Calico interface from web\n")?;
    before.nothing_left()?;
    engine.knows(&[("web", &id, pid, true, "none")])?;
    engine.ctl(network, "container add web ipv4").ok()?;
    engine.knows(&[])?;
    // Less than engines print of an id could be anything.
    refuses(
        engine.ctl(network, "container remove 0123456789 --force"),
        "Container 0123456789 is unknown to Calico.",
    )?;
    engine.ctl(network, "container remove 0123456789ab --force").ok()?;
    before.nothing_left()?;

    // An engine that can't be asked is no container that doesn't exist.
    engine.is(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///run/x.' >&2; exit 1",
    )?;
    refuses(
        engine.ctl(network, "container add web ipv4"),
        "Container web was not found. docker: Cannot connect to the Docker daemon at \
         unix:///run/x.",
    )?;
    refuses(
        network.ctl("container add web ipv4").env("PATH", "/nowhere"),
        "Container web was not found. Neither docker nor podman is in PATH: give the path of its \
         network namespace, or the number of one of its processes.",
    )?;
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

fn what_can_not_be_done_says_so_and_leaves_nothing(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let (a, _b) = (host.pod("a")?, host.pod("b")?);
    host.write("/run/file", "")?;
    network.ctl("container add /run/netns/b 10.65.0.5").ok()?;
    a.run("ip link add taken type veth peer name other".split(' '))?;
    let before = network.before()?;
    for (line, reason) in [
        ("container add /run/netns/none ipv4", "Container /run/netns/none was not found."),
        (
            "container add /run/netns/a 10.65.0.5",
            "IP address is already assigned in pool 10.65.0.0/24",
        ),
        (
            "container add /run/netns/a ipv4 --interface=taken",
            "/run/netns/a: the container has an interface taken already: name another one with \
             --interface",
        ),
        (
            "container add /run/netns/a ipv4 --interface=Eth_0",
            "interface \"Eth_0\" can't be in the name of an endpoint: use 1 to 15 lower-case \
             letters, digits, '-' and '.'",
        ),
        (
            "container add /proc/self/ns/net ipv4",
            "/proc/self/ns/net: /proc/self/ns/net is the host's own network namespace: a \
             container needs one of its own",
        ),
        (
            "container add /run/file ipv4",
            "/run/file: /run/file is not a network namespace (a file outside of the namespace \
             file system); the path must lead to one, such as /run/netns/NAME or /proc/PID/ns/net",
        ),
        ("container /run/netns/a ip add ipv4", "/run/netns/a doesn't contain any endpoints"),
        (
            "container /run/netns/a ip remove 10.65.0.5",
            "/run/netns/a doesn't contain any endpoints",
        ),
        ("container remove /run/netns/a", "Container /run/netns/a is unknown to Calico."),
        ("container remove /run/netns/none", "Container /run/netns/none was not found."),
        (
            "container remove /run/netns/none --force",
            "Container /run/netns/none is unknown to Calico.",
        ),
        ("container /run/netns/a endpoint-id show", "No endpoint was found for /run/netns/a"),
    ] {
        refuses(network.ctl(line), reason).with_context(|| line.to_owned())?;
        before.nothing_left().with_context(|| line.to_owned())?;
    }
    // Not as root: exit status 2, and before anything is looked at.
    for line in
        ["add nobody ipv4", "remove nobody", "nobody ip add ipv4", "nobody ip remove 10.0.0.1"]
    {
        let line =
            format!("setpriv --reuid=65534 --clear-groups /opt/bin/calicoctl container {line}");
        let mut command = tests::command("/bin/sh");
        command.args(["-c", &line]);
        let output = host.output(command, b"", tests::LIMIT)?;
        ensure!(output.status.code() == Some(2), "{line}: {output:?}");
        ensure!(output.text().trim() == "This command must be run as root.", "{}", output.text());
    }
    network.ctl("container remove /run/netns/b").ok()?;
    Ok(())
}

fn a_failure_in_the_kernel_leaves_nothing(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pod = host.pod("a")?;
    for address in ["10.65.0.9", "10.65.0.10"] {
        host.run(["ip", "route", "add", address, "dev", "uplink0"])?;
    }
    let before = network.before()?;
    let error = network.ctl("container add /run/netns/a 10.65.0.9").refused()?;
    ensure!(error.contains("10.65.0.9") && error.contains("uplink0"), "{error}");
    before.nothing_left()?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    let wired = network.before()?;
    let error = network.ctl("container /run/netns/a ip add 10.65.0.10").refused()?;
    let classic = "Error updating networking in container. Aborting. /run/netns/a: ";
    ensure!(error.starts_with(classic) && error.contains("uplink0"), "{error}");
    nothing_more(&wired)?;
    ensure!(endpoint(network)?["spec"]["ipNetworks"] == json!(["10.65.0.5/32"]));
    ensure!(!pod.run(["ip", "addr"])?.contains("10.65.0.10"), "the address is left");
    // An interface that somebody took away is told, and what is left of it removed.
    pod.run(["ip", "link", "del", "eth1"])?;
    refuses(
        network.ctl("container /run/netns/a ip add ipv4"),
        "/run/netns/a: the interface eth1 of the container is gone: remove the container and add \
         it again",
    )?;
    network.ctl("container remove /run/netns/a").ok()?;
    before.nothing_left()
}

fn a_locked_store_refuses_and_a_later_remove_finds_all(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let (a, _b) = (host.pod("a")?, host.pod("b")?);
    let before = network.before()?;
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    network.put([objects::cluster(false)])?;
    let wired = network.before()?;
    for line in [
        "container add /run/netns/b ipv4",
        "container /run/netns/a ip add ipv4",
        "container /run/netns/a ip remove 10.65.0.5",
        "container remove /run/netns/a",
    ] {
        let error = network.ctl(line).refused()?;
        ensure!(error.contains("locked"), "{line}: {error}");
        nothing_more(&wired)?;
        host.ping(parse("10.65.0.5")?)?;
    }
    network.put([objects::cluster(true)])?;
    // The container ends without a word.
    a.remove()?;
    says(
        network.ctl("container remove /run/netns/a --force"),
        "Removed Calico interface from /run/netns/a\n",
    )?;
    before.nothing_left()
}

fn a_runtime_and_an_operator_do_not_meet(network: &Network) -> Result<()> {
    pools(network)?;
    let pod = network.host().pod("a")?;
    let before = network.before()?;
    // The same id on both sides.
    let id = "run-netns-a";
    let result = network.add(&pod, id)?;
    network.ctl("container add /run/netns/a 10.65.0.100").ok()?;
    let of_runtime = tests::addresses(&result)?;
    let by_hand = [parse("10.65.0.100")?];
    let works = |addresses: &[IpAddr]| addresses.iter().try_for_each(|ip| network.host().ping(*ip));
    works(&of_runtime)?;
    works(&by_hand)?;
    // A profile named like the runtime's network is nobody's network.
    let name = network.conflist()["name"].as_str().context("no name")?.to_owned();
    network.ctl(&format!("container /run/netns/a profile set {name}")).refused().ok();
    let eth1 = network.store().endpoint("-docker-run--netns--a-eth1")?.0;
    network.store().change(&eth1, |object| object["spec"]["profiles"] = json!([name]))?;

    // GC of the runtime's network, with nothing valid, takes the runtime's and nothing else.
    let mut config = network.config()?;
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    network.call("GC")?.config(&config).done()?;
    ensure!(network.host().ping(of_runtime[0]).is_err());
    works(&by_hand)?;
    let result = network.add(&pod, id)?;
    let of_runtime = tests::addresses(&result)?;
    network.del(&pod, id)?;
    works(&by_hand)?;
    let result_again = network.add(&pod, id)?;
    ensure!(tests::addresses(&result_again)?.len() == of_runtime.len());
    network.ctl("container remove /run/netns/a").ok()?;
    works(&tests::addresses(&result_again)?)?;
    network.del(&pod, id)?;
    before.nothing_left()
}

fn many_at_once(network: &Network) -> Result<()> {
    pools(network)?;
    let host = network.host();
    let pods: Vec<Pod> = (0..6).map(|at| host.pod(&format!("p{at}"))).collect::<Result<_>>()?;
    let before = network.before()?;
    let all = |line: &(dyn Fn(usize) -> String + Sync)| -> Result<Vec<tests::Answer>> {
        thread::scope(|scope| {
            let calls: Vec<_> = (0..12)
                .map(|at| {
                    let ctl = network.ctl(&line(at));
                    scope.spawn(move || ctl.run())
                })
                .collect();
            calls.into_iter().map(|call| call.join().expect("no panic")).collect()
        })
    };
    // Each container twice: one call of two wins.
    let added = all(&|at| format!("container add /run/netns/p{} ipv4", at % 6))?;
    let won = added.iter().filter(|answer| answer.exit == Some(0)).count();
    ensure!(won == 6, "{added:#?}");
    for loser in added.iter().filter(|answer| answer.exit != Some(0)) {
        ensure!(loser.stderr.contains("has already been configured"), "{loser:?}");
    }
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().len() == 6 && dump.allocations().len() == 6);
    let further = all(&|at| format!("container /run/netns/p{} ip add ipv4", at % 6))?;
    ensure!(further.iter().all(|answer| answer.exit == Some(0)), "{further:#?}");
    let dump = network.store().dump()?;
    for (pod, endpoint) in pods.iter().zip(dump.endpoints()) {
        let networks = endpoint["spec"]["ipNetworks"].as_array().context("no networks")?;
        ensure!(networks.len() == 3, "{endpoint:#}");
        for net in networks.iter().filter_map(Value::as_str) {
            host.ping(parse(net.trim_end_matches("/32"))?)?;
        }
        pod.ping(host.v4())?;
    }
    let removed = all(&|at| format!("container remove /run/netns/p{}", at % 6))?;
    let won = removed.iter().filter(|answer| answer.exit == Some(0)).count();
    ensure!(won == 6, "{removed:#?}");
    before.nothing_left()
}

fn killed_at_any_time_and_removed(network: &Network) -> Result<()> {
    pools(network)?;
    let pod = network.host().pod("a")?;
    let before = network.before()?;
    let datastore = match network.store() {
        tests::Stores::Local(_) => "DATASTORE_TYPE=local".to_owned(),
        tests::Stores::Etcd(etcd) => format!("ETCD_ENDPOINTS={}", etcd.endpoint()),
    };
    let (mut killed, mut done) = (0, 0);
    let mut ends = |line: &str, after: u32| -> Result<bool> {
        let mut command = tests::command("/bin/sh");
        let limit = f64::from(after) / 1000.0;
        command.args([
            "-c",
            &format!(
                "{datastore} exec timeout -s KILL {limit} /opt/bin/calicoctl container {line}"
            ),
        ]);
        let is_done = network.host().output(command, b"", tests::LIMIT)?.status.success();
        if is_done {
            done += 1
        } else {
            killed += 1
        }
        Ok(is_done)
    };
    for after in (1..=60).step_by(3) {
        ends("add /run/netns/a ipv4", after)?;
        // What is left can be removed, and if nothing is, it says so.
        let removed = network.ctl("container remove /run/netns/a").run()?;
        ensure!(
            removed.exit == Some(0) || removed.stderr.contains("unknown to Calico"),
            "{removed:?}"
        );
        before.nothing_left().with_context(|| format!("killed after {after} ms"))?;
        ensure!(pod.ip("link")?.as_array().is_some_and(|links| links.len() == 1), "a link is left");
    }
    network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    let wired = network.before()?;
    for after in (1..=40).step_by(3) {
        ends("/run/netns/a ip add 10.65.0.77", after)?;
        let removed = network.ctl("container /run/netns/a ip remove 10.65.0.77").run()?;
        ensure!(removed.exit == Some(0) || removed.stderr.contains("not assigned"), "{removed:?}");
        nothing_more(&wired).with_context(|| format!("ip add killed after {after} ms"))?;
    }
    for after in (1..=40).step_by(3) {
        network.ctl("container /run/netns/a ip add 10.65.0.77").ok()?;
        ends("/run/netns/a ip remove 10.65.0.77", after)?;
        let removed = network.ctl("container /run/netns/a ip remove 10.65.0.77").run()?;
        ensure!(removed.exit == Some(0) || removed.stderr.contains("not assigned"), "{removed:?}");
        nothing_more(&wired).with_context(|| format!("ip remove killed after {after} ms"))?;
    }
    for after in (1..=40).step_by(3) {
        ends("remove /run/netns/a", after)?;
        network.ctl("container remove /run/netns/a").run()?;
        before.nothing_left().with_context(|| format!("remove killed after {after} ms"))?;
        network.ctl("container add /run/netns/a 10.65.0.5").ok()?;
    }
    // A slow machine lets none of them end.
    ensure!(killed > 0, "killed {killed} times, ended {done} times");
    network.ctl("container remove /run/netns/a").ok()?;
    before.nothing_left()
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
