//! The network plugin as the protocol sees it.

use std::process::ExitCode;

use cni::{AddResult, Command, Error, Plugin, Request, code};
use cni_ipam::conf::NetConf;
use cni_ipam::plugin::{VERSION, begin, logged};
use cni_ipam::run::Deadline;
use cni_ipam::status::unavailable;
use cni_ipam::{ignored, run};

use crate::conf::Conf;
use crate::{add, check, del, gc, status};

/// What stands on the lines of the log.
const COMPONENT: &str = "cni-plugin";

/// `calico`.
pub struct Calico;

impl Plugin for Calico {
    fn about(&self) -> String {
        format!("Calico CNI plugin {VERSION}")
    }

    fn add(&self, request: &Request) -> Result<AddResult, Error> {
        let (conf, end) = start(request)?;
        ignored::warn(&request.config);
        logged(request, || run::block_on_unbounded(add::add(conf, request, end)))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start_removal(request)?;
        logged(request, || run::block_on(end, del::del(conf, request, end)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request)?;
        logged(request, || run::block_on(end, check::check(conf, request, end)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start_removal(request)?;
        logged(request, || run::block_on(end, gc::gc(conf, request, end)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let (conf, end) = start(request).map_err(unavailable)?;
        let work = || run::block_on(end, status::status(conf, request, end));
        logged(request, || work().map_err(unavailable))
    }
}

fn start(request: &Request) -> Result<(Conf, Deadline), Error> {
    begin(request, COMPONENT, || Conf::parse(&request.config)).map(|conf| with_end(conf, request))
}

fn start_removal(request: &Request) -> Result<(Conf, Deadline), Error> {
    let conf = begin(request, COMPONENT, || Conf::for_removal(&request.config))?;
    Ok(with_end(conf, request))
}

fn with_end(conf: Conf, request: &Request) -> (Conf, Deadline) {
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
