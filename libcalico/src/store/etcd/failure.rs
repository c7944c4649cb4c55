//! Why a request failed, and what to do next, from the errors of the client, of HTTP/2 and of TLS.

use std::error::Error;
use std::io;

use etcd_client::Error as ClientError;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError};
use tonic::Code;

use super::dial::Heard;
use super::server::Server;
use crate::store::StoreErrorKind;

/// A failed request to one server.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What kind of failure.
    pub(super) kind: StoreErrorKind,
    /// What happened, without the server's name and without secrets.
    pub(super) reason: String,
    /// What may help.
    pub(super) next: Next,
    /// Whether the server may have carried the request out.
    pub(super) sent: bool,
}

/// What may help after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: every server would say the same.
    Stop,
    /// Another server.
    Server,
    /// This server or another one, a little later: the cluster is busy with itself.
    Later,
}

/// What is wrong with a certificate, and whose.
struct Refusal {
    kind: StoreErrorKind,
    reason: String,
}

impl Failure {
    fn new(kind: StoreErrorKind, next: Next, reason: impl Into<String>) -> Failure {
        Failure { kind, reason: reason.into(), next, sent: false }
    }

    /// The server gave no answer in its time.
    pub(super) fn silent() -> Failure {
        let silent = "gave no answer";
        Failure { sent: true, ..Failure::new(StoreErrorKind::Unavailable, Next::Server, silent) }
    }

    /// The server didn't accept a connection in its time.
    pub(super) fn no_connection(limit: std::time::Duration) -> Failure {
        let reason = format!("accepted no connection within {} ms", limit.as_millis());
        Failure::new(StoreErrorKind::Unavailable, Next::Server, reason)
    }

    /// The server answered what no etcd answers.
    pub(super) fn nonsense(what: &str) -> Failure {
        let reason = format!("gave {what}: is it etcd?");
        Failure { sent: true, ..Failure::new(StoreErrorKind::Unavailable, Next::Server, reason) }
    }

    /// What a watch wants is no longer kept.
    pub(super) fn compacted(oldest: i64) -> Failure {
        let reason = format!("keeps changes only from revision {oldest} on: list again");
        Failure::new(StoreErrorKind::Compacted, Next::Stop, reason)
    }

    /// The server ended a watch.
    pub(super) fn watch_ended(why: &str) -> Failure {
        let reason = format!("ended the watch: {why}");
        Failure::new(StoreErrorKind::Unavailable, Next::Server, reason)
    }

    /// A connection that wasn't made.
    pub(super) fn connecting(error: &(dyn Error + 'static), server: &Server) -> Failure {
        if let Some(refusal) = find_tls_refusal(error, server) {
            return Failure::new(refusal.kind, Next::Server, refusal.reason);
        }
        let reason = match io_error(error) {
            Some(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "refused the connection".to_owned(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    if server.endpoint.tls() =>
                {
                    "closed the connection during the TLS handshake; if it doesn't speak TLS, write \
                     http:// in etcd_endpoints"
                        .to_owned()
                }
                _ => format!("can't be reached: {error}"),
            },
            None => format!("can't be reached: {}", innermost(error)),
        };
        Failure::new(StoreErrorKind::Unavailable, Next::Server, reason)
    }

    /// A request that failed.
    pub(super) fn requesting(error: &ClientError, server: &Server, heard: &Heard) -> Failure {
        let status = match error {
            ClientError::GRpcStatus(status) => status,
            ClientError::TransportError(error) => {
                let failure = Failure::connecting(error, server);
                return Failure { sent: !never_left(error), ..failure };
            }
            other => return Failure::nonsense(&format!("no usable answer ({other})")),
        };
        if let Some(source) = status.source() {
            // With TLS 1.3 our certificate is refused only after the handshake, and the request
            // that was waiting learns just that the connection is gone.
            let refusal = heard.refusal().map(|error| tls_refusal(error, server));
            if let Some(refusal) = refusal.or_else(|| find_tls_refusal(source, server)) {
                return Failure::new(refusal.kind, Next::Server, refusal.reason);
            }
            if never_left(source) {
                return Failure::connecting(source, server);
            }
            let hint = match server.endpoint.tls() {
                false if !heard.http2() => "; if it speaks TLS, write https:// in etcd_endpoints",
                _ => "",
            };
            let reason = format!("closed the connection ({}){hint}", innermost(source));
            let failure = Failure::new(StoreErrorKind::Unavailable, Next::Server, reason);
            return Failure { sent: true, ..failure };
        }
        Failure::said(status.code(), status.message(), server)
    }

    /// What the server itself said.
    fn said(code: Code, message: &str, server: &Server) -> Failure {
        let user = match &server.user {
            Some(user) => format!("for user {user:?}"),
            None => "without a user".to_owned(),
        };
        let has = |text: &str| message.contains(text);
        let (kind, next, reason) = match code {
            Code::InvalidArgument if has("revision in header is old") => {
                (StoreErrorKind::Unavailable, Next::Later, message.to_owned())
            }
            Code::InvalidArgument if has("authentication failed") => {
                let reason =
                    format!("refused the password {user}: check etcd_username and etcd_password");
                (StoreErrorKind::Unauthorized, Next::Stop, reason)
            }
            Code::InvalidArgument if has("user name") => {
                let reason = "asks for a user: set etcd_username and etcd_password".to_owned();
                (StoreErrorKind::Unauthorized, Next::Stop, reason)
            }
            Code::PermissionDenied | Code::Unauthenticated => {
                let reason = format!("refused the request {user}: {message}");
                (StoreErrorKind::Unauthorized, Next::Stop, reason)
            }
            Code::OutOfRange if has("compacted") => {
                (StoreErrorKind::Compacted, Next::Stop, format!("{message}: list again"))
            }
            Code::ResourceExhausted if has("too many requests") => {
                (StoreErrorKind::Unavailable, Next::Later, message.to_owned())
            }
            Code::ResourceExhausted if has("space exceeded") => {
                let reason = format!("{message}: compact and defragment it, then disarm the alarm");
                (StoreErrorKind::Unavailable, Next::Stop, reason)
            }
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::OutOfRange => {
                (StoreErrorKind::Invalid, Next::Stop, format!("refused the request: {message}"))
            }
            Code::Unimplemented => {
                let reason = format!("doesn't know the request ({message}): is it etcd?");
                (StoreErrorKind::Unavailable, Next::Server, reason)
            }
            // The cluster is electing a leader, or overloaded. The fate of a write is open.
            _ if message.starts_with("etcdserver:") => {
                let failure = Failure::new(StoreErrorKind::Unavailable, Next::Later, message);
                return Failure { sent: true, ..failure };
            }
            code => {
                let reason = format!("failed: {message} ({code:?})");
                let failure = Failure::new(StoreErrorKind::Unavailable, Next::Server, reason);
                return Failure { sent: true, ..failure };
            }
        };
        Failure::new(kind, next, reason)
    }
}

/// Whether an etcd without authentication said that there is nobody to log in to.
pub(super) fn needs_no_login(error: &ClientError) -> bool {
    matches!(error, ClientError::GRpcStatus(status)
        if status.code() == Code::FailedPrecondition
            && status.message().contains("authentication is not enabled"))
}

/// The errors below an error. What an [`io::Error`] carries isn't in its `source`, so it is looked
/// into.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Whether the request wasn't sent, because there was no connection to send it over.
fn never_left(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<tonic::ConnectError>())
}

fn find_tls_refusal(error: &(dyn Error + 'static), server: &Server) -> Option<Refusal> {
    let error = chain(error).find_map(|error| error.downcast_ref::<rustls::Error>())?;
    Some(tls_refusal(error, server))
}

/// What TLS found wrong: with the server's certificate, or with ours.
fn tls_refusal(error: &rustls::Error, server: &Server) -> Refusal {
    let reason = match error {
        rustls::Error::InvalidCertificate(error) => their_certificate(error, server),
        rustls::Error::AlertReceived(alert) => match server.certificate() {
            None => format!(
                "asks for a client certificate ({alert:?}): set etcd_cert_file and etcd_key_file"
            ),
            Some(certificate) => format!(
                "refused our certificate {certificate} ({alert:?}{}): check etcd_cert_file",
                alert_hint(*alert)
            ),
        },
        rustls::Error::InvalidMessage(_) => {
            let reason = "doesn't speak TLS: write http:// in etcd_endpoints if that is meant";
            return Refusal { kind: StoreErrorKind::Unavailable, reason: reason.to_owned() };
        }
        other => format!("failed the TLS handshake: {other}"),
    };
    Refusal { kind: StoreErrorKind::Unauthorized, reason }
}

fn their_certificate(error: &CertificateError, server: &Server) -> String {
    use CertificateError as Wrong;
    let host = server.endpoint.host();
    match error {
        Wrong::UnknownIssuer | Wrong::BadSignature => format!(
            "has a certificate that the authority in {} didn't sign: check etcd_ca_cert_file",
            server.authority()
        ),
        Wrong::Expired | Wrong::ExpiredContext { .. } => {
            "has a certificate that has expired: renew the server's certificate".to_owned()
        }
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
            "has a certificate that isn't valid yet: check this host's clock".to_owned()
        }
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
            format!("has a certificate that isn't for {host}: use a name from it in etcd_endpoints")
        }
        other => format!("has a certificate that can't be accepted: {other}"),
    }
}

/// What an alert about our certificate most likely means.
fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateExpired => ": it has expired",
        AlertDescription::UnknownCA => ": its authority isn't the one that the server trusts",
        AlertDescription::BadCertificate => ": expired, or not of the authority it trusts",
        _ => "",
    }
}
