//! The change of a stored resource: read, changed, written, and all of it again when somebody else
//! changed it in between.

use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::{AnyResource, Kind};

use super::fault;
use crate::context::Context;

/// How often a change that somebody else's crossed is made again.
const ATTEMPTS: usize = 5;

/// Which resource: its kind, namespace and name.
pub type Id<'a> = (Kind, &'a str, &'a str);

/// Changes a stored resource. `change` may refuse to.
pub async fn change<E: From<ClientError>>(
    context: &Context,
    client: &Client,
    (kind, namespace, name): Id<'_>,
    mut change: impl FnMut(AnyResource) -> Result<AnyResource, E>,
) -> Result<(), E> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let old = client.get_any(kind, namespace, name, context.deadline()).await?;
        fault::check_writable("Update", &old)?;
        match client.update(change(old)?, context.deadline()).await {
            Err(error) if error.kind() == ErrorKind::Conflict && attempts < ATTEMPTS => {}
            written => return Ok(written.map(drop)?),
        }
    }
}
