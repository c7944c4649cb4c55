//! The situations of the matrix: what is there before, which call is killed, and what puts it right.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Network, Pod, RESOURCES};

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
    pods: std::sync::Mutex<Vec<Pod>>,
}

/// A call that is killed, and what belongs to it. A case has a name, of which all its names are made.
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
    /// Its call is about all containers, so that only one case can be at a time.
    pub alone: bool,
}

const ALL_BUT_SANDBOX: &[Recovery] = &[Recovery::Del, Recovery::Gc, Recovery::Add];

/// All of them.
pub const ALL: &[Situation] = &[
    Situation {
        name: "add_of_a_container",
        set_up: nothing,
        prepare: |_, _| Ok(()),
        victim: container,
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
    },
    Situation {
        name: "add_of_a_pods_new_sandbox",
        set_up: nothing,
        prepare: |world, at| sandbox(world, at, 'p')?.result().map(drop),
        victim: |world, at| sandbox(world, at, 'q'),
        attachments: |world, at| Ok(vec![sandbox(world, at, 'p')?, sandbox(world, at, 'q')?]),
        recoveries: &[Recovery::Del, Recovery::Gc, Recovery::Add, Recovery::NewSandbox],
        alone: false,
    },
    Situation {
        name: "add_of_a_second_interface",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.result().map(drop),
        victim: second,
        attachments: |world, at| Ok(vec![container(world, at)?, second(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
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
    },
    Situation {
        name: "del_of_a_container",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.result().map(drop),
        victim: |world, at| Ok(container(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
    },
    Situation {
        name: "del_of_a_pod",
        set_up: nothing,
        prepare: |world, at| sandbox(world, at, 'q')?.result().map(drop),
        victim: |world, at| Ok(sandbox(world, at, 'q')?.verb("DEL")),
        attachments: |world, at| Ok(vec![sandbox(world, at, 'q')?]),
        recoveries: &[Recovery::Del, Recovery::Gc, Recovery::Add, Recovery::NewSandbox],
        alone: false,
    },
    Situation {
        name: "del_of_a_second_interface",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.result()?;
            second(world, at)?.result().map(drop)
        },
        victim: |world, at| Ok(second(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?, second(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
    },
    Situation {
        name: "del_by_another_ipam_plugin",
        set_up: host_local,
        prepare: |world, at| container(world, at)?.result().map(drop),
        victim: |world, at| Ok(container(world, at)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: &[Recovery::Del, Recovery::AddTwice],
        alone: false,
    },
    Situation {
        name: "del_without_a_store",
        set_up: nothing,
        prepare: |world, at| container(world, at)?.result().map(drop),
        victim: |world, at| Ok(away(world, container(world, at)?)?.verb("DEL")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
    },
    Situation {
        name: "del_that_pays",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.result()?;
            away(world, container(world, at)?)?.verb("DEL").done()
        },
        victim: |world, at| Ok(container(world, at)?.verb("DEL").without("CNI_NETNS")),
        attachments: |world, at| Ok(vec![container(world, at)?]),
        recoveries: ALL_BUT_SANDBOX,
        alone: false,
    },
    Situation {
        name: "gc_of_containers",
        set_up: nothing,
        prepare: |world, at| {
            container(world, at)?.result()?;
            sandbox(world, at, 'q')?.result().map(drop)
        },
        victim: |world, _| gc(world),
        attachments: |world, at| Ok(vec![container(world, at)?, sandbox(world, at, 'q')?]),
        recoveries: &[Recovery::Del, Recovery::Gc, Recovery::Add],
        alone: true,
    },
];

impl Situation {
    pub fn prepare(&self, world: &World<'_>, at: &str) -> Result<()> {
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
            Recovery::Gc if self.alone => return self.collect(world),
            // One for all cases, when all have been killed.
            Recovery::Gc => return Ok(()),
            Recovery::Del => {
                let is_odd = at.ends_with(['1', '3', '5', '7', '9']);
                for call in attachments.iter().filter(|_| is_odd) {
                    call.verb("DEL").without("CNI_NETNS").done()?;
                }
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
                    call.verb("DEL").done()?;
                }
                world.still_works(&new, &result)?;
                new.verb("DEL").done()?;
            }
        }
        attachments.iter().try_for_each(|call| call.verb("DEL").done())
    }

    /// GC with no valid attachment.
    pub fn collect(&self, world: &World<'_>) -> Result<()> {
        gc(world)?.done()
    }
}

impl<'a> World<'a> {
    pub fn new(network: &'a Network) -> World<'a> {
        World { network, pods: Default::default() }
    }

    /// Makes the namespaces of a case: three sandboxes.
    pub fn make_pods(&self, at: &str) -> Result<()> {
        for letter in ['p', 'q', 'r'] {
            let pod = self.network.host().pod(&format!("{letter}-{at}"))?;
            self.pods.lock().expect("no holder panics").push(pod);
        }
        Ok(())
    }

    pub fn remove_pods(&self, at: &str) -> Result<()> {
        let mut pods = self.pods.lock().expect("no holder panics");
        let (of_case, others) = pods
            .drain(..)
            .partition(|pod| pod.name().split_once('-').is_some_and(|(_, name)| name == at));
        *pods = others;
        let of_case: Vec<Pod> = of_case;
        of_case.into_iter().try_for_each(Pod::remove)
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
        let result = add.result().context("a new ADD")?;
        self.still_works(add, &result)?;
        Ok(result)
    }

    fn still_works(&self, add: &Call, result: &Value) -> Result<()> {
        let mut config = self.network.config()?;
        config["prevResult"] = result.clone();
        add.verb("CHECK").config(&config).done().context("CHECK of a new ADD")
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
    let netns = format!("/run/netns/p-{at}");
    Ok(call(world)?.container(&format!("c-{at}")).env("CNI_NETNS", &netns))
}

/// Its second one.
fn second(world: &World<'_>, at: &str) -> Result<Call> {
    Ok(container(world, at)?.ifname("net1"))
}

/// A sandbox of a case's pod.
fn sandbox(world: &World<'_>, at: &str, letter: char) -> Result<Call> {
    let netns = format!("/run/netns/{letter}-{at}");
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
    let pool = json!({
        "kind": "IPPool", "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": "conflicts", "uid": "cca955fb-e8c8-4916-aee1-ecfb73ef0585",
                     "creationTimestamp": "2026-11-21T15:04:33Z"},
        "spec": {"cidr": "10.77.0.0/16", "blockSize": 26, "nodeSelector": "!all()",
                 "vxlanMode": "Never", "ipipMode": "Never",
                 "allowedUses": ["Workload"], "assignmentMode": "Automatic"},
    });
    // A store that sets itself up does so at the first ADD.
    let pod = network.host().pod("set-up")?;
    network.add(&pod, "set-up")?;
    network.del(&pod, "set-up")?;
    pod.remove()?;
    network.store().put(&format!("{RESOURCES}/ippools/conflicts"), &pool.to_string())?;
    network.host().run(["ip", "route", "add", "10.77.0.0/16", "dev", "uplink0"])?;
    for at in 0..256 {
        let address = format!("10.77.1.{at}/32");
        network.host().run(["ip", "route", "add", &address, "dev", "uplink0"])?;
    }
    Ok(())
}

/// The address of a case.
fn conflicting(at: &str) -> String {
    let number = at.trim_start_matches(|c: char| !c.is_ascii_digit());
    format!("10.77.1.{}", number.parse().unwrap_or(255_u8))
}
