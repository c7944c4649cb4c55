//! Where the caller says that an address is likely to be found.

use ipnet::IpNet;
use libcalico::ipam::AutoAssign;
use libcalico::ipam::affinity::{Affinity, AffinityState};
use libcalico::store::{AffinityOwner, Key};

use crate::cluster::{cidrs, net, pool, wanted};
use crate::rows;

rows! {
    async fn a_hint_is_followed_only_to_an_own_block_with_room(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/28").block_size(30)).await;
        let block_of = async |host: &str, likely: &[IpNet]| {
            let likely_blocks = likely.to_vec();
            let request = AutoAssign { likely_blocks, ..wanted(host, 1, 0) };
            let assigned = cluster.auto(&request).await.expect("assigned");
            assigned.v4.addresses[0].block().expect("a block")
        };
        let theirs = block_of("host-b", &[]).await;
        let nobodys = net("10.0.0.0/28").subnets(30).expect("subnets").find(|one| *one != theirs);
        let nobodys = nobodys.expect("a free block");
        // Neither somebody else's nor nobody's is taken by the hint alone.
        let first = block_of("host-a", &[theirs, nobodys, net("192.0.2.0/26")]).await;
        assert_ne!(first, theirs);
        assert_eq!(cluster.affinities(&AffinityOwner::host("host-a")).await, [first]);
        for _ in 0..3 {
            assert_eq!(block_of("host-a", &[first]).await, first);
        }
        // It is full: another one is claimed, and preferred to the first one's free addresses.
        let second = block_of("host-a", &[first]).await;
        assert_ne!(second, first);
        let freed = cluster.block(&first.to_string()).await.expect("there").cidr.addr();
        cluster.release_ip(freed).await;
        assert_eq!(block_of("host-a", &[second]).await, second);
        // Another pool is wanted: the hint is no way around that.
        cluster.pool(pool("pool2", "10.1.0.0/28").block_size(30)).await;
        let request = AutoAssign {
            v4_pools: cidrs(&["10.1.0.0/28"]),
            likely_blocks: vec![second],
            ..wanted("host-a", 1, 0)
        };
        let assigned = cluster.auto(&request).await.expect("assigned");
        assert!(net("10.1.0.0/28").contains(&assigned.v4.addresses[0].address));
    }

    async fn a_hint_keeps_no_block_that_is_to_be_given_up(cluster) {
        cluster.node("host-a", &[("rack", "1")]).await;
        let first = pool("pool1", "10.0.0.0/26").node_selector("rack == '1'");
        cluster.pool(first).await;
        cluster.pool(pool("pool2", "10.1.0.0/26")).await;
        let from = |cidr: &str, likely: &str| AutoAssign {
            v4_pools: cidrs(&[cidr]),
            likely_blocks: vec![net(likely)],
            handle: Some("h".into()),
            ..wanted("host-a", 1, 0)
        };
        for cidr in ["10.0.0.0/26", "10.1.0.0/26"] {
            cluster.auto(&from(cidr, cidr)).await.expect("assigned");
        }
        let owner = AffinityOwner::host("host-a");
        assert_eq!(cluster.affinities(&owner).await.len(), 2);
        cluster.release("h").await;
        cluster.node("host-a", &[("rack", "2")]).await;
        let request = AutoAssign { likely_blocks: vec![net("10.1.0.0/26")], ..wanted("host-a", 1, 0) };
        cluster.auto(&request).await.expect("assigned");
        assert_eq!(cluster.affinities(&owner).await, [net("10.1.0.0/26")]);
    }

    async fn a_hint_to_a_lost_block_ends_its_stale_affinity(cluster) {
        cluster.nodes(&["host-a", "host-b"]).await;
        cluster.pool(pool("pool1", "10.0.0.0/24")).await;
        let block = cluster.assign("host-b", "h").await.expect("assigned").block().expect("a block");
        let owner = AffinityOwner::host("host-a");
        let stale = Affinity { state: AffinityState::Confirmed, ..Affinity::default() }.encode();
        cluster.put(Key::Affinity(owner.clone(), block), stale).await;
        let likely_blocks = vec![block];
        let request = AutoAssign { likely_blocks, ..wanted("host-a", 1, 0) };
        let assigned = cluster.auto(&request).await.expect("assigned");
        let own = assigned.v4.addresses[0].block().expect("a block");
        assert_ne!(own, block);
        assert_eq!(cluster.affinities(&owner).await, [own]);
    }
}
