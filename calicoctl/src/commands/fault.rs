//! What an operator reads when the client refuses something.

use libcalico::client::ClientError;

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
