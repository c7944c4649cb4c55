//! GC of the IPAM plugin: addresses of containers that are gone (`cni.dev/valid-attachments`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use cni::{Error, Request, code};
use ipnet::IpNet;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::{Allocator, Block, IpamError, IpamErrorKind};
use libcalico::names;
use libcalico::store::{AffinityOwner, Document, Key, Prefix, Query, Store};

use crate::conf::NetConf;
use crate::run::Deadline;
use crate::{datastore, fault, lock, node};

/// How many handles are released together: with the blocks that a node has, they are one commit.
const TOGETHER: usize = 96;
/// How many blocks are looked at together: one of 64 addresses takes some 15 KiB.
const BLOCKS_TOGETHER: usize = 64;

/// Releases the handles of this network on this node whose container is in no valid attachment.
pub async fn gc(conf: &NetConf, request: &Request, end: Deadline) -> Result<(), Error> {
    let node = node::name(conf)?;
    let valid: BTreeSet<String> = request
        .config
        .valid_attachments()?
        .into_iter()
        .map(|attachment| attachment.container_id)
        .collect();
    let datastore = datastore::open(conf, &node)?;
    let _lock = lock::acquire(&conf.ipam_lock_file, end).await;
    let problems =
        collect(&*datastore.store, &request.config.name, &node, &valid, end.end()).await?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::new(
            code::GC,
            format!(
                "{} things of network {} could not be released",
                problems.len(),
                request.config.name
            ),
        )
        .details(problems.join("; "))),
    }
}

/// Releases what is stale and answers what could not be.
pub async fn collect(
    store: &dyn Store,
    network: &str,
    node: &str,
    valid: &BTreeSet<String>,
    deadline: Instant,
) -> Result<Vec<String>, Error> {
    let mut problems = Vec::new();
    let stale = stale(store, network, node, valid, deadline, &mut problems).await?;
    let allocator = Allocator::new(store);
    for some in stale.chunks(TOGETHER) {
        match release(&allocator, some, deadline).await {
            Ok(()) => continue,
            Err(error) if error.kind() == IpamErrorKind::Unavailable => {
                return Err(fault::ipam(&error));
            }
            Err(_) => {}
        }
        // What one of them is refused for keeps none of the others.
        for handle in some {
            if let Err(error) = release(&allocator, std::slice::from_ref(handle), deadline).await {
                problems.push(format!("{handle}: {error}"));
            }
        }
    }
    Ok(problems)
}

async fn release(
    allocator: &Allocator<'_>,
    handles: &[String],
    deadline: Instant,
) -> Result<(), IpamError> {
    allocator.release_by_handle(handles, None, Vec::new(), deadline).await?;
    for handle in handles {
        tracing::info!(handle, "released the addresses of a container that is gone");
    }
    Ok(())
}

/// Where a handle's addresses were assigned.
#[derive(Default)]
struct Whereabouts {
    here: bool,
    elsewhere: bool,
    /// It counts an address in a block that can't be read, or in one of another node that doesn't
    /// have it: an upstream process there may be about to write it, for it counts first.
    unknown: bool,
}

impl Whereabouts {
    fn add(&mut self, block: &Block, handle: &str, node: &str) {
        let addresses = block.addresses_of(handle);
        self.unknown |= addresses.is_empty() && !block.is_owned_by(&AffinityOwner::host(node));
        for address in addresses {
            let record = block.record(address).ok().flatten();
            match record.and_then(|record| record.secondary.get("node")) {
                Some(of) if of == node => self.here = true,
                _ => self.elsewhere = true,
            }
        }
    }

    /// Whether nobody else has any of them. A handle without addresses is nobody's.
    fn is_ours(&self) -> bool {
        !self.elsewhere && (self.here || !self.unknown)
    }
}

/// The handles of the network whose container is in no valid attachment, and whose addresses were all
/// assigned on this node.
async fn stale(
    store: &dyn Store,
    network: &str,
    node: &str,
    valid: &BTreeSet<String>,
    deadline: Instant,
    problems: &mut Vec<String>,
) -> Result<Vec<String>, Error> {
    let read = async |queries: &[Query]| -> Result<Vec<Document>, Error> {
        let snapshot = store.read(queries, deadline).await;
        let snapshot = snapshot.map_err(|error| fault::store(&error))?;
        Ok(snapshot.results.into_iter().flatten().collect())
    };
    let prefix = names::handle_id(network, "");
    let mut found: BTreeMap<String, Whereabouts> = BTreeMap::new();
    let mut blocks: BTreeMap<IpNet, Vec<String>> = BTreeMap::new();
    for document in read(&[Query::Prefix(Prefix::Handles(prefix.clone()))]).await? {
        let Key::Handle(handle) = document.key else { continue };
        let Some(container_id) = handle.strip_prefix(&prefix) else { continue };
        // The handle of network `a.b` begins with `a.` too; but no endpoint's container id has a
        // dot, so what has one is another network's, or a virtual machine's.
        if valid.contains(container_id) || container_id.contains('.') {
            continue;
        }
        match Handle::decode(&document.value) {
            Ok(value) => {
                for cidr in value.blocks() {
                    blocks.entry(cidr).or_default().push(handle.clone());
                }
                found.insert(handle, Whereabouts::default());
            }
            Err(error) => problems.push(format!(
                "{handle}: the handle can't be read: {error}; see calicoctl ipam check"
            )),
        }
    }
    // PERF: the handles of all nodes bear the network's name, so each block is read once for all of
    // them: with 200 more nodes a GC made 21,000 requests when it asked for each handle by itself.
    let queries: Vec<Query> = blocks.keys().map(|cidr| Query::Key(Key::Block(*cidr))).collect();
    for some in queries.chunks(BLOCKS_TOGETHER) {
        for document in read(some).await? {
            let Key::Block(cidr) = document.key else { continue };
            let block = Block::decode(&document.value);
            if let Err(error) = &block {
                problems.push(format!("{cidr}: {error}"));
            }
            for handle in blocks.get(&cidr).into_iter().flatten() {
                let Some(found) = found.get_mut(handle) else { continue };
                match &block {
                    Ok(block) => found.add(block, handle, node),
                    Err(_) => found.unknown = true,
                }
            }
        }
    }
    Ok(found.into_iter().filter(|(_, found)| found.is_ours()).map(|(handle, _)| handle).collect())
}
