//! The local store under processes that are killed. The children are this test binary itself.
#![cfg(feature = "local")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libcalico::config::Settings;
use libcalico::store::{Change, Committed, Guard, Key, LocalStore, Prefix, Query, Store};

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
        let id = format!("{name}.{made}");
        runtime.block_on(count_once(&*store, &id));
        writeln!(std::io::stdout(), "made {id}").unwrap();
        made += 1;
    }
}

async fn count_once(store: &dyn Store, id: &str) {
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
            return;
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

/// How many processes are killed; `scripts/soak` kills more.
const KILLS: &str = "CALICO_RS_KILLS";
/// How many write at once.
const WRITERS: usize = 16;

/// One life of a writer.
struct Life {
    child: Child,
    name: String,
    /// Reads the handles that it says it has made.
    said: JoinHandle<Vec<String>>,
}

impl Life {
    /// It says something before this returns.
    fn begin(path: &Path, name: String) -> Life {
        let mut child = spawn(path, &name, 0);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (at_work, works) = mpsc::channel();
        let said = std::thread::spawn(move || {
            let lines = lines.map_while(Result::ok);
            let made = lines.filter_map(|line| Some(line.rsplit_once("made ")?.1.to_owned()));
            let made = made.inspect(|_| {
                let _ = at_work.send(());
            });
            made.collect()
        });
        works.recv_timeout(Duration::from_secs(60)).expect("a writer writes");
        Life { child, name, said }
    }

    /// Kills it; what it has said.
    fn end(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said.join().unwrap()
    }
}

#[tokio::test]
async fn writers_killed_at_any_instant_lose_nothing_that_they_said() {
    let kills: usize = std::env::var(KILLS).map_or(100, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calico.db");
    let begin = |number: usize| Life::begin(&path, format!("w{number}"));
    let mut alive: Vec<Life> = std::thread::scope(|scope| {
        let lives: Vec<_> = (0..WRITERS).map(|number| scope.spawn(move || begin(number))).collect();
        lives.into_iter().map(|life| life.join().unwrap()).collect()
    });
    let mut said = Vec::new();
    for number in WRITERS..WRITERS + kills {
        let victim = alive.swap_remove(rand::random_range(0..WRITERS));
        // At a random instant, which is what is tested: no event to wait for.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..5_000))).await;
        let before = said.len();
        let name = victim.name.clone();
        said.extend(victim.end());
        assert!(said.len() > before, "{name} said nothing");
        alive.push(begin(number));
        if number % 100 == 0 {
            total(&path).await;
        }
    }
    said.extend(alive.into_iter().flat_map(Life::end));
    total(&path).await;
    let store = LocalStore::new(&path);
    assert_eq!(store.integrity(soon()).await.unwrap(), Vec::<String>::new());
    let found = store.read(&[Query::Keys(Prefix::Handles(String::new()))], soon()).await.unwrap();
    let found: BTreeSet<String> = found.results[0]
        .iter()
        .filter_map(|document| match &document.key {
            Key::Handle(id) => Some(id.clone()),
            _ => None,
        })
        .collect();
    let lost: Vec<&String> = said.iter().filter(|id| !found.contains(*id)).collect();
    assert!(lost.is_empty(), "{} of {} commits are lost: {lost:?}", lost.len(), said.len());
    // Of each life at most one commit was made and not told any more.
    assert!(found.len() <= said.len() + WRITERS + kills, "{} of {}", found.len(), said.len());
    eprintln!("{kills} kills, {} commits told, {} made", said.len(), found.len());
}
