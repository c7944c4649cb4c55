//! Giving addresses and blocks back (section 8).

use std::collections::BTreeMap;

use ipnet::IpNet;
use libcalico::ipam::affinity::AffinityState;
use libcalico::ipam::{Block, IpamConfig, ReleaseGuard};
use libcalico::resources::Kind;
use libcalico::store::{AffinityOwner, Key, Prefix};

use super::{Fail, Stored, TRIES, Upstream};

impl Upstream {
    /// 8.2. A block that has nothing of the handle ends it, and the handle stays as it is.
    pub async fn release_by_handle(&self, id: &str) -> Result<(), Fail> {
        let handle = match self.handle(id).await {
            Err(Fail::Missing) => return Ok(()),
            handle => handle?,
        };
        let config = self.config().await;
        for cidr in handle.value.blocks() {
            self.release_in(id, cidr, &config).await?;
        }
        Ok(())
    }

    async fn release_in(&self, id: &str, cidr: IpNet, config: &IpamConfig) -> Result<(), Fail> {
        for _ in 0..TRIES {
            let Ok(mut block) = self.block(cidr, config).await else { return Ok(()) };
            let cooldown = config.ip_cooldown_seconds;
            let released = block.value.release_by_handle(id, None, self.now(), cooldown).len();
            if released == 0 {
                return Ok(());
            }
            match self.put_back(&mut block).await {
                Ok(()) => {
                    let _ = self.decrement(id, cidr, released).await;
                    self.check_selection(&block.value, config).await;
                    return Ok(());
                }
                Err(Fail::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Fail::Other("max retries hit"))
    }

    /// 8.1, one block after the other.
    pub async fn release_ips(&self, guards: &[ReleaseGuard]) -> Result<(), Fail> {
        let pools = self.pools().await;
        let config = self.config().await;
        let mut by_block: BTreeMap<IpNet, Vec<ReleaseGuard>> = BTreeMap::new();
        for guard in guards {
            let pool = pools.iter().find(|pool| pool.cidr.contains(&guard.address));
            let Some(pool) = pool else { continue };
            let cidr = IpNet::new(guard.address, pool.block_size).expect("a block").trunc();
            by_block.entry(cidr).or_default().push(guard.clone());
        }
        let mut first = Ok(());
        for (cidr, guards) in by_block {
            let result = self.release_guarded(cidr, &guards, &config).await;
            first = first.and(result);
        }
        first
    }

    async fn release_guarded(
        &self,
        cidr: IpNet,
        guards: &[ReleaseGuard],
        config: &IpamConfig,
    ) -> Result<(), Fail> {
        for _ in 0..TRIES {
            let Ok(mut block) = self.block(cidr, config).await else { return Ok(()) };
            let cooldown = config.ip_cooldown_seconds;
            let released = block.value.release(guards, self.now(), cooldown);
            let released = released.map_err(|_| Fail::Other("a guard failed"))?;
            if released.released.is_empty() {
                return Ok(());
            }
            match self.put_back(&mut block).await {
                Ok(()) => {
                    for (id, count) in released.handles {
                        let _ = self.decrement(&id, cidr, count).await;
                    }
                    self.check_selection(&block.value, config).await;
                    return Ok(());
                }
                Err(Fail::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Fail::Other("max retries hit"))
    }

    /// An empty block without owner goes, any other is written.
    async fn put_back(&self, block: &mut Stored<Block>) -> Result<(), Fail> {
        if block.value.is_empty() && block.value.affinity.is_none() {
            return self.delete_block(block).await;
        }
        self.update_block(block).await
    }

    /// 8.3.
    async fn check_selection(&self, block: &Block, config: &IpamConfig) {
        let Some(owner) = block.owner() else { return };
        if self.get(Key::global(Kind::Node, &owner.name)).await.is_err() {
            return;
        }
        let pools = self.pools().await;
        let pool = pools.iter().find(|pool| pool.is_enabled() && pool.cidr.contains(&block.cidr));
        let selects = |pool: &libcalico::ipam::Pool| pool.selects_node(&Default::default());
        if pool.is_some_and(|pool| !selects(pool).unwrap_or(true)) {
            let _ = self.release_affinity_of(&owner, block.cidr, true, None, config).await;
        }
    }

    /// 8.4, of this host.
    pub async fn release_affinity(&self, cidr: IpNet, must_be_empty: bool) -> Result<(), Fail> {
        let config = self.config().await;
        for _ in 0..TRIES {
            let owner = self.owner();
            match self.release_affinity_of(&owner, cidr, must_be_empty, None, &config).await {
                Err(Fail::Conflict) => {}
                Err(Fail::Claimed | Fail::Missing) => return Ok(()),
                result => return result,
            }
        }
        Err(Fail::Other("max retries hit"))
    }

    /// 8.4.
    pub(super) async fn release_affinity_of(
        &self,
        owner: &AffinityOwner,
        cidr: IpNet,
        must_be_empty: bool,
        sequence_number: Option<u64>,
        config: &IpamConfig,
    ) -> Result<(), Fail> {
        let mut affinity = self.affinity(owner, cidr).await?;
        let mut block = self.block(cidr, config).await?;
        if sequence_number.is_some_and(|asked| asked != block.value.sequence_number) {
            return Err(Fail::Changed);
        }
        if block.value.affinity.is_some() && !block.value.is_owned_by(owner) {
            let _ = self.delete_affinity(owner, cidr, &affinity).await;
            return Err(Fail::Claimed);
        }
        if must_be_empty && !block.value.is_empty() {
            return Err(Fail::NotEmpty);
        }
        let pending_deletion = AffinityState::PendingDeletion;
        self.set_affinity(owner, cidr, &mut affinity, pending_deletion).await?;
        if block.value.is_empty() {
            match self.delete_block(&block).await {
                Ok(()) | Err(Fail::Missing) => {}
                Err(error) => return Err(error),
            }
        } else {
            block.value.set_owner(None, self.now());
            self.update_block(&mut block).await?;
        }
        match self.delete_affinity(owner, cidr, &affinity).await {
            Ok(()) | Err(Fail::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Section 10: gives up all blocks of a host.
    pub async fn release_host(&self, host: &str, must_be_empty: bool) -> Result<(), Fail> {
        let owner = AffinityOwner::host(host);
        let config = self.config().await;
        let mut last = Ok(());
        for found in self.list(Prefix::Affinities(owner.clone(), None)).await {
            let Key::Affinity(_, cidr) = found.key else { continue };
            for _ in 0..TRIES {
                match self.release_affinity_of(&owner, cidr, must_be_empty, None, &config).await {
                    Ok(()) | Err(Fail::Claimed | Fail::Missing) => {}
                    Err(Fail::Conflict) => continue,
                    Err(error) => last = Err(error),
                }
                break;
            }
        }
        last
    }
}
