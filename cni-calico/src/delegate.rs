//! Another IPAM plugin than our own: a program of `CNI_PATH` (`reference/cni-plugin.md` section
//! 3.6).

use std::sync::Arc;

use cni::{AddResult, Error, Request, code};
use cni_ipam::run;

/// The IPAM plugin that the configuration names.
#[derive(Clone)]
pub struct Delegate {
    name: String,
    program: Arc<cni::delegate::Delegate>,
    request: Arc<Request>,
}

impl Delegate {
    /// Finds the program.
    pub fn find(request: &Request) -> Result<Delegate, Error> {
        let name = request.config.ipam_type.clone().unwrap_or_default();
        let path = cni::delegate::find(&name, &request.path)?;
        Ok(Delegate {
            name,
            program: Arc::new(cni::delegate::Delegate::new(path)),
            request: Arc::new(request.clone()),
        })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ADD.
    pub async fn add(&self) -> Result<AddResult, Error> {
        self.call(|program, request| {
            program.add(request, &request.config.bytes, run::deadline(run::ADD_LIMIT))
        })
        .await
    }

    /// Its DEL, which also takes back a failed ADD.
    pub async fn del(&self) -> Result<(), Error> {
        self.call(|program, request| {
            program.del(request, &request.config.bytes, run::deadline(run::ADD_LIMIT))
        })
        .await
    }

    /// Its CHECK.
    pub async fn check(&self) -> Result<(), Error> {
        self.call(|program, request| {
            program.check(request, &request.config.bytes, run::deadline(run::ADD_LIMIT))
        })
        .await
    }

    /// Its GC.
    pub async fn gc(&self) -> Result<(), Error> {
        self.call(|program, request| {
            program.gc(request, &request.config.bytes, run::deadline(run::ADD_LIMIT))
        })
        .await
    }

    /// Its STATUS.
    pub async fn status(&self) -> Result<(), Error> {
        self.call(|program, request| {
            program.status(request, &request.config.bytes, run::deadline(run::STATUS_LIMIT))
        })
        .await
    }

    /// Runs the program on a thread of its own, since it is waited for.
    async fn call<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&cni::delegate::Delegate, &Request) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (program, request) = (Arc::clone(&self.program), Arc::clone(&self.request));
        tokio::task::spawn_blocking(move || verb(&program, &request)).await.unwrap_or_else(
            |error| Err(Error::new(code::INTERNAL, format!("calling the IPAM plugin: {error}"))),
        )
    }
}
