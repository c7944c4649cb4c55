//! `calico`, the network plugin, as a library: the program is [`plugin`], and what an operator's
//! command may call beside it is [`owed`].

mod add;
mod attachment;
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
pub mod owed;
pub mod plugin;
mod readiness;
mod release;
mod status;
