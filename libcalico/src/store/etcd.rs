//! The store in etcd, wire-compatible with upstream (`reference/datamodel.md` sections 1, 4, 9.3;
//! `reference/crates-and-floor.md` section 2).
//!
//! A read is one transaction of ranges, a commit one transaction of compares, puts and deletes.
//! The etcd client doesn't fail over, so this does: see [`servers`] for how a server is chosen and
//! left, and [`fate`] for how the fate of a commit is found out whose answer was lost.

mod dial;
mod failure;
mod fate;
mod request;
mod server;
mod servers;
mod tls;
mod watch;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::time::timeout_at;
use tracing::{Instrument, debug_span};

use self::failure::{Failure, Next};
use self::fate::Verdict;
use self::server::Connection;
use self::servers::Servers;
use super::commit;
use super::{
    Change, Committed, Prefix, Query, Revision, Snapshot, Store, StoreError, StoreErrorKind, Watch,
};
use crate::config::EtcdConfig;

/// How long one server may keep us waiting for the answer to a commit before its fate is looked up
/// over a new connection; less when the deadline is near.
const COMMIT_LIMIT: Duration = Duration::from_secs(3);

/// How long the start of a watch may take.
const WATCH_LIMIT: Duration = Duration::from_secs(10);

/// Pauses between rounds over all servers, when one of them said that it can't answer just now.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A store in an etcd cluster.
pub struct EtcdStore {
    servers: Servers,
}

impl EtcdStore {
    /// Prepares the store and reads the certificates. Nothing is sent before the first call.
    pub fn new(config: &EtcdConfig) -> Result<EtcdStore, StoreError> {
        Ok(EtcdStore { servers: Servers::new(config)? })
    }

    /// Sends a commit until it is decided.
    async fn decide(
        &self,
        changes: &[Change],
        paths: &[String],
        deadline: Instant,
    ) -> Result<Committed, StoreError> {
        let mut lost: Option<Failure> = None;
        let mut unsent = 0;
        loop {
            let connection = self.servers.connection(paths, deadline).await?;
            let half = deadline.saturating_duration_since(Instant::now()) / 2;
            let limit = Instant::now() + COMMIT_LIMIT.min(half);
            fault_points::reach!("store.commit");
            let sent = connection.txn(request::commit(changes, paths));
            let answer = match timeout_at(limit.into(), sent).await {
                Ok(answer) => answer.and_then(|answer| request::committed(&answer, changes)),
                Err(_) => Err(Failure::silent()),
            };
            fault_points::reach!("store.committed");
            let failure = match (answer, &lost) {
                (Ok(done @ Committed::Done(_)), _) | (Ok(done), None) => return Ok(done),
                // It may be our own first attempt, arrived late, that is in the way.
                (Ok(Committed::Conflict(_)), Some(earlier)) => earlier.clone(),
                (Err(failure), _) => {
                    self.servers.left(&connection, &failure);
                    match failure.next {
                        // It never left: any server will do, but each of them only once.
                        Next::Server if !failure.sent && unsent < self.servers.count() => {
                            unsent += 1;
                            continue;
                        }
                        _ if !failure.sent && lost.is_none() => {
                            return Err(self.servers.error("commit", &connection, &failure));
                        }
                        _ => failure,
                    }
                }
            };
            let reason = failure.reason.as_str();
            tracing::debug!(server = %connection, reason, "the answer to a commit was lost");
            if let Some(committed) = self.find_out(changes, paths, &failure, deadline).await? {
                return Ok(committed);
            }
            lost = Some(failure);
        }
    }

    /// Finds out what became of a commit whose answer was lost. `None`: it wasn't made, and may be
    /// sent again.
    async fn find_out(
        &self,
        changes: &[Change],
        paths: &[String],
        lost: &Failure,
        deadline: Instant,
    ) -> Result<Option<Committed>, StoreError> {
        let mut pause = PAUSES.0;
        loop {
            let error = match self.judge(changes, paths, deadline).await {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            // A server that is being restarted is worth waiting for: somebody must know.
            let waits = error.kind == StoreErrorKind::Unavailable;
            if !waits || Instant::now() + pause >= deadline {
                let list = paths.join(", ");
                return Err(StoreError::new(
                    StoreErrorKind::Unknown,
                    format!(
                        "{}: the answer to a commit of {list} was lost ({}) and its fate couldn't \
                         be read back: {}",
                        self.describe(),
                        lost.reason,
                        error.message
                    ),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    async fn judge(
        &self,
        changes: &[Change],
        paths: &[String],
        deadline: Instant,
    ) -> Result<Option<Committed>, StoreError> {
        let state = self.state_of(paths, None, deadline).await?;
        let revision = match fate::judge(changes, &state) {
            Verdict::Done(revision) => return Ok(Some(Committed::Done(revision))),
            Verdict::NotMade => return Ok(None),
            Verdict::Overtaken => None,
            Verdict::AskAt(revision) => Some(revision),
            Verdict::AskAfter(index, revision) => {
                let path = paths.get(index).map(String::as_str).unwrap_or_default();
                self.next_change(path, revision, deadline).await?
            }
        };
        if let Some(revision) = revision {
            match self.state_of(paths, Some(revision), deadline).await {
                Ok(then) if fate::made_at(changes, &then) == Some(revision) => {
                    return Ok(Some(Committed::Done(revision)));
                }
                Ok(_) => {}
                Err(error) if error.kind == StoreErrorKind::Compacted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Committed::Conflict(state.documents(changes))))
    }

    /// The commit's documents, now or as they were at a revision.
    async fn state_of(
        &self,
        paths: &[String],
        at: Option<Revision>,
        deadline: Instant,
    ) -> Result<fate::State, StoreError> {
        self.servers
            .ask("read back", deadline, |connection| async move {
                let response = connection.txn(request::get_all(paths, at)).await?;
                request::state(&response)
            })
            .await
    }

    /// The revision of the first change of a key after `revision`; `None` when it is no longer kept.
    async fn next_change(
        &self,
        path: &str,
        revision: Revision,
        deadline: Instant,
    ) -> Result<Option<Revision>, StoreError> {
        let found = self
            .servers
            .ask("read back", deadline, |connection| watch::next_change(connection, path, revision))
            .await;
        match found {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind == StoreErrorKind::Compacted => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn read(&self, queries: &[Query], deadline: Instant) -> Result<Snapshot, StoreError> {
        let plan = &request::Reading::new(queries)?;
        let read = |connection: Connection| async move { plan.run(&connection).await };
        let mut pause = PAUSES.0;
        loop {
            match self.servers.ask("read", deadline, read).instrument(debug_span!("read")).await {
                // Between two parts of a large read the first one's revision was compacted away.
                Err(error) if error.kind == StoreErrorKind::Compacted && plan.parts() > 1 => {
                    if Instant::now() + pause >= deadline {
                        return Err(StoreError { kind: StoreErrorKind::Unavailable, ..error });
                    }
                    tokio::time::sleep(pause).await;
                    pause = PAUSES.1.min(pause * 2);
                }
                answer => {
                    fault_points::reach!("store.read");
                    return answer;
                }
            }
        }
    }

    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError> {
        let paths = commit::paths(changes)?;
        self.decide(changes, &paths, deadline).instrument(debug_span!("commit")).await
    }

    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let deadline = Instant::now() + WATCH_LIMIT;
        let (stream, connection) = self
            .servers
            .ask("watch", deadline, |connection| async move {
                let stream = watch::start(&connection, prefix, after).await?;
                Ok((stream, connection))
            })
            .await?;
        Ok(Box::new(watch::EtcdWatch::new(stream, connection, prefix.clone())))
    }

    fn describe(&self) -> String {
        format!("etcd at {}", self.servers)
    }
}
