//! What a plugin takes beside time: memory, its files, and what a pod adds to its store.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tests::binary_dir;

use crate::launch::Launch;
use crate::rounds::Stage;
use crate::site::{Rival, Site, disk_usage};
use crate::statistics::quantile;

/// How many calls the peak is the median of.
const CALLS: usize = 5;

/// What a rival takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footprint {
    /// Who.
    pub rival: Rival,
    /// The most memory that any one process of an ADD had, in KiB.
    pub peak_kib: f64,
    /// The bytes of its programs.
    pub programs_bytes: u64,
    /// The bytes that a pod adds to the store; none where it has no store, or there was no crowd, or
    /// nobody could ask.
    pub store_bytes_per_pod: Option<f64>,
}

impl Footprint {
    /// Measures ADD on one stage of a rival; what a pod takes was measured where the crowd is.
    pub fn of(stage: &Stage, store_bytes_per_pod: Option<f64>, round: usize) -> Result<Footprint> {
        let rival = stage.site.rival;
        let mut peaks = Vec::new();
        for at in 0..CALLS {
            let pod = stage.pods(1, round + at).pop().context("no namespace")?;
            let add = weighed(stage.site.call("ADD", &pod, None)?)?;
            let outcome = stage.site.within(|| Ok(add.run()?))?;
            let last = outcome.stderr.lines().last().unwrap_or_default();
            peaks.push(last.parse().with_context(|| format!("peak memory {last:?}"))?);
            let del = stage.site.call("DEL", &pod, Some(&outcome.stdout))?;
            stage.site.within(|| Ok(del.run()?))?;
        }
        // A program by two names counts once.
        let mut programs = BTreeMap::new();
        for program in rival.programs()? {
            let metadata = fs::metadata(&program).with_context(|| program.display().to_string())?;
            programs.insert((metadata.dev(), metadata.ino()), metadata.len());
        }
        let programs_bytes = programs.values().sum();
        Ok(Footprint {
            rival,
            peak_kib: quantile(&peaks, 0.5),
            programs_bytes,
            store_bytes_per_pod,
        })
    }
}

/// The call, made by a small program that tells its peak of memory.
fn weighed(mut call: Launch) -> Result<Launch> {
    call.argv.insert(0, binary_dir()?.join("peak"));
    Ok(call)
}

/// The bytes of a site's store.
pub fn store_bytes(site: &Site) -> Result<Option<u64>> {
    let folder = match site.rival {
        Rival::Floor | Rival::EtcdTls => return Ok(None),
        Rival::Etcd => return site.etcd.as_ref().map(|etcd| etcd.bytes_stored()).transpose(),
        Rival::Local => "/var/lib/calico",
        Rival::Ptp | Rival::Bridge => "/var/lib/cni",
    };
    disk_usage(Path::new(&site.host.path(folder))).map(Some)
}
