//! 16.1: many large pools. The limit is upstream's; what an operation costs is counted in `costs`.

use std::time::{Duration, Instant};

use libcalico::ipam::AutoAssign;

use crate::cluster::{Cluster, cidrs, found, pool, wanted};
use crate::rows;

const LIMIT: Duration = Duration::from_secs(5);

/// 100 /16 pools with /26 blocks, 100 with single addresses, 50 with /20 blocks.
async fn many_pools(cluster: &Cluster) -> [Vec<String>; 3] {
    cluster.nodes(&["host-a"]).await;
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for (kind, (count, first, size)) in
        [(100, 10, 26), (100, 11, 32), (50, 12, 20)].into_iter().enumerate()
    {
        for index in 0..count {
            let cidr = format!("{first}.{index}.0.0/16");
            cluster.pool(pool(&format!("pool-{first}-{index}"), &cidr).block_size(size)).await;
            all[kind].push(cidr);
        }
    }
    all
}

async fn timed(cluster: &Cluster, count: u32, pools: &[String]) {
    let pools: Vec<&str> = pools.iter().map(String::as_str).collect();
    let request = AutoAssign { v4_pools: cidrs(&pools), ..wanted("host-a", count, 0) };
    let start = Instant::now();
    assert_eq!(found(&cluster.auto(&request).await), count as usize);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
}

rows! {
    async fn p1_to_p4_and_p7_among_250_pools(cluster) {
        let [by_26, by_32, by_20] = many_pools(cluster).await;
        timed(cluster, 1, &by_32).await;
        timed(cluster, 1, &by_26).await;
        timed(cluster, 1, &by_20).await;
        timed(cluster, 64, &by_20).await;
        let start = Instant::now();
        let assigned = cluster.assign("host-a", "h").await.expect("assigned");
        assert_eq!(cluster.release("h").await, [assigned.address]);
        assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    }

    async fn p5_p6_many_nodes_one_after_the_other(cluster) {
        many_pools(cluster).await;
        let hosts: Vec<String> = (0..100).map(|index| format!("node-{index}")).collect();
        for host in &hosts {
            cluster.node(host, &[]).await;
        }
        for _ in 0..2 {
            for host in &hosts {
                assert_eq!(found(&cluster.auto(&wanted(host, 1, 0)).await), 1);
            }
        }
        assert_eq!(cluster.blocks().await.len(), 100);
    }
}
