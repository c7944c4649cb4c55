//! `calico-ipam`, the IPAM plugin: flags, or else one CNI verb.

use std::process::ExitCode;

use cni_ipam::plugin::{self, Ipam};

fn main() -> ExitCode {
    match plugin::flags("calico-ipam", "Calico CNI IPAM") {
        Some(code) => code,
        None => cni::run(&Ipam),
    }
}
