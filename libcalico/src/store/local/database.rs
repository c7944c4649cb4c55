//! The tables and the statements. Everything here blocks, and fails with [`Failure::Busy`] where
//! another process is in the way: the caller tries again.
//!
//! A file of ours is never empty: it comes into being whole (see [`make`]). So one that is empty, or
//! is gone while its log is there, has been damaged, and is reported instead of begun anew.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{
    CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension, Row, ToSql, Transaction,
    TransactionBehavior,
};

use super::failure::Failure;
use crate::store::path::successor;
use crate::store::{
    Action, Change, Committed, Document, Event, Key, Prefix, Query, Revision, Snapshot,
};

/// The format of the tables, kept in the file's `user_version`.
const FORMAT: i64 = 1;

/// Marks the file as Calico's ("cali").
const APPLICATION: i64 = 0x6361_6c69;

/// For how many revisions a removal is remembered, for watches that start late.
const REMEMBERED: Revision = 10_000;

/// How often, in revisions, what is older is forgotten.
const FORGET_EVERY: Revision = 500;

/// At how many bytes, and multiples of them, the write-ahead log is folded into the file and emptied.
/// A fresh process reads the whole log first, so it is kept short: some six commits.
const LOG_MAX: u64 = 128 << 10;

/// The size of a page, in bytes. A commit writes each page that it touches to the log as a whole, and
/// most of the dozen are of indexes, where it changes a line.
const PAGE_SIZE: i64 = 1024;

/// `removed` holds the keys that aren't there any more, so that a watch can tell of them.
///
/// PERF: `documents` keeps its rows out of its index, for comparing keys in a `WITHOUT ROWID` table
/// reads each large row whole; and the value stands last, for what is behind it is found only by
/// following all of its pages.
const TABLES: &str = "
    CREATE TABLE meta (
        revision INTEGER NOT NULL,
        compacted INTEGER NOT NULL,
        release TEXT NOT NULL
    );
    CREATE TABLE documents (
        key TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        value BLOB NOT NULL
    );
    CREATE INDEX documents_by_revision ON documents (revision);
    CREATE TABLE removed (
        key TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX removed_by_revision ON removed (revision);
";

/// How the file is opened: waiting for others is the caller's part, and so is sharing a connection.
const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens the file; makes it, its folder and its tables where they don't exist.
pub(super) fn open(path: &Path) -> Result<Connection, Failure> {
    match fs::metadata(path) {
        Err(error) if is_missing(&error) => make(path)?,
        // SQLite would remove the log of an empty file, with all that is in it.
        Ok(found) if found.is_file() && found.len() == 0 => return Err(Failure::Empty),
        Ok(found) if !found.is_file() => return Err(Failure::NoFile),
        // SQLite says what else is wrong.
        Ok(_) | Err(_) => {}
    }
    match connect(path) {
        // SQLite keeps the reason for itself.
        Err(Failure::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
            match OpenOptions::new().append(true).open(path) {
                Err(error) => Err(Failure::Open { path: path.to_owned(), error }),
                Ok(_) => Err(Failure::Sqlite(error)),
            }
        }
        connected => connected,
    }
}

/// Opens a file that is there.
fn connect(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open_with_flags(path, FLAGS)?;
    // Waiting for others is the caller's part: it knows the deadline.
    connection.busy_timeout(Duration::ZERO)?;
    // The last process to leave would fold the log into the file: half a millisecond a verb.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // SQLite's own way folds the log, and leaves the emptying to the next who writes in the same
    // process: here nobody does, and the next process doesn't know that it was folded.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The log is beside the file itself, whatever links lead there.
    let file = connection.path().map_or_else(|| path.to_owned(), PathBuf::from);
    let has_log = beside(&file, "-wal").exists();
    // PERF: read before any DDL, which would take the write lock at every start.
    match format(&connection)? {
        FORMAT => {
            // Somebody's tool has folded the log into the file and removed it; reading made it anew.
            if !has_log {
                sync_folder(&file)?;
            }
            Ok(connection)
        }
        0 => Err(Failure::Foreign),
        found => {
            let wrote = connection.query_row("SELECT release FROM meta", [], |row| row.get(0));
            let wrote = wrote.unwrap_or_else(|_| "unknown".to_owned());
            Err(Failure::Newer { found, known: FORMAT, wrote })
        }
    }
}

/// Whether an error says that the file, or its folder, isn't there.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What on the way to the file is a link that leads nowhere: what it names may only be away, like a disk
/// that isn't mounted yet.
pub(super) fn loose_link(path: &Path) -> Option<&Path> {
    path.ancestors().find(|part| part.is_symlink() && !part.exists())
}

/// Makes the file with its tables, for its owner alone (endpoints and labels are nobody else's
/// business), and its folder, readable for all, as other programs keep files there.
///
/// It is made aside and renamed, so that nobody ever sees half of it, and a process that is killed
/// meanwhile leaves none. Who makes it holds the folder's lock.
fn make(path: &Path) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Failure::Make { path, error }
    };
    if let Some(link) = loose_link(path) {
        return Err(Failure::LooseLink {
            link: link.to_owned(),
            target: fs::read_link(link).unwrap_or_default(),
        });
    }
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed(folder))?;
    let lock = File::open(folder).map_err(failed(folder))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Failure::Busy),
        Err(TryLockError::Error(error)) => return Err(failed(folder)(error)),
    }
    if path.exists() {
        return Ok(());
    }
    // With commits in it that aren't in the file yet; and SQLite would put them into the new one.
    if has_log(path) {
        return Err(Failure::Lost { log: beside(path, "-wal") });
    }
    fault_points::reach!("store.make");
    let aside = beside(path, "-new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&aside)(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let file = options.create_new(true).write(true).mode(0o600).open(&aside);
    let file = file.map_err(failed(&aside))?;
    initialise(Connection::open_with_flags(&aside, FLAGS)?)?;
    file.sync_all().map_err(failed(&aside))?;
    fs::rename(&aside, path).map_err(failed(path))?;
    fault_points::reach!("store.made");
    sync_folder(path)
}

/// Whether a log with something in it is beside the file.
pub(super) fn has_log(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0)
}

/// The folder of the file.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// A file beside the file: the write-ahead log is `-wal`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes names of new files in the folder safe from a loss of power. SQLite itself is built without
/// this (`.cargo/config.toml`): it can't tell whether the log is new.
fn sync_folder(path: &Path) -> Result<(), Failure> {
    let folder = folder_of(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Failure::Make { path: folder.to_owned(), error })
}

/// What SQLite finds wrong with the file, at most twenty things.
pub(super) fn integrity(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let findings = statement.query_map([], |row| row.get(0))?;
    let findings = findings.collect::<Result<Vec<String>, _>>()?;
    Ok(findings.into_iter().filter(|finding| finding != "ok").collect())
}

fn format(connection: &Connection) -> Result<i64, Failure> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Makes the tables of a new file, which nobody else has yet. Its log ends with the connection.
fn initialise(mut connection: Connection) -> Result<(), Failure> {
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    // Like etcd, an empty store is at revision 1.
    transaction.execute(
        "INSERT INTO meta (revision, compacted, release) VALUES (1, 0, ?1)",
        [env!("CARGO_PKG_VERSION")],
    )?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    fault_points::reach!("store.tables");
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error.into())
}

/// Answers all queries from one snapshot of the database.
pub(super) fn read(connection: &mut Connection, queries: &[Query]) -> Result<Snapshot, Failure> {
    let transaction = connection.transaction()?;
    // The first statement fixes the snapshot.
    let revision = revision(&transaction)?;
    let mut results = Vec::with_capacity(queries.len());
    for query in queries {
        results.push(match query {
            Query::Key(key) => document(&transaction, key, &key.path()?)?.into_iter().collect(),
            Query::Prefix(prefix) => list(&transaction, prefix, "value")?,
            Query::Keys(prefix) => list(&transaction, prefix, "x''")?,
        });
    }
    Ok(Snapshot { revision, results })
}

/// Makes all changes, or none where a guard doesn't hold. `go_ahead` is asked last: until then all
/// can be taken back.
pub(super) fn commit(
    connection: &mut Connection,
    changes: &[Change],
    paths: &[String],
    go_ahead: impl Fn() -> bool,
) -> Result<Committed, Failure> {
    let writes = changes.iter().any(|change| change.action != Action::Check);
    let behavior = match writes {
        true => TransactionBehavior::Immediate,
        false => TransactionBehavior::Deferred,
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let before = revision(&transaction)?;
    let mut present = Vec::with_capacity(paths.len());
    for path in paths {
        present.push(revision_of(&transaction, path)?);
    }
    let holds = |(change, present): (&Change, &Option<Revision>)| change.guard.holds(*present);
    if !changes.iter().zip(&present).all(holds) {
        let documents = changes.iter().zip(paths);
        return documents
            .map(|(change, path)| document(&transaction, &change.key, path))
            .collect::<Result<_, _>>()
            .map(Committed::Conflict);
    }
    let next = before + 1;
    let mut changed = false;
    for ((change, path), present) in changes.iter().zip(paths).zip(present) {
        match &change.action {
            Action::Put(value) => put(&transaction, path, value, next)?,
            Action::Delete if present.is_some() => remove(&transaction, path, next)?,
            Action::Delete | Action::Check => continue,
        }
        changed = true;
    }
    if !changed {
        return Ok(Committed::Done(before));
    }
    transaction.prepare_cached("UPDATE meta SET revision = ?1")?.execute([next])?;
    if next % FORGET_EVERY == 0 {
        forget(&transaction, next - REMEMBERED)?;
    }
    if !go_ahead() {
        return Err(Failure::Busy);
    }
    let log_before = log_length(&transaction);
    fault_points::reach!("store.commit");
    transaction.commit().map_err(|error| match error.sqlite_error_code() {
        // Once frames are in the log, the next process may find them whole.
        Some(ErrorCode::SystemIoFailure) => Failure::Fate(error),
        _ => Failure::from(error),
    })?;
    fault_points::reach!("store.committed");
    if log_length(connection) / LOG_MAX > log_before / LOG_MAX {
        fold_log(connection);
    }
    Ok(Committed::Done(next))
}

/// How many bytes the write-ahead log has.
fn log_length(connection: &Connection) -> u64 {
    let log = connection.path().map(|path| beside(Path::new(path), "-wal"));
    log.and_then(|log| log.metadata().ok()).map_or(0, |metadata| metadata.len())
}

/// Folds the log into the file and empties it. Where somebody else reads or writes just now, or the
/// disk is full, it is left to a later commit: nothing is lost by that.
fn fold_log(connection: &Connection) {
    let folded = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        .map(|is_busy| !is_busy);
    tracing::debug!(?folded, "folding the log of the local store");
}

/// What changed under a prefix after a revision, in order, with the revision up to which this was
/// looked for. Of several changes of one key only the last one is told.
pub(super) fn changes(
    connection: &mut Connection,
    prefix: &Prefix,
    after: Revision,
) -> Result<(Revision, Vec<Event>), Failure> {
    let transaction = connection.transaction()?;
    let (until, compacted): (Revision, Revision) = transaction
        .prepare_cached("SELECT revision, compacted FROM meta")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if after >= until {
        return Ok((after, Vec::new()));
    }
    if after < compacted {
        return Err(Failure::Compacted { after });
    }
    let start = prefix.path();
    let mut statement = transaction.prepare_cached(
        "SELECT key, value, revision FROM documents
            WHERE revision > ?1 AND key >= ?2 AND key < ?3
         UNION ALL SELECT key, NULL, revision FROM removed
            WHERE revision > ?1 AND key >= ?2 AND key < ?3
         ORDER BY revision, key",
    )?;
    let mut rows = statement.query((after, &start, Text(end_of(&start))))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(key) = key_in(row, prefix)? else { continue };
        let revision = row.get(2)?;
        events.push(match row.get_ref(1)? {
            ValueRef::Null => Event::Deleted(key, revision),
            value => Event::Put(Document { key, value: bytes(value), revision }),
        });
    }
    Ok((until, events))
}

fn revision(transaction: &Transaction<'_>) -> Result<Revision, Failure> {
    let mut statement = transaction.prepare_cached("SELECT revision FROM meta")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn revision_of(transaction: &Transaction<'_>, path: &str) -> Result<Option<Revision>, Failure> {
    let mut statement =
        transaction.prepare_cached("SELECT revision FROM documents WHERE key = ?1")?;
    Ok(statement.query_row([path], |row| row.get(0)).optional()?)
}

fn document(
    transaction: &Transaction<'_>,
    key: &Key,
    path: &str,
) -> Result<Option<Document>, Failure> {
    let mut statement =
        transaction.prepare_cached("SELECT value, revision FROM documents WHERE key = ?1")?;
    let found = statement.query_row([path], |row| {
        Ok(Document { key: key.clone(), value: bytes(row.get_ref(0)?), revision: row.get(1)? })
    });
    Ok(found.optional()?)
}

fn list(
    transaction: &Transaction<'_>,
    prefix: &Prefix,
    value: &'static str,
) -> Result<Vec<Document>, Failure> {
    let start = prefix.path();
    let mut statement: CachedStatement<'_> = transaction.prepare_cached(&format!(
        "SELECT key, {value}, revision FROM documents WHERE key >= ?1 AND key < ?2 ORDER BY key"
    ))?;
    let mut rows = statement.query((&start, Text(end_of(&start))))?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some(key) = key_in(row, prefix)? {
            documents.push(Document { key, value: bytes(row.get_ref(1)?), revision: row.get(2)? });
        }
    }
    Ok(documents)
}

fn put(
    transaction: &Transaction<'_>,
    path: &str,
    value: &[u8],
    revision: Revision,
) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO documents (key, value, revision) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3",
        )?
        .execute((path, value, revision))?;
    transaction.prepare_cached("DELETE FROM removed WHERE key = ?1")?.execute([path])?;
    Ok(())
}

fn remove(transaction: &Transaction<'_>, path: &str, revision: Revision) -> Result<(), Failure> {
    transaction.prepare_cached("DELETE FROM documents WHERE key = ?1")?.execute([path])?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO removed (key, revision) VALUES (?1, ?2)")?
        .execute((path, revision))?;
    Ok(())
}

/// Forgets the removals up to a revision.
fn forget(transaction: &Transaction<'_>, until: Revision) -> Result<(), Failure> {
    if until > 0 {
        transaction.execute("DELETE FROM removed WHERE revision <= ?1", [until])?;
        transaction.execute("UPDATE meta SET compacted = ?1", [until])?;
    }
    Ok(())
}

/// The row's key, when it is one and belongs to the prefix.
fn key_in(row: &Row<'_>, prefix: &Prefix) -> Result<Option<Key>, Failure> {
    let path = row.get_ref(0)?.as_str().ok();
    Ok(path.and_then(Key::parse).filter(|key| prefix.contains(key)))
}

/// A value's bytes, also where somebody's editing left a text instead of a blob.
fn bytes(value: ValueRef<'_>) -> Vec<u8> {
    value.as_bytes().map(<[u8]>::to_vec).unwrap_or_default()
}

fn end_of(start: &str) -> Vec<u8> {
    // Every prefix begins with a slash, so there is always something behind it.
    successor(start.as_bytes()).unwrap_or_default()
}

/// Bytes that compare as text: a range's end may cut a character in two, and a blob would sort
/// behind every text.
struct Text(Vec<u8>);

impl ToSql for Text {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}
