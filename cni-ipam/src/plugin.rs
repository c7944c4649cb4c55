//! The IPAM plugin as the protocol sees it, and what both programs do with flags.

use std::io::Write;
use std::process::ExitCode;

use cni::{AddResult, Error, Plugin, Request};

use crate::conf::NetConf;
use crate::run::Deadline;
use crate::{add, check, del, gc, log, run, status};

/// `calico-ipam`.
pub struct Ipam;

/// The version that `-v` prints.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Plugin for Ipam {
    fn about(&self) -> String {
        format!("Calico CNI IPAM {VERSION}")
    }

    fn add(&self, request: &Request) -> Result<AddResult, Error> {
        let (conf, end) = start(request)?;
        logged("ADD", request, run::block_on_unbounded(add::add(&conf, request, end)))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged("DEL", request, run::block_on(end, del::del(&conf, request, end)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged("CHECK", request, run::block_on(end, check::check(&conf, request, end)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged("GC", request, run::block_on(end, gc::gc(&conf, request, end)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        let outcome = run::block_on(end, status::status(&conf));
        logged("STATUS", request, outcome.map_err(status::unavailable))
    }
}

fn start(request: &Request) -> Result<(NetConf, Deadline), Error> {
    let conf = NetConf::parse(&request.config)?;
    log::start(&conf, "ipam");
    let end = conf.end_of(request.command);
    Ok((conf, end))
}

/// Writes how a verb ended to the log.
pub fn logged<T>(verb: &str, request: &Request, outcome: Result<T, Error>) -> Result<T, Error> {
    let Request { container_id, ifname, .. } = request;
    match &outcome {
        Ok(_) => tracing::info!(ContainerID = container_id, Interface = ifname, "{verb} done"),
        Err(error) => tracing::error!(
            ContainerID = container_id,
            Interface = ifname,
            code = error.code,
            "{verb} failed: {}",
            error.msg
        ),
    }
    outcome
}

/// Handles the flags that stand before any verb: `-v` prints the version, `-h` a usage. None means
/// that there are none, so that a verb is meant; `-t` is the network plugin's own.
pub fn flags(program: &str, about: &str) -> Option<ExitCode> {
    let flag = std::env::args_os().nth(1)?;
    match flag.to_str() {
        Some("-v" | "--version") => {
            // The one line on stdout that is no answer of the protocol.
            let _ = writeln!(std::io::stdout(), "{VERSION}");
            Some(ExitCode::SUCCESS)
        }
        Some("-h" | "--help") => {
            usage(program, about);
            Some(ExitCode::SUCCESS)
        }
        // COMPAT: upstream's test suite passes the configuration as an argument too, and upstream
        // doesn't look at it.
        Some(text) if !text.starts_with('-') => None,
        _ => {
            usage(program, about);
            Some(ExitCode::from(2))
        }
    }
}

fn usage(program: &str, about: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "{about} {VERSION}: a CNI plugin, which a container runtime calls.\n\n\
         usage: {program} [-v] [-h]{}\n\n\
         -v  print the version\n\
         -h  print this\n{}\
         Without a flag it takes CNI_COMMAND and its fellows from the environment and a network \
         configuration from standard input.",
        if program == "calico" { " [-t]" } else { "" },
        if program == "calico" {
            "-t  test the datastore that the configuration on standard input names\n"
        } else {
            ""
        },
    );
}
