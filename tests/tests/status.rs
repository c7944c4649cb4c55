//! STATUS and the self-test: could an ADD be served (`reference/cni-plugin.md` section 5.10)?

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, Network, Output, RESOURCES, Stores, command, on_each_store, scene};

fn status(network: &Network, change: impl FnOnce(&mut Value)) -> Result<Call> {
    let mut config = network.config()?;
    config["cniVersion"] = json!("1.1.0");
    change(&mut config);
    let call = network.call("STATUS")?.config(&config);
    Ok(call.without("CNI_CONTAINERID").without("CNI_IFNAME"))
}

fn unavailable(answer: &Answer, names: &str) -> Result<()> {
    let (code, message) = answer.error()?;
    ensure!(code == 50 && message.contains(names), "{code} {message}");
    ensure!(answer.elapsed < Duration::from_secs(5), "it took {:?}", answer.elapsed);
    Ok(())
}

fn refused(network: &Network, names: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    unavailable(&status(network, change)?.run()?, names)
}

/// `calico -t` with this configuration.
fn self_test(network: &Network, config: &Value) -> Result<Output> {
    let mut call = command("/opt/cni/bin/calico");
    call.arg("-t").env_clear().env("CNI_COMMAND", "VERSION");
    network.host().output(call, config.to_string().as_bytes(), Duration::from_secs(10))
}

fn self_test_fails(network: &Network, config: &Value, names: &str) -> Result<()> {
    let output = self_test(network, config)?;
    ensure!(output.status.code() == Some(1), "{}", output.text());
    ensure!(output.elapsed < Duration::from_secs(4), "it took {:?}", output.elapsed);
    let error: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(error["code"] == 100, "{error}");
    ensure!(error["msg"].as_str().is_some_and(|msg| msg.contains(names)), "{error}");
    Ok(())
}

#[test]
fn a_node_that_can_serve_says_nothing_and_takes_nothing() {
    on_each_store("status", |network| {
        let before = network.before()?;
        status(network, |_| {})?.done()?;
        let blocks = network.store().dump()?;
        ensure!(blocks.under("/calico/ipam/").next().is_none(), "something was taken: {blocks:#?}");
        let pod = network.host().pod("p1")?;
        network.add(&pod, "c1")?;
        let stored = network.store().dump()?;
        status(network, |_| {})?.done()?;
        ensure!(network.store().dump()? == stored, "something was changed");
        network.del(&pod, "c1")?;
        before.nothing_left()
    });
}

#[test]
fn missing_files_are_named() {
    scene("status-files", |scene| {
        let network = Network::etcd(scene)?;
        refused(&network, "/var/lib/calico/mtu", |config| {
            config["require_mtu_file"] = json!(true);
        })?;
        network.host().write("/var/lib/calico/mtu", "1440\n")?;
        status(&network, |config| config["require_mtu_file"] = json!(true))?.done()?;
        network.host().write("/var/lib/calico/mtu", "many")?;
        refused(&network, "many", |_| {})?;
        status(&network, |config| config["mtu"] = json!(1400))?.done()?;
        std::fs::remove_file(network.host().path("/var/lib/calico/mtu"))?;
        std::fs::remove_file(network.host().path("/var/lib/calico/nodename"))?;
        refused(&network, "/var/lib/calico/nodename", |_| {})?;
        status(&network, |config| config["nodename"] = json!("node-a"))?.done()?;
        status(&network, |config| config["nodename_file_optional"] = json!(true))?.done()
    });
}

#[test]
fn a_store_that_is_away_silent_or_refuses_us_is_named() {
    scene("status-away", |scene| {
        let network = Network::etcd(scene)?;
        let Stores::Etcd(etcd) = network.store() else { anyhow::bail!("no etcd") };
        etcd.pause()?;
        refused(&network, "127.0.0.1:2379", |_| {})?;
        self_test_fails(&network, &network.config()?, "127.0.0.1:2379")?;
        etcd.resume()?;
        status(&network, |_| {})?.done()?;
        etcd.kill()?;
        refused(&network, "127.0.0.1:2379", |_| {})?;
        self_test_fails(&network, &network.config()?, "127.0.0.1:2379")?;
        etcd.restart()?;
        status(&network, |_| {})?.done()
    });
}

#[test]
fn a_store_that_is_not_ready_is_named() {
    on_each_store("status-ready", |network| {
        status(network, |_| {})?.done()?;
        ensure!(self_test(network, &network.config()?)?.status.success());
        let key = format!("{RESOURCES}/clusterinformations/default");
        for state in [json!(false), json!(null)] {
            network.store().change(&key, |info| info["spec"]["datastoreReady"] = state)?;
            refused(network, "datastoreReady", |_| {})?;
            self_test_fails(network, &network.config()?, "datastoreReady")?;
        }
        Ok(())
    });
}

/// A gate that nobody listens at: calico/node's own says that it is down.
#[test]
fn a_calico_node_that_is_down_has_a_code_of_its_own() {
    scene("status-node", |scene| {
        let network = Network::etcd(scene)?;
        let ask = |port: u16| {
            let gate = format!("http://127.0.0.1:{port}/readiness");
            status(&network, |config| config["readiness_gates"] = json!([gate]))?.run()?.error()
        };
        let (code, message) = ask(9098)?;
        ensure!(code == 50 && message.contains("refused"), "{code} {message}");
        let (code, message) = ask(9099)?;
        ensure!(code == 51 && message.contains("calico/node is not running"), "{code} {message}");
        // Whatever else is wrong.
        let key = format!("{RESOURCES}/clusterinformations/default");
        network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(false))?;
        let (code, message) = ask(9099)?;
        ensure!(code == 51 && message.contains("datastoreReady"), "{code} {message}");
        let (code, _) = ask(9098)?;
        ensure!(code == 50, "{code}");
        Ok(())
    });
}

#[test]
fn a_store_that_nobody_set_up_is_named() {
    scene("status-empty", |scene| {
        let network = Network::etcd(scene)?;
        network.store().delete(&format!("{RESOURCES}/clusterinformations/default"))?;
        refused(&network, "ClusterInformation", |_| {})?;
        self_test_fails(&network, &network.config()?, "ClusterInformation")
    });
}

#[test]
fn pools_that_give_no_address_are_named() {
    on_each_store("status-pools", |network| {
        status(network, |_| {})?.done()?;
        let folder = format!("{RESOURCES}/ippools/");
        let pools: Vec<(String, Value)> = {
            let dump = network.store().dump()?;
            dump.under(&folder).map(|(key, pool)| (key.to_owned(), pool.clone())).collect()
        };
        ensure!(pools.len() == 2, "{pools:#?}");
        for (key, _) in &pools {
            network.store().change(key, |pool| pool["spec"]["disabled"] = json!(true))?;
        }
        refused(network, "disabled", |_| {})?;
        for (key, _) in &pools {
            network.store().delete(key)?;
        }
        refused(network, "pool", |_| {})?;
        // A family has none.
        for (key, pool) in &pools {
            network.store().put(key, &pool.to_string())?;
            let is_v4 = pool["spec"]["cidr"].as_str().is_some_and(|cidr| !cidr.contains(':'));
            let (there, lacks) = if is_v4 { ("4", "6") } else { ("6", "4") };
            refused(network, "pool", |config| {
                config["ipam"]["assign_ipv4"] = json!((lacks == "4").to_string());
                config["ipam"]["assign_ipv6"] = json!((lacks == "6").to_string());
            })?;
            status(network, |config| {
                config["ipam"]["assign_ipv4"] = json!((there == "4").to_string());
                config["ipam"]["assign_ipv6"] = json!((there == "6").to_string());
            })?
            .done()?;
            network.store().delete(key)?;
        }
        for (key, pool) in &pools {
            network.store().put(key, &pool.to_string())?;
        }
        refused(network, "10.77.0.0/16", |config| {
            config["ipam"]["ipv4_pools"] = json!(["10.77.0.0/16"]);
        })?;
        status(network, |_| {})?.done()
    });
}

#[test]
fn another_ipam_plugin_is_asked() {
    scene("status-delegate", |scene| {
        let network = Network::standalone(scene)?;
        let recorder = |config: &mut Value| config["ipam"] = json!({"type": "recorder"});
        refused(&network, "recorder", recorder)?;
        let say = |text: &str, exit: u8| {
            let script = format!("#!/bin/sh\ncat >/dev/null\necho '{text}'\nexit {exit}\n");
            network.host().install("recorder", script)
        };
        say("", 0)?;
        status(&network, recorder)?.done()?;
        // Plugins from before 1.1.0 don't know the verb.
        say(r#"{"cniVersion": "1.0.0", "code": 4, "msg": "unknown CNI_COMMAND: STATUS"}"#, 1)?;
        status(&network, recorder)?.done()?;
        say(r#"{"cniVersion": "1.0.0", "code": 1, "msg": "incompatible CNI versions"}"#, 1)?;
        status(&network, recorder)?.done()?;
        say(r#"{"cniVersion": "1.1.0", "code": 50, "msg": "out of addresses"}"#, 1)?;
        refused(&network, "out of addresses", recorder)?;
        say(r#"{"cniVersion": "1.1.0", "code": 51, "msg": "cut off"}"#, 1)?;
        let (code, message) = status(&network, recorder)?.error()?;
        ensure!(code == 51 && message.contains("cut off"), "{code} {message}");
        network.host().install("recorder", "#!/bin/sh\nexec sleep 100\n")?;
        refused(&network, "recorder", recorder)
    });
}

#[test]
fn calico_ipam_answers_for_itself() {
    on_each_store("status-ipam", |network| {
        let mut config = network.config()?;
        config["cniVersion"] = json!("1.1.0");
        let call = Call::new(network.host(), "calico-ipam", "STATUS").config(&config);
        call.done()?;
        let key = format!("{RESOURCES}/clusterinformations/default");
        network.store().change(&key, |info| info["spec"]["datastoreReady"] = json!(false))?;
        unavailable(&call.run()?, "datastoreReady")
    });
}

#[test]
fn the_self_test_names_what_is_wrong_with_its_configuration() {
    scene("self-test", |scene| {
        let network = Network::etcd(scene)?;
        let mut config = network.config()?;
        ensure!(self_test(&network, &config)?.status.success());
        config["datastore_type"] = json!("paper");
        self_test_fails(&network, &config, "paper")?;
        config["datastore_type"] = json!("etcdv3");
        config["etcd_endpoints"] = json!("http://127.0.0.1:2399");
        self_test_fails(&network, &config, "127.0.0.1:2399")?;
        let mut call = command("/opt/cni/bin/calico");
        call.arg("-t");
        let output = network.host().output(call, b"{", Duration::from_secs(10))?;
        ensure!(output.status.code() == Some(1), "{}", output.text());
        ensure!(serde_json::from_slice::<Value>(&output.stdout)?["code"] == 100);
        Ok(())
    });
}
