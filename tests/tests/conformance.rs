//! Every verb in every version of the specification, when all is well and with each class of error:
//! generated, checked, and written down as a table in `tests/snapshots/conformance.md`.
//!
//! With `UPDATE_SNAPSHOTS=1` in the environment the table is written anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, Network, Pod, RESOURCES, scene};

/// The released versions, and what else may stand there.
const VERSIONS: [&str; 9] =
    ["(none)", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "9.9.9"];
const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/conformance.md");

/// A class of error, and how a call comes to it.
struct Case {
    /// The row's name: the code and what is wrong.
    name: &'static str,
    /// Spoils the call.
    spoil: fn(Call, Value) -> Call,
    /// Changes the world before the call, and changes it back.
    world: Option<(Change, Change)>,
}

type Change = fn(&World) -> Result<()>;

struct World {
    network: Network,
    /// A container that is attached.
    attached: Pod,
    /// One that isn't.
    empty: Pod,
    cluster: String,
}

const CLUSTER: &str = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
const HANDLE: &str = "/calico/ipam/v2/handle/calico.attached";
/// The address of the container that is attached.
const TAKEN: &str = "192.168.0.50";
/// What ADD is asked for wherever it must fail for another reason than the address.
const ADDRESS: &str = "192.168.0.99";

fn with(call: Call, mut config: Value, member: &str, value: Value) -> Call {
    config[member] = value;
    call.config(&config)
}

fn plain(call: Call, _: Value) -> Call {
    call
}

const CASES: [Case; 23] = [
    Case { name: "all is well", spoil: plain, world: None },
    Case {
        name: "2: a value that is not supported",
        spoil: |call, config| with(call, config, "device_type", json!("zzz")),
        world: None,
    },
    Case {
        name: "3: the namespace is gone",
        spoil: |call, _| call.env("CNI_NETNS", "/run/netns/gone"),
        world: None,
    },
    Case {
        name: "4: a variable is invalid",
        spoil: |call, _| call.container("-").env("CNI_PATH", ""),
        world: None,
    },
    Case {
        name: "5: a file can't be read",
        spoil: plain,
        world: Some((
            |world| Ok(fs::create_dir(world.network.host().path("/var/lib/calico/mtu"))?),
            |world| Ok(fs::remove_dir(world.network.host().path("/var/lib/calico/mtu"))?),
        )),
    },
    Case {
        name: "6: no JSON",
        spoil: |call, config| call.stdin(config.to_string().split_off(1)),
        world: None,
    },
    Case {
        name: "7: a value that can't be meant",
        spoil: |call, config| with(call, config, "policy", json!({"type": "zzz"})),
        world: None,
    },
    Case {
        name: "8: the host's own namespace",
        spoil: |call, _| call.env("CNI_NETNS", "/proc/1/ns/net"),
        world: None,
    },
    Case {
        name: "11: the datastore is locked",
        spoil: plain,
        world: Some((
            |world| world.network.store().put(CLUSTER, &world.cluster.replace("true", "false")),
            |world| world.network.store().put(CLUSTER, &world.cluster),
        )),
    },
    Case {
        name: "101: the interface's name is taken",
        spoil: plain,
        world: Some((
            |world| world.empty.run("ip link add eth0 type bridge".split(' ')).map(drop),
            |world| world.empty.run("ip link del eth0".split(' ')).map(drop),
        )),
    },
    Case {
        name: "102: another route leads to the address",
        spoil: |call, _| call.args(&format!("IP={ADDRESS}")),
        world: Some((
            |world| {
                let route = format!("ip route add {ADDRESS} dev uplink0");
                world.network.host().run(route.split(' ')).map(drop)
            },
            |world| {
                let route = format!("ip route del {ADDRESS} dev uplink0");
                world.network.host().run(route.split(' ')).map(drop)
            },
        )),
    },
    Case {
        name: "103: the datastore holds what can't be read",
        spoil: plain,
        world: Some((
            |world| world.network.store().put(CLUSTER, "{"),
            |world| world.network.store().put(CLUSTER, &world.cluster),
        )),
    },
    Case {
        name: "104: the address is another one's",
        spoil: |call, _| call.args(&format!("IP={TAKEN}")),
        world: None,
    },
    Case {
        name: "110: IPAM gave nobody the address",
        spoil: plain,
        world: Some((
            |world| world.network.ipam("DEL")?.container("attached").done(),
            |world| {
                let add = world.network.ipam("ADD")?.container("attached");
                add.args(&format!("IP={TAKEN}")).result().map(drop)
            },
        )),
    },
    Case {
        name: "111: the container's link is down",
        spoil: plain,
        world: Some((|world| world.inside("ip link set eth0 down"), World::mend)),
    },
    Case {
        name: "112: the container's address is gone",
        spoil: plain,
        world: Some((|world| world.inside("ip -4 address flush dev eth0"), World::mend)),
    },
    Case {
        name: "113: a route of the container's is gone",
        spoil: plain,
        world: Some((|world| world.inside("ip route del default"), World::mend)),
    },
    Case {
        name: "114: the host's link is down",
        spoil: plain,
        world: Some((|world| world.outside("ip link set caliattached down"), World::mend)),
    },
    Case {
        name: "115: the host's route is gone",
        spoil: plain,
        world: Some((|world| world.outside("ip route flush dev caliattached"), World::mend)),
    },
    Case {
        name: "116: a setting of the host's link is another",
        spoil: plain,
        world: Some((
            |world| world.outside("sysctl -qw net.ipv4.conf.caliattached.forwarding=0"),
            |world| world.outside("sysctl -qw net.ipv4.conf.caliattached.forwarding=1"),
        )),
    },
    Case {
        name: "117: the endpoint is gone",
        spoil: plain,
        world: Some((
            |world| {
                let (key, endpoint) = world.network.store().endpoint("-attached-eth0")?;
                fs::write(world.network.host().path("/run/endpoint"), endpoint.to_string())?;
                world.network.store().delete(&key)
            },
            |world| {
                let endpoint = fs::read_to_string(world.network.host().path("/run/endpoint"))?;
                let value: Value = serde_json::from_str(&endpoint)?;
                let name = value["metadata"]["name"].as_str().context("no name")?;
                let key = format!("{RESOURCES}/workloadendpoints/default/{name}");
                world.network.store().put(&key, &endpoint)
            },
        )),
    },
    Case {
        name: "120: something can't be removed",
        spoil: |call, config| with(call, config, "cni.dev/valid-attachments", json!([])),
        world: Some((
            |world| {
                let stored = world.network.store().dump()?.0[HANDLE].to_string();
                fs::write(world.network.host().path("/run/handle"), stored)?;
                let (key, _) = world.network.store().endpoint("-attached-eth0")?;
                let endpoint = world.network.store().dump()?.0[&key].to_string();
                fs::write(world.network.host().path("/run/endpoint"), endpoint)?;
                world.network.store().put(HANDLE, "{")
            },
            |world| {
                let stored = fs::read_to_string(world.network.host().path("/run/handle"))?;
                world.network.store().put(HANDLE, &stored)?;
                // A GC that could not do all has removed the link and the endpoint: attach it anew.
                attach(&world.network, &world.attached).map(drop)
            },
        )),
    },
    Case {
        name: "50: an IPAM plugin that is not there",
        spoil: |call, config| with(call, config, "ipam", json!({"type": "nosuch"})),
        world: None,
    },
];

impl World {
    fn inside(&self, command: &str) -> Result<()> {
        self.attached.run(command.split(' ')).map(drop)
    }

    fn outside(&self, command: &str) -> Result<()> {
        self.network.host().run(command.split(' ')).map(drop)
    }

    /// Puts the kernel's part of the container that is attached right again.
    fn mend(&self) -> Result<()> {
        self.inside("ip link set eth0 up")?;
        self.inside(&format!("ip address replace {TAKEN}/32 dev eth0"))?;
        self.inside("ip route replace 169.254.1.1 dev eth0 scope link")?;
        self.inside("ip route replace default via 169.254.1.1 dev eth0")?;
        self.inside(
            "ip neigh replace 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
        )?;
        self.outside("ip link set caliattached up")?;
        self.outside(&format!("ip route replace {TAKEN} dev caliattached scope link"))
    }
}

fn attach(network: &Network, pod: &Pod) -> Result<Value> {
    let add = network.call("ADD")?.container("attached").pod(pod);
    add.args(&format!("IP={TAKEN}")).result()
}

/// VERSION looks at nothing: one row tells all.
fn concerns(verb: &str, row: usize) -> bool {
    verb != "VERSION" || row == 0
}

/// What a runtime gives to each verb in a version.
fn call(world: &World, verb: &str, version: &str) -> Result<(Call, Value)> {
    let mut config = world.network.config()?;
    config["cniVersion"] = json!(version);
    if version == "(none)" {
        config.as_object_mut().context("no object")?.remove("cniVersion");
    }
    if verb == "CHECK" {
        config["prevResult"] = attach(&world.network, &world.attached)?;
    }
    if verb == "GC" {
        config["cni.dev/valid-attachments"] =
            json!([{"containerID": "attached", "ifname": "eth0"}]);
    }
    let (id, pod) = match verb {
        "CHECK" => ("attached", &world.attached),
        _ => ("new", &world.empty),
    };
    let call = world.network.call(verb)?.container(id).pod(pod).config(&config);
    Ok((call, config))
}

/// What stands in the table: `ok` or the code. An answer that breaks the protocol's own rules fails.
fn cell(verb: &str, version: &str, answer: &Answer) -> Result<String> {
    let spoken = match version {
        "(none)" => "0.2.0",
        "9.9.9" => "1.1.0",
        version => version,
    };
    if answer.exit != Some(0) {
        let (code, _) = answer.error()?;
        let error: Value = serde_json::from_str(&answer.stdout)?;
        // Before the version is known, the latest one answers.
        let said = error["cniVersion"].as_str().unwrap_or_default();
        ensure!(said == spoken || said == "1.1.0", "an error of {said} for {version}: {error}");
        return Ok(code.to_string());
    }
    match verb {
        "ADD" => {
            let result: Value = serde_json::from_str(&answer.stdout)?;
            ensure!(result["cniVersion"] == spoken, "{result}");
            let is_old = spoken < "0.3.0";
            ensure!(result.get("ip4").is_some() == is_old, "{result}");
            ensure!(result.get("ips").is_some() != is_old, "{result}");
        }
        "VERSION" => {
            let versions: Value = serde_json::from_str(&answer.stdout)?;
            let list = versions["supportedVersions"].as_array().context("no versions")?;
            ensure!(list.len() == 7, "{versions}");
        }
        _ => ensure!(answer.stdout.is_empty(), "{verb} said {:?}", answer.stdout),
    }
    Ok("ok".to_owned())
}

fn play(world: &World) -> Result<String> {
    let mut tables: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for (row, case) in CASES.iter().enumerate() {
        for (number, verb) in VERBS.iter().enumerate() {
            if !concerns(verb, row) {
                continue;
            }
            for version in VERSIONS {
                let (call, config) = call(world, verb, version)?;
                if let Some((spoil, _)) = case.world {
                    spoil(world).with_context(|| case.name)?;
                }
                let spoilt = (case.spoil)(call.clone(), config);
                let answer = spoilt.run()?;
                let what = || format!("{verb} {version}, {}: {answer:#?}", case.name);
                let text = cell(verb, version, &answer).with_context(what)?;
                if let Some((_, repair)) = case.world {
                    repair(world).with_context(what)?;
                }
                if *verb == "ADD" && text == "ok" {
                    world.network.call("DEL")?.container("new").pod(&world.empty).done()?;
                }
                tables.entry((number, row)).or_default().push(text);
            }
        }
    }
    let mut text = String::from(
        "# Conformance\n\nWhat `calico` answers to each verb in each version of the CNI specification \
         (the value of `cniVersion`), when all is well and with\neach class of error: `ok`, or the \
         error's code. Generated by `tests/tests/conformance.rs`, which fails when it changes.\n",
    );
    for (number, verb) in VERBS.iter().enumerate() {
        writeln!(text, "\n## {verb}\n\n| | {} |", VERSIONS.join(" | "))?;
        writeln!(text, "|---|{}", "---|".repeat(VERSIONS.len()))?;
        for (row, case) in CASES.iter().enumerate().filter(|(row, _)| concerns(verb, *row)) {
            writeln!(text, "| {} | {} |", case.name, tables[&(number, row)].join(" | "))?;
        }
    }
    Ok(text)
}

#[test]
fn the_table_is_as_it_is_written_down() {
    scene("conformance", |scene| {
        let mut network = Network::standalone(scene)?;
        network.conflist_mut()["plugins"][0]["ipam"] = json!({"type": "calico-ipam"});
        let (attached, empty) = (network.host().pod("attached")?, network.host().pod("empty")?);
        attach(&network, &attached)?;
        let cluster = network.store().dump()?.0[CLUSTER].to_string();
        let world = World { network, attached, empty, cluster };
        let text = play(&world)?;
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::create_dir_all(Path::new(SNAPSHOT).parent().context("no folder")?)?;
            fs::write(SNAPSHOT, &text)?;
        }
        let written = fs::read_to_string(SNAPSHOT).unwrap_or_default();
        let changed: Vec<_> = text
            .lines()
            .zip(written.lines().chain(std::iter::repeat("")))
            .filter(|(now, then)| now != then)
            .collect();
        ensure!(text == written, "the table has changed (now, then): {changed:#?}");
        world.network.call("DEL")?.container("attached").pod(&world.attached).done()
    });
}
