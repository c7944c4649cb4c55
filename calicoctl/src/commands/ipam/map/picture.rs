//! What a picture shows: for each pool its numbers, and its address space in cells, each a range of
//! addresses. Nothing of how it is drawn.

mod remarks;
mod sketch;

use ipnet::IpNet;
use serde::Serialize;

/// How many cells there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// In a row; a power of two.
    pub columns: usize,
    /// Rows of a pool; a power of two.
    pub rows: usize,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// The pools, in the order of their names.
    #[serde(rename = "pools")]
    pub pools: Vec<PoolPicture>,
    /// The owners of blocks and users of addresses; cells refer to them by their place.
    #[serde(rename = "nodes")]
    pub nodes: Vec<NodeEntry>,
}

impl Picture {
    /// The nodes that have something in the picture, with their places.
    pub fn nodes_in_sight(&self) -> Vec<(usize, &NodeEntry)> {
        let in_sight = |node: &NodeEntry| node.blocks > 0 || node.addresses > 0;
        self.nodes.iter().enumerate().filter(|(_, node)| in_sight(node)).collect()
    }
}

/// An owner of blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeEntry {
    /// Its name.
    #[serde(rename = "name")]
    pub name: String,
    /// Its blocks among those that are shown.
    #[serde(rename = "blocks")]
    pub blocks: usize,
    /// The addresses that it has among those that are shown.
    #[serde(rename = "addresses")]
    pub addresses: u128,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolPicture {
    /// Its name.
    #[serde(rename = "name")]
    pub name: String,
    /// Its range.
    #[serde(rename = "cidr")]
    pub cidr: IpNet,
    /// The part that is shown.
    #[serde(rename = "shown")]
    pub shown: IpNet,
    /// The prefix length of its blocks.
    #[serde(rename = "blockSize")]
    pub block_size: u8,
    /// What is special about it, like `disabled`.
    #[serde(rename = "notes")]
    pub notes: Vec<String>,
    /// How many blocks the shown part has room for.
    #[serde(rename = "blocks")]
    pub blocks: u128,
    /// The numbers of the shown part.
    #[serde(rename = "counts")]
    pub counts: Counts,
    /// What a cell stands for.
    #[serde(rename = "scale")]
    pub scale: Scale,
    /// The rows.
    #[serde(rename = "rows")]
    pub rows: Vec<Row>,
    /// Addresses that are worth a word.
    #[serde(rename = "remarks")]
    pub remarks: Vec<String>,
}

/// What a cell stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scale {
    /// One address.
    #[serde(rename = "address")]
    Address,
    /// One block.
    #[serde(rename = "block")]
    Block,
    /// A range of this prefix length.
    #[serde(rename = "range")]
    Range(u8),
}

/// A row of cells, or what is left out between two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Row {
    /// Cells one after the other.
    #[serde(rename = "cells")]
    Cells(Vec<Cell>),
    /// So many blocks that nobody has.
    #[serde(rename = "gap")]
    Gap(u128),
}

/// A range of addresses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// The range.
    #[serde(rename = "cidr")]
    pub cidr: IpNet,
    /// Who has its blocks.
    #[serde(rename = "owner")]
    pub owner: Owner,
    /// Who uses its only address in use, if it is one address.
    #[serde(rename = "user", skip_serializing_if = "Option::is_none")]
    pub user: Option<usize>,
    /// Its numbers.
    #[serde(rename = "counts")]
    pub counts: Counts,
}

/// Who has the blocks of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Owner {
    /// There is no block.
    #[default]
    #[serde(rename = "none")]
    None,
    /// A block without owner.
    #[serde(rename = "nobody")]
    Nobody,
    /// A node, by its place in the list.
    #[serde(rename = "node")]
    Node(usize),
    /// Several nodes.
    #[serde(rename = "several")]
    Several,
}

/// How many addresses are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All.
    #[serde(rename = "capacity")]
    pub capacity: u128,
    /// Blocks that somebody has claimed.
    #[serde(rename = "claimedBlocks")]
    pub blocks: u128,
    /// Addresses in use, those that are borrowed and leaked among them.
    #[serde(rename = "inUse")]
    pub in_use: u128,
    /// In use by another node than the block's owner.
    #[serde(rename = "borrowed")]
    pub borrowed: u128,
    /// Released a short while ago.
    #[serde(rename = "cooling")]
    pub cooling: u128,
    /// In use as IPAM sees it, by nobody as the endpoints tell.
    #[serde(rename = "leaked")]
    pub leaked: u128,
    /// Kept from automatic assignment, in use or not.
    #[serde(rename = "reserved")]
    pub reserved: u128,
    /// Those among them that are in use or cool down nevertheless.
    #[serde(rename = "reservedTaken")]
    pub reserved_taken: u128,
}

impl Counts {
    /// Which part can't be given out because somebody has it, or had it a short while ago.
    pub fn share(&self) -> f64 {
        match self.capacity {
            0 => 0.0,
            all => (self.in_use + self.cooling) as f64 / all as f64,
        }
    }

    /// What could be given out.
    pub fn free(&self) -> u128 {
        let reserved = self.reserved.saturating_sub(self.reserved_taken);
        self.capacity.saturating_sub(self.in_use + self.cooling).saturating_sub(reserved)
    }

    fn add(&mut self, other: &Counts) {
        self.blocks += other.blocks;
        self.in_use += other.in_use;
        self.borrowed += other.borrowed;
        self.cooling += other.cooling;
        self.leaked += other.leaked;
        self.reserved_taken += other.reserved_taken;
    }
}
