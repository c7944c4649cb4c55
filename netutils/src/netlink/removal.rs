//! Removing an interface, and knowing both moments: when it is gone, and when the kernel is done.
//!
//! PERF: `RTM_DELLINK` returns after about 26 ms, because the kernel then waits for RCU. But after
//! 2.5 ms it has announced that the interface is gone: the name is free, its routes are away
//! (`reference/crates-and-floor.md`, "DEL: gone, and done waiting"). What depends on the interface's
//! absence can go on at the announcement; the rest of the call waits on a thread of its own.

use std::sync::Arc;
use std::thread;

use futures::StreamExt;
use nix::libc;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use tokio::sync::oneshot;

use crate::netlink::error::{Cause, NetlinkError};
use crate::netlink::{Netlink, Unsolicited, connect, prepare};
use crate::netns::Netns;

/// `RTMGRP_LINK`: announcements about interfaces, as a bit mask of groups.
const LINK_GROUP: u32 = 1;

/// The rest of a removal: the interface is gone, the kernel still clears up.
///
/// Dropping this lets the kernel finish unwatched. A process that ends before that stays around,
/// dead, until it has finished.
#[derive(Debug)]
#[must_use = "the interface is gone, but the kernel's call may still be running"]
pub struct Removal {
    index: u32,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Known,
    Pending(oneshot::Receiver<Result<(), Cause>>),
}

impl Removal {
    /// Waits until the kernel has finished.
    pub async fn completed(self) -> Result<(), NetlinkError> {
        match self.outcome {
            Outcome::Known => Ok(()),
            Outcome::Pending(outcome) => match outcome.await.unwrap_or(Err(Cause::Closed)) {
                // It was announced, so somebody was quicker: the end of the namespace that the other
                // end was in, for one.
                Err(cause) if cause.errno() == Some(libc::ENODEV) => Ok(()),
                outcome => outcome.map_err(|cause| cannot_remove(self.index, cause)),
            },
        }
    }
}

impl Netlink {
    /// Removes an interface, and with it the other end of a pair; returns as soon as it is gone.
    pub async fn remove_link(&self, index: u32) -> Result<Removal, NetlinkError> {
        let started = || -> Result<_, Cause> {
            // Listening begins before the removal, so the announcement can't be missed.
            let (connection, _, news) = {
                let _visit = self.netns.visit()?;
                connect(LINK_GROUP)?
            };
            Ok((connection, news, spawn_removal(Arc::clone(&self.netns), index)?))
        };
        let (connection, news, mut outcome) =
            started().map_err(|cause| cannot_remove(index, cause))?;
        let gone = async {
            tokio::select! {
                () = self.announced(index, news) => {}
                // Without news there is still the end of the call to wait for.
                () = connection => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            finished = &mut outcome => match finished.unwrap_or(Err(Cause::Closed)) {
                Ok(()) => Ok(Removal { index, outcome: Outcome::Known }),
                Err(cause) => Err(cannot_remove(index, cause)),
            },
            () = gone => Ok(Removal { index, outcome: Outcome::Pending(outcome) }),
        }
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
        std::future::pending().await
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

/// Sends the request from a thread of its own, since the kernel works it off in the sender's call.
fn spawn_removal(
    netns: Arc<Netns>,
    index: u32,
) -> Result<oneshot::Receiver<Result<(), Cause>>, Cause> {
    let (report, outcome) = oneshot::channel();
    thread::Builder::new().name("remove-link".into()).spawn(move || {
        // Nobody listens any more if the caller gave up; the removal stands all the same.
        let _ = report.send(remove(&netns, index));
    })?;
    Ok(outcome)
}

fn remove(netns: &Netns, index: u32) -> Result<(), Cause> {
    netns.enter_for_good()?;
    let socket = Socket::new(NETLINK_ROUTE)?;
    prepare(&socket)?;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::DelLink(
        LinkUnspec::new_with_index(index).build(),
    ));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply)
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
