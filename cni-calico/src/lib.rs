//! `calico`, the network plugin, as a library: the program is [`plugin`]; an operator's command wires
//! containers by the same code through [`by_hand`], and settles what is [`owed`].

mod add;
mod attachment;
pub mod by_hand;
mod check;
mod conf;
mod dataplane;
mod del;
mod delegate;
mod endpoint;
#[cfg(test)]
mod fuzz;
mod gc;
mod host_link;
mod host_local;
mod labels;
mod ladder;
pub mod owed;
pub mod plugin;
mod pod_inputs;
mod policy_wait;
mod readiness;
mod release;
mod status;
mod unmarked;
