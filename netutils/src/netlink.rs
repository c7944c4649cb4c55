//! One route socket of one network namespace.
//!
//! A netlink socket belongs to the namespace in which it was *opened*, whoever uses it afterwards.
//! So the thread goes in, opens, and comes back, and one thread then works in several namespaces.
//!
//! The crate `rtnetlink` frames, sends and pairs the messages. The requests are our own, because its
//! own ones drop three things that we need: the kernel's text about an error (extended ACK), the mark
//! of a dump that was interrupted, and the difference between "done" and "connection lost".

pub(crate) mod address;
pub(crate) mod conf;
pub(crate) mod error;
pub(crate) mod link;
pub(crate) mod neighbour;
pub(crate) mod pair;
pub(crate) mod removal;
pub(crate) mod route;
pub(crate) mod rule;

use std::io;
use std::sync::Arc;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{Stream, StreamExt};
use rtnetlink::Handle;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket};

use crate::netlink::error::{Cause, NetlinkError};
use crate::netns::Netns;

/// How often an interrupted dump is read in all. Measured: of 62 interfaces with 500 changes a second,
/// every second reading is interrupted, so that five in a row happen.
const DUMP_ATTEMPTS: u32 = 16;

/// A route socket, bound for ever to the namespace that it was opened in.
///
/// Clones share the socket. All requests need the tokio runtime in which it was opened.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
    netns: Arc<Netns>,
}

/// How far an address or a route reaches. IPv6 routes always read back as [`Scope::Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// Everywhere.
    #[default]
    Universe,
    /// The attached link only.
    Link,
    /// This host only.
    Host,
    /// Another number of `rtm_scope`.
    Other(u8),
}

impl From<u8> for Scope {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Universe,
            253 => Self::Link,
            254 => Self::Host,
            other => Self::Other(other),
        }
    }
}

impl From<Scope> for u8 {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Universe => 0,
            Scope::Link => 253,
            Scope::Host => 254,
            Scope::Other(number) => number,
        }
    }
}

type Connection = rtnetlink::proto::Connection<RouteNetlinkMessage>;
type Unsolicited = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled, like every tokio socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let opened = || -> Result<Self, Cause> { Self::open_here(Netns::current()?) };
        opened().map_err(|cause| cause.of("open", "a netlink socket"))
    }

    /// Opens a socket in another namespace: goes in, opens, and comes back.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O enabled, like every tokio socket.
    pub fn open_in(netns: &Netns) -> Result<Self, NetlinkError> {
        let opened = || -> Result<Self, Cause> {
            let _visit = netns.visit()?;
            Self::open_here(netns.try_clone()?)
        };
        opened().map_err(|cause| {
            cause.of("open", format_args!("a netlink socket in {}", netns.path().display()))
        })
    }

    fn open_here(netns: Netns) -> Result<Self, Cause> {
        // Nothing is subscribed, so no news will come and nobody needs to listen.
        let (connection, handle, _) = connect(0)?;
        tokio::spawn(connection);
        Ok(Self { handle, netns: Arc::new(netns) })
    }

    /// The namespace that the socket belongs to.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Sends one request and returns what the kernel answered besides the acknowledgement.
    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Cause> {
        answers_of(self.begin(message, flags)?).await
    }

    /// Puts a request in the socket's queue: whatever is asked later by this socket, and be it in
    /// another task, the kernel hears later.
    fn begin(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<impl Replies + use<>, Cause> {
        fault_points::reach!("netlink.request");
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.handle.clone().request(request).map_err(|_| Cause::Closed)
    }

    /// Reads a whole table, again if it changed while it was read.
    async fn dump<T>(
        &self,
        message: RouteNetlinkMessage,
        mut pick: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Cause> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(entries) = self.dump_once(message.clone(), &mut pick).await? {
                return Ok(entries);
            }
        }
        Err(Cause::Interrupted { attempts: DUMP_ATTEMPTS })
    }

    /// One reading of a table; none if it changed meanwhile.
    async fn dump_once<T>(
        &self,
        message: RouteNetlinkMessage,
        pick: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Cause> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut replies = self.handle.clone().request(request).map_err(|_| Cause::Closed)?;
        let mut entries = Vec::new();
        let mut interrupted = false;
        // The replies are read to their end even when they are of no use: a request that is given up
        // half way would leave its rest to be complained about.
        while let Some(reply) = replies.next().await {
            interrupted |= reply.header.flags & NLM_F_DUMP_INTR != 0;
            let failure = match reply.payload {
                NetlinkPayload::InnerMessage(entry) => {
                    entries.extend(pick(entry));
                    continue;
                }
                NetlinkPayload::Error(verdict) => Cause::of_reply(reply.header.flags, &verdict),
                NetlinkPayload::Done(end) => Cause::of_dump_end(&end),
                _ => continue,
            };
            return match failure {
                Some(cause) if cause.errno() == Some(nix::libc::EINTR) => Ok(None),
                Some(cause) => Err(cause),
                None if interrupted => Ok(None),
                None => Ok(Some(entries)),
            };
        }
        Err(Cause::Closed)
    }
}

/// The kernel's messages that answer a request.
trait Replies: Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Unpin + 'static {}

impl<S> Replies for S where
    S: Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Unpin + 'static
{
}

/// What the kernel answered besides the acknowledgement.
async fn answers_of(mut replies: impl Replies) -> Result<Vec<RouteNetlinkMessage>, Cause> {
    let mut answers = Vec::new();
    while let Some(reply) = replies.next().await {
        match reply.payload {
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            NetlinkPayload::Error(verdict) => {
                fault_points::reach!("netlink.answered");
                return match Cause::of_reply(reply.header.flags, &verdict) {
                    Some(cause) => Err(cause),
                    None => Ok(answers),
                };
            }
            _ => {}
        }
    }
    Err(Cause::Closed)
}

/// Opens a route socket in the calling thread's namespace, subscribed to `groups` (a bit mask). The
/// connection has to be polled for handle and news to work.
fn connect(groups: u32) -> io::Result<(Connection, Handle, Unsolicited)> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    prepare(socket.socket_ref())?;
    if groups != 0 {
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    }
    let (mut connection, handle, unsolicited) = rtnetlink::from_socket(socket);
    connection.set_forward_ack(true);
    connection.set_forward_done(true);
    Ok((connection, handle, unsolicited))
}

/// Asks the kernel for texts with its errors and for filtering of dumps. Both only help, so kernels
/// that lack them (before 4.12 and 4.20) are served all the same: every dump is filtered here as well.
fn prepare(socket: &rtnetlink::sys::Socket) -> io::Result<()> {
    for outcome in [socket.set_ext_ack(true), socket.set_netlink_get_strict_chk(true)] {
        match outcome {
            Err(error) if error.raw_os_error() != Some(nix::libc::ENOPROTOOPT) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
