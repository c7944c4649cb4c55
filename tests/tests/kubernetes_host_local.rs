//! Pods whose addresses come from host-local (`reference/cni-plugin.md` sections 3.4, 3.5 and 9.2):
//! custom routes, and the words that stand for the node's ranges.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Kernel, Network, Pod, addresses, on_each_store};

const POD: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME=run1";
const V4: &str = "169.254.1.1";
const V6: &str = "fe80::ecee:eeff:feee:eeee";

/// Three ranges and three routes, one with a gateway, which is not asked.
fn three_ranges(network: &mut Network) {
    network.conflist_mut()["plugins"][0]["ipam"] = json!({
        "type": "host-local", "dataDir": "/run/leases",
        "ranges": [
            [{"subnet": "10.77.0.0/24"}], [{"subnet": "10.78.0.0/24"}], [{"subnet": "fd00:77::/64"}],
        ],
        "routes": [
            {"dst": "10.123.0.0/16", "gw": "10.123.0.1"}, {"dst": "10.124.5.6/16"},
            {"dst": "fd00:123::/96"},
        ],
    });
}

/// The container's own routes: destinations by next hop, in the kernel's order.
fn routes(pod: &Pod) -> Result<Vec<String>> {
    let kernel = Kernel::of_pod(pod)?;
    let shown = kernel.routes("eth0").into_iter().filter(|route| route["protocol"] != "kernel");
    Ok(shown
        .map(|route| {
            let text = |member: &str| route[member].as_str().unwrap_or("-").to_owned();
            format!("{} by {}", text("dst"), text("gateway"))
        })
        .collect())
}

fn expect(pod: &Pod, expected: &[&str]) -> Result<()> {
    let (mut found, mut wanted) = (routes(pod)?, expected.to_vec());
    found.sort();
    wanted.sort_unstable();
    ensure!(found == wanted, "{found:#?}");
    Ok(())
}

#[test]
fn k9_custom_routes_take_the_place_of_the_defaults() {
    on_each_store("k9", |network| {
        three_ranges(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let add = network.call("ADD")?.pod(&pod).args(POD);
        let result = add.result()?;
        ensure!(addresses(&result)?.len() == 3, "{result:#}");
        let via = [
            format!("{V4} by -"),
            format!("10.123.0.0/16 by {V4}"),
            format!("10.124.0.0/16 by {V4}"),
            format!("fd00:123::/96 by {V6}"),
        ];
        let via: Vec<&str> = via.iter().map(String::as_str).collect();
        expect(&pod, &via)?;
        // The host reaches every address; the way back is one of the routes.
        network.host().run("ip address add 10.123.0.1/32 dev lo".split(' '))?;
        pod.ping("10.123.0.1".parse()?)?;
        let (code, message) = failure_of_default(&pod)?;
        ensure!(code != 0 && message.contains("unreachable"), "{message}");
        network.host().run("ip address del 10.123.0.1/32 dev lo".split(' '))?;

        let check = network.check(&pod, "c1", &result)?.args(POD);
        check.done()?;
        pod.run(["ip", "route", "del", "10.124.0.0/16"])?;
        let (code, message) = check.error()?;
        ensure!(code == 113 && message.contains("10.124.0.0/16"), "{code} {message}");

        // A repeated ADD makes the same again.
        let again = add.result()?;
        ensure!(addresses(&again)? == addresses(&result)?, "{again:#}");
        expect(&pod, &via)?;
        add.verb("DEL").done()?;
        before.nothing_left()
    });
}

/// What the kernel says of a destination that no route leads to.
fn failure_of_default(pod: &Pod) -> Result<(i32, String)> {
    let said = pod.run(["sh", "-c", "ip route get 198.51.100.1 2>&1; echo $?"])?;
    let code = said.lines().last().and_then(|line| line.parse().ok()).unwrap_or_default();
    Ok((code, said))
}

#[test]
fn k10_custom_routes_beside_the_defaults() {
    on_each_store("k10", |network| {
        three_ranges(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let add = network.call_with("ADD", "include_default_routes", &json!(true))?;
        let add = add.pod(&pod).args(POD);
        let result = add.result()?;
        let via = [
            format!("{V4} by -"),
            format!("default by {V4}"),
            format!("10.123.0.0/16 by {V4}"),
            format!("10.124.0.0/16 by {V4}"),
            format!("default by {V6}"),
            format!("fd00:123::/96 by {V6}"),
        ];
        expect(&pod, &via.iter().map(String::as_str).collect::<Vec<_>>())?;
        for ip in addresses(&result)? {
            network.host().ping(ip)?;
            pod.ping(if ip.is_ipv4() { network.host().v4() } else { network.host().v6() })?;
        }
        add.verb("DEL").done()?;
        before.nothing_left()
    });
}

#[test]
fn a_container_of_no_pod_keeps_the_defaults() {
    on_each_store("k9-cni", |network| {
        three_ranges(network);
        let pod = network.host().pod("p1")?;
        let add = network.call("ADD")?.pod(&pod);
        add.result()?;
        let via = [format!("{V4} by -"), format!("default by {V4}"), format!("default by {V6}")];
        expect(&pod, &via.iter().map(String::as_str).collect::<Vec<_>>())?;
        add.verb("DEL").done()
    });
}

#[test]
fn a_family_without_a_route_is_fine() {
    on_each_store("k9-v4", |network| {
        three_ranges(network);
        network.conflist_mut()["plugins"][0]["ipam"]["routes"] = json!([{"dst": "10.0.0.0/8"}]);
        let pod = network.host().pod("p1")?;
        let add = network.call("ADD")?.pod(&pod).args(POD);
        let result = add.result()?;
        expect(&pod, &[&format!("{V4} by -"), &format!("10.0.0.0/8 by {V4}")])?;
        network.check(&pod, "c1", &result)?.args(POD).done()?;
        add.verb("DEL").done()
    });
}

#[test]
fn fix_40_a_malformed_route_is_named_before_anything_is_touched() {
    on_each_store("k9-bad", |network| {
        three_ranges(network);
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for (routes, named) in [
            (json!(["10.0.0.0/8"]), "ipam.routes[0]"),
            (json!([{"dst": "10.0.0.0/8"}, {"dst": 7}]), "ipam.routes[1].dst"),
        ] {
            network.conflist_mut()["plugins"][0]["ipam"]["routes"] = routes;
            let add = network.call("ADD")?.pod(&pod).args(POD);
            let (code, message) = add.error()?;
            ensure!(code == 6 && message.contains(named), "{code} {message}");
            before.nothing_left()?;
            network.conflist_mut()["plugins"][0]["ipam"]["routes"] = Value::Null;
            network.call("DEL")?.pod(&pod).args(POD).done()?;
        }
        Ok(())
    });
}

#[test]
fn the_nodes_ranges_are_refused_clearly_and_never_stop_a_removal() {
    on_each_store("k6", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let ipam = |subnet: &str| json!({"type": "host-local", "dataDir": "/run/leases", "subnet": subnet});
        network.conflist_mut()["plugins"][0]["ipam"] = ipam("usePodCidr");
        let add = network.call("ADD")?.pod(&pod).args(POD);
        let (code, message) = add.error()?;
        ensure!(code == 2, "{code} {message}");
        ensure!(message.contains("ipam.subnet") && message.contains("usePodCidr"), "{message}");
        before.nothing_left()?;
        // The runtime's DEL after it, and one of an upstream ADD, whose range was known.
        add.verb("DEL").done()?;
        network.conflist_mut()["plugins"][0]["ipam"] = ipam("10.77.0.0/24");
        network.call("ADD")?.pod(&pod).args(POD).result()?;
        let lease = network.host().path("/run/leases/calico/10.77.0.2");
        ensure!(lease.exists());
        add.verb("DEL").done()?;
        ensure!(!lease.exists());
        before.nothing_left()
    });
}
