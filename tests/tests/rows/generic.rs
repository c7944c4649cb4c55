//! Section 9.1: containers of no orchestrator that we know.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    Backend, Kernel, Network, RESOURCES, Stores, addresses, on_each_store, scene, without_routes,
};

use super::{CLUSTER, first_route_is_the_containers, host_local, is_up, link, scripted};

#[test]
fn g1_a_container_with_an_address_of_host_local() {
    scene("g1", |scene| {
        let mut network = Network::etcd(scene)?;
        host_local(&mut network)?;
        let host = network.host().clone();
        let before = network.before()?;
        let pod = host.pod("p1")?;
        let result = network.add(&pod, "abc123")?;
        let ips = result["ips"].as_array().context("no ips")?;
        ensure!(ips.len() == 1, "{result:#}");
        let net = ips[0]["address"].as_str().context("no address")?;
        let (ip, length) = net.split_once('/').context("no length")?;
        ensure!(length == "32", "{net}");

        let dump = network.store().dump()?;
        let profile = &dump.0[&format!("{RESOURCES}/profiles/net1")]["spec"];
        ensure!(
            *profile
                == json!({
                    "ingress": [{"action": "Allow", "source": {"selector": "has(net1)"}}],
                    "egress": [{"action": "Allow"}],
                    "labelsToApply": {"net1": ""},
                }),
            "{profile:#}"
        );
        let (key, endpoint) = network.store().endpoint("-eth0")?;
        let name = "node--a-cni-abc123-eth0";
        ensure!(key == format!("{RESOURCES}/workloadendpoints/default/{name}"), "{key}");
        let kernel = Kernel::of_pod(&pod)?;
        let inside = link(&kernel, "eth0")?;
        let metadata = endpoint["metadata"].as_object().context("no metadata")?;
        let members: Vec<&str> = metadata.keys().map(String::as_str).collect();
        ensure!(
            members == ["name", "namespace", "uid", "creationTimestamp", "labels"],
            "{members:?}"
        );
        ensure!(metadata["name"] == name && metadata["namespace"] == "default");
        ensure!(
            metadata["labels"]
                == json!({
                    "projectcalico.org/namespace": "default",
                    "projectcalico.org/orchestrator": "cni",
                })
        );
        ensure!(
            endpoint["spec"]
                == json!({
                    "orchestrator": "cni", "node": "node-a", "containerID": "abc123",
                    "endpoint": "eth0", "ipNetworks": [net], "profiles": ["net1"],
                    "interfaceName": "caliabc123", "mac": inside["address"],
                }),
            "{endpoint:#}"
        );

        let outside = Kernel::of_host(&host)?;
        let end = link(&outside, "caliabc123")?;
        ensure!(is_up(&end) && end["mtu"] == 1500, "{end}");
        for (setting, value) in [
            ("ipv4/conf/caliabc123/proxy_arp", "1"),
            ("ipv4/neigh/caliabc123/proxy_delay", "0"),
            ("ipv4/conf/caliabc123/forwarding", "1"),
        ] {
            ensure!(host.sysctl(setting)? == value, "{setting}");
        }
        first_route_is_the_containers(&outside, "caliabc123", ip)?;

        ensure!(is_up(&inside), "{inside}");
        ensure!(pod.sysctl("ipv4/ip_forward")? == "0");
        let held = pod.ip("-4 addr show dev eth0")?;
        ensure!(held[0]["addr_info"][0]["local"] == ip, "{held}");
        let routes: Vec<Value> = kernel.routes("eth0").into_iter().cloned().collect();
        let has = |dst: &str, wanted: &[(&str, &str)]| {
            routes.iter().any(|route| {
                let is = |(member, value): &(&str, &str)| route[*member] == *value;
                let boot = route.get("protocol").is_none_or(|protocol| protocol == "boot");
                route["dst"] == dst && boot && wanted.iter().all(is)
            })
        };
        ensure!(has("default", &[("gateway", "169.254.1.1")]), "{routes:?}");
        ensure!(has("169.254.1.1", &[("scope", "link")]), "{routes:?}");

        network.del(&pod, "abc123")?;
        ensure!(network.store().dump()?.endpoints().is_empty());
        ensure!(Kernel::of_pod(&pod)?.link("eth0").is_none());
        before.nothing_left()
    });
}

#[test]
fn g2_a_host_link_that_has_the_name_is_replaced() {
    on_each_store("g2", |network| {
        let host = network.host().clone();
        let before = network.before()?;
        let pod = host.pod("p1")?;
        host.run("ip link add caliabc123 type veth peer name other".split(' '))?;
        let result = network.add(&pod, "abc123")?;
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        ensure!(Kernel::of_host(&host)?.link("other").is_none(), "the former pair is there");
        network.del(&pod, "abc123")?;
        before.nothing_left()
    });
}

#[test]
fn g6_del_fails_while_the_cluster_is_unknown_and_then_succeeds() {
    scene("g6", |scene| {
        let network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        network.add(&pod, "abc123")?;
        let cluster = network.store().dump()?.0[CLUSTER].clone();
        network.store().delete(CLUSTER)?;
        let (code, message) = network.call("DEL")?.container("abc123").pod(&pod).error()?;
        ensure!(code == 11 && message.contains("ClusterInformation"), "{code} {message}");
        network.store().put(CLUSTER, &cluster.to_string())?;
        network.del(&pod, "abc123")?;
        before.nothing_left()
    });
}

#[test]
fn g7_forwarding_is_allowed_to_a_container() {
    on_each_store("g7", |network| {
        let before = network.before()?;
        for allowed in [true, false] {
            let pod = network.host().pod(&format!("p-{allowed}"))?;
            let settings = json!({"allow_ip_forwarding": allowed});
            let add = network.call_with("ADD", "container_settings", &settings)?.pod(&pod);
            add.result()?;
            let expected = if allowed { "1" } else { "0" };
            ensure!(pod.sysctl("ipv4/ip_forward")? == expected);
            ensure!(pod.sysctl("ipv6/conf/all/forwarding")? == expected);
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

/// The gRPC dataplane is not ours: whoever asks for it is told so, as upstream is when the socket
/// is missing.
#[test]
fn g8_g9_another_dataplane_is_refused() {
    on_each_store("g8", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        for options in [
            json!({"type": "unknown"}),
            json!({"type": "grpc", "socket": "unix:///run/none.sock", "extra": "option"}),
            json!({"type": 7}),
        ] {
            let add = network.call_with("ADD", "dataplane_options", &options)?.pod(&pod);
            let (code, message) = add.error()?;
            ensure!(code == 2, "{code} {message}");
            ensure!(message.contains("dataplane_options.type"), "{message}");
            ensure!(message.contains(&options["type"].to_string()), "{message}");
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

#[test]
fn g14_g15_hostname_names_the_node_unless_nodename_does() {
    scene("g14", |scene| {
        let network = Network::etcd(scene)?;
        for node in ["named-hostname.somewhere", "named-nodename"] {
            network.put([tests::objects::node(node)])?;
        }
        std::fs::remove_file(network.host().path("/var/lib/calico/nodename"))?;
        let mut config = network.config()?;
        config["hostname"] = json!("named-hostname.somewhere");
        let mut named = |nodename: Option<&str>, expected: &str| -> Result<()> {
            if let Some(nodename) = nodename {
                config["nodename"] = json!(nodename);
            }
            let pod = network.host().pod(expected)?;
            let add = network.call("ADD")?.container("abcd1234").pod(&pod).config(&config);
            let answer = add.run()?;
            ensure!(answer.exit == Some(0), "{answer:#?}");
            ensure!(
                answer.stderr.matches("\"hostname\" is deprecated").count() == 1,
                "{answer:#?}"
            );
            let (key, endpoint) = network.store().endpoint("-eth0")?;
            ensure!(endpoint["spec"]["node"] == expected, "{endpoint:#}");
            let name = format!("/{}-cni-abcd1234-eth0", expected.replace('-', "--"));
            ensure!(key.ends_with(&name), "{key}");
            add.verb("DEL").done()
        };
        named(None, "named-hostname.somewhere")?;
        named(Some("named-nodename"), "named-nodename")
    });
}

#[test]
fn g16_g17_labels_of_mesos_are_the_endpoints() {
    on_each_store("g16", |network| {
        let pod = network.host().pod("p1")?;
        let labels = json!([{"key": "k", "value": "v"}, {"key": "DCOS_SPACE", "value": "/a/b/c"}]);
        let args = json!({"org.apache.mesos": {"network_info": {"labels": {"labels": labels}}}});
        let add = network.call_with("ADD", "args", &args)?.pod(&pod);
        add.result()?;
        let (_, endpoint) = network.store().endpoint("-eth0")?;
        let labels = &endpoint["metadata"]["labels"];
        ensure!(labels["k"] == "v" && labels["DCOS_SPACE"] == "a.b.c", "{endpoint:#}");
        add.verb("DEL").done()
    });
}

#[test]
fn g18_a_feature_of_pods_is_refused_for_others() {
    on_each_store("g18", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let features = json!({"ip_addrs_no_ipam": true});
        let add = network.call_with("ADD", "feature_control", &features)?.pod(&pod);
        let (code, message) = add.error()?;
        ensure!(code == 2 && message.contains("ip_addrs_no_ipam"), "{code} {message}");
        before.nothing_left()
    });
}

#[test]
fn g21_an_address_of_calico_ipam_and_its_one_route() {
    tests::play("g21", Backend::Etcd, |network| {
        network.put([tests::objects::pool("pool", "10.65.0.0/16", 26)])?;
        let pod = network.host().pod("p1")?;
        let result = network.add(&pod, "badbeef")?;
        let ips = addresses(&result)?;
        let [ip] = ips.as_slice() else { anyhow::bail!("{result:#}") };
        ensure!(result["routes"] == json!([{"dst": format!("{ip}/32")}]), "{result:#}");
        let (_, endpoint) = network.store().endpoint("-eth0")?;
        let spec = &endpoint["spec"];
        for (member, value) in [
            ("node", json!("node-a")),
            ("endpoint", json!("eth0")),
            ("containerID", json!("badbeef")),
            ("orchestrator", json!("cni")),
            ("workload", Value::Null),
        ] {
            ensure!(spec[member] == value, "{member}: {endpoint:#}");
        }
        let dump = network.store().dump()?;
        ensure!(dump.handles() == ["/calico/ipam/v2/handle/calico.badbeef"], "{dump:#?}");
        let held: Vec<IpAddr> = dump
            .allocations()
            .into_iter()
            .map(|(block, ordinal, handle)| {
                ensure!(handle == "calico.badbeef", "{handle}");
                // …/block/10-65-0-0-26
                let name = dump.0[block]["cidr"].as_str().context("no cidr")?;
                let net: ipnet::IpNet = name.parse()?;
                let IpAddr::V4(first) = net.network() else { anyhow::bail!("{net}") };
                let number = u32::from(first) + u32::try_from(ordinal)?;
                Ok(IpAddr::V4(number.into()))
            })
            .collect::<Result<_>>()?;
        ensure!(held == ips, "{held:?}, not {ips:?}");
        network.del(&pod, "badbeef")
    });
}

#[test]
fn g22_g23_g24_a_second_add_keeps_the_reservation() {
    on_each_store("g22", |network| {
        let host = network.host().clone();
        let pod = host.pod("p1")?;
        let first = network.add(&pod, "badbeef")?;
        let reserved = network.store().dump()?.allocations().len();
        let profiles = || -> Result<Value> {
            Ok(network.store().endpoint("-eth0")?.1["spec"]["profiles"].clone())
        };
        // G22.
        let again = network.add(&pod, "badbeef")?;
        ensure!(without_routes(again) == without_routes(first.clone()));
        ensure!(profiles()? == json!(["calico"]));
        // G23.
        let other = network.call_with("ADD", "name", &json!("net2"))?;
        let other = other.container("badbeef").pod(&pod).result()?;
        ensure!(without_routes(other) == without_routes(first.clone()));
        ensure!(profiles()? == json!(["calico", "net2"]));
        // G24.
        for change in [
            "link set calibadbeef down",
            "link set calibadbeef name salibadbeef",
            "link set salibadbeef up",
        ] {
            host.run(["ip"].into_iter().chain(change.split(' ')))?;
        }
        let again = network.add(&pod, "badbeef")?;
        ensure!(addresses(&again)? == addresses(&first)?, "{again:#}");
        ensure!(network.store().dump()?.allocations().len() == reserved);
        ensure!(network.store().dump()?.endpoints().len() == 1);
        network.check_pod(&addresses(&again)?, |to| pod.ping(to))?;
        network.del(&pod, "badbeef")
    });
}

/// Felix is quicker with the route to one address, of each family in turn; the other address gets
/// its own all the same.
#[test]
fn g25_a_host_route_that_is_there_already_is_no_failure() {
    on_each_store("g25", |network| {
        let before = network.before()?;
        for (number, (family, quick)) in
            [("-4", "10.1.2.3/32"), ("-6", "fd00:1::3/128")].into_iter().enumerate()
        {
            let answer = json!({
                "cniVersion": "1.0.0",
                "ips": [{"address": "10.1.2.3/32"}, {"address": "fd00:1::3/128"}],
            });
            // The link is made meanwhile; who needs it switched on has to do that.
            let add = format!(
                "until ip link set calic1 up 2>/dev/null; do :; done\n\
                 ip {family} route add {quick} dev calic1 scope link protocol 80\n\
                 echo '{answer}'"
            );
            scripted(network, &add)?;
            let pod = network.host().pod(&format!("p{number}"))?;
            let result = network.add(&pod, "c1")?;
            let routed = Kernel::of_host(network.host())?;
            for ip in ["10.1.2.3", "fd00:1::3"] {
                let count =
                    routed.routes("calic1").iter().filter(|route| route["dst"] == ip).count();
                ensure!(count == 1, "{count} routes to {ip}");
            }
            network.check_pod_of(&addresses(&result)?, &pod)?;
            network.del(&pod, "c1")?;
            before.nothing_left()?;
        }
        Ok(())
    });
}

/// Another writer changes the endpoint between our reading and our writing: fix 43.
#[test]
fn an_endpoint_that_somebody_changes_meanwhile_is_read_again() {
    scene("meanwhile", |scene| {
        let mut network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web";
        let answer = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/32"}]});
        scripted(&mut network, &format!("echo '{answer}'"))?;
        network.call("ADD")?.container("x1").pod(&pod).args(args).result()?;
        let (key, _) = network.store().endpoint("-k8s-web-eth0")?;
        let Stores::Etcd(etcd) = network.store().clone() else { anyhow::bail!("no etcd") };
        let touch = format!(
            "export ETCDCTL_API=3\nvalue=$(etcdctl --endpoints {0} get --print-value-only '{key}')\n\
             etcdctl --endpoints {0} put -- '{key}' \"$value\" >/dev/null\necho '{answer}'",
            etcd.endpoint()
        );
        scripted(&mut network, &touch)?;
        network.call("ADD")?.container("x2").pod(&pod).args(args).result()?;
        let (_, endpoint) = network.store().endpoint("-k8s-web-eth0")?;
        ensure!(endpoint["spec"]["containerID"] == "x2", "{endpoint:#}");
        for id in ["x1", "x2"] {
            network.call("DEL")?.container(id).pod(&pod).args(args).done()?;
        }
        before.nothing_left()
    });
}
