//! From errors of the store and of IPAM to CNI's error codes (`reference/cni-plugin.md` section
//! 5.7): the one place where that is decided.

use cni::code;
use libcalico::ipam::{IpamError, IpamErrorKind};
use libcalico::store::{StoreError, StoreErrorKind};

/// An error of the store.
pub fn store(error: &StoreError) -> cni::Error {
    let code = match error.kind {
        StoreErrorKind::Unavailable | StoreErrorKind::Unknown | StoreErrorKind::Compacted => {
            code::TRY_AGAIN_LATER
        }
        StoreErrorKind::Invalid => code::INVALID_CONFIG,
        StoreErrorKind::Unauthorized => code::DATASTORE_WRITE,
        StoreErrorKind::Corrupt => code::DATASTORE_WRITE,
    };
    cni::Error::new(code, error.message.clone())
}

/// An error of IPAM.
pub fn ipam(error: &IpamError) -> cni::Error {
    if let IpamError::Store(error) = error {
        return store(error);
    }
    let code = match error.kind() {
        IpamErrorKind::Invalid => code::INVALID_CONFIG,
        IpamErrorKind::Unavailable => code::TRY_AGAIN_LATER,
        IpamErrorKind::NotFound
        | IpamErrorKind::Conflict
        | IpamErrorKind::Exhausted
        | IpamErrorKind::Internal => code::DELEGATION,
    };
    cni::Error::new(code, error.to_string())
}

/// Whether the store couldn't be asked, so that a DEL may leave a note and go on.
pub fn is_unreachable(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Unavailable)
}

/// A stored object that can't be read.
pub fn damaged(error: &impl std::fmt::Display) -> cni::Error {
    cni::Error::new(code::DATASTORE_WRITE, error.to_string())
}
