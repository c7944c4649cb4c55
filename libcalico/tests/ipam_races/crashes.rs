//! Upstream killed after each of its writes (`reference/ipam.md` 13.2): whatever it leaves, ours go
//! on with it in every order, and the next use and the next release clear it away.

use crate::actor::{
    Actor, assign, assign_ip, claim, give_up, ours, release, remove_host, upstream,
};
use crate::explore::explore;
use crate::race::Race;

const FIRST: &str = "10.0.0.0/30";

/// More writes than any of the sequences has.
const MOST_WRITES: usize = 8;

/// Lets `dying` die after each of its writes, then lets others race on what is left.
fn die_after_each_write(
    name: &str,
    before: &[Actor],
    dying: &Actor,
    races: &[(&str, &[Actor])],
    age: i64,
) {
    for writes in 1..=MOST_WRITES {
        let past = before.iter().cloned().chain([dying.clone().dies_after(writes)]);
        for (what, actors) in races {
            let name = format!("{name}, dead after {writes} writes; then {what}");
            let race = Race::of(&name, actors.iter().cloned()).after(past.clone()).aged(age);
            assert!(explore(&race, 4000).complete, "{name} has too many states");
        }
    }
}

/// W1 to W5.
#[test]
fn while_it_takes_an_address() {
    die_after_each_write(
        "the first address of a host",
        &[],
        &upstream("a", [assign("dead", 1)]),
        &[
            ("the owner goes on", &[ours("a", [assign("h1", 1)]), ours("b", [assign("h2", 1)])]),
            ("it is released", &[ours("a", [release("dead")]), ours("a", [assign("h1", 1)])]),
            ("the host goes", &[ours("c", [remove_host("a")]), ours("b", [assign("h1", 5)])]),
            ("upstream goes on", &[upstream("a", [assign("h1", 1)]), ours("a", [release("dead")])]),
        ],
        100,
    );
    die_after_each_write(
        "an address by name",
        &[],
        &upstream("a", [assign_ip("dead", "10.0.0.1")]),
        &[(
            "another wants it",
            &[ours("b", [assign_ip("h1", "10.0.0.1")]), ours("a", [release("dead")])],
        )],
        0,
    );
}

/// W6 and W7.
#[test]
fn while_it_releases() {
    die_after_each_write(
        "a release",
        &[upstream("a", [assign("h0", 2)])],
        &upstream("a", [release("h0")]),
        &[
            ("it is released again", &[ours("a", [release("h0")]), ours("a", [assign("h1", 4)])]),
            ("it gets an address", &[ours("a", [assign("h0", 1)]), ours("c", [remove_host("a")])]),
        ],
        0,
    );
}

/// W8 to W10.
#[test]
fn while_it_gives_a_block_up() {
    for had in [vec![claim(FIRST)], vec![assign_ip("h0", "10.0.0.1")]] {
        die_after_each_write(
            "giving up",
            &[upstream("a", had)],
            &upstream("a", [give_up(FIRST, false)]),
            &[
                (
                    "the owner goes on",
                    &[ours("a", [assign("h1", 5)]), ours("b", [assign("h2", 1)])],
                ),
                ("the host goes", &[ours("c", [remove_host("a")]), ours("b", [claim(FIRST)])]),
                (
                    "upstream goes on",
                    &[upstream("a", [assign_ip("h1", "10.0.0.2")]), ours("b", [assign("h2", 1)])],
                ),
            ],
            100,
        );
    }
}

/// W11: another host's block.
#[test]
fn while_it_takes_a_block_over() {
    die_after_each_write(
        "taking over",
        &[upstream("a", [claim("10.0.0.0/29")])],
        &upstream("b", [assign("dead", 1)]),
        &[
            ("both go on", &[ours("a", [assign("h1", 1)]), ours("b", [assign("h2", 1)])]),
            ("the hosts go", &[ours("c", [remove_host("a"), remove_host("b")])]),
        ],
        100,
    );
}

/// Killed while ours are in the middle, too.
#[test]
fn at_any_moment() {
    let race =
        |name: &str, ours_: Actor, dying: Actor| Race::of(name, [ours_, dying]).with_kills(1);
    for race in [
        race("same host", ours("a", [assign("h1", 1)]), upstream("a", [claim(FIRST)])),
        race("two hosts", ours("a", [assign("h1", 1)]), upstream("b", [assign("h2", 1)])),
        race("released", ours("a", [release("h0")]), upstream("a", [assign("h0", 1)]))
            .after([ours("a", [assign("h0", 1)])]),
        race("taken", ours("a", [assign("h1", 1)]), upstream("a", [give_up(FIRST, true)]))
            .after([ours("a", [claim(FIRST)])]),
        race("removed", ours("c", [remove_host("a")]), upstream("a", [give_up(FIRST, false)]))
            .after([ours("a", [assign_ip("h0", "10.0.0.1")])]),
    ] {
        assert!(explore(&race, 4000).complete, "{} has too many states", race.name);
    }
}
