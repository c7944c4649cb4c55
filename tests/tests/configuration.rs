//! Fields of the configuration that no other test is about (`reference/cni-plugin.md` sections 1.2 to
//! 1.5): what is ignored, what wins over what, and what a runtime asks for.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Call, Kernel, Network, RESOURCES, Stores, addresses, on_each_store, scene};

const DEAD: &str = "http://127.0.0.1:2399";

#[test]
fn what_is_accepted_and_does_nothing_is_warned_of_once() {
    on_each_store("ignored", |network| {
        let pod = network.host().pod("p1")?;
        let mut config = network.config()?;
        for (member, value) in [
            ("etcd_authority", json!("127.0.0.1:4001")),
            ("etcd_scheme", json!("http")),
            ("qps", json!(50)),
            ("burst", json!(0)),
            ("kubernetes", json!({"kubeconfig": "/etc/none", "node_name": ""})),
            ("policy", json!({"k8s_auth_token": "t0ken"})),
            ("windows_use_single_network", json!(true)),
        ] {
            config[member] = value;
        }
        let call = network.call("ADD")?.pod(&pod).config(&config);
        let answer = call.run()?;
        ensure!(answer.exit == Some(0), "{answer:#?}");
        for field in [
            "etcd_authority",
            "etcd_scheme",
            "qps",
            "kubernetes.kubeconfig",
            "policy.k8s_auth_token",
            "windows_use_single_network",
        ] {
            let count = answer.stderr.matches(&format!("the field \"{field}\"")).count();
            ensure!(count == 1, "{field} is named {count} times: {}", answer.stderr);
        }
        ensure!(answer.stderr.matches("[WARN]").count() == 6, "{}", answer.stderr);
        let answer = call.verb("DEL").run()?;
        ensure!(answer.exit == Some(0) && !answer.stderr.contains("[WARN]"), "{answer:#?}");
        Ok(())
    });
}

/// Section 1.1: names match in any letter case, and of several spellings the last one counts.
#[test]
fn fields_are_read_in_any_letter_case() {
    fn in_capitals(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.to_uppercase(), in_capitals(value)))
                .collect(),
            Value::Array(items) => items.iter().map(in_capitals).collect(),
            other => other.clone(),
        }
    }
    on_each_store("letter-case", |network| {
        let pod = network.host().pod("p1")?;
        let mut config = in_capitals(&network.config()?);
        config["IPAM"]["ASSIGN_IPV6"] = json!("false");
        config["ipam"] = json!({"Assign_IPv6": "true"});
        config["mtu"] = json!(1400);
        config["MTU"] = json!(1380);
        let call = network.call("ADD")?.pod(&pod).config(&config);
        let result = call.result()?;
        let addresses = addresses(&result)?;
        ensure!(addresses.len() == 2, "the families of both members of ipam: {result}");
        network.check_pod(&addresses, |to| pod.ping(to))?;
        ensure!(pod.ip("link show eth0")?[0]["mtu"] == 1380, "{result}");
        let mut checked = config.clone();
        checked["PREVRESULT"] = result;
        call.verb("CHECK").config(&checked).done()?;
        call.verb("DEL").config(&checked).done()
    });
}

/// Fix 37: what is written down is meant, whatever the environment of the runtime holds.
#[test]
fn the_configuration_wins_over_the_environment_and_that_fills_the_rest() {
    scene("precedence", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let pod = network.host().pod("p1")?;
        let config = network.config()?;
        let mut silent = config.clone();
        for member in ["etcd_endpoints", "datastore_type"] {
            silent.as_object_mut().context("no object")?.remove(member);
        }
        let call = |config: &Value| network.call("ADD").map(|call| call.pod(&pod).config(config));
        let works = |call: Call| -> Result<()> {
            call.result()?;
            ensure!(network.store().dump()?.endpoints().len() == 1);
            call.verb("DEL").done()
        };
        let here = etcd.endpoint();
        works(call(&config)?.env("CALICO_ETCD_ENDPOINTS", DEAD).env("ETCD_ENDPOINTS", DEAD))?;
        works(call(&config)?.env("CALICO_DATASTORE_TYPE", "kubernetes"))?;
        works(call(&silent)?.env("ETCD_ENDPOINTS", here))?;
        works(call(&silent)?.env("CALICO_ETCD_ENDPOINTS", here).env("ETCD_ENDPOINTS", DEAD))?;
        let (code, message) = call(&silent)?
            .env("CALICO_ETCD_ENDPOINTS", DEAD)
            .env("ETCD_ENDPOINTS", here)
            .error()?;
        ensure!(code == 11 && message.contains(DEAD), "{code} {message}");
        // In a cluster that the environment names, calico/node names this node.
        fs::remove_file(network.host().path("/var/lib/calico/nodename"))?;
        let (code, message) = call(&silent)?.env("ETCD_ENDPOINTS", here).error()?;
        ensure!(code == 11 && message.contains("/var/lib/calico/nodename"), "{code} {message}");
        Ok(())
    });
}

#[test]
fn the_node_is_named_by_the_first_that_says_something() {
    scene("nodename", |scene| {
        let network = Network::etcd(scene)?;
        for node in ["from-file", "from-field", "from-other-file", "node-a"] {
            network.put([tests::objects::node(node)])?;
        }
        let file = "/var/lib/calico/nodename";
        network.host().write(file, " from-file\n")?;
        network.host().write("/etc/calico/name", "from-other-file")?;
        let mut number = 0;
        let mut is_named = |change: &[(&str, Value)], expected: &str| -> Result<()> {
            number += 1;
            let mut config = network.config()?;
            for (member, value) in change {
                config[*member] = value.clone();
            }
            let pod = network.host().pod(&format!("p{number}"))?;
            let add = network.call("ADD")?.pod(&pod).config(&config);
            add.result()?;
            let node = network.store().endpoint("-eth0")?.1["spec"]["node"].clone();
            ensure!(node == expected, "{node}, not {expected}");
            add.verb("DEL").done()
        };
        is_named(&[], "from-file")?;
        is_named(&[("hostname", json!("unheard"))], "from-file")?;
        is_named(&[("nodename", json!("from-field"))], "from-field")?;
        is_named(&[("nodename_file", json!("/etc/calico/name"))], "from-other-file")?;
        fs::remove_file(network.host().path(file))?;
        is_named(&[("nodename_file_optional", json!(true))], "node-a")?;
        is_named(&[("nodename", json!("from-field"))], "from-field")?;
        let pod = network.host().pod("unnamed")?;
        for name in ["../etc", "Node", "a/b", "a b", &"n".repeat(300)] {
            let mut config = network.config()?;
            config["nodename"] = json!(name);
            let (code, message) = network.call("ADD")?.pod(&pod).config(&config).error()?;
            ensure!(code == 7 && message.contains("nodename"), "{name}: {code} {message}");
        }
        Ok(())
    });
}

/// Fix 38: what CNI's conventions let a runtime ask for. Podman asks for one address in two ways.
#[test]
fn a_runtime_may_ask_for_an_address_a_mac_and_labels() {
    on_each_store("asked", |network| {
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        let wanted = match network.store() {
            Stores::Local(_) => "192.168.0.77",
            Stores::Etcd(_) => "10.65.0.77",
        };
        let mut config = network.config()?;
        config["ipam"] = json!({"type": "calico-ipam"});
        config["runtimeConfig"] =
            json!({"ips": [format!("{wanted}/16")], "mac": "0A:58:0A:41:00:4D"});
        config["args"] = json!({"cni": {
            "ips": [wanted], "labels": [{"key": "app", "value": "cart"}],
        }});
        config["dns"] = json!({"nameservers": ["10.0.0.53"], "search": ["shop.example"]});
        let add = network.call("ADD")?.pod(&pod).args(&format!("IP={wanted}")).config(&config);
        let result = add.result()?;
        ensure!(addresses(&result)? == [wanted.parse::<IpAddr>()?], "{result:#}");
        ensure!(result["interfaces"][1]["mac"] == "0a:58:0a:41:00:4d", "{result:#}");
        ensure!(result["dns"] == config["dns"], "{result:#}");
        let kernel = Kernel::of_pod(&pod)?;
        ensure!(kernel.link("eth0").context("no eth0")?["address"] == "0a:58:0a:41:00:4d");
        let (_, endpoint) = network.store().endpoint("-eth0")?;
        ensure!(endpoint["metadata"]["labels"]["app"] == "cart", "{endpoint:#}");
        ensure!(endpoint["spec"]["mac"] == "0a:58:0a:41:00:4d", "{endpoint:#}");
        network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
        add.verb("DEL").done()?;
        before.nothing_left()?;
        for (member, value, code, names) in [
            ("runtimeConfig", json!({"ips": ["10.0.0.1", "10.0.0.2"]}), 2, "10.0.0.1, 10.0.0.2"),
            ("runtimeConfig", json!({"ips": ["x"]}), 7, "runtimeConfig.ips"),
            ("runtimeConfig", json!({"ips": 7}), 6, "runtimeConfig.ips"),
            ("runtimeConfig", json!({"mac": "x"}), 7, "runtimeConfig.mac"),
            ("runtimeConfig", json!({"mac": "01:00:5e:00:00:01"}), 7, "01:00:5e:00:00:01"),
            ("runtimeConfig", json!({"mac": "ee:ee:ee:ee:ee:ee"}), 7, "ee:ee:ee:ee:ee:ee"),
            ("args", json!({"cni": {"labels": [{"key": "a b", "value": ""}]}}), 7, "a b"),
            ("args", json!({"cni": {"labels": "app"}}), 6, "args.cni.labels"),
        ] {
            let add = network.call_with("ADD", member, &value)?.pod(&pod);
            let (found, message) = add.error()?;
            ensure!(found == code && message.contains(names), "{value}: {found} {message}");
            before.nothing_left()?;
            // What only ADD reads is no reason to keep a container.
            add.verb("DEL").done()?;
        }
        Ok(())
    });
}

/// Fix 11: the namespace that Mesos names is DEL's as well, also of a DEL that comes too early.
#[test]
fn an_endpoint_in_the_namespace_that_mesos_names_goes_with_its_container() {
    scene("mesos", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        let before = network.before()?;
        let labels = json!([{"key": "projectcalico.org/namespace", "value": "/shop"}]);
        let args = json!({"org.apache.mesos": {"network_info": {"labels": {"labels": labels}}}});
        let pod = network.host().pod("p1")?;
        let add = network.call_with("ADD", "args", &args)?.pod(&pod);
        let namespace = || -> Result<String> {
            let (key, _) = network.store().endpoint("-eth0")?;
            let rest =
                key.strip_prefix(&format!("{RESOURCES}/workloadendpoints/")).context("key")?;
            Ok(rest.split('/').next().unwrap_or_default().to_owned())
        };
        add.result()?;
        ensure!(namespace()? == "shop", "{}", namespace()?);
        add.verb("DEL").done()?;
        before.nothing_left()?;
        // The store is away: the release is owed, and paid with the next call.
        add.result()?;
        etcd.pause()?;
        add.verb("DEL").done()?;
        etcd.resume()?;
        ensure!(namespace()? == "shop");
        network.call("DEL")?.container("other").done()?;
        before.nothing_left()
    });
}

/// Fixes 9 and 30: upstream finds both out when the interface is there.
#[test]
fn what_can_not_be_carried_through_is_refused_at_once() {
    on_each_store("refused", |network| {
        let pod = network.host().pod("p1")?;
        network.add(&pod, "c0")?;
        network.del(&pod, "c0")?;
        let before = network.before()?;
        for (member, value, code) in [
            ("policy_setup_timeout_seconds", json!(-1), 7),
            ("datastore_type", json!("kubernetes"), 2),
        ] {
            let add = network.call_with("ADD", member, &value)?.pod(&pod);
            let (found, message) = add.error()?;
            ensure!(found == code && message.contains(member), "{found} {message}");
            before.nothing_left()?;
        }
        Ok(())
    });
}

/// Netkit where the kernel has it, else veth; with queues, which netkit has one of.
#[test]
fn a_pair_is_of_the_kind_and_with_the_queues_that_are_asked_for() {
    on_each_store("kind", |network| {
        let before = network.before()?;
        for (number, (kind, queues, expected)) in
            [("", 0, 1), ("veth", 3, 3), ("netkit", 1, 1), ("netkit", 2, 2)].into_iter().enumerate()
        {
            let pod = network.host().pod(&format!("p{number}"))?;
            let mut config = network.config()?;
            config["device_type"] = json!(kind);
            config["num_queues"] = json!(queues);
            config["mtu"] = json!(1450);
            let add = network.call("ADD")?.pod(&pod).config(&config);
            let result = add.result()?;
            let (inside, outside) = (Kernel::of_pod(&pod)?, Kernel::of_host(network.host())?);
            let ends = [
                inside.link("eth0").context("no eth0")?,
                outside.link("calic1").context("no end")?,
            ];
            let made = ends[0]["linkinfo"]["info_kind"].as_str().context("no kind")?;
            ensure!(made == "veth" || (kind == "netkit" && made == "netkit"), "{made} for {kind}");
            let expected = if made == "netkit" { 1 } else { expected };
            for end in ends {
                ensure!(end["linkinfo"]["info_kind"] == made && end["mtu"] == 1450, "{end}");
                ensure!(end["num_tx_queues"] == expected, "{end}");
                ensure!(end["num_rx_queues"] == expected, "{end}");
            }
            network.check_pod(&addresses(&result)?, |to| pod.ping(to))?;
            let check = network.check(&pod, "c1", &result)?;
            check.done()?;
            add.verb("DEL").done()?;
            before.nothing_left()?;
        }
        let (code, message) = network
            .call_with("ADD", "num_queues", &json!(5000))?
            .pod(&network.host().pod("q")?)
            .error()?;
        ensure!(code == 7 && message.contains("num_queues is 5000"), "{code} {message}");
        before.nothing_left()
    });
}

/// Fix 44: a host that was started without IPv6 says so before anything is touched.
#[test]
fn ipv6_on_a_host_without_it_is_refused_at_once() {
    scene("no-ipv6", |scene| {
        let network = Network::etcd(scene)?;
        let before = network.before()?;
        let pod = network.host().pod("p1")?;
        // In the host's own mounts only.
        network.host().run("mount -t tmpfs none /proc/sys/net".split(' '))?;
        let mut ipam = network.config()?["ipam"].clone();
        ipam["assign_ipv6"] = json!("true");
        let (code, message) = network.call_with("ADD", "ipam", &ipam)?.pod(&pod).error()?;
        ensure!(code == 101 && message.contains("/proc/sys/net/ipv6"), "{code} {message}");
        network.host().run(["umount", "/proc/sys/net"])?;
        before.nothing_left()
    });
}

/// A pipe that nobody else has open would hold whoever opens it, and no deadline and no signal ends
/// that.
#[test]
fn a_pipe_in_the_place_of_a_file_holds_nobody_up() {
    scene("pipes", |scene| {
        let network = Network::etcd(scene)?;
        let pod = network.host().pod("p1")?;
        network.host().run(["mkfifo", "/run/pipe"])?;
        for member in ["log_file_path", "ipam_lock_file"] {
            let add = network.call_with("ADD", member, &json!("/run/pipe"))?.pod(&pod);
            let answer = add.run()?;
            ensure!(answer.exit == Some(0), "{member}: {answer:#?}");
            ensure!(answer.stderr.contains("/run/pipe"), "{member} is not told: {answer:#?}");
            add.verb("DEL").done()?;
        }
        let add = network.call_with("ADD", "nodename_file", &json!("/run/pipe"))?.pod(&pod);
        let (code, message) = add.error()?;
        ensure!(code == 5 && message.contains("/run/pipe"), "{code} {message}");
        Ok(())
    });
}
