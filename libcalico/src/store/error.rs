//! What can go wrong when a store is asked.

/// A failure of a store, with what it was asked and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure, for deciding on retries and CNI codes.
    pub kind: StoreErrorKind,
    /// Names the store, the request and the next step; never a secret.
    pub message: String,
}

/// The kinds of failures, from which retries and CNI codes are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The configuration or the request is wrong: trying again doesn't help.
    Invalid,
    /// The store refused the credentials or the certificate.
    Unauthorized,
    /// The store couldn't be reached, or didn't answer in time. Nothing was changed.
    Unavailable,
    /// The answer to a commit was lost and its fate couldn't be read back.
    Unknown,
    /// The watch's revision is no longer kept: list again.
    Compacted,
    /// The store is damaged, or holds what can't be (a file that is no database).
    Corrupt,
}

impl StoreError {
    /// A failure of this kind with this message.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError { kind, message: message.into() }
    }
}
