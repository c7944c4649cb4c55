//! What only the local store has: files, folders, foreign databases, forgotten removals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::store::{Event, Guard, Key};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn create(id: &str) -> Change {
    Change::create(Key::Handle(id.to_owned()), b"{}".to_vec())
}

fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calico.db");
    (dir, path)
}

/// The error of the first call.
async fn first_error(path: &Path) -> StoreError {
    LocalStore::new(path).commit(&[create("a")], soon()).await.unwrap_err()
}

#[tokio::test]
async fn folder_and_file_are_made_for_their_owner() {
    let (dir, _) = folder();
    let path = dir.path().join("a/b/calico.db");
    let store = LocalStore::new(&path);
    assert!(!path.exists(), "nothing is touched before the first call");
    store.commit(&[create("a")], soon()).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("calico.db-wal")), 0o600);
    assert_eq!(mode(&dir.path().join("a/b")) & 0o700, 0o700);
}

#[tokio::test]
async fn what_was_committed_is_there_for_the_next_process() {
    let (_dir, path) = folder();
    let first = LocalStore::new(&path);
    let committed = first.commit(&[create("a")], soon()).await.unwrap();
    drop(first);
    let second = LocalStore::new(&path);
    let found = second.read(&[Query::Prefix(Prefix::All)], soon()).await.unwrap();
    assert_eq!(Committed::Done(found.revision), committed);
    assert_eq!(found.results[0][0].key, Key::Handle("a".into()));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt() {
    let (_dir, path) = folder();
    fs::write(&path, "hello, this is no database, but long enough to look at".repeat(100)).unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains(path.to_str().unwrap()), "{error}");
    assert!(error.message.contains("move the file away"), "{error}");
}

/// Each commit by a process of its own, as plugins do it.
#[tokio::test]
async fn the_log_stays_short() {
    let (_dir, path) = folder();
    let mut longest = 0;
    for number in 0..200 {
        let store = LocalStore::new(&path);
        let key = format!("{number}{}", "x".repeat(50));
        store.commit(&[create(&key)], soon()).await.unwrap();
        drop(store);
        longest = longest.max(fs::metadata(path.with_file_name("calico.db-wal")).unwrap().len());
    }
    assert!((100_000..300_000).contains(&longest), "{longest} bytes");
    let store = LocalStore::new(&path);
    assert_eq!(store.integrity(soon()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_database_is_corrupt() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    store.commit(&[create("a")], soon()).await.unwrap();
    drop(store);
    let database = Connection::open(&path).unwrap();
    database.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    drop(database);
    // The first page stays, every one behind it is scribbled over.
    let mut bytes = fs::read(&path).unwrap();
    bytes[1024..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains(".recover"), "{error}");
}

#[tokio::test]
async fn a_database_of_somebody_else_is_left_alone() {
    let (_dir, path) = folder();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains("another path"), "{error}");
    let tables: i64 =
        other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_newer_format_names_the_release_that_wrote_it() {
    let (_dir, path) = folder();
    LocalStore::new(&path).read(&[], soon()).await.unwrap();
    let database = Connection::open(&path).unwrap();
    database.execute_batch("PRAGMA user_version = 7; UPDATE meta SET release = '9.8.7'").unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert!(error.message.contains('7') && error.message.contains("9.8.7"), "{error}");
    let changed: i64 =
        database.query_row("SELECT revision FROM meta", [], |row| row.get(0)).unwrap();
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_is_named() {
    let (dir, _) = folder();
    fs::write(dir.path().join("file"), "").unwrap();
    let path = dir.path().join("file/calico.db");
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    assert!(error.message.contains("another path"), "{error}");
    // A folder where the file should be.
    let error = first_error(dir.path()).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains("no file"), "{error}");
}

/// The names in the folder of a store.
fn names(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_empty_file_is_damaged_and_its_log_stays() {
    let (dir, path) = folder();
    fs::write(&path, "").unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains("is empty") && error.message.contains("import"), "{error}");
    // What SQLite makes of such a file is to remove the log.
    fs::write(path.with_file_name("calico.db-wal"), "the latest changes").unwrap();
    assert_eq!(first_error(&path).await.kind, StoreErrorKind::Corrupt);
    assert_eq!(names(&dir), ["calico.db", "calico.db-wal"]);
    assert_eq!(fs::read(path.with_file_name("calico.db-wal")).unwrap(), b"the latest changes");
}

#[tokio::test]
async fn a_file_that_is_gone_without_its_log_is_not_made_anew() {
    let (dir, path) = folder();
    let store = LocalStore::new(&path);
    store.commit(&[create("a")], soon()).await.unwrap();
    drop(store);
    let aside = path.with_file_name("aside.db");
    fs::rename(&path, &aside).unwrap();
    let error = first_error(&path).await;
    assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
    assert!(error.message.contains("calico.db-wal") && error.message.contains("back"), "{error}");
    assert!(!path.exists(), "{:?}", names(&dir));
    // Put back, it has everything.
    fs::rename(&aside, &path).unwrap();
    let found = LocalStore::new(&path).read(&[Query::Prefix(Prefix::All)], soon()).await.unwrap();
    assert_eq!(found.results[0].len(), 1);
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_not_replaced_by_a_new_store() {
    let (dir, _) = folder();
    let disk = dir.path().join("disk");
    let file = disk.join("calico.db");
    let (link, above) = (dir.path().join("link.db"), dir.path().join("above"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    std::os::unix::fs::symlink(&disk, &above).unwrap();
    for path in [link.clone(), above.join("calico.db")] {
        let error = first_error(&path).await;
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{error}");
        assert!(error.message.contains("mount it") && error.message.contains("disk"), "{error}");
        assert!(!LocalStore::is_absent(&path));
    }
    assert_eq!(names(&dir), ["above", "link.db"]);
    // The disk is back.
    fs::create_dir(&disk).unwrap();
    LocalStore::new(&file).commit(&[create("a")], soon()).await.unwrap();
    LocalStore::new(&link).commit(&[create("b")], soon()).await.unwrap();
    let store = LocalStore::new(&above.join("calico.db"));
    let found = store.read(&[Query::Prefix(Prefix::All)], soon()).await.unwrap();
    assert_eq!(found.results[0].len(), 2);
}

#[tokio::test]
async fn who_makes_the_file_is_alone_and_passes_over_what_a_killed_one_left() {
    let (dir, path) = folder();
    fs::write(path.with_file_name("calico.db-new"), "half of it").unwrap();
    let lock = fs::File::open(dir.path()).unwrap();
    lock.lock().unwrap();
    let store = LocalStore::new(&path);
    let shortly = Instant::now() + Duration::from_millis(50);
    let error = store.commit(&[create("a")], shortly).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert_eq!(names(&dir), ["calico.db-new"]);
    lock.unlock().unwrap();
    store.commit(&[create("a")], soon()).await.unwrap();
    assert_eq!(names(&dir), ["calico.db", "calico.db-shm", "calico.db-wal"]);
}

#[tokio::test]
async fn a_table_that_is_missing_is_damage() {
    let (_dir, path) = folder();
    LocalStore::new(&path).commit(&[create("a")], soon()).await.unwrap();
    let database = Connection::open(&path).unwrap();
    for damage in ["DELETE FROM meta", "DROP TABLE meta"] {
        database.execute_batch(damage).unwrap();
        let error = first_error(&path).await;
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{damage}: {error}");
        assert!(error.message.contains("import"), "{error}");
    }
}

#[tokio::test]
async fn a_write_that_the_disk_refuses_changes_nothing() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    store.commit(&[create("a")], soon()).await.unwrap();
    // A file system that is full, as SQLite sees it.
    let pages = "PRAGMA max_page_count = 1";
    store.connection.lock().await.as_ref().unwrap().query_row(pages, [], |_| Ok(())).unwrap();
    let large = Change::create(Key::Handle("b".into()), vec![b'x'; 1 << 20]);
    let error = store.commit(&[create("c"), large], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("free some space"), "{error}");
    let found = store.read(&[Query::Prefix(Prefix::All)], soon()).await.unwrap();
    assert_eq!(found.results[0].len(), 1);
    store.commit(&[create("c")], soon()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_read_only_says_so() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    store.commit(&[create("a")], soon()).await.unwrap();
    // Like a file without the right to write, which root would pass over.
    let guard = store.connection.lock().await;
    guard.as_ref().unwrap().pragma_update(None, "query_only", true).unwrap();
    drop(guard);
    let error = store.commit(&[create("b")], soon()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("read-only"), "{error}");
}

#[tokio::test]
async fn a_watch_from_before_the_oldest_removal_fails_as_compacted() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    let Committed::Done(made) = store.commit(&[create("a")], soon()).await.unwrap() else {
        panic!();
    };
    store.commit(&[Change::delete(Key::Handle("a".into()), made)], soon()).await.unwrap();
    // Far ahead, to the commit that forgets.
    let next = 3 * 10_000 - 1;
    let guard = store.connection.lock().await;
    guard.as_ref().unwrap().execute("UPDATE meta SET revision = ?1", [next]).unwrap();
    drop(guard);
    let put = Change { guard: Guard::Any, ..create("b") };
    assert_eq!(store.commit(&[put], soon()).await.unwrap(), Committed::Done(next + 1));

    let mut early = store.watch(&Prefix::All, made).await.unwrap();
    assert_eq!(early.next().await.unwrap_err().kind, StoreErrorKind::Compacted);
    let mut late = store.watch(&Prefix::All, next).await.unwrap();
    assert!(matches!(late.next().await, Ok(Event::Put(found)) if found.revision == next + 1));
    let removed: i64 = store
        .connection
        .lock()
        .await
        .as_ref()
        .unwrap()
        .query_row("SELECT count(*) FROM removed", [], |row| row.get(0))
        .unwrap();
    assert_eq!(removed, 0);
}

#[tokio::test]
async fn a_watch_that_begins_late_hears_only_of_the_last_change() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    let Committed::Done(made) = store.commit(&[create("a")], soon()).await.unwrap() else {
        panic!();
    };
    store.commit(&[Change::delete(Key::Handle("a".into()), made)], soon()).await.unwrap();
    store.commit(&[create("a")], soon()).await.unwrap();
    let mut watch = store.watch(&Prefix::All, made).await.unwrap();
    assert!(matches!(watch.next().await, Ok(Event::Put(found)) if found.revision == made + 2));
}

#[tokio::test]
async fn a_watch_that_missed_its_wake_looks_by_itself() {
    let (_dir, path) = folder();
    let store = LocalStore::new(&path);
    let start = store.read(&[], soon()).await.unwrap().revision;
    let mut watch = store.watch(&Prefix::All, start).await.unwrap();
    // Written as by a process that was killed before it could wake anybody.
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "BEGIN IMMEDIATE; UPDATE meta SET revision = revision + 1;
             INSERT INTO documents (key, revision, value)
                SELECT '/calico/ipam/v2/handle/a', revision, x'7b7d' FROM meta; COMMIT",
        )
        .unwrap();
    let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert!(matches!(event, Ok(Event::Put(found)) if found.revision == start + 1));
}
