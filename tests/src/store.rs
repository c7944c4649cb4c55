//! The content of a datastore, read with the tools that an operator has: `sqlite3` and `etcdctl`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use libcalico::ipam::check::{Report, check};
use libcalico::store::{
    Action, Change, Committed, Document, Guard, Key, LocalStore, MAX_CHANGES, Store,
};
use serde_json::Value;

use crate::command::LIMIT;
use crate::etcd::{self, Etcd};
use crate::host::Host;

/// Where the local store is unless a configuration says otherwise.
const LOCAL: &str = "/var/lib/calico/calico.db";

/// A datastore that can be looked into.
#[derive(Debug, Clone)]
pub enum Stores {
    /// The local store of a host, at its default place.
    Local(Arc<Host>),
    /// An etcd.
    Etcd(Arc<Etcd>),
}

/// Everything in a datastore: the documents by their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dump(pub BTreeMap<String, Value>);

impl Stores {
    /// Reads everything under `/calico/`. A local store that isn't there yet is empty.
    pub fn dump(&self) -> Result<Dump> {
        match self {
            Stores::Local(host) => local(host),
            Stores::Etcd(etcd) => Ok(Dump::of(etcd.get_prefix("/calico/")?)),
        }
    }

    /// The store's host.
    pub fn host(&self) -> &Arc<Host> {
        match self {
            Stores::Local(host) => host,
            Stores::Etcd(etcd) => etcd.host(),
        }
    }

    /// Writes documents, and deletes those without a value, as an operator's tools would.
    pub fn write(&self, documents: &[(String, Option<Value>)]) -> Result<()> {
        let text = |(key, value): &(String, Option<Value>)| {
            (key.clone(), value.as_ref().map(Value::to_string))
        };
        let documents: Vec<_> = documents.iter().map(text).collect();
        match self {
            Stores::Local(host) => write_local(host, &documents),
            Stores::Etcd(etcd) => etcd.write(&documents),
        }
    }

    /// Writes any text as a document, over what is there.
    pub fn put(&self, key: &str, text: &str) -> Result<()> {
        match self {
            Stores::Local(host) => write_local(host, &[(key.to_owned(), Some(text.to_owned()))]),
            Stores::Etcd(etcd) => etcd.put(key, text),
        }
    }

    /// Everything in the stores of a host: the local one, and its etcd if that still runs.
    pub(crate) fn all_of(host: &Host) -> Result<Vec<Dump>> {
        let mut dumps = vec![local(host)?];
        if let Some(mode) = host.etcd() {
            dumps.push(Dump::of(etcd::everything(host, mode)?));
        }
        Ok(dumps)
    }

    /// What the stores on a host hold, as text for the directory of a failed test.
    pub(crate) fn report(host: &Host) -> String {
        match Stores::all_of(host) {
            Ok(dumps) => {
                let texts = dumps.into_iter().map(|dump| format!("{:#}", Value::from_iter(dump.0)));
                texts.collect::<Vec<_>>().join("\n")
            }
            Err(error) => format!("{error:#}"),
        }
    }
}

impl Dump {
    fn of(pairs: Vec<(String, String)>) -> Dump {
        Dump(pairs.into_iter().map(|(key, value)| (key, parse(&value))).collect())
    }

    /// What the library's consistency checker says of it.
    pub fn check(&self) -> Report {
        let document = |(key, value): (&String, &Value)| {
            // What is no JSON is kept as the text that it is.
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some(Document { key: Key::parse(key)?, value: value.into_bytes(), revision: 1 })
        };
        check(&self.0.iter().filter_map(document).collect::<Vec<_>>())
    }

    /// Fails when IPAM's objects contradict each other, or waste space in a way that no operation
    /// of ours leaves: blocks that lost their pool are the operator's doing.
    pub fn consistent(&self) -> Result<()> {
        let report = self.check();
        let problems = report.problems.iter().filter(|problem| problem.rule != "orphan");
        let problems: Vec<String> = problems.map(ToString::to_string).collect();
        ensure!(problems.is_empty(), "the store is inconsistent:\n{}", problems.join("\n"));
        Ok(())
    }

    /// The documents whose keys begin so.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let documents = self.0.iter().map(|(key, value)| (key.as_str(), value));
        documents.filter(move |(key, _)| key.starts_with(prefix))
    }

    /// The WorkloadEndpoints.
    pub fn endpoints(&self) -> Vec<&Value> {
        self.under("/calico/resources/v3/projectcalico.org/workloadendpoints/")
            .map(|(_, value)| value)
            .collect()
    }

    /// The ranges of the pools.
    pub fn pools(&self) -> Result<Vec<IpNet>> {
        self.under("/calico/resources/v3/projectcalico.org/ippools/")
            .map(|(key, pool)| {
                let cidr = pool["spec"]["cidr"].as_str().unwrap_or_default();
                cidr.parse().with_context(|| format!("cidr of {key}"))
            })
            .collect()
    }

    /// The keys of the handles.
    pub fn handles(&self) -> Vec<&str> {
        self.under("/calico/ipam/v2/handle/").map(|(key, _)| key).collect()
    }

    /// The allocated ordinals of every block, as `block key, ordinal, handle`.
    pub fn allocations(&self) -> Vec<(&str, usize, String)> {
        let mut list = Vec::new();
        for (key, block) in self.under("/calico/ipam/v2/assignment/") {
            let Some(ordinals) = block["allocations"].as_array() else { continue };
            for (ordinal, attribute) in ordinals.iter().enumerate() {
                if let Some(index) = attribute.as_u64() {
                    let handle = &block["attributes"][index as usize]["handle_id"];
                    list.push((key, ordinal, handle.as_str().unwrap_or_default().to_owned()));
                }
            }
        }
        list
    }
}

fn local(host: &Host) -> Result<Dump> {
    // As the host sees it: its folder may be a file system of its own.
    if !host.within(|| Ok(Path::new(LOCAL).exists()))? {
        return Ok(Dump::default());
    }
    let sql = "select key, cast(value as text) as value from documents order by key";
    let mut command = Command::new("sqlite3");
    command.args(["-json", LOCAL, ".timeout 5000", sql]);
    let output = host.output(command, b"", LIMIT)?;
    ensure!(output.status.success(), "reading {LOCAL}: {}", output.text());
    if output.stdout.is_empty() {
        return Ok(Dump::default());
    }
    let rows: Vec<BTreeMap<String, String>> =
        serde_json::from_slice(&output.stdout).context("answer of sqlite3")?;
    rows.into_iter()
        .map(|mut row| {
            let key = row.remove("key").context("row without a key")?;
            Ok((key, parse(&row.remove("value").context("row without a value")?)))
        })
        .collect::<Result<_>>()
        .map(Dump)
}

fn write_local(host: &Host, documents: &[(String, Option<String>)]) -> Result<()> {
    let store = LocalStore::new(&host.path(LOCAL));
    let change = |(key, value): &(String, Option<String>)| {
        let key = Key::parse(key).with_context(|| format!("no key: {key}"))?;
        let action = match value {
            Some(value) => Action::Put(value.clone().into_bytes()),
            None => Action::Delete,
        };
        Ok(Change { key, guard: Guard::Any, action })
    };
    let changes: Vec<Change> = documents.iter().map(change).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for some in changes.chunks(MAX_CHANGES) {
        let committed = runtime.block_on(store.commit(some, Instant::now() + LIMIT))?;
        ensure!(matches!(committed, Committed::Done(_)), "{committed:?}");
    }
    Ok(())
}

/// Pairs of keys and values out of what `etcdctl -w json` answers.
pub(crate) fn etcd_pairs(answer: &str) -> Result<Vec<(String, String)>> {
    let answer: Value = serde_json::from_str(answer).context("answer of etcdctl")?;
    let text = |member: &Value| -> Result<String> {
        let bytes = BASE64_STANDARD.decode(member.as_str().unwrap_or_default())?;
        String::from_utf8(bytes).context("text in etcd")
    };
    let pairs = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
    pairs.iter().map(|pair| Ok((text(&pair["key"])?, text(&pair["value"])?))).collect()
}

/// A document as JSON; one that is none stays as its text.
fn parse(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
}
