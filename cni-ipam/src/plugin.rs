//! The IPAM plugin as the protocol sees it, and what both programs do with flags.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use cni::{AddResult, Error, Plugin, Request};

use crate::conf::NetConf;
use crate::run::Deadline;
use crate::{add, check, del, gc, ignored, log, run, status};

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
        ignored::warn(&request.config);
        logged(request, || run::block_on_unbounded(add::add(&conf, request, end)))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged(request, || run::block_on(end, del::del(&conf, request, end)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged(request, || run::block_on(end, check::check(&conf, request, end)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged(request, || run::block_on(end, gc::gc(&conf, request, end)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request).map_err(status::unavailable)?;
        let work = || run::block_on(end, status::status(&conf));
        logged(request, || work().map_err(status::unavailable))
    }
}

fn start(request: &Request) -> Result<(NetConf, Deadline), Error> {
    let conf = begin(request, "ipam", || NetConf::parse(&request.config))?;
    let end = conf.end_of(request.command);
    Ok((conf, end))
}

/// Starts the log and reads the configuration; a configuration that won't do is in the log too.
pub fn begin<T>(
    request: &Request,
    component: &'static str,
    read: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    log::start(&request.config, component)
        .and_then(|()| read())
        .inspect_err(|error| log_failure(request, error))
}

/// Carries a verb out, and writes to the log how it ended and how long it took.
pub fn logged<T>(request: &Request, verb: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    let outcome = verb();
    let Request { command, container_id, ifname, .. } = request;
    match &outcome {
        Ok(_) => tracing::info!(ContainerID = container_id, Interface = ifname, "{command} done"),
        Err(error) => log_failure(request, error),
    }
    log::steps::report(command.as_str(), begun.elapsed());
    outcome
}

fn log_failure(request: &Request, error: &Error) {
    let Request { command, container_id, ifname, .. } = request;
    tracing::error!(
        ContainerID = container_id,
        Interface = ifname,
        code = error.code,
        "{command} failed: {}",
        error.msg
    );
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
