//! The decisions of a picture. A cell is one address where the pool is small, a block where that is
//! too many, several blocks where even that is. Of a huge pool with few blocks only these are shown,
//! and the gaps between them are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use libcalico::ipam::block::AttributeRecord;
use libcalico::ipam::reservation::AddressFilter;
use libcalico::ipam::{Block, Pool};
use time::OffsetDateTime;

use super::remarks::Remarks;
use super::{Cell, Counts, Frame, NodeEntry, Owner, Picture, PoolPicture, Row, Scale};
use crate::commands::ipam::check::Findings;
use crate::commands::ipam::survey::Survey;

/// A pool with no more blocks than this, whose address space is too large to be shown, is shown by
/// its blocks alone.
const FEW_BLOCKS: usize = 24;
/// How far back the block that holds a cell is looked for: damage apart, it is the first one.
const NESTED: usize = 16;

/// What an allocated address is.
struct Taken {
    counts: Counts,
    user: Option<usize>,
}

/// What all pools are drawn from.
struct Sketch<'a> {
    blocks: BTreeMap<IpNet, Block>,
    leaked: BTreeSet<IpAddr>,
    reserved: &'a AddressFilter,
    frame: Frame,
    nodes: Vec<NodeEntry>,
    places: BTreeMap<String, usize>,
}

impl Picture {
    /// Draws the pools that are wanted, or the part of them inside a range.
    pub fn draw(
        survey: &Survey,
        is_wanted: impl Fn(&str, IpNet) -> bool,
        zoom: Option<IpNet>,
        frame: Frame,
        now: OffsetDateTime,
    ) -> Picture {
        let mut blocks = survey.blocks.clone();
        for block in blocks.values_mut() {
            block.collect(now, survey.config.ip_cooldown_seconds);
        }
        let mut sketch = Sketch {
            blocks,
            leaked: Findings::of(survey).leaked.into_keys().collect(),
            reserved: &survey.reserved,
            frame,
            nodes: Vec::new(),
            places: BTreeMap::new(),
        };
        sketch.enter_nodes(survey);
        let pools = survey.pools.iter().filter(|pool| is_wanted(&pool.name, pool.cidr));
        let pools = pools.filter_map(|pool| {
            let shown = match zoom.map(|zoom| zoom.trunc()) {
                Some(zoom) if pool.cidr.contains(&zoom) => zoom,
                Some(zoom) if !zoom.contains(&pool.cidr) => return None,
                _ => pool.cidr,
            };
            Some(sketch.pool(pool, shown))
        });
        let pools = pools.collect();
        Picture { pools, nodes: sketch.nodes }
    }
}

impl Sketch<'_> {
    /// Gives every node its place, in the order of the names: so its colour is the same in every
    /// picture of a cluster.
    fn enter_nodes(&mut self, survey: &Survey) {
        let mut names: BTreeSet<String> =
            survey.nodes.iter().map(|node| node.metadata.name.clone()).collect();
        for block in survey.blocks.values() {
            names.extend(owner_name(block).map(str::to_owned));
            names.extend(block.allocated().filter_map(|(_, record)| node_of(record).cloned()));
        }
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by_cached_key(|name| natural(name));
        for name in names {
            self.places.insert(name.clone(), self.nodes.len());
            self.nodes.push(NodeEntry { name, blocks: 0, addresses: 0 });
        }
    }

    fn pool(&mut self, pool: &Pool, shown: IpNet) -> PoolPicture {
        let inside: Vec<IpNet> =
            self.blocks.keys().filter(|cidr| overlap(**cidr, shown)).copied().collect();
        let mut counts = Counts { capacity: size(shown), ..Counts::default() };
        counts.reserved = self.reserved.count_in(shown);
        let mut remarks = Remarks::default();
        for cidr in &inside {
            let Some(block) = self.blocks.get(cidr) else { continue };
            counts.blocks += 1;
            if let Some(place) = owner_name(block).and_then(|name| self.places.get(name))
                && let Some(entry) = self.nodes.get_mut(*place)
            {
                entry.blocks += 1;
            }
            for (ip, record) in block.allocated().filter(|(ip, _)| shown.contains(ip)) {
                let taken = self.taken(ip, block, record);
                counts.add(&taken.counts);
                remarks.note(ip, block, record, &taken.counts);
                if let Some(entry) = taken.user.and_then(|place| self.nodes.get_mut(place)) {
                    entry.addresses += 1;
                }
            }
        }
        let (scale, rows) = self.rows(pool, shown, &inside);
        PoolPicture {
            name: pool.name.clone(),
            cidr: pool.cidr,
            shown,
            block_size: pool.block_size,
            notes: notes(pool),
            blocks: subnets(shown, pool.block_size),
            counts,
            scale,
            rows,
            remarks: remarks.told(),
        }
    }

    /// The rows of a pool, and what a cell of them stands for.
    fn rows(&self, pool: &Pool, shown: IpNet, inside: &[IpNet]) -> (Scale, Vec<Row>) {
        let Frame { columns, rows } = self.frame;
        let most = (columns * rows) as u128;
        let single = shown.max_prefix_len();
        if size(shown) <= most / 2 || shown.prefix_len() >= pool.block_size {
            return (Scale::Address, self.grid(shown, single.min(self.finest(shown, most))));
        }
        if subnets(shown, pool.block_size) <= most {
            return (Scale::Block, self.grid(shown, pool.block_size));
        }
        if inside.len() <= FEW_BLOCKS {
            let scale = if size_of_block(pool) <= most { Scale::Address } else { Scale::Block };
            return (scale, self.islands(pool, shown, inside));
        }
        let length = self.finest(shown, most / 2);
        (Scale::Range(length), self.grid(shown, length))
    }

    /// The longest prefix length of which a range has no more than so many parts.
    fn finest(&self, shown: IpNet, most: u128) -> u8 {
        let bits = u8::try_from(most.ilog2()).unwrap_or(u8::MAX);
        shown.prefix_len().saturating_add(bits).min(shown.max_prefix_len())
    }

    /// A range in cells of this prefix length.
    fn grid(&self, shown: IpNet, length: u8) -> Vec<Row> {
        let cells: Vec<Cell> = match shown.subnets(length) {
            Ok(parts) => parts.map(|cidr| self.cell(cidr)).collect(),
            Err(_) => vec![self.cell(shown)],
        };
        cells.chunks(self.frame.columns).map(|row| Row::Cells(row.to_vec())).collect()
    }

    /// The blocks that there are, and the gaps between them.
    fn islands(&self, pool: &Pool, shown: IpNet, inside: &[IpNet]) -> Vec<Row> {
        let mut rows = Vec::new();
        let index = |ip: IpAddr| {
            let bits = u32::from(pool.cidr.max_prefix_len() - pool.block_size);
            (number(ip) - number(shown.network())).checked_shr(bits).unwrap_or(0)
        };
        let mut next = 0;
        for cidr in inside {
            let first = index(cidr.network());
            if first > next {
                rows.push(Row::Gap(first - next));
            }
            let length = self.finest(*cidr, (self.frame.columns * 4) as u128);
            rows.extend(self.grid(*cidr, length));
            next = index(cidr.broadcast()) + 1;
        }
        let all = subnets(shown, pool.block_size);
        if all > next {
            rows.push(Row::Gap(all - next));
        }
        rows
    }

    fn cell(&self, cidr: IpNet) -> Cell {
        let mut counts = Counts { capacity: size(cidr), ..Counts::default() };
        counts.reserved = self.reserved.count_in(cidr);
        let mut cell = Cell { cidr, owner: Owner::None, user: None, counts };
        // The block that holds a cell stands before it in the order of networks; those that a cell
        // holds stand behind.
        let mut before = self.blocks.range(..=cidr).rev().take(NESTED);
        match before.find(|(net, _)| net.contains(&cidr)) {
            Some((_, block)) => self.put(block, &mut cell),
            None => {
                let inside = self.blocks.range(cidr..).take_while(|(net, _)| {
                    number(net.network()) <= number(cidr.broadcast()) && overlap(**net, cidr)
                });
                for (_, block) in inside {
                    self.put(block, &mut cell);
                }
            }
        }
        cell
    }

    /// Puts what a block has inside a cell into the cell.
    fn put(&self, block: &Block, cell: &mut Cell) {
        let owner = match owner_name(block) {
            None => Owner::Nobody,
            Some(name) => self.places.get(name).map_or(Owner::Nobody, |place| Owner::Node(*place)),
        };
        cell.owner = match cell.owner {
            Owner::None => owner,
            same if same == owner => owner,
            _ => Owner::Several,
        };
        cell.counts.blocks += 1;
        let one = cell.cidr.prefix_len() == cell.cidr.max_prefix_len();
        if one {
            let ip = cell.cidr.addr();
            if let Ok(Some(record)) = block.record(ip) {
                let taken = self.taken(ip, block, record);
                cell.counts.add(&taken.counts);
                cell.user = taken.user;
            }
            return;
        }
        for (ip, record) in block.allocated().filter(|(ip, _)| cell.cidr.contains(ip)) {
            cell.counts.add(&self.taken(ip, block, record).counts);
        }
    }

    fn taken(&self, ip: IpAddr, block: &Block, record: &AttributeRecord) -> Taken {
        let reserved_taken = u128::from(self.reserved.contains(ip));
        let mut counts = Counts { reserved_taken, ..Counts::default() };
        if record.released_at.is_some() {
            counts.cooling = 1;
            return Taken { counts, user: None };
        }
        let node = node_of(record);
        counts.in_use = 1;
        counts.leaked = u128::from(self.leaked.contains(&ip));
        counts.borrowed =
            u128::from(node.is_some_and(|node| owner_name(block) != Some(node.as_str())));
        let user = node.and_then(|node| self.places.get(node)).copied();
        Taken { counts, user }
    }
}

/// What keeps a pool from giving addresses to everyone.
fn notes(pool: &Pool) -> Vec<String> {
    let mut notes = Vec::new();
    if pool.disabled {
        notes.push("disabled".to_owned());
    }
    if pool.deleting {
        notes.push("being deleted".to_owned());
    }
    if !pool.automatic {
        notes.push("only for those who ask for it".to_owned());
    }
    if !pool.selects_every_node() {
        notes.push(format!("nodes: {}", pool.node_selector));
    }
    if !pool.namespace_selector.is_empty() {
        notes.push(format!("namespaces: {}", pool.namespace_selector));
    }
    notes
}

/// A key by which `node-2` comes before `node-10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = vec![(0, String::new())];
    for character in name.chars() {
        let Some((number, text)) = parts.last_mut() else { break };
        match character.to_digit(10) {
            Some(digit) if text.is_empty() => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
            }
            Some(digit) => parts.push((u64::from(digit), String::new())),
            None => text.push(character),
        }
    }
    parts
}

pub(super) fn owner_name(block: &Block) -> Option<&str> {
    let (_, name) = block.affinity.as_deref()?.split_once(':')?;
    Some(name)
}

pub(super) fn node_of(record: &AttributeRecord) -> Option<&String> {
    record.secondary.get("node").filter(|node| !node.is_empty())
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// How many addresses a range has.
fn size(net: IpNet) -> u128 {
    subnets(net, net.max_prefix_len())
}

/// How many parts of a prefix length a range has; one, if it is smaller than that.
fn subnets(net: IpNet, length: u8) -> u128 {
    let bits = u32::from(length.saturating_sub(net.prefix_len()));
    1u128.checked_shl(bits).unwrap_or(u128::MAX)
}

fn size_of_block(pool: &Pool) -> u128 {
    1u128.checked_shl(u32::from(pool.cidr.max_prefix_len() - pool.block_size)).unwrap_or(u128::MAX)
}
