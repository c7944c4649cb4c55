//! Where it happens: the nodes, their store, and how a node's plugin is called and watched.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use libcalico::names;
use libcalico::store::Key;
use serde_json::{Value, json};

use super::history::{Call as Entry, Moment, Outcome, Picture, Recorder, Trouble, Verb};
use super::plan::Fate;
use crate::conf::{conflist, plugin_of};
use crate::etcd::Etcd;
use crate::fault::{Point, VARIABLE};
use crate::host::Host;
use crate::leak::Before;
use crate::network::{Backend, addresses};
use crate::objects;
use crate::plugin::{Answer, Call};
use crate::scene::Scene;
use crate::store::{Dump, Stores};

/// Makes a process' clock wrong: `fault_points::CLOCK`.
const CLOCK: &str = "CALICO_RS_CLOCK";
/// The folder of the local store, and of the notes of what DEL owes.
pub(super) const FOLDER: &str = "/var/lib/calico";
/// How much room the local store has.
const ROOM: &str = "size=6m";
/// The longest that a plugin may take, whatever it waits for: its own limits are much shorter.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the plugins wait, in seconds.
const PATIENCE: u64 = 12;
/// How many nodes and members a cluster has.
const NODES: usize = 3;
const MEMBERS: usize = 3;

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: Arc<Host>,
    config: Value,
    /// By how many seconds its clock is wrong.
    clock: AtomicI64,
    /// The runtime runs GC while no ADD and no DEL is under way, as the specification demands.
    pub(super) gate: RwLock<()>,
    /// The containers that the runtime believes to be attached.
    pub(super) attached: Mutex<BTreeSet<String>>,
    before: Before,
}

/// The nodes and their store.
#[derive(Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) members: Vec<Arc<Etcd>>,
    /// Where the wires of nodes and members end.
    pub(super) hub: Option<Arc<Host>>,
    pub(super) store: Stores,
    pub(super) history: Recorder,
    network: String,
    typical: BTreeMap<Verb, (Duration, Vec<Point>)>,
    over: Mutex<bool>,
    ended: Condvar,
}

/// Whom a call is for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) container: String,
    /// The pod whose sandbox it is.
    pub(super) pod: Option<String>,
}

impl World {
    pub(super) fn new(scene: &Scene, backend: Backend, history: &Path) -> Result<World> {
        let (hosts, members, hub, store, list) = match backend {
            Backend::Local => standalone(scene)?,
            Backend::Etcd => cluster(scene)?,
        };
        let config = plugin_of(&list)?;
        let network = config["name"].as_str().context("a network without a name")?.to_owned();
        let mut nodes = Vec::new();
        let typical = measure(&hosts[0], &config)?;
        for host in hosts {
            let before = Before::of(&host, &store)?;
            nodes.push(Node {
                host,
                config: config.clone(),
                clock: AtomicI64::default(),
                gate: RwLock::default(),
                attached: Mutex::default(),
                before,
            });
        }
        let history = Recorder::new(history, backend == Backend::Etcd)?;
        let (over, ended) = (Mutex::new(false), Condvar::new());
        Ok(World { nodes, members, hub, store, history, network, typical, over, ended })
    }

    /// Waits; false if all is over before that.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let over = self.over.lock().expect("no holder panics");
        let waited = self.ended.wait_timeout_while(over, pause, |over| !*over);
        !*waited.expect("no holder panics").0
    }

    /// Ends all pauses.
    pub(super) fn end(&self) {
        *self.over.lock().expect("no holder panics") = true;
        self.ended.notify_all();
    }

    /// Calls a node's plugin and writes down what came of it. `previous` is the result of the ADD.
    pub(super) fn call(
        &self,
        node: &Node,
        verb: Verb,
        target: &Target,
        previous: Option<&Value>,
        fate: Fate,
    ) -> Result<(Outcome, Value)> {
        let mut config = node.config.clone();
        if let Some(previous) = previous {
            config["prevResult"] = previous.clone();
        }
        let mut call = plugin(&node.host, verb, &config).container(&target.container);
        call = call.env("CNI_NETNS", &format!("/run/netns/{}", target.container));
        if let Some(pod) = &target.pod {
            call = call.args(&format!("K8S_POD_NAMESPACE=soak;K8S_POD_NAME={pod}"));
        }
        self.play(node, verb, &target.container, BTreeSet::new(), call, fate)
    }

    /// GC of a node: what is attached stays. Nothing else happens on the node meanwhile.
    pub(super) fn gc(&self, node: &Node, fate: Fate) -> Result<Outcome> {
        let _alone = node.gate.write().expect("no holder panics");
        let valid = node.attached.lock().expect("no holder panics").clone();
        let mut config = node.config.clone();
        config["cni.dev/valid-attachments"] =
            valid.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
        let call = plugin(&node.host, Verb::Gc, &config);
        let call = call.without("CNI_CONTAINERID").without("CNI_IFNAME");
        Ok(self.play(node, Verb::Gc, "", valid, call, fate)?.0)
    }

    fn play(
        &self,
        node: &Node,
        verb: Verb,
        container: &str,
        valid: BTreeSet<String>,
        call: Call,
        fate: Fate,
    ) -> Result<(Outcome, Value)> {
        let wrong_by = node.clock.load(Ordering::Relaxed);
        let call = if wrong_by == 0 { call } else { call.env(CLOCK, &wrong_by.to_string()) };
        let (typical, points) = self.typical.get(&verb).context("a verb that wasn't measured")?;
        let point = |part: f64| {
            let index = (part * points.len() as f64) as usize;
            points.get(index).context("a call without points")
        };
        let start = self.history.now();
        let answer = match fate {
            Fate::Whole => call.run()?,
            Fate::KilledAfter(part) => call.start()?.killed_after(typical.mul_f64(part))?,
            Fate::KilledAt(part) => call.env(VARIABLE, &format!("kill {}", point(part)?)).run()?,
            Fate::StoppedAt(part, pause) => self.stopped(&call, point(part)?, pause)?,
        };
        let end = self.history.now();
        let (outcome, result) = outcome(verb, fate, &answer);
        self.history.call(Entry {
            node: node.host.name().to_owned(),
            verb,
            container: container.to_owned(),
            valid,
            fate: match wrong_by {
                0 => fate.to_string(),
                _ => format!("{fate}, its clock wrong by {wrong_by} s"),
            },
            start,
            end,
            outcome: outcome.clone(),
        })?;
        Ok((outcome, result))
    }

    /// A process that stands still for a while, and may hold locks that others want.
    fn stopped(&self, call: &Call, point: &Point, pause: Duration) -> Result<Answer> {
        let start = self.history.now();
        let running = call.clone().env(VARIABLE, &format!("stop {point}")).start()?;
        if running.has_stopped()? {
            self.pause(pause);
            running.resume()?;
            let what = format!("a call stopped at {point}");
            let end = self.history.now();
            self.history.trouble(Trouble { what, excuses: true, start, end })?;
        }
        running.answer()
    }

    /// Sets a node's clock.
    pub(super) fn set_clock(&self, node: usize, wrong_by: i64) {
        self.nodes[node].clock.store(wrong_by, Ordering::Relaxed);
    }

    /// Looks at everything. `problems` are what was found already.
    pub(super) fn look(&self, moment: Moment, mut problems: Vec<String>) -> Result<()> {
        let dump = self.dump()?;
        problems.extend(dump.consistent().err().map(|error| format!("{error:#}")));
        if moment == Moment::Ended {
            for node in &self.nodes {
                let left = node.before.left()?;
                problems.extend(left.iter().map(|left| format!("{}: {left}", node.host.name())));
            }
        }
        let endpoints = dump
            .endpoints()
            .into_iter()
            .filter_map(|endpoint| Some(endpoint["spec"]["containerID"].as_str()?.to_owned()));
        let (endpoints, held) = (endpoints.collect(), self.held(&dump)?);
        let at = self.history.now();
        self.history.picture(Picture { moment, at, held, endpoints, problems })
    }

    /// The store's content, once it answers: a cluster may still be choosing its leader.
    pub(super) fn dump(&self) -> Result<Dump> {
        let started = Instant::now();
        loop {
            match self.store.dump() {
                Err(error) if started.elapsed() > LIMIT => return Err(error),
                Err(_) => {}
                dump => return dump,
            }
        }
    }

    /// Who holds an address.
    fn held(&self, dump: &Dump) -> Result<BTreeMap<IpAddr, String>> {
        let prefix = names::handle_id(&self.network, "");
        let mut held = BTreeMap::new();
        for (key, ordinal, handle) in dump.allocations() {
            let Some(Key::Block(cidr)) = Key::parse(key) else { continue };
            let first = cidr.network();
            let address = match first {
                IpAddr::V4(first) => {
                    IpAddr::from((u32::from(first) + ordinal as u32).to_be_bytes())
                }
                IpAddr::V6(first) => {
                    IpAddr::from((u128::from(first) + ordinal as u128).to_be_bytes())
                }
            };
            let container = handle.strip_prefix(&prefix).unwrap_or(&handle).to_owned();
            held.insert(address, container);
        }
        Ok(held)
    }

    /// How many notes of what DEL owes a node has.
    pub(super) fn owed(&self, node: &Node) -> Result<usize> {
        node.host.within(|| match fs::read_dir(format!("{FOLDER}/owed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            entries => {
                let mut names = entries?.collect::<io::Result<Vec<_>>>()?;
                names.retain(|entry| entry.path().extension().is_some_and(|it| it == "json"));
                Ok(names.len())
            }
        })
    }
}

fn outcome(verb: Verb, fate: Fate, answer: &Answer) -> (Outcome, Value) {
    let strange = |message: String| (Outcome::Failed { code: 0, message }, Value::Null);
    match answer.exit {
        // One that nobody killed has crashed.
        None if matches!(fate, Fate::KilledAfter(_) | Fate::KilledAt(_)) => {
            (Outcome::Killed, Value::Null)
        }
        Some(0) if verb == Verb::Add => {
            let result = serde_json::from_str::<Value>(&answer.stdout).unwrap_or_default();
            match addresses(&result) {
                Ok(addresses) => (Outcome::Done(addresses.into_iter().collect()), result),
                Err(error) => strange(format!("{error:#}: {answer:?}")),
            }
        }
        Some(0) if answer.stdout.is_empty() => (Outcome::Done(BTreeSet::new()), Value::Null),
        _ => match answer.error() {
            Ok((code, message)) => (Outcome::Failed { code, message }, Value::Null),
            Err(error) => strange(format!("{error:#}")),
        },
    }
}

fn plugin(host: &Arc<Host>, verb: Verb, config: &Value) -> Call {
    Call::new(host, "calico", verb.name()).config(config).limit(LIMIT)
}

type Place = (Vec<Arc<Host>>, Vec<Arc<Etcd>>, Option<Arc<Host>>, Stores, Value);

fn settings(list: &mut Value) {
    list["cniVersion"] = json!("1.1.0");
    let plugin = &mut list["plugins"][0];
    plugin["timeout_seconds"] =
        json!({"add": PATIENCE, "del": PATIENCE, "check": PATIENCE, "gc": 2 * PATIENCE});
    plugin["ipam"] = json!({"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"});
}

/// One host whose local store has little room.
fn standalone(scene: &Scene) -> Result<Place> {
    let host = scene.host("node1")?;
    host.run(["mount", "-t", "tmpfs", "-o", ROOM, "tmpfs", FOLDER])?;
    let mut list = conflist("standalone")?;
    settings(&mut list);
    list["plugins"][0]["local"] = json!({"ipv4_pool_cidr": "10.65.0.0/24"});
    let store = Stores::Local(host.clone());
    Ok((vec![host], Vec::new(), None, store, list))
}

/// Nodes and members, each on a host of its own, joined by a bridge on one more.
fn cluster(scene: &Scene) -> Result<Place> {
    let hub = scene.host("hub")?;
    hub.run("ip link add br0 up type bridge".split(' '))?;
    let join = |name: &str, last: u8| -> Result<(Arc<Host>, IpAddr)> {
        let host = scene.host(name)?;
        hub.wire(&host, name)?;
        hub.run(["ip", "link", "set", name, "master", "br0"])?;
        for end in [&hub, &host] {
            // Its own addresses would come and go with the wire.
            end.set_sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
        }
        let address = IpAddr::from([198, 51, 100, last]);
        host.run(["ip", "address", "add", &format!("{address}/24"), "dev", name])?;
        Ok((host, address))
    };
    let members = (1..=MEMBERS).map(|n| join(&format!("etcd{n}"), 10 + n as u8));
    let members = members.collect::<Result<Vec<_>>>()?;
    let nodes = (1..=NODES).map(|n| Ok(join(&format!("node{n}"), 20 + n as u8)?.0));
    let nodes = nodes.collect::<Result<Vec<_>>>()?;
    let mut list = conflist("etcd")?;
    settings(&mut list);
    let urls: Vec<String> =
        members.iter().map(|(_, address)| format!("http://{address}:2379")).collect();
    list["plugins"][0]["etcd_endpoints"] = json!(urls.join(","));
    let members = Etcd::cluster(&members)?;
    let store = Stores::Etcd(members.first().context("no member")?.clone());
    let mut documents = vec![
        objects::cluster(true),
        // Small blocks: nodes claim, give up and borrow them all the time.
        objects::pool("pool-v4", "10.65.0.0/26", 30),
        objects::pool("pool-v6", "fd00:65::/122", 126),
    ];
    for node in &nodes {
        node.write("/var/lib/calico/nodename", node.name())?;
        documents.push(objects::node(node.name()));
    }
    let documents: Vec<_> =
        documents.into_iter().map(|(key, object)| (key, Some(object))).collect();
    store.write(&documents)?;
    Ok((nodes, members, Some(hub), store, list))
}

/// How long each verb takes and the points that it reaches, when nothing disturbs it.
fn measure(host: &Arc<Host>, config: &Value) -> Result<BTreeMap<Verb, (Duration, Vec<Point>)>> {
    let mut typical = BTreeMap::new();
    // The first time it makes what stays.
    for container in ["warm-up", "measured"] {
        let pod = host.pod(container)?;
        let mut result = Value::Null;
        for verb in [Verb::Add, Verb::Check, Verb::Gc, Verb::Del] {
            let mut config = config.clone();
            match verb {
                Verb::Check => config["prevResult"] = result.clone(),
                Verb::Gc => {
                    config["cni.dev/valid-attachments"] =
                        json!([{"containerID": container, "ifname": "eth0"}]);
                }
                Verb::Add | Verb::Del => {}
            }
            let mut call = plugin(host, verb, &config).container(container).pod(&pod);
            if verb == Verb::Gc {
                call = call.without("CNI_CONTAINERID").without("CNI_NETNS").without("CNI_IFNAME");
            }
            let started = Instant::now();
            let answer = call.run()?;
            let elapsed = started.elapsed();
            ensure!(answer.exit == Some(0), "{}: {answer:#?}", verb.name());
            if verb == Verb::Add {
                result = serde_json::from_str(&answer.stdout)?;
            }
            // Each verb may be repeated.
            typical.insert(verb, (elapsed, call.points()?));
        }
        pod.remove()?;
    }
    Ok(typical)
}
