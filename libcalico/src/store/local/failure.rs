//! What SQLite and the file system refuse, in words that help.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::store::{PathError, StoreError, StoreErrorKind};

/// How to get a store back whose file is damaged.
const RESTORE: &str = "move the file away with its -wal and -shm, and import the latest export \
                       (`calicoctl datastore migrate import -f EXPORT`), or what `sqlite3 FILE \
                       .recover` finds; a store that begins anew doesn't know the running containers";

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
    #[error("can't make {path}: {error}; make it, or set another path for the store", path = path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file, which is there, can't be opened.
    #[error("can't open {path} for writing: {error}{}", open_advice(error), path = path.display())]
    Open {
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
    #[error("the file is a database, but none of Calico's: set another path for the store")]
    Foreign,
    /// A file that lost its content.
    #[error("the file is empty, which no release leaves behind: {RESTORE}")]
    Empty,
    /// A folder, a device or the like.
    #[error("it is no file: move it away, or set another path for the store")]
    NoFile,
    /// The file is gone and what was written last is not.
    #[error(
        "the file is gone, but its log {log} is there, with the latest changes: put the file back \
         beside it; if it is lost, move the log and the -shm away and import the latest export \
         (`calicoctl datastore migrate import -f EXPORT`)", log = log.display()
    )]
    Lost {
        /// The log.
        log: PathBuf,
    },
    /// A link that leads nowhere, where the file or a folder above it should be.
    #[error(
        "{link} is a link to {target}, which isn't there: mount it or put it back, or remove the link \
         where a store is to begin anew", link = link.display(), target = target.display()
    )]
    LooseLink {
        /// The link.
        link: PathBuf,
        /// What it names.
        target: PathBuf,
    },
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
            Failure::Make { error, .. } | Failure::Open { error, .. } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem => {
                    StoreErrorKind::Unavailable
                }
                _ => StoreErrorKind::Invalid,
            },
            Failure::Busy => StoreErrorKind::Unavailable,
            Failure::Path(_) | Failure::Newer { .. } => StoreErrorKind::Invalid,
            Failure::Foreign
            | Failure::Empty
            | Failure::NoFile
            | Failure::LooseLink { .. }
            | Failure::Lost { .. } => StoreErrorKind::Corrupt,
            Failure::Compacted { .. } => StoreErrorKind::Compacted,
            Failure::Fate(_) => StoreErrorKind::Unknown,
            Failure::Sqlite(error) => match error.sqlite_error_code() {
                // The statements are right: where a table is missing or holds something else than
                // what was written into it, the file is damaged.
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown)
                | None => StoreErrorKind::Corrupt,
                Some(_) => StoreErrorKind::Unavailable,
            },
        };
        StoreError::new(kind, format!("{store}: {self}"))
    }
}

fn is_shm_size(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    extended == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

fn open_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": its owner and mode forbid it, run as root",
        _ => "",
    }
}

/// What SQLite says, and what to do about it.
fn sqlite_text(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) | None => {
            RESTORE
        }
        Some(ErrorCode::ReadOnly) => "the file or its file system is read-only: make it writable",
        Some(ErrorCode::PermissionDenied) => "the file's owner and mode forbid it",
        Some(ErrorCode::CannotOpen) => "may this user make files beside it?",
        Some(ErrorCode::DiskFull) => "the file system is full: free some space",
        // Memory that the processes share is a file beside it.
        Some(ErrorCode::SystemIoFailure) if is_shm_size(error) => {
            "the file system is full: free some space"
        }
        Some(ErrorCode::SystemIoFailure) => "see the kernel's log for the disk's state",
        _ => return error.to_string(),
    };
    format!("{error}: {advice}")
}
