//! What upstream's kernel showed, against ours: links, addresses, routes, sysctls.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::{Host, Kernel, Pod};

/// How long the kernel may take to finish what it has begun.
const LIMIT: Duration = Duration::from_secs(10);

/// Sysctls that ours sets beyond upstream's: strict filtering of sources, and the forwarding of one
/// interface (Linux 6.17).
const MORE: [&str; 2] = ["ipv4/conf/*/rp_filter", "ipv6/conf/*/force_forwarding"];

/// The differences between upstream's picture of a step and the present state.
pub fn differences(
    upstream: &Value,
    host: &Host,
    pods: &BTreeMap<String, Pod>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, theirs) in upstream["pods"].as_object().context("no pods")? {
        let pod = pods.get(name).with_context(|| format!("no pod {name}"))?;
        let ours = settled(theirs, || Kernel::of_pod(pod))?;
        let sysctls = |link: &str| sysctls(link, |path| pod.within(|| read(path)));
        compare(name, theirs, &ours, None, &mut lines);
        for (link, expected) in theirs["sysctls_not_default"].as_object().into_iter().flatten() {
            compare_sysctls(&format!("{name} {link}"), expected, &sysctls(link)?, &mut lines);
        }
    }
    let ours = Kernel::of_host(host)?;
    let links = upstream["host_links"].as_object().context("no host links")?;
    for (link, theirs) in links {
        compare(&format!("host {link}"), theirs, &ours, Some(link), &mut lines);
        if ours.link(link).is_some() {
            let found = sysctls(link, |path| host.within(|| read(path)))?;
            let expected = &theirs["sysctls_not_default"];
            compare_sysctls(&format!("host {link}"), expected, &found, &mut lines);
        }
    }
    for link in ours.entries("link") {
        let name = link["ifname"].as_str().unwrap_or_default();
        if name.starts_with("cali") && !links.contains_key(name) {
            lines.push(format!("host has {name}, upstream's hasn't"));
        }
    }
    Ok(lines)
}

/// A picture of ours, once the kernel has done what it does a moment after a link is up: it tells of
/// the carrier, and gives the link-local addresses that upstream's picture has.
fn settled(theirs: &Value, picture: impl Fn() -> Result<Kernel>) -> Result<Kernel> {
    let local = |entries: &[Value]| {
        let infos = entries.iter().filter_map(|entry| entry["addr_info"].as_array()).flatten();
        infos.filter(|info| info["scope"] == "link").count()
    };
    let expected = local(theirs["addr"].as_array().map_or(&[], Vec::as_slice));
    let started = Instant::now();
    loop {
        let ours = picture()?;
        let carrier = |link: &Value| !link["flags"].to_string().contains("NO-CARRIER");
        let is_settled =
            ours.entries("link").iter().all(carrier) && local(ours.entries("addr")) >= expected;
        // Then the comparison says what is missing.
        if is_settled || started.elapsed() > LIMIT {
            return Ok(ours);
        }
        thread::yield_now();
    }
}

/// Compares a pod's picture, or that of one link of a host.
fn compare(
    place: &str,
    theirs: &Value,
    ours: &Kernel,
    only: Option<&str>,
    lines: &mut Vec<String>,
) {
    let entries = |value: &Value| match value {
        Value::Array(list) => list.clone(),
        Value::Object(_) => vec![value.clone()],
        _ => Vec::new(),
    };
    for question in ["link", "addr", "route4", "route6"] {
        let facts: fn(&Value) -> Vec<Value> = match question {
            "link" => link,
            "addr" => addresses,
            _ => route,
        };
        let name = if question.starts_with("route") { "dev" } else { "ifname" };
        let expected: Vec<Value> = entries(&theirs[question])
            .into_iter()
            .map(|mut entry| {
                // Upstream's routes of one link don't repeat its name.
                if let Some(only) = only {
                    entry[name] = json!(only);
                }
                entry
            })
            .filter(|entry| entry[name] != "lo")
            .flat_map(|entry| facts(&entry))
            .collect();
        let found: Vec<Value> = ours
            .entries(question)
            .iter()
            .filter(|entry| entry[name] != "lo" && only.is_none_or(|only| entry[name] == only))
            .filter(|entry| entry.get("table").is_none_or(|table| table == "main"))
            .flat_map(facts)
            .collect();
        let (expected, found) = (sorted(expected), sorted(found));
        if expected != found {
            lines.push(format!(
                "{place} {question}\n  ours:     {found:?}\n  upstream: {expected:?}"
            ));
        }
    }
}

fn sorted(list: Vec<Value>) -> Vec<String> {
    let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
    list.sort();
    list
}

/// What is fixed of a link. The length of its queue isn't: upstream's host end has 0, by accident of
/// its netlink library, where the kernel and we choose 1000.
fn link(entry: &Value) -> Vec<Value> {
    let members = ["ifname", "flags", "mtu", "num_tx_queues", "num_rx_queues"];
    let mut facts: Vec<Value> = members.iter().map(|member| entry[*member].clone()).collect();
    facts.push(entry["linkinfo"]["info_kind"].clone());
    if entry["ifname"].as_str().is_some_and(|name| name.starts_with("cali")) {
        facts.push(entry["address"].clone());
    }
    vec![Value::Array(facts)]
}

/// The addresses of a link. Those that come of a random MAC are told by their prefix alone.
fn addresses(entry: &Value) -> Vec<Value> {
    let list = entry["addr_info"].as_array().into_iter().flatten();
    list.map(|info| {
        let fixed = info["scope"] == "global" || info["local"] == "fe80::ecee:eeff:feee:eeee";
        let local = if fixed { info["local"].clone() } else { json!("*") };
        json!([entry["ifname"], info["family"], local, info["prefixlen"], info["scope"]])
    })
    .collect()
}

/// A route as both print it: with and without `-d`, which adds what is usual.
fn route(entry: &Value) -> Vec<Value> {
    let or = |member: &str, usual: &str| entry[member].as_str().unwrap_or(usual).to_owned();
    let scope = if entry["gateway"].is_string() || entry["metric"].is_number() {
        or("scope", "global")
    } else {
        or("scope", "link")
    };
    vec![json!([
        entry["dev"],
        or("type", "unicast"),
        entry["dst"],
        entry["gateway"],
        or("protocol", "boot"),
        scope,
        entry["metric"]
    ])]
}

/// The sysctls of a link that differ from those of `default`, by their path.
fn sysctls(
    link: &str,
    read: impl Fn(&str) -> Result<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for folder in ["ipv4/conf", "ipv6/conf"] {
        let all_of = |name: &str| {
            let path = format!("/proc/sys/net/{folder}/{name}");
            read(&path).with_context(|| path.clone())
        };
        let usual = all_of("default")?;
        for (name, value) in all_of(link)? {
            if usual.get(&name) != Some(&value) {
                all.insert(format!("{folder}/*/{name}"), value);
            }
        }
    }
    Ok(all)
}

/// The readable files of a folder.
fn read(folder: &str) -> std::io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // stable_secret can't be read before it is set.
        if let Ok(text) = std::fs::read_to_string(entry.path()) {
            files.insert(entry.file_name().to_string_lossy().into_owned(), text.trim().to_owned());
        }
    }
    Ok(files)
}

fn compare_sysctls(
    place: &str,
    expected: &Value,
    found: &BTreeMap<String, String>,
    lines: &mut Vec<String>,
) {
    let expected: BTreeMap<&str, &str> = expected
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, entry)| Some((name.as_str(), entry["value"].as_str()?)))
        .collect();
    let names: BTreeSet<&str> =
        expected.keys().copied().chain(found.keys().map(String::as_str)).collect();
    for name in names.into_iter().filter(|name| !MORE.contains(name)) {
        let (theirs, ours) = (expected.get(name).copied(), found.get(name).map(String::as_str));
        if theirs != ours {
            lines.push(format!("{place} {name}: ours {ours:?}, upstream's {theirs:?}"));
        }
    }
}
