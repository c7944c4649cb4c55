//! `scripts/soak`: everything fails at random, for as long as one likes, and a verdict follows.
#![allow(clippy::disallowed_macros, reason = "a report on standard output is what this is for")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use tests::{Backend, scene, soak};

const USAGE: &str = "\
usage: soak [--seed N] [--seconds S] [--store etcd|local]...
  --seed     what happens and when; a random one, which is printed, if nothing is said
  --seconds  how long on each store: 60
  --store    both, if nothing is said";

struct Options {
    seed: u64,
    length: Duration,
    stores: Vec<Backend>,
}

fn options() -> Result<Options> {
    let (seed, length) = (rand::random_range(0..1_000_000), Duration::from_secs(60));
    let mut options = Options { seed, length, stores: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("seconds") => options.length = Duration::from_secs(parser.value()?.parse()?),
            Long("store") => options.stores.push(match parser.value()?.string()?.as_str() {
                "etcd" => Backend::Etcd,
                "local" => Backend::Local,
                other => bail!("no store {other:?}: etcd or local"),
            }),
            Long("help") => bail!(USAGE),
            other => bail!("{}\n{USAGE}", other.unexpected()),
        }
    }
    if options.stores.is_empty() {
        options.stores = vec![Backend::Local, Backend::Etcd];
    }
    Ok(options)
}

fn main() -> Result<()> {
    let Options { seed, length, stores } = options()?;
    let folder = folder()?;
    for store in stores {
        let name = format!("{store:?}").to_lowercase();
        let file = folder.join(format!("{name}-{seed}.jsonl"));
        scene(&format!("soak-{name}"), |scene| {
            let done = soak(scene, store, seed, length, &file)?;
            println!("{name}: {done}\n{name}: {}", file.display());
            Ok(())
        });
    }
    Ok(())
}

/// Where the histories are kept: `soak` in the target folder.
fn folder() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe.ancestors().nth(2).context("a program outside of a target folder")?;
    let folder = target.join("soak");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
