//! The bytes below HTTP/2: TCP, and TLS where the endpoint asks for it.
//!
//! The transport could do TLS by itself, but then its errors were lost: with TLS 1.3 a server
//! refuses our certificate after the handshake, when the transport only tells that the connection
//! is closed. So the stream is ours, and remembers what it [`Heard`].

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{self, ClientConfig};
use tonic::transport::Uri;
use tower::{BoxError, Service};

use crate::config::Endpoint;

/// Makes streams to one server.
pub(super) struct Dialer {
    http: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What came in over a connection, besides data.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Noted>);

#[derive(Default)]
struct Noted {
    refusal: OnceLock<rustls::Error>,
    first_byte: OnceLock<u8>,
}

impl Heard {
    /// Why the server ended TLS, if it did.
    pub(super) fn refusal(&self) -> Option<&rustls::Error> {
        self.0.refusal.get()
    }

    /// Whether the server began as HTTP/2 servers do: its settings' length begins with a zero.
    pub(super) fn http2(&self) -> bool {
        self.0.first_byte.get() == Some(&0)
    }

    fn nothing(&self) -> bool {
        self.0.first_byte.get().is_none() && self.0.refusal.get().is_none()
    }

    fn note(&self, read: Result<&[u8], &io::Error>) {
        match read {
            Ok(bytes) => {
                if let Some(first) = bytes.first() {
                    self.0.first_byte.get_or_init(|| *first);
                }
            }
            Err(error) => {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
                if let Some(refusal) = inner.cloned() {
                    self.0.refusal.get_or_init(|| refusal);
                }
            }
        }
    }
}

impl Dialer {
    /// A dialer for an endpoint. Where it asks for TLS, its host must be a name or an address.
    pub(super) fn new(
        endpoint: &Endpoint,
        tls: &Arc<ClientConfig>,
    ) -> Result<Dialer, InvalidDnsNameError> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let tls = match endpoint.tls() {
            false => None,
            true => {
                let name = ServerName::try_from(endpoint.host().to_owned())?;
                Some((TlsConnector::from(tls.clone()), name))
            }
        };
        Ok(Dialer { http, tls })
    }

    /// What the transport calls for a stream.
    pub(super) fn service(
        &self,
        heard: &Heard,
    ) -> impl Service<Uri, Response = TokioIo<Stream>, Error = BoxError, Future: Send> + Send + use<>
    {
        let (http, tls, heard) = (self.http.clone(), self.tls.clone(), heard.clone());
        tower::service_fn(move |uri: Uri| dial(http.clone(), uri, tls.clone(), heard.clone()))
    }
}

async fn dial(
    mut http: HttpConnector,
    uri: Uri,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    heard: Heard,
) -> Result<TokioIo<Stream>, BoxError> {
    std::future::poll_fn(|context| http.poll_ready(context)).await?;
    let tcp = http.call(uri).await?.into_inner();
    let inner: Box<dyn Bytes> = match tls {
        None => Box::new(tcp),
        Some((connector, name)) => Box::new(connector.connect(name, tcp).await?),
    };
    Ok(TokioIo::new(Stream { inner, heard, failed: None }))
}

/// What a stream reads from and writes to.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A stream that notes what it hears.
pub(super) struct Stream {
    inner: Box<dyn Bytes>,
    heard: Heard,
    /// A write that failed before anything was heard.
    failed: Option<io::Error>,
}

impl Stream {
    /// Passes a write's outcome on. Where it fails before the server said anything, the server's
    /// reason is still under way or unread: it is waited for first, and the end comes soon.
    fn written<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let error = match (self.failed.take(), outcome) {
            (Some(error), _) => error,
            (None, Poll::Ready(Err(error))) if self.heard.nothing() => error,
            (None, outcome) => return outcome,
        };
        let mut space = [0; 1024];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
            Poll::Pending => {
                self.failed = Some(error);
                return Poll::Pending;
            }
            Poll::Ready(Err(reason)) => self.heard.note(Err(&reason)),
            Poll::Ready(Ok(())) => {}
        }
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.heard.note(outcome.as_ref().map(|()| read));
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.written(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
