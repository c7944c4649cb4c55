//! Another IPAM plugin than our own: a program of `CNI_PATH` (`reference/cni-plugin.md` section
//! 3.6).

use std::sync::Arc;

use cni::delegate::Stop;
use cni::{AddResult, Error, Request, code};
use cni_ipam::run::{self, Deadline};
use tracing::{Instrument, debug_span};

use crate::host_local;

/// The IPAM plugin that the configuration names.
#[derive(Clone)]
pub struct Delegate {
    name: String,
    program: Arc<cni::delegate::Delegate>,
    request: Arc<Request>,
    /// The configuration for its ADD, where that is another one.
    addition: Option<Vec<u8>>,
    /// Ends its ADD.
    stop: Stop,
}

impl Delegate {
    /// Finds the program.
    pub fn find(request: &Request) -> Result<Delegate, Error> {
        let name = request.config.ipam_type.clone().unwrap_or_default();
        let path = cni::delegate::find(&name, &request.path)?;
        let mut request = request.clone();
        if let Some(bytes) = host_local::for_removal(&request.config) {
            request.config.bytes = bytes;
        }
        Ok(Delegate {
            name,
            program: Arc::new(cni::delegate::Delegate::new(path)),
            request: Arc::new(request),
            addition: None,
            stop: Stop::default(),
        })
    }

    /// Gives its ADD another configuration than the request's.
    pub fn adding(mut self, config: Option<Vec<u8>>) -> Delegate {
        self.addition = config;
        self
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its ADD.
    pub async fn add(&self, end: Deadline) -> Result<AddResult, Error> {
        let (stop, addition) = (self.stop.clone(), self.addition.clone());
        self.call(move |program, request| {
            let program = program.clone().stop(stop);
            let stdin = addition.as_deref().unwrap_or(&request.config.bytes);
            program.add(request, stdin, end.end())
        })
        .await
    }

    /// Takes an ADD back that failed, or that nobody waits for any more.
    pub async fn undo(&self) -> Result<(), Error> {
        self.stop.stop();
        self.del(Deadline::after(run::DEL_LIMIT)).await
    }

    /// Its DEL.
    pub async fn del(&self, end: Deadline) -> Result<(), Error> {
        self.call(move |program, request| {
            program.del(request, &request.config.bytes, end.within(run::DEL_LIMIT))
        })
        .await
    }

    /// Its CHECK.
    pub async fn check(&self, end: Deadline) -> Result<(), Error> {
        self.call(move |program, request| program.check(request, &request.config.bytes, end.end()))
            .await
    }

    /// Its GC.
    pub async fn gc(&self, end: Deadline) -> Result<(), Error> {
        let outcome = self
            .call(move |program, request| program.gc(request, &request.config.bytes, end.end()));
        self.unless_unknown("GC", outcome.await)
    }

    /// Its STATUS.
    pub async fn status(&self, end: Deadline) -> Result<(), Error> {
        let outcome = self.call(move |program, request| {
            program.status(request, &request.config.bytes, end.within(run::STATUS_LIMIT))
        });
        self.unless_unknown("STATUS", outcome.await)
    }

    /// A plugin from before 1.1.0 knows neither GC nor STATUS: then there is nothing that it could
    /// do or say.
    fn unless_unknown(&self, verb: &str, outcome: Result<(), Error>) -> Result<(), Error> {
        match outcome {
            Err(error)
                if [code::INVALID_ENVIRONMENT, code::INCOMPATIBLE_VERSION]
                    .contains(&error.code) =>
            {
                tracing::warn!("{} does not know {verb}: {error}", self.name);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Runs the program on a thread of its own, since it is waited for.
    async fn call<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&cni::delegate::Delegate, &Request) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (program, request) = (Arc::clone(&self.program), Arc::clone(&self.request));
        let task = tokio::task::spawn_blocking(move || verb(&program, &request));
        task.instrument(debug_span!("ipam")).await.unwrap_or_else(|error| {
            Err(Error::new(code::INTERNAL, format!("calling the IPAM plugin: {error}")))
        })
    }
}
