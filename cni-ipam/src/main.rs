//! `calico-ipam` on its own, as `cargo build` makes it. What ships is `calico` by this name:
//! cni-calico/src/main.rs.

use std::process::ExitCode;

use cni_ipam::plugin::{Ipam, flags};

fn main() -> ExitCode {
    flags("calico-ipam", "Calico CNI IPAM").unwrap_or_else(|| cni::run(&Ipam))
}
