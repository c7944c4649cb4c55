//! `calicoctl container`: wires running containers that no runtime wires (`reference/calicoctl.md`
//! section 2.2). The wiring itself is the network plugin's.

mod find;
mod profiles;

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Subcommand;
use cni::code;
use cni_calico::by_hand::{Ask, ByHand, ByHandError};
use cni_ipam::datastore;
use ipnet::IpNet;
use libcalico::client::Client;
use libcalico::ipam::{Allocator, PoolRef};
use libcalico::names::{is_valid_interface_name, is_valid_name};
use libcalico::resources::{IpPool, IpPoolSpec};
use nix::unistd::Uid;

use crate::commands::Outcome;
use crate::context::Context;
use crate::this_node;
use find::{Container, Lookup};

/// The spelling of the early documents.
pub const GRAMMAR: &str = "\
CONTAINER: a name or id that docker or podman knows, the number of a process, or the path of a network namespace.
The container may stand in the middle: `container web ip add 10.0.0.9`, `container web endpoint-id show`.";

/// The interface in a container where none is named.
const INTERFACE: &str = "eth1";

/// The exit status of who is not root.
const NOT_ROOT: u8 = 2;

/// The commands of `calicoctl container`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Gives a running container an interface with an address.
    Add {
        /// The container.
        container: String,
        /// An address, or from where to take one: ipv4, ipv6, a pool's CIDR or its name.
        #[arg(value_name = "IP")]
        ip: String,
        /// The name of the interface in the container.
        #[arg(long, default_value = INTERFACE)]
        interface: String,
    },
    /// Takes a container's interface and addresses back.
    Remove {
        /// The container.
        container: String,
        /// Also of a container that is gone.
        #[arg(long)]
        force: bool,
    },
    /// Further addresses of a container.
    #[command(subcommand)]
    Ip(Ip),
    /// The id of a container's endpoint.
    #[command(subcommand)]
    EndpointId(EndpointId),
    /// The profiles of a container's endpoint.
    #[command(subcommand)]
    Profile(profiles::Command),
}

/// The commands of `calicoctl container C ip`.
#[derive(Debug, Subcommand)]
pub enum Ip {
    /// Gives a container one more address.
    Add {
        /// The container.
        container: String,
        /// An address, or from where to take one: ipv4, ipv6, a pool's CIDR or its name.
        #[arg(value_name = "IP")]
        ip: String,
        /// The name of the interface in the container, where it has several.
        #[arg(long)]
        interface: Option<String>,
    },
    /// Takes an address from a container.
    Remove {
        /// The container.
        container: String,
        /// The address.
        #[arg(value_name = "IP")]
        ip: IpAddr,
        /// The name of the interface in the container, where it has several.
        #[arg(long)]
        interface: Option<String>,
    },
}

/// The commands of `calicoctl container C endpoint-id`.
#[derive(Debug, Subcommand)]
pub enum EndpointId {
    /// Prints it.
    Show {
        /// The container.
        container: String,
    },
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    let needs_root =
        matches!(command, Command::Add { .. } | Command::Remove { .. } | Command::Ip(_));
    if needs_root && !Uid::effective().is_root() {
        eprintln!("This command must be run as root.");
        return Ok(ExitCode::from(NOT_ROOT));
    }
    match command {
        Command::Add { container, ip, interface } => add(&container, &ip, &interface, context),
        Command::Remove { container, force } => remove(&container, force, context),
        Command::Ip(Ip::Add { container, ip, interface }) => {
            add_address(&container, &ip, interface.as_deref(), context)
        }
        Command::Ip(Ip::Remove { container, ip, interface }) => {
            remove_address(&container, ip, interface.as_deref(), context)
        }
        Command::EndpointId(EndpointId::Show { container }) => {
            profiles::endpoint_id(&container, context)
        }
        Command::Profile(command) => profiles::run(command, context),
    }
}

fn add(name: &str, ip: &str, interface: &str, context: &Context) -> Outcome {
    if !is_valid_interface_name(interface) || !is_valid_name(interface) {
        bail!(
            "interface {interface:?} can't be in the name of an endpoint: use 1 to 15 lower-case \
             letters, digits, '-' and '.'"
        );
    }
    let container = find::running(name)?;
    let client = context.client_of_first_write()?;
    let wired = context.block_on(async {
        let by_hand = by_hand(&client, &container.id)?;
        by_hand.ensure_new().await.map_err(|error| explain(name, error))?;
        let ask = ask(&client, ip, context).await?;
        let label = container.label();
        let added = by_hand.add(&container.netns, interface, &ask, label).await;
        added.map_err(|error| explain(name, error))
    })?;
    let mut out = std::io::stdout().lock();
    for ip in wired {
        writeln!(out, "IP {ip} added to {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, force: bool, context: &Context) -> Outcome {
    let client = context.client()?;
    let (id, netns) = match find::find(name)? {
        Lookup::Running(Container { id, netns, .. }) => (id, Some(netns)),
        Lookup::HostNetwork(id) | Lookup::Stopped(id) => (id, None),
        Lookup::Unknown(_) if force => {
            (context.block_on(profiles::remembered(&client, name, context))?, None)
        }
        Lookup::Unknown(reason) => return Err(reason.not_found(name)),
    };
    let removed = context.block_on(async {
        let by_hand = by_hand(&client, &id)?;
        by_hand.remove(netns.as_deref()).await.map_err(|error| explain(name, error))
    })?;
    if !removed {
        bail!("Container {name} is unknown to Calico.");
    }
    writeln!(std::io::stdout().lock(), "Removed Calico interface from {name}")?;
    Ok(ExitCode::SUCCESS)
}

fn add_address(name: &str, ip: &str, interface: Option<&str>, context: &Context) -> Outcome {
    let container = find::running(name)?;
    let client = context.client()?;
    let ip = context.block_on(async {
        let by_hand = by_hand(&client, &container.id)?;
        let endpoints = by_hand.endpoints().await.map_err(|error| explain(name, error))?;
        if endpoints.is_empty() {
            return Err(explain(name, ByHandError::NotAttached));
        }
        let ask = ask(&client, ip, context).await?;
        let added = by_hand.add_address(&container.netns, interface, &ask).await;
        added.map_err(|error| abort(name, error))
    })?;
    writeln!(std::io::stdout().lock(), "IP {ip} added to {name}")?;
    Ok(ExitCode::SUCCESS)
}

fn remove_address(name: &str, ip: IpAddr, interface: Option<&str>, context: &Context) -> Outcome {
    let container = find::running(name)?;
    let client = context.client()?;
    context.block_on(async {
        let by_hand = by_hand(&client, &container.id)?;
        let removed = by_hand.remove_address(&container.netns, interface, ip).await;
        removed.map_err(|error| abort(name, error))
    })?;
    writeln!(std::io::stdout().lock(), "IP {ip} removed from {name}")?;
    Ok(ExitCode::SUCCESS)
}

/// The container as the plugin's code sees it.
fn by_hand(client: &Client, id: &str) -> anyhow::Result<ByHand> {
    let node = this_node::name()?;
    let embedded = client.store().is_embedded().then_some(node.as_str());
    let datastore = datastore::over(client.store().clone(), embedded);
    Ok(ByHand::new(datastore, &node, id))
}

/// Reads which address is wanted, and refuses one that can't be given.
async fn ask(client: &Client, text: &str, context: &Context) -> anyhow::Result<Ask> {
    let pool = match text {
        "ipv4" => return Ok(Ask::Ipv4(None)),
        "ipv6" => return Ok(Ask::Ipv6(None)),
        text => text,
    };
    let pools = client.list::<IpPoolSpec>(None, context.deadline()).await?.items;
    let usable = pools.iter().filter(|pool| pool.is_enabled());
    let ranges: Vec<(&IpPool, IpNet)> =
        usable.filter_map(|pool| Some((pool, pool.spec.net()?))).collect();
    if let Some(ip) = address(text) {
        let of_pool = ranges.iter().find(|(_, range)| range.contains(&ip));
        let Some((_, range)) = of_pool else {
            bail!("{ip} is not in any configured pools");
        };
        let allocator = Allocator::new(&**client.store());
        if allocator.assignment_attributes(ip, context.deadline()).await.is_ok() {
            bail!("IP address is already assigned in pool {range}");
        }
        return Ok(Ask::This(ip));
    }
    let named = ranges.iter().find(|(known, range)| {
        known.metadata.name == pool
            || pool.parse::<IpNet>().is_ok_and(|cidr| cidr.trunc() == *range)
    });
    match named {
        Some((known, range)) => {
            let pool = Some(PoolRef::Name(known.metadata.name.clone()));
            Ok(if range.addr().is_ipv4() { Ask::Ipv4(pool) } else { Ask::Ipv6(pool) })
        }
        None if pool.parse::<IpNet>().is_ok() => bail!("{pool} is not in any configured pools"),
        None => bail!(
            "{text:?} is no address and no pool: give an address, ipv4, ipv6, or a pool's CIDR"
        ),
    }
}

/// An address, also as a range of one.
fn address(text: &str) -> Option<IpAddr> {
    let net = || text.parse::<IpNet>().ok();
    let host = || net().filter(|net| net.prefix_len() == net.max_prefix_len());
    text.parse().ok().or_else(|| host().map(|net| net.addr()))
}

/// What went wrong, in the words of the early documents where they have some.
fn explain(name: &str, error: ByHandError) -> anyhow::Error {
    match error {
        ByHandError::Attached { .. } => {
            anyhow!("{name} has already been configured with Calico Networking.")
        }
        ByHandError::NotAttached => anyhow!("{name} doesn't contain any endpoints"),
        ByHandError::NotAssigned { .. } => {
            anyhow!("IP address is not assigned to container. Aborting.")
        }
        error => anyhow!("{name}: {error}"),
    }
}

/// The same of a change of addresses, which says on which side it failed.
fn abort(name: &str, error: ByHandError) -> anyhow::Error {
    let ByHandError::Fault(fault) = &error else { return explain(name, error) };
    match fault.code {
        code::DATAPLANE | code::HOST_ROUTE_CONFLICT => {
            anyhow!("Error updating networking in container. Aborting. {name}: {fault}")
        }
        code::DATASTORE_WRITE | code::TRY_AGAIN_LATER => {
            anyhow!("Error updating datastore. Aborting. {name}: {fault}")
        }
        _ => explain(name, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_a_range_of_one() {
        assert_eq!(address("10.0.0.1"), "10.0.0.1".parse().ok());
        assert_eq!(address("10.0.0.1/32"), "10.0.0.1".parse().ok());
        assert_eq!(address("fd00::1/128"), "fd00::1".parse().ok());
        assert_eq!(address("10.0.0.0/16"), None);
        assert_eq!(address("ipv4"), None);
    }
}
