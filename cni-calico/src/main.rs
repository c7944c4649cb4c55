//! `calico`, the network plugin, and `calico-ipam` where it is called by that name: what ships is one
//! file. Flags, or else one CNI verb.

use std::path::Path;
use std::process::ExitCode;

use cni_calico::plugin::{self, Calico};
use cni_ipam::plugin::{Ipam, flags};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "calico-ipam") {
        return flags("calico-ipam", "Calico CNI IPAM").unwrap_or_else(|| cni::run(&Ipam));
    }
    if arguments.next().is_some_and(|flag| flag == "-t") {
        return plugin::self_test();
    }
    flags("calico", "Calico CNI plugin").unwrap_or_else(|| cni::run(&Calico))
}
