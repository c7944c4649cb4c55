//! `calicoctl ipam show` (`reference/calicoctl.md` 6.1).

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use ipnet::IpNet;
use libcalico::ipam::{
    Allocator, Attributes, BlockUtilization, IpamError, IpamErrorKind, Usage, Utilization,
};
use libcalico::store::AffinityType;
use serde::Serialize;
use serde_json::json;

use super::survey::{self, Survey};
use super::{Format, configure, parse_ip, print_json};
use crate::commands::Outcome;
use crate::context::Context;
use crate::output::bordered::{Align, Bordered};
use crate::progress::doing;

/// Flags of `ipam show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Who has this address.
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// Each block, below its pool.
    #[arg(long)]
    show_blocks: bool,
    /// The addresses that nodes have in blocks of others.
    #[arg(long)]
    show_borrowed: bool,
    /// How addresses are given.
    #[arg(long)]
    show_configuration: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Show {
    /// Shows what the first of the flags says.
    pub fn run(self, context: &Context) -> Outcome {
        if let Some(text) = &self.ip {
            return self.address(parse_ip(text)?, context);
        }
        if self.show_borrowed {
            return self.borrowed(context);
        }
        if self.show_configuration {
            return self.configuration(context);
        }
        self.usage(context)
    }

    fn address(&self, ip: IpAddr, context: &Context) -> Outcome {
        let client = context.client()?;
        let found = context.block_on(async {
            let allocator = Allocator::new(&**client.store());
            match allocator.assignment_attributes(ip, context.deadline()).await {
                Ok(found) => Ok(Some(found)),
                Err(error) if error.kind() == IpamErrorKind::NotFound => Ok(None),
                Err(error @ IpamError::InCooldown { .. }) => Err(error.into()),
                Err(error) => Err(error).with_context(|| format!("failed to look up {ip}")),
            }
        })?;
        if self.output == Format::Json {
            let (active, alternate) = match &found {
                Some(found) => (Some(&found.active), Some(&found.alternate)),
                None => (None, None),
            };
            print_json(&json!({
                "ip": ip,
                "inUse": found.is_some(),
                "handle": found.as_ref().and_then(|found| found.handle.as_ref()),
                "block": found.as_ref().map(|found| found.block.to_string()),
                "sequenceNumber": found.as_ref().map(|found| found.sequence_number),
                "activeOwnerAttributes": active,
                "alternateOwnerAttributes": alternate,
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut out = std::io::stdout().lock();
        let Some(found) = found else {
            writeln!(out, "{ip} is not assigned")?;
            return Ok(ExitCode::SUCCESS);
        };
        writeln!(out, "IP {ip} is in use")?;
        writeln!(out, "Handle ID: {}", found.handle.as_deref().unwrap_or("<none>"))?;
        if found.active.is_empty() {
            writeln!(out, "No Active Owner attributes defined")?;
        } else {
            write_attributes(&mut out, "Active Owner Attributes:", &found.active)?;
        }
        if !found.alternate.is_empty() {
            write_attributes(&mut out, "Alternate Owner Attributes:", &found.alternate)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn configuration(&self, context: &Context) -> Outcome {
        let client = context.client()?;
        let (config, _) = context.block_on(async {
            Ok(Allocator::new(&**client.store()).config(context.deadline()).await?)
        })?;
        if self.output == Format::Json {
            print_json(&configure::describe(&config))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Bordered::new(["PROPERTY", "VALUE"]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("StrictAffinity", config.strict_affinity.to_string());
        row("AutoAllocateBlocks", config.auto_allocate_blocks.to_string());
        row("MaxBlocksPerHost", config.max_blocks_per_host.to_string());
        row("KubeVirtVMAddressPersistence", configure::persistence(&config).to_owned());
        row("IPCooldownSeconds", config.ip_cooldown_seconds.to_string());
        write!(std::io::stdout().lock(), "{table}")?;
        Ok(ExitCode::SUCCESS)
    }

    fn usage(&self, context: &Context) -> Outcome {
        let client = context.client()?;
        let utilization = context.block_on(async {
            let allocator = Allocator::new(&**client.store());
            let read = allocator.utilization(&[], context.deadline());
            Ok(doing("reading the blocks", read).await?)
        })?;
        match self.output {
            Format::Json => print_json(&self.usage_json(&utilization))?,
            Format::Text => {
                write!(std::io::stdout().lock(), "{}", self.usage_table(&utilization))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn usage_table(&self, utilization: &Utilization) -> Bordered {
        let headings = ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS RESERVED", "IPS FREE"];
        let mut table = Bordered::new(headings).column(2..6, Align::Right);
        let mut row = |grouping: &str, cidr: String, usage: &Usage| {
            let share = |part| share(part, usage.capacity);
            table.row([
                grouping.to_owned(),
                cidr,
                short(usage.capacity as f64),
                share(usage.in_use),
                share(usage.reserved),
                share(usage.available),
            ]);
        };
        for pool in &utilization.pools {
            row("IP Pool", pool.cidr.to_string(), &pool.usage);
            if self.show_blocks {
                for block in &pool.blocks {
                    row("Block", block.cidr.to_string(), &block.usage);
                }
            }
        }
        if self.show_blocks {
            // Blocks that lost their pool.
            for block in &utilization.orphans {
                row("Block", block.cidr.to_string(), &block.usage);
            }
        }
        table
    }

    fn usage_json<'a>(&self, utilization: &'a Utilization) -> UsageJson<'a> {
        let block = |block: &'a BlockUtilization| BlockJson {
            cidr: block.cidr,
            affinity: block.affinity.as_deref(),
            usage: block.usage,
        };
        let blocks = |blocks: &'a [BlockUtilization]| {
            self.show_blocks.then(|| blocks.iter().map(block).collect())
        };
        let pools = utilization.pools.iter().map(|pool| PoolJson {
            name: &pool.name,
            cidr: pool.cidr,
            usage: pool.usage,
            blocks: blocks(&pool.blocks),
        });
        UsageJson { pools: pools.collect(), orphans: blocks(&utilization.orphans) }
    }

    fn borrowed(&self, context: &Context) -> Outcome {
        let client = context.client()?;
        let survey = context.block_on(Survey::read(&client, context.deadline()))?;
        let (borrowed, unknown) = borrowed(&survey);
        if self.output == Format::Json {
            print_json(&json!({ "borrowed": borrowed, "withoutNode": unknown }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut table =
            Bordered::new(["IP", "BORROWING-NODE", "BLOCK", "BLOCK OWNER", "TYPE", "ALLOCATED-TO"]);
        for row in borrowed {
            let Borrowed { ip, node, block, owner, kind, allocated_to } = row;
            table.row([ip.to_string(), node, block, owner, kind, allocated_to]);
        }
        let mut out = std::io::stdout().lock();
        write!(out, "{table}")?;
        if unknown > 0 {
            writeln!(out, "{unknown} addresses name no node, so they may be borrowed or not.")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How full all is, for programs. Typed, since a JSON value holds no number above 2^64.
#[derive(Serialize)]
struct UsageJson<'a> {
    #[serde(rename = "pools")]
    pools: Vec<PoolJson<'a>>,
    #[serde(rename = "orphans", skip_serializing_if = "Option::is_none")]
    orphans: Option<Vec<BlockJson<'a>>>,
}

#[derive(Serialize)]
struct PoolJson<'a> {
    #[serde(rename = "name")]
    name: &'a str,
    #[serde(rename = "cidr")]
    cidr: IpNet,
    #[serde(rename = "usage")]
    usage: Usage,
    #[serde(rename = "blocks", skip_serializing_if = "Option::is_none")]
    blocks: Option<Vec<BlockJson<'a>>>,
}

#[derive(Serialize)]
struct BlockJson<'a> {
    #[serde(rename = "cidr")]
    cidr: IpNet,
    #[serde(rename = "affinity")]
    affinity: Option<&'a str>,
    #[serde(rename = "usage")]
    usage: Usage,
}

/// An address that a node has in a block of somebody else.
#[derive(Debug, Serialize)]
struct Borrowed {
    #[serde(rename = "ip")]
    ip: IpAddr,
    #[serde(rename = "borrowingNode")]
    node: String,
    #[serde(rename = "block")]
    block: String,
    #[serde(rename = "blockOwner")]
    owner: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "allocatedTo")]
    allocated_to: String,
}

/// The borrowed addresses, and how many name no node.
fn borrowed(survey: &Survey) -> (Vec<Borrowed>, usize) {
    let (mut rows, mut unknown) = (Vec::new(), 0);
    for (cidr, block) in &survey.blocks {
        let owner = match block.affinity.as_deref() {
            None => "<none>",
            Some(text) => text.split_once(':').map_or(text, |(_, name)| name),
        };
        let host = block.owner().filter(|owner| owner.kind == AffinityType::Host);
        for (ip, record) in block.allocated().filter(|(_, record)| record.released_at.is_none()) {
            let attribute = |name: &str| record.secondary.get(name).cloned().unwrap_or_default();
            let node = attribute("node");
            if node.is_empty() {
                // A Service has no node, and what Windows keeps belongs to the block.
                unknown += usize::from(survey::unseen_user(record).is_none());
                continue;
            }
            if host.as_ref().is_some_and(|owner| owner.name == node) {
                continue;
            }
            let (pod, vmi) = (attribute("pod"), attribute("vmi"));
            let (kind, allocated_to) = if !pod.is_empty() {
                ("pod".to_owned(), format!("{}/{pod}", attribute("namespace")))
            } else if !vmi.is_empty() {
                ("vmi".to_owned(), format!("{}/{vmi}", attribute("namespace")))
            } else {
                (attribute("type"), String::new())
            };
            let (block, owner) = (cidr.to_string(), owner.to_owned());
            rows.push(Borrowed { ip, node, block, owner, kind, allocated_to });
        }
    }
    (rows, unknown)
}

fn write_attributes(out: &mut impl Write, title: &str, list: &Attributes) -> std::io::Result<()> {
    writeln!(out, "{title}")?;
    for (name, value) in list {
        writeln!(out, "  {name}: {value}")?;
    }
    Ok(())
}

/// `5 (62%)`.
fn share(part: u128, whole: u128) -> String {
    let percent = if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 };
    // Rust and Go both round halves to even here.
    format!("{} ({percent:.0}%)", short(part as f64))
}

/// A number with at most five significant digits, as Go's `%.5g` writes it.
fn short(number: f64) -> String {
    let scientific = format!("{number:.4e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..5).contains(&exponent) {
        let digits = usize::try_from(4 - exponent).unwrap_or(0);
        return trim(&format!("{number:.digits$}")).to_owned();
    }
    format!("{}e{exponent:+03}", trim(mantissa))
}

fn trim(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_go() {
        for (number, text) in [
            (0u128, "0"),
            (5, "5"),
            (65_535, "65535"),
            (65_536, "65536"),
            (99_999, "99999"),
            (100_000, "1e+05"),
            (123_456, "1.2346e+05"),
            (16_777_216, "1.6777e+07"),
            (1 << 64, "1.8447e+19"),
            (1 << 120, "1.3292e+36"),
        ] {
            assert_eq!(short(number as f64), text);
        }
    }

    #[test]
    fn shares_are_rounded_half_to_even() {
        assert_eq!(share(2, 16), "2 (12%)");
        assert_eq!(share(5, 8), "5 (62%)");
        assert_eq!(share(14, 16), "14 (88%)");
        assert_eq!(share(65_531, 65_536), "65531 (100%)");
        assert_eq!(share(0, 0), "0 (0%)");
    }
}
