//! What an operation costs, counted in requests to the store (`reference/ipam.md` 15.3).

use libcalico::ipam::{AutoAssign, release_queries};
use libcalico::store::{AffinityOwner, Prefix, Query};

use crate::cluster::{Cluster, net, pool, soon, wanted};
use crate::rows;

async fn filled(cluster: &Cluster) {
    cluster.nodes(&["host-a"]).await;
    cluster.pool(pool("pool1", "10.0.0.0/16").block_size(29)).await;
}

/// Many nodes with many blocks and addresses.
async fn crowded(cluster: &Cluster) {
    filled(cluster).await;
    for index in 0..150 {
        let host = format!("node-{index}");
        cluster.node(&host, &[]).await;
        let request = AutoAssign { handle: Some(host.clone()), ..wanted(&host, 20, 0) };
        cluster.auto(&request).await.expect("assigned");
    }
    assert!(cluster.blocks().await.len() >= 450);
}

rows! { only on memory:
    async fn a_first_address_takes_two_reads_and_a_commit(cluster) {
        filled(cluster).await;
        let (_, reads, commits) = cluster.count(async || cluster.assign("host-a", "h").await).await;
        assert_eq!((reads, commits), (2, 1));
    }

    async fn a_steady_add_takes_two_reads_and_a_commit_in_a_crowd_too(cluster) {
        crowded(cluster).await;
        cluster.assign("host-a", "h0").await.expect("assigned");
        for index in 1..8 {
            let add = async || cluster.assign("host-a", &format!("h{index}")).await;
            let (assigned, reads, commits) = cluster.count(add).await;
            assigned.expect("assigned");
            assert_eq!((reads, commits), (2, 1));
        }
        // The block is full now: the next one is found by looking at few candidates.
        let add = async || cluster.assign("host-a", "h8").await;
        let (assigned, reads, commits) = cluster.count(add).await;
        assigned.expect("assigned");
        assert!(reads <= 3 && commits == 1, "{reads} reads, {commits} commits");
    }

    async fn an_add_that_knows_where_to_look_takes_one_read_and_a_commit(cluster) {
        crowded(cluster).await;
        // Three full blocks, and one address of the fourth.
        let mut last = None;
        for index in 0..25 {
            let handle = format!("h{index}");
            last = cluster.assign("host-a", &handle).await.expect("assigned").block();
        }
        let likely_blocks = Vec::from_iter(last);
        let request = AutoAssign { likely_blocks: likely_blocks.clone(), ..wanted("host-a", 1, 0) };
        cluster.watched().asked.lock().expect("no panic").clear();
        let (assigned, reads, commits) = cluster.count(async || cluster.auto(&request).await).await;
        assert_eq!(assigned.expect("assigned").v4.addresses[0].block(), last);
        assert_eq!((reads, commits), (1, 1));
        let asked = cluster.watched().asked.lock().expect("no panic").clone();
        let block = |query: &Query| match query {
            Query::Key(libcalico::store::Key::Block(block)) => Some(*block),
            _ => None,
        };
        assert_eq!(asked.iter().filter_map(block).collect::<Vec<_>>(), likely_blocks);
    }

    async fn nothing_lists_all_blocks(cluster) {
        // Weak points 5 to 7.
        crowded(cluster).await;
        cluster.watched().asked.lock().expect("no panic").clear();
        for index in 0..20 {
            cluster.assign("host-a", &format!("h{index}")).await.expect("assigned");
        }
        cluster.assign_ip("10.0.200.1", "host-a", Some("x")).await.expect("assigned");
        cluster.release("h3").await;
        let asked = cluster.watched().asked.lock().expect("no panic").clone();
        let lists = |query: &&Query| {
            matches!(
                query,
                Query::Prefix(Prefix::Blocks(_) | Prefix::Handles(_) | Prefix::AllAffinities(_))
                    | Query::Keys(_)
            )
        };
        assert_eq!(asked.iter().find(lists), None);
        let blocks = asked
            .iter()
            .filter(|query| matches!(query, Query::Key(libcalico::store::Key::Block(_))))
            .count();
        assert!(blocks < 120, "{blocks} blocks were read for 22 operations");
    }

    async fn a_release_takes_two_reads_and_a_commit(cluster) {
        crowded(cluster).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        let release = async || {
            let handles = ["h".to_owned(), "legacy".to_owned()];
            cluster.allocator().release_by_handle(&handles, None, Vec::new(), soon()).await
        };
        let (released, reads, commits) = cluster.count(release).await;
        assert_eq!((released.expect("released").len(), reads, commits), (1, 2, 1));
        let (released, reads, commits) = cluster.count(release).await;
        assert_eq!((released.expect("nothing").len(), reads, commits), (0, 1, 0));
    }

    async fn what_the_caller_has_read_is_not_read_again(cluster) {
        filled(cluster).await;
        cluster.assign("host-a", "h").await.expect("assigned");
        let request = AutoAssign { handle: Some("i".into()), ..AutoAssign::new("host-a") };
        let snapshot = cluster.store.read(&request.queries(), soon()).await.expect("it reads");
        let add = async || {
            cluster.allocator().auto_assign(&request, Some(snapshot), None, soon()).await
        };
        let (assigned, reads, commits) = cluster.count(add).await;
        assigned.expect("assigned");
        assert_eq!((reads, commits), (1, 1));
        let handles = ["i".to_owned()];
        let snapshot =
            cluster.store.read(&release_queries(&handles), soon()).await.expect("it reads");
        let release = async || {
            let allocator = cluster.allocator();
            allocator.release_by_handle(&handles, Some(snapshot), Vec::new(), soon()).await
        };
        let (released, reads, commits) = cluster.count(release).await;
        assert_eq!((released.expect("released").len(), reads, commits), (1, 1, 1));
    }

    async fn both_families_cost_what_one_costs(cluster) {
        filled(cluster).await;
        cluster.pool(pool("pool6", "fd00::/112")).await;
        for _ in 0..2 {
            let request = AutoAssign { all_or_nothing: true, ..wanted("host-a", 1, 1) };
            let (assigned, reads, commits) = cluster.count(async || cluster.auto(&request).await).await;
            assert_eq!(assigned.expect("assigned").addresses().count(), 2);
            assert_eq!((reads, commits), (2, 1));
        }
    }

    async fn a_lost_race_costs_one_commit_more(cluster) {
        filled(cluster).await;
        let first = cluster.assign("host-a", "h").await.expect("assigned");
        let block = ipnet::IpNet::new(first.address, 29).expect("a block").trunc();
        cluster.before_commit(move |store| {
            let path = format!("/calico/ipam/v2/assignment/ipv4/block/{}", block.to_string().replace('/', "-"));
            let value = store.dump()[&path].clone();
            store.put_raw(&path, &value);
        });
        let add = async || cluster.assign("host-a", "i").await;
        let (assigned, reads, commits) = cluster.count(add).await;
        assigned.expect("assigned");
        assert_eq!((reads, commits), (2, 2));
    }

    async fn a_claim_in_a_full_neighbourhood_looks_at_ever_more_candidates(cluster) {
        filled(cluster).await;
        // The first 100 blocks of the host's walk are somebody else's.
        let walk = libcalico::ipam::walk::Walk::new("host-a", net("10.0.0.0/16"), 29, 0);
        let other = AffinityOwner::host("other");
        for block in walk.iter().take(100) {
            cluster.allocator().claim_affinity(block, &other, soon()).await.expect("claimed");
        }
        let add = async || cluster.assign("host-a", "h").await;
        let (assigned, reads, commits) = cluster.count(add).await;
        let assigned = assigned.expect("assigned");
        assert!(walk.nth(100).expect("a block").contains(&assigned.address));
        // 4, 4, 8, 16, 32, 64 candidates, after the first read.
        assert!(reads <= 7 && commits == 1, "{reads} reads, {commits} commits");
    }
}
