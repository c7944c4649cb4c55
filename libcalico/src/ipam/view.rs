//! What an operation knows of the store: every document that was read, written or seen in a
//! conflict, read once into its type. Decisions look only here.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;

use super::affinity::Affinity;
use super::block::Block;
use super::config::IpamConfig;
use super::error::IpamError;
use super::handle::Handle;
use super::pool::{Labels, Pool};
use super::reservation::{AddressFilter, reserved_networks};
use crate::resources::Kind;
use crate::store::{
    Action, AffinityOwner, Change, Document, Family, Guard, Key, Prefix, Query, Revision, Snapshot,
};

/// What is known of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fact<T> {
    /// It wasn't read.
    Unknown,
    /// There is none.
    Absent,
    /// It was there at this revision.
    Present(Revision, T),
    /// It was there, and can't be read.
    Damaged,
}

impl<T> Fact<T> {
    /// The guard under which this stays true; none when nothing is known.
    pub(crate) fn guard(&self) -> Guard {
        match self {
            Fact::Present(revision, _) => Guard::Revision(*revision),
            Fact::Absent => Guard::Absent,
            Fact::Unknown | Fact::Damaged => Guard::Any,
        }
    }
}

#[derive(Debug, Clone)]
enum Content {
    Block(Arc<Block>),
    Affinity(Affinity),
    Handle(Handle),
    Config(IpamConfig),
    Pool(Pool),
    Reserved(Vec<IpNet>),
    Node(Labels),
    Other,
    Damaged(String),
}

/// The documents that are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    documents: HashMap<Key, Option<(Revision, Content)>>,
    /// What lies under these and isn't among the documents doesn't exist.
    complete: Vec<Prefix>,
    /// The names of pools and of reservations, and the affinities, in their order.
    pools: BTreeSet<String>,
    reservations: BTreeSet<String>,
    affinities: BTreeSet<(AffinityOwner, String, IpNet)>,
}

impl View {
    /// Takes in the answers to queries.
    pub(crate) fn absorb(&mut self, queries: &[Query], snapshot: Snapshot) {
        let mut results = snapshot.results.into_iter();
        for query in queries {
            let documents = results.next().unwrap_or_default();
            match query {
                Query::Key(key) => self.set(key.clone(), None),
                Query::Prefix(prefix) if !self.complete.contains(prefix) => {
                    self.complete.push(prefix.clone());
                }
                Query::Prefix(_) | Query::Keys(_) => {}
            }
            if !matches!(query, Query::Keys(_)) {
                for document in documents {
                    self.set(document.key.clone(), Some(document));
                }
            }
        }
    }

    /// Takes in the present documents of a commit that conflicted.
    pub(crate) fn absorb_conflict(&mut self, changes: &[Change], present: Vec<Option<Document>>) {
        for (change, document) in changes.iter().zip(present) {
            self.set(change.key.clone(), document);
        }
    }

    /// Takes in what a commit of ours wrote.
    pub(crate) fn absorb_commit(&mut self, changes: &[Change], revision: Revision) {
        for change in changes {
            match &change.action {
                Action::Check => {}
                Action::Delete => self.set(change.key.clone(), None),
                Action::Put(value) => {
                    let (key, value) = (change.key.clone(), value.clone());
                    self.set(key.clone(), Some(Document { key, value, revision }));
                }
            }
        }
    }

    fn set(&mut self, key: Key, document: Option<Document>) {
        let present = document.is_some();
        match &key {
            Key::Resource { kind: Kind::IpPool, name, .. } => keep(&mut self.pools, name, present),
            Key::Resource { kind: Kind::IpReservation, name, .. } => {
                keep(&mut self.reservations, name, present);
            }
            Key::Affinity(owner, cidr) => {
                // In the order of the keys' text, which decides which block is used first.
                let entry = (owner.clone(), key_text(*cidr), *cidr);
                keep(&mut self.affinities, &entry, present);
            }
            _ => {}
        }
        let known = document.map(|document| (document.revision, parse(&document)));
        self.documents.insert(key, known);
    }

    fn lookup(&self, key: &Key) -> Fact<&Content> {
        match self.documents.get(key) {
            Some(Some((_, Content::Damaged(_)))) => Fact::Damaged,
            Some(Some((revision, content))) => Fact::Present(*revision, content),
            Some(None) => Fact::Absent,
            None if self.complete.iter().any(|prefix| prefix.contains(key)) => Fact::Absent,
            None => Fact::Unknown,
        }
    }

    /// Whether a query was answered.
    pub(crate) fn knows(&self, query: &Query) -> bool {
        match query {
            Query::Key(key) => !matches!(self.lookup(key), Fact::Unknown),
            Query::Prefix(prefix) | Query::Keys(prefix) => self.complete.contains(prefix),
        }
    }

    /// A block as it is stored: nothing was collected yet.
    pub(crate) fn block(&self, cidr: IpNet) -> Fact<&Arc<Block>> {
        match self.lookup(&Key::Block(cidr)) {
            Fact::Present(revision, Content::Block(block)) => Fact::Present(revision, block),
            other => other.without_content(),
        }
    }

    pub(crate) fn affinity(&self, owner: &AffinityOwner, cidr: IpNet) -> Fact<&Affinity> {
        match self.lookup(&Key::Affinity(owner.clone(), cidr)) {
            Fact::Present(revision, Content::Affinity(found)) => Fact::Present(revision, found),
            other => other.without_content(),
        }
    }

    pub(crate) fn handle(&self, id: &str) -> Fact<&Handle> {
        match self.lookup(&Key::Handle(id.to_owned())) {
            Fact::Present(revision, Content::Handle(handle)) => Fact::Present(revision, handle),
            other => other.without_content(),
        }
    }

    /// The labels of a node.
    pub(crate) fn node(&self, name: &str) -> Fact<&Labels> {
        match self.lookup(&Key::global(Kind::Node, name)) {
            Fact::Present(revision, Content::Node(labels)) => Fact::Present(revision, labels),
            other => other.without_content(),
        }
    }

    /// The configuration; the default when there is none.
    pub(crate) fn config(&self) -> Result<IpamConfig, IpamError> {
        match self.lookup(&Key::IpamConfig) {
            Fact::Present(_, Content::Config(config)) => Ok(config.clone()),
            Fact::Damaged => Err(self.damaged(&Key::IpamConfig, "the IPAM configuration")),
            _ => Ok(IpamConfig::default()),
        }
    }

    /// The revision of the configuration, if there is one.
    pub(crate) fn config_revision(&self) -> Option<Revision> {
        match self.lookup(&Key::IpamConfig) {
            Fact::Present(revision, _) => Some(revision),
            _ => None,
        }
    }

    /// The pools of both families in the order of their names, disabled ones included. One that
    /// can't be read gives no addresses and is left out.
    pub(crate) fn pools(&self) -> Vec<Pool> {
        self.pools
            .iter()
            .filter_map(|name| match self.lookup(&Key::global(Kind::IpPool, name.as_str())) {
                Fact::Present(_, Content::Pool(pool)) => Some(pool.clone()),
                _ => None,
            })
            .collect()
    }

    /// The guard under which a pool stays as it was read.
    pub(crate) fn pool_guard(&self, name: &str) -> (Key, Guard) {
        let key = Key::global(Kind::IpPool, name);
        let guard = self.lookup(&key).guard();
        (key, guard)
    }

    /// What all reservations keep out of automatic assignment.
    pub(crate) fn reserved(&self) -> AddressFilter {
        let networks = self.reservations.iter().flat_map(|name| {
            match self.lookup(&Key::global(Kind::IpReservation, name.as_str())) {
                Fact::Present(_, Content::Reserved(networks)) => networks.as_slice(),
                _ => &[],
            }
        });
        AddressFilter::new(networks.copied())
    }

    /// The blocks that an owner has an affinity for, in the order of the keys' text.
    pub(crate) fn affinities_of(
        &self,
        owner: &AffinityOwner,
        family: Option<Family>,
    ) -> Vec<IpNet> {
        self.affinities
            .iter()
            .filter(|(its_owner, _, cidr)| {
                its_owner == owner && family.is_none_or(|family| Family::of(cidr) == family)
            })
            .map(|(_, _, cidr)| *cidr)
            .collect()
    }

    /// Every affinity that is known.
    pub(crate) fn all_affinities(&self) -> impl Iterator<Item = (&AffinityOwner, IpNet)> {
        self.affinities.iter().map(|(owner, _, cidr)| (owner, *cidr))
    }

    /// Every block that is known.
    pub(crate) fn all_blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.documents.values().filter_map(|document| match document {
            Some((_, Content::Block(block))) => Some(block),
            _ => None,
        })
    }

    /// The failure to report for a document that can't be read.
    pub(crate) fn damaged(&self, key: &Key, what: &str) -> IpamError {
        let problem = match self.documents.get(key) {
            Some(Some((_, Content::Damaged(problem)))) => problem.clone(),
            _ => "it is not what its key says".to_owned(),
        };
        IpamError::Damaged { what: what.to_owned(), problem }
    }
}

impl Fact<&Content> {
    fn without_content<T>(self) -> Fact<T> {
        match self {
            Fact::Unknown => Fact::Unknown,
            Fact::Absent => Fact::Absent,
            Fact::Present(..) | Fact::Damaged => Fact::Damaged,
        }
    }
}

fn keep<T: Ord + Clone, Q: ?Sized + ToOwned<Owned = T>>(
    set: &mut BTreeSet<T>,
    item: &Q,
    present: bool,
) {
    let item = item.to_owned();
    if present {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

/// The last segment of a block's or affinity's key.
fn key_text(cidr: IpNet) -> String {
    cidr.to_string().replacen('/', "-", 1)
}

fn parse(document: &Document) -> Content {
    let value = &document.value;
    let damaged = |error: &dyn std::fmt::Display| Content::Damaged(error.to_string());
    match &document.key {
        Key::Block(cidr) => match Block::decode(value) {
            Ok(block) if block.cidr.trunc() != *cidr => {
                Content::Damaged(format!("it says that it is block {}", block.cidr))
            }
            Ok(block) => Content::Block(Arc::new(block)),
            Err(error) => damaged(&error),
        },
        Key::Affinity(..) => match Affinity::decode(value) {
            Ok(affinity) => Content::Affinity(affinity),
            Err(error) => damaged(&error),
        },
        Key::Handle(_) => match Handle::decode(value) {
            Ok(handle) => Content::Handle(handle),
            Err(error) => damaged(&error),
        },
        Key::IpamConfig => match IpamConfig::decode(value) {
            Ok(config) => Content::Config(config),
            Err(error) => damaged(&error),
        },
        Key::Resource { kind: Kind::IpPool, .. } => match Pool::from_document(document) {
            Ok(pool) => Content::Pool(pool),
            Err(error) => damaged(&error),
        },
        Key::Resource { kind: Kind::IpReservation, .. } => {
            Content::Reserved(reserved_networks(value))
        }
        Key::Resource { kind: Kind::Node, .. } => match node_labels(value) {
            Ok(labels) => Content::Node(labels),
            Err(error) => damaged(&error),
        },
        Key::Resource { .. } | Key::LegacyHost(_) => Content::Other,
    }
}

fn node_labels(value: &[u8]) -> Result<Labels, serde_json::Error> {
    #[derive(Deserialize)]
    struct Resource {
        #[serde(rename = "metadata", default)]
        metadata: Metadata,
    }
    #[derive(Default, Deserialize)]
    struct Metadata {
        #[serde(rename = "labels", default)]
        labels: Option<Labels>,
    }
    let resource: Resource = serde_json::from_slice(value)?;
    Ok(resource.metadata.labels.unwrap_or_default())
}
