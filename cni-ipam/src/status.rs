//! STATUS of the IPAM plugin: could an ADD be served now (`reference/cni-plugin.md` section 5.10)?

use std::time::Instant;

use cni::{Error, code};
use libcalico::ipam::{Allocator, Assigned, IpamError};
use libcalico::resources::Kind;
use libcalico::store::{Action, Change, Document, Guard, Key, Query};

use crate::conf::NetConf;
use crate::datastore::{self, Datastore};
use crate::{fault, node, request, run};

/// Fails if no address can be given.
pub async fn status(conf: &NetConf) -> Result<(), Error> {
    let node = node::name(conf)?;
    let datastore = datastore::open(conf, &node)?;
    ready(conf, &datastore, &node).await
}

/// A failure as STATUS says it: with code 50.
pub fn unavailable(error: Error) -> Error {
    match error.code {
        code::PLUGIN_NOT_AVAILABLE | code::LIMITED_CONNECTIVITY => error,
        _ => Error { code: code::PLUGIN_NOT_AVAILABLE, ..error },
    }
}

/// Whether the store is there and says that it is ready.
pub async fn is_ready(datastore: &Datastore) -> Result<(), Error> {
    let deadline = run::deadline(run::STATUS_LIMIT);
    let snapshot = datastore
        .store
        .read(&[datastore::readiness_query()], deadline)
        .await
        .map_err(|error| fault::store(&error))?;
    let cluster = snapshot.results.into_iter().next().unwrap_or_default();
    match datastore.is_fresh(&cluster) {
        true => Ok(()),
        false => datastore::ensure_ready(&cluster, &*datastore.store),
    }
}

/// Whether the store is ready, knows this node, and has an address for what is wanted.
pub async fn ready(conf: &NetConf, datastore: &Datastore, node: &str) -> Result<(), Error> {
    let deadline = run::deadline(run::STATUS_LIMIT);
    let queries = [datastore::readiness_query(), Query::Key(Key::global(Kind::Node, node))];
    let read = async || {
        let snapshot = datastore.store.read(&queries, deadline).await;
        snapshot.map(|snapshot| snapshot.results).map_err(|error| fault::store(&error))
    };
    let mut results = read().await?;
    let at = |results: &[Vec<Document>], at: usize| results.get(at).cloned().unwrap_or_default();
    if datastore.bootstrap(&at(&results, 0), &at(&results, 1), deadline).await? {
        results = read().await?;
    }
    datastore::ensure_ready(&at(&results, 0), &*datastore.store)?;
    match conf.ipam.kind.as_str() {
        "calico-ipam" => has_address(conf, datastore, node, deadline).await,
        _ => Ok(()),
    }
}

/// Whether an address of each wanted family could be given: asks the allocator for them, together
/// with a check that can't hold, so that nothing is taken.
async fn has_address(
    conf: &NetConf,
    datastore: &Datastore,
    node: &str,
    deadline: Instant,
) -> Result<(), Error> {
    let wanted = request::any(conf, node)?;
    let never = |_: &[Assigned]| {
        let key = Key::global(Kind::ClusterInformation, "default");
        vec![Change { key, guard: Guard::Absent, action: Action::Check }]
    };
    let outcome =
        Allocator::new(&*datastore.store).auto_assign(&wanted, None, Some(&never), deadline).await;
    match outcome {
        Ok(_) | Err(IpamError::CompanionConflict(_)) => Ok(()),
        Err(error) => Err(fault::ipam(&error)),
    }
}
