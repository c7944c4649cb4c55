//! Calico's data, as upstream Calico stores it: resources, names, selectors, the stores that hold
//! them, the typed client, and IP address management. Nothing of CNI or of Linux networking.
//!
//! | module | what lives there |
//! |---|---|
//! | [`store`] | revisioned documents: etcd, the embedded local store, and an in-memory one for tests |
//! | [`resources`] | the `projectcalico.org/v3` kinds, a file each |
//! | [`names`] | the names that are computed: endpoints, links, handles |
//! | [`selector`] | the label selector language |
//! | [`bootstrap`] | what a datastore must hold before anything works |
//! | [`client`] | typed get, list, create, update, delete with defaults and validation |
//! | [`ipam`] | blocks, affinities, handles: a pure core in a thin shell |
//! | [`kubernetes`] | what pods, namespaces and nodes of Kubernetes say: pure functions over the API's JSON |
//! | [`clock`] | the time of day |
//! | [`config`] | which datastore, where, and with which credentials |

pub mod bootstrap;
pub mod client;
pub mod clock;
pub mod config;
pub mod ipam;
pub mod kubernetes;
pub mod names;
pub mod resources;
pub mod selector;
pub mod store;
