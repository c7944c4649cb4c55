//! One server and the connections to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, KvClient, Txn, TxnResponse, WatchClient};
use tokio_rustls::rustls::ClientConfig;
use tonic::transport::Endpoint as Target;

use super::dial::{Dialer, Heard};
use super::failure::{self, Failure};
use crate::config::{Endpoint, EtcdConfig};
use crate::store::{StoreError, StoreErrorKind};

/// The largest answer that is taken: a list of many large blocks passes the client's 4 MiB.
const MAX_ANSWER: usize = 512 << 20;

/// A connection that a watch sleeps on is probed this often, and given up without an answer after
/// the second time: upstream's values.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// One server, and how to reach it.
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    /// The user to log in as, for messages.
    pub(super) user: Option<String>,
    /// The name of our certificate's file, for messages.
    certificate: Option<String>,
    /// The name of the authorities' file, for messages.
    authority: Option<String>,
    target: Target,
    dialer: Dialer,
    options: ConnectOptions,
    limit: Duration,
}

impl Server {
    /// Prepares the connections to a server.
    pub(super) fn new(
        endpoint: &Endpoint,
        config: &EtcdConfig,
        tls: &Arc<ClientConfig>,
    ) -> Result<Server, StoreError> {
        let invalid = |cause: &dyn fmt::Display| {
            let message = format!("etcd at {endpoint}: can't be set up: {cause}");
            StoreError::new(StoreErrorKind::Invalid, message)
        };
        let target = Target::from_shared(endpoint.to_string()).map_err(|error| invalid(&error))?;
        let uri = target.uri().clone();
        // TLS is ours (see `dial`), so the transport's own must think that there is none; the
        // requests name the real scheme all the same.
        let target = Target::from_shared(endpoint.dialled())
            .map_err(|error| invalid(&error))?
            .origin(uri)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1);
        let dialer = Dialer::new(endpoint, tls).map_err(|error| invalid(&error))?;
        let mut options = anonymous();
        if let Some((user, password)) = &config.user {
            options = options.with_user(user, password.expose()).with_auto_token_refresh(true);
        }
        Ok(Server {
            endpoint: endpoint.clone(),
            user: config.user.as_ref().map(|(user, _)| user.clone()),
            certificate: config.identity.as_ref().map(|(cert, _)| cert.to_string()),
            authority: config.ca.as_ref().map(ToString::to_string),
            target,
            dialer,
            options,
            limit: config.connect_timeout,
        })
    }

    /// Connects and logs in. TLS, the login and HTTP/2 are under the same limit.
    pub(super) async fn connect(self: Arc<Server>) -> Result<Connection, Failure> {
        let heard = Heard::default();
        let connecting = async {
            let channel = self.target.connect_with_connector(self.dialer.service(&heard)).await;
            let channel = channel.map_err(|error| Failure::connecting(&error, &self))?;
            self.log_in(channel, &heard).await
        };
        let client = tokio::time::timeout(self.limit, connecting)
            .await
            .unwrap_or_else(|_| Err(Failure::no_connection(self.limit)))?;
        Ok(Connection(Arc::new(Link {
            kv: client.kv_client().max_decoding_message_size(MAX_ANSWER),
            watch: client.watch_client().max_decoding_message_size(MAX_ANSWER),
            server: self,
            heard,
        })))
    }

    async fn log_in(
        &self,
        channel: tonic::transport::Channel,
        heard: &Heard,
    ) -> Result<Client, Failure> {
        let named = Channel::Tonic(channel.clone());
        let client = match Client::from_channel(named, Some(self.options.clone())).await {
            // COMPAT: upstream's client goes on without a user where none is asked for.
            Err(error) if failure::needs_no_login(&error) => {
                let options = Some(anonymous());
                Client::from_channel(Channel::Tonic(channel), options).await
            }
            client => client,
        };
        // Nothing but the login was sent yet.
        let unsent = |failure| Failure { sent: false, ..failure };
        client.map_err(|error| unsent(Failure::requesting(&error, self, heard)))
    }

    /// The name of the file with our certificate.
    pub(super) fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// The name of the file with the authorities' certificates.
    pub(super) fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or("etcd_ca_cert_file")
    }
}

/// Without a leader the request fails at once, instead of waiting for the server's own limit.
fn anonymous() -> ConnectOptions {
    ConnectOptions::new().with_require_leader(true)
}

/// A connection to a server. Clones share it.
#[derive(Clone)]
pub(super) struct Connection(Arc<Link>);

struct Link {
    kv: KvClient,
    watch: WatchClient,
    server: Arc<Server>,
    heard: Heard,
}

impl Connection {
    /// Runs a transaction.
    pub(super) async fn txn(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        self.0.kv.clone().txn(txn).await.map_err(|error| self.failure(&error))
    }

    /// Why a request over this connection failed.
    pub(super) fn failure(&self, error: &etcd_client::Error) -> Failure {
        Failure::requesting(error, &self.0.server, &self.0.heard)
    }

    /// What starts watches over it.
    pub(super) fn watch_client(&self) -> WatchClient {
        self.0.watch.clone()
    }

    /// The server at its other end.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.0.server
    }

    /// Whether both are the same connection.
    pub(super) fn is(&self, other: &Connection) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.server.endpoint.fmt(f)
    }
}
