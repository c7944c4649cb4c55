//! One test on every kind of store, and what such a test says and changes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::Host;
use crate::network::{Backend, Network};
use crate::plugin::Call;
use crate::pod::Pod;
use crate::scene::{Scene, scene};
use crate::store::Stores;

/// Where resources are.
pub const RESOURCES: &str = "/calico/resources/v3/projectcalico.org";

/// Plays a test of containers on one kind of store after the other: each time a
/// [`Network::dual_stack`] on a host of its own.
pub fn on_each_store(name: &str, body: impl Fn(&mut Network) -> Result<()>) {
    for backend in [Backend::Local, Backend::Etcd] {
        on_store(name, backend, |scene| body(&mut Network::dual_stack(scene, backend)?));
    }
}

/// Makes tests of each function, for an operator's command on a store without pools:
/// `local::<name>` and `etcd::<name>`. The functions get a [`Network::without_pools`].
#[macro_export]
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod local {
            $(#[test]
            fn $name() {
                $crate::play(stringify!($name), $crate::Backend::Local, super::$name);
            })*
        }
        mod etcd {
            $(#[test]
            fn $name() {
                $crate::play(stringify!($name), $crate::Backend::Etcd, super::$name);
            })*
        }
    };
}

/// Plays a test on a host with a store of this kind, which has no pools.
pub fn play(name: &str, backend: Backend, body: fn(&Network) -> Result<()>) {
    on_store(name, backend, |scene| body(&Network::without_pools(scene, backend)?));
}

fn on_store(name: &str, backend: Backend, body: impl FnOnce(&Scene) -> Result<()>) {
    scene(&format!("{name}-{backend:?}").to_lowercase(), body);
}

impl Network {
    /// A call for a container with one more member in the configuration.
    pub fn call_with(&self, verb: &str, member: &str, value: &Value) -> Result<Call> {
        let mut config = self.config()?;
        config[member] = value.clone();
        Ok(self.call(verb)?.config(&config))
    }

    /// CHECK of a container with the result of its ADD.
    pub fn check(&self, pod: &Pod, id: &str, result: &Value) -> Result<Call> {
        let mut call = self.call_with("CHECK", "prevResult", result)?;
        call = call.container(id).pod(pod);
        let ifname = result["interfaces"].as_array().and_then(|list| list.last());
        Ok(match ifname.and_then(|link| link["name"].as_str()) {
            Some(name) => call.ifname(name),
            None => call,
        })
    }

    /// Attaches a container to `eth0`; the result.
    pub fn add(&self, pod: &Pod, id: &str) -> Result<Value> {
        self.call("ADD")?.container(id).pod(pod).result()
    }

    /// Detaches a container from `eth0`.
    pub fn del(&self, pod: &Pod, id: &str) -> Result<()> {
        self.call("DEL")?.container(id).pod(pod).done()
    }
}

impl Host {
    /// Puts an executable file where the plugins are, over one of that name that a test has put
    /// there.
    pub fn install(&self, name: &str, script: impl AsRef<[u8]>) -> Result<()> {
        let inside = format!("/opt/cni/bin/{name}");
        self.write(&inside, script)?;
        fs::set_permissions(self.path(&inside), Permissions::from_mode(0o755))?;
        Ok(())
    }
}

impl Stores {
    /// Deletes a document.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.write(&[(key.to_owned(), None)])
    }

    /// Changes a document that is there.
    pub fn change(&self, key: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut dump = self.dump()?;
        let value = dump.0.get_mut(key).with_context(|| format!("{key} is not there"))?;
        change(value);
        self.put(key, &value.to_string())
    }

    /// The key and value of the only endpoint whose name ends so.
    pub fn endpoint(&self, suffix: &str) -> Result<(String, Value)> {
        let dump = self.dump()?;
        let folder = format!("{RESOURCES}/workloadendpoints/");
        let found: Vec<_> = dump.under(&folder).filter(|(key, _)| key.ends_with(suffix)).collect();
        ensure!(found.len() == 1, "endpoints named {suffix}: {found:#?}");
        Ok((found[0].0.to_owned(), found[0].1.clone()))
    }
}

/// A result without its routes, which a repeated ADD leaves out.
pub fn without_routes(mut result: Value) -> Value {
    if let Some(object) = result.as_object_mut() {
        object.remove("routes");
    }
    result
}
