//! Assigning addresses (sections 3 and 7).

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::ipam::reservation::AddressFilter;
use libcalico::ipam::walk::Walk;
use libcalico::ipam::{Block, IpamConfig, Pool};
use libcalico::resources::Kind;
use libcalico::store::{Family, Key, Prefix};

use super::{Fail, Stored, TRIES, Taken, Upstream};

/// The cap on blocks per host when the configuration sets none.
const DEFAULT_MAX_BLOCKS: i64 = 20;

impl Upstream {
    fn attributes(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("node".to_owned(), self.host.clone())])
    }

    /// Section 3, both families one after the other. What was taken before a failure stays taken.
    pub async fn auto_assign(&self, handle: &str, v4: u32, v6: u32) -> (Vec<Taken>, Option<Fail>) {
        let mut taken = Vec::new();
        for (family, wanted) in [(Family::V4, v4), (Family::V6, v6)] {
            if wanted > 0
                && let Err(error) = self.assign_family(handle, family, wanted, &mut taken).await
            {
                return (taken, Some(error));
            }
        }
        (taken, None)
    }

    async fn assign_family(
        &self,
        handle: &str,
        family: Family,
        wanted: u32,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fail> {
        let target = taken.len() + wanted as usize;
        let config = self.config().await;
        self.list(Prefix::kind(Kind::IpReservation)).await;
        self.get(Key::global(Kind::Node, &self.host)).await?;
        let mut pools = self.pools().await;
        pools.retain(|pool| pool.is_enabled() && pool.family() == family);
        let own = self.list(Prefix::Affinities(self.owner(), Some(family))).await;
        let mut own: Vec<IpNet> = own
            .iter()
            .filter_map(|found| match found.key {
                Key::Affinity(_, cidr) => Some(cidr),
                _ => None,
            })
            .filter(|cidr| pools.iter().any(|pool| pool.cidr.contains(cidr)))
            .collect();
        own.reverse();
        let max = config.max_blocks_per_host;
        let limit = if max > 0 { max } else { DEFAULT_MAX_BLOCKS };
        let mut owned = own.len() as i64;
        while taken.len() < target {
            let found = self.find_or_claim(&mut own, &mut owned, limit, &pools, &config).await?;
            let Some(mut block) = found else { break };
            // A failure here is only a message beside the result.
            let strict = config.strict_affinity;
            let _ = self.assign_from(handle, &mut block, target, strict, &config, taken).await;
        }
        if taken.len() < target && !config.strict_affinity {
            self.borrow(handle, &pools, target, &config, taken).await;
        }
        Ok(())
    }

    /// 3.5. None when there are no more.
    async fn find_or_claim(
        &self,
        own: &mut Vec<IpNet>,
        owned: &mut i64,
        limit: i64,
        pools: &[Pool],
        config: &IpamConfig,
    ) -> Result<Option<Stored<Block>>, Fail> {
        let none = AddressFilter::default();
        while let Some(cidr) = own.pop() {
            for _ in 0..TRIES {
                let result = match self.affinity(&self.owner(), cidr).await {
                    Ok(affinity) => self.resolve(cidr, affinity, config).await,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(block) if block.value.free_count(&none) > 0 => return Ok(Some(block)),
                    Err(Fail::Conflict) => continue,
                    _ => break,
                }
            }
        }
        if *owned >= limit {
            return Err(Fail::Other("limit of blocks"));
        }
        for _ in 0..TRIES {
            let Some(cidr) = self.choose_block(pools, config).await? else { return Ok(None) };
            for _ in 0..TRIES {
                let result = match self.pending_affinity(cidr).await {
                    Ok(affinity) => self.resolve(cidr, affinity, config).await,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(block) if block.value.free_count(&none) > 0 => {
                        *owned += 1;
                        return Ok(Some(block));
                    }
                    Ok(_) => return Err(Fail::Other("the new block has too few addresses")),
                    Err(Fail::Conflict) => continue,
                    Err(Fail::Claimed | Fail::Stale) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Fail::Other("max retries hit"))
    }

    /// 3.6: the handle is raised by what is wanted, then the block is written.
    async fn assign_from(
        &self,
        handle: &str,
        block: &mut Stored<Block>,
        target: usize,
        owned_only: bool,
        config: &IpamConfig,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fail> {
        let (cidr, wanted) = (block.value.cidr, target - taken.len());
        for _ in 0..TRIES {
            if owned_only && block.value.check_owner(&self.owner()).is_err() {
                return Err(Fail::Other("strict affinity"));
            }
            let sequence_number = block.value.sequence_number;
            let (attributes, none) = (self.attributes(), AddressFilter::default());
            let ips = block.value.auto_assign(wanted, Some(handle), &attributes, &none);
            if ips.is_empty() {
                return Ok(());
            }
            self.increment(handle, cidr, wanted).await?;
            match self.update_block(block).await {
                Ok(()) => {
                    taken.extend(ips.into_iter().map(|address| Taken { address, sequence_number }));
                    return Ok(());
                }
                Err(error) => {
                    let _ = self.decrement(handle, cidr, wanted).await;
                    if error != Fail::Conflict {
                        return Err(error);
                    }
                }
            }
            *block = self.block(cidr, config).await?;
        }
        Err(Fail::Other("max retries hit"))
    }

    /// 3.7.
    async fn borrow(
        &self,
        handle: &str,
        pools: &[Pool],
        target: usize,
        config: &IpamConfig,
        taken: &mut Vec<Taken>,
    ) {
        for pool in pools {
            for cidr in Walk::new(&self.host, pool.cidr, pool.block_size, 0).iter() {
                if taken.len() >= target {
                    return;
                }
                if let Ok(mut block) = self.block(cidr, config).await {
                    let from = self.assign_from(handle, &mut block, target, false, config, taken);
                    let _ = from.await;
                }
            }
        }
    }

    /// Section 7. The count of a lost try is never undone (weak point 2).
    pub async fn assign_ip(&self, handle: &str, address: IpAddr) -> Result<Taken, Fail> {
        let pools = self.pools().await;
        let pool = pools.iter().find(|pool| pool.is_enabled() && pool.cidr.contains(&address));
        let size = pool.ok_or(Fail::Other("no pool"))?.block_size;
        let cidr = IpNet::new(address, size).expect("a block").trunc();
        let config = self.config().await;
        for _ in 0..TRIES {
            let mut block = match self.block(cidr, &config).await {
                Ok(block) => block,
                Err(_) => {
                    let result = match self.pending_affinity(cidr).await {
                        Ok(affinity) => self.claim_block(cidr, affinity, &config).await,
                        Err(error) => Err(error),
                    };
                    match result {
                        Ok(block) => block,
                        Err(Fail::Conflict) => continue,
                        Err(error) => return Err(error),
                    }
                }
            };
            if config.strict_affinity && block.value.check_owner(&self.owner()).is_err() {
                return Err(Fail::Other("strict affinity"));
            }
            let sequence_number = block.value.sequence_number;
            let assigned = block.value.assign(address, Some(handle), &self.attributes());
            assigned.map_err(|_| Fail::Exists)?;
            self.increment(handle, cidr, 1).await?;
            match self.update_block(&mut block).await {
                Ok(()) => return Ok(Taken { address, sequence_number }),
                Err(Fail::Conflict) => {}
                Err(error) => {
                    let _ = self.decrement(handle, cidr, 1).await;
                    return Err(error);
                }
            }
        }
        Err(Fail::Other("max retries hit"))
    }
}
