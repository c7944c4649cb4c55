//! What each verb costs: requests to etcd, as etcd counts them (`reference/ipam.md` section 15.3),
//! and the bytes of its answers. Neither may grow with the cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Backend, Call, Network, Stores, objects, scene};

/// What else the large cluster has: nodes, each with a block, a handle and an endpoint.
const OTHERS: u32 = 200;

/// The price of one call.
#[derive(Debug, Clone, Copy)]
struct Cost {
    requests: u64,
    bytes: u64,
}

/// The most requests that a call may make.
const MOST: [(&str, u64); 28] = [
    ("calico-ipam: first ADD of a node", 3),
    ("calico-ipam: ADD", 2),
    ("calico-ipam: ADD again", 1),
    ("calico-ipam: ADD, IP= in an own block", 3),
    ("calico-ipam: ADD, IP= in a new block", 3),
    ("calico-ipam: ADD, both families, first", 3),
    ("calico-ipam: ADD, both families", 2),
    ("calico-ipam: CHECK", 2),
    ("calico-ipam: STATUS", 4),
    ("calico-ipam: DEL", 3),
    ("calico-ipam: DEL with the result of ADD", 2),
    ("calico-ipam: DEL of both families with the result of ADD", 2),
    ("calico-ipam: DEL again", 1),
    ("calico-ipam: DEL, both families", 3),
    ("calico-ipam: ADD, three of four own blocks full", 2),
    ("calico-ipam: ADD, four own blocks full", 4),
    ("calico-ipam: GC, nothing stale", 1),
    ("calico: first ADD of a node", 3),
    ("calico: ADD", 2),
    ("calico: ADD again", 1),
    ("calico: ADD, IP= in an own block", 3),
    ("calico: ADD, both families, first", 3),
    ("calico: ADD, both families", 2),
    ("calico: DEL", 3),
    ("calico: DEL, both families", 3),
    ("calico: DEL with the result of ADD", 2),
    ("calico: DEL of both families with the result of ADD", 2),
    ("calico: DEL again", 2),
];

#[test]
fn no_verb_asks_more_often_than_it_must_and_none_more_in_a_large_cluster() {
    let (small, large) = (costs(0), costs(OTHERS));
    eprintln!(
        "| call | requests | bytes | with {OTHERS} more nodes | bytes |\n|---|---|---|---|---|"
    );
    for ((name, cost), (_, more)) in small.iter().zip(&large) {
        let Cost { requests, bytes } = cost;
        eprintln!("| {name} | {requests} | {bytes} | {} | {} |", more.requests, more.bytes);
    }
    for (name, _) in &small {
        assert!(MOST.iter().any(|(known, _)| known == name), "no limit for {name}");
    }
    for (name, most) in MOST {
        let at = small.iter().position(|(known, _)| known == name);
        let at = at.unwrap_or_else(|| panic!("{name} was not played"));
        let (small, large) = (small[at].1, large[at].1);
        // Candidates for a new block are read whole: four at first.
        let spare = if name.contains("first") { 4 * 3000 } else { 200 };
        assert!(small.requests <= most, "{name}: {} requests", small.requests);
        assert!(
            large.requests == small.requests && large.bytes <= small.bytes + spare,
            "{name} costs more in a large cluster: {small:?}, {large:?}"
        );
    }
}

/// The prices with so many other nodes.
fn costs(others: u32) -> Vec<(String, Cost)> {
    let mut costs = Vec::new();
    for program in ["calico-ipam", "calico"] {
        scene(&format!("cost-{program}-{others}"), |scene| {
            let network = Network::without_pools(scene, Backend::Etcd)?;
            fill(&network, others)?;
            Ledger { network: &network, program, costs: &mut costs }.play()
        });
    }
    costs
}

/// Pools, and what others have.
fn fill(network: &Network, others: u32) -> Result<()> {
    let mut documents = vec![
        objects::pool("pool-v4", "10.65.0.0/16", 26),
        objects::pool("pool-v6", "fd00:65::/64", 122),
    ];
    for n in 0..others {
        // Every fifth block, with every third address taken.
        let (node, at) = (format!("other-{n}"), n * 5 * 64);
        let cidr = format!("10.65.{}.{}", at / 256, at % 256);
        let taken: Vec<u32> = (0..64).filter(|ordinal| ordinal % 3 == 0).collect();
        let allocations: Vec<Value> =
            (0..64u32).map(|o| if o % 3 == 0 { json!(o / 3) } else { Value::Null }).collect();
        let handle = |ordinal: &u32| format!("calico.{node}-{ordinal}");
        let attributes: Vec<Value> = taken
            .iter()
            .map(|o| json!({"handle_id": handle(o), "secondary": {"node": node}}))
            .collect();
        let free: Vec<u32> = (0..64).filter(|ordinal| ordinal % 3 != 0).collect();
        let block = json!({
            "cidr": format!("{cidr}/26"), "affinity": format!("host:{node}"),
            "allocations": allocations, "unallocated": free, "attributes": attributes,
            "sequenceNumber": 7, "deleted": false,
        });
        documents.push(objects::node(&node));
        documents.push((format!("/calico/ipam/v2/assignment/ipv4/block/{cidr}-26"), block));
        let affinity = json!({"state": "confirmed", "deleted": false});
        documents.push((format!("/calico/ipam/v2/host/{node}/ipv4/block/{cidr}-26"), affinity));
        for ordinal in &taken {
            let handle = format!("/calico/ipam/v2/handle/{}", handle(ordinal));
            documents.push((handle, json!({"block": {format!("{cidr}/26"): 1}, "deleted": false})));
        }
        let name = format!("{node}-cni-{node}--0-eth0");
        let (_, endpoint) = objects::resource(
            "WorkloadEndpoint",
            "workloadendpoints",
            &name,
            json!({"node": node, "orchestrator": "cni", "ipNetworks": [format!("{cidr}/32")]}),
        );
        let folder = "/calico/resources/v3/projectcalico.org/workloadendpoints/default";
        documents.push((format!("{folder}/{name}"), endpoint));
    }
    network.put(documents)
}

/// Plays calls and notes what they cost.
struct Ledger<'a> {
    network: &'a Network,
    program: &'a str,
    costs: &'a mut Vec<(String, Cost)>,
}

impl Ledger<'_> {
    fn call(&self, verb: &str, container: &str, ipam: Value) -> Result<Call> {
        let mut config = self.network.config()?;
        config["cniVersion"] = json!("1.1.0");
        for (name, value) in ipam.as_object().context("no object")? {
            config["ipam"][name] = value.clone();
        }
        let call = match self.program {
            "calico" => self.network.call(verb)?,
            _ => self.network.ipam(verb)?,
        };
        Ok(call.config(&config).container(container).env("CNI_NETNS", "/run/netns/pod"))
    }

    fn note(&mut self, name: &str, call: &Call) -> Result<()> {
        let Stores::Etcd(etcd) = self.network.store() else { return Ok(()) };
        let total = |requests: BTreeMap<String, u64>| requests.values().sum::<u64>();
        let before = (total(etcd.requests()?), etcd.bytes_sent()?);
        let answer = call.run()?;
        ensure!(answer.exit == Some(0), "{name}: {answer:?}");
        let requests = total(etcd.requests()?) - before.0;
        let bytes = etcd.bytes_sent()? - before.1;
        self.costs.push((format!("{}: {name}", self.program), Cost { requests, bytes }));
        Ok(())
    }

    fn play(&mut self) -> Result<()> {
        let both = json!({"assign_ipv4": "true", "assign_ipv6": "true"});
        let is_ipam = self.program == "calico-ipam";
        self.pod(|it| {
            it.note("first ADD of a node", &it.call("ADD", "c1", json!({}))?)?;
            it.note("ADD again", &it.call("ADD", "c1", json!({}))?)
        })?;
        self.pod(|it| it.note("ADD", &it.call("ADD", "c2", json!({}))?))?;
        let own = self.own_address(9)?;
        self.pod(|it| {
            let call = it.call("ADD", "c3", json!({}))?.args(&format!("IP={own}"));
            it.note("ADD, IP= in an own block", &call)
        })?;
        self.pod(|it| it.note("ADD, both families, first", &it.call("ADD", "c4", both.clone())?))?;
        self.pod(|it| it.note("ADD, both families", &it.call("ADD", "c5", both.clone())?))?;
        if is_ipam {
            let result = self.call("ADD", "c1", json!({}))?.result()?;
            let mut check = self.network.config()?;
            check["prevResult"] = result;
            check["cniVersion"] = json!("1.1.0");
            self.note("CHECK", &self.call("CHECK", "c1", json!({}))?.config(&check))?;
            self.note("STATUS", &self.call("STATUS", "c1", json!({}))?)?;
            let call = self.call("ADD", "c6", json!({}))?.args("IP=10.65.255.1");
            self.note("ADD, IP= in a new block", &call)?;
        }
        self.note("DEL", &self.call("DEL", "c2", json!({}))?)?;
        self.note("DEL again", &self.call("DEL", "c2", json!({}))?)?;
        self.note("DEL, both families", &self.call("DEL", "c5", both.clone())?)?;
        self.pod(|it| it.remembered("DEL with the result of ADD", "c7", json!({})))?;
        self.pod(|it| it.remembered("DEL of both families with the result of ADD", "c8", both))?;
        if is_ipam {
            for container in ["c1", "c3", "c4", "c6"] {
                self.call("DEL", container, json!({}))?.done()?;
            }
            self.note("GC, nothing stale", &self.gc()?)?;
            self.full_blocks()?;
        }
        Ok(())
    }

    /// DEL as runtimes call it: they remember the result of ADD.
    fn remembered(&mut self, name: &str, container: &str, ipam: Value) -> Result<()> {
        let add = self.call("ADD", container, ipam.clone())?;
        let mut config = self.network.config()?;
        config["cniVersion"] = json!("1.1.0");
        config["prevResult"] = add.result()?;
        self.note(name, &self.call("DEL", container, ipam)?.config(&config))
    }

    /// Runs `body` with a namespace to attach.
    fn pod(&mut self, body: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let pod = self.network.host().pod("pod")?;
        body(self)?;
        pod.remove()
    }

    /// A free address of the node's own block.
    fn own_address(&self, ordinal: u8) -> Result<String> {
        let dump = self.network.store().dump()?;
        let affinities = "/calico/ipam/v2/host/node-a/ipv4/block/";
        let (key, _) = dump.under(affinities).next().context("no block")?;
        let cidr = key.replace(affinities, "").replace('-', "/");
        let network: ipnet::Ipv4Net = cidr.parse()?;
        Ok(network.hosts().nth(usize::from(ordinal)).context("too small")?.to_string())
    }

    /// GC with nothing that is valid, and nothing of this network.
    fn gc(&self) -> Result<Call> {
        let mut config = self.network.config()?;
        config["cniVersion"] = json!("1.1.0");
        config["name"] = json!("nothing-of-this-name");
        config["cni.dev/valid-attachments"] = json!([]);
        Ok(self.network.ipam("GC")?.config(&config))
    }

    /// In a pool whose blocks are small: the node owns four, three or all of them full.
    fn full_blocks(&mut self) -> Result<()> {
        self.network.put([objects::pool("pool-small", "10.66.0.0/24", 31)])?;
        let small = json!({"ipv4_pools": ["pool-small"]});
        for n in 0..7 {
            self.call("ADD", &format!("f{n}"), small.clone())?.result()?;
        }
        let call = self.call("ADD", "f7", small.clone())?;
        self.note("ADD, three of four own blocks full", &call)?;
        self.note("ADD, four own blocks full", &self.call("ADD", "f8", small)?)
    }
}

/// How many containers there were on the node that collects; each second one is gone.
const CONTAINERS: u32 = 1024;

/// The most requests of a GC, by the plugin and by how many more nodes there are.
const MOST_OF_GC: [(&str, u32, u64); 4] = [
    ("calico-ipam", 0, 20),
    ("calico-ipam", OTHERS, 23),
    ("calico", 0, 130),
    ("calico", OTHERS, 134),
];

#[test]
fn a_gc_asks_for_many_at_once() {
    for (program, others, most) in MOST_OF_GC {
        scene(&format!("cost-gc-{program}-{others}"), |scene| {
            let network = Network::without_pools(scene, Backend::Etcd)?;
            let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
            fill(&network, others)?;
            let before = network.before()?;
            let valid = crowd(&network, program == "calico")?;
            let mut config = network.config()?;
            config["cniVersion"] = json!("1.1.0");
            config["cni.dev/valid-attachments"] = json!(valid);
            let call = Call::new(network.host(), program, "GC").config(&config);
            let total = || anyhow::Ok(etcd.requests()?.values().sum::<u64>());
            let asked = total()?;
            let answer = call.run()?;
            ensure!(answer.exit == Some(0), "{answer:?}");
            let asked = total()? - asked;
            eprintln!("{program}, {others} more nodes: {asked} requests, {:?}", answer.elapsed);
            let left = before.left()?;
            let kept = CONTAINERS as usize / 2 * if program == "calico" { 3 } else { 2 };
            ensure!(left.len() == kept, "{} things are left of {kept}", left.len());
            ensure!(!left.iter().any(|line| line.contains("gone-")), "{left:#?}");
            network.store().dump()?.consistent()?;
            ensure!(asked <= most, "{program}, {others} more nodes: {asked} requests");
            Ok(())
        });
    }
}

/// Full blocks of this node, and an endpoint for each address; the containers that are still there.
fn crowd(network: &Network, has_endpoints: bool) -> Result<Vec<Value>> {
    let node = network.host().name();
    let (mut documents, mut valid) = (Vec::new(), Vec::new());
    for block in 0..CONTAINERS / 64 {
        // Beside those that others have.
        let at = (block * 5 + 1) * 64;
        let cidr = format!("10.65.{}.{}", at / 256, at % 256);
        let state = ["gone", "kept"];
        let ids: Vec<String> =
            (0..64).map(|o| format!("{}-{}", state[o as usize % 2], block * 64 + o)).collect();
        let attributes: Vec<Value> = ids
            .iter()
            .map(|id| json!({"handle_id": format!("calico.{id}"), "secondary": {"node": node}}))
            .collect();
        let value = json!({
            "cidr": format!("{cidr}/26"), "affinity": format!("host:{node}"),
            "allocations": (0..64).collect::<Vec<u32>>(), "unallocated": [],
            "attributes": attributes, "sequenceNumber": 7, "deleted": false,
        });
        documents.push((format!("/calico/ipam/v2/assignment/ipv4/block/{cidr}-26"), value));
        let affinity = json!({"state": "confirmed", "deleted": false});
        documents.push((format!("/calico/ipam/v2/host/{node}/ipv4/block/{cidr}-26"), affinity));
        for (ordinal, id) in (0u32..).zip(&ids) {
            let handle = format!("/calico/ipam/v2/handle/calico.{id}");
            documents.push((handle, json!({"block": {format!("{cidr}/26"): 1}, "deleted": false})));
            if id.starts_with("kept") {
                valid.push(json!({"containerID": id, "ifname": "eth0"}));
            }
            if has_endpoints {
                let ip = format!("10.65.{}.{}/32", at / 256, at % 256 + ordinal);
                let id_in_name = id.replace('-', "--");
                let name = format!("{}-cni-{id_in_name}-eth0", node.replace('-', "--"));
                let spec = json!({
                    "node": node, "orchestrator": "cni", "endpoint": "eth0", "containerID": id,
                    "ipNetworks": [ip], "interfaceName": format!("cali{id}"),
                    "profiles": ["calico"],
                });
                let (_, mut endpoint) =
                    objects::resource("WorkloadEndpoint", "workloadendpoints", &name, spec);
                endpoint["metadata"]["namespace"] = json!("default");
                let folder = "/calico/resources/v3/projectcalico.org/workloadendpoints/default";
                documents.push((format!("{folder}/{name}"), endpoint));
            }
        }
    }
    network.put(documents)?;
    Ok(valid)
}
