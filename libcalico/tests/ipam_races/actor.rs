//! The actors of a race: processes of ours or of upstream's on a host, each with what it does.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use libcalico::ipam::{
    Allocator, AssignIp, Assigned, AutoAssign, HostReserved, IntendedUse, IpamError, IpamErrorKind,
    ReleaseGuard,
};
use libcalico::store::{AffinityOwner, Store};

use crate::table::Table;
use crate::upstream::{Clock, Fail, Taken, Upstream, soon};

/// One of what an actor may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Takes addresses for a handle.
    Assign { handle: String, v4: u32, v6: u32 },
    /// Takes one address that it names.
    AssignIp { handle: String, ip: IpAddr },
    /// Releases what a handle has.
    Release { handle: String },
    /// Releases, one by one and guarded, what a handle was told to have.
    ReleaseIps { handle: String },
    /// Claims the blocks of a network.
    Claim { cidr: IpNet },
    /// Finds or claims a block.
    EnsureBlock,
    /// Gives the own block up.
    GiveUp { cidr: IpNet, must_be_empty: bool },
    /// Gives all blocks of a host up.
    RemoveHost { host: String },
}

/// A process on a host.
#[derive(Debug, Clone)]
pub struct Actor {
    pub upstream: bool,
    pub host: &'static str,
    pub acts: Vec<Act>,
    /// It is killed after so many writes.
    pub dies_after: Option<usize>,
}

/// A process of ours.
pub fn ours(host: &'static str, acts: impl IntoIterator<Item = Act>) -> Actor {
    Actor { upstream: false, host, acts: acts.into_iter().collect(), dies_after: None }
}

/// A process of upstream's.
pub fn upstream(host: &'static str, acts: impl IntoIterator<Item = Act>) -> Actor {
    Actor { upstream: true, ..ours(host, acts) }
}

pub fn assign(handle: &str, v4: u32) -> Act {
    Act::Assign { handle: handle.to_owned(), v4, v6: 0 }
}

pub fn assign_dual(handle: &str) -> Act {
    Act::Assign { handle: handle.to_owned(), v4: 1, v6: 1 }
}

pub fn assign_ip(handle: &str, ip: &str) -> Act {
    Act::AssignIp { handle: handle.to_owned(), ip: ip.parse().expect("an address") }
}

pub fn release(handle: &str) -> Act {
    Act::Release { handle: handle.to_owned() }
}

pub fn release_ips(handle: &str) -> Act {
    Act::ReleaseIps { handle: handle.to_owned() }
}

pub fn claim(cidr: &str) -> Act {
    Act::Claim { cidr: net(cidr) }
}

pub fn give_up(cidr: &str, must_be_empty: bool) -> Act {
    Act::GiveUp { cidr: net(cidr), must_be_empty }
}

pub fn remove_host(host: &str) -> Act {
    Act::RemoveHost { host: host.to_owned() }
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

impl Actor {
    pub fn dies_after(mut self, writes: usize) -> Actor {
        self.dies_after = Some(writes);
        self
    }

    pub fn handles(&self) -> impl Iterator<Item = &str> {
        self.acts.iter().filter_map(Act::handle)
    }

    /// Does all that it has to. `shared` are the handles that others work on, too. The clocks of
    /// two hosts, or two looks at one, never agree to the nanosecond: `skew` is this actor's.
    pub async fn run(
        self,
        table: Arc<Table>,
        store: Arc<dyn Store>,
        shared: Vec<String>,
        skew: time::Duration,
    ) {
        let its_own = |handle: &str| !shared.iter().any(|other| other == handle);
        let clock: Clock = {
            let table = table.clone();
            Arc::new(move || table.now() + skew)
        };
        for act in &self.acts {
            let known =
                act.handle().map(|handle| table.monitor().known(handle)).unwrap_or_default();
            let releases = matches!(act, Act::Release { .. } | Act::ReleaseIps { .. });
            let handle = act.handle().unwrap_or_default();
            let ended = table.monitor().releases_ended(handle);
            if releases {
                table.monitor().releases(handle);
            }
            let taken = if self.upstream {
                let process = Upstream {
                    store: store.clone(),
                    host: self.host.to_owned(),
                    clock: clock.clone(),
                };
                upstreams(&process, act, &known, &table).await
            } else {
                let clock = clock.clone();
                let allocator = Allocator::with_clock(&*store, move || clock());
                match ours_does(&allocator, self.host, act, &known).await {
                    Ok(taken) => taken,
                    Err(error) => {
                        table.note(|| format!("   {act:?} on {} fails: {error}", self.host));
                        // What may fail is what there is a reason for.
                        if !may_fail(act, &error) {
                            let text = format!("{act:?} on {} failed: {error}", self.host);
                            table.monitor().violate(text);
                        }
                        Vec::new()
                    }
                }
            };
            for one in taken {
                table.monitor().told(handle, one.address, one.sequence_number, ended);
            }
            if releases {
                let all = its_own(handle) && matches!(act, Act::Release { .. });
                table.monitor().released(handle, all && !self.upstream);
            }
        }
    }
}

impl Act {
    pub fn handle(&self) -> Option<&str> {
        match self {
            Act::Assign { handle, .. }
            | Act::AssignIp { handle, .. }
            | Act::Release { handle }
            | Act::ReleaseIps { handle } => Some(handle),
            _ => None,
        }
    }
}

fn may_fail(act: &Act, error: &IpamError) -> bool {
    use IpamErrorKind::{Conflict, Exhausted, Invalid, NotFound};
    match act {
        Act::Assign { .. } => error.kind() == Exhausted,
        Act::AssignIp { .. } => matches!(error.kind(), Conflict | Invalid | Exhausted),
        Act::GiveUp { .. } | Act::RemoveHost { .. } => error.kind() == Conflict,
        Act::EnsureBlock => error.kind() == NotFound,
        Act::Release { .. } | Act::ReleaseIps { .. } | Act::Claim { .. } => false,
    }
}

pub async fn ours_does(
    allocator: &Allocator<'_>,
    host: &str,
    act: &Act,
    known: &[(IpAddr, u64)],
) -> Result<Vec<Taken>, IpamError> {
    let taken =
        |one: &Assigned| Taken { address: one.address, sequence_number: one.sequence_number };
    let owner = AffinityOwner::host(host);
    match act {
        Act::Assign { handle, v4, v6 } => {
            let mut request = AutoAssign::new(host);
            (request.v4, request.v6, request.handle) = (*v4, *v6, Some(handle.clone()));
            request.attributes.insert("node".to_owned(), host.to_owned());
            // One pod's addresses come all or not at all; more than that are taken as far as
            // they go.
            request.all_or_nothing = *v4 <= 1 && *v6 <= 1;
            let assignment = allocator.auto_assign(&request, None, None, soon()).await?;
            return Ok(assignment.addresses().map(taken).collect());
        }
        Act::AssignIp { handle, ip } => {
            let request = AssignIp {
                ip: *ip,
                host: host.to_owned(),
                handle: Some(handle.clone()),
                attributes: [("node".to_owned(), host.to_owned())].into(),
                intended_use: Some(IntendedUse::Workload),
                max_per_handle: None,
                host_reserved: None,
                reuse: false,
                from: None,
            };
            let assigned = allocator.assign_ip(&request, None, None, soon()).await?;
            return Ok(vec![taken(&assigned)]);
        }
        Act::Release { handle } => {
            let handles = [handle.clone()];
            allocator.release_by_handle(&handles, None, Vec::new(), soon()).await?;
        }
        Act::ReleaseIps { handle } => {
            // A failing guard means that somebody else was first.
            allocator.release_ips(&guards(handle, known), soon()).await?;
        }
        Act::Claim { cidr } => {
            allocator.claim_affinity(*cidr, &owner, soon()).await?;
        }
        Act::EnsureBlock => {
            let mut request = AutoAssign::new(host);
            request.host_reserved_v4 = Some(HostReserved {
                start_of_block: 1,
                end_of_block: 0,
                handle: "windows-reserved-ipam-handle".to_owned(),
                note: "windows host rsvd".to_owned(),
            });
            allocator.ensure_block(&request, soon()).await?;
        }
        Act::GiveUp { cidr, must_be_empty } => {
            allocator.release_affinity(*cidr, &owner, *must_be_empty, soon()).await?;
        }
        Act::RemoveHost { host } => {
            allocator.remove_host(&AffinityOwner::host(host), soon()).await?;
        }
    }
    Ok(Vec::new())
}

async fn upstreams(
    process: &Upstream,
    act: &Act,
    known: &[(IpAddr, u64)],
    table: &Table,
) -> Vec<Taken> {
    let (taken, failed) = upstream_does(process, act, known).await;
    if let Some(error) = failed {
        table.note(|| format!("   upstream's {act:?} on {} fails: {error:?}", process.host));
        let claims = !matches!(
            act,
            Act::Release { .. }
                | Act::ReleaseIps { .. }
                | Act::GiveUp { .. }
                | Act::RemoveHost { .. }
        );
        if claims && error == Fail::Missing {
            table.monitor().gives_up();
        }
    }
    taken
}

pub async fn upstream_does(
    process: &Upstream,
    act: &Act,
    known: &[(IpAddr, u64)],
) -> (Vec<Taken>, Option<Fail>) {
    let failed = match act {
        Act::Assign { handle, v4, v6 } => return process.auto_assign(handle, *v4, *v6).await,
        Act::AssignIp { handle, ip } => match process.assign_ip(handle, *ip).await {
            Ok(taken) => return (vec![taken], None),
            Err(error) => Some(error),
        },
        Act::Release { handle } => process.release_by_handle(handle).await.err(),
        Act::ReleaseIps { handle } => process.release_ips(&guards(handle, known)).await.err(),
        Act::Claim { cidr } => process.claim_affinity(*cidr).await.err(),
        Act::EnsureBlock => process.claim_affinity(net("10.0.0.0/30")).await.err(),
        Act::GiveUp { cidr, must_be_empty } => {
            process.release_affinity(*cidr, *must_be_empty).await.err()
        }
        Act::RemoveHost { host } => process.release_host(host, false).await.err(),
    };
    (Vec::new(), failed)
}

fn guards(handle: &str, known: &[(IpAddr, u64)]) -> Vec<ReleaseGuard> {
    known
        .iter()
        .map(|(address, sequence)| ReleaseGuard {
            address: *address,
            handle: Some(handle.to_owned()),
            sequence_number: Some(*sequence),
        })
        .collect()
}
