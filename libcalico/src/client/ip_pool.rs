//! Pools: a new one must fit to those that are there, and an old one takes its blocks along
//! (`reference/datamodel.md` section 5).

use std::time::Instant;

use ipnet::IpNet;

use super::{ATTEMPTS, Client, ClientError};
use crate::bootstrap;
use crate::resources::resource::{Object, describe};
use crate::resources::validation::FieldErrors;
use crate::resources::{IpPool, IpPoolSpec, Kind, ValidationError, decode};
use crate::store::{
    Action, Change, Committed, Document, Family, Guard, Key, Prefix, Query, Revision, StoreError,
};

/// Checks a new pool against the other pools and against the blocks that exist.
pub fn check_fits(
    pool: &IpPool,
    others: &[IpPool],
    blocks: impl IntoIterator<Item = IpNet>,
) -> Result<(), ValidationError> {
    let mut errors = FieldErrors::default();
    let (name, spec) = (&pool.metadata.name, &pool.spec);
    let Some(net) = spec.net() else { return Ok(()) };
    for other in others.iter().filter(|other| other.metadata.name != *name) {
        if other.spec.net().is_some_and(|taken| overlaps(&net, &taken)) {
            let reason = format!(
                "IPPool({name}) CIDR overlaps with IPPool({}) CIDR {}",
                other.metadata.name, other.spec.cidr
            );
            errors.add("IPPool.Spec.CIDR", &spec.cidr, reason);
        }
    }
    let size = spec.block_prefix_len();
    let differs = |block: IpNet| net.contains(&block) && Some(block.prefix_len()) != size;
    if blocks.into_iter().any(differs) {
        let reason = "IPPool blocksSize conflicts with existing allocations that use a different \
                      blockSize";
        errors.add("IPPool.Spec.BlockSize", spec.block_size, reason);
    }
    errors.into_result(describe(Kind::IpPool, "", name))
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

impl Client {
    /// Creates a pool that fits. Two of us that create overlapping pools at once are kept apart by
    /// writing ClusterInformation in the same commit: one of the two finds it changed and looks
    /// again. (Upstream's programs don't take part in that.)
    pub(super) async fn create_pool(
        &self,
        create: Change,
        deadline: Instant,
    ) -> Result<Revision, ClientError> {
        let Action::Put(value) = &create.action else { return Ok(0) };
        let pool: IpPool = decode(value)?;
        let already_exists = || ClientError::AlreadyExists { id: super::id(&create.key) };
        for _ in 0..ATTEMPTS {
            let (others, blocks, cluster) = self.read_neighbours(&pool, deadline).await?;
            if others.iter().any(|other| other.key() == create.key) {
                return Err(already_exists());
            }
            check_fits(&pool, &others, blocks)?;
            let Some(cluster) = cluster else {
                bootstrap::ensure_initialised(&*self.store, deadline).await?;
                continue;
            };
            let decided = bootstrap::decided(&cluster);
            let turnstile = Change::update(cluster.key, cluster.revision, decided);
            match self.store.commit(&[turnstile, create.clone()], deadline).await {
                Err(error) => return self.look_up(&create, error, deadline).await,
                Ok(Committed::Done(revision)) => return Ok(revision),
                Ok(Committed::Conflict(present)) if present.get(1).is_some_and(Option::is_some) => {
                    return Err(already_exists());
                }
                Ok(Committed::Conflict(_)) => {}
            }
        }
        Err(ClientError::Conflict { id: super::id(&create.key) })
    }

    /// What a new pool must fit to: the other pools and the blocks of its family; and
    /// ClusterInformation.
    async fn read_neighbours(
        &self,
        pool: &IpPool,
        deadline: Instant,
    ) -> Result<(Vec<IpPool>, Vec<IpNet>, Option<Document>), ClientError> {
        let family = pool.spec.net().map(|net| Family::of(&net));
        let queries = [
            Query::Prefix(Prefix::kind(Kind::IpPool)),
            Query::Keys(Prefix::Blocks(family)),
            Query::Key(Key::global(Kind::ClusterInformation, "default")),
        ];
        let mut results = self.store.read(&queries, deadline).await?.results.into_iter();
        let mut next = || results.next().unwrap_or_default();
        let (pools, blocks, mut cluster) = (next(), next(), next());
        let pools = pools.iter().filter_map(|document| IpPool::decode(document).ok());
        let blocks = blocks.into_iter().filter_map(|document| match document.key {
            Key::Block(net) => Some(net),
            _ => None,
        });
        Ok((pools.collect(), blocks.collect(), cluster.pop()))
    }

    /// Removes a pool: disables it, so that nobody takes from it any more, has `release` give up
    /// the affinities of the blocks in its range (IPAM's release of a pool's affinities: blocks
    /// without addresses go, others stay until their addresses are freed), and deletes it.
    ///
    /// An allocation that read the pool before it was disabled may still finish after it is gone;
    /// its address stays valid and is freed as every other.
    pub async fn delete_pool(
        &self,
        name: &str,
        revision: Option<Revision>,
        release: impl AsyncFnOnce(IpNet) -> Result<(), StoreError>,
        deadline: Instant,
    ) -> Result<IpPool, ClientError> {
        let pool = self.disable_pool(name, revision, deadline).await?;
        if let Some(net) = pool.spec.net() {
            release(net).await?;
        }
        // Whoever changed it in between, to take it back into use perhaps, wins.
        let guard = pool.metadata.revision().map_or(Guard::Any, Guard::Revision);
        let change = Change { key: pool.key(), guard, action: Action::Delete };
        self.commit(change, deadline).await?;
        Ok(pool)
    }

    /// Disables a pool: that at `revision`, or whatever is there. Returns it as it is stored.
    pub async fn disable_pool(
        &self,
        name: &str,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<IpPool, ClientError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut pool = self.get::<IpPoolSpec>("", name, deadline).await?;
            if revision.is_some() && pool.metadata.revision() != revision {
                return Err(ClientError::Conflict { id: super::id(&pool.key()) });
            }
            if pool.spec.disabled {
                return Ok(pool);
            }
            pool.spec.disabled = true;
            match self.update(pool, deadline).await {
                Err(error) if revision.is_none() && error.is_race() && attempts < ATTEMPTS => {}
                disabled => return disabled,
            }
        }
    }
}
