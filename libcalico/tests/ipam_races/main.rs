//! IPAM under interleaving: processes of ours and of upstream's race on one small pool, one request
//! to the store at a time, and after each write the invariants of `reference/ipam.md` 13.1 must
//! hold.
//!
//! | module | what |
//! |---|---|
//! | `upstream` | upstream's operations, with its order of writes |
//! | `actor`, `race`, `table` | who races, and the order that decides everything |
//! | `monitor` | what must hold |
//! | `orders` | small races, in every order |
//! | `crashes` | upstream killed after each of its writes, and what ours make of it |
//! | `seeds` | larger races, in random orders |
//! | `fleet` | many processes in real parallel, on every store |

mod actor;
mod crashes;
#[path = "../support/etcd.rs"]
mod etcd_server;
mod explore;
mod fleet;
mod monitor;
mod orders;
mod race;
mod seeds;
mod table;
mod upstream;
