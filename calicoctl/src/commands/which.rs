//! Which resources a command is about: those of a file, or those that the command line names.

use anyhow::bail;
use clap::Args;
use libcalico::resources::{AnyResource, Kind, Object};
use serde_json::json;

use super::namespace::Namespace;
use crate::input::Files;
use crate::kinds::KindInfo;

/// Arguments that say which.
#[derive(Debug, Args)]
pub struct Which {
    /// The kind of the resources.
    #[arg(value_name = "KIND", conflicts_with = "filename")]
    kind: Option<String>,
    /// Their names.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    pub namespace: Namespace,
}

impl Which {
    /// The kind on the command line. Without one there must be a file; `verb` is what would be done
    /// with its resources.
    pub fn kind(&self, verb: &str) -> anyhow::Result<Option<Kind>> {
        match &self.kind {
            Some(kind) => Ok(Some(KindInfo::named(kind)?.kind)),
            None if self.files.filename.is_some() => Ok(None),
            None => bail!("nothing to {verb}: name a KIND, or a file with -f FILE"),
        }
    }

    /// The resources of the file; nothing when there are none and that is fine.
    pub fn of_file(&self) -> anyhow::Result<Option<Vec<AnyResource>>> {
        let Some(mut resources) = self.files.read()? else { return Ok(None) };
        for resource in &mut resources {
            self.namespace.settle(resource)?;
            // An endpoint may come without its name, which is computed.
            resource.default_on_write();
        }
        Ok(Some(resources))
    }

    /// The resources that the command line names. Of each only kind, namespace and name count.
    pub fn named(&self, kind: Kind) -> anyhow::Result<Vec<AnyResource>> {
        let namespace = self.namespace.of(kind)?;
        let named = |name: &String| {
            if name.is_empty() {
                bail!("resource name may not be empty");
            }
            let mut resource = AnyResource::new(kind, name, json!({}));
            resource.metadata.namespace = namespace.to_owned();
            Ok(resource)
        };
        self.names.iter().map(named).collect()
    }
}
