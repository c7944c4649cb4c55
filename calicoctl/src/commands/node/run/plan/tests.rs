use std::time::{Duration, Instant};

use libcalico::resources::{EncapMode, Object};
use libcalico::store::{Committed, MemoryStore, Store};
use serde_json::Value;

use super::super::detect::Method;
use super::super::options::Flags;
use super::*;

/// A store with what tests ask of it.
struct Cluster(MemoryStore);

impl Cluster {
    fn new() -> Cluster {
        Cluster(MemoryStore::new())
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work)
    }

    fn found(&self, node: &str) -> Found {
        let deadline = Instant::now() + Duration::from_secs(5);
        let snapshot = Cluster::run(self.0.read(&queries(node), deadline)).unwrap();
        Found::from_results(&snapshot.results).unwrap()
    }

    fn commit(&self, changes: &[Change]) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        let committed = Cluster::run(self.0.commit(changes, deadline)).unwrap();
        matches!(committed, Committed::Done(_))
    }

    /// Writes all that a plan says until nothing is left; the notes of the first one.
    fn register(&self, machine: &Machine) -> Result<Vec<String>, String> {
        let mut notes = None;
        for _ in 0..5 {
            let plan = machine.plan(&self.found(&machine.name));
            assert!(plan.changes.is_empty() || self.commit(&plan.changes));
            notes.get_or_insert(plan.notes);
            if let Some(refusal) = plan.refusal {
                return Err(refusal.to_string());
            }
            if plan.changes.is_empty() {
                return Ok(notes.unwrap_or_default());
            }
        }
        panic!("plans never come to an end");
    }

    fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        let query = Query::Key(Key::global(kind, name));
        let deadline = Instant::now() + Duration::from_secs(5);
        let snapshot = Cluster::run(self.0.read(&[query], deadline)).unwrap();
        let document = snapshot.results.first()?.first()?.clone();
        Some(serde_json::from_slice::<Value>(&document.value).unwrap()["spec"].take())
    }

    fn change(&self, kind: Kind, change: impl FnOnce(&mut AnyResource)) {
        let query = Query::Key(Key::global(kind, "default"));
        let deadline = Instant::now() + Duration::from_secs(5);
        let snapshot = Cluster::run(self.0.read(&[query], deadline)).unwrap();
        let mut object = AnyResource::decode(&snapshot.results[0][0]).unwrap();
        change(&mut object);
        let change = Change::update(object.key(), snapshot.results[0][0].revision, object.encode());
        assert!(self.commit(&[change]));
    }
}

/// A host, and what is said to it.
struct Machine {
    name: String,
    interfaces: Vec<Interface>,
    variables: Vec<(String, String)>,
    is_etcd: bool,
}

impl Machine {
    fn new(name: &str, address: &str) -> Machine {
        let interface = Interface {
            name: "eth0".to_owned(),
            index: 2,
            is_up: true,
            addresses: address.split_whitespace().map(|text| text.parse().unwrap()).collect(),
        };
        let (name, interfaces) = (name.to_owned(), vec![interface]);
        Machine { name, interfaces, variables: Vec::new(), is_etcd: true }
    }

    fn with(mut self, name: &str, value: &str) -> Machine {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn plan(&self, found: &Found) -> Plan {
        let lookup = |name: &str| {
            let mut variables = self.variables.iter();
            variables.find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        let options = Options::read(&Flags::default(), lookup).unwrap();
        let detect =
            |is_v6| Method::FirstFound.detect(is_v6, &self.interfaces, |_, _| unreachable!());
        let host = Host {
            name: &self.name,
            options: &options,
            interfaces: &self.interfaces,
            detected: &[detect(false), detect(true)],
            has_ipv6: true,
            is_etcd: self.is_etcd,
        };
        plan(&host, found, OffsetDateTime::UNIX_EPOCH, Uuid::new_v4).unwrap()
    }
}

#[test]
fn a_fresh_cluster_gets_everything_once() {
    let cluster = Cluster::new();
    let machine = Machine::new("node-a", "192.0.2.1/24").with("CLUSTER_TYPE", "k8s,bgp");
    let notes = cluster.register(&machine).unwrap();
    assert_eq!(notes[0], "IPv4 address: 192.0.2.1/24 (autodetected on eth0)");
    assert_eq!(notes[1], "default pool default-ipv4-ippool: 192.168.0.0/16");
    let node = json!({"bgp": {"ipv4Address": "192.0.2.1/24"}});
    assert_eq!(cluster.get(Kind::Node, "node-a"), Some(node));
    let info = cluster.get(Kind::ClusterInformation, "default").unwrap();
    assert_eq!((&info["clusterType"], &info["datastoreReady"]), (&json!("k8s,bgp"), &json!(true)));
    let pool = cluster.get(Kind::IpPool, "default-ipv4-ippool").unwrap();
    let expected = json!({
        "cidr": "192.168.0.0/16", "vxlanMode": "Never", "ipipMode": "Never", "natOutgoing": true,
        "blockSize": 26, "nodeSelector": "all()", "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic"
    });
    assert_eq!(pool, expected);
    let pool = cluster.get(Kind::IpPool, "default-ipv6-ippool").unwrap();
    let cidr = pool["cidr"].as_str().unwrap();
    assert!(cidr.starts_with("fd") && cidr.ends_with("::/48"), "{cidr}");
    assert_eq!((&pool["blockSize"], &pool["natOutgoing"]), (&json!(122), &Value::Null));
    let of_node = cluster.get(Kind::FelixConfiguration, "node.node-a").unwrap();
    assert_eq!(of_node["defaultEndpointToHostAction"], "Return");
    let felix = cluster.get(Kind::FelixConfiguration, "default").unwrap();
    assert_eq!(felix["logSeverityScreen"], "Info");
    assert!(cluster.get(Kind::BgpConfiguration, "default").is_some());
    let ipam = cluster.get(Kind::IpamConfiguration, "default").unwrap();
    assert_eq!(ipam, json!({"strictAffinity": false, "autoAllocateBlocks": true}));
    assert!(cluster.get(Kind::Tier, "kube-baseline").is_some());

    assert!(machine.plan(&cluster.found("node-a")).changes.is_empty());
    // A second node adds itself and nothing else, and of a local store there is only one.
    let mut second = Machine::new("node-b", "192.0.2.2/24");
    second.is_etcd = false;
    let plan = second.plan(&cluster.found("node-b"));
    let found = cluster.found("node-b");
    let changes: Vec<String> =
        plan.changes.iter().filter(|c| !is_turnstile(&found, c)).map(describe).collect();
    assert_eq!(changes, ["create Node(node-b)"]);
}

#[test]
fn what_is_there_stays_as_it_is() {
    let cluster = Cluster::new();
    let machine = Machine::new("node-a", "192.0.2.1/24 192.0.2.7/24 2001:db8::1/64");
    cluster.register(&machine).unwrap();
    cluster.change(Kind::FelixConfiguration, |felix| felix.spec = json!({"ipipEnabled": true}));
    let moved = Machine::new("node-a", "192.0.2.99/24");
    let notes = cluster.register(&moved).unwrap();
    assert_eq!(notes, ["IPv4 address: 192.0.2.1/24 (as stored)"]);
    assert_eq!(
        cluster.get(Kind::FelixConfiguration, "default"),
        Some(json!({"ipipEnabled": true}))
    );

    let spec = |machine: Machine| {
        cluster.register(&machine).unwrap();
        cluster.get(Kind::Node, "node-a").unwrap()["bgp"].take()
    };
    let machine = || Machine::new("node-a", "192.0.2.1/24 192.0.2.7/24 2001:db8::1/64");
    let bgp = spec(machine().with("IP", "192.0.2.7").with("AS", "64999"));
    assert_eq!(bgp, json!({"asNumber": 64999, "ipv4Address": "192.0.2.7/24"}));
    let bgp = spec(machine().with("IP6", "autodetect"));
    assert_eq!(bgp["ipv6Address"], "2001:db8::1/64");
    // An empty IP6 keeps what is stored.
    assert_eq!(spec(machine())["ipv6Address"], "2001:db8::1/64");
    let bgp = spec(machine().with("IP", "none"));
    assert_eq!(bgp, json!({"asNumber": 64999, "ipv6Address": "2001:db8::1/64"}));
    let bgp = spec(machine().with("IP", "203.0.113.5"));
    assert_eq!(bgp["ipv4Address"], "203.0.113.5/32");
}

#[test]
fn an_address_has_one_node() {
    let cluster = Cluster::new();
    cluster.register(&Machine::new("node-a", "192.0.2.1/24 2001:db8::1/64")).unwrap();
    let other = || Machine::new("node-b", "192.0.2.1/16");
    let refusal = "Calico node 'node-a' is already using the IPv4 address 192.0.2.1.";
    assert_eq!(cluster.register(&other()), Err(refusal.to_owned()));
    assert_eq!(cluster.get(Kind::Node, "node-b"), None);
    cluster.register(&other().with("DISABLE_NODE_IP_CHECK", "true")).unwrap();
    // By now it has the address, and loses it where it was only looked for.
    assert_eq!(cluster.register(&other()), Err(refusal.to_owned()));
    assert!(cluster.get(Kind::Node, "node-b").unwrap().get("bgp").is_some());
    assert_eq!(cluster.register(&other().with("IP", "autodetect")), Err(refusal.to_owned()));
    assert_eq!(cluster.get(Kind::Node, "node-b"), Some(json!({})));
}

#[test]
fn of_two_that_start_at_once_one_looks_again() {
    let cluster = Cluster::new();
    let (a, b) = (Machine::new("node-a", "192.0.2.1/24"), Machine::new("node-b", "192.0.2.1/24"));
    let (first, second) = (a.plan(&cluster.found("node-a")), b.plan(&cluster.found("node-b")));
    assert!(first.refusal.is_none() && second.refusal.is_none());
    assert!(cluster.commit(&first.changes));
    assert!(!cluster.commit(&second.changes), "both have 192.0.2.1");
    assert!(cluster.register(&b).unwrap_err().contains("node-a"));

    // Nobody writes ClusterInformation for its own sake any more.
    let cluster = Cluster::new();
    cluster.register(&Machine::new("node-z", "192.0.2.26/24")).unwrap();
    let (first, second) = (a.plan(&cluster.found("node-a")), b.plan(&cluster.found("node-b")));
    assert!(cluster.commit(&first.changes));
    assert!(!cluster.commit(&second.changes), "both have 192.0.2.1");
}

#[test]
fn a_node_without_an_address_is_none() {
    let cluster = Cluster::new();
    let bare = || Machine::new("node-a", "fe80::1/64 169.254.1.1/16");
    let error = cluster.register(&bare()).unwrap_err();
    assert!(error.contains("no IP address") && error.contains("first-found"), "{error}");
    assert_eq!(cluster.get(Kind::Node, "node-a"), None);
    let error = cluster.register(&bare().with("IP", "none")).unwrap_err();
    assert!(error.contains("none is wanted"), "{error}");
    // Without a network it needs none.
    cluster.register(&bare().with("CALICO_NETWORKING_BACKEND", "none")).unwrap();
    assert_eq!(cluster.get(Kind::Node, "node-a"), Some(json!({})));
    // One of IPv6 will do.
    cluster.register(&Machine::new("node-c", "2001:db8::3/64").with("IP6", "autodetect")).unwrap();
    let bgp = cluster.get(Kind::Node, "node-c").unwrap();
    assert_eq!(bgp, json!({"bgp": {"ipv6Address": "2001:db8::3/64"}}));
}

#[test]
fn an_address_that_is_not_found_again_is_given_back() {
    let cluster = Cluster::new();
    let machine = |addresses| Machine::new("node-a", addresses).with("IP", "autodetect");
    cluster.register(&machine("192.0.2.1/24")).unwrap();
    let error = cluster.register(&machine("fe80::1/64")).unwrap_err();
    assert!(error.starts_with("failed to autodetect an IPv4 address: "), "{error}");
    assert_eq!(cluster.get(Kind::Node, "node-a"), Some(json!({})));
}

#[test]
fn a_locked_datastore_is_left_alone() {
    let cluster = Cluster::new();
    let machine = Machine::new("node-a", "192.0.2.1/24");
    cluster.register(&machine).unwrap();
    cluster.change(Kind::ClusterInformation, |info| info.spec["datastoreReady"] = json!(false));
    let plan = Machine::new("node-b", "192.0.2.2/24").plan(&cluster.found("node-b"));
    assert!(plan.changes.is_empty() && matches!(plan.refusal, Some(Refusal::Locked)));
}

#[test]
fn default_pools_are_as_they_are_ordered() {
    let pool = |variables: &[(&str, &str)], address: &str, name: &str| {
        let cluster = Cluster::new();
        let mut machine = Machine::new("node-a", address);
        for (variable, value) in variables {
            machine = machine.with(variable, value);
        }
        cluster.register(&machine).unwrap();
        cluster.get(Kind::IpPool, name)
    };
    let (v4, v6) = ("default-ipv4-ippool", "default-ipv6-ippool");
    let clash = pool(&[], "192.168.7.1/24 172.16.0.1/12", v4).unwrap();
    assert_eq!(clash["cidr"], "172.17.0.0/16");
    assert_eq!(pool(&[("NO_DEFAULT_POOLS", "true")], "192.0.2.1/24", v4), None);
    assert_eq!(pool(&[("CALICO_IPV4POOL_CIDR", "none")], "192.0.2.1/24", v4), None);
    let ordered = pool(
        &[
            ("CALICO_IPV4POOL_CIDR", "10.7.0.0/20"),
            ("CALICO_IPV4POOL_BLOCK_SIZE", "28"),
            ("CALICO_IPV4POOL_IPIP", "Always"),
            ("CALICO_IPV4POOL_NAT_OUTGOING", "false"),
            ("CALICO_IPV4POOL_NODE_SELECTOR", "has(x)"),
            ("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", "true"),
        ],
        "192.0.2.1/24",
        v4,
    )
    .unwrap();
    let spec: IpPoolSpec = serde_json::from_value(ordered).unwrap();
    assert_eq!((spec.cidr.as_str(), spec.block_size), ("10.7.0.0/20", 28));
    assert_eq!(spec.ipip_mode, Some(EncapMode::Always));
    assert!(!spec.nat_outgoing && spec.disable_bgp_export && spec.node_selector == "has(x)");
    let six = pool(&[("CALICO_IPV6POOL_CIDR", "fd00:7::/64")], "192.0.2.1/24", v6).unwrap();
    assert_eq!(six["cidr"], "fd00:7::/64");
}

#[test]
fn the_visible_configuration_of_ipam_is_the_real_one() {
    let cluster = Cluster::new();
    let strict = IpamConfig {
        strict_affinity: true,
        auto_allocate_blocks: true,
        max_blocks_per_host: 4,
        ..IpamConfig::default()
    };
    assert!(cluster.commit(&[Change::create(Key::IpamConfig, strict.encode())]));
    cluster.register(&Machine::new("node-a", "192.0.2.1/24")).unwrap();
    let seen = cluster.get(Kind::IpamConfiguration, "default").unwrap();
    let expected =
        json!({"strictAffinity": true, "maxBlocksPerHost": 4, "autoAllocateBlocks": true});
    assert_eq!(seen, expected);
}

#[test]
fn kubernetes_name_for_the_node_is_noted_once() {
    let cluster = Cluster::new();
    let machine = || Machine::new("node-a", "192.0.2.1/24").with("CALICO_K8S_NODE_REF", "kube-a");
    cluster.register(&machine()).unwrap();
    cluster.register(&machine()).unwrap();
    let refs = cluster.get(Kind::Node, "node-a").unwrap()["orchRefs"].take();
    assert_eq!(refs, json!([{"nodeName": "kube-a", "orchestrator": "k8s"}]));
}
