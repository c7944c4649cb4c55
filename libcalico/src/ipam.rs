//! IP address management (`reference/ipam.md`): blocks of addresses that belong to hosts, handles
//! that remember who has what, in upstream's format, so that upstream's components and ours
//! allocate out of the same blocks at the same time.
//!
//! Decisions are pure: an operation looks at what was read (`view`) and answers what to read next
//! or what to commit (`stage`); no clock, chance or I/O but what is passed in. The shell
//! (`operation`, `allocator`) reads, commits, and after a lost race feeds the documents that the
//! store answered into the next step. Where upstream needs a sequence of writes, ours are one commit
//! (15.4), so nothing is ever half-done; what upstream left half-done is repaired on the way (5.3).
//!
//! | module | what |
//! |---|---|
//! | [`block`] [`affinity`] [`handle`] [`config`] | the stored objects and what can be done inside one |
//! | [`pool`] [`reservation`] [`walk`] | which pools, which addresses, in which order |
//! | `assign` `specific` `release` `claim` `surrender` `owner` | the operations |
//! | `utilization` [`check`] [`repair`] | how full the pools are, whether all is consistent, and how it becomes so |

mod address;
pub mod affinity;
mod allocator;
mod assign;
pub mod block;
pub mod check;
mod claim;
pub mod config;
mod error;
pub mod handle;
mod operation;
mod owner;
pub mod pool;
mod release;
pub mod repair;
mod request;
pub mod reservation;
mod specific;
mod stage;
mod surrender;
mod timestamp;
mod utilization;
mod view;
pub mod walk;

pub use allocator::Allocator;
pub use assign::{Explanation, HowTaken, NextAddress, PoolOffer, PoolRefusal};
pub use block::{Block, BlockError, HostReserved, ReleaseGuard};
pub use claim::Claimed;
pub use config::IpamConfig;
pub use error::{IpamError, IpamErrorKind, PoolReport, Shortfall};
pub use owner::{AssignmentAttributes, Attributes, Owner, OwnerUpdates, SideUpdate};
pub use pool::{IntendedUse, Labels, PassedOver, Pool, PoolRef};
pub use release::{Claim, ReleaseOutcome, possible_block_queries, release_queries};
pub use request::{AssignIp, Assigned, Assignment, AutoAssign, Companion, FamilyResult};
pub use utilization::{BlockUtilization, PoolUtilization, Usage, Utilization};
