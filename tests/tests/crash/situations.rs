//! The situations of the matrix: what is there before, which call is killed, and what puts it right.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, Pod, RESOURCES, Stores, objects};

/// What comes after a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// The runtime's DEL: of every other case without the namespace, which is gone.
    Del,
    /// One GC for all, with no valid attachment.
    Gc,
    /// An ADD of the same container, which works; then DEL.
    Add,
    /// The same by an IPAM plugin that refuses a container which it knows already: that ADD takes
    /// back what the killed one has left, and the next one works.
    AddTwice,
    /// An ADD of a new sandbox of the same pod, which works and goes on working when the former
    /// ones are deleted; then DEL.
    NewSandbox,
}

impl Recovery {
    /// The beginning of the names of its containers.
    pub fn letter(self) -> char {
        match self {
            Recovery::Del => 'd',
            Recovery::Gc => 'g',
            Recovery::Add => 'a',
            Recovery::AddTwice => 't',
            Recovery::NewSandbox => 's',
        }
    }
}

/// Where the cases of a situation take place.
pub struct World<'a> {
    network: &'a Network,
    /// The namespaces, by their names.
    pods: Mutex<BTreeMap<String, Pod>>,
}

/// A call that is killed, and what belongs to it. A case has a name, a letter and a number, of which
/// the names of its containers are made. Its namespaces bear the number alone: the next recovery of
/// the same number finds them as the one before has left them.
pub struct Situation {
    pub name: &'static str,
    /// Changes the network's configuration and the store.
    pub set_up: fn(&mut Network) -> Result<()>,
    /// Does to a case what comes before its call.
    prepare: fn(&World<'_>, &str) -> Result<()>,
    /// The call that is killed.
    victim: fn(&World<'_>, &str) -> Result<Call>,
    /// The attachments of a case, the victim's last.
    attachments: fn(&World<'_>, &str) -> Result<Vec<Call>>,
    pub recoveries: &'static [Recovery],
    /// Its call is about more than one container, so that only one case can be at a time.
    pub alone: bool,
    /// Each case begins on a node that has never had a container.
    is_first: bool,
}

const ALL_BUT_SANDBOX: &[Recovery] = &[Recovery::Del, Recovery::Gc, Recovery::Add];

/// All of them.
pub const ALL: &[Situation] = &[
    Situation {
        name: "first_add_of_a_node",
        set_up: nothing,
        prepare: |_, _| Ok(()),
        victim: container,
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: true,
        is_first: true,
    },
    Situation {
        name: "add_of_a_container",
        set_up: nothing,
        prepare: |_, _| Ok(()),
        victim: container,
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
        is_first: false,
    },
    Situation {
        name: "add_of_a_pods_new_sandbox",
        set_up: nothing,
        prepare: |world, at| sandbox(world, at, 'p')?.insist().map(drop),
        victim: |world, at| sandbox(world, at, 'q'),
        attachments: |world, at| Ok(vec![sandbox(world, at, 'p')?, sandbox(world, at, 'q')?]),
        recoveries: &[Recovery::Del, Recovery::Gc, Recovery::Add, Recovery::NewSandbox],
        alone: false,
        is_first: false,
    },
    Situation {
        name: "add_of_a_second_interface",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.insist().map(drop),
        victim: second,
        attachments: |world, at| Ok(vec![container(world, at)?, second(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
        is_first: false,
    },
    Situation {
        name: "add_by_another_ipam_plugin",
        set_up: host_local,
        prepare: |_, _| Ok(()),
        victim: container,
        attachments: |world, at| Ok(vec![container(world, at)?]),
        // Debian's host-local is older than GC: what only it knows stays until DEL.
        recoveries: &[Recovery::Del, Recovery::AddTwice],
        alone: false,
        is_first: false,
    },
    Situation {
        name: "add_that_fails",
        set_up: conflicting_routes,
        prepare: |_, _| Ok(()),
        victim: |world, at| Ok(container(world, at)?.args(&format!("IP={}", conflicting(at)))),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        // A new ADD would fail for the same reason.
        recoveries: &[Recovery::Del, Recovery::Gc],
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_of_a_container",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.insist().map(drop),
        victim: |world, at| Ok(container(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_of_a_pod",
        set_up: nothing,
        prepare: |world, at| sandbox(world, at, 'q')?.insist().map(drop),
        victim: |world, at| Ok(sandbox(world, at, 'q')?.verb("DEL")),
        attachments: |world, at| Ok(vec![sandbox(world, at, 'q')?]),
        recoveries: &[Recovery::Del, Recovery::Gc, Recovery::Add, Recovery::NewSandbox],
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_of_a_second_interface",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.insist()?;
            second(world, at)?.insist().map(drop)
        },
        victim: |world, at| Ok(second(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?, second(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_by_another_ipam_plugin",
        set_up: host_local,
        prepare: |world, at| container(world, at)?.insist().map(drop),
        victim: |world, at| Ok(container(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: &[Recovery::Del, Recovery::AddTwice],
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_without_a_store",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.insist().map(drop),
        victim: |world, at| Ok(away(world, container(world, at)?)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
        is_first: false,
    },
    Situation {
        name: "del_that_pays",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.insist()?;
            away(world, container(world, at)?)?.verb("DEL").insist().map(drop)
        },
        victim: |world, at| Ok(container(world, at)?.verb("DEL").without("CNI_NETNS")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        // Whoever comes pays for all.
        alone: true,
        is_first: false,
    },
    Situation {
        name: "gc_of_containers",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.insist()?;
            sandbox(world, at, 'q')?.insist().map(drop)
        },
        victim: |world, _| gc(world),
        attachments: |world, at| Ok(vec![container(world, at)?, sandbox(world, at, 'q')?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: true,
        is_first: false,
    },
];

impl Situation {
    pub fn prepare(&self, world: &World<'_>, at: &str) -> Result<()> {
        if self.is_first {
            world.make_new()?;
        }
        (self.prepare)(world, at)
    }

    pub fn victim(&self, world: &World<'_>, at: &str) -> Result<Call> {
        (self.victim)(world, at)
    }

    /// What the runtime does after a kill.
    pub fn recover(&self, world: &World<'_>, at: &str, recovery: Recovery) -> Result<()> {
        let attachments = (self.attachments)(world, at)?;
        let last = attachments.last().context("no attachment")?;
        match recovery {
            Recovery::Gc if self.alone => self.collect(world)?,
            // One for all cases, when all have been killed.
            Recovery::Gc => return Ok(()),
            Recovery::Del => {
                let is_odd = at.ends_with(['1', '3', '5', '7', '9']);
                for call in attachments.iter().filter(|_| is_odd) {
                    call.verb("DEL").without("CNI_NETNS").insist().map(drop)?;
                }
                attachments.iter().try_for_each(|call| call.verb("DEL").insist().map(drop))?;
            }
            Recovery::Add => world.works(last)?,
            Recovery::AddTwice => {
                last.run()?;
                world.works(last)?;
            }
            Recovery::NewSandbox => {
                let new = sandbox(world, at, 'r')?;
                let result = world.works_with(&new)?;
                for call in &attachments {
                    call.verb("DEL").insist().map(drop)?;
                }
                world.still_works(&new, &result)?;
                new.verb("DEL").insist().map(drop)?;
            }
        }
        if self.is_first {
            // Whatever is there by now, the node serves.
            world.works(last)?;
        }
        match recovery {
            Recovery::Gc if !self.is_first => Ok(()),
            _ => attachments.iter().try_for_each(|call| call.verb("DEL").insist().map(drop)),
        }
    }

    /// GC with no valid attachment.
    pub fn collect(&self, world: &World<'_>) -> Result<()> {
        gc(world)?.insist().map(drop)
    }
}

impl<'a> World<'a> {
    pub fn new(network: &'a Network) -> World<'a> {
        World { network, pods: Mutex::default() }
    }

    /// The path of a namespace of a case, which is made if it isn't there.
    fn netns(&self, letter: char, at: &str) -> Result<String> {
        let name = format!("{letter}-{}", at.trim_start_matches(|c: char| !c.is_ascii_digit()));
        let pods = || self.pods.lock().expect("no holder panics");
        if !pods().contains_key(&name) {
            // Outside of the lock: nobody else asks for those of this case.
            let pod = self.network.host().pod(&name)?;
            pods().insert(name.clone(), pod);
        }
        Ok(format!("/run/netns/{name}"))
    }

    /// Makes the node as if it had never had a container: no file, and in a cluster's store only what
    /// the operator has put there.
    fn make_new(&self) -> Result<()> {
        let (host, store) = (self.network.host(), self.network.store());
        let mut folders = vec!["/run/calico"];
        match store {
            Stores::Local(_) => folders.push("/var/lib/calico"),
            Stores::Etcd(_) => {
                let endpoints = format!("{RESOURCES}/workloadendpoints/");
                let profiles = format!("{RESOURCES}/profiles/");
                let ours = ["/calico/ipam/", &endpoints, &profiles];
                let dump = store.dump()?;
                let found = ours.iter().flat_map(|prefix| dump.under(prefix));
                let gone: Vec<_> = found.map(|(key, _)| (key.to_owned(), None)).collect();
                store.write(&gone)?;
            }
        }
        for folder in folders {
            match fs::remove_dir_all(host.path(folder)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the namespaces.
    pub fn remove_pods(self) -> Result<()> {
        let pods = self.pods.into_inner().expect("no holder panics");
        pods.into_values().try_for_each(Pod::remove)
    }

    /// No note is left of what DEL owed, and no address that host-local gave.
    pub fn nothing_kept(&self) -> Result<()> {
        let host = self.network.host();
        for folder in ["/var/lib/calico/owed", "/var/lib/cni/networks/calico"] {
            for entry in fs::read_dir(host.path(folder)).into_iter().flatten() {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let is_kept = name.ends_with(".json") || name.starts_with("10.9.");
                ensure!(!is_kept, "{folder} still has {name}");
            }
        }
        Ok(())
    }

    /// An ADD that must succeed, and whose container then has all that it should.
    fn works(&self, add: &Call) -> Result<()> {
        self.works_with(add).map(drop)
    }

    fn works_with(&self, add: &Call) -> Result<Value> {
        let answer = add.insist().context("a new ADD")?;
        let result = serde_json::from_str(&answer.stdout)?;
        self.still_works(add, &result)?;
        Ok(result)
    }

    fn still_works(&self, add: &Call, result: &Value) -> Result<()> {
        let mut config = self.network.config()?;
        config["prevResult"] = result.clone();
        add.verb("CHECK").config(&config).insist().map(drop).context("CHECK of a new ADD")
    }
}

fn nothing(_: &mut Network) -> Result<()> {
    Ok(())
}

fn call(world: &World<'_>) -> Result<Call> {
    world.network.call("ADD")
}

/// The first interface of a case's container.
fn container(world: &World<'_>, at: &str) -> Result<Call> {
    let netns = world.netns('p', at)?;
    Ok(call(world)?.container(&format!("c-{at}")).env("CNI_NETNS", &netns))
}

/// Its second one.
fn second(world: &World<'_>, at: &str) -> Result<Call> {
    Ok(container(world, at)?.ifname("net1"))
}

/// A sandbox of a case's pod.
fn sandbox(world: &World<'_>, at: &str, letter: char) -> Result<Call> {
    let netns = world.netns(letter, at)?;
    let args = format!("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-{at}");
    let call = call(world)?.container(&format!("s{letter}-{at}"));
    Ok(call.env("CNI_NETNS", &netns).args(&args))
}

/// The same call while the store is away: nobody listens at the address that it has. (The local
/// store is never away, so there it is an etcd that never was.)
fn away(world: &World<'_>, call: Call) -> Result<Call> {
    let mut config = world.network.config()?;
    config["datastore_type"] = json!("etcdv3");
    config["etcd_endpoints"] = json!("http://127.0.0.1:1");
    config["nodename"] = json!(world.network.host().name());
    Ok(call.config(&config))
}

fn gc(world: &World<'_>) -> Result<Call> {
    let mut config = world.network.config()?;
    config["cniVersion"] = json!("1.1.0");
    config["cni.dev/valid-attachments"] = json!([]);
    let call = world.network.call("GC")?.config(&config);
    Ok(call.without("CNI_CONTAINERID").without("CNI_IFNAME"))
}

fn host_local(network: &mut Network) -> Result<()> {
    network.conflist_mut()["plugins"][0]["ipam"] =
        json!({"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/16"}]]});
    Ok(())
}

/// The addresses of cases that can't be had: another link has their routes.
fn conflicting_routes(network: &mut Network) -> Result<()> {
    let (key, mut pool) = objects::pool("conflicts", "10.77.0.0/16", 26);
    // Only for those who ask for it.
    pool["spec"]["nodeSelector"] = json!("!all()");
    // A store that sets itself up does so at the first ADD.
    let pod = network.host().pod("set-up")?;
    network.add(&pod, "set-up")?;
    network.del(&pod, "set-up")?;
    pod.remove()?;
    network.put([(key, pool)])?;
    let routes = (0..=255).map(|number| format!("route add {} dev uplink0\n", taken(number)));
    network.host().write("/run/routes", routes.collect::<String>())?;
    network.host().run(["ip", "-batch", "/run/routes"]).map(drop)
}

/// The address of a case whose ADD fails.
fn conflicting(at: &str) -> Ipv4Addr {
    let number = at.trim_start_matches(|c: char| !c.is_ascii_digit());
    taken(number.parse().unwrap_or(255))
}

/// One of the addresses whose routes another link has: each is in a block of its own, so that each
/// case makes one.
fn taken(number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 77, 0, 0).to_bits() + 64 * u32::from(number))
}
