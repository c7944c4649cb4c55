//! How full the pools are (`reference/ipam.md` section 9). For operators: it reads every block.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address;
use super::block::Block;
use super::config::IpamConfig;
use super::error::IpamError;
use super::operation::{Operation, Step};
use super::pool::{Pool, PoolRef};
use super::reservation::{AddressFilter, overlap};
use super::stage::Env;
use super::view::View;
use crate::resources::Kind;
use crate::store::{Key, Prefix, Query};

/// The numbers of a pool or of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All addresses.
    #[serde(rename = "capacity")]
    pub capacity: u128,
    /// Addresses that can't be given out because they are allocated, cool down, or are kept for
    /// Windows.
    #[serde(rename = "inUse")]
    pub in_use: u128,
    /// Those among them that only cool down.
    #[serde(rename = "cooling")]
    pub cooling: u128,
    /// Reserved addresses, in use or not.
    #[serde(rename = "reserved")]
    pub reserved: u128,
    /// Addresses that could be given out.
    #[serde(rename = "available")]
    pub available: u128,
}

/// How full a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockUtilization {
    /// Its network.
    pub cidr: IpNet,
    /// Its owner, as it names it.
    pub affinity: Option<String>,
    /// Its numbers.
    pub usage: Usage,
}

/// How full a pool is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolUtilization {
    /// Its name.
    pub name: String,
    /// Its network.
    pub cidr: IpNet,
    /// Its numbers.
    pub usage: Usage,
    /// Its blocks, in ascending order.
    pub blocks: Vec<BlockUtilization>,
}

/// How full all pools are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Utilization {
    /// The pools that were asked for, in the order of their names.
    pub pools: Vec<PoolUtilization>,
    /// Blocks outside every pool; only when no pool was asked for.
    pub orphans: Vec<BlockUtilization>,
}

pub(crate) struct ReadUtilization<'a>(pub(crate) &'a [PoolRef]);

impl Operation for ReadUtilization<'_> {
    type Answer = Utilization;

    fn name(&self) -> &'static str {
        "read the utilization"
    }

    fn queries(&self) -> Vec<Query> {
        vec![
            Query::Key(Key::IpamConfig),
            Query::Prefix(Prefix::kind(Kind::IpPool)),
            Query::Prefix(Prefix::kind(Kind::IpReservation)),
            Query::Prefix(Prefix::Blocks(None)),
        ]
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Utilization>, IpamError> {
        let config = view.config()?;
        let filter = view.reserved();
        let mut blocks: Vec<Block> = view.all_blocks().map(|block| Block::clone(block)).collect();
        for block in &mut blocks {
            block.collect(env.now, config.ip_cooldown_seconds);
        }
        blocks.sort_by_key(|block| block.cidr);
        let pools = view.pools();
        let asked = |pool: &Pool| {
            self.0.is_empty()
                || self.0.iter().any(|asked| match asked {
                    PoolRef::Cidr(cidr) => pool.cidr == cidr.trunc(),
                    PoolRef::Name(name) => &pool.name == name,
                })
        };
        // A block belongs to the first pool that it overlaps.
        let owner_of =
            |block: &Block| pools.iter().position(|pool| overlap(pool.cidr, block.cidr) > 0);
        let mut found = Utilization::default();
        for (index, pool) in pools.iter().enumerate().filter(|(_, pool)| asked(pool)) {
            let inside: Vec<&Block> =
                blocks.iter().filter(|block| owner_of(block) == Some(index)).collect();
            found.pools.push(of_pool(pool, &inside, &filter));
        }
        if self.0.is_empty() {
            let outside = blocks.iter().filter(|block| owner_of(block).is_none());
            found.orphans = outside.map(|block| of_block(block, &filter)).collect();
        }
        Ok(Step::Done(found))
    }

    fn committed(&mut self) {}
}

fn of_block(block: &Block, filter: &AddressFilter) -> BlockUtilization {
    let capacity = address::size(block.cidr);
    BlockUtilization {
        cidr: block.cidr,
        affinity: block.affinity.clone(),
        usage: Usage {
            capacity,
            in_use: capacity - block.unallocated.len() as u128,
            cooling: block.cooling_count() as u128,
            reserved: block.reserved_count(filter),
            available: block.free_count(filter) as u128,
        },
    }
}

fn of_pool(pool: &Pool, inside: &[&Block], filter: &AddressFilter) -> PoolUtilization {
    let blocks: Vec<BlockUtilization> =
        inside.iter().map(|block| of_block(block, filter)).collect();
    let networks: Vec<IpNet> = inside.iter().map(|block| block.cidr).collect();
    let sum = |value: fn(&Usage) -> u128| {
        blocks.iter().map(|block| value(&block.usage)).fold(0, u128::saturating_add)
    };
    let usage = Usage {
        capacity: address::size(pool.cidr),
        in_use: sum(|usage| usage.in_use),
        cooling: sum(|usage| usage.cooling),
        reserved: filter.count_in(pool.cidr),
        available: sum(|usage| usage.available)
            .saturating_add(free_outside(pool.cidr, &networks, filter)),
    };
    PoolUtilization { name: pool.name.clone(), cidr: pool.cidr, usage, blocks }
}

/// The addresses of a pool that neither a block nor a reservation covers.
fn free_outside(pool: IpNet, blocks: &[IpNet], filter: &AddressFilter) -> u128 {
    let covered = AddressFilter::new(blocks.iter().chain(filter.networks()).copied());
    address::size(pool).saturating_sub(covered.count_in(pool))
}

/// The configuration with its revision, for a change that must not overwrite another one.
pub(crate) struct ReadConfig;

impl Operation for ReadConfig {
    type Answer = (IpamConfig, Option<crate::store::Revision>);

    fn name(&self) -> &'static str {
        "read the configuration"
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Key(Key::IpamConfig)]
    }

    fn step(&mut self, view: &View, _env: Env) -> Result<Step<Self::Answer>, IpamError> {
        Ok(Step::Done((view.config()?, view.config_revision())))
    }

    fn committed(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CP1 to CP10: capacity, reserved, free outside blocks. Ours don't saturate at 2^63.
    #[test]
    fn cp_what_is_outside_blocks() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("a network")).collect()
        };
        for (pool, reserved, blocks, expected) in [
            ("10.0.0.0/24", &[][..], &[][..], (256, 0, 256)),
            ("10.0.0.0/24", &["10.0.0.0/30"], &[], (256, 4, 252)),
            (
                "10.0.0.0/24",
                &["10.0.0.0/25", "10.0.0.1/32", "10.0.0.64/26", "10.0.0.0/25"],
                &[],
                (256, 128, 128),
            ),
            ("10.0.0.0/24", &["10.0.0.0/16"], &[], (256, 256, 0)),
            ("10.0.0.0/24", &["10.1.0.0/16"], &[], (256, 0, 256)),
            ("10.0.0.0/24", &[], &["10.0.0.0/26", "10.0.0.64/26"], (256, 0, 128)),
            ("10.0.0.0/24", &["10.0.0.8/30"], &["10.0.0.0/26"], (256, 4, 192)),
            ("10.0.0.0/24", &["10.0.0.128/25"], &["10.0.0.0/26"], (256, 128, 64)),
            ("fd00::/120", &["fd00::/126"], &[], (256, 4, 252)),
            ("fd00::/8", &[], &[], (1 << 120, 0, 1 << 120)),
        ] {
            let pool: IpNet = pool.parse().expect("a pool");
            let filter = AddressFilter::new(nets(reserved));
            let found = (
                address::size(pool),
                filter.count_in(pool),
                free_outside(pool, &nets(blocks), &filter),
            );
            assert_eq!(found, expected, "{pool} {reserved:?} {blocks:?}");
        }
    }
}
