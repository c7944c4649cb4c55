//! Larger races, in random orders. `SEED` replays one, `RACES` sets how many there are.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::actor::{Act, Actor, assign_ip, give_up, net, ours, release, release_ips, remove_host};
use crate::race::{Choice, Fork, HOSTS, Race};

/// How many there are when nothing else is said: a few seconds.
const RACES: u64 = 2000;

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn two_to_four_actors() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RACES").unwrap_or(RACES),
    };
    for seed in seeds {
        let mut random = SmallRng::seed_from_u64(seed);
        let race = race(seed, &mut random);
        race.run(&mut |fork| Some(pick(&fork, &mut random)));
    }
}

/// Any of the actors; rarely one is killed.
pub fn pick(fork: &Fork, random: &mut SmallRng) -> Choice {
    let is_kill = |choice: &Choice| matches!(choice, Choice::Kill(_));
    if let Some(kill) = fork.choices.iter().find(|choice| is_kill(choice))
        && random.random_range(0..12) == 0
    {
        return *kill;
    }
    let steps: Vec<&Choice> = fork.choices.iter().filter(|choice| !is_kill(choice)).collect();
    *steps[random.random_range(0..steps.len())]
}

fn race(seed: u64, random: &mut SmallRng) -> Race {
    let pools: &[(&'static str, u8)] = match random.random_range(0..4) {
        0 => &[("10.0.0.0/29", 30)],
        1 => &[("10.0.0.0/28", 30)],
        2 => &[("10.0.0.0/28", 29)],
        _ => &[("10.0.0.0/29", 30), ("fd00::/125", 126)],
    };
    // In every fourth race ours are alone: then nothing is ever half-done.
    let mixed = !seed.is_multiple_of(4);
    let count = random.random_range(2..=4);
    let actors: Vec<Actor> =
        (0..count).map(|index| actor(&format!("h{index}"), 3, mixed, pools, random)).collect();
    let past = random.random_range(0..3);
    let before: Vec<Actor> = (0..past)
        .map(|index| {
            let before = actor(&format!("b{index}"), 2, mixed, pools, random);
            let dies = before.upstream && random.random_range(0..2) == 0;
            if dies { before.dies_after(random.random_range(1..7)) } else { before }
        })
        .collect();
    let mut race = Race::of(&format!("SEED={seed}"), actors).on(pools).after(before);
    race.strict = random.random_range(0..3) == 0;
    race.age = 100 * random.random_range(0..2);
    race.kills = random.random_range(0..3);
    if random.random_range(0..4) == 0 {
        // With a cooldown of some commits.
        race.tick = 1_000_000_000;
        race.cooldown = random.random_range(1..8);
    }
    race
}

fn actor(
    own: &str,
    most: usize,
    mixed: bool,
    pools: &[(&'static str, u8)],
    random: &mut SmallRng,
) -> Actor {
    let host = HOSTS[random.random_range(0..3)];
    let upstream = mixed && random.random_range(0..2) == 0;
    let acts = (0..random.random_range(1..=most)).map(|_| act(own, pools, random)).collect();
    Actor { upstream, acts, ..ours(host, []) }
}

pub fn act(own: &str, pools: &[(&'static str, u8)], random: &mut SmallRng) -> Act {
    // Some handles are several actors'.
    let handle = if random.random_range(0..5) == 0 { "shared" } else { own };
    let dual = pools.len() > 1;
    let last = random.random_range(0..8);
    let host = HOSTS[random.random_range(0..3)];
    let cidr = if random.random_range(0..2) == 0 { "10.0.0.0/29" } else { "10.0.0.0/30" };
    // A network to claim or give up is at least a block.
    let cidr = if pools[0].1 == 29 { "10.0.0.0/29" } else { cidr };
    match random.random_range(0..20) {
        0..=7 => {
            let v4 = *[1, 1, 1, 2, 5].get(random.random_range(0..5)).unwrap_or(&1);
            let v6 = u32::from(dual && random.random_range(0..2) == 0);
            Act::Assign { handle: handle.to_owned(), v4, v6 }
        }
        8 | 9 => assign_ip(handle, &format!("10.0.0.{last}")),
        10..=13 => release(handle),
        14 | 15 => release_ips(handle),
        16 => Act::Claim { cidr: net(cidr) },
        17 => give_up(cidr, random.random_range(0..2) == 0),
        18 => remove_host(host),
        _ => Act::EnsureBlock,
    }
}
