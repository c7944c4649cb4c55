//! 16.9 claims and configuration; 16.11 races; 16.13 collecting.

use std::collections::BTreeSet;

use futures::future::join_all;
use libcalico::clock;
use libcalico::ipam::affinity::{Affinity, AffinityState};
use libcalico::ipam::{Block, HostReserved, IpamConfig, IpamErrorKind};
use libcalico::store::{AffinityOwner, AffinityType, Key};

use crate::cluster::{found, guard, ip, net, pool, soon, wanted};
use crate::rows;

fn affinity(state: AffinityState) -> Vec<u8> {
    Affinity { state, ..Affinity::default() }.encode()
}

rows! {
    async fn q1_to_q5_claims(cluster) {
        cluster.pool(pool("pool1", "192.168.1.0/24")).await;
        let (a, b) = (AffinityOwner::host("host-a"), AffinityOwner::host("host-b"));
        let claim = async |cidr: &str, owner| {
            let claimed = cluster.allocator().claim_affinity(net(cidr), owner, soon()).await;
            claimed.map(|it| (it.claimed.len(), it.failed.len()))
        };
        assert_eq!(claim("192.168.1.0/26", &a).await.expect("claimed"), (1, 0));
        let error = claim("192.168.1.0/27", &a).await.expect_err("too small").to_string();
        assert_eq!(error, "The requested CIDR (192.168.1.0/27) is smaller than the minimum.");
        let error = claim("10.0.0.0/24", &a).await.expect_err("outside").to_string();
        assert_eq!(error, "The requested CIDR (10.0.0.0/24) is not within any configured pools.");
        assert_eq!(claim("192.168.1.0/24", &b).await.expect("claimed"), (3, 1));
        for owner in [&a, &b] {
            cluster.allocator().remove_host(owner, soon()).await.expect("removed");
        }
        assert_eq!(claim("192.168.1.0/24", &a).await.expect("claimed"), (4, 0));
        assert_eq!(claim("192.168.1.0/24", &b).await.expect("nothing"), (0, 4));
    }

    async fn z1_z2_z3_the_configuration(cluster) {
        let (config, revision) = cluster.allocator().config(soon()).await.expect("the default");
        assert_eq!((config, revision), (IpamConfig::default(), None));
        assert!(cluster.store.read(&[libcalico::store::Query::Key(Key::IpamConfig)], soon()).await
            .expect("reads").results[0].is_empty());
        cluster.config(|config| {
            config.strict_affinity = true;
            config.auto_allocate_blocks = false;
        }).await;
        let (config, revision) = cluster.allocator().config(soon()).await.expect("stored");
        assert!(config.strict_affinity && !config.auto_allocate_blocks && revision.is_some());
        // Weak point 14: a change doesn't overwrite one that came between.
        cluster.config(|config| config.auto_allocate_blocks = true).await;
        let error = cluster.allocator().set_config(&config, revision, soon()).await;
        assert_eq!(error.expect_err("changed meanwhile").kind(), IpamErrorKind::Conflict);
    }

    async fn race1_more_hosts_than_blocks(cluster) {
        cluster.pool(pool("pool1", "10.0.0.0/22")).await;
        let hosts: Vec<String> = (0..32).map(|index| format!("host-{index}")).collect();
        for host in &hosts {
            cluster.node(host, &[]).await;
        }
        let requests = hosts.iter().map(async |host| {
            let request = wanted(host, 1, 0);
            cluster.auto(&request).await.expect("assigned").v4.addresses[0].address
        });
        let addresses = join_all(requests).await;
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 32);
        assert_eq!(cluster.all_affinities().await.len(), 16);
        for (host, address) in hosts.iter().zip(addresses) {
            let own = cluster.affinities(&AffinityOwner::host(host.as_str())).await;
            assert!(own.len() <= 1);
            assert!(own.iter().all(|block| block.contains(&address)), "{host} has {own:?}");
        }
    }

    async fn race2_one_host_claims_one_block_however_many_ask(cluster) {
        // Weak point 17.
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/25")).await;
        let results = join_all((0..4).map(async |_| cluster.auto(&wanted("host-a", 1, 0)).await)).await;
        assert!(results.iter().all(|result| found(result) == 1));
        assert_eq!(cluster.blocks().await.len(), 1);
        assert_eq!(cluster.all_affinities().await.len(), 1);
    }

    async fn crowd_64_at_once_on_one_node(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        let handles: Vec<String> = (0..64).map(|index| format!("h{index}")).collect();
        let adds = join_all(handles.iter().map(|handle| cluster.assign("host-a", handle))).await;
        let addresses: BTreeSet<_> =
            adds.into_iter().map(|add| add.expect("assigned").address).collect();
        assert_eq!((addresses.len(), cluster.blocks().await.len()), (64, 1));
        let releases = join_all(handles.iter().map(|handle| cluster.release(handle))).await;
        assert!(releases.iter().all(|released| released.len() == 1));
        assert!(cluster.handles().await.is_empty());
    }

    async fn crowd_4_nodes_times_32_at_once_on_one_pool(cluster) {
        let hosts = ["n0", "n1", "n2", "n3"];
        cluster.nodes(&hosts).await;
        // 128 addresses for 128 who ask: to the last one, with borrowing.
        cluster.pool(pool("pool1", "10.0.0.0/25").block_size(28)).await;
        let adds = (0..128).map(async |index| {
            cluster.assign(hosts[index % 4], &format!("h{index}")).await.expect("assigned").address
        });
        let addresses: BTreeSet<_> = join_all(adds).await.into_iter().collect();
        assert_eq!(addresses.len(), 128);
        assert_eq!(cluster.all_affinities().await.len(), 8);
    }

    async fn race3_claims_and_releases_of_the_same_host(cluster) {
        cluster.pool(pool("pool1", "10.0.0.0/22")).await;
        let owner = AffinityOwner::host("host-a");
        let claims = join_all((0..4).map(async |_| {
            cluster.allocator().claim_affinity(net("10.0.0.0/22"), &owner, soon()).await
        })).await;
        for claimed in claims {
            let claimed = claimed.expect("claimed");
            assert_eq!((claimed.claimed.len(), claimed.failed.len()), (16, 0));
        }
        assert_eq!(cluster.affinities(&owner).await.len(), 16);
        cluster.consistent().await;
        let releases = join_all((0..4).map(async |_| {
            cluster.allocator().release_affinity(net("10.0.0.0/22"), &owner, false, soon()).await
        })).await;
        assert!(releases.iter().all(Result::is_ok), "{releases:?}");
        assert!(cluster.affinities(&owner).await.is_empty() && cluster.blocks().await.is_empty());
    }

    async fn race6_a_lost_claim_of_old_is_cleaned_up(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        let a = AffinityOwner::host("host-a");
        assert_eq!(found(&cluster.auto(&wanted("host-b", 1, 0)).await), 1);
        cluster.put(Key::Affinity(a.clone(), net("10.0.0.0/26")), affinity(AffinityState::Pending)).await;
        assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
        assert!(cluster.affinities(&a).await.is_empty());
    }

    async fn race7_an_empty_block_changes_hands_after_a_minute(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.config(|config| config.strict_affinity = true).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        let of_b = async || {
            let assignment = cluster.auto(&wanted("host-b", 1, 0)).await.expect("no failure");
            assignment.addresses().count()
        };
        cluster.wait(61);
        assert_eq!(of_b().await, 0, "it is in use");
        cluster.release("h").await;
        cluster.wait(-61);
        assert_eq!(of_b().await, 0, "it was claimed less than a minute ago");
        cluster.wait(61);
        let before = cluster.blocks().await[0].sequence_number;
        assert_eq!(of_b().await, 1);
        let after = &cluster.blocks().await[0];
        assert!(after.sequence_number > before);
        assert_eq!(after.affinity.as_deref(), Some("host:host-b"));
        assert!(cluster.affinities(&AffinityOwner::host("host-a")).await.is_empty());
    }

    async fn race10_the_same_name_as_host_and_as_virtual(cluster) {
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        let host = AffinityOwner::host("same");
        let other = AffinityOwner { kind: AffinityType::Virtual, name: "same".into() };
        let claims = [(&host, "10.0.0.0/26"), (&other, "10.0.0.64/26")];
        for _ in 0..2 {
            for (owner, block) in claims {
                let claimed = cluster.allocator().claim_affinity(net(block), owner, soon()).await;
                assert_eq!(claimed.expect("claimed").claimed, [net(block)]);
                assert_eq!(cluster.affinities(owner).await, [net(block)]);
            }
        }
        for expected in [None, Some(IpamErrorKind::NotFound)] {
            for (owner, block) in claims {
                let released = cluster
                    .allocator()
                    .release_owned_block(net(block), owner, false, None, soon())
                    .await;
                assert_eq!(released.err().map(|error| error.kind()), expected);
            }
        }
        assert!(cluster.blocks().await.is_empty() && cluster.all_affinities().await.is_empty());
    }

    async fn race11_race12_what_windows_reserves_is_not_given_out(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/30").block_size(30)).await;
        let reserved = HostReserved {
            start_of_block: 2,
            end_of_block: 1,
            handle: "windows-reserved-ipam-handle".into(),
            note: "windows host rsvd".into(),
        };
        let mut request = wanted("host-a", 1, 0);
        request.host_reserved_v4 = Some(reserved);
        // A /30 leaves less room than three reserved addresses ask for by the rule of the sheet.
        assert!(cluster.auto(&request).await.is_ok());
        let block = &cluster.blocks().await[0];
        let mine = block.allocated().filter(|(_, record)| record.handle().is_none()).count();
        assert_eq!((mine, block.unallocated.len()), (1, 0));
        assert_eq!(block.record(ip("10.0.0.2")).expect("inside").expect("taken").handle(), None);
        assert_eq!(found(&cluster.auto(&request).await), 0);
    }

    async fn a_block_that_changed_is_not_given_up(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        let owner = AffinityOwner::host("host-a");
        let sequence = cluster.blocks().await[0].sequence_number;
        let give_up = async |number| {
            let allocator = cluster.allocator();
            allocator.release_owned_block(net("10.0.0.0/26"), &owner, false, Some(number), soon()).await
        };
        let error = give_up(sequence - 1).await.expect_err("changed").to_string();
        assert!(error.starts_with("IPAM block updated since we last read it"), "{error}");
        give_up(sequence).await.expect("unchanged");
        let block = &cluster.blocks().await[0];
        assert_eq!((block.affinity.as_deref(), block.affinity_claim_time.as_deref()), (None, None));
        cluster.release("h").await;
        assert!(cluster.blocks().await.is_empty(), "an ownerless block goes with its last address");
    }

    async fn w1_to_w10_what_an_interrupted_upstream_left_is_repaired(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        let (cidr, a) = (net("10.0.0.0/26"), AffinityOwner::host("host-a"));
        let now = clock::now();
        let block = |owner: Option<&AffinityOwner>| Block::new(cidr, owner, None, now);
        for (window, state, left) in [
            ("W1", AffinityState::Pending, None),
            ("W2", AffinityState::Pending, Some(block(Some(&a)))),
            ("W8", AffinityState::PendingDeletion, Some(block(Some(&a)))),
            ("W9", AffinityState::PendingDeletion, None),
            ("W10", AffinityState::PendingDeletion, Some(block(None))),
            ("I4", AffinityState::Confirmed, None),
        ] {
            for requested in [false, true] {
                cluster.put(Key::Affinity(a.clone(), cidr), affinity(state.clone())).await;
                if let Some(block) = &left {
                    cluster.put(Key::Block(cidr), block.encode()).await;
                }
                if requested {
                    cluster.assign_ip("10.0.0.7", "host-a", Some("h")).await.expect(window);
                } else {
                    cluster.assign("host-a", "h").await.expect(window);
                }
                let found = cluster.block("10.0.0.0/26").await.expect(window);
                let ownerless = requested && window == "W10";
                assert_eq!(found.is_owned_by(&a), !ownerless, "{window}");
                if !ownerless {
                    cluster.consistent().await;
                }
                assert_eq!(cluster.release("h").await.len(), 1);
                cluster.allocator().remove_host(&a, soon()).await.expect(window);
                assert!(cluster.blocks().await.is_empty() && cluster.all_affinities().await.is_empty());
            }
        }
    }

    async fn services_of_type_load_balancer_have_an_owner_of_their_own(cluster) {
        // No node is read for it, and a node's labels never take its block away.
        use libcalico::ipam::{AutoAssign, IntendedUse};
        cluster.pool(pool("lb", "10.0.0.0/26").uses(&["LoadBalancer"])).await;
        let owner = AffinityOwner { kind: AffinityType::Virtual, name: "load-balancer".into() };
        let request = AutoAssign {
            handle: Some("lb-1".into()),
            intended_use: IntendedUse::LoadBalancer,
            ..AutoAssign::new("load-balancer")
        };
        cluster.auto(&request).await.expect("assigned");
        assert_eq!(cluster.affinities(&owner).await.len(), 1);
        assert_eq!(cluster.blocks().await[0].affinity.as_deref(), Some("virtual:load-balancer"));
        cluster.pool(pool("lb", "10.0.0.0/26").uses(&["LoadBalancer"]).node_selector("!all()")).await;
        cluster.release("lb-1").await;
        assert_eq!(cluster.affinities(&owner).await.len(), 1);
    }

    async fn an_affinity_without_block_is_released(cluster) {
        // Weak point 9: upstream answers that there is no such block, and the affinity stays.
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        let owner = AffinityOwner::host("dead");
        for state in [AffinityState::Pending, AffinityState::PendingDeletion, AffinityState::Confirmed] {
            cluster.put(Key::Affinity(owner.clone(), net("10.0.0.0/26")), affinity(state)).await;
            cluster.allocator().remove_host(&owner, soon()).await.expect("removed");
            assert!(cluster.affinities(&owner).await.is_empty());
        }
    }

    async fn a_block_that_goes_takes_all_that_names_it_along(cluster) {
        // Two affinities for one block, two handles that count an address in it.
        use libcalico::ipam::handle::Handle;
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        let (block, stale) = (net("10.0.0.0/26"), AffinityOwner::host("host-b"));
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.put(Key::Affinity(stale.clone(), block), affinity(AffinityState::Pending)).await;
        let mut counted = Handle::default();
        counted.add(block, 1);
        cluster.put(Key::Handle("i".into()), counted.encode()).await;
        cluster.allocator().release_pool_affinities(block, soon()).await.expect("given up");
        let handles = ["h".to_owned(), "i".to_owned()];
        let released =
            cluster.allocator().release_by_handle(&handles, None, Vec::new(), soon()).await;
        assert_eq!(released.expect("released").len(), 1);
        assert!(cluster.all_affinities().await.is_empty() && cluster.handles().await.is_empty());
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.release("h").await;
        cluster.put(Key::Affinity(stale, block), affinity(AffinityState::Pending)).await;
        cluster.allocator().release_pool_affinities(block, soon()).await.expect("given up");
        assert!(cluster.all_affinities().await.is_empty() && cluster.blocks().await.is_empty());
    }

    async fn the_affinities_of_a_pool_are_of_all_owners(cluster) {
        // Weak point 11.
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        let owners = [
            AffinityOwner::host("host-a"),
            AffinityOwner { kind: AffinityType::Virtual, name: "load-balancer".into() },
        ];
        for (owner, block) in owners.iter().zip(["10.0.0.0/26", "10.0.0.64/26"]) {
            cluster.allocator().claim_affinity(net(block), owner, soon()).await.expect("claimed");
        }
        cluster.allocator().release_pool_affinities(net("10.0.0.0/24"), soon()).await.expect("done");
        assert!(cluster.all_affinities().await.is_empty() && cluster.blocks().await.is_empty());
    }

    async fn an_empty_ownerless_block_is_used_again(cluster) {
        // Weak point 10.
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.config(|config| config.strict_affinity = true).await;
        let block = Block::new(net("10.0.0.0/26"), None, None, clock::now());
        cluster.put(Key::Block(block.cidr), block.encode()).await;
        assert_eq!(found(&cluster.auto(&wanted("host-a", 1, 0)).await), 1);
        assert_eq!(cluster.affinities(&AffinityOwner::host("host-a")).await, [block.cidr]);
    }

    async fn gc1_gc2_cold_addresses_are_collected(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/26")).await;
        cluster.config(|config| config.ip_cooldown_seconds = 30).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.release("h").await;
        let blocks = [net("10.0.0.0/26")];
        let collect = async || cluster.allocator().garbage_collect_cold_ips(&blocks, soon()).await;
        assert_eq!(collect().await.expect("runs"), 0);
        assert_eq!(cluster.blocks().await[0].cooling_count(), 1);
        cluster.wait(32);
        assert_eq!(collect().await.expect("runs"), 1);
        assert_eq!(cluster.blocks().await[0].unallocated.len(), 64);
        // W16: released with a cooldown after its owner had gone, nobody else would delete it.
        cluster.assign("host-a", "h").await.expect("assigned");
        cluster.allocator().remove_host(&AffinityOwner::host("host-a"), soon()).await.expect("removed");
        cluster.release("h").await;
        assert_eq!(cluster.blocks().await.len(), 1);
        cluster.wait(32);
        assert_eq!(collect().await.expect("runs"), 1);
        assert!(cluster.blocks().await.is_empty());
    }

    async fn cooling_addresses_are_not_given_out_before_their_time(cluster) {
        cluster.nodes(&["host-a"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/30").block_size(30)).await;
        cluster.config(|config| config.ip_cooldown_seconds = 30).await;
        let request = libcalico::ipam::AutoAssign { handle: Some("h".into()), ..wanted("host-a", 4, 0) };
        assert_eq!(found(&cluster.auto(&request).await), 4);
        let all = cluster.release("h").await;
        assert_eq!(all.len(), 4);
        assert_eq!(found(&cluster.auto(&request).await), 0);
        let again = [guard(all[0], Some("h"), None)];
        let outcome = cluster.allocator().release_ips(&again, soon()).await.expect("runs");
        assert_eq!(outcome.unallocated, [all[0]], "it was released already");
        let error = cluster.allocator().assignment_attributes(all[0], soon()).await;
        assert!(matches!(error, Err(libcalico::ipam::IpamError::InCooldown { .. })));
        cluster.wait(32);
        assert_eq!(found(&cluster.auto(&request).await), 4);
    }
}
