//! `calico-ipam`'s verbs as a library, so that the network plugin calls them in its own process:
//! no second process, no second connection to the datastore.
//!
//! | module | what lives there |
//! |---|---|
//! | [`conf`] | the plugins' network configuration, as far as both of them read it |
//! | [`node`] | the name of this node |
//! | [`identity`] | whose address it is: orchestrator, workload, handle |
//! | [`datastore`] | from the configuration to an open, ready store |
//! | [`asked`] | what the runtime asks for beside the configuration |
//! | [`ignored`] | fields that are accepted and do nothing |
//! | [`request`] | from the configuration to a request for addresses |
//! | [`add`], [`del`], [`check`], [`gc`], [`status`] | a module a verb |
//! | [`fault`] | from errors of the store and of IPAM to CNI's error codes |
//! | [`lock`] | the queue of this node's allocations |
//! | [`recent`] | which blocks the last addresses came out of |
//! | [`log`] | where the log goes |
//! | [`run`](mod@run) | one verb in a runtime, under a deadline |

pub mod add;
pub mod asked;
pub mod check;
pub mod conf;
pub mod datastore;
pub mod del;
pub mod fault;
pub mod file;
#[cfg(test)]
mod fuzz;
pub mod gc;
pub mod identity;
pub mod ignored;
pub mod lock;
pub mod log;
pub mod node;
pub mod plugin;
pub mod recent;
pub mod request;
pub mod run;
pub mod status;
