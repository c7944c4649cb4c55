//! 16.6 borrowing, limits, naming, utilization; 16.7 selectors and pool changes.

use libcalico::ipam::{AutoAssign, IntendedUse, IpamErrorKind, PoolRef, Usage};
use libcalico::store::AffinityOwner;

use crate::cluster::{Cluster, cidrs, found, ip, net, pool, soon, wanted};
use crate::rows;

async fn in_pool(cluster: &Cluster, host: &str, count: u32, pools: &[&str]) -> usize {
    let request = AutoAssign { v4_pools: cidrs(pools), ..wanted(host, count, 0) };
    found(&cluster.auto(&request).await)
}

fn numbers(usage: Usage) -> (u128, u128, u128, u128) {
    (usage.capacity, usage.in_use, usage.reserved, usage.available)
}

rows! {
    async fn b1_borrowing_follows_strict_affinity(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/28").block_size(28)).await;
        for (strict, expected) in [(false, 1), (true, 0), (false, 1)] {
            cluster.config(|config| config.strict_affinity = strict).await;
            assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
            let other = cluster.auto(&wanted("host-b", 1, 0)).await;
            assert_eq!(other.expect("no failure").addresses().count(), expected);
        }
    }

    async fn b2_own_and_borrowed_addresses_are_released_by_handle(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/28").block_size(28)).await;
        let own = cluster.assign("host-a", "own").await.expect("assigned").address;
        let borrowed = cluster.assign("host-b", "borrowed").await.expect("assigned").address;
        assert_eq!(cluster.release("borrowed").await, [borrowed]);
        assert_eq!(cluster.release("own").await, [own]);
        assert!(cluster.handles().await.is_empty());
    }

    async fn b3_limits_of_blocks(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/28").block_size(30)).await;
        cluster.config(|config| {
            config.strict_affinity = true;
            config.max_blocks_per_host = 2;
        }).await;
        for _ in 0..8 {
            assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
        }
        let limited = async |max_blocks_per_host| {
            let request = AutoAssign { max_blocks_per_host, ..wanted("host-a", 1, 0) };
            cluster.auto(&request).await
        };
        let error = limited(None).await.expect_err("limited");
        assert!(error.to_string().starts_with("cannot allocate new block due to per host block limit"));
        assert_eq!(error.kind(), IpamErrorKind::Exhausted);
        assert_eq!(found(&cluster.auto(&wanted("host-b", 1, 0)).await), 1);
        assert!(limited(None).await.is_err());
        assert!(limited(Some(3)).await.is_err());
        cluster.config(|config| config.max_blocks_per_host = 3).await;
        assert!(limited(Some(2)).await.is_err());
        assert_eq!(found(&limited(None).await), 1);
    }

    async fn b4_long_names_of_hosts(cluster) {
        let long = "a".repeat(252);
        let other = format!("{}b", &long[..251]);
        cluster.nodes(&[&long, &other]).await;
        cluster.pool(pool("pool4", "10.0.0.0/24")).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        for host in [&long, &other] {
            assert_eq!(found(&cluster.auto(&wanted(host, 1, 1)).await), 2);
            let owner = AffinityOwner::host(host.as_str());
            assert_eq!(cluster.affinities(&owner).await.len(), 2);
        }
        assert_eq!(cluster.all_affinities().await.len(), 4);
    }

    async fn b5_b6_two_pools_and_none_requested(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24")).await;
        for _ in 0..2 {
            assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
        }
    }

    async fn b7_to_b10_utilization(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.5", "host-a", None).await.expect("assigned");
        for (reserved, of_pool, of_block) in [
            (&["10.0.0.32/30"][..], (256, 1, 4, 251), (64, 1, 4, 59)),
            (&["10.0.0.128/25"], (256, 1, 128, 127), (64, 1, 0, 63)),
            (&["10.0.0.5/32"], (256, 1, 1, 255), (64, 1, 1, 63)),
            (
                &["10.0.0.0/25", "10.0.0.5/32", "10.0.0.64/26"],
                (256, 1, 128, 128),
                (64, 1, 64, 0),
            ),
        ] {
            cluster.reserve(reserved).await;
            let all = cluster.allocator().utilization(&[], soon()).await.expect("counted");
            assert_eq!(numbers(all.pools[0].usage), of_pool, "{reserved:?}");
            assert_eq!(numbers(all.pools[0].blocks[0].usage), of_block, "{reserved:?}");
        }
    }

    async fn c1_to_c5_requested_pools(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24")).await;
        let in_use = async |name: &str| {
            let asked = [PoolRef::Name(name.into())];
            let all = cluster.allocator().utilization(&asked, soon()).await.expect("counted");
            assert_eq!(all.pools.len(), 1);
            all.pools[0].usage.in_use
        };
        for round in 1..=2 {
            for (name, cidr) in [("pool1", "10.0.0.0/24"), ("pool2", "20.0.0.0/24")] {
                assert_eq!(in_pool(cluster, "host-a", 1, &[cidr]).await, 1);
                assert_eq!(in_use(name).await, round);
                assert_eq!(cluster.blocks().await.iter().filter(|block| net(cidr).contains(&block.cidr)).count(), 1);
            }
        }
        assert_eq!(in_pool(cluster, "host-a", 254, &["10.0.0.0/24"]).await, 254);
        assert_eq!(in_pool(cluster, "host-a", 1, &["10.0.0.0/24"]).await, 0);
        assert_eq!((in_use("pool1").await, in_use("pool2").await), (256, 2));
    }

    async fn n1_only_pools_that_select_the_node(cluster) {
        cluster.node("host-a", &[("foo", "bar")]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24").node_selector("foo == 'bar'")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24").node_selector("foo != 'bar'")).await;
        let assignment = cluster.auto(&wanted("host-a", 300, 0)).await.expect("assigned");
        assert_eq!(assignment.v4.addresses.len(), 256);
        assert!(assignment.addresses().all(|one| net("10.0.0.0/24").contains(&one.address)));
        assert!(assignment.addresses().all(|one| one.pool.as_deref() == Some("pool1")));
    }

    async fn n2_n3_a_block_goes_with_its_last_address_once_its_pool_left_the_node(cluster) {
        let owner = AffinityOwner::host("host-a");
        for by_handle in [false, true] {
            cluster.node("host-a", &[("foo", "bar")]).await;
            cluster.pool(pool("pool1", "10.0.0.0/24").node_selector("foo == 'bar'")).await;
            let mut addresses = Vec::new();
            for index in 0..3 {
                let one = cluster.assign("host-a", &format!("h{index}")).await.expect("assigned");
                addresses.push(one.address);
            }
            cluster.pool(pool("pool1", "10.0.0.0/24").node_selector("foo != 'bar'")).await;
            for (index, address) in addresses.into_iter().enumerate() {
                assert_eq!(cluster.affinities(&owner).await.len(), 1);
                assert_eq!(cluster.blocks().await.len(), 1);
                if by_handle {
                    cluster.release(&format!("h{index}")).await;
                } else {
                    cluster.release_ip(address).await;
                }
            }
            assert!(cluster.affinities(&owner).await.is_empty());
            assert!(cluster.blocks().await.is_empty());
        }
    }

    async fn n4_the_labels_move_to_another_node(cluster) {
        cluster.node("host1", &[("foo", "bar")]).await;
        cluster.node("host2", &[]).await;
        cluster.pool(pool("pool1", "10.0.0.0/30").block_size(30).node_selector("foo == 'bar'")).await;
        assert_eq!(found(&cluster.auto(&wanted("host1", 3, 0)).await), 3);
        cluster.node("host1", &[]).await;
        cluster.node("host2", &[("foo", "bar")]).await;
        let error = cluster.auto(&wanted("host1", 1, 0)).await.expect_err("not selected");
        assert!(error.to_string().starts_with("no configured Calico pools for node host1"));
        let borrowed = cluster.auto(&wanted("host2", 1, 0)).await.expect("borrowed");
        assert_eq!(borrowed.v4.addresses.len(), 1);
        assert_eq!(cluster.affinities(&AffinityOwner::host("host1")).await, [net("10.0.0.0/30")]);
        assert!(cluster.affinities(&AffinityOwner::host("host2")).await.is_empty());
    }

    async fn n5_an_empty_block_of_a_pool_that_left_the_node_is_given_up(cluster) {
        cluster.node("host-a", &[("foo", "bar")]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24").node_selector("foo == 'bar'")).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.release("h").await;
        cluster.pool(pool("pool1", "10.0.0.0/24").node_selector("foo != 'bar'")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24").node_selector("foo == 'bar'")).await;
        let assignment = cluster.auto(&wanted("host-a", 3, 0)).await.expect("assigned");
        assert!(assignment.addresses().all(|one| net("20.0.0.0/24").contains(&one.address)));
        assert_eq!(assignment.addresses().count(), 3);
        let blocks: Vec<_> = cluster.blocks().await.iter().map(|block| block.cidr).collect();
        assert_eq!(blocks.len(), 1);
        assert!(net("20.0.0.0/24").contains(&blocks[0]));
        assert_eq!(cluster.affinities(&AffinityOwner::host("host-a")).await, blocks);
    }

    async fn n6_n7_blocks_stay_for_another_use_or_another_request(cluster) {
        let owner = AffinityOwner::host("host-a");
        cluster.node("host-a", &[]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24").uses(&["Workload"])).await;
        cluster.pool(pool("pool2", "20.0.0.0/24").uses(&["Tunnel"])).await;
        cluster.pool(pool("pool3", "30.0.0.0/24").uses(&["Workload"])).await;
        assert_eq!(in_pool(cluster, "host-a", 1, &["10.0.0.0/24"]).await, 1);
        let first = cluster.blocks().await[0].allocated().next().expect("one").0;
        cluster.release_ip(first).await;
        let tunnel = AutoAssign { intended_use: IntendedUse::Tunnel, ..wanted("host-a", 1, 0) };
        assert_eq!(found(&cluster.auto(&tunnel).await), 1);
        assert_eq!((cluster.blocks().await.len(), cluster.affinities(&owner).await.len()), (2, 2));
        assert_eq!(in_pool(cluster, "host-a", 1, &["30.0.0.0/24"]).await, 1);
        assert_eq!((cluster.blocks().await.len(), cluster.affinities(&owner).await.len()), (3, 3));
    }

    async fn x1_x2_x6_requested_pools_that_cannot_be(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.pool(pool("off", "20.0.0.0/24").disabled()).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let error = async |v4: &[&str], v6: &[&str]| {
            let request = AutoAssign {
                v4_pools: cidrs(v4),
                v6_pools: cidrs(v6),
                ..wanted("host-a", u32::from(!v4.is_empty()), u32::from(!v6.is_empty()))
            };
            cluster.auto(&request).await.expect_err("refused").to_string()
        };
        assert_eq!(
            error(&["10.0.0.0/24", "20.0.0.0/24"], &[]).await,
            "the given pool (20.0.0.0/24) does not exist, or is not enabled: it is disabled"
        );
        assert_eq!(
            error(&[], &["fd00::/112", "10.0.0.0/24"]).await,
            "provided IPv6 IPPools list contains one or more IPv4 IPPools: 10.0.0.0/24"
        );
        assert_eq!(
            error(&["40.0.0.0/24", "10.0.0.0/24"], &[]).await,
            "the given pool (40.0.0.0/24) does not exist, or is not enabled"
        );
    }

    async fn x3_x4_x5_several_requested_pools(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24")).await;
        let both = ["20.0.0.0/24", "10.0.0.0/24"];
        let request = AutoAssign { v4_pools: cidrs(&both), ..wanted("host-a", 1, 0) };
        let first = cluster.auto(&request).await.expect("assigned").v4.addresses[0].address;
        assert!(net(both[0]).contains(&first));
        assert_eq!(in_pool(cluster, "host-a", 300, &both).await, 300);
        assert_eq!(in_pool(cluster, "host-a", 300, &both).await, 211);
    }

    async fn e1_to_e8_ensuring_a_block(cluster) {
        use libcalico::ipam::HostReserved;
        use libcalico::store::Family;
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.pool(pool("pool2", "20.0.0.0/24")).await;
        cluster.pool(pool("off", "50.0.0.0/24").disabled()).await;
        cluster.pool(pool("tiny", "90.0.0.0/24").block_size(31)).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let reserved = HostReserved {
            start_of_block: 3,
            end_of_block: 1,
            handle: "windows-reserved-ipam-handle".into(),
            note: "windows host rsvd".into(),
        };
        let ensure = async |v4: &[&str], v6: bool| {
            let request = AutoAssign {
                v4_pools: cidrs(v4),
                host_reserved_v4: (!v6).then(|| reserved.clone()),
                host_reserved_v6: v6.then(|| reserved.clone()),
                ..wanted("host-a", 0, 0)
            };
            cluster.allocator().ensure_block(&request, soon()).await
        };
        assert!(ensure(&["50.0.0.0/24"], false).await.is_err());
        assert!(ensure(&["fd00::/112"], false).await.is_err());
        for unusable in ["90.0.0.0/24", "40.0.0.0/24"] {
            let error = ensure(&[unusable], false).await.expect_err("refused").to_string();
            let text = format!("the given pool ({unusable}) does not exist, or is not enabled");
            assert!(error.starts_with(&text), "{error}");
        }
        let first = ensure(&["20.0.0.0/24", "10.0.0.0/24"], false).await.expect("claimed");
        assert!(net("20.0.0.0/24").contains(&first[0].1));
        assert_eq!(ensure(&["20.0.0.0/24"], false).await.expect("the same"), first);
        let any = ensure(&[], false).await.expect("claimed");
        assert!(net("10.0.0.0/24").contains(&any[0].1));
        let v6 = ensure(&[], true).await.expect("claimed");
        assert_eq!((v6.len(), v6[0].0), (1, Family::V6));
        let block = cluster.block(&any[0].1.to_string()).await.expect("it exists");
        assert_eq!((block.unallocated.len(), block.is_empty()), (60, true));
    }

    async fn k1_k2_k3_blocks_of_the_host_in_order_and_the_limit(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/28").block_size(30)).await;
        let owner = AffinityOwner::host("host-a");
        for block in ["10.0.0.0/30", "10.0.0.8/30"] {
            cluster.allocator().claim_affinity(net(block), &owner, soon()).await.expect("claimed");
        }
        let next = async || cluster.auto(&wanted("host-a", 1, 0)).await.map(|it| {
            ipnet::IpNet::new(it.v4.addresses[0].address, 30).expect("a block").trunc()
        });
        cluster.reserve(&["10.0.0.0/30"]).await;
        assert_eq!(next().await.expect("assigned"), net("10.0.0.8/30"));
        cluster.reserve(&[]).await;
        assert_eq!(next().await.expect("assigned"), net("10.0.0.0/30"));
        assert_eq!(found(&cluster.auto(&wanted("host-a", 3, 0)).await), 3);
        assert_eq!(next().await.expect("assigned"), net("10.0.0.8/30"));
        assert_eq!(found(&cluster.auto(&wanted("host-a", 2, 0)).await), 2);
        let limited = AutoAssign { max_blocks_per_host: Some(2), ..wanted("host-a", 1, 0) };
        assert!(cluster.auto(&limited).await.is_err());
        assert!(![net("10.0.0.0/30"), net("10.0.0.8/30")].contains(&next().await.expect("a new one")));
    }

    async fn an_address_of_a_disabled_pool_is_known(cluster) {
        // Weak point 18.
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        cluster.assign_ip("10.0.0.1", "host-a", Some("h")).await.expect("assigned");
        cluster.pool(pool("pool1", "10.0.0.0/24").disabled()).await;
        let found = cluster.allocator().assignment_attributes(ip("10.0.0.1"), soon()).await;
        assert_eq!(found.expect("allocated").handle.as_deref(), Some("h"));
    }

    async fn a_manual_pool_and_one_of_another_namespace_are_only_used_on_request(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("manual", "10.0.0.0/24").manual()).await;
        cluster.pool(pool("private", "20.0.0.0/24").namespace_selector("team == 'a'")).await;
        let team = |name: &str| Some([("team".to_owned(), name.to_owned())].into());
        for (namespace_labels, expected) in [(None, 0), (team("b"), 0), (team("a"), 1)] {
            let request = AutoAssign { namespace_labels, ..wanted("host-a", 1, 0) };
            assert_eq!(found(&cluster.auto(&request).await), expected);
        }
        assert_eq!(in_pool(cluster, "host-a", 2, &["10.0.0.0/24"]).await, 2);
        assert_eq!(in_pool(cluster, "host-a", 2, &["20.0.0.0/24"]).await, 2);
    }
}
