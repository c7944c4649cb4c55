//! The order in which a host tries the blocks of a pool (`reference/ipam.md` 4.1): from a start
//! that depends on the host's name, one after the other, around the pool. It is upstream's own
//! order, so that hosts of both kinds spread over a pool in the same way.

mod go_rand;
mod go_rand_table;

use ipnet::IpNet;

use super::address;
use super::reservation::AddressFilter;
use go_rand::GoRand;

/// The blocks of one pool in the order of one host. Any position is computed without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    pool: IpNet,
    block_size: u8,
    count: u128,
    start: u128,
}

impl Walk {
    /// The walk of `host` through `pool`, whose blocks have this prefix length. Blocks of a single
    /// address start at a place that `seed` decides, as upstream takes the clock for them.
    pub fn new(host: &str, pool: IpNet, block_size: u8, seed: u64) -> Walk {
        let pool = pool.trunc();
        let count = address::block_count(pool, block_size);
        let seed = if block_size == pool.max_prefix_len() {
            seed as i64
        } else {
            i64::from(fnv1(host.as_bytes()))
        };
        Walk { pool, block_size, count, start: GoRand::new(seed).below(count) }
    }

    /// The blocks of a pool in ascending order.
    pub fn ascending(pool: IpNet, block_size: u8) -> Walk {
        let pool = pool.trunc();
        Walk { pool, block_size, count: address::block_count(pool, block_size), start: 0 }
    }

    /// How many blocks there are.
    pub fn count(&self) -> u128 {
        self.count
    }

    /// The block at this position of the walk.
    pub fn nth(&self, position: u128) -> Option<IpNet> {
        if position >= self.count {
            return None;
        }
        // Both are below 2^127: no overflow.
        let index = (self.start + position) % self.count;
        address::nth_block(self.pool, self.block_size, index)
    }

    /// All blocks, each once.
    pub fn iter(self) -> impl Iterator<Item = IpNet> {
        let mut position = 0;
        std::iter::from_fn(move || {
            let block = self.nth(position)?;
            position += 1;
            Some(block)
        })
    }

    /// The blocks that aren't wholly reserved. What a reservation covers is jumped over, however
    /// large it is.
    pub(crate) fn unreserved(self, filter: &AddressFilter) -> impl Iterator<Item = IpNet> {
        let mut position = 0;
        std::iter::from_fn(move || {
            loop {
                let block = self.nth(position)?;
                let Some(reserved) = filter.covering(block) else {
                    position += 1;
                    return Some(block);
                };
                position += self.blocks_until_end(block, reserved);
            }
        })
    }

    /// How many blocks there are from this one to the end of a network, or of the pool.
    fn blocks_until_end(&self, block: IpNet, network: IpNet) -> u128 {
        let index_of = |ip| {
            let host_bits = u32::from(self.pool.max_prefix_len() - self.block_size);
            address::ordinal(self.pool, ip)
                .map(|ordinal| ordinal.checked_shr(host_bits).unwrap_or(0))
        };
        let first = index_of(block.network()).unwrap_or(0);
        let last = index_of(network.broadcast()).unwrap_or(self.count - 1);
        last.saturating_sub(first) + 1
    }
}

/// The 32-bit FNV-1 hash (multiply, then exclusive or).
fn fnv1(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(2_166_136_261, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests;
