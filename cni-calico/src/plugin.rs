//! The network plugin as the protocol sees it.

use std::process::ExitCode;

use cni::{AddResult, Error, Plugin, Request, code};
use cni_ipam::conf::NetConf;
use cni_ipam::plugin::{VERSION, logged};
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
        let conf = start(request)?;
        logged("ADD", request, run::block_on(add::add(conf, request)))
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        let conf = begin(Conf::for_removal(&request.config)?);
        logged("DEL", request, run::block_on(del::del(conf, request)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let conf = start(request)?;
        logged("CHECK", request, run::block_on(check::check(conf, request)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let conf = begin(Conf::for_removal(&request.config)?);
        logged("GC", request, run::block_on(gc::gc(conf, request)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let conf = start(request)?;
        logged("STATUS", request, run::block_on(status::status(conf, request)))
    }
}

fn start(request: &Request) -> Result<Conf, Error> {
    Conf::parse(&request.config).map(begin)
}

fn begin(conf: Conf) -> Conf {
    log::start(&conf.shared, "cni-plugin");
    conf
}

/// `-t`: tests the datastore of the configuration on standard input.
pub fn self_test() -> ExitCode {
    cni::run_self_test(&|config| {
        let conf = NetConf::parse(config)?;
        run::block_on(status::self_test(&conf))
            .map_err(|error| Error { code: code::START_UP, ..error })
    })
}
