//! Linux networking for a CNI plugin, and nothing of CNI or of Calico.
//!
//! - [`Netns`]: a network namespace, opened and checked; work can be run inside of it.
//! - [`Netlink`]: one route socket of one namespace: interfaces, addresses, routes, neighbours.
//! - [`sysctl`]: the kernel's settings under `/proc/sys`, of the calling thread's namespace.
//! - [`Mac`]: a hardware address, and the link-local address that follows from it.
//!
//! Two facts shape the whole crate (`reference/crates-and-floor.md`, sections 0 and 4): an interface
//! that is *moved* between namespaces costs 27 ms under the kernel's global lock, so both ends of a
//! pair are *born* where they belong; and the removal of one takes 26 ms, of which all but 2.5 ms
//! come after it is gone, so [`Netlink::remove_link`] reports both moments.

mod mac;
mod netlink;
mod netns;
pub mod sysctl;

pub use mac::{Mac, MacError};
pub use netlink::address::{Address, DuplicateDetection};
pub use netlink::conf::Ipv4Conf;
pub use netlink::error::{Cause, NetlinkError, Side};
pub use netlink::link::Link;
pub use netlink::neighbour::Neighbour;
pub use netlink::pair::{CreatedPair, Device, End, Pair};
pub use netlink::removal::Removal;
pub use netlink::route::{Family, Route, RouteFilter, RouteKind, protocol, table};
pub use netlink::{Netlink, Scope};
pub use netns::{Netns, NetnsError, NetnsId};
