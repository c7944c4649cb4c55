//! `calico`, the network plugin: flags, or else one CNI verb.

use std::process::ExitCode;

use cni_calico::plugin::{self, Calico};

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|flag| flag == "-t") {
        return plugin::self_test();
    }
    match cni_ipam::plugin::flags("calico", "Calico CNI plugin") {
        Some(code) => code,
        None => cni::run(&Calico),
    }
}
