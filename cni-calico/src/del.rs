//! DEL: what ADD made goes away, whatever of it is still there (`reference/cni-plugin.md` section
//! 5.2).
//!
//! The node's side comes first and depends on nobody: the link goes even when the nodename file is
//! missing, the namespace is gone, or the store is locked or away. Only then the addresses are
//! released: one that is given to somebody else must not be on a link any more. Errors are collected,
//! and none keeps the rest from being done.

pub(crate) mod local;

use std::net::IpAddr;

use cni::{Error, Request, code};
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::del::remembered;
use cni_ipam::identity::Identity;
use cni_ipam::run::Deadline;
use cni_ipam::{fault, lock, node, run};
use libcalico::store::{Snapshot, StoreError};
use netutils::{Mac, Netlink, Netns};
use tracing::{Instrument, debug_span};

use local::Local;

use crate::attachment::{self, OWN_IPAM};
use crate::conf::Conf;
use crate::delegate::Delegate;
use crate::endpoint::{EndpointId, Found};
use crate::host_link::HostLink;
use crate::owed;
use crate::release::{Prefetched, Release, ReleaseError};
use crate::unmarked::{self, Evidence, Named};

/// What is known of the attachment in the store.
enum Store {
    /// It was asked, and is ready.
    Ready(Box<(Datastore, Found, Option<Prefetched>)>),
    /// It can't be asked now: why, and which store it is.
    Away(StoreError, String),
    /// It won't do.
    Refused(Error),
}

/// Takes the attachment back.
pub async fn del(conf: Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    let conf = &conf;
    let node = node::name(&conf.shared);
    let (identity, _) = attachment::identity(conf, request, node.as_deref().unwrap_or_default());
    // Identifiers that make no name were refused by ADD, so there is no endpoint.
    let endpoint = EndpointId::of(&identity).ok();
    let own_ipam = conf.shared.ipam.kind == OWN_IPAM;
    let release = Release { identity: &identity, endpoint: endpoint.as_ref(), own_ipam };
    let host_link = HostLink::here(&identity)?;

    let asked = async {
        match &node {
            Ok(node) => ask(conf, node, &release, remembered(request), end).await,
            Err(error) => Store::Refused(error.clone()),
        }
    };
    let netns = request.netns.as_deref().and_then(|path| Netns::open(path).ok());
    let local = Local { host_link: &host_link, ifname: &identity.ifname, netns: netns.as_ref() };
    let marked = local.remove_marked().instrument(debug_span!("links"));
    let (store, host) = tokio::join!(asked, marked);
    let mut errors = Vec::new();
    match host {
        Ok(host) => {
            let unmarked = remove_unmarked(&local, &host, &release, &store, request, end);
            errors.extend(unmarked.await.err());
        }
        Err(error) => errors.push(error),
    }
    if errors.is_empty() {
        let delegated = match own_ipam || conf.shared.ipam.kind.is_empty() {
            true => Ok(()),
            false => match Delegate::find(request) {
                Ok(delegate) => delegate.del(end).await,
                Err(error) => Err(error),
            },
        };
        errors.extend(delegated.err());
        let taken_back = take_back(&release, conf, store, end).instrument(debug_span!("release"));
        errors.extend(taken_back.await.err());
    }
    first(errors)
}

/// Removes the links of this attachment that upstream made, or that nobody had time to mark.
async fn remove_unmarked(
    local: &Local<'_>,
    host: &Netlink,
    release: &Release<'_>,
    store: &Store,
    request: &Request,
    end: Deadline,
) -> Result<(), Error> {
    let mut evidence = match store {
        Store::Ready(ready) => known(release, &ready.1),
        // The name of a container's link is made of its id.
        _ => Evidence { by_name: release.identity.pod().is_none(), ..Evidence::default() },
    };
    let links = local.unmarked(host, evidence.stored.as_deref()).await?;
    if links.is_empty() {
        return Ok(());
    }
    evidence.macs.extend(remembered_mac(request));
    if let Store::Ready(ready) = store {
        let deadline = end.within(run::DEL_STORE_LIMIT);
        match unmarked::namesakes(release.endpoint, &*ready.0.store, deadline).await {
            Ok(others) => evidence.others.extend(others),
            // As for a store that was away from the start: the rest of DEL goes on.
            Err(error) => tracing::warn!("whose the links are can't be asked: {error}"),
        }
    }
    local.remove_unmarked(host, &links, &evidence).await
}

/// What the container's endpoints say of links.
fn known(release: &Release<'_>, found: &Found) -> Evidence {
    let mut evidence = match &found.mine {
        None => Evidence { by_name: true, ..Evidence::default() },
        Some(mine) if release.endpoint.is_some_and(|id| id.owns(&mine.endpoint)) => {
            Evidence::of(&mine.endpoint)
        }
        Some(theirs) => {
            Evidence { others: vec![Named::by(&theirs.endpoint)], ..Evidence::default() }
        }
    };
    evidence.others.extend(found.siblings.iter().map(|sibling| Named::by(&sibling.endpoint)));
    evidence
}

/// The MAC that the container's end has by the result of ADD.
fn remembered_mac(request: &Request) -> Option<Mac> {
    let result = request.config.prev_result().ok().flatten()?;
    let is_ours = |one: &&cni::Interface| one.name == request.ifname && !one.sandbox.is_empty();
    result.interfaces.iter().find(is_ours)?.mac.parse().ok()
}

/// Asks the store for the endpoint, if it is ready.
/// What IPAM has to know is read in the same round trip.
async fn ask(
    conf: &Conf,
    node: &str,
    release: &Release<'_>,
    remembered: Vec<IpAddr>,
    end: Deadline,
) -> Store {
    let datastore = match datastore::open(&conf.shared, node) {
        Ok(datastore) => datastore,
        Err(error) => return Store::Refused(error),
    };
    let mut queries = vec![datastore::readiness_query()];
    queries.extend(release.query());
    let own = queries.len();
    queries.extend(release.ipam_queries(&remembered));
    let deadline = end.within(run::DEL_STORE_LIMIT);
    let (revision, mut results) = match datastore.store.read(&queries, deadline).await {
        Ok(snapshot) => (snapshot.revision, snapshot.results),
        Err(error) if fault::is_unreachable(&error) => {
            return Store::Away(error, datastore.store.describe());
        }
        Err(error) => return Store::Refused(fault::store(&error)),
    };
    let ipam = results.split_off(own.min(results.len()));
    let mut results = results.into_iter();
    let cluster = results.next().unwrap_or_default();
    if datastore.is_fresh(&cluster) {
        return Store::Ready(Box::new((datastore, Found::default(), None)));
    }
    if let Err(error) = datastore::ensure_ready(&cluster, &*datastore.store) {
        return Store::Refused(error);
    }
    let found = release.find(&results.next().unwrap_or_default());
    let snapshot = Snapshot { revision, results: ipam };
    let prefetched = release.own_ipam.then_some(Prefetched { remembered, snapshot });
    Store::Ready(Box::new((datastore, found, prefetched)))
}

/// The store's part; a note if the store is away.
async fn take_back(
    release: &Release<'_>,
    conf: &Conf,
    store: Store,
    end: Deadline,
) -> Result<(), Error> {
    let (away, store) = match store {
        Store::Refused(error) => return Err(error),
        Store::Away(error, store) => (error, store),
        Store::Ready(ready) => {
            let (datastore, found, prefetched) = *ready;
            let path = &conf.shared.ipam_lock_file;
            let (_lock, prefetched) = match lock::if_free(path) {
                Some(lock) => (Some(lock), prefetched),
                // Whoever is before us changes what was read.
                None => (lock::acquire(path, end).await, None),
            };
            let deadline = end.within(run::DEL_STORE_LIMIT);
            match release.carry_out(&*datastore.store, found, prefetched, deadline).await {
                Ok(()) => {
                    let Identity { network, node, .. } = release.identity;
                    owed::settle(network, node, &datastore, end).await;
                    return Ok(());
                }
                Err(ReleaseError::Store(error)) if fault::is_unreachable(&error) => {
                    (error, datastore.store.describe())
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    if !conf.own.defers_release() {
        return Err(fault::store(&away));
    }
    owed::leave(release, &store).map_err(|error| {
        Error::new(
            code::TRY_AGAIN_LATER,
            format!("{away}; and no note of what is still to be released could be left: {error}"),
        )
    })?;
    tracing::warn!(
        "the container's interface is gone; its endpoint and addresses are released when the \
         datastore is back: {away}"
    );
    Ok(())
}

/// The first error; the others are its details.
fn first(errors: Vec<Error>) -> Result<(), Error> {
    let mut errors = errors.into_iter();
    let Some(first) = errors.next() else { return Ok(()) };
    let others: Vec<String> = errors.map(|error| error.msg).collect();
    match others.is_empty() {
        true => Err(first),
        false => Err(first.details(others.join("; "))),
    }
}
