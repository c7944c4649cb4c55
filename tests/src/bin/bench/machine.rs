//! What the numbers were measured on: they say little without it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::statistics::quantile;

/// How often the two small things are timed.
const TIMES: usize = 50;

/// The machine, and how quick it is at two small things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// What the processor calls itself.
    pub processor: String,
    /// How many processors there are.
    pub processors: usize,
    /// Whether it is a virtual machine.
    pub is_virtual: bool,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// How many processes wanted a processor before the bench began, over a minute.
    pub load: f64,
    /// Making 4 KiB of a file durable where the stores are: the median, in milliseconds.
    pub sync_ms: f64,
    /// `/bin/true`, from its start to its end: the median, in milliseconds.
    pub true_ms: f64,
}

impl Machine {
    /// Looks. `folder` is where the stores will be.
    pub fn here(folder: &Path) -> Result<Machine> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        let cpuinfo = read("/proc/cpuinfo")?;
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
        };
        let meminfo = read("/proc/meminfo")?;
        let memory = meminfo.split_whitespace().nth(1).unwrap_or_default();
        let load = read("/proc/loadavg")?;
        Ok(Machine {
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            processor: field("model name").to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            is_virtual: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_mib: memory.parse::<u64>().context("/proc/meminfo")? / 1024,
            load: load.split(' ').next().unwrap_or_default().parse().context("/proc/loadavg")?,
            sync_ms: sync(folder)?,
            true_ms: start()?,
        })
    }

    /// In one line.
    pub fn line(&self) -> String {
        let Machine { kernel, processor, processors, load, sync_ms, true_ms, .. } = self;
        let kind = if self.is_virtual { ", virtual" } else { "" };
        let gib = self.memory_mib as f64 / 1024.0;
        format!(
            "{processors} × {processor}{kind}, {gib:.0} GiB, Linux {kernel}; load {load:.1} before; \
             /bin/true {true_ms:.2} ms, fsync {sync_ms:.2} ms"
        )
    }
}

fn sync(folder: &Path) -> Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(&path)?;
    Ok(quantile(&times, 0.5))
}

fn start() -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        Command::new("/bin/true").status()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(quantile(&times, 0.5))
}
