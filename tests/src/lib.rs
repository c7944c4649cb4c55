//! The end-to-end harness: simulated hosts, real stores, real clients.
//!
//! A [`scene`] owns everything that a test makes. A [`Host`] is a node made of namespaces: its own
//! network, mounts, processes and host name, its own `/run`, `/etc`, `/opt` and `/var/lib`, and no
//! route out. A [`Pod`] is a container's network namespace on a host. [`Call`] runs a plugin as a
//! runtime does, always with a time limit; [`Stores`], [`Kernel`] and [`Before`] observe what it
//! did and what it left behind.
//!
//! Nothing of a test outlives it: the namespaces live as long as the test's process, even when that
//! is killed. A passing test leaves no file either; a failed one keeps its directory and prints
//! where it is.
//!
//! The tests need root. Binaries are looked for beside the test executable, or where the
//! environment variable `CALICO_RS_BIN_DIR` says; `scripts/test` builds them first.

mod binaries;
mod command;
mod conf;
mod containerd;
mod cri;
mod ctl;
mod each_store;
mod etcd;
mod fault;
mod host;
mod image;
mod kernel;
mod leak;
mod namespaces;
mod network;
pub mod objects;
mod plugin;
mod pod;
mod podman;
mod proxy;
mod scene;
mod soak;
mod store;

pub use binaries::{binary_dir, tool};
pub use command::{LIMIT, Output};
pub use conf::{conflist, plugin_of};
pub use containerd::{Attached, Containerd};
pub use cri::{Cri, Sandbox};
pub use ctl::Ctl;
pub use each_store::{RESOURCES, on_each_store, play, without_routes};
pub use etcd::{Etcd, EtcdMode};
pub use fault::{Point, each_of};
pub use host::{Host, Service, command};
pub use kernel::Kernel;
pub use leak::Before;
pub use network::{Backend, Network, addresses};
pub use plugin::{Answer, Call, Running};
pub use pod::Pod;
pub use podman::Podman;
pub use proxy::Proxy;
pub use scene::{Scene, scene};
pub use soak::soak;
pub use store::{Dump, Stores};
