//! `calicoctl patch`: changes fields of a stored resource (`reference/calicoctl.md` section 4.6).
//!
//! An object is merged into the resource: what it names is replaced, null removes. Calico's lists
//! have no keys to merge by, so that upstream's strategic merge comes to the same. An array is a
//! JSON Patch, which is ours: upstream takes `--type json` and merges.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use libcalico::client::{Client, ErrorKind};
use libcalico::resources::{AnyResource, Kind, Object, ObjectMeta, codec};
use serde_json::Value;

use super::namespace::Namespace;
use super::{Outcome, fault};
use crate::context::Context;
use crate::input;
use crate::kinds::KindInfo;

/// How often a change that somebody else's crossed is made again.
const ATTEMPTS: usize = 5;

/// Arguments of `patch`.
#[derive(Debug, Args)]
pub struct Patch {
    /// The kind of the resource.
    #[arg(value_name = "KIND")]
    kind: String,
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// What to change, as JSON: an object to merge, or a JSON Patch.
    #[arg(short, long, value_name = "PATCH")]
    patch: String,
    /// Upstream's name for the kind of the patch. The patch itself tells what it is.
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "strategic")]
    patch_type: PatchType,
    #[command(flatten)]
    namespace: Namespace,
}

/// The types of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PatchType {
    /// An object to merge.
    Strategic,
    /// An object to merge, or a JSON Patch.
    Json,
    /// An object to merge.
    Merge,
}

/// A patch.
#[derive(Debug)]
enum Change {
    Merge(Value),
    Operations(json_patch::Patch),
}

impl Patch {
    /// Changes the resource.
    pub fn run(self, context: &Context) -> Outcome {
        let kind = KindInfo::named(&self.kind)?.kind;
        let namespace = self.namespace.of(kind)?;
        let change = self.change()?;
        let client = context.client()?;
        context.block_on(self.apply(context, &client, (kind, namespace), &change))?;
        writeln!(std::io::stdout().lock(), "Successfully patched 1 '{}' resource", kind.name())?;
        Ok(ExitCode::SUCCESS)
    }

    fn change(&self) -> anyhow::Result<Change> {
        let patch: Value = serde_json::from_str(&self.patch)
            .map_err(|error| anyhow!("failed to patch: the patch is no JSON: {error}"))?;
        match (&patch, self.patch_type) {
            (Value::Object(_), _) => Ok(Change::Merge(patch)),
            (Value::Array(_), PatchType::Json) => Ok(Change::Operations(
                serde_json::from_value(patch)
                    .map_err(|error| anyhow!("failed to patch: no JSON Patch: {error}"))?,
            )),
            (Value::Array(_), _) => {
                bail!("failed to patch: an array is a JSON Patch: say so with --type json")
            }
            _ => {
                bail!("failed to patch: the patch must be an object, or with --type json an array")
            }
        }
    }

    async fn apply(
        &self,
        context: &Context,
        client: &Client,
        (kind, namespace): (Kind, &str),
        change: &Change,
    ) -> anyhow::Result<()> {
        let failed = |cause: String| anyhow!("failed to patch '{}' resource: {cause}", kind.name());
        let mut attempts = 0;
        loop {
            attempts += 1;
            let read = client.get_any(kind, namespace, &self.name, context.deadline()).await;
            let old = read.map_err(|error| failed(fault::message(&error)))?;
            let new = patched(&old, change).map_err(failed)?;
            match client.update(new, context.deadline()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict && attempts < ATTEMPTS => {}
                Err(error) => return Err(failed(fault::message(&error))),
            }
        }
    }
}

/// The resource with the change. Its identity stays.
fn patched(old: &AnyResource, change: &Change) -> Result<AnyResource, String> {
    let mut value: Value =
        serde_json::from_slice(&codec::encode(old)).map_err(|error| error.to_string())?;
    match change {
        Change::Merge(patch) => json_patch::merge(&mut value, patch),
        Change::Operations(patch) => {
            json_patch::patch(&mut value, patch).map_err(|error| error.to_string())?;
        }
    }
    let new = input::resource(value)?;
    if new.key() != old.key() {
        return Err("a patch can't change kind, name or namespace".to_owned());
    }
    let metadata = ObjectMeta {
        labels: new.metadata.labels,
        annotations: new.metadata.annotations,
        ..old.metadata.clone()
    };
    Ok(AnyResource { metadata, ..new })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool() -> AnyResource {
        let spec = json!({"cidr": "10.65.0.0/16", "allowedUses": ["Workload", "Tunnel"]});
        let mut pool = AnyResource::new(Kind::IpPool, "a", spec);
        pool.metadata.uid = "u".to_owned();
        pool.metadata.set_revision(7);
        pool
    }

    #[test]
    fn a_merge_replaces_lists_and_removes_what_is_null() {
        let patch = json!({"metadata": {"labels": {"x": "y"}, "uid": "other"},
            "spec": {"allowedUses": ["Tunnel"], "cidr": null, "natOutgoing": true}});
        let new = patched(&pool(), &Change::Merge(patch)).unwrap();
        assert_eq!(new.spec, json!({"allowedUses": ["Tunnel"], "natOutgoing": true}));
        assert_eq!(new.metadata.labels["x"], "y");
        assert_eq!((new.metadata.uid.as_str(), new.metadata.revision()), ("u", Some(7)));
    }

    #[test]
    fn a_json_patch_is_a_list_of_operations() {
        let operations = |value| Change::Operations(serde_json::from_value(value).unwrap());
        let patch = operations(json!([
            {"op": "test", "path": "/spec/cidr", "value": "10.65.0.0/16"},
            {"op": "add", "path": "/spec/allowedUses/0", "value": "LoadBalancer"},
        ]));
        let new = patched(&pool(), &patch).unwrap();
        assert_eq!(new.spec["allowedUses"][0], "LoadBalancer");
        let refused = operations(json!([{"op": "remove", "path": "/spec/nothing"}]));
        assert!(patched(&pool(), &refused).is_err());
    }

    #[test]
    fn the_identity_stays() {
        let patch = Change::Merge(json!({"metadata": {"name": "b"}}));
        let error = patched(&pool(), &patch).unwrap_err();
        assert_eq!(error, "a patch can't change kind, name or namespace");
    }
}
