//! What can go wrong with a request to the client, and what kind of failure it is.

use crate::ipam::{IpamError, IpamErrorKind};
use crate::resources::{DecodeError, ValidationError};
use crate::store::{StoreError, StoreErrorKind};

/// A failed request.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ClientError {
    #[error("resource does not exist: {id} in {store}")]
    NotFound { id: String, store: String },
    #[error("resource already exists: {id}; update it, or delete it first")]
    AlreadyExists { id: String },
    #[error("update conflict: {id} was changed meanwhile; read it again and repeat the change")]
    Conflict { id: String },
    #[error("operation {operation} is not supported on {id}: {reason}")]
    NotSupported { operation: &'static str, id: String, reason: String },
    #[error(transparent)]
    Validation(#[from] ValidationError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ipam(IpamError),
}

impl From<IpamError> for ClientError {
    fn from(error: IpamError) -> ClientError {
        match error {
            IpamError::Store(error) => ClientError::Store(error),
            error => ClientError::Ipam(error),
        }
    }
}

/// The kinds of failures, from which retries and CNI codes are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request or the object breaks a rule: trying again doesn't help.
    Invalid,
    /// There is no such object.
    NotFound,
    /// There is such an object already.
    AlreadyExists,
    /// Somebody else changed the object: read it again.
    Conflict,
    /// The store refused the credentials.
    Unauthorized,
    /// The store couldn't be asked: try again later.
    Unavailable,
    /// What is stored can't be read.
    Internal,
}

impl ClientError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ClientError::NotFound { .. } => ErrorKind::NotFound,
            ClientError::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            ClientError::Conflict { .. } => ErrorKind::Conflict,
            ClientError::NotSupported { .. } | ClientError::Validation(_) => ErrorKind::Invalid,
            ClientError::Decode(_) => ErrorKind::Internal,
            ClientError::Store(error) => match error.kind {
                StoreErrorKind::Invalid => ErrorKind::Invalid,
                StoreErrorKind::Unauthorized => ErrorKind::Unauthorized,
                StoreErrorKind::Unavailable
                | StoreErrorKind::Unknown
                | StoreErrorKind::Compacted => ErrorKind::Unavailable,
                StoreErrorKind::Corrupt => ErrorKind::Internal,
            },
            ClientError::Ipam(error) => match error.kind() {
                IpamErrorKind::Invalid => ErrorKind::Invalid,
                IpamErrorKind::NotFound => ErrorKind::NotFound,
                IpamErrorKind::Conflict | IpamErrorKind::Exhausted => ErrorKind::Conflict,
                IpamErrorKind::Unavailable => ErrorKind::Unavailable,
                IpamErrorKind::Internal => ErrorKind::Internal,
            },
        }
    }

    /// Whether somebody else's change crossed this one, so that reading again may help.
    pub(crate) fn is_race(&self) -> bool {
        let kind = self.kind();
        matches!(kind, ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::NotFound)
    }
}
