//! In which namespace a resource is (`reference/calicoctl.md` section 3.5).

use anyhow::bail;
use clap::Args;
use libcalico::resources::{AnyResource, Kind};

/// The namespace of what says none itself.
pub const DEFAULT: &str = "default";

/// The flag that names a namespace.
#[derive(Debug, Args)]
pub struct Namespace {
    /// The namespace of the resources.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

impl Namespace {
    /// The namespace of resources that the command line names: empty for kinds without.
    pub fn of(&self, kind: Kind) -> anyhow::Result<&str> {
        match (kind.namespaced(), &self.namespace) {
            (true, namespace) => Ok(namespace.as_deref().unwrap_or(DEFAULT)),
            (false, None) => Ok(""),
            (false, Some(_)) => bail!("{} is not namespaced", kind.name()),
        }
    }

    /// Fills in the namespace of a resource out of a file.
    pub fn settle(&self, resource: &mut AnyResource) -> anyhow::Result<()> {
        let kind = resource.kind;
        let namespace = &mut resource.metadata.namespace;
        if !kind.namespaced() {
            if !namespace.is_empty() {
                bail!(
                    "namespace should not be specified for a non-namespaced resource. {} is not \
                     a namespaced resource",
                    kind.name()
                );
            }
            return Ok(());
        }
        match &self.namespace {
            Some(asked) if !namespace.is_empty() && namespace != asked => {
                bail!("resource namespace does not match client namespace. {namespace} != {asked}")
            }
            asked if namespace.is_empty() => {
                *namespace = asked.as_deref().unwrap_or(DEFAULT).to_owned();
            }
            _ => {}
        }
        Ok(())
    }
}
