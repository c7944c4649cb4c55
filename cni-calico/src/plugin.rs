//! The network plugin as the protocol sees it.

use std::io::{Read, Write};
use std::process::ExitCode;

use cni::{AddResult, Error, NetworkConfig, Plugin, Request, code};
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
        let conf = start(request)?;
        logged("DEL", request, run::block_on(del::del(conf, request)))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        let conf = start(request)?;
        logged("CHECK", request, run::block_on(check::check(conf, request)))
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        let conf = start(request)?;
        logged("GC", request, run::block_on(gc::gc(conf, request)))
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        let conf = start(request)?;
        logged("STATUS", request, run::block_on(status::status(conf, request)))
    }
}

fn start(request: &Request) -> Result<Conf, Error> {
    let conf = Conf::parse(&request.config)?;
    log::start(&conf.shared, "cni-plugin");
    Ok(conf)
}

/// `-t`: reads a configuration from standard input and tests its datastore. Prints nothing when all
/// is well, else one error object with code 100.
pub fn self_test() -> ExitCode {
    let outcome = || -> Result<(), Error> {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| {
            Error::new(code::IO_FAILURE, format!("standard input can't be read: {error}"))
        })?;
        let config = NetworkConfig::decode(bytes)?;
        let conf = NetConf::parse(&config)?;
        run::block_on(status::self_test(&conf))
    };
    match outcome() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = Error { code: code::START_UP, ..error };
            let answer = error.to_json(cni::Version::LATEST);
            let _ = std::io::stdout().write_all(answer.as_bytes());
            ExitCode::FAILURE
        }
    }
}
