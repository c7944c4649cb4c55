//! Actors that race on one small pool, one request at a time, in every order or in random ones: our
//! operations and upstream's sequences of writes, some of which stop half-way. After each request
//! the invariants I1 to I8 of `reference/ipam.md` 13.1 are checked over the whole store.
//!
//! Everything is decided by a list of choices; a failure prints it. `IPAM_SEEDS` sets the number of
//! random runs, `IPAM_SEED` replays one.

mod upstream;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::assign::AutoAssignOperation;
use super::block::ReleaseGuard;
use super::claim::ClaimAffinity;
use super::release::{ReleaseByHandle, ReleaseIps};
use super::request::{AssignIp, AutoAssign};
use super::specific::AssignIpOperation;
use super::surrender::{Conditions, Surrender, Which};
use crate::store::AffinityOwner;
use world::World;

type Actor<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

/// One of what an actor may do.
#[derive(Debug, Clone)]
enum Act {
    Assign { host: &'static str, handle: &'static str, count: u32 },
    AssignIp { host: &'static str, handle: &'static str, ip: &'static str },
    Release { handle: &'static str },
    ReleaseOne { handle: &'static str, guarded: bool },
    Claim { host: &'static str, cidr: &'static str },
    GiveUp { host: &'static str, cidr: &'static str, must_be_empty: bool },
    RemoveHost { host: &'static str },
    UpstreamAssign { host: &'static str, handle: &'static str },
    UpstreamRelease { handle: &'static str },
    UpstreamGiveUp { host: &'static str, cidr: &'static str, must_be_empty: bool },
}

impl Act {
    fn start<'w>(&self, world: &'w World) -> Actor<'w> {
        match *self {
            Act::Assign { host, handle, count } => Box::pin(async move {
                let mut request = AutoAssign { v4: count, ..AutoAssign::new(host) };
                request.all_or_nothing = count == 1;
                request.handle = Some(handle.to_owned());
                request.attributes.insert("node".to_owned(), host.to_owned());
                let operation = AutoAssignOperation::new(&request, None).expect("a request");
                if let Ok(assignment) = world.run(operation).await {
                    world.assigned(handle, assignment.addresses().map(|one| one.address));
                }
            }),
            Act::AssignIp { host, handle, ip } => Box::pin(async move {
                let request = AssignIp {
                    ip: ip.parse().expect("an address"),
                    host: host.to_owned(),
                    handle: Some(handle.to_owned()),
                    attributes: Default::default(),
                    intended_use: None,
                    max_per_handle: None,
                    host_reserved: None,
                    reuse: false,
                };
                let operation = AssignIpOperation::new(std::slice::from_ref(&request), None)
                    .expect("a request");
                if let Ok(assigned) = world.run(operation).await {
                    world.assigned(handle, assigned.iter().map(|one| one.address));
                }
            }),
            Act::Release { handle } => Box::pin(async move {
                let _releasing = world.releasing(handle, None);
                let handles = [handle.to_owned()];
                let operation = ReleaseByHandle::new(&handles, Vec::new());
                world.run(operation).await.expect("it is released");
            }),
            Act::ReleaseOne { handle, guarded } => Box::pin(async move {
                let Some(address) = world.any_of(handle) else { return };
                let _releasing = world.releasing(handle, Some(address));
                let guard = ReleaseGuard {
                    address,
                    handle: guarded.then(|| handle.to_owned()),
                    sequence_number: None,
                };
                let outcome = world.run(ReleaseIps::new(&[guard])).await.expect("it runs");
                // Another release may have been first, and the address may be somebody else's by
                // now: then the guard has to hold it.
                assert!(outcome.error.is_none() || guarded, "{outcome:?}");
            }),
            Act::Claim { host, cidr } => Box::pin(async move {
                let owner = AffinityOwner::host(host);
                let cidr = cidr.parse().expect("a network");
                let operation = ClaimAffinity::new(cidr, &owner).expect("a request");
                world.run(operation).await.expect("it runs");
            }),
            Act::GiveUp { host, cidr, must_be_empty } => Box::pin(async move {
                let cidr = cidr.parse().expect("a network");
                let which = Which::Within(AffinityOwner::host(host), cidr);
                let conditions = Conditions { must_be_empty, sequence_number: None };
                let _ = world.run(Surrender::new(which, conditions, None)).await;
            }),
            Act::RemoveHost { host } => Box::pin(async move {
                let which = Which::Owner(AffinityOwner::host(host));
                let operation = Surrender::new(which, Conditions::default(), None);
                world.run(operation).await.expect("it runs");
            }),
            Act::UpstreamAssign { host, handle } => {
                Box::pin(upstream::auto_assign(world, host, handle))
            }
            Act::UpstreamRelease { handle } => Box::pin(async move {
                let _releasing = world.releasing(handle, None);
                upstream::release_by_handle(world, handle).await;
            }),
            Act::UpstreamGiveUp { host, cidr, must_be_empty } => Box::pin(async move {
                let cidr = cidr.parse().expect("a network");
                let _ = upstream::release_affinity(world, host, cidr, must_be_empty).await;
            }),
        }
    }

    fn is_ours(&self) -> bool {
        !matches!(
            self,
            Act::UpstreamAssign { .. } | Act::UpstreamRelease { .. } | Act::UpstreamGiveUp { .. }
        )
    }
}

/// Runs actors until all are done or stopped. `choose` picks one of so many; the last choice stops
/// an actor of upstream's if `stops` allows it.
fn play(world: &World, acts: &[Act], stops: bool, choose: &mut dyn FnMut(usize) -> usize) {
    let mut actors: Vec<(usize, Actor<'_>)> =
        acts.iter().enumerate().map(|(index, act)| (index, act.start(world))).collect();
    let mut context = Context::from_waker(Waker::noop());
    while !actors.is_empty() {
        let picked = choose(actors.len());
        let (index, actor) = &mut actors[picked];
        let stop = stops && !acts[*index].is_ours() && choose(12) == 0;
        if stop || actor.as_mut().poll(&mut context) == Poll::Ready(()) {
            drop(actors.remove(picked));
        }
        world.check();
    }
}

/// Runs something to its end, with nothing in between.
fn play_alone(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() {}
}

/// Plays acts in every order of their requests, at most so many orders.
fn explore(prepare: &[Act], acts: &[Act], limit: usize) -> usize {
    let mut plan: Vec<usize> = Vec::new();
    let mut played = 0;
    loop {
        let world =
            World::new(&format!("plan {plan:?} of {acts:?}"), acts.iter().all(Act::is_ours));
        for act in prepare {
            play(&world, std::slice::from_ref(act), false, &mut |_| 0);
        }
        let mut options = Vec::new();
        let mut choose = |count| {
            let at = options.len();
            options.push(count);
            plan.get(at).copied().unwrap_or(0)
        };
        play(&world, acts, false, &mut choose);
        world.finish();
        played += 1;
        // The next plan: raise the last choice that can be raised.
        plan.resize(options.len(), 0);
        loop {
            let Some(last) = plan.pop() else { return played };
            if last + 1 < options[plan.len()] {
                plan.push(last + 1);
                break;
            }
        }
        if played >= limit {
            return played;
        }
    }
}

/// Plays acts in so many random orders.
fn sample(prepare: &[Act], acts: &[Act], orders: u64) -> usize {
    for seed in 0..orders {
        let mut random = SmallRng::seed_from_u64(seed);
        let text = format!("order {seed} of {acts:?}");
        let world = World::new(&text, acts.iter().all(Act::is_ours));
        for act in prepare {
            play(&world, std::slice::from_ref(act), false, &mut |_| 0);
        }
        play(&world, acts, false, &mut |count| random.random_range(0..count));
        world.finish();
    }
    orders as usize
}

const POOL: &str = "10.0.0.0/29";
const FIRST: &str = "10.0.0.0/30";
/// The host has a block, with one address.
const OWN: &[Act] = &[Act::Assign { host: "a", handle: "h0", count: 1 }];

#[test]
fn two_of_ours_in_every_order() {
    use Act::*;
    let cases: &[(&[Act], [Act; 2])] = &[
        (
            &[],
            [
                Assign { host: "a", handle: "h1", count: 1 },
                Assign { host: "a", handle: "h2", count: 1 },
            ],
        ),
        (
            &[],
            [
                Assign { host: "a", handle: "h1", count: 5 },
                Assign { host: "b", handle: "h2", count: 3 },
            ],
        ),
        (
            &[],
            [
                Assign { host: "a", handle: "h1", count: 1 },
                Assign { host: "a", handle: "h1", count: 1 },
            ],
        ),
        (
            &[],
            [
                AssignIp { host: "a", handle: "h1", ip: "10.0.0.1" },
                AssignIp { host: "b", handle: "h2", ip: "10.0.0.1" },
            ],
        ),
        (
            &[],
            [
                AssignIp { host: "a", handle: "h1", ip: "10.0.0.1" },
                Assign { host: "b", handle: "h2", count: 8 },
            ],
        ),
        (OWN, [Release { handle: "h0" }, Release { handle: "h0" }]),
        (OWN, [Release { handle: "h0" }, Assign { host: "a", handle: "h0", count: 1 }]),
        (OWN, [ReleaseOne { handle: "h0", guarded: true }, Release { handle: "h0" }]),
        (OWN, [Release { handle: "h0" }, RemoveHost { host: "a" }]),
        (OWN, [RemoveHost { host: "a" }, Assign { host: "a", handle: "h1", count: 2 }]),
        (OWN, [RemoveHost { host: "a" }, Assign { host: "b", handle: "h1", count: 8 }]),
        (&[], [Claim { host: "a", cidr: POOL }, Claim { host: "b", cidr: POOL }]),
        (&[], [Claim { host: "a", cidr: POOL }, Assign { host: "b", handle: "h1", count: 2 }]),
        (
            &[Claim { host: "a", cidr: POOL }],
            [
                GiveUp { host: "a", cidr: POOL, must_be_empty: true },
                Assign { host: "a", handle: "h1", count: 1 },
            ],
        ),
        (
            &[Claim { host: "a", cidr: POOL }],
            [
                Assign { host: "b", handle: "h1", count: 1 },
                Assign { host: "a", handle: "h2", count: 1 },
            ],
        ),
    ];
    let mut played = 0;
    for (prepare, acts) in cases {
        played += explore(prepare, acts, 20_000);
    }
    assert!(played > 300, "only {played} orders");
}

#[test]
fn one_of_ours_and_one_of_upstreams_in_every_order() {
    use Act::*;
    let cases: &[(&[Act], [Act; 2])] = &[
        (
            &[],
            [
                Assign { host: "a", handle: "h1", count: 1 },
                UpstreamAssign { host: "a", handle: "h2" },
            ],
        ),
        (
            &[],
            [
                Assign { host: "a", handle: "h1", count: 1 },
                UpstreamAssign { host: "b", handle: "h2" },
            ],
        ),
        (OWN, [Release { handle: "h0" }, UpstreamAssign { host: "a", handle: "h2" }]),
        (OWN, [Release { handle: "h0" }, UpstreamAssign { host: "a", handle: "h0" }]),
        // What is counted but not written yet will be subtracted by its own writer.
        (
            &[Assign { host: "a", handle: "h0", count: 2 }],
            [
                ReleaseOne { handle: "h0", guarded: true },
                UpstreamAssign { host: "a", handle: "h0" },
            ],
        ),
        // A handle that is counted before its address is written must not be forgotten.
        (OWN, [Release { handle: "h1" }, UpstreamAssign { host: "a", handle: "h1" }]),
        (OWN, [Release { handle: "h0" }, UpstreamRelease { handle: "h0" }]),
        (OWN, [Assign { host: "a", handle: "h0", count: 1 }, UpstreamRelease { handle: "h0" }]),
        (
            OWN,
            [
                Assign { host: "a", handle: "h0", count: 1 },
                UpstreamAssign { host: "a", handle: "h0" },
            ],
        ),
        (
            OWN,
            [
                ReleaseOne { handle: "h0", guarded: true },
                UpstreamAssign { host: "a", handle: "h0" },
            ],
        ),
        (OWN, [RemoveHost { host: "a" }, UpstreamAssign { host: "a", handle: "h2" }]),
        (
            &[Claim { host: "a", cidr: FIRST }],
            [
                Assign { host: "a", handle: "h1", count: 1 },
                UpstreamGiveUp { host: "a", cidr: FIRST, must_be_empty: false },
            ],
        ),
        (
            &[Claim { host: "a", cidr: POOL }],
            [
                Assign { host: "b", handle: "h1", count: 1 },
                UpstreamAssign { host: "a", handle: "h2" },
            ],
        ),
        (
            &[Claim { host: "a", cidr: POOL }],
            [
                Claim { host: "a", cidr: POOL },
                UpstreamGiveUp { host: "a", cidr: FIRST, must_be_empty: true },
            ],
        ),
    ];
    let mut played = 0;
    for (prepare, acts) in cases {
        played += explore(prepare, acts, 170);
        played += sample(prepare, acts, 60);
    }
    assert!(played > 1000, "only {played} orders");
}

#[test]
fn many_actors_in_random_orders() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("IPAM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("IPAM_SEEDS").unwrap_or(250),
    };
    for seed in seeds {
        let mut random = SmallRng::seed_from_u64(seed);
        let mixed = seed % 3 != 0;
        let count = random.random_range(2..=5);
        let acts: Vec<Act> = (0..count).map(|_| random_act(&mut random, mixed)).collect();
        let prepare: Vec<Act> =
            (0..random.random_range(0..5)).map(|_| random_act(&mut random, mixed)).collect();
        let text = format!("IPAM_SEED={seed}: {prepare:?}, then {acts:?}");
        let world = World::new(&text, prepare.iter().chain(&acts).all(Act::is_ours));
        let mut choose = |count| random.random_range(0..count);
        for act in &prepare {
            play(&world, std::slice::from_ref(act), mixed, &mut choose);
        }
        play(&world, &acts, mixed, &mut choose);
        world.finish();
    }
}

fn random_act(random: &mut SmallRng, mixed: bool) -> Act {
    let host = ["a", "b", "c"][random.random_range(0..3)];
    let handle = ["h0", "h1", "h2", "h3"][random.random_range(0..4)];
    let cidr = [POOL, FIRST, "10.0.0.4/30"][random.random_range(0..3)];
    let must_be_empty = random.random_bool(0.5);
    match random.random_range(0..if mixed { 14 } else { 9 }) {
        0..=2 => Act::Assign { host, handle, count: random.random_range(1..4) },
        3 => {
            Act::AssignIp { host, handle, ip: ["10.0.0.1", "10.0.0.5"][random.random_range(0..2)] }
        }
        4 => Act::Release { handle },
        5 => Act::ReleaseOne { handle, guarded: true },
        6 => Act::Claim { host, cidr },
        7 => Act::GiveUp { host, cidr, must_be_empty },
        8 => Act::RemoveHost { host },
        9..=11 => Act::UpstreamAssign { host, handle },
        12 => Act::UpstreamRelease { handle },
        _ => Act::UpstreamGiveUp {
            host,
            cidr: [FIRST, "10.0.0.4/30"][random.random_range(0..2)],
            must_be_empty,
        },
    }
}
