//! The smallest plugin: it does nothing, and answers what its configuration tells it to. The tests
//! of the process contract run it.

use std::process::ExitCode;

use cni::{AddResult, Error, IpConfig, Plugin, Request, code};
use serde::Deserialize;

/// What the plugin reads of its configuration.
#[derive(Deserialize)]
struct Config {
    /// The one address of the result.
    #[serde(rename = "address", default)]
    address: String,
    /// Where to panic: on the `main` thread or on an `other` one.
    #[serde(rename = "panic", default)]
    panic: String,
}

struct Noop;

impl Noop {
    fn work(&self, request: &Request) -> Result<Config, Error> {
        let config: Config = request.config.parse()?;
        match config.panic.as_str() {
            "main" => panic!("asked to"),
            "other" => {
                let _ = std::thread::spawn(|| panic!("asked to, elsewhere")).join();
            }
            _ => {}
        }
        Ok(config)
    }
}

impl Plugin for Noop {
    fn about(&self) -> String {
        "CNI plugin noop".into()
    }

    fn add(&self, request: &Request) -> Result<AddResult, Error> {
        let address = self.work(request)?.address;
        let address = address.parse().map_err(|_| {
            Error::new(code::INVALID_CONFIG, format!("address {address:?} is no CIDR"))
        })?;
        Ok(AddResult { ips: vec![IpConfig::new(address)], ..AddResult::default() })
    }

    fn del(&self, request: &Request) -> Result<(), Error> {
        self.work(request).map(drop)
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        self.work(request).map(drop)
    }

    fn gc(&self, request: &Request) -> Result<(), Error> {
        request.config.valid_attachments().map(drop)
    }

    fn status(&self, request: &Request) -> Result<(), Error> {
        self.work(request).map(drop)
    }
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "-t") {
        return cni::run_self_test(&|config| match config.parse::<Config>()?.address.as_str() {
            "" => Err(Error::new(code::START_UP, "address is missing; give the network one")),
            _ => Ok(()),
        });
    }
    let code = cni::run(&Noop);
    if std::env::args().any(|argument| argument == "--panic-late") {
        panic!("asked to, too late");
    }
    code
}
