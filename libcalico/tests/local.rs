//! The local store under processes that are killed. The children are this test binary itself.
#![cfg(feature = "local")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libcalico::config::Settings;
use libcalico::store::{Change, Committed, Guard, Key, Prefix, Query, Store};
use tokio::sync::Notify;

/// Where a child finds its store. Without it, the child's test does nothing.
const STORE: &str = "CALICO_TEST_STORE";

/// Which child it is.
const NAME: &str = "CALICO_TEST_NAME";

/// How many commits a child makes; 0 for as many as it lives.
const COUNT: &str = "CALICO_TEST_COUNT";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn open(path: &Path) -> Arc<dyn Store> {
    let settings = Settings {
        datastore_type: Some("local".to_owned()),
        local_path: Some(path.to_str().unwrap().to_owned()),
        ..Settings::default()
    };
    settings.resolve().unwrap().open().unwrap()
}

fn counter() -> Key {
    Key::IpamConfig
}

/// One child that counts, as [`child`] does.
fn spawn(path: &Path, name: &str, count: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(STORE, path)
        .env(NAME, name)
        .env(COUNT, count.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Counts: each commit raises the counter and adds a handle, both or none, then says so. Every
/// round is a process of its own as far as the store goes: opened, used, closed.
#[test]
#[ignore = "a child of the other tests"]
fn child() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let name = std::env::var(NAME).unwrap();
    let count: u32 = std::env::var(COUNT).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut made = 0;
    while count == 0 || made < count {
        let store = open(Path::new(&path));
        let total = runtime.block_on(count_once(&*store, &format!("{name}.{made}")));
        writeln!(std::io::stdout(), "made {total}").unwrap();
        made += 1;
    }
}

async fn count_once(store: &dyn Store, id: &str) -> u64 {
    loop {
        let snapshot = store.read(&[Query::Key(counter())], soon()).await.unwrap();
        let present = snapshot.results[0].first();
        let value: u64 =
            present.map_or(0, |found| std::str::from_utf8(&found.value).unwrap().parse().unwrap());
        let guard = present.map_or(Guard::Absent, |found| Guard::Revision(found.revision));
        let next = (value + 1).to_string().into_bytes();
        let changes = [
            Change { guard, ..Change::update(counter(), 0, next) },
            // About what an endpoint takes, so that a commit spans pages.
            Change::create(Key::Handle(id.to_owned()), vec![b'x'; 2048]),
        ];
        if let Committed::Done(_) = store.commit(&changes, soon()).await.unwrap() {
            return value + 1;
        }
    }
}

/// The counter, which must equal the number of handles.
async fn total(path: &Path) -> u64 {
    let store = open(path);
    let queries = [Query::Key(counter()), Query::Keys(Prefix::Handles(String::new()))];
    let snapshot = store.read(&queries, soon()).await.unwrap();
    let value = snapshot.results[0]
        .first()
        .map_or(0, |found| std::str::from_utf8(&found.value).unwrap().parse().unwrap());
    assert_eq!(snapshot.results[1].len() as u64, value, "half a commit");
    value
}

#[tokio::test]
async fn eight_processes_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calico.db");
    // The file doesn't exist yet: they also make it at the same time.
    let children: Vec<_> = (0..8).map(|n| spawn(&path, &n.to_string(), 25)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
    }
    assert_eq!(total(&path).await, 200);
}

#[tokio::test]
async fn processes_killed_at_any_instant_leave_whole_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calico.db");
    let mut last = 0;
    for round in 0..20 {
        let mut children: Vec<_> =
            (0..3).map(|n| spawn(&path, &format!("{round}.{n}"), 0)).collect();
        let at_work = Arc::new(Notify::new());
        let said: Vec<_> = children
            .iter_mut()
            .map(|child| {
                let lines = BufReader::new(child.stdout.take().unwrap()).lines();
                let at_work = at_work.clone();
                std::thread::spawn(move || {
                    let lines = lines.map_while(Result::ok);
                    let totals = lines.filter_map(|line| {
                        line.rsplit_once("made ").and_then(|(_, total)| total.parse::<u64>().ok())
                    });
                    totals.inspect(|_| at_work.notify_one()).max().unwrap_or(0)
                })
            })
            .collect();
        tokio::time::timeout(Duration::from_secs(60), at_work.notified()).await.unwrap();
        // At a random instant, which is what is tested: no event to wait for.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..60_000))).await;
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let promised = said.into_iter().map(|thread| thread.join().unwrap()).max().unwrap();
        let total = total(&path).await;
        assert!(total >= promised, "round {round}: {promised} were promised, {total} are there");
        assert!(total >= last, "round {round}: commits were lost");
        last = total;
    }
    assert!(last >= 20, "only {last} commits were made");
}
