//! ADD of the IPAM plugin: addresses for a container (`reference/ipam.md` section 14.3).

use std::cell::Cell;
use std::pin::pin;
use std::time::Instant;

use cni::{AddResult, Error, IpConfig, Request, Route};
use ipnet::IpNet;
use libcalico::clock;
use libcalico::ipam::{Allocator, Assigned, Companion, IpamError};
use libcalico::resources::Kind;
use libcalico::store::{Document, Key, Query, Snapshot, Store};

use crate::conf::NetConf;
use crate::datastore::{self, Datastore};
use crate::identity::Identity;
use crate::request::{self, Addresses};
use crate::run::Deadline;
use crate::{fault, lock, node, recent, run};

/// Assigns what the configuration and `CNI_ARGS` ask for.
pub async fn add(conf: &NetConf, request: &Request, end: Deadline) -> Result<AddResult, Error> {
    let node = node::name(conf)?;
    let identity = Identity::of(request, &node);
    let wanted = request::addresses(conf, &request.args, &identity, clock::now())?;
    let datastore = datastore::open(conf, &node)?;
    // Whether a handle that wasn't there before is about to be written.
    let is_taking = Cell::new(false);
    let mut taking = pin!(async {
        let lock = lock::acquire(&conf.ipam_lock_file, end).await;
        let network = &identity.network;
        let wanted = wanted.looking_in(recent::blocks(lock.as_deref(), network));
        let deadline = end.within(run::STORE_LIMIT);
        // COMPAT: whether the datastore is ready is the network plugin's question.
        let prefetched = read(&datastore, &node, Vec::new(), Some(&wanted), deadline).await?.ipam;
        is_taking.set(!has_handle(&prefetched, &identity.handle()));
        let assigned = assign(&*datastore.store, &wanted, Some(prefetched), None, deadline)
            .await
            .map_err(|error| fault::ipam(&error))?;
        recent::keep(lock.as_deref(), network, &assigned);
        Ok::<_, Error>(assigned)
    });
    let assigned = tokio::select! {
        // Signals are watched before anything is begun.
        biased;
        why = run::interrupted(end) => {
            if is_taking.get() {
                // What is on its way to the store can't be undone before it is there.
                let _ = tokio::time::timeout(run::DEL_STORE_LIMIT, taking).await;
                give_back(&datastore, &identity).await;
            }
            return Err(why.error("what it began is undone"));
        }
        assigned = &mut taking => assigned?,
    };
    let mut result = AddResult::default();
    for address in &assigned {
        let net = with_prefix(&wanted, address);
        result.ips.push(IpConfig::new(net));
        result.routes.push(Route::to(net));
    }
    Ok(result)
}

/// Takes an ADD back that nobody waits for any more.
async fn give_back(datastore: &Datastore, identity: &Identity) {
    let deadline = run::deadline(run::DEL_STORE_LIMIT);
    let allocator = Allocator::new(&*datastore.store);
    let handles = [identity.handle()];
    let released = allocator.release_by_handle(&handles, None, Vec::new(), deadline).await;
    if let Err(error) = released {
        // The runtime's DEL comes back to it.
        tracing::error!("undoing the assignment: {error}");
    }
}

/// Whether a handle is among what was read for IPAM.
pub fn has_handle(prefetched: &Snapshot, handle: &str) -> bool {
    let is_handle = |document: &Document| matches!(&document.key, Key::Handle(id) if id == handle);
    prefetched.results.iter().flatten().any(is_handle)
}

/// The address as IPAM answers it: one that was chosen with the prefix length of its block, one
/// that was requested as it is.
fn with_prefix(wanted: &Addresses, assigned: &Assigned) -> IpNet {
    match wanted {
        Addresses::Any(_) => IpNet::new(assigned.address, assigned.block_prefix_len)
            .unwrap_or_else(|_| assigned.address.into()),
        Addresses::These(_) => assigned.address.into(),
    }
}

/// What was read for an ADD, all at one revision.
pub struct Read {
    /// Whether the cluster is ready: see [`datastore::ensure_ready`].
    pub cluster: Vec<Document>,
    /// The answers to the caller's own queries.
    pub own: Vec<Vec<Document>>,
    /// The answers for IPAM.
    pub ipam: Snapshot,
}

/// Reads what IPAM and the caller need, in one round trip. Sets up a fresh embedded store first.
pub async fn read(
    datastore: &Datastore,
    node: &str,
    own: Vec<Query>,
    wanted: Option<&Addresses>,
    deadline: Instant,
) -> Result<Read, Error> {
    let count = own.len();
    let mut queries = vec![datastore::readiness_query(), Query::Key(Key::global(Kind::Node, node))];
    queries.extend(own);
    queries.extend(wanted.map(Addresses::queries).unwrap_or_default());
    let mut snapshot = fetch(datastore, &queries, deadline).await?;
    let fresh = {
        let [cluster, node] = [0, 1].map(|at| snapshot.results.get(at).cloned());
        let (cluster, node) = (cluster.unwrap_or_default(), node.unwrap_or_default());
        datastore.bootstrap(&cluster, &node, deadline).await?
    };
    if fresh {
        snapshot = fetch(datastore, &queries, deadline).await?;
    }
    let mut results = snapshot.results.into_iter();
    let cluster = results.next().unwrap_or_default();
    // The node's answer was for the set-up only.
    let _ = results.next();
    let own = results.by_ref().take(count).collect();
    let ipam = Snapshot { revision: snapshot.revision, results: results.collect() };
    Ok(Read { cluster, own, ipam })
}

async fn fetch(
    datastore: &Datastore,
    queries: &[Query],
    deadline: Instant,
) -> Result<Snapshot, Error> {
    datastore.store.read(queries, deadline).await.map_err(|error| fault::store(&error))
}

/// Assigns, and commits what the caller adds in the same transaction.
pub async fn assign(
    store: &dyn Store,
    wanted: &Addresses,
    prefetched: Option<Snapshot>,
    companion: Option<Companion<'_>>,
    deadline: Instant,
) -> Result<Vec<Assigned>, IpamError> {
    let allocator = Allocator::new(store);
    match wanted {
        Addresses::Any(request) => {
            let assignment =
                allocator.auto_assign(request, prefetched, companion, deadline).await?;
            Ok(assignment.addresses().cloned().collect())
        }
        Addresses::These(requests) => {
            allocator.assign_ips(requests, prefetched, companion, deadline).await
        }
    }
}
