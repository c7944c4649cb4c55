//! The writing of one resource: create, apply, replace (`reference/calicoctl.md` section 4.3).

use libcalico::bootstrap;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::resource::describe;
use libcalico::resources::{AnyResource, Object, ObjectMeta};

use super::batch::{self, Batch, Verb};
use super::change::change;
use super::namespace::Namespace;
use super::{Outcome, fault};
use crate::context::Context;
use crate::input::Files;
use crate::progress::doing;

/// How often a resource is tried to be made that comes and goes.
const ATTEMPTS: usize = 5;

/// Whether a resource may be there already, and may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It must not be there.
    Create,
    /// It may be there; if it is, it stays as it is.
    CreateIfMissing,
    /// It may be there.
    Apply,
    /// It must be there.
    Replace,
}

/// Writes the resources of the files.
pub fn run(
    context: &Context,
    files: &Files,
    namespace: &Namespace,
    mode: Mode,
    verb: Verb,
) -> Outcome {
    let Some(mut resources) = files.read()? else { return batch::nothing() };
    resources.iter_mut().try_for_each(|resource| namespace.settle(resource))?;
    let client = match mode {
        Mode::Replace => context.client()?,
        Mode::Create | Mode::CreateIfMissing | Mode::Apply => context.client_of_first_write()?,
    };
    let mut batch = Batch::of(&resources);
    context.block_on(async {
        // The resources' own failures say it better.
        let ready = bootstrap::ensure_initialised(&**client.store(), context.deadline()).await;
        if let Err(error) = ready {
            tracing::debug!("the datastore could not be initialised: {error}");
        }
        let count = resources.len();
        for (at, resource) in resources.into_iter().enumerate() {
            let ObjectMeta { namespace, name, .. } = &resource.metadata;
            let what = format!("writing {}", describe(resource.kind, namespace, name));
            let written = doing(what, write(context, &client, resource, mode)).await;
            let Err(error) = written else { continue };
            batch.failed(fault::message(&error));
            if error.kind() == ErrorKind::Unavailable {
                // To wait for it again and again helps nobody.
                batch.not_tried(count - at - 1);
                break;
            }
        }
        Ok(())
    })?;
    batch.report(verb)
}

async fn write(
    context: &Context,
    client: &Client,
    mut resource: AnyResource,
    mode: Mode,
) -> Result<(), ClientError> {
    let operation = match mode {
        Mode::Create | Mode::CreateIfMissing => "Create",
        Mode::Apply => "Apply",
        Mode::Replace => "Update",
    };
    fault::check_writable(operation, &resource)?;
    // An endpoint may come without its name, which is computed.
    resource.default_on_write();
    match mode {
        Mode::Create => create(context, client, resource).await,
        Mode::CreateIfMissing => match create(context, client, resource).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            created => created,
        },
        Mode::Replace => update(context, client, &resource).await,
        Mode::Apply => {
            let mut attempts = 0;
            loop {
                attempts += 1;
                let updated = update(context, client, &resource).await;
                let missing = matches!(&updated, Err(error) if error.kind() == ErrorKind::NotFound);
                if !missing {
                    return updated;
                }
                let mut new = resource.clone();
                new.metadata.resource_version.clear();
                match create(context, client, new).await {
                    Err(error)
                        if error.kind() == ErrorKind::AlreadyExists && attempts < ATTEMPTS => {}
                    // COMPAT: what can't be made, and isn't there, is missing.
                    Err(ClientError::NotSupported { .. }) => return updated,
                    created => return created,
                }
            }
        }
    }
}

async fn create(
    context: &Context,
    client: &Client,
    mut resource: AnyResource,
) -> Result<(), ClientError> {
    let given = std::mem::take(&mut resource.metadata);
    // Identity and time of creation of a saved resource are another one's.
    resource.metadata = ObjectMeta {
        name: given.name,
        namespace: given.namespace,
        labels: given.labels,
        annotations: given.annotations,
        resource_version: given.resource_version,
        ..ObjectMeta::default()
    };
    client.create(resource, context.deadline()).await.map(drop)
}

/// Lays a resource over the stored one, whose identity stays. A resourceVersion that it names must
/// be the stored one's.
async fn update(context: &Context, client: &Client, new: &AnyResource) -> Result<(), ClientError> {
    let ObjectMeta { name, namespace, labels, annotations, resource_version, .. } = &new.metadata;
    let id = (new.kind, namespace.as_str(), name.as_str());
    change(context, client, id, |old| {
        if !resource_version.is_empty() && *resource_version != old.metadata.resource_version {
            return Err(ClientError::Conflict { id: describe(new.kind, namespace, name) });
        }
        let metadata =
            ObjectMeta { labels: labels.clone(), annotations: annotations.clone(), ..old.metadata };
        Ok(AnyResource { metadata, ..new.clone() })
    })
    .await
}
