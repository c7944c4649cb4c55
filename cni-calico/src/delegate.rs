//! Another IPAM plugin than our own: a program of `CNI_PATH` (`reference/cni-plugin.md` section
//! 3.6).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cni::delegate::Stop;
use cni::{AddResult, Command, Error, IpConfig, Request, code};
use cni_ipam::run::{self, Deadline};
use ipnet::IpNet;
use serde_json::Value;
use tracing::{Instrument, debug_span};

use crate::host_local;

/// How long an ADD that is taken back may still run: far more than any needs that doesn't hang.
const UNDO_GRACE: Duration = Duration::from_secs(3);

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
        let stop = self.stop.clone();
        let stopped = tokio::task::spawn_blocking(move || stop.stop(UNDO_GRACE)).await;
        if let Err(error) = stopped {
            tracing::warn!("waiting for {} to end: {error}", self.name);
        }
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

    /// Whether it still has these addresses for the container: by its CHECK, where there is one.
    /// Where not, or when anything is wrong, they count as lost.
    pub async fn has(&self, addresses: &[IpAddr], end: Deadline) -> bool {
        let Ok(stdin) = self.with_result(addresses) else { return false };
        let checked = self.call(move |program, request| program.check(request, &stdin, end.end()));
        match checked.await {
            Ok(()) => true,
            Err(error) => {
                tracing::info!("{} does not have the container's addresses: {error}", self.name);
                false
            }
        }
    }

    /// The configuration with these addresses as the result of an ADD.
    fn with_result(&self, addresses: &[IpAddr]) -> Result<Vec<u8>, Error> {
        let config = &self.request.config;
        let unreadable = |error: serde_json::Error| Error::new(code::INTERNAL, error.to_string());
        if config.version < Command::Check.since() {
            return Err(Error::new(code::INCOMPATIBLE_VERSION, "there is no CHECK"));
        }
        let ips = addresses.iter().map(|address| IpConfig::new(IpNet::from(*address))).collect();
        let result = AddResult { ips, ..AddResult::default() }.to_json(config.result_version())?;
        let mut value: Value = serde_json::from_slice(&config.bytes).map_err(unreadable)?;
        if let Some(members) = value.as_object_mut() {
            let result = serde_json::from_str(&result).map_err(unreadable)?;
            members.insert("prevResult".to_owned(), result);
        }
        serde_json::to_vec(&value).map_err(unreadable)
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
