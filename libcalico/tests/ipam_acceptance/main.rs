//! The acceptance list of IPAM (`reference/ipam.md` section 16), each row a test that bears its
//! number, on every store. Rows of Kubernetes (K) and of Windows nodes (W) are not among them.

mod affinities;
mod cluster;
mod costs;
#[path = "../support/etcd.rs"]
mod etcd_server;
mod hints;
mod nodes;
mod performance;
mod pools;
mod releases;
mod tables;
mod weak_points;

use cluster::Cluster;

/// Runs a row, then checks the whole store.
fn row<F: AsyncFnOnce(&Cluster)>(cluster: Cluster, test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        cluster.empty().await;
        test(&cluster).await;
        cluster.consistent().await;
    });
}

/// Declares rows: each runs on every store. A row that leaves a state on purpose that the checker
/// would refuse repairs it at its end.
macro_rules! rows {
    (only on memory: $($(#[$meta:meta])* async fn $name:ident($cluster:ident) $body:block)*) => {
        $(#[test] fn $name() {
            async fn test($cluster: &$crate::cluster::Cluster) $body
            $crate::row($crate::cluster::Cluster::memory(), test);
        })*
    };
    ($($(#[$meta:meta])* async fn $name:ident($cluster:ident) $body:block)*) => {
        $($(#[$meta])* async fn $name($cluster: &$crate::cluster::Cluster) $body)*

        mod on_memory {
            $(#[test] fn $name() {
                $crate::row($crate::cluster::Cluster::memory(), super::$name);
            })*
        }
        #[cfg(feature = "local")]
        mod on_local {
            $(#[test] fn $name() {
                $crate::row($crate::cluster::Cluster::local(), super::$name);
            })*
        }
        mod on_etcd {
            /// One server for all rows of the file: to start one takes longer than a row.
            #[test]
            fn every_row() {
                let server = $crate::etcd_server::Etcd::start();
                $(
                    eprintln!("on etcd: {}", stringify!($name));
                    $crate::row($crate::cluster::Cluster::etcd(&server.url()), super::$name);
                )*
            }
        }
    };
}
pub(crate) use rows;
