//! A host with one of the shipped network configurations, and the store that it names.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::conf::{conflist, plugin_of};
use crate::etcd::{Etcd, EtcdMode};
use crate::host::Host;
use crate::leak::Before;
use crate::plugin::Call;
use crate::scene::Scene;
use crate::store::Stores;

/// The name of the only host of a network.
const NODE: &str = "node-a";

/// The objects that an operator has made in an etcd: readiness, this node and two pools.
const OBJECTS: [(&str, &str, &str, &str); 4] = [
    (
        "clusterinformations/default",
        "ClusterInformation",
        "default",
        r#"{"clusterGUID":"89d0a9d4d914493ca0901f78b3b2e4e6","datastoreReady":true}"#,
    ),
    ("nodes/node-a", "Node", NODE, r#"{"bgp":{"ipv4Address":"192.0.2.1/24"}}"#),
    ("ippools/pool-a", "IPPool", "pool-a", POOL_V4),
    ("ippools/pool-v6", "IPPool", "pool-v6", POOL_V6),
];

const POOL_V4: &str = concat!(
    r#"{"cidr":"10.65.0.0/16","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"#,
    r#""nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}"#
);

const POOL_V6: &str = concat!(
    r#"{"cidr":"fd00:65::/64","vxlanMode":"Never","ipipMode":"Never","blockSize":122,"#,
    r#""nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}"#
);

/// A host, its network configuration and its store.
#[derive(Debug)]
pub struct Network {
    host: Arc<Host>,
    conflist: Value,
    store: Stores,
}

impl Network {
    /// `conf/standalone.conflist`: the local store, which sets itself up.
    pub fn standalone(scene: &Scene) -> Result<Network> {
        let host = scene.host(NODE)?;
        let store = Stores::Local(host.clone());
        Ok(Network { host, conflist: conflist("standalone")?, store })
    }

    /// `conf/etcd.conflist`, with an etcd on the host that has a pool of each family.
    pub fn etcd(scene: &Scene) -> Result<Network> {
        Network::on_etcd(scene, "etcd", EtcdMode::Plain)
    }

    /// `conf/etcd-tls.conflist`: the same over TLS with a client's certificate.
    pub fn etcd_tls(scene: &Scene) -> Result<Network> {
        Network::on_etcd(scene, "etcd-tls", EtcdMode::Tls)
    }

    fn on_etcd(scene: &Scene, conf: &str, mode: EtcdMode) -> Result<Network> {
        let host = scene.host(NODE)?;
        // As calico/node writes it.
        host.write("/var/lib/calico/nodename", NODE)?;
        let etcd = Etcd::start(&host, mode)?;
        for (path, kind, name, spec) in OBJECTS {
            let spec: Value = serde_json::from_str(spec)?;
            let object = json!({
                "kind": kind, "apiVersion": "projectcalico.org/v3",
                "metadata": {"name": name, "uid": "cca955fb-e8c8-4916-aee1-ecfb73ef0585",
                             "creationTimestamp": "2026-11-21T15:04:33Z"},
                "spec": spec,
            });
            let key = format!("/calico/resources/v3/projectcalico.org/{path}");
            etcd.put(&key, &object.to_string())?;
        }
        Ok(Network { host, conflist: conflist(conf)?, store: Stores::Etcd(etcd) })
    }

    /// The host.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// The list, as it is in `conf/` or as a test has changed it.
    pub fn conflist(&self) -> &Value {
        &self.conflist
    }

    /// The list, to be changed.
    pub fn conflist_mut(&mut self) -> &mut Value {
        &mut self.conflist
    }

    /// The configuration that the plugin gets.
    pub fn config(&self) -> Result<Value> {
        plugin_of(&self.conflist)
    }

    /// The store.
    pub fn store(&self) -> &Stores {
        &self.store
    }

    /// A call of `calico` with this network's configuration.
    pub fn call(&self, verb: &str) -> Result<Call> {
        Ok(Call::new(&self.host, "calico", verb).config(&self.config()?))
    }

    /// What there is before a test does its work.
    pub fn before(&self) -> Result<Before> {
        Before::of(&self.host, &self.store)
    }

    /// Checks a running pod: each address is in a pool, is in exactly one endpoint, answers the
    /// host's ping, and the pod's own `ping` reaches the host.
    pub fn check_pod(
        &self,
        addresses: &[IpAddr],
        ping: impl Fn(IpAddr) -> Result<()>,
    ) -> Result<()> {
        ensure!(!addresses.is_empty(), "the pod has no address");
        let dump = self.store.dump()?;
        let pools = dump.pools()?;
        for &address in addresses {
            ensure!(
                pools.iter().any(|pool| pool.contains(&address)),
                "{address} is in none of the pools {pools:?}"
            );
            let network = json!(IpNet::from(address).to_string());
            let holders = dump.endpoints().into_iter().filter(|endpoint| {
                let networks = endpoint["spec"]["ipNetworks"].as_array();
                networks.is_some_and(|networks| networks.contains(&network))
            });
            let holders = holders.count();
            ensure!(holders == 1, "{holders} endpoints have {network}: {dump:#?}");
            self.host.ping(address)?;
            ping(if address.is_ipv4() { self.host.v4() } else { self.host.v6() })?;
        }
        Ok(())
    }
}

/// The addresses of a result of CNI version 0.3.0 or later.
pub fn addresses(result: &Value) -> Result<Vec<IpAddr>> {
    let ips = result["ips"].as_array().with_context(|| format!("no ips in {result}"))?;
    ips.iter()
        .map(|ip| {
            let text = ip["address"].as_str().context("no address")?;
            Ok(text.parse::<IpNet>().with_context(|| text.to_owned())?.addr())
        })
        .collect()
}
