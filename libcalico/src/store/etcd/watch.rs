//! Watching a range of keys.

use std::collections::VecDeque;

use async_trait::async_trait;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};

use super::failure::Failure;
use super::request;
use super::server::Connection;
use crate::store::{Document, Event, Key, Prefix, Revision, StoreError, StoreErrorKind, Watch};

/// A running watch.
pub(super) struct EtcdWatch {
    stream: WatchStream,
    connection: Connection,
    prefix: Prefix,
    pending: VecDeque<Event>,
}

/// Starts a watch of a prefix, and waits until the server says that it runs.
pub(super) async fn start(
    connection: &Connection,
    prefix: &Prefix,
    after: Revision,
) -> Result<WatchStream, Failure> {
    let options = WatchOptions::new().with_range(request::end_of(prefix));
    begin(connection, prefix.path(), options, after).await
}

async fn begin(
    connection: &Connection,
    key: String,
    options: WatchOptions,
    after: Revision,
) -> Result<WatchStream, Failure> {
    let options = options.with_start_revision(after + 1);
    let mut stream = connection
        .watch_client()
        .watch(key, Some(options))
        .await
        .map_err(|error| connection.failure(&error))?;
    // The first message says that the watch was created, and holds no events.
    message(&mut stream, connection).await?;
    Ok(stream)
}

/// The next message; a watch that the server has ended is a failure.
async fn message(
    stream: &mut WatchStream,
    connection: &Connection,
) -> Result<WatchResponse, Failure> {
    let message = stream.message().await.map_err(|error| connection.failure(&error))?;
    let message = message.ok_or_else(|| Failure::nonsense("the end of a watch"))?;
    if message.compact_revision() > 0 {
        return Err(Failure::compacted(message.compact_revision()));
    }
    if message.canceled() {
        return Err(Failure::watch_ended(message.cancel_reason()));
    }
    Ok(message)
}

/// The revision of the first change of one key after a revision. There must be one.
pub(super) async fn next_change(
    connection: Connection,
    path: &str,
    after: Revision,
) -> Result<Revision, Failure> {
    let mut stream = begin(&connection, path.to_owned(), WatchOptions::new(), after).await?;
    loop {
        let message = message(&mut stream, &connection).await?;
        if let Some(kv) = message.events().first().and_then(etcd_client::Event::kv) {
            return Ok(kv.mod_revision());
        }
    }
}

impl EtcdWatch {
    /// Goes on with a watch that was started.
    pub(super) fn new(stream: WatchStream, connection: Connection, prefix: Prefix) -> EtcdWatch {
        EtcdWatch { stream, connection, prefix, pending: VecDeque::new() }
    }

    fn event(&self, event: &etcd_client::Event) -> Option<Event> {
        let kv = event.kv()?;
        let key = kv.key_str().ok().and_then(Key::parse)?;
        if !self.prefix.contains(&key) {
            return None;
        }
        let revision = kv.mod_revision();
        Some(match event.event_type() {
            EventType::Put => Event::Put(Document { key, value: kv.value().to_vec(), revision }),
            EventType::Delete => Event::Deleted(key, revision),
        })
    }
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<Event, StoreError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            let message = message(&mut self.stream, &self.connection).await.map_err(|failure| {
                let kind = match failure.kind {
                    StoreErrorKind::Invalid => StoreErrorKind::Unavailable,
                    kind => kind,
                };
                let reason = failure.reason;
                StoreError::new(kind, format!("etcd: watch: {} {reason}", self.connection))
            })?;
            let events = message.events().iter().filter_map(|event| self.event(event));
            let events: Vec<_> = events.collect();
            self.pending.extend(events);
        }
    }
}
