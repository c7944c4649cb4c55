//! 16.2: releases, attributes, uses, reservations; 16.3 and 16.4: lifecycle, per-handle maximum.

use libcalico::clock;
use libcalico::ipam::{AutoAssign, HostReserved, IntendedUse, IpamErrorKind};
use libcalico::store::AffinityOwner;

use crate::cluster::{Cluster, found, guard, ip, net, pool, soon, wanted};
use crate::rows;

async fn small(cluster: &Cluster) {
    cluster.nodes(&["host-a", "host-b"]).await;
    cluster.pool(pool("pool1", "10.0.0.0/24").block_size(30)).await;
}

async fn plain(cluster: &Cluster) {
    cluster.nodes(&["host-a", "host-b"]).await;
    cluster.pool(pool("pool1", "10.0.0.0/24")).await;
}

rows! {
    async fn r1_a_stale_sequence_number_releases_nothing(cluster) {
        small(cluster).await;
        for round in 0..10 {
            let handle = format!("h{round}");
            let first = cluster.assign("host-a", &handle).await.expect("assigned");
            let address = first.address.to_string();
            cluster.release(&handle).await;
            cluster.assign_ip(&address, "host-a", Some(&handle)).await.expect("assigned");
            let stale = [guard(first.address, Some(&handle), Some(first.sequence_number))];
            let outcome = cluster.allocator().release_ips(&stale, soon()).await.expect("runs");
            let error = outcome.error.expect("stale");
            assert_eq!(error.kind(), IpamErrorKind::Conflict);
            assert!(outcome.unallocated.is_empty() && outcome.processed.is_empty());
            let now = cluster
                .allocator()
                .assignment_attributes(first.address, soon())
                .await
                .expect("allocated");
            assert_eq!(now.sequence_number, first.sequence_number + 2, "{error}");
            let fresh = [guard(first.address, Some(&handle), Some(now.sequence_number))];
            let outcome = cluster.allocator().release_ips(&fresh, soon()).await.expect("runs");
            assert!(outcome.error.is_none() && outcome.unallocated.is_empty());
            assert_eq!(outcome.processed, fresh);
        }
        assert!(cluster.handles().await.is_empty());
    }

    async fn r2_the_fifth_of_four_addresses_is_the_first_again(cluster) {
        small(cluster).await;
        let mut seen = Vec::new();
        for _ in 0..5 {
            let assignment = cluster.auto(&wanted("host-a", 1, 0)).await.expect("assigned");
            let address = assignment.v4.addresses[0].address;
            cluster.release_ip(address).await;
            seen.push(address);
        }
        let first: std::collections::BTreeSet<_> = seen[..4].iter().collect();
        assert_eq!((first.len(), seen[4]), (4, seen[0]));
    }

    async fn r3_after_a_pool_is_replaced_addresses_come_from_the_new_one(cluster) {
        plain(cluster).await;
        cluster.assign("host-a", "h1").await.expect("assigned");
        cluster.delete_pool("pool1").await;
        cluster.pool(pool("pool2", "11.0.0.0/24")).await;
        let next = cluster.assign("host-a", "h2").await.expect("assigned");
        assert!(net("11.0.0.0/24").contains(&next.address));
        cluster.release("h1").await;
    }

    async fn r4_a_block_that_was_made_again_has_new_sequence_numbers(cluster) {
        small(cluster).await;
        let owner = AffinityOwner::host("host-a");
        let first = cluster.assign("host-a", "h").await.expect("assigned");
        cluster.allocator().release_affinity(net("10.0.0.0/24"), &owner, false, soon()).await
            .expect("given up");
        cluster.release("h").await;
        assert!(cluster.blocks().await.is_empty());
        let again = cluster.assign_ip(&first.address.to_string(), "host-a", Some("h")).await
            .expect("assigned");
        let stale = [first.release_guard(Some("h"))];
        let outcome = cluster.allocator().release_ips(&stale, soon()).await.expect("runs");
        assert!(outcome.error.is_some() && outcome.processed.is_empty());
        let fresh = [again.release_guard(Some("h"))];
        let outcome = cluster.allocator().release_ips(&fresh, soon()).await.expect("runs");
        assert!(outcome.error.is_none());
        assert_eq!(outcome.processed, fresh);
    }

    async fn r5_a_hundred_addresses_of_many_blocks_in_one_call(cluster) {
        cluster.nodes(&["n0", "n1", "n2", "n3"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24").block_size(30)).await;
        cluster.pool(pool("pool2", "10.0.1.0/24").block_size(30)).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let mut all = Vec::new();
        for index in 0..4 {
            let host = format!("n{index}");
            for (v4, v6) in [(6, 6), (13, 0)] {
                let request = AutoAssign { handle: Some(host.clone()), ..wanted(&host, v4, v6) };
                let assignment = cluster.auto(&request).await.expect("assigned");
                all.extend(assignment.addresses().map(|one| one.release_guard(Some(&host))));
            }
        }
        assert_eq!(all.len(), 100);
        cluster.pool(pool("pool1", "10.0.0.0/24").block_size(30).disabled()).await;
        let outcome = cluster.allocator().release_ips(&all, soon()).await.expect("runs");
        assert!(outcome.unallocated.is_empty() && outcome.error.is_none(), "{outcome:?}");
        assert_eq!(outcome.processed.len(), 100);
        assert!(cluster.handles().await.is_empty());
    }

    async fn r6_removing_an_unknown_host_is_no_failure(cluster) {
        let owner = AffinityOwner::host("nobody");
        cluster.allocator().remove_host(&owner, soon()).await.expect("nothing to do");
    }

    async fn a1_to_a4_attributes_of_an_address(cluster) {
        let attributes = async |address| {
            cluster.allocator().assignment_attributes(ip(address), soon()).await
        };
        let kind = async |address| attributes(address).await.expect_err(address).kind();
        cluster.nodes(&["host-a"]).await;
        assert_eq!(kind("10.0.0.1").await, IpamErrorKind::NotFound);
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        assert_eq!(kind("10.0.0.1").await, IpamErrorKind::NotFound);
        let mut request = cluster.ip_request("10.0.0.1", "host-a", Some("h"));
        request.attributes.insert("pod".into(), "p".into());
        cluster.allocator().assign_ip(&request, None, None, soon()).await.expect("assigned");
        let found = attributes("10.0.0.1").await.expect("assigned");
        assert_eq!((found.handle.as_deref(), &found.active), (Some("h"), &request.attributes));
        assert_eq!(kind("10.0.0.2").await, IpamErrorKind::NotFound);
    }

    async fn u1_to_u4_a_requested_address_and_the_uses_of_its_pool(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("tunnel", "10.0.0.0/24").uses(&["Tunnel"])).await;
        cluster.pool(pool("workload", "10.0.1.0/24").uses(&["Workload"])).await;
        cluster.pool(pool("any", "10.0.2.0/24")).await;
        let assign = async |address, intended_use| {
            let mut request = cluster.ip_request(address, "host-a", None);
            request.intended_use = intended_use;
            cluster.allocator().assign_ip(&request, None, None, soon()).await
        };
        let error = assign("10.0.0.1", Some(IntendedUse::Workload)).await.expect_err("refused");
        assert_eq!(
            error.to_string(),
            "IP address 10.0.0.1 is in IP pool \"tunnel\", which is not allowed for use \
             \"Workload\" (allowedUses: [Tunnel])"
        );
        assign("10.0.1.1", Some(IntendedUse::Workload)).await.expect("allowed");
        assign("10.0.0.1", None).await.expect("not asked");
        assign("10.0.2.1", Some(IntendedUse::Tunnel)).await.expect("allowed");
    }

    async fn v1_v2_v3_reservations_are_left_out(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.reserve(&["10.0.0.1/32", "10.0.0.32/30", "10.0.0.17/32", "10.9.0.0/24"]).await;
        let request = AutoAssign { handle: Some("h".into()), ..wanted("host-a", 64, 0) };
        assert_eq!(found(&cluster.auto(&request).await), 58);
        cluster.release("h").await;
        cluster.reserve(&[]).await;
        assert_eq!(found(&cluster.auto(&request).await), 64);
        cluster.release("h").await;
        let owner = AffinityOwner::host("host-a");
        cluster.allocator().release_host_affinities(&owner, true, soon()).await.expect("empty");

        cluster.reserve(&["10.0.0.1/32", "10.0.0.32/30", "10.0.0.17/32"]).await;
        let windows = HostReserved {
            start_of_block: 3,
            end_of_block: 1,
            handle: "windows-reserved-ipam-handle".into(),
            note: "windows host rsvd".into(),
        };
        let ensure = AutoAssign { host_reserved_v4: Some(windows), ..wanted("host-a", 0, 0) };
        let blocks = cluster.allocator().ensure_block(&ensure, soon()).await.expect("claimed");
        assert_eq!(blocks.len(), 1);
        assert_eq!(found(&cluster.auto(&request).await), 55);
    }

    async fn f1_f2_a_block_in_use_stays_when_it_must_be_empty(cluster) {
        small(cluster).await;
        let owner = AffinityOwner::host("host-a");
        for by_block in [false, true] {
            let first = cluster.assign("host-a", "h").await.expect("assigned");
            let block = ipnet::IpNet::new(first.address, 30).expect("a block").trunc();
            let give_up = async || {
                let allocator = cluster.allocator();
                if by_block {
                    allocator.release_block_affinity(block, true, soon()).await
                } else {
                    allocator.release_affinity(net("10.0.0.0/24"), &owner, true, soon()).await
                }
            };
            let error = give_up().await.expect_err("in use").to_string();
            assert!(error.starts_with(&format!("block '{block}' is not empty")), "{error}");
            assert_eq!(cluster.affinities(&owner).await, [block]);
            cluster.release("h").await;
            give_up().await.expect("empty");
            assert!(cluster.blocks().await.is_empty() && cluster.affinities(&owner).await.is_empty());
        }
    }

    async fn f3_a_block_without_owner_and_an_affinity_of_old(cluster) {
        use libcalico::ipam::Block;
        use libcalico::store::Key;
        small(cluster).await;
        let block = Block::new(net("10.0.0.0/30"), None, None, clock::now());
        cluster.put(Key::Block(net("10.0.0.0/30")), block.encode()).await;
        let owner = AffinityOwner::host("host-a");
        let value = br#"{"state":"confirmed"}"#.to_vec();
        cluster.put(Key::Affinity(owner.clone(), net("10.0.0.0/30")), value).await;
        cluster.allocator().release_pool_affinities(net("10.0.0.0/24"), soon()).await.expect("done");
        assert!(cluster.blocks().await.is_empty() && cluster.affinities(&owner).await.is_empty());
    }

    async fn f4_f5_the_blocks_of_a_host(cluster) {
        small(cluster).await;
        let owner = AffinityOwner::host("host-a");
        let request = AutoAssign { handle: Some("all".into()), ..wanted("host-a", 12, 0) };
        cluster.auto(&request).await.expect("assigned");
        assert_eq!(cluster.affinities(&owner).await.len(), 3);
        cluster.release("all").await;
        cluster.assign("host-a", "one").await.expect("assigned");
        let error = cluster.allocator().release_host_affinities(&owner, true, soon()).await;
        assert!(error.is_err_and(|error| error.to_string().contains("is not empty")));
        assert_eq!((cluster.affinities(&owner).await.len(), cluster.blocks().await.len()), (1, 1));

        cluster.release("one").await;
        cluster.auto(&request).await.expect("assigned");
        cluster.delete_pool("pool1").await;
        cluster.allocator().release_host_affinities(&owner, false, soon()).await.expect("done");
        assert_eq!((cluster.affinities(&owner).await.len(), cluster.blocks().await.len()), (0, 3));
        cluster.release("all").await;
        assert!(cluster.blocks().await.is_empty());
    }

    async fn d1_to_d4_a_pool_of_one_block(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        assert_eq!(found(&cluster.auto(&wanted("host-a", 64, 0)).await), 64);
        let twice = [guard(ip("10.0.0.1"), None, None), guard(ip("10.0.0.1"), None, None)];
        let outcome = cluster.allocator().release_ips(&twice, soon()).await.expect("runs");
        assert!(outcome.error.is_none() && outcome.unallocated.is_empty());
        cluster.assign_ip("10.0.0.1", "host-a", None).await.expect("free again");
        let found_attributes =
            cluster.allocator().assignment_attributes(ip("10.0.0.1"), soon()).await.expect("taken");
        assert_eq!((found_attributes.handle, found_attributes.active.len()), (None, 0));
        let more = cluster.auto(&wanted("host-a", 1, 0)).await.expect("no failure");
        assert_eq!(more.v4.addresses.len(), 0);
    }

    async fn g1_to_g4_the_same_block_until_the_pool_is_replaced(cluster) {
        plain(cluster).await;
        let first = cluster.assign("host-a", "h1").await.expect("assigned").address;
        let second = cluster.assign("host-a", "h2").await.expect("assigned").address;
        let block = ipnet::IpNet::new(first, 26).expect("a block");
        assert!(block.contains(&second));
        cluster.delete_pool("pool1").await;
        cluster.pool(pool("pool2", "20.0.0.0/24")).await;
        let other = cluster.assign("host-b", "h3").await.expect("assigned").address;
        assert!(net("20.0.0.0/24").contains(&other));
        let again = cluster.assign("host-a", "h4").await.expect("assigned").address;
        assert!(!block.contains(&again));
    }

    async fn h1_the_addresses_of_a_handle(cluster) {
        plain(cluster).await;
        let assigned = cluster.assign("host-a", "h").await.expect("assigned").address;
        let ips = async || cluster.allocator().ips_by_handle("h", soon()).await;
        assert_eq!(ips().await.expect("known"), [assigned]);
        assert_eq!(cluster.release("h").await, [assigned]);
        assert_eq!(ips().await.expect_err("gone").kind(), IpamErrorKind::NotFound);
        assert!(cluster.release("h").await.is_empty(), "a second release finds nothing");
    }

    async fn m1_a_handle_with_its_maximum_gets_what_it_has(cluster) {
        plain(cluster).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        let request = AutoAssign {
            handle: Some("vm".into()),
            max_per_handle: Some(1),
            ..wanted("host-a", 1, 1)
        };
        let first = cluster.auto(&request).await.expect("assigned");
        let second = cluster.auto(&request).await.expect("the same");
        let addresses = |of: &libcalico::ipam::Assignment| -> Vec<_> {
            of.addresses().map(|one| one.address).collect()
        };
        assert_eq!(addresses(&first), addresses(&second));
        let lengths: Vec<u8> = second.addresses().map(|one| one.block_prefix_len).collect();
        assert_eq!(lengths, [32, 128]);
        assert_eq!(cluster.allocator().ips_by_handle("vm", soon()).await.expect("two").len(), 2);
    }

    async fn m2_a_requested_address_and_the_maximum(cluster) {
        plain(cluster).await;
        let assign = async |address| {
            let mut request = cluster.ip_request(address, "host-a", Some("vm"));
            request.max_per_handle = Some(1);
            cluster.allocator().assign_ip(&request, None, None, soon()).await
        };
        assign("10.0.0.1").await.expect("assigned");
        assert!(assign("10.0.0.1").await.expect("the same").reused);
        let error = assign("10.0.0.2").await.expect_err("too many").to_string();
        assert!(error.contains("already has IP(s) allocated"), "{error}");
    }

    async fn m3_a_maximum_of_two(cluster) {
        plain(cluster).await;
        let request = AutoAssign {
            handle: Some("vm".into()),
            max_per_handle: Some(2),
            ..wanted("host-a", 1, 0)
        };
        let mut seen = Vec::new();
        for _ in 0..3 {
            let assignment = cluster.auto(&request).await.expect("assigned");
            seen.push(assignment.v4.addresses[0].address);
        }
        assert_ne!(seen[0], seen[1]);
        assert!(seen[..2].contains(&seen[2]));
    }
}
