//! How a [`Key`] and a [`Prefix`] are spelled in etcd, and in the local store too
//! (`reference/datamodel.md` sections 1 and 4.2).

use std::fmt::Write;

use ipnet::IpNet;

use super::{AffinityOwner, AffinityType, Family, Key, Prefix, StoreError, StoreErrorKind};
use crate::resources::Kind;

const ROOT: &str = "/calico/";
const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";
const BLOCKS: &str = "/calico/ipam/v2/assignment/";
const HOST_AFFINITIES: &str = "/calico/ipam/v2/host/";
const VIRTUAL_AFFINITIES: &str = "/calico/ipam/v2/virtual/";
const HANDLES: &str = "/calico/ipam/v2/handle/";
const IPAM_CONFIG: &str = "/calico/ipam/v2/config";

/// A key that has no spelling, or one that no reader could parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A part is empty.
    #[error("the {part} of a {kind} key is empty")]
    Empty {
        /// What the key is of.
        kind: &'static str,
        /// Which part of it.
        part: &'static str,
    },
    /// A part holds a slash, which keys can't.
    #[error("the {part} {value:?} of a {kind} key holds a slash")]
    Slash {
        /// What the key is of.
        kind: &'static str,
        /// Which part of it.
        part: &'static str,
        /// Its text.
        value: String,
    },
    /// A namespaced kind came without a namespace, or a global one with it.
    #[error("{kind} {name:?} {} a namespace", if *.namespaced { "needs" } else { "has not" })]
    Namespace {
        /// The kind.
        kind: &'static str,
        /// The resource's name.
        name: String,
        /// Whether the kind is namespaced.
        namespaced: bool,
    },
}

impl From<PathError> for StoreError {
    fn from(error: PathError) -> StoreError {
        StoreError::new(StoreErrorKind::Invalid, error.to_string())
    }
}

impl Key {
    /// The key's text. Names go in as they are: upstream escapes nothing here.
    pub fn path(&self) -> Result<String, PathError> {
        match self {
            Key::Resource { kind, namespace, name } => {
                let (title, plural) = (kind.name(), kind.plural());
                segment(title, "name", name)?;
                match (kind.namespaced(), namespace) {
                    (false, None) => Ok(format!("{RESOURCES}{plural}/{name}")),
                    // COMPAT: upstream writes and reads an empty namespace as an empty segment.
                    (true, Some(namespace)) => {
                        no_slash(title, "namespace", namespace)?;
                        Ok(format!("{RESOURCES}{plural}/{namespace}/{name}"))
                    }
                    (namespaced, _) => {
                        Err(PathError::Namespace { kind: title, name: name.clone(), namespaced })
                    }
                }
            }
            Key::Block(cidr) => Ok(format!("{BLOCKS}{}", block_tail(cidr))),
            Key::Affinity(owner, cidr) => {
                segment("block affinity", "owner", &owner.name)?;
                Ok(format!("{}{}/{}", owner.kind.root(), owner.name, block_tail(cidr)))
            }
            Key::Handle(id) => {
                segment("handle", "id", id)?;
                Ok(format!("{HANDLES}{id}"))
            }
            Key::IpamConfig => Ok(IPAM_CONFIG.to_owned()),
            Key::LegacyHost(host) => {
                segment("host", "name", host)?;
                Ok(format!("{HOST_AFFINITIES}{host}"))
            }
        }
    }

    /// The key with this text; `None` for what is not ours, which readers pass over. A CIDR is
    /// masked, and the family is that of the CIDR, whatever the segment before it says: so does
    /// upstream. The historic affinity type `@` is passed over, as no list of upstream's sees it.
    pub fn parse(path: &str) -> Option<Key> {
        if let Some(rest) = path.strip_prefix(RESOURCES) {
            return parse_resource(rest);
        }
        // COMPAT: only these three may come without the leading slash.
        let short = path.strip_prefix('/').unwrap_or(path);
        let under = |root: &str| root.strip_prefix('/').and_then(|root| short.strip_prefix(root));
        if let Some(rest) = under(BLOCKS) {
            parse_block_tail(rest).map(Key::Block)
        } else if let Some(rest) = under(HANDLES) {
            is_segment(rest).then(|| Key::Handle(rest.to_owned()))
        } else if let Some(rest) = under(HOST_AFFINITIES) {
            match rest.split_once('/') {
                None => is_segment(rest).then(|| Key::LegacyHost(rest.to_owned())),
                Some(_) => parse_affinity(AffinityType::Host, rest),
            }
        } else if let Some(rest) = under(VIRTUAL_AFFINITIES) {
            parse_affinity(AffinityType::Virtual, rest)
        } else {
            (path == IPAM_CONFIG).then_some(Key::IpamConfig)
        }
    }
}

impl Prefix {
    /// The text with which every key of the prefix begins. A prefix whose parts are names ends in
    /// a slash, so that `a` never takes in `ab`.
    pub fn path(&self) -> String {
        match self {
            Prefix::Resources { kind, namespace, name_prefix } => {
                let mut path = format!("{RESOURCES}{}/", kind.plural());
                if kind.namespaced() {
                    // A name's beginning alone is no range of keys: `contains` does the rest.
                    let Some(namespace) = namespace else { return path };
                    path.push_str(namespace);
                    path.push('/');
                }
                path.push_str(name_prefix);
                path
            }
            Prefix::Blocks(None) => BLOCKS.to_owned(),
            Prefix::Blocks(Some(family)) => format!("{BLOCKS}{}/", family.segment()),
            Prefix::Affinities(owner, family) => {
                let mut path = format!("{}{}/", owner.kind.root(), owner.name);
                if let Some(family) = family {
                    // Writing to a string doesn't fail.
                    let _ = write!(path, "{}/block/", family.segment());
                }
                path
            }
            Prefix::AllAffinities(kind) => kind.root().to_owned(),
            Prefix::Handles(id_prefix) => format!("{HANDLES}{id_prefix}"),
            Prefix::All => ROOT.to_owned(),
        }
    }

    /// Whether a key belongs to the prefix. A range of texts may hold more than that: the marker
    /// of a host lies among the affinities.
    pub fn contains(&self, key: &Key) -> bool {
        match (self, key) {
            (Prefix::All, _) => true,
            (
                Prefix::Resources { kind, namespace, name_prefix },
                Key::Resource { kind: its_kind, namespace: its_namespace, name },
            ) => {
                kind == its_kind
                    && (namespace.is_none() || namespace == its_namespace)
                    && name.starts_with(name_prefix.as_str())
            }
            (Prefix::Blocks(family), Key::Block(cidr)) => has_family(*family, cidr),
            (Prefix::Affinities(owner, family), Key::Affinity(its_owner, cidr)) => {
                owner == its_owner && has_family(*family, cidr)
            }
            (Prefix::AllAffinities(kind), Key::Affinity(owner, _)) => *kind == owner.kind,
            (Prefix::Handles(id_prefix), Key::Handle(id)) => id.starts_with(id_prefix.as_str()),
            _ => false,
        }
    }
}

impl Family {
    /// Its segment in keys.
    fn segment(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

impl AffinityType {
    /// The root of its affinities.
    fn root(self) -> &'static str {
        match self {
            AffinityType::Host => HOST_AFFINITIES,
            AffinityType::Virtual => VIRTUAL_AFFINITIES,
        }
    }
}

/// The first text after all that begin with `prefix`, in byte order; `None` when there is none.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(end)
}

fn has_family(family: Option<Family>, cidr: &IpNet) -> bool {
    family.is_none_or(|family| family == Family::of(cidr))
}

/// `ipv4/block/10.0.0.0-26`.
fn block_tail(cidr: &IpNet) -> String {
    let cidr = cidr.trunc();
    format!("{}/block/{}-{}", Family::of(&cidr).segment(), cidr.addr(), cidr.prefix_len())
}

fn parse_block_tail(tail: &str) -> Option<IpNet> {
    let mut segments = tail.split('/');
    let (family, block, cidr) = (segments.next()?, segments.next()?, segments.next()?);
    // COMPAT: upstream's pattern takes any one character where the family's digit stands.
    let family = family.strip_prefix("ipv")?;
    if family.chars().count() != 1 || block != "block" || segments.next().is_some() {
        return None;
    }
    let cidr: IpNet = cidr.replacen('-', "/", 1).parse().ok()?;
    Some(cidr.trunc())
}

fn parse_affinity(kind: AffinityType, rest: &str) -> Option<Key> {
    let (name, tail) = rest.split_once('/')?;
    let owner = AffinityOwner { kind, name: is_segment(name).then(|| name.to_owned())? };
    Some(Key::Affinity(owner, parse_block_tail(tail)?))
}

fn parse_resource(rest: &str) -> Option<Key> {
    let (plural, rest) = rest.split_once('/')?;
    let kind = Kind::from_plural(plural)?;
    let (namespace, name) = match kind.namespaced() {
        false => (None, rest),
        true => {
            let (namespace, name) = rest.split_once('/')?;
            (Some(namespace.to_owned()), name)
        }
    };
    (!name.contains('/')).then(|| Key::Resource { kind, namespace, name: name.to_owned() })
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

fn segment(kind: &'static str, part: &'static str, value: &str) -> Result<(), PathError> {
    if value.is_empty() {
        return Err(PathError::Empty { kind, part });
    }
    no_slash(kind, part, value)
}

fn no_slash(kind: &'static str, part: &'static str, value: &str) -> Result<(), PathError> {
    match value.contains('/') {
        true => Err(PathError::Slash { kind, part, value: value.to_owned() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
