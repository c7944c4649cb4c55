//! GC of the IPAM plugin: addresses of containers that are gone (`cni.dev/valid-attachments`).

use std::collections::BTreeSet;
use std::time::Instant;

use cni::{Error, Request, code};
use libcalico::ipam::{Allocator, IpamError};
use libcalico::names;
use libcalico::store::{Key, Prefix, Query, Store};

use crate::conf::NetConf;
use crate::run::Deadline;
use crate::{datastore, fault, lock, node};

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
            format!("{} stale handles of network {} were not released", problems.len(), {
                &request.config.name
            }),
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
    let prefix = names::handle_id(network, "");
    let query = Query::Keys(Prefix::Handles(prefix.clone()));
    let snapshot = store.read(&[query], deadline).await.map_err(|error| fault::store(&error))?;
    let allocator = Allocator::new(store);
    let mut problems = Vec::new();
    for document in snapshot.results.into_iter().flatten() {
        let Key::Handle(handle) = document.key else { continue };
        let Some(container_id) = handle.strip_prefix(&prefix) else { continue };
        // The handle of network `a.b` begins with `a.` too; but no endpoint's container id has a
        // dot, so what has one is another network's, or a virtual machine's.
        if valid.contains(container_id) || container_id.contains('.') {
            continue;
        }
        match release_if_of(&allocator, &handle, node, deadline).await {
            Ok(true) => {
                tracing::info!(handle, "released the addresses of a container that is gone")
            }
            Ok(false) => {}
            Err(error) => problems.push(format!("{handle}: {error}")),
        }
    }
    Ok(problems)
}

/// Releases a handle whose addresses were all assigned on this node.
async fn release_if_of(
    allocator: &Allocator<'_>,
    handle: &str,
    node: &str,
    deadline: Instant,
) -> Result<bool, IpamError> {
    let addresses = match allocator.ips_by_handle(handle, deadline).await {
        Ok(addresses) => addresses,
        Err(error) if crate::check::is_unknown(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut ours = addresses.is_empty();
    for address in addresses {
        match allocator.assignment_attributes(address, deadline).await {
            Ok(found) if found.active.get("node").is_some_and(|owner| owner == node) => ours = true,
            Ok(_) => return Ok(false),
            // Its own node has released it meanwhile.
            Err(error) if crate::check::is_unknown(&error) => {}
            Err(error) => return Err(error),
        }
    }
    if !ours {
        return Ok(false);
    }
    let handles = [handle.to_owned()];
    allocator.release_by_handle(&handles, None, Vec::new(), deadline).await?;
    Ok(true)
}
