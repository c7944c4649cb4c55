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
use crate::objects::{self, Object};
use crate::plugin::Call;
use crate::pod::Pod;
use crate::scene::Scene;
use crate::store::Stores;

/// The name of the only host of a network.
const NODE: &str = "node-a";

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The local store of a host.
    Local,
    /// An etcd.
    Etcd,
}

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

    /// A network on a store of this kind, with dual stack and a pool of each family.
    pub fn dual_stack(scene: &Scene, backend: Backend) -> Result<Network> {
        let mut network = match backend {
            Backend::Local => Network::standalone(scene)?,
            Backend::Etcd => Network::etcd(scene)?,
        };
        let ipam = &mut network.conflist["plugins"][0]["ipam"];
        ipam["assign_ipv4"] = json!("true");
        ipam["assign_ipv6"] = json!("true");
        Ok(network)
    }

    /// `conf/etcd-tls.conflist`: the same over TLS with a client's certificate.
    pub fn etcd_tls(scene: &Scene) -> Result<Network> {
        Network::on_etcd(scene, "etcd-tls", EtcdMode::Tls)
    }

    /// `conf/etcd.conflist`, on an etcd whose clients need a user and a password. Those are for the
    /// call's environment: see [`EtcdMode::Password`].
    pub fn etcd_with_password(scene: &Scene) -> Result<Network> {
        Network::on_etcd(scene, "etcd", EtcdMode::Password)
    }

    fn on_etcd(scene: &Scene, conf: &str, mode: EtcdMode) -> Result<Network> {
        let host = scene.host(NODE)?;
        // As calico/node writes it.
        host.write("/var/lib/calico/nodename", NODE)?;
        let etcd = Etcd::start(&host, mode)?;
        let network =
            Network { host, conflist: conflist(conf)?, store: Stores::Etcd(etcd.clone()) };
        let objects = [
            objects::cluster(true),
            objects::node(NODE),
            objects::pool("pool-a", "10.65.0.0/16", 26),
            objects::pool("pool-v6", "fd00:65::/64", 122),
        ];
        for (key, object) in objects {
            etcd.put(&key, &object.to_string())?;
        }
        Ok(network)
    }

    /// A host with a store of this kind, which an operator has set up: the cluster is ready and the
    /// node is known, but there is no pool.
    pub fn without_pools(scene: &Scene, backend: Backend) -> Result<Network> {
        let host = scene.host(NODE)?;
        let (store, conf) = match backend {
            Backend::Local => (Stores::Local(host.clone()), "standalone"),
            Backend::Etcd => {
                host.write("/var/lib/calico/nodename", NODE)?;
                (Stores::Etcd(Etcd::start(&host, EtcdMode::Plain)?), "etcd")
            }
        };
        let mut network = Network { host, conflist: conflist(conf)?, store };
        // One address family, unless a test says otherwise.
        network.conflist["plugins"][0]["ipam"] = json!({"type": "calico-ipam"});
        network.put([objects::cluster(true), objects::node(NODE)])?;
        Ok(network)
    }

    /// Writes objects into the store.
    pub fn put(&self, objects: impl IntoIterator<Item = Object>) -> Result<()> {
        let objects: Vec<_> =
            objects.into_iter().map(|(key, object)| (key, Some(object))).collect();
        self.store.write(&objects)
    }

    /// Removes a document from the store.
    pub fn remove(&self, key: &str) -> Result<()> {
        self.store.write(&[(key.to_owned(), None)])
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

    /// A call of `calico-ipam` with this network's configuration and a namespace that doesn't exist:
    /// it has no use for one.
    pub fn ipam(&self, verb: &str) -> Result<Call> {
        let call = Call::new(&self.host, "calico-ipam", verb).config(&self.config()?);
        Ok(call.env("CNI_NETNS", "/run/netns/nowhere"))
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
        for address in addresses {
            ensure!(
                pools.iter().any(|pool| pool.contains(address)),
                "{address} is in none of the pools {pools:?}"
            );
        }
        self.check_endpoint(addresses, ping)
    }

    /// The same for addresses that are in no pool of ours.
    pub fn check_pod_of(&self, addresses: &[IpAddr], pod: &Pod) -> Result<()> {
        self.check_endpoint(addresses, |to| pod.ping(to))
    }

    fn check_endpoint(
        &self,
        addresses: &[IpAddr],
        ping: impl Fn(IpAddr) -> Result<()>,
    ) -> Result<()> {
        let dump = self.store.dump()?;
        for &address in addresses {
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
