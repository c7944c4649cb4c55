//! Choosing a server, and leaving it.
//!
//! One connection at a time, kept as long as it answers. Without one, the servers are tried in a
//! random order, those that failed lately last; a server that hasn't answered after a moment gets a
//! rival, and the first answer wins. So one that refuses costs nothing, and a silent one a fifth of
//! a second, once a process. Every call tries each server once; only when one of them says that
//! the cluster is busy with itself is there another round.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout_at;

use super::PAUSES;
use super::failure::{Failure, Next};
use super::server::{Connection, Server};
use super::{request, tls};
use crate::config::EtcdConfig;
use crate::store::{StoreError, StoreErrorKind};

/// When a server that is being connected to gets a rival.
const RIVAL_AFTER: Duration = Duration::from_millis(200);

/// When a server that we are connected to gets one: it may just be slow, or the connection dead.
const RIVAL_OF_KNOWN_AFTER: Duration = Duration::from_secs(1);

/// The servers of a cluster.
pub(super) struct Servers {
    servers: Vec<Arc<Server>>,
    health: Mutex<Health>,
}

struct Health {
    /// The connection that answered last.
    current: Option<Connection>,
    /// When each server failed last, if it did since it answered last.
    failed: Vec<Option<Instant>>,
    /// Where the order of the servers begins.
    first: usize,
}

/// A way to ask a server.
enum Attempt {
    Known(Connection),
    Fresh(usize),
}

/// Why no server answered: the reasons, one a server.
struct Failures<'a> {
    servers: &'a Servers,
    of: Vec<Option<Failure>>,
}

impl Servers {
    /// Prepares all servers. Reads the certificates, connects to nothing.
    pub(super) fn new(config: &EtcdConfig) -> Result<Servers, StoreError> {
        if config.endpoints.is_empty() {
            return Err(StoreError::new(StoreErrorKind::Invalid, "no etcd endpoints"));
        }
        let tls = Arc::new(tls::client_config(config)?);
        let servers = config
            .endpoints
            .iter()
            .map(|endpoint| Server::new(endpoint, config, &tls).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let health = Health {
            current: None,
            failed: vec![None; servers.len()],
            first: rand::random_range(0..servers.len()),
        };
        Ok(Servers { servers, health: Mutex::new(health) })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.servers.len()
    }

    /// A connection: the present one, or a new one. What is sent over it may not be sent twice, so
    /// where there is a choice of servers, a new one must have answered something first.
    pub(super) async fn connection(
        &self,
        paths: &[String],
        deadline: Instant,
    ) -> Result<Connection, StoreError> {
        let current = self.health().current.clone();
        if let Some(connection) = current {
            return Ok(connection);
        }
        let choice = self.servers.len() > 1;
        let request = |connection: Connection| async move {
            if choice {
                connection.txn(request::get_all(paths.get(..1).unwrap_or_default(), None)).await?;
            }
            Ok(connection)
        };
        self.ask("connect", deadline, request).await
    }

    /// Asks until a server answers. The request may be sent to several of them, or several times
    /// to one: it must not change anything.
    pub(super) async fn ask<T, F>(
        &self,
        what: &str,
        deadline: Instant,
        request: impl Fn(Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut pause = PAUSES.0;
        loop {
            let failures = match self.round(deadline, &request).await {
                Ok(answer) => return Ok(answer),
                Err(failures) => failures,
            };
            if !failures.later() || Instant::now() + pause >= deadline {
                return Err(failures.error(what));
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Asks each server once, the next one when the last one is slow or has failed.
    async fn round<T, F>(
        &self,
        deadline: Instant,
        request: &impl Fn(Connection) -> F,
    ) -> Result<T, Failures<'_>>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut failures = Failures { servers: self, of: vec![None; self.servers.len()] };
        let mut waiting = self.attempts().into_iter().peekable();
        let mut running = FuturesUnordered::new();
        let mut rival_at = Instant::now();
        loop {
            if running.is_empty() || Instant::now() >= rival_at {
                match waiting.next() {
                    Some(attempt) => {
                        rival_at = Instant::now() + attempt.patience();
                        running.push(self.run(attempt, request));
                    }
                    None if running.is_empty() => return Err(failures),
                    None => {}
                }
            }
            let until = if waiting.peek().is_some() { rival_at.min(deadline) } else { deadline };
            match timeout_at(until.into(), running.next()).await {
                Ok(Some(Ok(answer))) => return Ok(answer),
                Ok(Some(Err((index, failure)))) => {
                    let stop = failure.next == Next::Stop;
                    failures.note(index, failure);
                    if stop {
                        return Err(failures);
                    }
                    rival_at = Instant::now();
                }
                Ok(None) => {}
                Err(_) if Instant::now() >= deadline => return Err(failures),
                Err(_) => {}
            }
        }
    }

    async fn run<T, F>(
        &self,
        attempt: Attempt,
        request: &impl Fn(Connection) -> F,
    ) -> Result<T, (usize, Failure)>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let (index, connection) = match attempt {
            Attempt::Known(connection) => (self.index_of(connection.server()), connection),
            Attempt::Fresh(index) => match self.servers.get(index) {
                Some(server) => match server.clone().connect().await {
                    Ok(connection) => (index, connection),
                    Err(failure) => {
                        self.failed(index);
                        return Err((index, failure));
                    }
                },
                // Indices come from `attempts`, which takes them from the list itself.
                None => return Err((index, Failure::silent())),
            },
        };
        match request(connection.clone()).await {
            Ok(answer) => {
                self.answered(index, connection);
                Ok(answer)
            }
            Err(failure) => {
                self.left(&connection, &failure);
                Err((index, failure))
            }
        }
    }

    /// The ways to ask, the best first: the present connection, the servers without a failure,
    /// those whose failure is longest ago, and at last a new connection to the present server.
    fn attempts(&self) -> Vec<Attempt> {
        let health = self.health();
        let known = health.current.clone();
        let last = known.as_ref().map(|connection| self.index_of(connection.server()));
        let count = self.servers.len();
        let mut order: Vec<usize> = (0..count).map(|n| (n + health.first) % count).collect();
        // Stable, and `None` comes first.
        order.sort_by_key(|index| (Some(*index) == last, health.failed.get(*index).copied()));
        let fresh = order.into_iter().map(Attempt::Fresh);
        known.into_iter().map(Attempt::Known).chain(fresh).collect()
    }

    /// Notes that a request over this connection failed, so that the next one goes elsewhere.
    pub(super) fn left(&self, connection: &Connection, failure: &Failure) {
        if failure.next == Next::Stop {
            return;
        }
        let index = self.index_of(connection.server());
        let mut health = self.health();
        if health.current.as_ref().is_some_and(|current| current.is(connection)) {
            health.current = None;
        }
        drop(health);
        self.failed(index);
    }

    fn failed(&self, index: usize) {
        if let Some(failed) = self.health().failed.get_mut(index) {
            *failed = Some(Instant::now());
        }
    }

    fn answered(&self, index: usize, connection: Connection) {
        let mut health = self.health();
        if let Some(failed) = health.failed.get_mut(index) {
            *failed = None;
        }
        health.current = Some(connection);
    }

    fn index_of(&self, server: &Arc<Server>) -> usize {
        self.servers.iter().position(|known| Arc::ptr_eq(known, server)).unwrap_or_default()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a request that one server failed in a way that no other one helps.
    pub(super) fn error(
        &self,
        what: &str,
        connection: &Connection,
        failure: &Failure,
    ) -> StoreError {
        StoreError::new(failure.kind, format!("etcd: {what}: {connection} {}", failure.reason))
    }
}

impl Attempt {
    /// How long it goes without a rival.
    fn patience(&self) -> Duration {
        match self {
            Attempt::Known(_) => RIVAL_OF_KNOWN_AFTER,
            Attempt::Fresh(_) => RIVAL_AFTER,
        }
    }
}

impl Failures<'_> {
    fn note(&mut self, index: usize, failure: Failure) {
        if let Some(slot) = self.of.get_mut(index) {
            *slot = Some(failure);
        }
    }

    /// Whether another round may help.
    fn later(&self) -> bool {
        let mut failures = self.of.iter().flatten();
        failures.clone().all(|failure| failure.next != Next::Stop)
            && failures.any(|failure| failure.next == Next::Later)
    }

    /// One error of all: each server with its reason. A server that stops every further attempt
    /// speaks for all, and one that refuses us says more than one that is down.
    fn error(self, what: &str) -> StoreError {
        let stop = self.of.iter().flatten().find(|failure| failure.next == Next::Stop);
        let refused = |failure: &&Failure| failure.kind == StoreErrorKind::Unauthorized;
        let kind = stop
            .or_else(|| self.of.iter().flatten().find(refused))
            .map_or(StoreErrorKind::Unavailable, |failure| failure.kind);
        let reasons: Vec<_> = self
            .servers
            .servers
            .iter()
            .zip(&self.of)
            .filter(|(_, failure)| {
                stop.is_none() || failure.as_ref().is_some_and(|it| it.next == Next::Stop)
            })
            .map(|(server, failure)| {
                let reason = failure
                    .as_ref()
                    .map_or("gave no answer before the deadline", |it| it.reason.as_str());
                format!("{} {reason}", server.endpoint)
            })
            .collect();
        // Some reasons tell what to do by themselves.
        let is_told = reasons.iter().any(|reason| reason.contains("etcd"));
        let next = match kind == StoreErrorKind::Unavailable && !is_told {
            true => "; see that etcd runs there, and what etcd_endpoints says",
            false => "",
        };
        StoreError::new(kind, format!("etcd: {what}: {}{next}", reasons.join("; ")))
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", server.endpoint)?;
        }
        Ok(())
    }
}
