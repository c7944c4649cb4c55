//! Removal: the interface is gone when the call returns, the kernel finishes later.

use futures::FutureExt;
use netutils::{Netlink, Route, RouteFilter, Scope};

use crate::simulated::{Simulation, net};

#[tokio::test]
async fn what_is_removed_is_gone_before_the_kernel_is_done() {
    let simulation = Simulation::new().await;
    let host = &simulation.host;
    let mut still_running = 0;
    for _ in 0..5 {
        // The same name every time: it is free as soon as the call has returned.
        let created = simulation.wire("cali1").await;
        let route = Route {
            oif: Some(created.host.index),
            scope: Scope::Link,
            ..Route::to(net("10.0.0.1/32"))
        };
        host.add_route(&route).await.unwrap();

        let removal = host.remove_link(created.host.index).await.unwrap();
        assert_eq!(host.link("cali1").await.unwrap(), None);
        assert_eq!(simulation.container.link("eth0").await.unwrap(), None);
        let filter = RouteFilter { dst: Some(route.dst), ..RouteFilter::default() };
        assert_eq!(host.routes(filter).await.unwrap(), []);

        let mut completion = Box::pin(removal.completed());
        match (&mut completion).now_or_never() {
            Some(finished) => finished.unwrap(),
            None => {
                still_running += 1;
                completion.await.unwrap();
            }
        }
    }
    assert!(still_running > 0, "the announcement never came before the end of the call");
}

#[tokio::test]
async fn the_runtime_works_on_meanwhile() {
    let simulation = Simulation::new().await;
    let created = simulation.wire("cali1").await;
    let removal = simulation.host.remove_link(created.host.index).await.unwrap();
    // Dropped, and the kernel finishes all the same.
    drop(removal);
    let again = simulation.wire("cali1").await;
    assert_ne!(again.host.index, created.host.index);
}

/// A runtime reads the plugin's output to its end, and nothing may keep it waiting.
#[tokio::test]
async fn the_sender_holds_no_descriptor_of_ours() {
    let simulation = Simulation::new().await;
    let created = simulation.wire("cali1").await;
    let (output, held) = std::io::pipe().unwrap();
    // As standard output is: open in every process that is made by forking.
    let inherited = held.try_clone().unwrap();
    let removal = simulation.host.remove_link(created.host.index).await.unwrap();
    drop((held, inherited));
    let read = tokio::task::spawn_blocking(move || std::io::read_to_string(output).unwrap());
    let mut completion = Box::pin(removal.completed());
    tokio::select! {
        biased;
        read = read => assert_eq!(read.unwrap(), ""),
        _ = &mut completion => panic!("the output ended no sooner than the sender"),
    }
    completion.await.unwrap();
}

#[tokio::test]
async fn the_containers_end_takes_the_hosts_with_it() {
    let simulation = Simulation::new().await;
    let created = simulation.wire("cali1").await;
    let removal = simulation.container.remove_link(created.container_index).await.unwrap();
    assert_eq!(simulation.host.link("cali1").await.unwrap(), None);
    removal.completed().await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let simulation = Simulation::new().await;
    let error = simulation.host.remove_link(4711).await.unwrap_err();
    assert!(error.is_no_device(), "{error}");
    assert!(
        error.to_string().starts_with("cannot remove interface 4711: no such device"),
        "{error}"
    );
    let lo = simulation.host.link("lo").await.unwrap().unwrap();
    let error = simulation.host.remove_link(lo.index).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}

/// Removals of one namespace see each other's announcements and must not take them for their own.
#[tokio::test]
async fn removals_at_once_wait_for_their_own_interface() {
    let simulation = Simulation::new().await;
    let mut indexes = Vec::new();
    for n in 0..8 {
        let host = crate::simulated::end(&format!("cali{n}"), crate::simulated::HOST_MAC);
        let container = crate::simulated::end(&format!("eth{n}"), netutils::Mac::random());
        indexes.push(simulation.create(&host, &container).await.unwrap().host.index);
    }
    let remove = |index: u32| {
        let host: &Netlink = &simulation.host;
        async move {
            let removal = host.remove_link(index).await.unwrap();
            assert_eq!(host.link_by_index(index).await.unwrap(), None);
            removal.completed().await.unwrap();
        }
    };
    futures::future::join_all(indexes.into_iter().map(remove)).await;
    assert_eq!(simulation.host.links().await.unwrap().len(), 1);
}
