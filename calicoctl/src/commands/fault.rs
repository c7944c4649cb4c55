//! What an operator reads when the client refuses something.

use libcalico::client::ClientError;
use libcalico::resources::resource::describe;
use libcalico::resources::{AnyResource, Kind};

/// The message of a failed request.
pub fn message(error: &ClientError) -> String {
    match error {
        // COMPAT: scripts look for these very words.
        ClientError::NotFound { id, .. } => {
            format!("resource does not exist: {id} with error: <nil>")
        }
        error => error.to_string(),
    }
}

/// Refuses what no operator may write: the cluster's information is its programs' own.
pub fn check_writable(
    operation: &'static str,
    AnyResource { kind, metadata, .. }: &AnyResource,
) -> Result<(), ClientError> {
    match kind {
        Kind::ClusterInformation => Err(ClientError::NotSupported {
            operation,
            id: describe(*kind, &metadata.namespace, &metadata.name),
            reason: "it is read only: the datastore is locked and unlocked by calicoctl datastore"
                .to_owned(),
        }),
        _ => Ok(()),
    }
}
