//! DEL of the IPAM plugin: a container's addresses go back (`reference/ipam.md` section 14.4).

use std::net::IpAddr;

use cni::{Error, Request};
use libcalico::ipam::Allocator;

use crate::conf::NetConf;
use crate::identity::Identity;
use crate::run::Deadline;
use crate::{datastore, fault, lock, node, run};

/// Releases the addresses of the container's handles; that there are none is fine.
pub async fn del(conf: &NetConf, request: &Request, end: Deadline) -> Result<(), Error> {
    let node = node::name(conf)?;
    let identity = Identity::of(request, &node);
    let datastore = datastore::open(conf, &node)?;
    let _lock = lock::acquire(&conf.ipam_lock_file, end).await;
    let deadline = end.within(run::DEL_STORE_LIMIT);
    let released = Allocator::new(&*datastore.store)
        .release_by_handle_of(&identity.handles(), &remembered(request), None, Vec::new(), deadline)
        .await
        .map_err(|error| fault::ipam(&error))?;
    tracing::debug!(?released, "released");
    Ok(())
}

/// The addresses that the runtime remembers of ADD. It may remember nothing, or what isn't true any
/// more: the handle decides.
pub fn remembered(request: &Request) -> Vec<IpAddr> {
    let result = request.config.prev_result().ok().flatten();
    result.iter().flat_map(|result| &result.ips).map(|ip| ip.address.addr()).collect()
}
