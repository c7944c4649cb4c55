//! DEL of the IPAM plugin: a container's addresses go back (`reference/ipam.md` section 14.4).

use cni::{Error, Request};
use libcalico::ipam::Allocator;

use crate::conf::NetConf;
use crate::identity::Identity;
use crate::{datastore, fault, lock, node, run};

/// Releases the addresses of the container's handles; that there are none is fine.
pub async fn del(conf: &NetConf, request: &Request) -> Result<(), Error> {
    let node = node::name(conf)?;
    let identity = Identity::of(request, &node);
    let datastore = datastore::open(conf, &node)?;
    let _lock = lock::acquire(&conf.ipam_lock_file).await;
    let deadline = run::deadline(run::DEL_STORE_LIMIT);
    let released = Allocator::new(&*datastore.store)
        .release_by_handle(&identity.handles(), None, Vec::new(), deadline)
        .await
        .map_err(|error| fault::ipam(&error))?;
    tracing::debug!(?released, "released");
    Ok(())
}
