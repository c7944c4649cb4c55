//! A runtime's work while everything around it fails at random: a bounded part of `scripts/soak`,
//! with a seed of its own and every kind of fault.

use std::time::Duration;

use anyhow::Result;
use tests::{Backend, Scene, scene, soak};

/// Long enough for each kind of fault on each track.
const LENGTH: Duration = Duration::from_secs(14);
const SEED: u64 = 20_261_121;

fn play(scene: &Scene, backend: Backend) -> Result<()> {
    let file = scene.dir().join("history.jsonl");
    let done = soak(scene, backend, SEED, LENGTH, &file)?;
    eprintln!("{done}");
    Ok(())
}

#[test]
fn the_local_store_under_all_faults() {
    scene("soak-local", |scene| play(scene, Backend::Local));
}

#[test]
fn three_nodes_on_three_members_under_all_faults() {
    scene("soak-etcd", |scene| play(scene, Backend::Etcd));
}
