//! Removing an interface, and knowing both moments: when it is gone, and when the kernel is done.
//!
//! PERF: `RTM_DELLINK` returns after about 26 ms, because the kernel then waits for RCU. But after
//! 2.5 ms it has announced that the interface is gone: the name is free, its routes are away
//! (`reference/crates-and-floor.md`, "DEL: gone, and done waiting"). What depends on the interface's
//! absence goes on at the announcement. The kernel works a request off in its sender's call, and no
//! process ends before its threads are back, so the sender is a process that nobody waits for.

mod sender;

use std::future::pending;

use futures::StreamExt;
use nix::libc;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::netlink::error::{Cause, NetlinkError};
use crate::netlink::{Netlink, Unsolicited, connect, prepare};

/// `RTMGRP_LINK`: announcements about interfaces, as a bit mask of groups.
const LINK_GROUP: u32 = 1;

/// The rest of a removal: the interface is gone, the kernel still clears up.
///
/// Dropping this lets the kernel finish unwatched, beyond the end of this process.
#[derive(Debug)]
pub struct Removal {
    index: u32,
    /// None if the kernel has finished already.
    reply: Option<pipe::Receiver>,
}

impl Removal {
    /// Waits until the kernel has finished.
    pub async fn completed(self) -> Result<(), NetlinkError> {
        let Some(reply) = self.reply else { return Ok(()) };
        match verdict(reply).await {
            // It was announced, so somebody was quicker: the end of the namespace that the other
            // end was in, for one.
            Err(cause) if cause.errno() == Some(libc::ENODEV) => Ok(()),
            outcome => outcome.map_err(|cause| cannot_remove(self.index, cause)),
        }
    }
}

impl Netlink {
    /// Removes an interface, and with it the other end of a pair; returns as soon as it is gone.
    pub async fn remove_link(&self, index: u32) -> Result<Removal, NetlinkError> {
        fault_points::reach!("link.remove");
        let started = || -> Result<_, Cause> {
            let _visit = self.netns.visit()?;
            // Listening begins before the removal, so the announcement can't be missed.
            let (connection, _, news) = connect(LINK_GROUP)?;
            let socket = Socket::new(NETLINK_ROUTE)?;
            prepare(&socket)?;
            Ok((connection, news, sender::send(&socket, &request(index))))
        };
        let (connection, news, sent) = started().map_err(|cause| cannot_remove(index, cause))?;
        let mut reply = match sent {
            Ok(reply) => reply,
            Err(error) => {
                // Too many processes, perhaps. It also goes the slow way.
                tracing::debug!("no process to remove interface {index}: {error}");
                let message = RouteNetlinkMessage::DelLink(message(index));
                let removed = self.request(message, 0).await;
                removed.map_err(|cause| cannot_remove(index, cause))?;
                return Ok(Removal { index, reply: None });
            }
        };
        let gone = async {
            tokio::select! {
                () = self.announced(index, news) => {}
                // Without news there is still the end of the call to wait for.
                () = connection => pending().await,
            }
        };
        let removed = tokio::select! {
            biased;
            finished = verdict(&mut reply) => match finished {
                Ok(()) => Ok(Removal { index, reply: None }),
                Err(cause) => Err(cannot_remove(index, cause)),
            },
            () = gone => Ok(Removal { index, reply: Some(reply) }),
        };
        fault_points::reach!("link.removed");
        removed
    }

    /// Returns once the kernel has announced the end of the interface; never, if there are no news.
    async fn announced(&self, index: u32, mut news: Unsolicited) {
        while let Some((message, _)) = news.next().await {
            let gone = match message.payload {
                NetlinkPayload::InnerMessage(message) => is_end_of(index, &message),
                // Too much news, some were dropped: the one waited for may have been among them.
                NetlinkPayload::Overrun(_) => matches!(self.link_by_index(index).await, Ok(None)),
                _ => false,
            };
            if gone {
                return;
            }
        }
        pending().await
    }
}

/// Whether the message announces the end of the interface. A bridge announces with its own family
/// that an interface left it, which is not the end.
fn is_end_of(index: u32, message: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::DelLink(link) = message else { return false };
    link.header.index == index && link.header.interface_family == AddressFamily::Unspec
}

fn cannot_remove(index: u32, cause: Cause) -> NetlinkError {
    cause.of("remove", format_args!("interface {index}"))
}

fn message(index: u32) -> LinkMessage {
    LinkUnspec::new_with_index(index).build()
}

fn request(index: u32) -> Vec<u8> {
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelLink(message(index)));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// What the kernel said to the request, when it was done with it.
async fn verdict(mut reply: impl AsyncReadExt + Unpin) -> Result<(), Cause> {
    let mut bytes = Vec::new();
    reply.read_to_end(&mut bytes).await?;
    if bytes.is_empty() {
        return Err(Cause::Closed);
    }
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes)
        .map_err(|_| Cause::Incomplete)?;
    match reply.payload {
        NetlinkPayload::Error(verdict) => {
            Cause::of_reply(reply.header.flags, &verdict).map_or(Ok(()), Err)
        }
        _ => Err(Cause::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_the_interface_is_its_end() {
        let own = || LinkUnspec::new_with_index(7);
        assert!(is_end_of(7, &RouteNetlinkMessage::DelLink(own().build())));
        for other in [
            RouteNetlinkMessage::NewLink(own().build()),
            RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(8).build()),
            RouteNetlinkMessage::DelLink(own().interface_family(AddressFamily::Bridge).build()),
        ] {
            assert!(!is_end_of(7, &other), "{other:?}");
        }
    }
}
