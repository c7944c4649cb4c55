//! The local store's file when it is damaged, its disk is full, or nobody may write to it: an error
//! that names the file, the finding and the way out, and nothing that was there is lost. A damaged
//! store is never begun anew in silence.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;
use tests::{Network, Pod, addresses, scene};

const FOLDER: &str = "/var/lib/calico";
const FILE: &str = "/var/lib/calico/calico.db";

/// What the files of the store hold: those of SQLite's that it may write by itself left out.
fn content(network: &Network) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut content = BTreeMap::new();
    for name in ["calico.db", "calico.db-wal"] {
        let path = network.host().path(&format!("{FOLDER}/{name}"));
        if path.is_file() {
            content.insert(path.clone(), fs::read(path)?);
        }
    }
    Ok(content)
}

/// Puts the files back as they were.
fn restore(network: &Network, content: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    move_away(network)?;
    content.iter().try_for_each(|(path, bytes)| Ok(fs::write(path, bytes)?))
}

fn move_away(network: &Network) -> Result<()> {
    for name in ["calico.db", "calico.db-wal", "calico.db-shm"] {
        let path = network.host().path(&format!("{FOLDER}/{name}"));
        if path.is_dir() {
            fs::remove_dir(path)?;
        } else if path.exists() || path.is_symlink() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all_at(bytes, offset)
}

/// Runs SQL as an operator does.
fn sql(network: &Network, file: &str, text: &str) -> Result<String> {
    network.host().run(["sqlite3", file, text])
}

/// What befalls a file, and the word that tells of it.
type Damage = (&'static str, fn(&Network, &Path) -> Result<()>, &'static str);

/// The size of the store's pages.
const PAGE: u64 = 1024;

const DAMAGES: &[Damage] = &[
    ("cut in the middle of a page", |_, file| cut(file, 6000), "malformed"),
    ("cut to its first page", |_, file| cut(file, PAGE), "malformed"),
    ("cut in its header", |_, file| cut(file, 50), "malformed"),
    ("empty", |_, file| cut(file, 0), "is empty"),
    ("gone, but for the log", |_, file| Ok(fs::remove_file(file)?), "is gone"),
    ("another header", |_, file| Ok(overwrite(file, 0, &[0x5a; 100])?), "not a database"),
    ("scribbled over", scribble, "malformed"),
    ("a page that is turned round", turn_a_page, "malformed"),
    ("a table that is gone", lose_a_table, "no such table"),
    ("text", |_, file| Ok(fs::write(file, "# calico\n".repeat(500))?), "not a database"),
    ("somebody else's database", foreign, "none of Calico's"),
    ("a folder", a_folder, "no file"),
    ("a link that leads nowhere", a_loose_link, "mount it"),
    ("a later release's", later, "update it"),
];

fn cut(file: &Path, length: u64) -> Result<()> {
    Ok(OpenOptions::new().write(true).open(file)?.set_len(length)?)
}

fn scribble(_: &Network, file: &Path) -> Result<()> {
    let length = usize::try_from(fs::metadata(file)?.len())?;
    Ok(overwrite(file, PAGE, &vec![0x5a; length - PAGE as usize])?)
}

/// The first page of the documents.
fn turn_a_page(network: &Network, file: &Path) -> Result<()> {
    let root = "select rootpage from sqlite_schema where name = 'documents'";
    let root: u64 = sql(network, FILE, root)?.trim().parse()?;
    let mut page = vec![0; PAGE as usize];
    File::open(file)?.read_exact_at(&mut page, (root - 1) * PAGE)?;
    page.reverse();
    Ok(overwrite(file, (root - 1) * PAGE, &page)?)
}

fn lose_a_table(network: &Network, _: &Path) -> Result<()> {
    sql(network, FILE, "drop table documents; pragma wal_checkpoint(truncate)").map(drop)
}

fn foreign(network: &Network, _: &Path) -> Result<()> {
    move_away(network)?;
    sql(network, FILE, "create table theirs (x)").map(drop)
}

fn a_folder(network: &Network, file: &Path) -> Result<()> {
    move_away(network)?;
    Ok(fs::create_dir(file)?)
}

fn a_loose_link(network: &Network, file: &Path) -> Result<()> {
    move_away(network)?;
    Ok(std::os::unix::fs::symlink("/run/no-disk/calico.db", file)?)
}

fn later(network: &Network, _: &Path) -> Result<()> {
    let text = "pragma user_version = 99; update meta set release = '9.8.7';
                pragma wal_checkpoint(truncate)";
    sql(network, FILE, text).map(drop)
}

/// Attached, with the result.
fn attached(network: &Network, name: &str) -> Result<(Pod, Value)> {
    let pod = network.host().pod(name)?;
    let result = network.add(&pod, name)?;
    Ok((pod, result))
}

#[test]
fn damage_is_told_and_left_alone() {
    scene("local-damage", |scene| {
        let network = &Network::standalone(scene)?;
        let (pod, result) = attached(network, "c1")?;
        let other = network.host().pod("c2")?;
        // All in the file, and a log beside it that has more.
        sql(network, FILE, "pragma wal_checkpoint(truncate)")?;
        attached(network, "c3")?;
        let whole = content(network)?;
        ensure!(whole.len() == 2 && whole.values().all(|bytes| bytes.len() > 4096));
        ensure!(sql(network, FILE, "pragma page_size")?.trim() == PAGE.to_string());
        let (folded, log) = (fold(network)?, whole);
        for (what, damage, word) in DAMAGES {
            // What is missing is found in the log, if that has it: only the last damage needs one.
            restore(network, if *what == "gone, but for the log" { &log } else { &folded })?;
            let file = network.host().path(FILE);
            damage(network, &file).context(*what)?;
            let damaged = content(network)?;
            let told = |verb: &str, code: u64, message: String| {
                let expected = if *word == "update it" { 7 } else { 103 };
                ensure!(code == expected, "{what}: {verb}: {code} {message}");
                ensure!(
                    message.contains(FILE) && message.contains(word),
                    "{what}: {verb}: {message}"
                );
                Ok(message)
            };
            let (code, message) =
                network.call("ADD")?.container("c2").pod(&other).error().context(*what)?;
            let message = told("ADD", code, message)?;
            eprintln!("{what}: {message}");
            let (code, message) = network.check(&pod, "c1", &result)?.error().context(*what)?;
            told("CHECK", code, message)?;
            let (code, message) = network.call("DEL")?.container("c2").pod(&other).error()?;
            told("DEL", code, message)?;
            let (code, message) =
                network.call_with("STATUS", "cniVersion", &"1.1.0".into())?.error()?;
            ensure!(code == 50 && message.contains(word), "{what}: STATUS: {code} {message}");
            for command in ["get nodes", "ipam show", "datastore migrate lock"] {
                let message = network.ctl(command).refused().context(*what)?;
                ensure!(
                    message.contains(FILE) && message.contains(word),
                    "{what}: {command}: {message}"
                );
            }
            let after = content(network)?;
            for (path, bytes) in &damaged {
                ensure!(after.get(path) == Some(bytes), "{what}: {} was changed", path.display());
            }
        }
        restore(network, &log)?;
        network.check(&pod, "c1", &result)?.done()?;
        network.host().run(["ip", "netns", "del", "c2"]).map(drop)
    });
}

/// The same content without a log.
fn fold(network: &Network) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    sql(network, FILE, "pragma wal_checkpoint(truncate)")?;
    content(network)
}

/// What the message says.
#[test]
fn a_damaged_store_comes_back_from_an_export() {
    scene("local-restore", |scene| {
        let network = &Network::standalone(scene)?;
        let (pod, result) = attached(network, "c1")?;
        network.ctl("datastore lock").ok()?;
        let export = network.ctl("datastore migrate export --format complete").ok()?;
        network.ctl("datastore unlock").ok()?;
        fold(network)?;
        overwrite(&network.host().path(FILE), 0, &[0x5a; 100])?;
        let (_, message) = network.check(&pod, "c1", &result)?.error()?;
        ensure!(message.contains("calicoctl datastore migrate import -f EXPORT"), "{message}");
        move_away(network)?;
        let import = network.ctl("datastore migrate import -f export.yaml");
        import.file("export.yaml", &export)?.ok()?;
        network.ctl("datastore unlock").ok()?;
        network.check(&pod, "c1", &result)?.done()?;
        let (_, other) = attached(network, "c2")?;
        let (had, given) = (addresses(&result)?, addresses(&other)?);
        ensure!(
            given.iter().all(|address| !had.contains(address)),
            "{had:?} given again: {given:?}"
        );
        network.del(&pod, "c1")
    });
}

/// A file system of its own, with little room, for what the host keeps.
fn small(network: &Network) -> Result<()> {
    let mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", FOLDER];
    network.host().run(mount).map(drop)
}

fn fill(network: &Network) -> Result<()> {
    network.host().within(|| {
        let mut file = File::create(format!("{FOLDER}/filler"))?;
        loop {
            match file.write(&[b'x'; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    })
}

fn free(network: &Network) -> Result<()> {
    network.host().within(|| fs::remove_file(format!("{FOLDER}/filler")))
}

/// Nobody can write, and then everybody can again.
fn refused_for_a_while(
    network: &Network,
    word: &str,
    begin: impl Fn() -> Result<()>,
    end: impl Fn() -> Result<()>,
) -> Result<()> {
    let (one, other) = (network.host().pod("c1")?, network.host().pod("c2")?);
    let call =
        |verb: &str, pod: &Pod| Ok::<_, Error>(network.call(verb)?.container(pod.name()).pod(pod));
    let says = |what: &str, message: &str| {
        let names = message.contains(FOLDER) && message.to_lowercase().contains(word);
        ensure!(names, "{what}: {message}");
        Ok(())
    };
    let refused = |verb: &str, pod: &Pod| {
        let (code, message) = call(verb, pod)?.error()?;
        ensure!(code == 11, "{verb}: {code} {message}");
        says(verb, &message)
    };
    // The store can't even be made.
    begin()?;
    refused("ADD", &one)?;
    end()?;
    let result = network.add(&one, "c1")?;
    let before = network.before()?;
    begin()?;
    for _ in 0..3 {
        refused("ADD", &other)?;
        refused("DEL", &other)?;
    }
    says("calicoctl", &network.ctl("label nodes node-a a=b").refused()?)?;
    end()?;
    before.nothing_left()?;
    network.check(&one, "c1", &result)?.done()?;
    // A DEL that was refused is done when it is tried again.
    begin()?;
    refused("DEL", &one)?;
    end()?;
    network.del(&one, "c1")?;
    network.add(&other, "c2")?;
    network.del(&other, "c2")?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().is_empty() && dump.endpoints().is_empty(), "{dump:#?}");
    dump.consistent()
}

#[test]
fn a_full_disk_is_an_error_and_no_loss() {
    scene("local-full", |scene| {
        let network = &Network::standalone(scene)?;
        small(network)?;
        refused_for_a_while(network, "full", || fill(network), || free(network))
    });
}

#[test]
fn a_read_only_file_system_is_an_error_and_no_loss() {
    scene("local-read-only", |scene| {
        let network = &Network::standalone(scene)?;
        small(network)?;
        let host = network.host();
        let begin = || {
            host.run(["mount", "--bind", FOLDER, FOLDER])?;
            host.run(["mount", "-o", "remount,bind,ro", FOLDER]).map(drop)
        };
        let end = || host.run(["umount", FOLDER]).map(drop);
        refused_for_a_while(network, "read-only", begin, end)
    });
}

/// Somebody without the right to the file.
#[test]
fn who_may_not_read_the_store_is_told_so() {
    scene("local-nobody", |scene| {
        let network = &Network::standalone(scene)?;
        attached(network, "c1")?;
        let argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"];
        let argv =
            argv.into_iter().chain(["DATASTORE_TYPE=local", "/opt/bin/calicoctl", "get", "nodes"]);
        let error = format!("{:#}", network.host().run(argv).err().context("no error")?);
        ensure!(error.contains(FILE) && error.contains("ermission denied"), "{error}");
        ensure!(error.contains("owner and mode"), "{error}");
        Ok(())
    });
}
