//! Addresses that are worth a word below a picture.

use std::collections::BTreeMap;
use std::net::IpAddr;

use libcalico::ipam::Block;
use libcalico::ipam::block::AttributeRecord;

use super::Counts;
use super::sketch::{node_of, owner_name};

/// How many addresses are told one by one, of each kind.
const TOLD: usize = 8;

/// What is told of a pool.
#[derive(Default)]
pub(super) struct Remarks {
    lists: BTreeMap<&'static str, (Vec<String>, usize)>,
}

impl Remarks {
    /// Notes an address.
    pub(super) fn note(
        &mut self,
        ip: IpAddr,
        block: &Block,
        record: &AttributeRecord,
        counts: &Counts,
    ) {
        let node = node_of(record).map_or("no node", String::as_str);
        if counts.leaked > 0 {
            let handle = record.handle().unwrap_or("no handle");
            self.push("leaked", || format!("{ip} ({node}, {handle})"));
        }
        if counts.borrowed > 0 {
            let owner = owner_name(block).unwrap_or("nobody");
            self.push("borrowed", || format!("{ip} ({node} from {owner})"));
        }
        if counts.cooling > 0 {
            self.push("cooling", || ip.to_string());
        }
    }

    fn push(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        let (list, more) = self.lists.entry(kind).or_default();
        if list.len() < TOLD {
            list.push(text());
        } else {
            *more += 1;
        }
    }

    /// A line of each kind.
    pub(super) fn told(self) -> Vec<String> {
        let told = |(kind, (list, more)): (&str, (Vec<String>, usize))| {
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{kind}: {}{more}", list.join(", "))
        };
        self.lists.into_iter().map(told).collect()
    }
}
