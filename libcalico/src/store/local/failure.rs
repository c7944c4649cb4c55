//! What SQLite and the file system refuse, in words that help.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::store::{PathError, StoreError, StoreErrorKind};

/// Why a call on the database failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Another process holds the lock: trying again helps.
    #[error("{}", super::BUSY)]
    Busy,
    /// A key that can't be spelled.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The folder or the file can't be made.
    #[error("can't make {path}: {error}; make it, or set another local_path", path = path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A later release wrote the file.
    #[error(
        "its format is {found}, written by release {wrote} of calico-rs; this one knows up to \
         {known}: update it"
    )]
    Newer {
        /// The file's.
        found: i64,
        /// Ours.
        known: i64,
        /// The release that wrote it.
        wrote: String,
    },
    /// A database of somebody else.
    #[error("the file is a database, but none of Calico's: set another local_path")]
    Foreign,
    /// Revisions that a watch wants are no longer kept.
    #[error("removals after revision {after} are no longer kept: list again")]
    Compacted {
        /// The revision after which the watch began.
        after: i64,
    },
    /// What SQLite says.
    #[error("{}", sqlite_text(.0))]
    Sqlite(rusqlite::Error),
    /// The disk failed while a transaction was being finished: it may be there or not.
    #[error("the disk failed during a commit, which may have been made or not: {}", sqlite_text(.0))]
    Fate(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Failure {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy,
            _ => Failure::Sqlite(error),
        }
    }
}

impl Failure {
    /// The error as callers see it, with the store's name before it.
    pub(super) fn describe(&self, store: &str) -> StoreError {
        let kind = match self {
            Failure::Make { error, .. } if error.kind() != io::ErrorKind::StorageFull => {
                StoreErrorKind::Invalid
            }
            Failure::Busy | Failure::Make { .. } => StoreErrorKind::Unavailable,
            Failure::Path(_) | Failure::Newer { .. } => StoreErrorKind::Invalid,
            Failure::Foreign => StoreErrorKind::Corrupt,
            Failure::Compacted { .. } => StoreErrorKind::Compacted,
            Failure::Fate(_) => StoreErrorKind::Unknown,
            Failure::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                    StoreErrorKind::Corrupt
                }
                _ => StoreErrorKind::Unavailable,
            },
        };
        StoreError::new(kind, format!("{store}: {self}"))
    }
}

/// What SQLite says, and what to do about it.
fn sqlite_text(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "it holds something else: move it away, and a new one is made"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "save it with `sqlite3 FILE .recover`, or move it away, and a new one is made"
        }
        Some(ErrorCode::ReadOnly) => "the file or its file system is read-only: make it writable",
        Some(ErrorCode::PermissionDenied) => "the file's owner and mode forbid it",
        Some(ErrorCode::CannotOpen) => "is it a folder, and may this user open it?",
        Some(ErrorCode::DiskFull) => "the file system is full: free some space",
        Some(ErrorCode::SystemIoFailure) => "see the kernel's log for the disk's state",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}
