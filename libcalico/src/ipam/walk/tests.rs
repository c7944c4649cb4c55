//! The recorded order of upstream's own generator, and the vectors of the sheet.

use std::collections::HashSet;

use super::*;

fn golden(list: &str) -> Vec<serde_json::Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/blocks.json");
    let text = std::fs::read_to_string(path).expect("golden file");
    let json: serde_json::Value = serde_json::from_str(&text).expect("golden JSON");
    json[list].as_array().expect("a list").clone()
}

fn order_of(entry: &serde_json::Value) -> Vec<String> {
    serde_json::from_value(entry["order"].clone()).expect("order")
}

#[test]
fn a_host_walks_a_pool_in_the_recorded_order() {
    let entries = golden("per_host");
    assert!(entries.len() > 20, "{} recorded walks", entries.len());
    for entry in entries {
        let host = entry["host"].as_str().expect("host");
        let pool: IpNet = entry["pool"].as_str().expect("pool").parse().expect("pool");
        let size = entry["block_size"].as_u64().expect("size") as u8;
        let expected = order_of(&entry);
        let mut walk = Walk::new(host, pool, size, 7);
        if entry["time_seeded"].as_bool().unwrap_or(false) {
            // The start depends on the clock; the walk after it doesn't.
            let first: IpNet = expected[0].parse().expect("block");
            walk.start = address::ordinal(pool, first.network()).expect("in the pool");
        }
        let found: Vec<String> =
            walk.iter().take(expected.len()).map(|block| block.to_string()).collect();
        assert_eq!(found, expected, "{host} in {pool}");
    }
}

#[test]
fn ascending_is_the_recorded_plain_order() {
    for entry in golden("in_order") {
        let pool: IpNet = entry["pool"].as_str().expect("pool").parse().expect("pool");
        let size = entry["block_size"].as_u64().expect("size") as u8;
        let expected = order_of(&entry);
        let found: Vec<String> = Walk::ascending(pool, size)
            .iter()
            .take(expected.len())
            .map(|block| block.to_string())
            .collect();
        assert_eq!(found, expected, "{pool}");
    }
}

#[test]
fn the_vectors_of_the_sheet() {
    for (host, pool, size, first) in [
        ("node-a", "192.168.0.0/16", 26, "192.168.174.128/26"),
        ("node-a", "10.0.0.0/8", 26, "10.183.242.128/26"),
        ("node-a", "10.1.0.0/24", 28, "10.1.0.160/28"),
        ("node-a", "fd00:10:244::/56", 122, "fd00:10:244:50:defe:d3d7:156e:ae80/122"),
        ("node-b", "10.0.0.0/8", 26, "10.222.218.64/26"),
        ("worker-3", "192.168.0.0/16", 26, "192.168.97.192/26"),
        ("ip-10-0-0-1.ec2.internal", "192.168.0.0/16", 26, "192.168.138.192/26"),
        ("n1", "10.9.0.0/24", 30, "10.9.0.136/30"),
        ("n3", "10.9.0.0/24", 30, "10.9.0.32/30"),
    ] {
        let walk = Walk::new(host, pool.parse().expect("pool"), size, 0);
        assert_eq!(walk.nth(0).expect("a block").to_string(), first, "{host} in {pool}");
    }
}

/// RB1 to RB6 of the acceptance list.
#[test]
fn rb_every_block_comes_exactly_once_and_then_none() {
    for (pool, size, count) in [
        ("10.10.0.0/24", 26, 4),
        ("fd80:24e2:f998:72d6::/120", 122, 4),
        ("10.10.0.0/16", 20, 16),
        ("fd80:24e2:f998:72d6::/114", 116, 4),
        ("10.10.0.0/24", 32, 256),
        ("fd80:24e2:f998:72d6::/120", 128, 256),
    ] {
        let pool: IpNet = pool.parse().expect("pool");
        let walk = Walk::new("host-a", pool, size, 42);
        let blocks: HashSet<IpNet> = walk.iter().collect();
        assert_eq!(walk.iter().count(), count);
        assert_eq!(blocks.len(), count);
        assert!(blocks.iter().all(|block| pool.contains(block) && block.prefix_len() == size));
        assert_eq!(walk.nth(count as u128), None);
    }
}

#[test]
fn a_pool_smaller_than_a_block_has_none() {
    let walk = Walk::new("n1", "10.0.0.0/28".parse().expect("pool"), 26, 0);
    assert_eq!((walk.count(), walk.nth(0)), (0, None));
}
