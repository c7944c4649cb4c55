//! `calicoctl validate`: checks resources without a datastore (`reference/calicoctl.md` section
//! 4.8).

use clap::Args;
use libcalico::client::prepare_create;
use libcalico::clock;
use libcalico::resources::AnyResource;
use uuid::Uuid;

use super::Outcome;
use super::batch::{self, Batch, Verb};
use super::namespace::Namespace;
use crate::input::Files;

/// Flags of `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    namespace: Namespace,
}

impl Validate {
    /// Checks the resources of the files.
    pub fn run(self) -> Outcome {
        let Some(mut resources) = self.files.read()? else { return batch::nothing() };
        resources.iter_mut().try_for_each(|resource| self.namespace.settle(resource))?;
        let mut batch = Batch::of(&resources);
        for resource in resources {
            if let Err(error) = check(resource) {
                batch.failed(error);
            }
        }
        batch.report(Verb { base: "validate", past: "validated" })
    }
}

/// Checks a resource as if it were new. A saved one may name the version that it was of.
fn check(mut resource: AnyResource) -> Result<(), String> {
    resource.metadata.resource_version.clear();
    let checked = prepare_create(&mut resource, clock::now(), Uuid::nil());
    checked.map(drop).map_err(|error| error.to_string())
}
