//! STATUS and the self-test `-t`: could an ADD be served now (`reference/cni-plugin.md` section
//! 5.10)?

use cni::{Error, Request, code};
use cni_ipam::conf::NetConf;
use cni_ipam::run::Deadline;
use cni_ipam::{datastore, node, status as ipam_status};

use crate::attachment::OWN_IPAM;
use crate::conf::Conf;
use crate::delegate::Delegate;
use crate::readiness;

/// Fails if no ADD could be served.
pub async fn status(conf: Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    let gates = conf.gates()?;
    let (rest, gates) = tokio::join!(others(&conf, request, end), readiness::probe(&gates));
    match (rest, gates) {
        // What else is wrong is more to the point, and that calico/node is down is worse.
        (Err(error), Err(Error { code: code::LIMITED_CONNECTIVITY, .. })) => {
            Err(Error { code: code::LIMITED_CONNECTIVITY, ..error })
        }
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(())) => Ok(()),
    }
}

/// All that is asked but the gates.
async fn others(conf: &Conf, request: &Request, end: Deadline) -> Result<(), Error> {
    conf.mtu()?;
    let node = node::name(&conf.shared)?;
    let datastore = datastore::open(&conf.shared, &node)?;
    ipam_status::ready(&conf.shared, &datastore, &node).await?;
    if conf.shared.ipam.kind == OWN_IPAM {
        return Ok(());
    }
    Delegate::find(request)?.status(end).await
}

/// The self-test: is the datastore that the configuration names there and ready?
pub async fn self_test(conf: &NetConf) -> Result<(), Error> {
    let node = node::name(conf).unwrap_or_default();
    let datastore = datastore::open(conf, &node)?;
    ipam_status::is_ready(&datastore).await
}
