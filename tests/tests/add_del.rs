//! ADD and DEL in every version and family, on both stores: the result's shape, what the kernel
//! must show (`reference/cni-plugin.md` section 4), pings, and nothing left.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tests::{Call, Host, Kernel, Network, Pod, scene};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

const GATEWAY: &str = "169.254.1.1";
const HOST_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// The link-local address of [`HOST_MAC`].
const GATEWAY6: &str = "fe80::ecee:eeff:feee:eeee";

#[derive(Clone, Copy)]
struct Families {
    v4: bool,
    v6: bool,
}

const V4: Families = Families { v4: true, v6: false };
const V6: Families = Families { v4: false, v6: true };
const DUAL: Families = Families { v4: true, v6: true };

#[test]
fn ipv4_on_the_local_store() {
    scene("add-local-4", |scene| every_version(&Network::standalone(scene)?, V4));
}

#[test]
fn ipv6_on_the_local_store() {
    scene("add-local-6", |scene| every_version(&Network::standalone(scene)?, V6));
}

#[test]
fn both_families_on_the_local_store() {
    scene("add-local-dual", |scene| every_version(&Network::standalone(scene)?, DUAL));
}

#[test]
fn ipv4_on_etcd() {
    scene("add-etcd-4", |scene| every_version(&Network::etcd(scene)?, V4));
}

#[test]
fn ipv6_on_etcd() {
    scene("add-etcd-6", |scene| every_version(&Network::etcd(scene)?, V6));
}

#[test]
fn both_families_on_etcd_with_tls() {
    scene("add-etcd-tls", |scene| every_version(&Network::etcd_tls(scene)?, DUAL));
}

fn every_version(network: &Network, families: Families) -> Result<()> {
    let before = network.before()?;
    for version in VERSIONS {
        one_version(network, families, version).with_context(|| format!("version {version}"))?;
        before.nothing_left().with_context(|| format!("version {version}"))?;
    }
    Ok(())
}

fn one_version(network: &Network, families: Families, version: &str) -> Result<()> {
    let host = network.host();
    let mut config = network.config()?;
    config["cniVersion"] = json!(version);
    config["mtu"] = json!(1440);
    config["ipam"]["assign_ipv4"] = json!(families.v4.to_string());
    config["ipam"]["assign_ipv6"] = json!(families.v6.to_string());

    let (a, b) = (host.pod("a")?, host.pod("b")?);
    let call = |verb: &str, pod: &Pod| {
        let id = format!("{}-container-1", pod.name());
        Call::new(host, "calico", verb).config(&config).container(&id).pod(pod)
    };
    let result = call("ADD", &a).result()?;
    let addresses = shape(&result, version, &a, "calia-container")?;
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    ensure!(v4 == usize::from(families.v4), "{addresses:?}");
    ensure!(addresses.len() - v4 == usize::from(families.v6), "{addresses:?}");
    container_side(&a, &addresses, families)?;
    host_side(host, "calia-container", &addresses, families)?;

    let other = shape(&call("ADD", &b).result()?, version, &b, "calib-container")?;
    for (pod, to) in [(&a, &other), (&b, &addresses)] {
        network.check_pod(to, |_| Ok(()))?;
        for &address in to {
            pod.ping(address)?;
            pod.ping(if address.is_ipv4() { host.v4() } else { host.v6() })?;
        }
    }

    for pod in [&a, &b] {
        call("DEL", pod).done()?;
        let links = pod.ip("link")?;
        ensure!(links.as_array().is_some_and(|links| links.len() == 1), "left in pod: {links}");
        call("DEL", pod).done()?;
    }
    a.remove()?;
    b.remove()
}

/// Checks the form of a result and answers its addresses.
fn shape(result: &Value, version: &str, pod: &Pod, host_link: &str) -> Result<Vec<IpAddr>> {
    ensure!(result["cniVersion"] == version, "{result}");
    let parse = |text: &Value| -> Result<IpNet> {
        Ok(text.as_str().with_context(|| format!("no address in {result}"))?.parse()?)
    };
    let networks = match version {
        "0.1.0" | "0.2.0" => {
            ensure!(result.get("ips").is_none() && result.get("interfaces").is_none(), "{result}");
            let members = ["ip4", "ip6"].into_iter().filter_map(|member| result.get(member));
            members.map(|member| parse(&member["ip"])).collect::<Result<Vec<_>>>()?
        }
        _ => {
            interfaces(result, version, pod, host_link)?;
            let mut networks = Vec::new();
            for ip in result["ips"].as_array().context("no ips")? {
                let network = parse(&ip["address"])?;
                let family = if network.addr().is_ipv4() { json!("4") } else { json!("6") };
                let expected = (version < "1.0.0").then_some(&family);
                ensure!(ip.get("version") == expected, "version of the family: {ip}");
                ensure!(ip["interface"] == 1 && ip.get("gateway").is_none(), "{ip}");
                networks.push(network);
            }
            networks
        }
    };
    let dns = result.get("dns");
    ensure!(dns.is_some() == (version < "1.0.0"), "dns of version {version}: {result}");
    networks
        .into_iter()
        .map(|network| {
            ensure!(network.prefix_len() == network.max_prefix_len(), "{network} is no host's");
            Ok(network.addr())
        })
        .collect()
}

fn interfaces(result: &Value, version: &str, pod: &Pod, host_link: &str) -> Result<()> {
    let kernel = Kernel::of_pod(pod)?;
    let link = kernel.link("eth0").context("no eth0")?;
    let [ours, theirs] = result["interfaces"].as_array().context("no interfaces")?.as_slice()
    else {
        bail!("not two interfaces: {result}");
    };
    ensure!(ours["name"] == host_link && ours.get("sandbox").is_none(), "{ours}");
    let outside = Kernel::of_host(pod.host())?;
    let host_end = outside.link(host_link).context("no host end")?;
    ensure!(ours["mac"] == HOST_MAC && host_end["address"] == HOST_MAC, "{ours} is not {host_end}");
    ensure!(theirs["name"] == "eth0" && theirs["sandbox"] == json!(pod.path()), "{theirs}");
    ensure!(theirs["mac"] == link["address"], "{theirs} is not {link}");
    let mtu = (version >= "1.0.0").then(|| json!(1440));
    ensure!(theirs.get("mtu") == mtu.as_ref(), "mtu of version {version}: {theirs}");
    ensure!(ours.get("mtu") == mtu.as_ref(), "mtu of version {version}: {ours}");
    // The routes that are there, and no others.
    let routed: Vec<String> = outside
        .routes(host_link)
        .iter()
        .filter(|route| route["protocol"].as_str() != Some("kernel"))
        .filter_map(|route| Some(route["dst"].as_str()?.parse::<IpAddr>().ok()?.to_string()))
        .collect();
    let told: Vec<String> = result["routes"]
        .as_array()
        .context("no routes")?
        .iter()
        .map(|route| Ok(route["dst"].as_str().context("no dst")?.parse::<IpNet>()?))
        .map(|net: Result<IpNet>| net.map(|net| net.addr().to_string()))
        .collect::<Result<_>>()?;
    ensure!(told == routed, "told of {told:?}, there are {routed:?}");
    Ok(())
}

fn container_side(pod: &Pod, addresses: &[IpAddr], families: Families) -> Result<()> {
    let kernel = Kernel::of_pod(pod)?;
    let link = kernel.link("eth0").context("no eth0")?;
    ensure!(link["linkinfo"]["info_kind"] == "veth" && link["mtu"] == 1440, "{link}");
    ensure!(flags(link, &["UP", "LOWER_UP"]), "{link}");
    ensure!(link["num_tx_queues"] == 1 && link["num_rx_queues"] == 1, "{link}");

    let mut held: Vec<IpNet> = Vec::new();
    for entry in kernel.entries("addr").iter().filter(|entry| entry["ifname"] == "eth0") {
        for info in entry["addr_info"].as_array().into_iter().flatten() {
            if info["scope"] == "global" {
                // A program that starts now must be able to use it.
                ensure!(info.get("tentative").is_none(), "{info}");
                let text = info["local"].as_str().context("no address")?;
                let length = info["prefixlen"].as_u64().context("no length")?;
                held.push(format!("{text}/{length}").parse()?);
            }
        }
    }
    let expected: Vec<IpNet> = addresses.iter().map(|&address| address.into()).collect();
    ensure!(held == expected, "eth0 holds {held:?}, not {expected:?}");

    if families.v4 {
        let mut routes = kernel.routes("eth0");
        routes.retain(|route| route["protocol"].as_str() != Some("kernel"));
        let gateway = routes.iter().find(|route| route["dst"] == GATEWAY);
        let gateway = gateway.with_context(|| format!("no route to the gateway: {routes:?}"))?;
        ensure!(gateway["scope"] == "link", "{gateway}");
        let default =
            routes.iter().find(|route| route["dst"] == "default" && route["gateway"] == GATEWAY);
        default.with_context(|| format!("no default route: {routes:?}"))?;
        ensure!(pod.sysctl("ipv4/ip_forward")? == "0");
        permanent(&kernel, GATEWAY)?;
    }
    if families.v6 {
        let routes = kernel.routes("eth0");
        let default =
            routes.iter().find(|route| route["dst"] == "default" && route["gateway"] == GATEWAY6);
        let default = default.with_context(|| format!("no IPv6 default route: {routes:?}"))?;
        ensure!(default["metric"] == 1024, "{default}");
        for (name, value) in [
            ("conf/all/forwarding", "0"),
            ("conf/eth0/accept_dad", "0"),
            ("conf/all/disable_ipv6", "0"),
            ("conf/default/disable_ipv6", "0"),
            ("conf/lo/disable_ipv6", "0"),
        ] {
            ensure!(pod.sysctl(&format!("ipv6/{name}"))? == value, "{name} in the pod");
        }
        permanent(&kernel, GATEWAY6)?;
    }
    Ok(())
}

/// The next hop's link address is fixed, so that nothing depends on a proxy's answer.
fn permanent(kernel: &Kernel, gateway: &str) -> Result<()> {
    let neighbour = kernel.entries("neigh").iter().find(|neighbour| neighbour["dst"] == gateway);
    let neighbour = neighbour.with_context(|| format!("{gateway} is no neighbour"))?;
    ensure!(
        neighbour["lladdr"] == HOST_MAC && neighbour["state"] == json!(["PERMANENT"]),
        "{neighbour}"
    );
    Ok(())
}

fn host_side(host: &Host, name: &str, addresses: &[IpAddr], families: Families) -> Result<()> {
    let kernel = Kernel::of_host(host)?;
    let link = kernel.link(name).with_context(|| format!("no {name}"))?;
    ensure!(link["address"] == HOST_MAC && link["mtu"] == 1440, "{link}");
    ensure!(flags(link, &["UP", "LOWER_UP"]), "{link}");

    let mut routes = kernel.routes(name);
    routes.retain(|route| route["protocol"].as_str() != Some("kernel"));
    ensure!(routes.len() == addresses.len(), "{routes:?}");
    for (route, address) in routes.iter().zip(addresses) {
        ensure!(route["dst"] == json!(address.to_string()), "{route}, not {address}");
        // The main table and this protocol are what ip doesn't print.
        let protocol = route.get("protocol").is_none_or(|protocol| protocol == "boot");
        ensure!(protocol && route.get("gateway").is_none(), "{route}");
        if address.is_ipv4() {
            ensure!(route["scope"] == "link", "{route}");
        }
    }
    let mut expected = vec![("ipv6/conf", "accept_ra", "0")];
    if families.v4 {
        expected.extend([
            ("ipv4/conf", "route_localnet", "1"),
            ("ipv4/neigh", "proxy_delay", "0"),
            ("ipv4/conf", "proxy_arp", "1"),
            ("ipv4/conf", "forwarding", "1"),
            ("ipv4/conf", "rp_filter", "1"),
        ]);
    }
    if families.v6 {
        expected.extend([
            ("ipv6/conf", "accept_dad", "0"),
            ("ipv6/conf", "disable_ipv6", "0"),
            ("ipv6/conf", "proxy_ndp", "1"),
            ("ipv6/conf", "forwarding", "1"),
        ]);
    }
    for (folder, sysctl, value) in expected {
        let found = host.sysctl(&format!("{folder}/{name}/{sysctl}"))?;
        ensure!(found == value, "{folder}/{name}/{sysctl} is {found}, not {value}");
    }
    Ok(())
}

fn flags(link: &Value, wanted: &[&str]) -> bool {
    let flags = link["flags"].as_array();
    flags.is_some_and(|flags| wanted.iter().all(|flag| flags.contains(&json!(flag))))
}

/// A pod that takes another one's address gets nothing through: the host's end of its link drops
/// what didn't come from where the answer would go.
#[test]
fn a_pod_cannot_take_another_pods_address() {
    scene("spoof", |scene| {
        let network = Network::standalone(scene)?;
        let host = network.host();
        let (a, b) = (host.pod("a")?, host.pod("b")?);
        let call = |pod: &Pod| network.call("ADD").map(|call| call.container(pod.name()).pod(pod));
        let own = tests::addresses(&call(&a)?.result()?)?;
        let other = tests::addresses(&call(&b)?.result()?)?;
        let stolen = other.iter().find(|address| address.is_ipv4()).context("no IPv4")?.to_string();
        let dropped = || -> Result<u64> {
            // A line of names, then a line of numbers.
            let text = host.run(["cat", "/proc/net/netstat"])?;
            let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
            let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
            let at = names.split(' ').position(|name| name == "IPReversePathFilter");
            let value = at.and_then(|at| values.split(' ').nth(at)).context("no such counter")?;
            Ok(value.parse()?)
        };
        ensure!(dropped()? == 0, "something was dropped before");
        a.run(["ip", "address", "add", &format!("{stolen}/32"), "dev", "eth0"])?;
        let to = host.v4().to_string();
        let spoofed = a.run(["ping", "-n", "-c1", "-w1", "-I", &stolen, &to]);
        ensure!(spoofed.is_err(), "an answer to a stolen address");
        ensure!(dropped()? > 0, "nothing was dropped");
        let mine = own.iter().find(|address| address.is_ipv4()).context("no IPv4")?.to_string();
        a.run(["ping", "-n", "-c1", "-w5", "-I", &mine, &to]).map(drop)
    });
}
