//! `calicoctl pool`: IPPools by their CIDRs (`reference/calicoctl.md` sections 1.1 and 2.5).

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};
use libcalico::resources::{AnyResource, EncapMode, IpPool, IpPoolSpec, Kind};
use serde_json::json;

use super::{edit, table};
use crate::commands::v1_names;
use crate::commands::{Outcome, delete};
use crate::context::Context;

/// The commands of `calicoctl pool`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adds pools, or changes the options of those that are there.
    Add {
        /// Ranges like 192.168.0.0/16.
        #[arg(required = true, value_name = "CIDR")]
        cidrs: Vec<IpNet>,
        #[command(flatten)]
        options: Options,
    },
    /// Removes pools. Addresses that are in use stay in use.
    Remove {
        /// Ranges of pools.
        #[arg(required = true, value_name = "CIDR")]
        cidrs: Vec<IpNet>,
    },
    /// Shows the pools.
    Show(Families),
    /// Pools of a range that is no CIDR.
    #[command(subcommand)]
    Range(Range),
}

/// The commands of `calicoctl pool range`.
#[derive(Debug, Subcommand)]
pub enum Range {
    /// Adds the pools that make up a range.
    Add {
        /// The first address.
        start: IpAddr,
        /// The last address.
        end: IpAddr,
        #[command(flatten)]
        options: Options,
    },
}

/// What a pool does with packets.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Packets between nodes travel in IPIP.
    #[arg(long)]
    ipip: bool,
    /// Packets that leave the pools get the node's address.
    #[arg(long)]
    nat_outgoing: bool,
}

/// Which families are shown: both, unless one is named.
#[derive(Debug, Clone, Copy, Args)]
pub struct Families {
    /// IPv4 only.
    #[arg(long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only.
    #[arg(long)]
    ipv6: bool,
}

impl Families {
    /// Their numbers.
    pub fn numbers(self) -> Vec<u8> {
        match (self.ipv4, self.ipv6) {
            (true, _) => vec![4],
            (_, true) => vec![6],
            _ => vec![4, 6],
        }
    }
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Add { cidrs, options } => {
            let cidrs: Vec<IpNet> = cidrs.iter().map(IpNet::trunc).collect();
            add(&cidrs, options, false, context)
        }
        Command::Range(Range::Add { start, end, options }) => {
            add(&cover(start, end)?, options, true, context)
        }
        Command::Remove { cidrs } => remove(&cidrs, context),
        Command::Show(families) => show(families, context),
    }
}

/// `is_range`: pools that are there already are in the way.
fn add(cidrs: &[IpNet], options: Options, is_range: bool, context: &Context) -> Outcome {
    if options.ipip && cidrs.iter().any(|cidr| cidr.addr().is_ipv6()) {
        bail!("IP in IP not supported for IPv6 pools");
    }
    let client = context.client_of_first_write()?;
    context.block_on(async {
        let pools = client.list::<IpPoolSpec>(None, context.deadline()).await?.items;
        // A range is added as a whole: looked at before anything is written.
        if is_range {
            for pool in &pools {
                let Some(net) = pool.spec.net() else { continue };
                if let Some(cidr) = cidrs.iter().find(|cidr| overlap(cidr, &net)) {
                    bail!("Cannot add range - {cidr} overlaps with pool {net}");
                }
            }
        }
        for cidr in cidrs {
            match pools.iter().find(|pool| pool.spec.net() == Some(*cidr)) {
                Some(pool) => {
                    let name = &pool.metadata.name;
                    let set = |pool: &mut IpPool| -> anyhow::Result<()> {
                        options.set(&mut pool.spec);
                        pool.spec.disabled = false;
                        Ok(())
                    };
                    edit::change(&client, "", name, context.deadline(), set).await?;
                }
                None => {
                    let mut pool =
                        IpPool::new(v1_names::range(&cidr.to_string()), IpPoolSpec::default());
                    pool.spec.cidr = cidr.to_string();
                    pool.spec.block_size = block_size(cidr);
                    options.set(&mut pool.spec);
                    edit::create(&client, pool, context.deadline()).await?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Options {
    fn set(self, spec: &mut IpPoolSpec) {
        spec.nat_outgoing = self.nat_outgoing;
        spec.ipip_mode = Some(if self.ipip { EncapMode::Always } else { EncapMode::Never });
        spec.vxlan_mode = Some(EncapMode::Never);
    }
}

/// Blocks have the usual size, or that of a pool which is smaller.
fn block_size(cidr: &IpNet) -> i64 {
    let usual = if cidr.addr().is_ipv4() { 26 } else { 122 };
    usual.max(cidr.prefix_len()).into()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// The fewest CIDRs that make up a range.
fn cover(start: IpAddr, end: IpAddr) -> anyhow::Result<Vec<IpNet>> {
    match (start, end) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ok(Ipv4Subnets::new(first, last, 0).map(|net: Ipv4Net| net.into()).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ok(Ipv6Subnets::new(first, last, 0).map(|net: Ipv6Net| net.into()).collect())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            bail!("{start} and {end} are of different families")
        }
        _ => bail!("Invalid range - the first address {start} is greater than the last {end}"),
    }
}

fn remove(cidrs: &[IpNet], context: &Context) -> Outcome {
    let client = context.client()?;
    context.block_on(async {
        let pools = client.list::<IpPoolSpec>(None, context.deadline()).await?.items;
        let mut unknown = Vec::new();
        for cidr in cidrs.iter().map(IpNet::trunc) {
            match pools.iter().find(|pool| pool.spec.net() == Some(cidr)) {
                Some(pool) => {
                    let pool = AnyResource::new(Kind::IpPool, &pool.metadata.name, json!({}));
                    delete::delete(context, &client, pool).await?;
                }
                None => unknown.push(format!("{cidr} is not a configured pool.")),
            }
        }
        match unknown.is_empty() {
            true => Ok(ExitCode::SUCCESS),
            false => bail!(unknown.join("\n")),
        }
    })
}

fn show(families: Families, context: &Context) -> Outcome {
    let client = context.client()?;
    let pools = context
        .block_on(async { Ok(client.list::<IpPoolSpec>(None, context.deadline()).await?.items) })?;
    let mut out = std::io::stdout().lock();
    for number in families.numbers() {
        let of_family = pools.iter().filter_map(|pool| {
            let net = pool.spec.net()?;
            (net.addr().is_ipv4() == (number == 4)).then(|| [net.to_string(), options(&pool.spec)])
        });
        let heading = format!("IPv{number} CIDR");
        write!(out, "{}", table::centred([&heading, "Options"], of_family.collect()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The options of a pool; also those that the early commands could not set.
fn options(spec: &IpPoolSpec) -> String {
    let mut options = Vec::new();
    for (mode, always, cross) in [
        (&spec.ipip_mode, "ipip", "ipip-cross-subnet"),
        (&spec.vxlan_mode, "vxlan", "vxlan-cross-subnet"),
    ] {
        match mode {
            Some(EncapMode::Always) => options.push(always),
            Some(EncapMode::CrossSubnet) => options.push(cross),
            _ => {}
        }
    }
    if spec.nat_outgoing {
        options.push("nat-outgoing");
    }
    if spec.disabled {
        options.push("disabled");
    }
    options.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_covered_by_the_fewest_pools() {
        let covered = |start: &str, end: &str| -> Vec<String> {
            let nets = cover(start.parse().unwrap(), end.parse().unwrap()).unwrap();
            nets.iter().map(ToString::to_string).collect()
        };
        assert_eq!(covered("10.0.0.0", "10.0.1.127"), ["10.0.0.0/24", "10.0.1.0/25"]);
        assert_eq!(covered("10.0.0.5", "10.0.0.6"), ["10.0.0.5/32", "10.0.0.6/32"]);
        assert_eq!(covered("fd00::", "fd00::ff"), ["fd00::/120"]);
        for (start, end) in [("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "fd00::1")] {
            assert!(cover(start.parse().unwrap(), end.parse().unwrap()).is_err());
        }
    }

    #[test]
    fn a_small_pool_is_one_block() {
        let size = |cidr: &str| block_size(&cidr.parse().unwrap());
        assert_eq!((size("10.0.0.0/16"), size("10.0.0.0/28")), (26, 28));
        assert_eq!((size("fd00::/64"), size("fd00::/126")), (122, 126));
    }

    #[test]
    fn every_option_is_told() {
        let mut spec = IpPoolSpec::default();
        assert_eq!(options(&spec), "");
        Options { ipip: true, nat_outgoing: true }.set(&mut spec);
        assert_eq!(options(&spec), "ipip,nat-outgoing");
        spec.ipip_mode = None;
        spec.vxlan_mode = Some(EncapMode::CrossSubnet);
        spec.disabled = true;
        assert_eq!(options(&spec), "vxlan-cross-subnet,nat-outgoing,disabled");
    }
}
