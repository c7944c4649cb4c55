//! Whether something is left behind.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::host::Host;
use crate::kernel::Kernel;
use crate::store::{Dump, Stores};

/// What there was before a test did its work.
#[derive(Debug)]
pub struct Before {
    host: Arc<Host>,
    store: Stores,
    kernel: Kernel,
    dump: Dump,
    processes: Vec<(u32, String)>,
}

impl Before {
    /// Takes a picture of a host and a store.
    pub fn of(host: &Arc<Host>, store: &Stores) -> Result<Before> {
        Ok(Before {
            host: host.clone(),
            store: store.clone(),
            kernel: Kernel::of_host(host)?,
            dump: store.dump()?,
            processes: host.processes()?,
        })
    }

    /// Everything that was not there before: links, addresses, routes, permanent neighbours,
    /// processes that stay, endpoints, handles and allocated addresses. Blocks, their affinities and
    /// profiles may stay: they belong to the node and to the network.
    pub fn left(&self) -> Result<Vec<String>> {
        let mut left = self.kernel.differences(&Kernel::of_host(&self.host)?);
        for process in self.host.processes()? {
            if !self.processes.contains(&process) && self.host.stays(process.0)? {
                let (pid, line) = process;
                left.push(format!("process {pid} {line}"));
            }
        }
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
