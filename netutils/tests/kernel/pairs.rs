//! Pairs of interfaces: born in place, complete, or not at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use futures::{FutureExt, StreamExt};
use netutils::{Cause, Device, Mac, Netlink, Netns, Pair, Side};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkAttribute;

use crate::simulated::{CONTAINER_MAC, HOST_MAC, Simulation, end, in_time, netns, pair};

#[tokio::test]
async fn both_ends_are_complete_from_birth() {
    let simulation = Simulation::new().await;
    let created = simulation
        .host
        .create_pair(Pair {
            queues: 2,
            ..pair(
                &end("cali0123456789a", HOST_MAC),
                &end("eth0", CONTAINER_MAC),
                &simulation.container_ns,
            )
        })
        .await
        .unwrap();

    let host = simulation.host.link("cali0123456789a").await.unwrap().unwrap();
    let container = simulation.container.link("eth0").await.unwrap().unwrap();
    assert_eq!(host.index, created.host.index);
    assert_eq!(container.index, created.container_index);
    assert_eq!((host.mac, container.mac), (Some(HOST_MAC), Some(CONTAINER_MAC)));
    for link in [&host, &container] {
        assert_eq!((link.kind.as_str(), link.mtu), ("veth", 1440));
        assert_eq!((link.tx_queues, link.rx_queues), (2, 2));
        assert!(!link.lower_up, "there is no carrier before both ends are up");
    }
    assert!(!host.up && !container.up);
    assert_eq!(host.peer_index, Some(container.index));
    assert_eq!(container.peer_index, Some(host.index));

    simulation.host.set_up(host.index).await.unwrap();
    simulation.container.set_up(container.index).await.unwrap();
    assert!(simulation.host.link_by_index(host.index).await.unwrap().unwrap().lower_up);
}

/// The kernel announces the arrival of an interface that is moved, and the departure as well: were
/// the container's end made in the host and moved, the host's namespace would have heard of it.
#[tokio::test]
async fn the_containers_end_never_was_in_the_host() {
    let simulation = Simulation::new().await;
    // Opened by a thread inside, served by this runtime.
    let runtime = tokio::runtime::Handle::current();
    let (connection, _, mut news) = simulation
        .host
        .netns()
        .run(|| {
            let _context = runtime.enter();
            rtnetlink::new_multicast_connection(&[rtnetlink::MulticastGroup::Link]).unwrap()
        })
        .unwrap();
    tokio::spawn(connection);

    simulation.wire("cali1").await;
    let lo = simulation.host.link("lo").await.unwrap().unwrap();
    simulation.host.set_alias(lo.index, "the end").await.unwrap();

    let mut heard = Vec::new();
    loop {
        let message = in_time(news.next()).await.unwrap().0;
        let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
        let (RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)) = &message
        else {
            continue;
        };
        if link.header.index == lo.index {
            break;
        }
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        heard.push((name.unwrap(), matches!(message, RouteNetlinkMessage::DelLink(_))));
    }
    assert!(!heard.is_empty());
    assert!(heard.iter().all(|news| *news == ("cali1".to_owned(), false)), "{heard:?}");
}

#[tokio::test]
async fn the_other_ends_namespace_can_be_verified() {
    let simulation = Simulation::new().await;
    simulation.wire("cali1").await;
    let host = simulation.host.link("cali1").await.unwrap().unwrap();
    let expected = simulation.host.netns_id_of(&simulation.container_ns).await.unwrap();
    assert!(expected.is_some());
    assert_eq!(host.peer_netns_id, expected);
    assert_eq!(simulation.host.netns_id_of(&netns()).await.unwrap(), None);
}

#[tokio::test]
async fn a_taken_name_is_told_with_its_side() {
    let simulation = Simulation::new().await;
    simulation.wire("cali1").await;
    for (host, container, name, side) in [
        ("cali1", "eth1", "cali1", Side::Host),
        ("cali2", "eth0", "eth0", Side::Container),
        ("cali1", "eth0", "cali1", Side::Host),
        ("lo", "eth1", "lo", Side::Host),
    ] {
        let error = simulation
            .create(&end(host, HOST_MAC), &end(container, CONTAINER_MAC))
            .await
            .unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert!(
            matches!(&error.cause, Cause::NameTaken { name: n, side: s } if n == name && *s == side),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            format!(
                "cannot create veth pair {host} and {container}: \
                 the name {name} is already taken in the {side}'s network namespace"
            )
        );
    }
    let names = |links: Vec<netutils::Link>| links.into_iter().map(|link| link.name);
    let host: Vec<_> = names(simulation.host.links().await.unwrap()).collect();
    let container: Vec<_> = names(simulation.container.links().await.unwrap()).collect();
    assert_eq!(
        (host, container),
        (vec!["lo".into(), "cali1".into()], vec!["lo".into(), "eth0".into()])
    );
}

#[tokio::test]
async fn odd_names_work_and_wrong_ones_are_refused() {
    let simulation = Simulation::new().await;
    for (host, container) in [("eth0.10", "a.b"), ("fifteen-letters", "fifteen.letters")] {
        simulation.create(&end(host, HOST_MAC), &end(container, CONTAINER_MAC)).await.unwrap();
        assert_eq!(simulation.host.link(host).await.unwrap().unwrap().name, host);
        assert_eq!(simulation.container.link(container).await.unwrap().unwrap().name, container);
    }
    for wrong in ["sixteen-letters-", "a/b", "a b", ".", "", "eth%d", "a:b", "a\0b"] {
        for (host, container) in [(wrong, "eth0"), ("cali1", wrong)] {
            let error = simulation
                .create(&end(host, HOST_MAC), &end(container, CONTAINER_MAC))
                .await
                .unwrap_err();
            assert!(matches!(&error.cause, Cause::Name { name } if name == wrong), "{error}");
        }
    }
    assert_eq!(simulation.host.links().await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_hosts_end_bears_its_alias() {
    let simulation = Simulation::new().await;
    let too_long = "x".repeat(256);
    let create = |alias| {
        let simulation = &simulation;
        async move {
            simulation
                .host
                .create_pair(Pair {
                    host_alias: Some(alias),
                    ..pair(
                        &end("cali1", HOST_MAC),
                        &end("eth0", CONTAINER_MAC),
                        &simulation.container_ns,
                    )
                })
                .await
        }
    };
    // The kernel takes at most 255 bytes, and finds out when the pair exists already.
    let error = create(&too_long).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot set the alias of interface"), "{error}");
    assert_eq!(simulation.host.links().await.unwrap().len(), 1);

    let created = create("container 42").await.unwrap();
    let link = simulation.host.link_by_index(created.host.index).await.unwrap().unwrap();
    assert_eq!(link.alias.as_deref(), Some("container 42"));
    assert_eq!(created.host.alias, link.alias);
}

#[tokio::test]
async fn a_wrong_value_leaves_nothing_behind() {
    let simulation = Simulation::new().await;
    let mut huge = end("eth0", CONTAINER_MAC);
    huge.mtu = Some(1_000_000);
    let group = end("eth0", Mac::new([0xff; 6]));
    for container in [huge, group] {
        let error = simulation.create(&end("cali1", HOST_MAC), &container).await.unwrap_err();
        assert!(!error.is_exists() && error.errno().is_some(), "{error}");
        assert_eq!(simulation.host.links().await.unwrap().len(), 1);
        assert_eq!(simulation.container.links().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_kernel_without_netkit_gets_a_veth() {
    let simulation = Simulation::new().await;
    let created = simulation
        .host
        .create_pair(Pair {
            device: Device::Netkit,
            queues: 4,
            ..pair(&end("cali1", HOST_MAC), &end("eth0", CONTAINER_MAC), &simulation.container_ns)
        })
        .await
        .unwrap();
    let host = simulation.host.link("cali1").await.unwrap().unwrap();
    let (kind, queues) = match created.device {
        Device::Veth => ("veth", 4),
        Device::Netkit => ("netkit", 1),
    };
    assert_eq!((host.kind.as_str(), host.tx_queues), (kind, queues));
    assert_eq!(host.mac, Some(HOST_MAC));
}

/// The request names the container's namespace by the number of a descriptor, which must not be
/// another file by the time that the kernel looks.
#[tokio::test]
async fn a_creation_that_nobody_waits_for_still_goes_to_the_right_namespace() {
    let simulation = Simulation::new().await;
    let container_ns = Netns::open(&crate::simulated::path_of(&simulation.container_ns)).unwrap();
    let (host, container) = (end("cali1", HOST_MAC), end("eth0", CONTAINER_MAC));
    {
        let creation = simulation.host.create_pair(pair(&host, &container, &container_ns));
        let mut creation = Box::pin(creation);
        assert!((&mut creation).now_or_never().is_none());
    }
    drop(container_ns);
    let _takes_its_number = netns();
    in_time(async {
        while simulation.host.link("cali1").await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(simulation.container.link("eth0").await.unwrap().is_some());
}

/// The kernel marks a list during which something changed; such a list is read again.
#[tokio::test]
async fn lists_are_whole_while_interfaces_come_and_go() {
    let simulation = Simulation::new().await;
    let mut expected = vec!["lo".to_owned()];
    for n in 0..30 {
        let name = format!("cali{n}");
        let (host, container) = (end(&name, HOST_MAC), end(&format!("eth{n}"), CONTAINER_MAC));
        simulation.create(&host, &container).await.unwrap();
        expected.push(name);
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let host = Netlink::open_in(simulation.host.netns()).unwrap();
                let container_ns = netns();
                while !stop.load(Ordering::Relaxed) {
                    let (one, other) = (end("passing", HOST_MAC), end("eth0", CONTAINER_MAC));
                    let passing =
                        host.create_pair(pair(&one, &other, &container_ns)).await.unwrap();
                    // Not awaited to its end: the more changes, the better.
                    let _ = host.remove_link(passing.host.index).await.unwrap();
                }
            });
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let lists = scope.spawn(|| {
            runtime.unwrap().block_on(async {
                let host = Netlink::open_in(simulation.host.netns()).unwrap();
                for _ in 0..50 {
                    let mut links = host.links().await.unwrap();
                    links.retain(|link| link.name != "passing");
                    let names: Vec<_> = links.into_iter().map(|link| link.name).collect();
                    assert_eq!(names, expected);
                }
            });
        });
        let outcome = lists.join();
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap();
    });
}

#[test]
fn fifty_at_once() {
    let host = netns();
    thread::scope(|scope| {
        for worker in 0..10 {
            let host = &host;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    let host = Netlink::open_in(host).unwrap();
                    for turn in 0..5 {
                        let container_ns = netns();
                        let name = format!("cali{worker}-{turn}");
                        let container = end("eth0", Mac::random());
                        let created = host
                            .create_pair(pair(&end(&name, HOST_MAC), &container, &container_ns))
                            .await
                            .unwrap();
                        let inside = Netlink::open_in(&container_ns).unwrap();
                        let eth0 = inside.link("eth0").await.unwrap().unwrap();
                        assert_eq!(eth0.index, created.container_index);
                        assert_eq!(eth0.mac, Some(container.mac));
                        assert_eq!(eth0.peer_index, Some(created.host.index));
                        inside.set_up(eth0.index).await.unwrap();
                        host.remove_link(created.host.index)
                            .await
                            .unwrap()
                            .completed()
                            .await
                            .unwrap();
                        assert!(inside.link("eth0").await.unwrap().is_none());
                    }
                });
            });
        }
    });
}
