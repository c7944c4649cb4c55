//! Claiming a block: a pending affinity, the block, the confirmation (sections 4.2, 5 and 10).

use ipnet::IpNet;
use libcalico::ipam::affinity::AffinityState;
use libcalico::ipam::reservation::AddressFilter;
use libcalico::ipam::walk::Walk;
use libcalico::ipam::{Block, IpamConfig, Pool};
use libcalico::store::{Change, Key, Prefix};

use super::{Fail, State, Stored, TRIES, Upstream, encode};

/// For how long an empty block stays with its owner.
const MIN_RECLAIM_AGE: i64 = 60;

impl Upstream {
    /// 5.1.
    pub(super) async fn pending_affinity(&self, cidr: IpNet) -> Result<Stored<State>, Fail> {
        let owner = self.owner();
        let key = Key::Affinity(owner.clone(), cidr);
        match self.write(Change::create(key, encode(AffinityState::Pending))).await {
            Ok(revision) => Ok(Stored { revision, value: AffinityState::Pending }),
            Err(Fail::Exists) => {
                let mut found = self.affinity(&owner, cidr).await?;
                if found.value != AffinityState::Confirmed {
                    self.set_affinity(&owner, cidr, &mut found, AffinityState::Pending).await?;
                }
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }

    /// 5.2.
    pub(super) async fn claim_block(
        &self,
        cidr: IpNet,
        mut affinity: Stored<State>,
        config: &IpamConfig,
    ) -> Result<Stored<Block>, Fail> {
        let owner = self.owner();
        let block = Block::new(cidr, Some(&owner), None, self.now());
        match self.write(Change::create(Key::Block(cidr), block.encode())).await {
            Ok(revision) => {
                self.confirm(cidr, &mut affinity).await?;
                Ok(Stored { revision, value: block })
            }
            Err(Fail::Exists) => {
                let found = self.block(cidr, config).await?;
                if found.value.is_owned_by(&owner) {
                    self.confirm(cidr, &mut affinity).await?;
                    return Ok(found);
                }
                let _ = self.delete_affinity(&owner, cidr, &affinity).await;
                Err(Fail::Claimed)
            }
            Err(error) => Err(error),
        }
    }

    async fn confirm(&self, cidr: IpNet, affinity: &mut Stored<State>) -> Result<(), Fail> {
        let owner = self.owner();
        let confirmed = AffinityState::Confirmed;
        let Err(error) = self.set_affinity(&owner, cidr, affinity, confirmed).await else {
            return Ok(());
        };
        match self.affinity(&owner, cidr).await {
            Ok(found) if found.value == AffinityState::Confirmed => Ok(()),
            _ => Err(error),
        }
    }

    /// 5.3.
    pub(super) async fn resolve(
        &self,
        cidr: IpNet,
        mut affinity: Stored<State>,
        config: &IpamConfig,
    ) -> Result<Stored<Block>, Fail> {
        let owner = self.owner();
        let mut block = match self.block(cidr, config).await {
            Ok(block) => block,
            Err(_) => {
                self.set_affinity(&owner, cidr, &mut affinity, AffinityState::Pending).await?;
                return self.claim_block(cidr, affinity, config).await;
            }
        };
        if !block.value.is_owned_by(&owner) {
            self.delete_affinity(&owner, cidr, &affinity).await?;
            return Err(Fail::Stale);
        }
        if !affinity.value.is_confirmed() {
            self.set_affinity(&owner, cidr, &mut affinity, AffinityState::Pending).await?;
            self.update_block(&mut block).await?;
            self.set_affinity(&owner, cidr, &mut affinity, AffinityState::Confirmed).await?;
        }
        Ok(block)
    }

    /// 4.2: the next block to claim; none when there are none.
    pub(super) async fn choose_block(
        &self,
        pools: &[Pool],
        config: &IpamConfig,
    ) -> Result<Option<IpNet>, Fail> {
        let (owner, none) = (self.owner(), AddressFilter::default());
        let blocks: Vec<Stored<Block>> = self
            .list(Prefix::Blocks(None))
            .await
            .iter()
            .map(|document| self.load(document, config))
            .collect();
        let mut empty = Vec::new();
        for pool in pools {
            for cidr in Walk::new(&self.host, pool.cidr, pool.block_size, 0).iter() {
                let Some(found) = blocks.iter().find(|found| found.value.cidr == cidr) else {
                    return Ok(Some(cidr));
                };
                let free = found.value.free_count(&none) > 0;
                if found.value.is_owned_by(&owner) && free {
                    return Ok(Some(cidr));
                } else if found.value.is_empty() && free {
                    empty.push(&found.value);
                }
            }
        }
        for block in empty {
            let age = block.owned_for(self.now());
            if age.is_some_and(|age| age.whole_seconds() < MIN_RECLAIM_AGE) {
                continue;
            }
            let Some(victim) = block.owner() else { continue };
            let sequence = Some(block.sequence_number);
            let released = self.release_affinity_of(&victim, block.cidr, true, sequence, config);
            if released.await.is_ok() {
                return Ok(Some(block.cidr));
            }
        }
        Ok(None)
    }

    /// 10: claims every block of a network. Answers those that it got.
    pub async fn claim_affinity(&self, cidr: IpNet) -> Result<Vec<IpNet>, Fail> {
        let config = self.config().await;
        let pools = self.pools().await;
        let pool = pools.iter().find(|pool| pool.is_enabled() && pool.cidr.contains(&cidr));
        let size = pool.ok_or(Fail::Other("no pool"))?.block_size;
        let mut claimed = Vec::new();
        for block in Walk::ascending(cidr, size).iter() {
            for _ in 0..TRIES {
                let result = match self.pending_affinity(block).await {
                    Ok(affinity) => self.claim_block(block, affinity, &config).await,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(_) => claimed.push(block),
                    Err(Fail::Conflict) => continue,
                    Err(Fail::Claimed) => {}
                    Err(error) => return Err(error),
                }
                break;
            }
        }
        Ok(claimed)
    }
}
