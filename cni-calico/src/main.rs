//! `calico`, the network plugin: flags, or else one CNI verb.

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
mod owed;
mod plugin;
mod readiness;
mod release;
mod status;

use std::process::ExitCode;

use plugin::Calico;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|flag| flag == "-t") {
        return plugin::self_test();
    }
    match cni_ipam::plugin::flags("calico", "Calico CNI plugin") {
        Some(code) => code,
        None => cni::run(&Calico),
    }
}
