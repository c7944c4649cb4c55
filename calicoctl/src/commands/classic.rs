//! The commands of Calico's early documents, as front ends over today's resources
//! (`reference/calicoctl.md` sections 1.1, 1.2 and 2).

mod bgp;
mod config;
mod container;
mod edit;
mod endpoint;
mod node_stop;
mod obsolete;
pub mod peer;
mod pool;
mod profile;
mod table;
mod words;

use clap::Subcommand;

use super::Outcome;
use crate::context::Context;

pub use node_stop::NodeStop;
pub use words::in_order;

/// The commands of `calicoctl node bgp`.
#[derive(Debug, Subcommand)]
pub enum NodeBgp {
    /// BGP peers of this node alone.
    #[command(subcommand)]
    Peer(peer::Command),
}

/// The classic commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Wires running containers that were started without a network.
    #[command(subcommand, after_help = container::GRAMMAR)]
    Container(container::Command),
    /// The endpoints of containers, and their profiles.
    #[command(subcommand, after_help = endpoint::GRAMMAR)]
    Endpoint(endpoint::Command),
    /// Profiles: the tags and rules that endpoints share.
    #[command(subcommand, after_help = profile::GRAMMAR)]
    Profile(profile::Command),
    /// Pools of addresses.
    #[command(subcommand)]
    Pool(pool::Command),
    /// BGP: peers of every node, the mesh, the AS number.
    #[command(subcommand)]
    Bgp(bgp::Command),
    /// BGP peers of every node.
    #[command(subcommand)]
    Bgppeer(peer::Command),
    /// Prints whether every node peers with every other one, or sets it.
    BgpNodeMesh(bgp::Mesh),
    /// Prints the AS number of nodes that have none of their own, or sets it.
    DefaultNodeAs(bgp::DefaultAs),
    /// Settings of the cluster or of one node.
    #[command(subcommand)]
    Config(config::Command),
    #[command(flatten)]
    Obsolete(obsolete::Command),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Container(command) => container::run(command, context),
        Command::Endpoint(command) => endpoint::run(command, context),
        Command::Profile(command) => profile::run(command, context),
        Command::Pool(command) => pool::run(command, context),
        Command::Bgp(command) => bgp::run(command, context),
        Command::Bgppeer(command) => peer::run(command, peer::Scope::Global, context),
        Command::BgpNodeMesh(mesh) => mesh.run(context),
        Command::DefaultNodeAs(number) => number.run(context),
        Command::Config(command) => config::run(command, context),
        Command::Obsolete(command) => obsolete::run(command, context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// What clap finds wrong with the table, it says when the command is used.
    #[test]
    fn the_table_of_commands_is_sound() {
        crate::cli::Cli::command().debug_assert();
    }
}
