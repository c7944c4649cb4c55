//! CHECK of the IPAM plugin: the addresses are still the container's, out of blocks that this node
//! may use.

use std::fmt::Display;
use std::net::IpAddr;

use cni::{Error, Request, code};
use ipnet::IpNet;
use libcalico::ipam::handle::Handle;
use libcalico::ipam::{Block, IpamConfig, IpamError, IpamErrorKind};
use libcalico::store::{AffinityOwner, AffinityType, Document, Key, Query, Store};

use crate::conf::NetConf;
use crate::identity::Identity;
use crate::run::Deadline;
use crate::{datastore, fault, node, run};

/// Checks that every address of the previous result, or at least one address, has the container's
/// handle, and that no other node may give it away.
pub async fn check(conf: &NetConf, request: &Request, end: Deadline) -> Result<(), Error> {
    let node = node::name(conf)?;
    let identity = Identity::of(request, &node);
    let expected: Vec<IpAddr> = request
        .config
        .prev_result()?
        .map(|result| result.ips.iter().map(|ip| ip.address.addr()).collect())
        .unwrap_or_default();
    let datastore = datastore::open(conf, &node)?;
    let held = Held::read(&*datastore.store, &identity.handle(), end).await?;
    held.has(&identity.handle(), &expected)?;
    held.is_out_of_own_blocks(&identity.handle(), &expected, &node)
}

/// Whether the container's handle holds these addresses, or any if none are named.
pub async fn holds(
    store: &dyn Store,
    identity: &Identity,
    expected: Vec<IpAddr>,
    end: Deadline,
) -> Result<(), Error> {
    let handle = identity.handle();
    Held::read(store, &handle, end).await?.has(&handle, &expected)
}

/// What the store says of a handle.
struct Held {
    config: IpamConfig,
    /// The blocks that the handle counts.
    blocks: Vec<Block>,
}

impl Held {
    async fn read(store: &dyn Store, handle: &str, end: Deadline) -> Result<Held, Error> {
        let deadline = end.within(run::STORE_LIMIT);
        let read = async |queries: &[Query]| -> Result<Vec<Vec<Document>>, Error> {
            let snapshot = store.read(queries, deadline).await;
            Ok(snapshot.map_err(|error| fault::store(&error))?.results)
        };
        let first =
            read(&[Query::Key(Key::IpamConfig), Query::Key(Key::Handle(handle.to_owned()))])
                .await?;
        let document = |at: usize| first.get(at).and_then(|found| found.first());
        let config = match document(0) {
            Some(document) => IpamConfig::decode(&document.value)
                .map_err(|error| damaged("the IPAM configuration", &error))?,
            None => IpamConfig::default(),
        };
        let blocks: Vec<IpNet> = match document(1) {
            Some(document) => Handle::decode(&document.value)
                .map_err(|error| damaged(&format!("handle {handle}"), &error))?
                .blocks()
                .collect(),
            None => Vec::new(),
        };
        if blocks.is_empty() {
            return Ok(Held { config, blocks: Vec::new() });
        }
        let queries: Vec<Query> =
            blocks.into_iter().map(|cidr| Query::Key(Key::Block(cidr))).collect();
        let blocks = read(&queries)
            .await?
            .iter()
            .flatten()
            .map(|document| Block::decode(&document.value))
            .collect::<Result<_, _>>()
            .map_err(|error| fault::ipam(&IpamError::Block(error)))?;
        Ok(Held { config, blocks })
    }

    fn has(&self, handle: &str, expected: &[IpAddr]) -> Result<(), Error> {
        let held: Vec<IpAddr> =
            self.blocks.iter().flat_map(|block| block.addresses_of(handle)).collect();
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
                "IPAM does not hold {what} for handle {handle}, which has [{}]: somebody released \
                 it; see `calicoctl ipam show --ip`, and restart the container",
                held.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
            ),
        ))
    }

    /// Whether this node owns the addresses' blocks. While affinity isn't strict an address may be
    /// borrowed, so that nothing follows from another owner.
    fn is_out_of_own_blocks(
        &self,
        handle: &str,
        expected: &[IpAddr],
        node: &str,
    ) -> Result<(), Error> {
        if !self.config.strict_affinity {
            return Ok(());
        }
        let owner = AffinityOwner { kind: AffinityType::Host, name: node.to_owned() };
        for block in self.blocks.iter().filter(|block| !block.is_owned_by(&owner)) {
            let strays = block.addresses_of(handle).into_iter();
            let mut strays = strays.filter(|ip| expected.is_empty() || expected.contains(ip));
            if let Some(address) = strays.next() {
                return Err(Error::new(
                    code::CHECK,
                    format!(
                        "block {} of address {address} belongs to {}, not to node {node}, and \
                         affinity is strict: other nodes don't route it here; restart the \
                         container; see `calicoctl ipam show --show-blocks`",
                        block.cidr,
                        block.affinity.as_deref().unwrap_or("nobody"),
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn damaged(what: &str, error: &impl Display) -> Error {
    fault::damaged(&format!(
        "{what} in the datastore can't be read: {error}; see calicoctl ipam check"
    ))
}

/// Whether nothing is known of a handle.
pub fn is_unknown(error: &IpamError) -> bool {
    error.kind() == IpamErrorKind::NotFound
}
