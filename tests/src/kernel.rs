//! What the kernel of a host or a pod shows: links, addresses, routes and neighbours.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::host::Host;
use crate::pod::Pod;

/// A picture of a network namespace.
#[derive(Debug, Clone)]
pub struct Kernel {
    raw: Value,
}

/// What is asked, under the name that it gets.
const QUESTIONS: [(&str, &str); 6] = [
    ("link", "-d link"),
    ("addr", "addr"),
    ("route4", "-4 route show table all"),
    ("route6", "-6 route show table all"),
    ("neigh", "neigh show nud all"),
    ("proxy", "neigh show proxy"),
];

impl Kernel {
    /// The picture of a host.
    pub fn of_host(host: &Host) -> Result<Kernel> {
        Kernel::ask(|args| host.ip(args))
    }

    /// The picture of a pod.
    pub fn of_pod(pod: &Pod) -> Result<Kernel> {
        Kernel::ask(|args| pod.ip(args))
    }

    fn ask(ip: impl Fn(&str) -> Result<Value>) -> Result<Kernel> {
        let mut raw = Map::new();
        for (name, args) in QUESTIONS {
            raw.insert(name.to_owned(), ip(args)?);
        }
        Ok(Kernel { raw: Value::Object(raw) })
    }

    /// What `ip -j` said, a member a question: `link`, `addr`, `route4`, `route6`, `neigh`, `proxy`.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The entries of one question.
    pub fn entries(&self, question: &str) -> &[Value] {
        self.raw[question].as_array().map_or(&[], Vec::as_slice)
    }

    /// One link with its details.
    pub fn link(&self, name: &str) -> Option<&Value> {
        self.entries("link").iter().find(|link| link["ifname"] == name)
    }

    /// The routes of the main table through a link, in the kernel's order, IPv4 first.
    pub fn routes(&self, link: &str) -> Vec<&Value> {
        let main = |route: &&Value| route.get("table").is_none_or(|table| table == "main");
        let entries = self.entries("route4").iter().chain(self.entries("route6"));
        entries.filter(|route| route["dev"] == link).filter(main).collect()
    }

    /// What one picture has and the other hasn't, a line a difference; empty if they are alike.
    /// Learned neighbours and the table `local` come and go by themselves, and don't count.
    pub fn differences(&self, later: &Kernel) -> Vec<String> {
        let mut lines = Vec::new();
        for (question, _) in QUESTIONS {
            let before: Vec<Value> = self.entries(question).iter().filter_map(lasting).collect();
            let after: Vec<Value> = later.entries(question).iter().filter_map(lasting).collect();
            let gone = before.iter().filter(|entry| !after.contains(entry));
            lines.extend(gone.map(|entry| format!("gone from {question}: {entry}")));
            let new = after.iter().filter(|entry| !before.contains(entry));
            lines.extend(new.map(|entry| format!("left in {question}: {entry}")));
        }
        lines
    }
}

/// An entry without what changes by itself, or nothing where all of it does.
fn lasting(entry: &Value) -> Option<Value> {
    if let Some(state) = entry.get("state") {
        return state
            .as_array()
            .is_some_and(|states| states.contains(&json!("PERMANENT")))
            .then(|| entry.clone());
    }
    // The kernel's own, made out of the addresses: those of IPv6 a little after them.
    if entry["table"] == "local" {
        return None;
    }
    let mut entry = entry.clone();
    if let Some(members) = entry.as_object_mut() {
        // The kernel comes to these a little after a link is up.
        members.remove("operstate");
        if let Some(flags) = members.get_mut("flags").and_then(Value::as_array_mut) {
            flags.retain(|flag| flag != "NO-CARRIER" && flag != "linkdown");
        }
        let addresses = members.get_mut("addr_info").and_then(Value::as_array_mut);
        for address in addresses.into_iter().flatten().filter_map(Value::as_object_mut) {
            address.remove("tentative");
        }
    }
    Some(entry)
}
