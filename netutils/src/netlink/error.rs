//! What goes wrong with a netlink request, in the kernel's own words where it has some.

use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::libc;
use rtnetlink::packet_core::{
    DoneMessage, ErrorMessage, NLM_F_ACK_TLVS, NLM_F_CAPPED, NlasIterator, parse_string,
};

use crate::netns::NetnsError;

/// A request that failed: what was to be done, to what, and why it was not.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}: {cause}")]
pub struct NetlinkError {
    /// The verb: `create`, `add`, `remove`, …
    pub operation: &'static str,
    /// The thing: `veth pair cali1 and eth0`, `route 10.0.0.1/32 dev 5`, …
    pub object: String,
    /// The reason.
    #[source]
    pub cause: Cause,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The kernel refused.
    #[error("{}", Verdict { errno: *errno, text: text.as_deref() })]
    Kernel {
        /// The error number, positive.
        errno: i32,
        /// The kernel's explanation, if it gave one.
        text: Option<String>,
    },
    /// No interface can have this name.
    #[error(
        "{name:?} is no name for an interface; give it 1 to 15 bytes without white space, '/', ':' or '%'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A new interface can't have this name, since another one bears it.
    #[error("the name {name} is already taken in the {side}'s network namespace")]
    NameTaken {
        /// The name.
        name: String,
        /// Which end of the pair was to have it.
        side: Side,
    },
    /// The table changed during every reading of it.
    #[error("the table changed during each of {attempts} readings")]
    Interrupted {
        /// How often it was read.
        attempts: u32,
    },
    /// The kernel acknowledged, but its answer lacks what was asked for.
    #[error("the kernel's answer is incomplete")]
    Incomplete,
    /// The connection to the kernel ended before the answer.
    #[error("the netlink connection was lost")]
    Closed,
    /// The socket could not be opened or used, or no thread could be started.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
}

/// An end of a pair of interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that stays with the host.
    Host,
    /// The end that the container sees.
    Container,
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Host => "host",
            Self::Container => "container",
        })
    }
}

impl NetlinkError {
    /// The error number of the kernel, if it was the kernel who refused.
    pub fn errno(&self) -> Option<i32> {
        self.cause.errno()
    }

    /// The thing exists already.
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }

    /// The thing does not exist: no such interface, route, address or table.
    pub fn is_not_found(&self) -> bool {
        let absent = [libc::ENOENT, libc::ENODEV, libc::ESRCH, libc::ENXIO, libc::EADDRNOTAVAIL];
        self.errno().is_some_and(|errno| absent.contains(&errno))
    }

    /// The interface does not exist.
    pub fn is_no_device(&self) -> bool {
        self.errno().is_some_and(|errno| [libc::ENODEV, libc::ENXIO].contains(&errno))
    }

    /// The kernel does not know this kind of thing.
    pub fn is_unsupported(&self) -> bool {
        self.errno() == Some(libc::EOPNOTSUPP)
    }
}

impl Cause {
    /// The error number, positive.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::NameTaken { .. } => Some(libc::EEXIST),
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }

    /// The error that this cause is the reason of.
    pub(crate) fn of(self, operation: &'static str, object: impl fmt::Display) -> NetlinkError {
        NetlinkError { operation, object: object.to_string(), cause: self }
    }

    /// What the answer to a request says; nothing if it says yes.
    pub(super) fn of_reply(flags: u16, reply: &ErrorMessage) -> Option<Self> {
        let errno = reply.code?.get().saturating_abs();
        Some(Self::Kernel { errno, text: text_of_reply(flags, &reply.header) })
    }

    /// What the end of a dump says; nothing if all went well.
    pub(super) fn of_dump_end(end: &DoneMessage) -> Option<Self> {
        (end.code < 0).then(|| Self::Kernel {
            errno: end.code.saturating_abs(),
            text: text_among(&end.extended_ack),
        })
    }
}

/// Length of `struct nlmsghdr`, with which every echo of a request begins.
const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation.
const TEXT: u16 = 1;

/// The explanation in an answer: behind the request's header, and behind the whole request unless
/// the kernel left its body out.
fn text_of_reply(flags: u16, echo: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let length = match flags & NLM_F_CAPPED {
        0 => u32::from_ne_bytes(*echo.first_chunk()?) as usize,
        _ => HEADER,
    };
    text_among(echo.get(length.checked_next_multiple_of(4)?..)?)
}

fn text_among(attributes: &[u8]) -> Option<String> {
    NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == TEXT)
        .and_then(|attribute| parse_string(attribute.value()).ok())
        .filter(|text| !text.is_empty())
}

/// The kernel's refusal for people: its explanation if there is one, and always the error's name.
struct Verdict<'a> {
    errno: i32,
    text: Option<&'a str>,
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = Errno::from_raw(self.errno);
        write!(out, "{}", errno.desc().to_lowercase())?;
        match errno {
            Errno::UnknownErrno => write!(out, " ({})", self.errno)?,
            named => write!(out, " ({named:?})")?,
        }
        match self.text {
            Some(text) => write!(out, ", the kernel says: {}", text.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
