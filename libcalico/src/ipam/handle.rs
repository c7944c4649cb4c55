//! A handle: how many addresses its holder has in which block (`reference/datamodel.md` 6.2).
//! A count may be too high after a crash of upstream's, never too low: the block is the authority,
//! the handle says where to look.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::resources::codec;
use crate::store::Family;

/// The value of a handle; its id is in the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Addresses a block, by the block's CIDR.
    #[serde(rename = "block", default, deserialize_with = "codec::null_as_default")]
    pub block: BTreeMap<String, i64>,
    /// Upstream's two-phase delete on Kubernetes; false elsewhere.
    #[serde(rename = "deleted", default)]
    pub deleted: bool,
    /// What other releases may have written.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Handle {
    /// Reads a stored value.
    pub fn decode(value: &[u8]) -> Result<Handle, serde_json::Error> {
        serde_json::from_slice(value)
    }

    /// The JSON to store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The blocks that it names; a name that is no CIDR is left out.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> {
        self.block.keys().filter_map(|cidr| cidr.parse().ok())
    }

    /// The addresses that it counts in a family.
    pub fn total(&self, family: Family) -> i64 {
        self.block
            .iter()
            .filter(|(cidr, _)| cidr.parse().is_ok_and(|net: IpNet| Family::of(&net) == family))
            .map(|(_, count)| (*count).max(0))
            .fold(0, i64::saturating_add)
    }

    /// Counts addresses that were taken in a block.
    pub fn add(&mut self, block: IpNet, count: usize) {
        let entry = self.block.entry(block.to_string()).or_default();
        *entry = (*entry).max(0).saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts addresses that were given back, of which `left` remain in the block.
    ///
    /// With none left the entry goes, whatever it counted. Else only what was given back is
    /// subtracted: an upstream process that has counted an address which it could not write yet
    /// will subtract it again itself.
    pub fn subtract(&mut self, block: IpNet, count: usize, left: usize) {
        let key = block.to_string();
        if left == 0 {
            self.block.remove(&key);
        } else if let Some(entry) = self.block.get_mut(&key) {
            let (count, left) = (count as i64, left as i64);
            *entry = entry.saturating_sub(count).max(left);
        }
    }

    /// Whether it names no block any more, so that its object can go.
    pub fn is_empty(&self) -> bool {
        self.block.is_empty()
    }
}

/// A handle id without what an old migration appended: everything from the first carriage return.
pub fn sanitize(id: &str) -> &str {
    id.split('\r').next().unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    #[test]
    fn counts_go_up_and_down_and_an_empty_entry_goes() {
        let mut handle = Handle::default();
        handle.add(net("10.0.0.0/30"), 2);
        handle.add(net("10.0.0.0/30"), 1);
        handle.add(net("fd00::/126"), 1);
        assert_eq!(
            String::from_utf8_lossy(&handle.encode()),
            r#"{"block":{"10.0.0.0/30":3,"fd00::/126":1},"deleted":false}"#
        );
        assert_eq!((handle.total(Family::V4), handle.total(Family::V6)), (3, 1));
        handle.subtract(net("10.0.0.0/30"), 1, 2);
        assert_eq!(handle.total(Family::V4), 2);
        handle.subtract(net("10.0.0.0/30"), 1, 0);
        handle.subtract(net("fd00::/126"), 1, 0);
        assert!(handle.is_empty());
    }

    #[test]
    fn a_count_never_falls_below_what_is_left() {
        let mut handle = Handle::default();
        handle.add(net("10.0.0.0/30"), 1);
        handle.subtract(net("10.0.0.0/30"), 1, 2);
        assert_eq!(handle.total(Family::V4), 2);
    }

    #[test]
    fn what_follows_a_carriage_return_is_cut() {
        assert_eq!(sanitize("k8s-pod-network.abc\r\neth0"), "k8s-pod-network.abc");
    }
}
