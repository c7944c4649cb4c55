//! The store that actors race on, its clock, and what must always hold.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use time::OffsetDateTime;

use crate::ipam::Block;
use crate::ipam::check::{Severity, check};
use crate::ipam::error::IpamError;
use crate::ipam::operation::{Operation, Step};
use crate::ipam::release::ReleaseByHandle;
use crate::ipam::stage::Env;
use crate::ipam::surrender::{Conditions, Surrender, Which};
use crate::ipam::view::View;
use crate::store::{
    AffinityOwner, Change, Committed, Document, Key, MemoryStore, Prefix, Query, Store,
};

use super::play_alone;

/// More lost races than this are no bad luck any more.
const MOST_RACES: usize = 200;

/// The time that passes between a decision and its request, at most: 100 requests of others.
const MOST_DELAY: u64 = 100 * 20_000_000_000;

pub(super) struct World {
    pub store: MemoryStore,
    /// What is played, for messages.
    text: String,
    /// Only our operations take part: then nothing is ever half-done or counted too often.
    only_ours: bool,
    requests: Cell<i64>,
    /// Who has which address.
    holders: RefCell<BTreeMap<IpAddr, String>>,
    /// Handles that somebody is releasing.
    releasing: RefCell<Vec<String>>,
    /// The last sequence number of each block, and whether it was there after the last request.
    sequences: RefCell<BTreeMap<Key, (u64, bool)>>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(super) fn new(text: &str, only_ours: bool) -> World {
        let store = MemoryStore::new();
        let resources = "/calico/resources/v3/projectcalico.org";
        store.put_raw(
            &format!("{resources}/ippools/pool"),
            br#"{"spec":{"cidr":"10.0.0.0/29","blockSize":30}}"#,
        );
        for host in ["a", "b", "c"] {
            store.put_raw(&format!("{resources}/nodes/{host}"), b"{}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        World {
            store,
            text: text.to_owned(),
            only_ours,
            requests: Cell::new(0),
            holders: RefCell::default(),
            releasing: RefCell::default(),
            sequences: RefCell::default(),
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Every request takes 20 s, so that empty blocks soon are old enough to be taken over.
    pub(super) fn now(&self) -> OffsetDateTime {
        let start = OffsetDateTime::from_unix_timestamp(1_787_405_600).expect("a time");
        start + time::Duration::seconds(20 * self.requests.get())
    }

    /// Waits for its turn, which a request takes.
    pub(super) async fn turn(&self) {
        let mut waited = false;
        std::future::poll_fn(|_| {
            if waited {
                return std::task::Poll::Ready(());
            }
            waited = true;
            std::task::Poll::Pending
        })
        .await;
        self.requests.set(self.requests.get() + 1);
    }

    pub(super) async fn read(&self, queries: &[Query]) -> Vec<Vec<Document>> {
        self.turn().await;
        self.store.read(queries, deadline()).await.expect("it reads").results
    }

    pub(super) async fn commit(&self, changes: &[Change]) -> Committed {
        self.turn().await;
        let _runtime = self.runtime.enter();
        self.store.commit(changes, deadline()).await.expect("it commits")
    }

    /// Runs one of our operations, as the shell does, without its pauses.
    pub(super) async fn run<O: Operation>(&self, mut operation: O) -> Result<O::Answer, IpamError> {
        let queries = operation.queries();
        let mut view = View::default();
        self.turn().await;
        view.absorb(&queries, self.store.read(&queries, deadline()).await?);
        for _ in 0..MOST_RACES {
            match operation.step(&view, Env { now: self.now(), seed: 1 })? {
                Step::Done(answer) => return Ok(answer),
                Step::Read(queries) => {
                    self.turn().await;
                    view.absorb(&queries, self.store.read(&queries, deadline()).await?);
                }
                Step::Commit { changes, .. } => match self.commit(&changes).await {
                    Committed::Done(revision) => {
                        view.absorb_commit(&changes, revision);
                        operation.committed();
                    }
                    Committed::Conflict(present) => view.absorb_conflict(&changes, present),
                },
            }
        }
        panic!("an operation doesn't end: {}", self.text);
    }

    /// An address was handed out: nobody else may have it. A release of the same handle that is
    /// under way may take it back at once.
    pub(super) fn assigned(&self, handle: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let mut holders = self.holders.borrow_mut();
        let under_way = self.releasing.borrow().iter().any(|releasing| releasing == handle);
        for address in addresses {
            let other = holders.get(&address).filter(|other| *other != handle);
            assert_eq!(other, None, "{address} was given to {handle}, too: {}", self.text);
            if !under_way {
                holders.insert(address, handle.to_owned());
            }
        }
    }

    /// A release begins: until the answer is dropped it may take all that the handle has, or gets.
    pub(super) fn releasing(&self, handle: &str, address: Option<IpAddr>) -> Releasing<'_> {
        self.holders.borrow_mut().retain(|held, holder| {
            holder != handle || address.is_some_and(|address| address != *held)
        });
        self.releasing.borrow_mut().push(handle.to_owned());
        Releasing { world: self, handle: handle.to_owned() }
    }

    pub(super) fn any_of(&self, handle: &str) -> Option<IpAddr> {
        let holders = self.holders.borrow();
        holders.iter().find(|(_, holder)| *holder == handle).map(|(address, _)| *address)
    }

    fn documents(&self) -> Vec<Document> {
        let read = self.store.read(&[Query::Prefix(Prefix::All)], deadline());
        self.runtime.block_on(read).expect("it reads").results.remove(0)
    }

    /// What holds after every request.
    pub(super) fn check(&self) {
        let documents = self.documents();
        let worst = if self.only_ours { Severity::HalfDone } else { Severity::Broken };
        let report = check(&documents);
        let problems: Vec<_> = report
            .problems
            .iter()
            .filter(|problem| problem.severity >= worst || (self.only_ours && problem.rule == "W4"))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}\n{}", self.text);
        let blocks: Vec<(&Key, Block)> = documents
            .iter()
            .filter(|document| matches!(document.key, Key::Block(_)))
            .map(|document| (&document.key, Block::decode(&document.value).expect("a block")))
            .collect();
        // I1: whoever was told that he has an address does have it.
        for (address, holder) in self.holders.borrow().iter() {
            let found = blocks.iter().find(|(_, block)| block.cidr.contains(address));
            let record = found.and_then(|(_, block)| block.record(*address).ok().flatten());
            let handle = record.and_then(|record| record.handle());
            assert_eq!(handle, Some(holder.as_str()), "{address}: {}", self.text);
        }
        // I7: the sequence number of a block rises with each write. One that is made again starts
        // with the time at which its maker decided, which may be some requests ago.
        let mut sequences = self.sequences.borrow_mut();
        for (key, block) in blocks {
            let number = block.sequence_number;
            let (seen, alive) = sequences.entry(key.clone()).or_insert((number, true));
            let least = if *alive { *seen } else { seen.saturating_sub(MOST_DELAY) };
            assert!(number >= least, "{key:?} fell to {number} from {seen}: {}", self.text);
            (*seen, *alive) = (number, true);
        }
        for (key, (_, alive)) in sequences.iter_mut() {
            *alive = documents.iter().any(|document| document.key == *key);
        }
    }

    /// At the end everything can be taken back, whatever was left half-done.
    pub(super) fn finish(&self) {
        let handles: Vec<String> = self
            .documents()
            .iter()
            .filter_map(|document| match &document.key {
                Key::Handle(id) => Some(id.clone()),
                _ => None,
            })
            .collect();
        self.holders.borrow_mut().clear();
        play_alone(async {
            let release = ReleaseByHandle::new(&handles, Vec::new());
            self.run(release).await.expect("everything is released");
            for host in ["a", "b", "c"] {
                let which = Which::Owner(AffinityOwner::host(host));
                let surrender = Surrender::new(which, Conditions::default(), None);
                self.run(surrender).await.expect("everything is given up");
            }
        });
        let all = self.documents();
        let left: Vec<_> = all
            .iter()
            .filter(|document| !matches!(document.key, Key::Resource { .. }))
            .filter(|document| !self.is_lost_by_upstream(document, &all))
            .collect();
        assert!(left.is_empty(), "left: {left:#?}\n{}", self.text);
    }

    /// An empty block that an interrupted upstream left without owner, or without the affinity of
    /// its owner: no operation on a host or a handle comes to it again, the next allocation does.
    fn is_lost_by_upstream(&self, document: &Document, all: &[Document]) -> bool {
        let Key::Block(cidr) = document.key else { return false };
        let block = Block::decode(&document.value).expect("a block");
        let key = block.owner().map(|owner| Key::Affinity(owner, cidr));
        let affinity = all.iter().any(|document| Some(&document.key) == key.as_ref());
        !self.only_ours && block.is_empty() && !affinity
    }
}

/// A release that is under way.
pub(super) struct Releasing<'w> {
    world: &'w World,
    handle: String,
}

impl Drop for Releasing<'_> {
    fn drop(&mut self) {
        let mut releasing = self.world.releasing.borrow_mut();
        if let Some(at) = releasing.iter().position(|handle| *handle == self.handle) {
            releasing.remove(at);
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}
