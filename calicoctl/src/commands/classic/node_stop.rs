//! `calicoctl node stop`: takes this node out of the cluster (`reference/calicoctl.md` section 1.1).

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use libcalico::resources::WorkloadEndpointSpec;

use crate::commands::Outcome;
use crate::context::Context;
use crate::this_node;

/// `node stop`.
#[derive(Debug, Args)]
pub struct NodeStop {
    /// Although containers run here: their endpoints and addresses go with the node.
    #[arg(long)]
    force: bool,
}

impl NodeStop {
    /// Deletes the Node with all that belongs to it, unless containers live by it.
    pub fn run(self, context: &Context) -> Outcome {
        let node = this_node::name()?;
        let client = context.client()?;
        let deleted = context.block_on(async {
            let deadline = context.deadline();
            let endpoints = client.list::<WorkloadEndpointSpec>(None, deadline).await?.items;
            let here = endpoints.iter().filter(|endpoint| endpoint.spec.node == node).count();
            if here > 0 && !self.force {
                bail!(
                    "node {node} has {here} active endpoints: remove the containers first, or use \
                     --force"
                );
            }
            Ok(client.delete_node(&node, None, deadline).await?)
        })?;
        match deleted {
            Some(_) => writeln!(std::io::stdout().lock(), "Node {node} is out of the cluster")?,
            None => bail!("node {node} is unknown to Calico"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
