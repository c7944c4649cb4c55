//! 16.8 the table of automatic assignment; 16.9 requested addresses and release tables; 16.5 owners.

use std::collections::BTreeMap;

use libcalico::ipam::{
    Assignment, AutoAssign, Block, IntendedUse, IpamError, IpamErrorKind, Owner, OwnerUpdates,
    SideUpdate,
};
use libcalico::store::{AffinityOwner, Key};

use crate::cluster::{Cluster, cidrs, found, guard, ip, net, pool, soon, wanted};
use crate::rows;

async fn one(
    cluster: &Cluster,
    pools: &[&str],
    intended_use: IntendedUse,
) -> Result<Assignment, IpamError> {
    let v4_pools = cidrs(pools);
    cluster.auto(&AutoAssign { v4_pools, intended_use, ..wanted("host-a", 1, 0) }).await
}

fn owner(pod: &str) -> BTreeMap<String, String> {
    [("pod", pod), ("namespace", "ns")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn who(pod: &str) -> Option<Owner> {
    Some(Owner { pod: pod.into(), namespace: "ns".into() })
}

fn set(pod: &str) -> SideUpdate {
    SideUpdate { set: Some(owner(pod)), ..SideUpdate::default() }
}

fn clear() -> SideUpdate {
    SideUpdate { clear: true, ..SideUpdate::default() }
}

async fn update(
    cluster: &Cluster,
    active: SideUpdate,
    alternate: SideUpdate,
) -> Result<(), IpamError> {
    let updates = OwnerUpdates { active, alternate };
    cluster.allocator().set_owner_attributes(ip("10.0.0.1"), "vm", &updates, soon()).await
}

/// The pods of both sides.
async fn owners(cluster: &Cluster) -> (String, String) {
    let found = cluster.allocator().assignment_attributes(ip("10.0.0.1"), soon()).await;
    let found = found.expect("allocated");
    let pod = |side: &BTreeMap<String, String>| side.get("pod").cloned().unwrap_or_default();
    (pod(&found.active), pod(&found.alternate))
}

rows! {
    async fn t1_to_t5_uses(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("tunnel", "10.0.0.0/24").uses(&["Tunnel"])).await;
        for requested in [&["10.0.0.0/24"][..], &[]] {
            let error = one(cluster, requested, IntendedUse::Workload).await.expect_err("refused");
            assert!(error.to_string().starts_with(
                "cannot find a qualified ippool, no pools match the required use (Workload)"
            ), "{error}");
            assert_eq!(error.kind(), IpamErrorKind::Exhausted);
        }
        assert_eq!(found(&one(cluster, &["10.0.0.0/24"], IntendedUse::Tunnel).await), 1);
        cluster.pool(pool("workload", "20.0.0.0/24").uses(&["Workload"])).await;
        for requested in [&["20.0.0.0/24"][..], &[]] {
            assert_eq!(found(&one(cluster, requested, IntendedUse::Workload).await), 1);
        }
    }

    async fn t6_t7_t8_both_families_and_block_sizes(cluster) {
        cluster.nodes(&["host-a"]).await;
        for (v4, v6) in [(32, 128), (20, 116), (26, 122)] {
            cluster.pool(pool("pool4", "10.0.0.0/16").block_size(v4)).await;
            cluster.pool(pool("pool6", "fd00::/64").block_size(v6)).await;
            let handle = Some("h".to_owned());
            let request = AutoAssign { handle, all_or_nothing: true, ..wanted("host-a", 1, 1) };
            let assignment = cluster.auto(&request).await.expect("both");
            let lengths: Vec<u8> = assignment.addresses().map(|it| it.block_prefix_len).collect();
            assert_eq!(lengths, [v4, v6]);
            cluster.release("h").await;
            let owner = AffinityOwner::host("host-a");
            cluster.allocator().release_host_affinities(&owner, true, soon()).await.expect("empty");
        }
    }

    async fn t9_t10_whole_pools_of_both_families(cluster) {
        cluster.nodes(&["host-a"]).await;
        for (v4, v6) in [(26, 122), (30, 126)] {
            cluster.pool(pool("pool4", "10.0.0.0/24").block_size(v4)).await;
            cluster.pool(pool("pool6", "fd00::/120").block_size(v6)).await;
            let request = AutoAssign {
                handle: Some("h".into()),
                max_blocks_per_host: Some(256),
                ..wanted("host-a", 256, 256)
            };
            let assignment = cluster.auto(&request).await.expect("all");
            assert_eq!((assignment.v4.addresses.len(), assignment.v6.addresses.len()), (256, 256));
            assert!(assignment.v4.messages.is_empty() && assignment.v6.messages.is_empty());
            assert_eq!(assignment.partial_fulfillment(), None);
            assert_eq!(cluster.release("h").await.len(), 512);
            let owner = AffinityOwner::host("host-a");
            cluster.allocator().release_host_affinities(&owner, true, soon()).await.expect("empty");
        }
    }

    async fn t11_t12_t13_the_limit_and_what_was_found_before_it(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/120")).await;
        for (v4, v6, limit) in [(256, 0, 1), (256, 0, 2), (0, 256, 1)] {
            let request = AutoAssign {
                handle: Some("h".into()),
                max_blocks_per_host: Some(limit),
                ..wanted("host-a", v4, v6)
            };
            let assignment = cluster.auto(&request).await.expect("a part");
            let result = if v4 > 0 { assignment.v4 } else { assignment.v6 };
            assert_eq!(result.addresses.len(), 64 * limit as usize);
            let text = format!("limit of {limit} blocks reached for this node");
            assert!(result.messages[0].ends_with(&text), "{:?}", result.messages);
            assert!(matches!(result.error, Some(IpamError::BlockLimit { .. })));
            cluster.release("h").await;
            let owner = AffinityOwner::host("host-a");
            cluster.allocator().release_host_affinities(&owner, true, soon()).await.expect("empty");
        }
    }

    async fn t14_t15_one_more_than_the_pool_has(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/120")).await;
        let v4 = cluster.auto(&wanted("host-a", 257, 0)).await.expect("no failure").v4;
        assert_eq!(v4.addresses.len(), 256);
        assert_eq!(v4.messages, ["No IPs available in pools: [10.0.0.0/24]"]);
        let v6 = cluster.auto(&wanted("host-a", 0, 257)).await.expect("no failure").v6;
        assert_eq!(v6.addresses.len(), 256);
        assert_eq!(v6.messages, ["No IPs available in pools: [fd00::/120]"]);
    }

    async fn t16_t17_t18_own_first_then_borrowed(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/25")).await;
        assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
        assert_eq!(found(&cluster.auto(&wanted("host-b", 1, 0)).await), 1);
        let more = cluster.auto(&wanted("host-a", 64, 0)).await.expect("assigned");
        let own = cluster.affinities(&AffinityOwner::host("host-a")).await[0];
        let of_own = more.addresses().filter(|it| own.contains(&it.address)).count();
        assert_eq!((more.addresses().count(), of_own), (64, 63));
    }

    async fn t19_strict_affinity_says_why(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.config(|config| config.strict_affinity = true).await;
        let v4 = cluster.auto(&wanted("host-a", 256, 0)).await.expect("no failure").v4;
        assert_eq!(v4.addresses.len(), 64);
        assert_eq!(v4.messages, ["No more free affine blocks and strict affinity enabled"]);
    }

    async fn i1_to_i5_requested_addresses(cluster) {
        cluster.nodes(&["host-a"]).await;
        let error = cluster.assign_ip("1.1.1.1", "host-a", None).await.expect_err("no pool");
        assert!(error.to_string().starts_with("The provided IP address is not in a configured pool\n"));
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        cluster.assign_ip("10.0.0.1", "host-a", None).await.expect("assigned");
        cluster.assign_ip("fd00::1", "host-a", None).await.expect("assigned");
        let error = cluster.assign_ip("10.0.0.1", "host-a", None).await.expect_err("taken");
        assert_eq!(
            error.to_string(),
            "resource already exists: 10.0.0.1 with error: Address already assigned in block"
        );
        assert_eq!(error.kind(), IpamErrorKind::Conflict);
    }

    async fn several_requested_addresses_are_taken_together_or_not_at_all(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let assign = async |addresses: &[&str]| {
            let requests: Vec<_> = addresses
                .iter()
                .map(|address| cluster.ip_request(address, "host-a", Some("h")))
                .collect();
            cluster.allocator().assign_ips(&requests, None, None, soon()).await
        };
        let both = assign(&["fd00::1", "10.0.0.1", "10.0.0.2"]).await.expect("assigned");
        let addresses: Vec<_> = both.iter().map(|one| one.address).collect();
        assert_eq!(addresses, [ip("fd00::1"), ip("10.0.0.1"), ip("10.0.0.2")]);
        let before = cluster.blocks().await;
        assert_eq!(before.len(), 2);
        assert!(assign(&["fd00::2", "10.0.0.1"]).await.is_err());
        assert!(assign(&["fd00::2", "fd00::2"]).await.is_err());
        assert_eq!(cluster.blocks().await, before);
        assert_eq!(cluster.release("h").await.len(), 3);
    }

    async fn o1_to_o4_guards_on_a_block_made_by_hand(cluster) {
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.nodes(&["host-a"]).await;
        let owner = AffinityOwner::host("host-a");
        cluster.allocator().claim_affinity(net("10.0.0.0/26"), &owner, soon()).await.expect("claimed");
        for (handle, sequence, works) in [
            (None, None, true),
            (None, Some(0), true),
            (None, Some(1), false),
            (Some("fakehandle"), None, false),
        ] {
            let mut block = cluster.block("10.0.0.0/26").await.expect("it exists");
            block.assign(ip("10.0.0.5"), None, &BTreeMap::new()).expect("free");
            let numbers = block.sequence_number_for_allocation.as_mut().expect("numbers");
            numbers.remove("5");
            cluster.put(Key::Block(block.cidr), block.encode()).await;
            let outcome = cluster
                .allocator()
                .release_ips(&[guard(ip("10.0.0.5"), handle, sequence)], soon())
                .await
                .expect("runs");
            assert_eq!(outcome.error.is_none(), works, "{handle:?} {sequence:?}");
            if !works {
                cluster.release_ip(ip("10.0.0.5")).await;
            }
        }
        let block: Block = cluster.block("10.0.0.0/26").await.expect("it exists");
        assert!(block.is_empty());
    }

    async fn l1_to_l6_what_a_release_finds(cluster) {
        cluster.nodes(&["host-a"]).await;
        let unallocated = async |address: &str| {
            let guards = [guard(ip(address), None, None)];
            let outcome = cluster.allocator().release_ips(&guards, soon()).await.expect("runs");
            assert!(outcome.error.is_none() && outcome.processed.len() == 1);
            outcome.unallocated.len()
        };
        assert_eq!(unallocated("10.0.0.1").await, 1);
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        assert_eq!(unallocated("10.0.0.1").await, 1);
        cluster.assign_ip("10.0.0.1", "host-a", None).await.expect("assigned");
        assert_eq!(unallocated("10.0.0.1").await, 0);
        let many = cluster.auto(&wanted("host-a", 66, 0)).await.expect("assigned");
        let guards: Vec<_> = many.addresses().map(|it| guard(it.address, None, None)).collect();
        let outcome = cluster.allocator().release_ips(&guards, soon()).await.expect("runs");
        assert!(outcome.unallocated.is_empty() && outcome.error.is_none());
        assert_eq!(cluster.blocks().await.len(), 2);
        cluster.assign_ip("10.0.0.1", "host-a", None).await.expect("assigned");
        assert_eq!(unallocated("10.0.0.1").await, 0);
        assert_eq!(unallocated("10.0.0.2").await, 1);
    }

    async fn s1_to_s9_owners_are_set_and_cleared(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("vm")).await.expect("assigned");
        let keep = SideUpdate::default;
        for (active, alternate, expected) in [
            (set("a"), keep(), ("a", "")),
            (keep(), set("b"), ("a", "b")),
            (set("c"), set("d"), ("c", "d")),
            (set("e"), keep(), ("e", "d")),
            (clear(), keep(), ("", "d")),
            (set("a"), keep(), ("a", "d")),
            (keep(), clear(), ("a", "")),
            (clear(), clear(), ("", "")),
            (keep(), keep(), ("", "")),
        ] {
            update(cluster, active, alternate).await.expect("set");
            let found = owners(cluster).await;
            assert_eq!((found.0.as_str(), found.1.as_str()), expected);
        }
    }

    async fn s10_to_s17_and_s28_preconditions(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("vm")).await.expect("assigned");
        let expect = |pod, side: SideUpdate| SideUpdate { expected: who(pod), ..side };
        let empty = |side| SideUpdate { verify_empty: true, ..side };
        let keep = SideUpdate::default;
        for (active, alternate, works, expected) in [
            (empty(set("a")), empty(set("b")), true, ("a", "b")),
            (expect("a", set("c")), keep(), true, ("c", "b")),
            (keep(), expect("b", set("d")), true, ("c", "d")),
            (expect("x", set("e")), keep(), false, ("c", "d")),
            (keep(), expect("x", set("e")), false, ("c", "d")),
            (empty(set("e")), keep(), false, ("c", "d")),
            (keep(), empty(set("e")), false, ("c", "d")),
            (expect("c", set("e")), expect("x", set("f")), false, ("c", "d")),
            (expect("c", clear()), expect("d", clear()), true, ("", "")),
        ] {
            let result = update(cluster, active, alternate).await;
            assert_eq!(result.is_ok(), works, "{result:?}");
            if let Err(error) = result {
                assert_eq!(error.kind(), IpamErrorKind::Conflict);
            }
            let found = owners(cluster).await;
            assert_eq!((found.0.as_str(), found.1.as_str()), expected);
        }
    }

    async fn s18_to_s25_requests_that_cannot_be(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("vm")).await.expect("assigned");
        let both = || SideUpdate { clear: true, ..set("a") };
        let contradictory =
            || SideUpdate { expected: who("a"), verify_empty: true, ..set("a") };
        let keep = SideUpdate::default;
        for (active, alternate, text) in [
            (both(), keep(), "cannot set both ClearActiveOwner=true and ActiveOwnerAttrs"),
            (keep(), both(), "cannot set both ClearAlternateOwner=true and AlternateOwnerAttrs"),
            (contradictory(), keep(), "cannot set both ExpectedActiveOwner and VerifyActiveOwnerEmpty"),
            (keep(), contradictory(), "cannot set both ExpectedAlternateOwner and VerifyAlternate"),
        ] {
            let error = update(cluster, active, alternate).await.expect_err(text).to_string();
            assert!(error.starts_with(text), "{error}");
        }
        let updates = OwnerUpdates { active: set("a"), ..OwnerUpdates::default() };
        for (address, handle, text) in [
            ("10.0.0.1", "other", "IP 10.0.0.1 is not assigned to handle other"),
            ("10.0.0.2", "vm", "IP is unassigned"),
            ("10.9.0.1", "vm", "No valid IPPool"),
        ] {
            let error = cluster
                .allocator()
                .set_owner_attributes(ip(address), handle, &updates, soon())
                .await
                .expect_err(text)
                .to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    async fn s26_s27_s29_a_migration(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("vm")).await.expect("assigned");
        let keep = SideUpdate::default;
        update(cluster, set("source"), keep()).await.expect("set");
        update(cluster, keep(), SideUpdate { verify_empty: true, ..set("target") }).await.expect("set");
        update(cluster, SideUpdate { expected: who("source"), ..clear() }, keep()).await.expect("set");
        let promote = SideUpdate { verify_empty: true, ..set("target") };
        let step_down = SideUpdate { expected: who("target"), ..clear() };
        update(cluster, promote, step_down).await.expect("promoted");
        assert_eq!(owners(cluster).await, ("target".to_owned(), String::new()));
        let before = cluster.blocks().await;
        update(cluster, keep(), keep()).await.expect("nothing to do");
        assert_eq!(cluster.blocks().await, before);
    }
}
