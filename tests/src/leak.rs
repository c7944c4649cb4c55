//! Whether something is left behind.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::host::Host;
use crate::kernel::Kernel;
use crate::store::{Dump, Stores};

/// How long the kernel may take to clear up behind links that are gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there was before a test did its work.
#[derive(Debug)]
pub struct Before {
    host: Arc<Host>,
    store: Stores,
    kernel: Kernel,
    dump: Dump,
    processes: Vec<String>,
}

impl Before {
    /// Takes a picture of a host and a store.
    pub fn of(host: &Arc<Host>, store: &Stores) -> Result<Before> {
        Ok(Before {
            host: host.clone(),
            store: store.clone(),
            kernel: Kernel::of_host(host)?,
            dump: store.dump()?,
            processes: processes(host)?,
        })
    }

    /// Everything that was not there before: links, addresses, routes, permanent neighbours,
    /// processes, endpoints, handles and allocated addresses. Blocks, their affinities and profiles
    /// may stay: they belong to the node and to the network.
    pub fn left(&self) -> Result<Vec<String>> {
        let mut left = self.kernel.differences(&Kernel::of_host(&self.host)?);
        let new = || -> Result<Vec<String>> {
            let mut new = processes(&self.host)?;
            new.retain(|process| !self.processes.contains(process));
            Ok(new)
        };
        // A link that is gone has a process of ours behind it for as long as the kernel clears up.
        let end = Instant::now() + PATIENCE;
        while new()?.iter().any(|line| line.ends_with("/calico")) && Instant::now() < end {
            thread::yield_now();
        }
        left.extend(new()?.into_iter().map(|process| format!("process {process}")));
        let dump = self.store.dump()?;
        let before = self.dump.endpoints();
        for endpoint in dump.endpoints() {
            if !before.contains(&endpoint) {
                left.push(format!("endpoint {endpoint}"));
            }
        }
        let before = self.dump.handles();
        for handle in dump.handles() {
            if !before.contains(&handle) {
                left.push(format!("handle {handle}"));
            }
        }
        let before = self.dump.allocations();
        for allocation in dump.allocations() {
            if !before.contains(&allocation) {
                let (block, ordinal, handle) = allocation;
                left.push(format!("address {ordinal} of {block}, by {handle:?}"));
            }
        }
        Ok(left)
    }

    /// Fails when something is left, or when the store contradicts itself.
    pub fn nothing_left(&self) -> Result<()> {
        let left = self.left()?;
        ensure!(left.is_empty(), "left behind:\n{}", left.join("\n"));
        self.store.dump()?.consistent()
    }
}

fn processes(host: &Host) -> Result<Vec<String>> {
    let list = host.processes()?;
    Ok(list.into_iter().map(|(pid, line)| format!("{pid} {line}")).collect())
}
