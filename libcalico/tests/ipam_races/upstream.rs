//! Upstream's operations as sequences of single requests, with its order of writes, its retries and
//! its gaps (`reference/ipam.md` sections 3, 5, 7, 8 and 10). Each write is one guarded change of
//! one key; whoever stops polling one of these leaves what a killed process leaves.
//!
//! What happens inside a block is the same in upstream and in ours (section 6), so blocks change
//! by [`Block`]'s own functions.

mod assign;
mod claim;
mod handles;
mod release;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use libcalico::ipam::affinity::{Affinity, AffinityState};
use libcalico::ipam::{Block, IpamConfig, Pool};
use libcalico::resources::Kind;
use libcalico::store::{
    AffinityOwner, Change, Committed, Document, Key, Prefix, Query, Revision, Store,
};
use time::OffsetDateTime;

/// Upstream's budget of tries.
const TRIES: usize = 100;

pub type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// A process of upstream's on a host.
#[derive(Clone)]
pub struct Upstream {
    pub store: Arc<dyn Store>,
    pub host: String,
    pub clock: Clock,
}

/// Why something of upstream's ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fail {
    /// A write lost against another one.
    Conflict,
    /// What should be created exists.
    Exists,
    /// What should be read, changed or deleted doesn't exist.
    Missing,
    /// Somebody else has the block.
    Claimed,
    /// The affinity stands for a block that is somebody else's.
    Stale,
    /// The block isn't empty.
    NotEmpty,
    /// The block changed since it was read.
    Changed,
    /// All the rest.
    Other(&'static str),
}

/// A value and the revision that guards its next write.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    pub revision: Revision,
    pub value: T,
}

/// An address that was handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    pub address: IpAddr,
    pub sequence_number: u64,
}

impl Upstream {
    pub fn owner(&self) -> AffinityOwner {
        AffinityOwner::host(&self.host)
    }

    fn now(&self) -> OffsetDateTime {
        (self.clock)()
    }

    async fn get(&self, key: Key) -> Result<Document, Fail> {
        self.read(Query::Key(key)).await.pop().ok_or(Fail::Missing)
    }

    async fn list(&self, prefix: Prefix) -> Vec<Document> {
        self.read(Query::Prefix(prefix)).await
    }

    async fn read(&self, query: Query) -> Vec<Document> {
        let snapshot = self.store.read(&[query], soon()).await.expect("the store answers");
        snapshot.results.into_iter().flatten().collect()
    }

    /// One guarded write.
    async fn write(&self, change: Change) -> Result<Revision, Fail> {
        let create = change.guard == libcalico::store::Guard::Absent;
        match self.store.commit(&[change], soon()).await.expect("the store answers") {
            Committed::Done(revision) => Ok(revision),
            Committed::Conflict(_) if create => Err(Fail::Exists),
            Committed::Conflict(present) if present.iter().all(Option::is_none) => {
                Err(Fail::Missing)
            }
            Committed::Conflict(_) => Err(Fail::Conflict),
        }
    }

    async fn config(&self) -> IpamConfig {
        match self.get(Key::IpamConfig).await {
            Ok(document) => IpamConfig::decode(&document.value).expect("a configuration"),
            Err(_) => IpamConfig::default(),
        }
    }

    async fn pools(&self) -> Vec<Pool> {
        let documents = self.list(Prefix::kind(Kind::IpPool)).await;
        documents.iter().map(|found| Pool::from_document(found).expect("a pool")).collect()
    }

    /// A block, with what has cooled down collected: every load does that (6.1).
    async fn block(&self, cidr: IpNet, config: &IpamConfig) -> Result<Stored<Block>, Fail> {
        let document = self.get(Key::Block(cidr)).await?;
        Ok(self.load(&document, config))
    }

    fn load(&self, document: &Document, config: &IpamConfig) -> Stored<Block> {
        let mut value = Block::decode(&document.value).expect("a block");
        value.collect(self.now(), config.ip_cooldown_seconds);
        Stored { revision: document.revision, value }
    }

    /// Writes a block, which raises its sequence number by one.
    async fn update_block(&self, block: &mut Stored<Block>) -> Result<(), Fail> {
        block.value.sequence_number += 1;
        let key = Key::Block(block.value.cidr);
        let change = Change::update(key, block.revision, block.value.encode());
        block.revision = self.write(change).await?;
        Ok(())
    }

    async fn delete_block(&self, block: &Stored<Block>) -> Result<(), Fail> {
        let change = Change::delete(Key::Block(block.value.cidr), block.revision);
        self.write(change).await.map(|_| ())
    }

    async fn affinity(&self, owner: &AffinityOwner, cidr: IpNet) -> Result<Stored<State>, Fail> {
        let document = self.get(Key::Affinity(owner.clone(), cidr)).await?;
        let value = Affinity::decode(&document.value).expect("an affinity").state;
        Ok(Stored { revision: document.revision, value })
    }

    async fn set_affinity(
        &self,
        owner: &AffinityOwner,
        cidr: IpNet,
        affinity: &mut Stored<State>,
        state: State,
    ) -> Result<(), Fail> {
        let key = Key::Affinity(owner.clone(), cidr);
        let value = encode(state.clone());
        affinity.revision = self.write(Change::update(key, affinity.revision, value)).await?;
        affinity.value = state;
        Ok(())
    }

    async fn delete_affinity(
        &self,
        owner: &AffinityOwner,
        cidr: IpNet,
        affinity: &Stored<State>,
    ) -> Result<(), Fail> {
        let key = Key::Affinity(owner.clone(), cidr);
        self.write(Change::delete(key, affinity.revision)).await.map(|_| ())
    }
}

type State = AffinityState;

fn encode(state: State) -> Vec<u8> {
    Affinity { state, ..Affinity::default() }.encode()
}

/// Long enough for the slowest machine.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(120)
}
