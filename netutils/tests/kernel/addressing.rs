//! Addresses, routes and neighbours read back as they were written.

use netutils::{
    DuplicateDetection, Family, Mac, Route, RouteFilter, RouteKind, Scope, protocol, table,
};

use crate::simulated::{CONTAINER_MAC, HOST_MAC, Simulation, ip, net};

#[tokio::test]
async fn addresses_read_back() {
    let simulation = Simulation::new().await;
    let container = &simulation.container;
    let eth0 = simulation.wire("cali1").await.container_index;
    for (text, scope) in [
        ("10.0.0.1/32", Scope::Universe),
        ("192.0.2.7/24", Scope::Universe),
        ("2001:db8::1/128", Scope::Universe),
        ("fe80::1/64", Scope::Link),
    ] {
        container.add_address(eth0, net(text), DuplicateDetection::Skip).await.unwrap();
        let addresses = container.addresses(eth0).await.unwrap();
        let address = addresses.iter().find(|address| address.net == net(text)).unwrap();
        assert_eq!(address.scope, scope);
        assert!(address.permanent && !address.tentative && !address.duplicate);
    }
    let lo = container.link("lo").await.unwrap().unwrap();
    let of_lo = container.addresses(lo.index).await.unwrap();
    assert!(of_lo.iter().all(|address| address.net.addr().is_loopback()), "{of_lo:?}");

    let twice = container.add_address(eth0, net("10.0.0.1/32"), DuplicateDetection::Skip).await;
    let error = twice.unwrap_err();
    assert!(error.is_exists());
    assert!(
        error.to_string().starts_with("cannot add address 10.0.0.1/32 to interface "),
        "{error}"
    );

    container.delete_address(eth0, net("10.0.0.1/32")).await.unwrap();
    let left = container.addresses(eth0).await.unwrap();
    assert!(left.iter().all(|address| address.net != net("10.0.0.1/32")));
    let again = container.delete_address(eth0, net("10.0.0.1/32")).await.unwrap_err();
    assert!(again.is_not_found(), "{again}");
}

#[tokio::test]
async fn duplicate_detection_can_be_skipped() {
    let simulation = Simulation::new().await;
    let eth0 = simulation.wire("cali1").await.container_index;
    let container = &simulation.container;
    let (checked, skipped) = (net("2001:db8::1/128"), net("2001:db8::2/128"));
    container.add_address(eth0, checked, DuplicateDetection::Default).await.unwrap();
    container.add_address(eth0, skipped, DuplicateDetection::Skip).await.unwrap();
    let addresses = container.addresses(eth0).await.unwrap();
    let tentative = |wanted| addresses.iter().find(|a| a.net == wanted).unwrap().tentative;
    assert!(tentative(checked) && !tentative(skipped));
}

#[tokio::test]
async fn a_missing_interface_is_no_device() {
    let simulation = Simulation::new().await;
    let missing = simulation
        .host
        .add_address(4711, net("10.0.0.1/32"), DuplicateDetection::Default)
        .await
        .unwrap_err();
    assert!(missing.is_no_device() && missing.is_not_found(), "{missing}");
    assert!(simulation.host.set_up(4711).await.unwrap_err().is_no_device());
    assert!(simulation.host.addresses(4711).await.is_err_and(|error| error.is_no_device()));
    assert_eq!(simulation.host.link_by_index(4711).await.unwrap(), None);
    assert_eq!(simulation.host.link("eth7").await.unwrap(), None);
}

#[tokio::test]
async fn routes_of_a_pod_read_back() {
    let simulation = Simulation::new().await;
    let eth0 = simulation.wire("cali1").await.container_index;
    let container = &simulation.container;
    let gateway = HOST_MAC.eui64_link_local();
    container.add_address(eth0, net("2001:db8::1/128"), DuplicateDetection::Skip).await.unwrap();

    let link = Route {
        oif: Some(eth0),
        scope: Scope::Link,
        metric: Some(0),
        ..Route::to(net("169.254.1.1/32"))
    };
    let default =
        Route { gateway: Some(ip("169.254.1.1")), oif: Some(eth0), ..Route::to(net("0.0.0.0/0")) };
    let default6 = Route {
        gateway: Some(gateway.into()),
        oif: Some(eth0),
        metric: Some(1024),
        ..Route::to(net("::/0"))
    };
    for route in [&link, &default, &default6] {
        container.add_route(route).await.unwrap();
    }
    let filter = RouteFilter {
        oif: Some(eth0),
        table: Some(table::MAIN),
        protocol: Some(protocol::BOOT),
        ..RouteFilter::default()
    };
    let routes = container.routes(filter).await.unwrap();
    let link_read = Route { metric: None, ..link.clone() };
    assert_eq!(routes.len(), 3, "{routes:?}");
    for route in [&link_read, &default, &default6] {
        assert!(routes.contains(route), "{route:?} is not among {routes:?}");
    }
    let by_dst = RouteFilter { dst: Some(net("::/0")), ..RouteFilter::default() };
    assert_eq!(container.routes(by_dst).await.unwrap(), std::slice::from_ref(&default6));
    let v4 = RouteFilter { family: Some(Family::V4), ..filter };
    assert_eq!(container.routes(v4).await.unwrap().len(), 2);

    container.delete_route(&default6).await.unwrap();
    assert_eq!(container.routes(by_dst).await.unwrap(), []);
    let again = container.delete_route(&default6).await.unwrap_err();
    assert!(again.is_not_found(), "{again}");
}

#[tokio::test]
async fn host_routes_conflict_and_are_replaced() {
    let simulation = Simulation::new().await;
    let first = simulation.wire("cali1").await.host.index;
    let second = simulation
        .create(
            &crate::simulated::end("cali2", HOST_MAC),
            &crate::simulated::end("eth1", CONTAINER_MAC),
        )
        .await
        .unwrap();
    simulation.host.set_up(second.host.index).await.unwrap();
    for dst in ["10.0.0.1/32", "2001:db8::1/128"] {
        let route = |oif| Route { oif: Some(oif), scope: Scope::Link, ..Route::to(net(dst)) };
        let host = &simulation.host;
        host.add_route(&route(first)).await.unwrap();
        let error = host.add_route(&route(second.host.index)).await.unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert!(error.to_string().contains(dst), "{error}");

        let read = |oif: u32| {
            let filter =
                RouteFilter { dst: Some(net(dst)), oif: Some(oif), ..RouteFilter::default() };
            async move { simulation_routes(host, filter).await }
        };
        assert_eq!(read(first).await.len(), 1);
        assert_eq!(read(second.host.index).await.len(), 0);
        // A route through a link without carrier is as good as any for this purpose.
        host.replace_route(&route(second.host.index)).await.unwrap();
        assert_eq!(read(first).await.len(), 0);
        assert_eq!(read(second.host.index).await.len(), 1);
    }
}

async fn simulation_routes(host: &netutils::Netlink, filter: RouteFilter) -> Vec<Route> {
    host.routes(filter).await.unwrap()
}

#[tokio::test]
async fn unusual_routes_read_back() {
    let simulation = Simulation::new().await;
    let cali = simulation.wire("cali1").await.host.index;
    let host = &simulation.host;
    let routes = [
        Route { kind: RouteKind::Blackhole, protocol: 80, ..Route::to(net("10.1.0.0/26")) },
        Route {
            gateway: Some(ip("192.0.2.1")),
            oif: Some(cali),
            onlink: true,
            metric: Some(7),
            ..Route::to(net("10.2.0.0/16"))
        },
        Route {
            oif: Some(cali),
            scope: Scope::Link,
            table: 70_000,
            ..Route::to(net("10.3.0.0/16"))
        },
        Route { gateway: Some(ip("fe80::1")), oif: Some(cali), ..Route::to(net("10.4.0.0/16")) },
    ];
    for route in &routes {
        host.add_route(route).await.unwrap();
        let filter = RouteFilter { dst: Some(route.dst), ..RouteFilter::default() };
        assert_eq!(host.routes(filter).await.unwrap(), std::slice::from_ref(route));
    }
    let empty = RouteFilter { table: Some(4711), ..RouteFilter::default() };
    assert_eq!(host.routes(empty).await.unwrap(), []);
    let of_table = RouteFilter { table: Some(70_000), ..RouteFilter::default() };
    assert_eq!(host.routes(of_table).await.unwrap(), [routes[2].clone()]);
}

#[tokio::test]
async fn the_kernels_own_words_reach_the_reader() {
    let simulation = Simulation::new().await;
    let cali = simulation.wire("cali1").await.host.index;
    let unreachable =
        Route { gateway: Some(ip("203.0.113.1")), oif: Some(cali), ..Route::to(net("10.0.0.0/8")) };
    let error = simulation.host.add_route(&unreachable).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot add route 10.0.0.0/8 via 203.0.113.1 through interface {cali}: network is \
             unreachable (ENETUNREACH), the kernel says: Nexthop has invalid gateway"
        )
    );
}

#[tokio::test]
async fn many_routes_are_read_whole() {
    let simulation = Simulation::new().await;
    let cali = simulation.wire("cali1").await.host.index;
    let all: Vec<Route> = (0..1000u16)
        .map(|n| {
            let [high, low] = n.to_be_bytes();
            let dst = net(&format!("10.0.{high}.{low}/32"));
            Route { oif: Some(cali), scope: Scope::Link, ..Route::to(dst) }
        })
        .collect();
    for route in &all {
        simulation.host.add_route(route).await.unwrap();
    }
    let filter =
        RouteFilter { oif: Some(cali), family: Some(Family::V4), ..RouteFilter::default() };
    assert_eq!(simulation.host.routes(filter).await.unwrap(), all);
}

#[tokio::test]
async fn neighbours_are_permanent_and_replaceable() {
    let simulation = Simulation::new().await;
    let eth0 = simulation.wire("cali1").await.container_index;
    let container = &simulation.container;
    for text in ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"] {
        for mac in [CONTAINER_MAC, HOST_MAC] {
            container.set_neighbour(eth0, ip(text), mac).await.unwrap();
            let neighbours = container.neighbours(eth0).await.unwrap();
            let of_ip: Vec<_> = neighbours.iter().filter(|n| n.ip == ip(text)).collect();
            assert_eq!(of_ip.len(), 1, "{neighbours:?}");
            assert!(of_ip[0].permanent && of_ip[0].mac == Some(mac), "{neighbours:?}");
        }
    }
    let lo = container.link("lo").await.unwrap().unwrap();
    let of_lo = container.neighbours(lo.index).await.unwrap();
    assert!(of_lo.iter().all(|n| n.ip != ip("169.254.1.1")), "{of_lo:?}");
}

#[tokio::test]
async fn links_change_as_told() {
    let simulation = Simulation::new().await;
    let host = &simulation.host;
    let cali = simulation.wire("cali1").await.host.index;
    let mac = Mac::new([0x02, 1, 2, 3, 4, 5]);
    host.set_down(cali).await.unwrap();
    host.set_mac(cali, mac).await.unwrap();
    host.set_alias(cali, "container 42").await.unwrap();
    let link = host.link_by_index(cali).await.unwrap().unwrap();
    assert_eq!(
        (link.up, link.mac, link.alias.as_deref()),
        (false, Some(mac), Some("container 42"))
    );
}

#[tokio::test]
async fn a_rule_leads_to_its_table_until_it_is_deleted() {
    let simulation = Simulation::new().await;
    let container = &simulation.container;
    let rules = |version: &str| {
        let shown = simulation.container_ns.run(|| {
            std::process::Command::new("ip").args([version, "rule"]).output().unwrap().stdout
        });
        String::from_utf8(shown.unwrap()).unwrap()
    };
    for (version, family, address, shown) in [
        ("-4", Family::V4, "10.0.0.1/32", "from 10.0.0.1 lookup 7000"),
        ("-6", Family::V6, "2001:db8::1/128", "from 2001:db8::1 lookup 7000"),
    ] {
        for _ in 0..2 {
            container.add_rule(net(address), 7000).await.unwrap();
        }
        container.add_rule(net(address), 7001).await.unwrap();
        assert_eq!(rules(version).matches(shown).count(), 1, "{}", rules(version));
        for _ in 0..2 {
            container.delete_rules(family, 7000).await.unwrap();
        }
        assert!(!rules(version).contains("7000"), "{}", rules(version));
        assert!(rules(version).contains("7001"), "{}", rules(version));
    }
}
