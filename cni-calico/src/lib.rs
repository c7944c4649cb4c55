//! The network plugin as a library: its binary calls [`plugin`], and `calicoctl container` wires
//! containers by the same code through [`by_hand`].

mod add;
mod attachment;
pub mod by_hand;
mod check;
mod conf;
mod dataplane;
mod del;
mod delegate;
mod endpoint;
mod gc;
mod host_link;
mod labels;
mod ladder;
mod owed;
pub mod plugin;
mod readiness;
mod release;
mod status;
