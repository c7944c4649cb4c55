//! CHECK of the IPAM plugin: the addresses are still the container's.

use std::net::IpAddr;

use cni::{Error, Request, code};
use libcalico::ipam::{Allocator, IpamError, IpamErrorKind};
use libcalico::store::Store;

use crate::conf::NetConf;
use crate::identity::Identity;
use crate::{datastore, fault, node, run};

/// Checks that every address of the previous result, or at least one address, has the container's
/// handle.
pub async fn check(conf: &NetConf, request: &Request) -> Result<(), Error> {
    let node = node::name(conf)?;
    let identity = Identity::of(request, &node);
    let expected = request
        .config
        .prev_result()?
        .map(|result| result.ips.iter().map(|ip| ip.address.addr()).collect())
        .unwrap_or_default();
    let datastore = datastore::open(conf, &node)?;
    holds(&*datastore.store, &identity, expected).await
}

/// Whether the container's handle holds these addresses, or any if none are named.
pub async fn holds(
    store: &dyn Store,
    identity: &Identity,
    expected: Vec<IpAddr>,
) -> Result<(), Error> {
    let handle = identity.handle();
    let deadline = run::deadline(run::STORE_LIMIT);
    let held: Vec<IpAddr> = match Allocator::new(store).ips_by_handle(&handle, deadline).await {
        Ok(held) => held,
        Err(error) if error.kind() == IpamErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(fault::ipam(&error)),
    };
    let missing: Vec<String> =
        expected.iter().filter(|ip| !held.contains(ip)).map(IpAddr::to_string).collect();
    if missing.is_empty() && !held.is_empty() {
        return Ok(());
    }
    let what = match missing.is_empty() {
        true => "any address".to_owned(),
        false => missing.join(", "),
    };
    Err(Error::new(
        code::CHECK,
        format!(
            "IPAM does not hold {what} for handle {handle}, which has [{}]: somebody released it; \
             see `calicoctl ipam show --ip`, and restart the container",
            held.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
        ),
    ))
}

/// Whether nothing is known of a handle.
pub fn is_unknown(error: &IpamError) -> bool {
    error.kind() == IpamErrorKind::NotFound
}
