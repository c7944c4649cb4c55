//! The file of a migration: resources in YAML, a line `===`, ClusterInformation in JSON, a line
//! `===`, and what belongs to IPAM in JSON, as upstream writes and reads it.
//!
//! Upstream's format is made for a Kubernetes cluster, which brings its own endpoints and profiles:
//! it has none of these, and no identities. Ours, the complete one, has every document as it is
//! stored; it says so in its first line, which is a comment to upstream.

use std::fs;
use std::io::Read;

use anyhow::{Context as _, bail, ensure};
use ipnet::IpNet;
use libcalico::resources::{ClusterInformation, Kind, resource};
use libcalico::store::{Document, Key};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::input::yaml;
use crate::output;

/// The first line of a complete file.
const COMPLETE: &str = "# A complete export of calicoctl: every document as it is stored.\n";
/// The line between the parts.
const SEPARATOR: &str = "===\n";

/// The content of a file.
pub struct Content {
    /// Whether every document is there as it was stored.
    pub complete: bool,
    /// Resources, each an object with its kind.
    pub resources: Vec<Value>,
    /// The cluster.
    pub cluster: ClusterInformation,
    /// What belongs to IPAM.
    pub ipam: Vec<(Key, Value)>,
}

/// What belongs to IPAM, as it stands in a file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ipam {
    #[serde(rename = "block_affinities", default, skip_serializing_if = "Vec::is_empty")]
    affinities: Vec<Pair>,
    #[serde(rename = "blocks", default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Pair>,
    #[serde(rename = "handles", default, skip_serializing_if = "Vec::is_empty")]
    handles: Vec<Pair>,
    #[serde(rename = "config", default, skip_serializing_if = "Option::is_none")]
    config: Option<Pair>,
}

/// A document as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
struct Pair {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Value")]
    value: Value,
    #[serde(rename = "TTL", default)]
    ttl: i64,
}

/// Writes the resources of a kind.
pub fn write_list(text: &mut String, kind: Kind, items: Vec<Value>, revision: i64, complete: bool) {
    if complete && text.is_empty() {
        text.push_str(COMPLETE);
    }
    let mut list = Map::new();
    list.insert("apiVersion".to_owned(), "projectcalico.org/v3".into());
    list.insert("items".to_owned(), items.into());
    list.insert("kind".to_owned(), format!("{}List", kind.name()).into());
    let metadata = Map::from_iter([("resourceVersion".to_owned(), revision.to_string().into())]);
    list.insert("metadata".to_owned(), metadata.into());
    let list = Value::Object(list);
    if complete {
        // The order of the members is part of what is stored, and YAML would sort them.
        text.push_str(&output::json::to_string(&list));
        text.push('\n');
    } else {
        text.push_str(&output::yaml::to_string(&list));
    }
    text.push_str("---\n");
}

/// Writes what follows the resources.
pub fn write_rest(
    text: &mut String,
    cluster: &ClusterInformation,
    ipam: &[Document],
) -> anyhow::Result<()> {
    text.push_str(SEPARATOR);
    text.push_str(&output::json::to_string(cluster));
    text.push('\n');
    text.push_str(SEPARATOR);
    let mut all = Ipam::default();
    for document in ipam {
        let key = document.key.path()?;
        let value = match document.value.is_empty() {
            // The oldest releases stored affinities without a value.
            true => Value::Object(Map::new()),
            false => serde_json::from_slice(&document.value)
                .with_context(|| format!("{key} is no JSON: repair it before you export"))?,
        };
        let pair = Pair { key, value, ttl: 0 };
        match document.key {
            Key::Block(_) => all.blocks.push(pair),
            Key::Affinity(..) => all.affinities.push(pair),
            Key::Handle(_) => all.handles.push(pair),
            Key::IpamConfig => all.config = Some(pair),
            Key::Resource { .. } | Key::LegacyHost(_) => {}
        }
    }
    text.push_str(&output::json::to_string(&all));
    text.push('\n');
    Ok(())
}

/// The text of a file; `-` is standard input.
pub fn read(file: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    match file {
        "-" => std::io::stdin().read_to_string(&mut text).map(drop),
        file => fs::read_to_string(file).map(|content| text = content),
    }
    .with_context(|| format!("error while reading migration file {file}"))?;
    Ok(text)
}

/// Whether a text is a complete export.
pub fn is_complete(text: &str) -> bool {
    text.starts_with(COMPLETE)
}

/// Reads a file.
pub fn parse(file: &str, text: &str) -> anyhow::Result<Content> {
    let complete = is_complete(text);
    let parts = split(text);
    let [resources, cluster, ipam] = parts.as_slice() else {
        bail!(
            "imported file: {file} is improperly formatted: it has {} parts instead of 3. Try \
             recreating it with 'calicoctl datastore migrate export'",
            parts.len()
        );
    };
    let cluster = serde_json::from_str(cluster)
        .with_context(|| format!("failed to read the cluster information of {file}"))?;
    let ipam: Ipam = serde_json::from_str(ipam)
        .with_context(|| format!("failed to read the IPAM resources of {file}"))?;
    let pairs =
        ipam.affinities.into_iter().chain(ipam.blocks).chain(ipam.handles).chain(ipam.config);
    let pair = |pair: Pair| {
        let key = Key::parse(&pair.key)
            .with_context(|| format!("{file}: {} is no key of IPAM's", pair.key))?;
        check_ipam(&key, &pair.value).with_context(|| format!("{file}: {}", pair.key))?;
        Ok((key, pair.value))
    };
    Ok(Content {
        complete,
        resources: parse_resources(file, resources)?,
        cluster,
        ipam: pairs.map(pair).collect::<anyhow::Result<_>>()?,
    })
}

/// Only blocks, affinities, handles and the configuration are IPAM's, and a block is that of its key.
fn check_ipam(key: &Key, value: &Value) -> anyhow::Result<()> {
    ensure!(
        !matches!(key, Key::Resource { .. } | Key::LegacyHost(_)),
        "it does not belong among the IPAM resources"
    );
    ensure!(value.is_object(), "its value is no object");
    if let Key::Block(cidr) = key {
        let says = value["cidr"].as_str().and_then(|text| text.parse::<IpNet>().ok());
        ensure!(says.map(|net| net.trunc()) == Some(*cidr), "its value is that of another block");
    }
    Ok(())
}

fn parse_resources(file: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    let mut resources = Vec::new();
    for list in yaml::parse(text).with_context(|| format!("failed to read {file}"))? {
        let items = match list {
            Value::Null => continue,
            Value::Object(mut list) => list.remove("items").unwrap_or_default(),
            _ => Value::Null,
        };
        let Value::Array(items) = items else {
            bail!("{file}: a document is no list of resources");
        };
        resources.extend(items);
    }
    Ok(resources)
}

/// The parts between lines that are `===`.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        match (line.trim_end(), parts.last_mut()) {
            ("===", _) => parts.push(String::new()),
            (_, Some(part)) => {
                part.push_str(line);
                part.push('\n');
            }
            (_, None) => {}
        }
    }
    parts
}

/// The key of a resource of a file.
pub fn key_of_resource(resource: &Value) -> anyhow::Result<Key> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&resource["kind"]), &resource["metadata"]);
    let known = Kind::from_name(&kind).filter(|kind| *kind != Kind::ClusterInformation);
    let kind = known.with_context(|| format!("the file has a resource of kind {kind:?}"))?;
    let key = resource::key_of(kind, &text(&metadata["namespace"]), &text(&metadata["name"]));
    key.path()?;
    Ok(key)
}
