//! A store that an earlier release has written is read and written by this one.
//!
//! `fixtures/store-0.1.0.db` was made by `make_the_fixture` below. A release adds its own file and
//! leaves the others as they are. (A store of a *later* release is refused: `local_store.rs`.)

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tests::{Network, addresses, objects, scene};

const FILE: &str = "/var/lib/calico/calico.db";
/// The containers that are in the fixture, with a namespace that is gone.
const CONTAINERS: [&str; 3] = ["old1", "old2", "old3"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn a_store_of_an_earlier_release_works_on() {
    let mut found = 0;
    for entry in fs::read_dir(fixtures()).expect("fixtures") {
        let path = entry.expect("fixtures").path();
        if path.extension().is_some_and(|extension| extension == "db") {
            found += 1;
            scene("upgrade", |scene| works_on(&Network::standalone(scene)?, &path));
        }
    }
    assert!(found > 0, "no fixture");
}

fn works_on(network: &Network, fixture: &Path) -> Result<()> {
    network.host().write(FILE, fs::read(fixture)?)?;
    let old = network.store().dump()?;
    ensure!(old.endpoints().len() == CONTAINERS.len() && old.handles().len() == CONTAINERS.len());
    ensure!(old.allocations().len() == 2 * CONTAINERS.len(), "{:?}", old.allocations());
    old.consistent()?;
    // Everything is still as it was written, for both programs.
    network.ctl("ipam check").ok()?;
    let sets = network.ctl("get globalnetworksets -o json").ok()?;
    ensure!(sets.contains("198.51.100.0/24"), "{sets}");
    // New addresses are none of the old ones, and the reservation holds.
    let pod = network.host().pod("new")?;
    let result = network.add(&pod, "new")?;
    let given = addresses(&result)?;
    let had: Vec<String> = old.endpoints().iter().map(|endpoint| endpoint.to_string()).collect();
    for address in &given {
        ensure!(had.iter().all(|had| !had.contains(&format!("{address}/"))), "{address} again");
        ensure!(address.to_string() != "10.65.0.200", "{address} is reserved");
    }
    network.check(&pod, "new", &result)?.done()?;
    network.del(&pod, "new")?;
    for container in CONTAINERS {
        let del = network.call("DEL")?.container(container);
        del.env("CNI_NETNS", &format!("/run/netns/{container}")).done()?;
    }
    let dump = network.store().dump()?;
    ensure!(dump.endpoints().is_empty() && dump.allocations().is_empty(), "{dump:#?}");
    dump.consistent()
}

/// Writes the fixture of this release: `cargo test --workspace --test upgrade -- --ignored`.
#[test]
#[ignore = "writes a file of the repository"]
fn make_the_fixture() {
    scene("fixture", |scene| {
        let mut network = Network::standalone(scene)?;
        network.conflist_mut()["plugins"][0]["local"] = json!({"ipv4_pool_cidr": "10.65.0.0/24"});
        for container in CONTAINERS {
            let pod = network.host().pod(container)?;
            network.add(&pod, container)?;
            pod.remove()?;
        }
        let set = json!({"nets": ["198.51.100.0/24"]});
        network.put([
            objects::reservation("kept", &["10.65.0.200"]),
            objects::resource("GlobalNetworkSet", "globalnetworksets", "kept", set),
        ])?;
        // One file, with everything in it.
        network.host().run(["sqlite3", FILE, "pragma wal_checkpoint(truncate); vacuum;"])?;
        network.host().run(["sqlite3", FILE, "pragma wal_checkpoint(truncate)"])?;
        let to = fixtures().join(concat!("store-", env!("CARGO_PKG_VERSION"), ".db"));
        fs::copy(network.host().path(FILE), &to).with_context(|| to.display().to_string())?;
        Ok(())
    });
}
