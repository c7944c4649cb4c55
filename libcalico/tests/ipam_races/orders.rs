//! Small races, in every order.

use crate::actor::{
    Act, assign, assign_dual, assign_ip, claim, give_up, ours, release, release_ips, remove_host,
    upstream,
};
use crate::explore::{Explored, explore};
use crate::race::Race;

const POOL: &str = "10.0.0.0/29";
const FIRST: &str = "10.0.0.0/30";
const DUAL: [(&str, u8); 2] = [("10.0.0.0/29", 30), ("fd00::/125", 126)];

/// Plays races in every order. Together they have to have so many.
fn every_order(races: Vec<Race>, expected: f64) {
    let explored: Vec<Explored> = races.iter().map(|race| explore(race, 10_000)).collect();
    for (race, explored) in races.iter().zip(&explored) {
        assert!(explored.complete, "{} has too many states", race.name);
    }
    let orders: f64 = explored.iter().map(|explored| explored.orders).sum();
    let states: usize = explored.iter().map(|explored| explored.states).sum();
    assert!(orders >= expected, "only {orders} orders, through {states} states");
}

#[test]
fn two_of_ours() {
    let had = || [ours("a", [assign("h0", 1)])];
    every_order(
        vec![
            Race::of("same host", [ours("a", [assign("h1", 1)]), ours("a", [assign("h2", 1)])]),
            Race::of("two hosts", [ours("a", [assign("h1", 5)]), ours("b", [assign("h2", 3)])]),
            Race::of("same handle", [ours("a", [assign("h1", 1)]), ours("a", [assign("h1", 1)])]),
            Race::of(
                "dual stack",
                [ours("a", [assign_dual("h1")]), ours("a", [assign_dual("h2")])],
            )
            .on(&DUAL),
            Race::of(
                "the same address",
                [
                    ours("a", [assign_ip("h1", "10.0.0.1")]),
                    ours("b", [assign_ip("h2", "10.0.0.1")]),
                ],
            ),
            Race::of(
                "an address and all",
                [ours("a", [assign_ip("h1", "10.0.0.1")]), ours("b", [assign("h2", 8)])],
            ),
            Race::of("released twice", [ours("a", [release("h0")]), ours("a", [release("h0")])])
                .after(had()),
            Race::of(
                "released in two ways",
                [ours("a", [release_ips("h0")]), ours("a", [release("h0")])],
            )
            .after(had()),
            Race::of(
                "released and taken",
                [ours("a", [release("h0")]), ours("a", [assign("h0", 1)])],
            )
            .after(had()),
            Race::of(
                "the host goes",
                [ours("c", [remove_host("a")]), ours("a", [assign("h1", 2), release("h1")])],
            )
            .after(had()),
            Race::of(
                "the host goes and another one borrows",
                [ours("c", [remove_host("a")]), ours("b", [assign("h1", 8)])],
            )
            .after(had()),
            Race::of("claims", [ours("a", [claim(POOL)]), ours("b", [claim(POOL)])]),
            Race::of("claim and take", [ours("a", [claim(POOL)]), ours("b", [assign("h1", 2)])]),
            Race::of("ensure", [ours("a", [Act::EnsureBlock]), ours("a", [Act::EnsureBlock])]),
            Race::of(
                "give up and take",
                [ours("a", [give_up(POOL, true)]), ours("a", [assign("h1", 1), release("h1")])],
            )
            .after([ours("a", [claim(POOL)])]),
            Race::of(
                "take over and take",
                [ours("b", [assign("h1", 1)]), ours("a", [assign("h2", 1)])],
            )
            .after([ours("a", [claim(POOL)])])
            .aged(100)
            .strict(),
        ],
        500.0,
    );
}

/// A block with nothing but cooling addresses isn't empty.
#[test]
fn a_block_that_cools_down_is_not_taken_over() {
    let mut race = Race::of(
        "cooling",
        [ours("a", [assign("h1", 1), release("h1")]), ours("b", [assign("h2", 8)])],
    )
    .after([ours("a", [claim(POOL)])])
    .aged(100)
    .strict();
    (race.cooldown, race.tick) = (30, 1_000_000_000);
    every_order(vec![race], 50.0);
}

#[test]
fn three_of_ours() {
    every_order(
        vec![
            Race::of(
                "three hosts for two blocks",
                [
                    ours("a", [assign("h1", 1), release("h1")]),
                    ours("b", [assign("h2", 1)]),
                    ours("c", [assign("h3", 1)]),
                ],
            ),
            Race::of(
                "an empty block is wanted by three",
                [
                    ours("b", [assign("h1", 1)]),
                    ours("c", [assign("h2", 1)]),
                    ours("a", [give_up(POOL, true)]),
                ],
            )
            .after([ours("a", [claim(POOL)])])
            .aged(100)
            .strict(),
        ],
        50_000.0,
    );
}

#[test]
fn one_of_ours_and_one_of_upstreams() {
    let had = || [ours("a", [assign("h0", 1)])];
    let owned = || [ours("a", [claim(POOL)])];
    every_order(
        vec![
            Race::of("same host", [ours("a", [assign("h1", 1)]), upstream("a", [assign("h2", 1)])]),
            Race::of("two hosts", [ours("a", [assign("h1", 1)]), upstream("b", [assign("h2", 1)])]),
            Race::of("all of it", [ours("a", [assign("h1", 6)]), upstream("b", [assign("h2", 5)])]),
            Race::of(
                "the same address",
                [
                    ours("a", [assign_ip("h1", "10.0.0.1")]),
                    upstream("b", [assign_ip("h2", "10.0.0.1")]),
                ],
            ),
            Race::of(
                "ours releases, upstream takes",
                [ours("a", [release("h0")]), upstream("a", [assign("h2", 1), release("h2")])],
            )
            .after(had()),
            Race::of(
                "ours releases what upstream has only counted",
                [ours("a", [release("h0")]), upstream("a", [assign("h0", 1)])],
            )
            .after(owned()),
            Race::of(
                "ours releases the address that upstream has only counted",
                [ours("b", [release("h0")]), upstream("a", [assign_ip("h0", "10.0.0.1")])],
            )
            .after(owned()),
            Race::of(
                "ours releases what upstream adds to",
                [ours("a", [release("h0")]), upstream("a", [assign("h0", 1)])],
            )
            .after(had()),
            Race::of(
                "ours releases one that upstream adds to",
                [ours("a", [release_ips("h0")]), upstream("a", [assign("h0", 1)])],
            )
            .after(had()),
            Race::of(
                "ours adds to what upstream releases",
                [ours("a", [assign("h0", 1)]), upstream("a", [release("h0")])],
            )
            .after(had()),
            Race::of("both add", [ours("a", [assign("h0", 1)]), upstream("a", [assign("h0", 1)])])
                .after(had()),
            Race::of("both release", [ours("a", [release("h0")]), upstream("a", [release("h0")])])
                .after(had()),
            Race::of(
                "both release one",
                [ours("a", [release_ips("h0")]), upstream("a", [release_ips("h0")])],
            )
            .after(had()),
            Race::of(
                "ours removes the host",
                [ours("c", [remove_host("a")]), upstream("a", [assign("h1", 1), release("h1")])],
            ),
            Race::of(
                "ours removes a host with addresses",
                [ours("c", [remove_host("a")]), upstream("a", [assign("h1", 1)])],
            )
            .after(had()),
            Race::of(
                "upstream removes the host",
                [upstream("c", [remove_host("a")]), ours("a", [assign("h1", 1), release("h1")])],
            )
            .after(had()),
            Race::of(
                "upstream gives up, ours takes",
                [upstream("a", [give_up(FIRST, true)]), ours("a", [assign("h1", 1)])],
            )
            .after(owned()),
            Race::of(
                "ours gives up, upstream takes",
                [ours("a", [give_up(FIRST, true)]), upstream("a", [assign("h1", 1)])],
            )
            .after(owned()),
            Race::of(
                "both give up",
                [ours("a", [give_up(POOL, false)]), upstream("a", [give_up(FIRST, false)])],
            )
            .after([ours("a", [claim(POOL), assign("h0", 1)])]),
            Race::of(
                "upstream gives up, ours claims",
                [upstream("a", [give_up(FIRST, true)]), ours("a", [claim(POOL)])],
            )
            .after(owned()),
            Race::of(
                "upstream gives up, ours makes sure of a block",
                [upstream("a", [give_up(FIRST, true)]), ours("a", [Act::EnsureBlock])],
            )
            .after([ours("a", [claim(FIRST)])]),
            Race::of("both claim", [ours("a", [claim(POOL)]), upstream("b", [claim(POOL)])]),
            Race::of("one claims", [ours("a", [claim(POOL)]), upstream("a", [claim(POOL)])]),
            Race::of(
                "upstream takes over, ours takes",
                [upstream("b", [assign("h1", 1)]), ours("a", [assign("h2", 1)])],
            )
            .after(owned())
            .aged(100)
            .strict(),
            Race::of(
                "ours takes over, upstream takes",
                [ours("b", [assign("h1", 1)]), upstream("a", [assign("h2", 1)])],
            )
            .after(owned())
            .aged(100)
            .strict(),
            Race::of(
                "both take over",
                [ours("b", [assign("h1", 1)]), upstream("c", [assign("h2", 1)])],
            )
            .after(owned())
            .aged(100)
            .strict(),
        ],
        5_000.0,
    );
}

/// So that what is said to be upstream's is: on its own it keeps the invariants, too.
#[test]
fn two_of_upstreams() {
    let most = 600;
    for race in [
        Race::of("same host", [upstream("a", [assign("h1", 1)]), upstream("a", [assign("h2", 1)])]),
        Race::of(
            "released and taken",
            [upstream("a", [release("h0")]), upstream("a", [assign("h1", 1)])],
        )
        .after([upstream("a", [assign("h0", 1)])]),
        Race::of(
            "given up and taken",
            [upstream("a", [give_up(FIRST, false)]), upstream("a", [assign("h1", 1)])],
        )
        .after([upstream("a", [claim(FIRST)])]),
    ] {
        let explored = explore(&race, most);
        assert!(explored.complete || explored.states >= most, "{explored:?}");
    }
}
