//! Arithmetic on addresses: the n-th address of a network, the n-th block of a pool.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::store::Family;

/// An address as a number.
pub(crate) fn to_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn from_number(family: Family, number: u128) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(number).ok().map(|n| IpAddr::V4(Ipv4Addr::from(n))),
        Family::V6 => Some(IpAddr::V6(Ipv6Addr::from(number))),
    }
}

/// The family of an address.
pub(crate) fn family_of(ip: IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The largest prefix length of a family.
pub(crate) fn max_prefix_len(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// How many addresses a network has; saturated for `::/0`.
pub(crate) fn size(net: IpNet) -> u128 {
    1u128.checked_shl(u32::from(net.max_prefix_len() - net.prefix_len())).unwrap_or(u128::MAX)
}

/// The n-th address of a network.
pub(crate) fn nth(net: IpNet, ordinal: u128) -> Option<IpAddr> {
    if ordinal >= size(net) {
        return None;
    }
    from_number(Family::of(&net), to_number(net.network()).checked_add(ordinal)?)
}

/// The position of an address in a network.
pub(crate) fn ordinal(net: IpNet, ip: IpAddr) -> Option<u128> {
    net.contains(&ip).then(|| to_number(ip) - to_number(net.network()))
}

/// The block of this prefix length that holds an address.
pub(crate) fn block_of(ip: IpAddr, block_size: u8) -> Option<IpNet> {
    IpNet::new(ip, block_size).ok().map(|net| net.trunc())
}

/// The blocks that could hold an address, whatever its pool: blocks have 13 sizes.
pub(crate) fn possible_blocks(ip: IpAddr) -> impl Iterator<Item = IpNet> {
    let sizes = match ip {
        IpAddr::V4(_) => 20..=32,
        IpAddr::V6(_) => 116..=128,
    };
    sizes.filter_map(move |size| block_of(ip, size))
}

/// How many blocks of this prefix length a pool has.
pub(crate) fn block_count(pool: IpNet, block_size: u8) -> u128 {
    match block_size.checked_sub(pool.prefix_len()) {
        Some(bits) if block_size <= pool.max_prefix_len() => {
            1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
        }
        _ => 0,
    }
}

/// The n-th block of this prefix length in a pool.
pub(crate) fn nth_block(pool: IpNet, block_size: u8, index: u128) -> Option<IpNet> {
    let host_bits = u32::from(pool.max_prefix_len().checked_sub(block_size)?);
    let offset = index.checked_mul(1u128.checked_shl(host_bits)?)?;
    let base = to_number(pool.network()).checked_add(offset)?;
    let ip = from_number(Family::of(&pool), base)?;
    pool.contains(&ip).then(|| IpNet::new(ip, block_size).ok()).flatten()
}
