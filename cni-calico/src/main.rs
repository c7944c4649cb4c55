//! `calico`, the network plugin, and `calico-ipam` where it is called by that name: what ships is one
//! file. Flags, or else one CNI verb.

use std::path::Path;
use std::process::ExitCode;

use cni_calico::plugin::{self, Calico};
use cni_ipam::plugin::{Ipam, flags};
use dlmalloc::GlobalDlmalloc;

/// PERF: the C library's (musl's) returns each free page to the kernel at once, which interrupts every
/// processor that runs a thread of ours: a tenth of an ADD's processor time.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

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
