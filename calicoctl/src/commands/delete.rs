//! `calicoctl delete`: resources, with what goes with them (`reference/calicoctl.md` sections 4.5
//! and 5.7).

use anyhow::bail;
use clap::Args;
use ipnet::IpNet;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::ipam::{Allocator, IpamError};
use libcalico::resources::resource::describe;
use libcalico::resources::{AnyResource, Kind};
use libcalico::store::{StoreError, StoreErrorKind};

use super::batch::{self, Batch, Verb};
use super::which::Which;
use super::{Outcome, fault};
use crate::context::Context;
use crate::progress::doing;

/// Arguments of `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    /// Take it for no failure when a resource is not there.
    #[arg(short, long)]
    skip_not_exists: bool,
}

impl Delete {
    /// Removes the resources.
    pub fn run(self, context: &Context) -> Outcome {
        let Some(resources) = self.resources()? else { return batch::nothing() };
        let client = context.client()?;
        let mut batch = Batch::of(&resources);
        context.block_on(async {
            let count = resources.len();
            for (at, resource) in resources.into_iter().enumerate() {
                let error = match delete(context, &client, resource).await {
                    Ok(()) => continue,
                    Err(error) if error.kind() == ErrorKind::NotFound && self.skip_not_exists => {
                        continue;
                    }
                    Err(error) => error,
                };
                batch.failed(fault::message(&error));
                if error.kind() == ErrorKind::Unavailable {
                    batch.not_tried(count - at - 1);
                    break;
                }
            }
            Ok(())
        })?;
        batch.report_each(Verb { base: "delete", past: "deleted" })
    }

    /// The resources to remove: those of a file, or those that the command line names.
    fn resources(&self) -> anyhow::Result<Option<Vec<AnyResource>>> {
        let Some(kind) = self.which.kind("delete")? else { return self.which.of_file() };
        if self.which.names.is_empty() {
            bail!("no name: say which {} to delete", kind.name());
        }
        self.which.named(kind).map(Some)
    }
}

/// Removes a resource: that at its resourceVersion, where it has one.
pub async fn delete(
    context: &Context,
    client: &Client,
    resource: AnyResource,
) -> Result<(), ClientError> {
    fault::check_writable("Delete", &resource)?;
    let AnyResource { kind, metadata, .. } = resource;
    let (namespace, name) = (metadata.namespace.as_str(), metadata.name.as_str());
    let (revision, deadline) = (metadata.revision(), context.deadline());
    let what = format!("deleting {}", describe(kind, namespace, name));
    let deletion = async {
        match kind {
            Kind::IpPool => {
                let store = client.store().clone();
                let release = async |net: IpNet| {
                    let allocator = Allocator::new(&*store);
                    let released = allocator.release_pool_affinities(net, deadline).await;
                    released.map_err(as_store_error)
                };
                client.delete_pool(name, revision, release, deadline).await.map(drop)
            }
            Kind::Node => match client.delete_node(name, revision, deadline).await? {
                Some(_) => Ok(()),
                None => Err(ClientError::NotFound {
                    id: describe(kind, namespace, name),
                    store: client.store().describe(),
                }),
            },
            _ => client.delete_any(kind, namespace, name, revision, deadline).await.map(drop),
        }
    };
    doing(what, deletion).await
}

fn as_store_error(error: IpamError) -> StoreError {
    match error {
        IpamError::Store(error) => error,
        error => StoreError::new(StoreErrorKind::Unavailable, error.to_string()),
    }
}
