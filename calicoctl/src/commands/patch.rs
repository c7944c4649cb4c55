//! `calicoctl patch`: changes fields of a stored resource (`reference/calicoctl.md` section 4.6).
//!
//! An object is merged into the resource: what it names is replaced, null removes. Calico's lists
//! have no keys to merge by, so that upstream's strategic merge comes to the same. An array is a
//! JSON Patch, which is ours: upstream takes `--type json` and merges.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use libcalico::client::ClientError;
use libcalico::resources::{AnyResource, Object, ObjectMeta, codec, schema};
use serde_json::Value;

use super::namespace::Namespace;
use super::{Outcome, change, fault};
use crate::context::Context;
use crate::kinds::KindInfo;

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
        let patch = self.parse()?;
        let client = context.client()?;
        let id = (kind, namespace, self.name.as_str());
        let patched = change::change(context, &client, id, |old| patched(&old, &patch));
        context.block_on(async {
            patched.await.map_err(|error| {
                let cause = match error.downcast_ref::<ClientError>() {
                    Some(error) => fault::message(error),
                    None => error.to_string(),
                };
                anyhow!("failed to patch '{}' resource: {cause}", kind.name())
            })
        })?;
        writeln!(std::io::stdout().lock(), "Successfully patched 1 '{}' resource", kind.name())?;
        Ok(ExitCode::SUCCESS)
    }

    fn parse(&self) -> anyhow::Result<Change> {
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
}

/// The resource with the change. Its identity stays.
fn patched(old: &AnyResource, change: &Change) -> anyhow::Result<AnyResource> {
    let stored: Value = serde_json::from_slice(&codec::encode(old))?;
    let mut value = stored.clone();
    match change {
        Change::Merge(patch) => json_patch::merge(&mut value, patch),
        Change::Operations(patch) => json_patch::patch(&mut value, patch)?,
    }
    // What a newer release has stored, and we don't know, is no mistake in the patch.
    let new = match schema::read(stored) {
        Ok(_) => schema::read(value)?,
        Err(_) => schema::read_stored(value)?,
    };
    if new.key() != old.key() {
        bail!("a patch can't change kind, name or namespace");
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
    use libcalico::resources::Kind;
    use serde_json::json;

    use super::*;

    fn pool() -> AnyResource {
        let spec = json!({"cidr": "10.65.0.0/16", "disabled": true,
            "allowedUses": ["Workload", "Tunnel"]});
        let mut pool = AnyResource::new(Kind::IpPool, "a", spec);
        pool.metadata.uid = "u".to_owned();
        pool.metadata.set_revision(7);
        pool
    }

    #[test]
    fn a_merge_replaces_lists_and_removes_what_is_null() {
        let patch = json!({"metadata": {"labels": {"x": "y"}, "uid": "other"},
            "spec": {"allowedUses": ["Tunnel"], "disabled": null, "natOutgoing": true}});
        let new = patched(&pool(), &Change::Merge(patch)).unwrap();
        let spec = json!({"cidr": "10.65.0.0/16", "natOutgoing": true, "allowedUses": ["Tunnel"]});
        assert_eq!(new.spec, spec);
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
        assert_eq!(error.to_string(), "a patch can't change kind, name or namespace");
    }
}
