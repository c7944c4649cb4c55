//! The network plugin as the protocol sees it.

use std::process::ExitCode;

use cni::{AddResult, Command, Error, Plugin, Request, code};
use cni_ipam::conf::NetConf;
use cni_ipam::plugin::{VERSION, logged};
use cni_ipam::run::Deadline;
use cni_ipam::status::unavailable;
use cni_ipam::{log, run};

use crate::conf::Conf;
use crate::{add, check, del, gc, status};

/// `calico`.
pub struct Calico;

impl Plugin for Calico {
    fn about(&self) -> String {
        format!("Calico CNI plugin {VERSION}")
    }

    fn add(&self, request: &Request) -> Result<AddResult, Error> {
        let (conf, end) = start(request)?;
        logged("ADD", request, run::block_on_unbounded(add::add(conf, request, end)))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = begin(Conf::for_removal(&request.config)?, request);
        logged("DEL", request, run::block_on(end, del::del(conf, request, end)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged("CHECK", request, run::block_on(end, check::check(conf, request, end)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = begin(Conf::for_removal(&request.config)?, request);
        logged("GC", request, run::block_on(end, gc::gc(conf, request, end)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        let outcome = run::block_on(end, status::status(conf, request, end));
        logged("STATUS", request, outcome.map_err(unavailable))
    }
}

fn start(request: &Request) -> Result<(Conf, Deadline), Error> {
    Ok(begin(Conf::parse(&request.config)?, request))
}

fn begin(conf: Conf, request: &Request) -> (Conf, Deadline) {
    log::start(&conf.shared, "cni-plugin");
    let end = conf.shared.end_of(request.command);
    (conf, end)
}

/// `-t`: tests the datastore of the configuration on standard input.
pub fn self_test() -> ExitCode {
    cni::run_self_test(&|config| {
        let conf = NetConf::parse(config)?;
        run::block_on(conf.end_of(Command::Status), status::self_test(&conf))
            .map_err(|error| Error { code: code::START_UP, ..error })
    })
}
