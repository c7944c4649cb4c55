//! Many calls at once: nobody gets another one's address, and nobody fails.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use tests::{Call, Kernel, Network, Pod, Point, addresses, scene};

const PODS: usize = 32;

#[test]
fn pods_at_once_on_the_local_store() {
    scene("parallel-local", |scene| play(&Network::standalone(scene)?));
}

#[test]
fn pods_at_once_on_etcd() {
    scene("parallel-etcd", |scene| play(&Network::etcd(scene)?));
}

fn play(network: &Network) -> Result<()> {
    let before = network.before()?;
    let pods: Vec<Pod> =
        (0..PODS).map(|n| network.host().pod(&format!("p{n}"))).collect::<Result<_>>()?;
    let call =
        |verb: &str, pod: &Pod| anyhow::Ok(network.call(verb)?.container(pod.name()).pod(pod));
    let each = |work: &(dyn Fn(&Pod) -> Result<Vec<IpAddr>> + Sync)| {
        thread::scope(|scope| {
            let threads: Vec<_> = pods.iter().map(|pod| scope.spawn(move || work(pod))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().ok().context("panic")?)
                .collect::<Result<Vec<_>>>()
        })
    };
    let given = each(&|pod| addresses(&call("ADD", pod)?.result()?))?;
    let all: Vec<_> = given.iter().flatten().collect();
    let different: BTreeSet<_> = all.iter().collect();
    ensure!(all.len() >= PODS && different.len() == all.len(), "given twice: {given:?}");
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().len() == PODS && dump.handles().len() == PODS, "{dump:#?}");
    ensure!(dump.allocations().len() == all.len(), "{:?}", dump.allocations());
    for addresses in &given {
        network.check_pod(addresses, |_| Ok(()))?;
    }
    each(&|pod| call("DEL", pod)?.done().map(|()| Vec::new()))?;
    before.nothing_left()
}

/// The address that each block gives out next, IPv4 first: the only block of its family here.
fn next(network: &Network) -> Result<Vec<IpAddr>> {
    let dump = network.store().dump()?;
    let next = |(_, block): (&str, &Value)| {
        let cidr: IpNet = block["cidr"].as_str().context("no cidr")?.parse()?;
        let ordinal = block["unallocated"][0].as_u64().context("a full block")?;
        Ok(match cidr {
            IpNet::V4(net) => {
                IpAddr::from(u32::from(net.network()).wrapping_add(ordinal as u32).to_be_bytes())
            }
            IpNet::V6(net) => {
                IpAddr::from(u128::from(net.network()).wrapping_add(ordinal.into()).to_be_bytes())
            }
        })
    };
    dump.under("/calico/ipam/v2/assignment/").map(next).collect()
}

/// The addresses of a link by the kernel, without those that it gives itself.
fn kernel_addresses(kernel: &Kernel, link: &str) -> BTreeSet<String> {
    let infos = kernel.entries("addr").iter().filter(|entry| entry["ifname"] == link);
    let infos = infos.flat_map(|entry| entry["addr_info"].as_array().cloned().unwrap_or_default());
    infos
        .filter(|info| info["scope"] == "global")
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap_or_default(), info["prefixlen"]))
        .collect()
}

/// Fails unless result, endpoint and kernel say the same of a pod's only pair.
fn agrees(network: &Network, pod: &Pod, id: &str, result: &Value) -> Result<()> {
    let (host, inside) = (Kernel::of_host(network.host())?, Kernel::of_pod(pod)?);
    let (_, endpoint) = network.store().endpoint(&format!("-{id}-eth0"))?;
    let [host_end, container_end] = [0, 1].map(|at| &result["interfaces"][at]);
    let name = host_end["name"].as_str().context("no host link")?;
    let links = host.entries("link").iter().filter_map(|link| link["ifname"].as_str());
    let links: Vec<&str> = links.filter(|link| link.starts_with("cali")).collect();
    ensure!(links == [name] && endpoint["spec"]["interfaceName"] == name, "{links:?} {endpoint:#}");
    let (outer, inner) = (host.link(name).context("gone")?, inside.link("eth0").context("gone")?);
    ensure!(outer["link_index"] == inner["ifindex"], "no pair: {outer:#} {inner:#}");
    ensure!(outer["address"] == host_end["mac"], "{outer:#} {host_end:#}");
    ensure!(inner["address"] == container_end["mac"], "{inner:#} {container_end:#}");
    ensure!(endpoint["spec"]["mac"] == container_end["mac"], "{endpoint:#} {container_end:#}");
    let networks: BTreeSet<String> =
        addresses(result)?.into_iter().map(|ip| IpNet::from(ip).to_string()).collect();
    ensure!(endpoint["spec"]["ipNetworks"] == json!(networks), "{networks:?} {endpoint:#}");
    let shown = kernel_addresses(&inside, "eth0");
    ensure!(shown == networks, "the container has {shown:?} instead of {networks:?}");
    let routes = host.routes(name).into_iter().filter(|route| route["protocol"] != "kernel");
    let routes: Result<BTreeSet<IpAddr>> =
        routes.map(|route| Ok(route["dst"].as_str().context("no dst")?.parse()?)).collect();
    ensure!(routes? == addresses(result)?.into_iter().collect(), "{:#?}", host.routes(name));
    network.check(pod, id, result)?.done()
}

/// A configuration that asks for these families, with a lock that somebody who stands still may hold.
fn config(network: &Network, families: &str, lock: &str) -> Result<Value> {
    let mut config = network.config()?;
    config["ipam"]["assign_ipv4"] = json!(families.contains('4').to_string());
    config["ipam"]["assign_ipv6"] = json!(families.contains('6').to_string());
    config["ipam_lock_file"] = json!(format!("/run/lock-{lock}"));
    Ok(config)
}

/// An ADD has decided for addresses, and given them to its pair, when somebody else takes them.
#[test]
fn an_add_whose_first_choice_is_taken_has_only_what_it_got_in_the_end() {
    scene("forestalled", |scene| {
        let network = Network::etcd(scene)?;
        let pod = network.host().pod("p1")?;
        let add = |families: &str| -> Result<Call> {
            let config = config(&network, families, "c1")?;
            Ok(network.call("ADD")?.container("c1").pod(&pod).config(&config))
        };
        // The blocks are there from now on.
        add("46")?.result()?;
        add("46")?.verb("DEL").done()?;
        let before = network.before()?;
        for (ours, theirs) in [("4", "4"), ("46", "46"), ("46", "4"), ("46", "6")] {
            let first = next(&network)?;
            let commit = Point { name: "store.commit".into(), count: 1 };
            let add = add(ours)?;
            let running = add.stopped_at(&commit)?.context("it commits nothing")?;
            let config = config(&network, theirs, "other")?;
            let other = network.ipam("ADD")?.container("other").config(&config);
            let taken = addresses(&other.result()?)?;
            ensure!(taken.iter().all(|ip| first.contains(ip)), "{taken:?} instead of {first:?}");
            running.resume()?;
            let answer = running.answer()?;
            ensure!(answer.exit == Some(0), "{answer:#?}");
            let result = serde_json::from_str(&answer.stdout)?;
            let given = addresses(&result)?;
            ensure!(given.len() == ours.len(), "{given:?}");
            for (given, first) in given.iter().zip(&first) {
                ensure!((given == first) != taken.contains(first), "{given} after {taken:?}");
            }
            agrees(&network, &pod, "c1", &result)
                .with_context(|| format!("{given:?} instead of {first:?}"))?;
            network.check_pod(&given, |to| pod.ping(to))?;
            add.verb("DEL").done()?;
            other.verb("DEL").done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}
