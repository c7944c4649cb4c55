//! A race: actors at one table, and the order of their requests, which is all that decides.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libcalico::ipam::check::{Severity, check};
use libcalico::ipam::{Allocator, AutoAssign, IpamConfig, IpamError};
use libcalico::store::{AffinityOwner, Document, Key, Prefix, Query, Store};

use crate::actor::Actor;
use crate::monitor::Monitor;
use crate::table::{Table, hash_of};
use crate::upstream::{Clock, soon};

/// The hosts that there are.
pub const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

/// What happens, but for the order.
#[derive(Debug, Clone)]
pub struct Race {
    pub name: String,
    pub pools: Vec<(&'static str, u8)>,
    pub strict: bool,
    pub cooldown: i64,
    /// What came before, one actor after the other.
    pub before: Vec<Actor>,
    /// For how long that has been so.
    pub age: i64,
    pub actors: Vec<Actor>,
    /// How many actors may be killed.
    pub kills: usize,
    /// What the clock advances with each commit, in nanoseconds.
    pub tick: i64,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Choice {
    /// This actor makes its next request.
    Step(usize),
    /// This actor is killed.
    Kill(usize),
}

/// A point at which there is something to choose.
pub struct Fork {
    pub choices: Vec<Choice>,
    pub fingerprint: u64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Step(actor) => write!(f, "{actor}"),
            Choice::Kill(actor) => write!(f, "k{actor}"),
        }
    }
}

impl Race {
    /// A pool of two blocks of four addresses, on which these race.
    pub fn of(name: &str, actors: impl IntoIterator<Item = Actor>) -> Race {
        Race {
            name: name.to_owned(),
            pools: vec![("10.0.0.0/29", 30)],
            strict: false,
            cooldown: 0,
            before: Vec::new(),
            age: 0,
            actors: actors.into_iter().collect(),
            kills: 0,
            tick: 0,
        }
    }

    pub fn after(mut self, before: impl IntoIterator<Item = Actor>) -> Race {
        self.before = before.into_iter().collect();
        self
    }

    pub fn aged(mut self, seconds: i64) -> Race {
        self.age = seconds;
        self
    }

    pub fn strict(mut self) -> Race {
        self.strict = true;
        self
    }

    pub fn with_kills(mut self, kills: usize) -> Race {
        self.kills = kills;
        self
    }

    pub fn on(mut self, pools: &[(&'static str, u8)]) -> Race {
        self.pools = pools.to_vec();
        self
    }

    /// Runs it. `choose` gets the choices that there are; none ends the run before its end, as
    /// this point was seen before. Panics with the order and all requests if anything goes wrong.
    pub fn run(&self, choose: &mut dyn FnMut(Fork) -> Option<Choice>) {
        let mut order = Vec::new();
        let mut noting = |fork: Fork| {
            let choice = choose(fork)?;
            order.push(choice);
            Some(choice)
        };
        let violations = self.play(&mut noting, false).0;
        if violations.is_empty() {
            return;
        }
        // Once more the same, noting everything.
        let mut again = order.iter().copied();
        let (violations, trace) = self.play(&mut |_| again.next(), true);
        let order: Vec<String> = order.iter().map(Choice::to_string).collect();
        panic!(
            "{}\nin {self:#?}\nwith the order {}\n{trace}\n{}",
            violations.join("\n"),
            order.join(" "),
            violations.join("\n"),
        );
    }

    fn play(
        &self,
        choose: &mut dyn FnMut(Fork) -> Option<Choice>,
        traced: bool,
    ) -> (Vec<String>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(self.play_on(choose, traced))
    }

    async fn play_on(
        &self,
        choose: &mut dyn FnMut(Fork) -> Option<Choice>,
        traced: bool,
    ) -> (Vec<String>, String) {
        let first = self.before.len();
        let all = || self.before.iter().chain(&self.actors);
        let upstream = all().enumerate().filter(|(_, actor)| actor.upstream).map(|(seat, _)| seat);
        let mixed = all().any(|actor| actor.upstream);
        let table = Table::new(
            Monitor::new(upstream, mixed, self.cooldown),
            first + self.actors.len(),
            self.tick,
            traced,
        );
        self.furnish(&table);
        for (seat, actor) in self.before.iter().enumerate() {
            let mut player = Player::new(&table, seat, actor.clone(), Vec::new());
            player.start().await;
            let mut writes = 0;
            while !player.done && actor.dies_after.is_none_or(|most| writes < most) {
                player.step().await;
                writes += usize::from(table.wrote(seat));
            }
        }
        table.advance(self.age);
        table.note(|| "-- the race begins".to_owned());
        let mut players = Vec::new();
        for (index, actor) in self.actors.iter().enumerate() {
            let others = self.actors.iter().enumerate().filter(|(other, _)| *other != index);
            let shared = others.flat_map(|(_, other)| other.handles()).map(str::to_owned);
            let mut player = Player::new(&table, first + index, actor.clone(), shared.collect());
            player.start().await;
            players.push(Some(player));
        }
        let mut kills = self.kills;
        let mut dead = self.before.iter().any(|actor| actor.dies_after.is_some());
        let (mut fate, mut last) = (0, None);
        loop {
            let mut choices = Vec::new();
            for (index, player) in players.iter().enumerate() {
                let Some(player) = player.as_ref().filter(|player| !player.done) else { continue };
                choices.push(Choice::Step(index));
                // When a process dies doesn't matter, only after which write.
                if kills > 0 && last == Some(index) && table.wrote(player.seat) {
                    choices.push(Choice::Kill(index));
                }
            }
            if choices.is_empty() || !table.monitor().violations.is_empty() {
                break;
            }
            let fingerprint = hash_of(&(table.fingerprint(), fate, &choices));
            match choose(Fork { choices, fingerprint }) {
                Some(Choice::Step(index)) => {
                    last = Some(index);
                    if let Some(player) = &mut players[index] {
                        player.step().await;
                    }
                }
                Some(Choice::Kill(index)) => {
                    table.note(|| format!("{}: is killed", first + index));
                    players[index] = None;
                    kills -= 1;
                    dead |= self.actors[index].upstream;
                    fate += 1 << (8 * index);
                }
                None => return (std::mem::take(&mut table.monitor().violations), table.trace()),
            }
        }
        if table.monitor().violations.is_empty() {
            self.finish(&table, dead).await;
        }
        let violations = std::mem::take(&mut table.monitor().violations);
        (violations, table.trace())
    }

    fn furnish(&self, table: &Table) {
        for (path, value) in furniture(&self.pools, self.strict, self.cooldown) {
            table.store.put_raw(&path, &value);
        }
    }

    /// When all are done: nothing is wrong that no dead or failed process of upstream's explains,
    /// and what one left behind goes with the next use and the next release.
    async fn finish(&self, table: &Arc<Table>, dead: bool) {
        let mixed = table.monitor().mixed;
        let excused = dead || table.monitor().is_excused();
        let documents = documents(&table.store).await;
        for problem in check(&documents).problems {
            let allowed = match problem.severity {
                Severity::Broken => false,
                Severity::HalfDone => excused,
                // Upstream counts too much even when it lives (15.2, 1 and 2).
                Severity::Waste => mixed,
            };
            if !allowed {
                table.monitor().violate(format!("at the end: {problem}"));
            }
        }
        table.note(|| "-- the end".to_owned());
        let (clock, wait) = (table.clone(), table.clone());
        let now = Arc::new(move || clock.now());
        // What cools down has cooled down.
        let wait = move || wait.advance(self.cooldown + 1000);
        for text in clean_up(&table.store, now, &wait, self.hosts()).await {
            table.monitor().violate(text);
        }
    }

    fn hosts(&self) -> impl Iterator<Item = &'static str> + Clone {
        let used = move |host: &&str| {
            self.before.iter().chain(&self.actors).any(|actor| actor.host == *host)
        };
        HOSTS.into_iter().filter(used)
    }
}

/// The pools, the nodes and the configuration, under their keys' text.
pub fn furniture(pools: &[(&str, u8)], strict: bool, cooldown: i64) -> Vec<(String, Vec<u8>)> {
    let resources = "/calico/resources/v3/projectcalico.org";
    let mut all = Vec::new();
    for (index, (cidr, size)) in pools.iter().enumerate() {
        let spec = format!(r#"{{"cidr":"{cidr}","blockSize":{size},"nodeSelector":"all()"}}"#);
        let value = format!(r#"{{"spec":{spec}}}"#).into_bytes();
        all.push((format!("{resources}/ippools/pool{index}"), value));
    }
    for host in HOSTS {
        all.push((format!("{resources}/nodes/{host}"), b"{}".to_vec()));
    }
    let config = IpamConfig {
        strict_affinity: strict,
        ip_cooldown_seconds: cooldown,
        ..IpamConfig::default()
    };
    all.push(("/calico/ipam/v2/config".to_owned(), config.encode()));
    all
}

/// Uses every host once more, releases everything and gives up everything, and answers what went
/// wrong or is left then.
pub async fn clean_up(
    store: &dyn Store,
    clock: Clock,
    wait: &(dyn Fn() + Send + Sync),
    hosts: impl Iterator<Item = &'static str> + Clone,
) -> Vec<String> {
    let mut wrong = Vec::new();
    wait();
    let allocator = Allocator::with_clock(store, move || clock());
    for host in hosts.clone() {
        let mut request = AutoAssign::new(host);
        request.handle = Some(format!("last-{host}"));
        let _ = allocator.auto_assign(&request, None, None, soon()).await;
    }
    let found = documents(store).await;
    let report = check(&found);
    wrong.extend(report.at_least(Severity::Broken).map(|problem| format!("repaired: {problem}")));
    let handles: Vec<String> = found
        .into_iter()
        .filter_map(|document| match document.key {
            Key::Handle(id) => Some(id),
            _ => None,
        })
        .collect();
    let mut fail = |error: IpamError| wrong.push(format!("at the end: {error}"));
    for some in handles.chunks(8) {
        let released = allocator.release_by_handle(some, None, Vec::new(), soon()).await;
        released.map(drop).unwrap_or_else(&mut fail);
    }
    wait();
    for host in hosts {
        let removed = allocator.remove_host(&AffinityOwner::host(host), soon()).await;
        removed.unwrap_or_else(&mut fail);
    }
    // What is left are blocks without owner, or whose owner has lost its affinity.
    let left = documents(store).await;
    let blocks = left.iter().filter_map(|document| match document.key {
        Key::Block(cidr) => Some(cidr),
        _ => None,
    });
    for cidr in blocks {
        let given_up = allocator.release_block_affinity(cidr, true, soon()).await;
        given_up.unwrap_or_else(&mut fail);
        let collected = allocator.garbage_collect_cold_ips(&[cidr], soon()).await;
        collected.map(drop).unwrap_or_else(&mut fail);
    }
    for left in documents(store).await {
        if matches!(left.key, Key::Block(_) | Key::Affinity(..) | Key::Handle(_)) {
            let value = String::from_utf8_lossy(&left.value).into_owned();
            wrong.push(format!("left at the end: {:?} {value}", left.key));
        }
    }
    wrong
}

pub async fn documents(store: &dyn Store) -> Vec<Document> {
    let all = [Query::Prefix(Prefix::All)];
    let snapshot = store.read(&all, soon()).await.expect("the store answers");
    snapshot.results.into_iter().flatten().collect()
}

/// An actor that is under way.
struct Player {
    table: Arc<Table>,
    seat: usize,
    run: Pin<Box<dyn Future<Output = ()>>>,
    done: bool,
}

impl Player {
    fn new(table: &Arc<Table>, seat: usize, actor: Actor, shared: Vec<String>) -> Player {
        let skew = time::Duration::microseconds(i64::try_from(seat).unwrap_or_default());
        let run = Box::pin(actor.run(table.clone(), table.seat(seat), shared, skew));
        Player { table: table.clone(), seat, run, done: false }
    }

    /// Goes on to its first request.
    async fn start(&mut self) {
        self.go_on().await;
    }

    /// Makes one request and goes on to the next.
    async fn step(&mut self) {
        self.table.grant(self.seat);
        self.go_on().await;
    }

    async fn go_on(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while self.run.as_mut().poll(&mut context) == Poll::Pending {
            if self.table.is_waiting(self.seat) {
                return;
            }
            // It pauses after a lost race, for a quarter of a second at most.
            tokio::time::advance(Duration::from_millis(300)).await;
        }
        self.done = true;
    }
}
