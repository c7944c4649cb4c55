//! `calicoctl ipam explain`, ours: which pools a new workload would be offered, in which order, why
//! each other one is passed over, and what would happen next; or whether an address could be given,
//! and who has it. The allocator itself is asked, up to the commit: nothing is changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use libcalico::client::{Client, ErrorKind};
use libcalico::ipam::{
    Allocator, AssignIp, AssignmentAttributes, AutoAssign, Explanation, HowTaken, IntendedUse,
    IpamError, IpamErrorKind, Labels, NextAddress, PassedOver, PoolOffer, PoolRefusal,
};
use libcalico::resources::ClusterInformationSpec;
use libcalico::store::Family;
use serde_json::{Value, json};

use super::map::big;
use super::survey::{Survey, is_locked};
use super::{Format, parse_ip, print_json};
use crate::commands::Outcome;
use crate::context::Context;

/// Flags of `ipam explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The node on which the workload would run.
    #[arg(long, value_name = "NODE")]
    node: String,
    /// The workload's namespace in Kubernetes; its labels can be given with --namespace-label.
    /// Without it the workload is none of Kubernetes'.
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// A label of the namespace, as Kubernetes has it: name=value. May be given more than once.
    #[arg(long, value_name = "LABEL")]
    namespace_label: Vec<String>,
    /// Whether this address could be given, and who has it.
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// What the address is for: Workload or Tunnel.
    #[arg(long = "use", value_name = "USE", default_value = "Workload", value_parser = parse_use)]
    intended_use: IntendedUse,
    /// IPv4 only.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What is known of one address.
struct Address {
    ip: IpAddr,
    /// What is recorded of it, if somebody has it.
    held: Option<AssignmentAttributes>,
    cooling: bool,
    reserved: bool,
    users: Vec<String>,
    /// Whether the node could have it if it asked for it.
    given: Result<String, IpamError>,
}

impl Explain {
    /// Explains.
    pub fn run(self, context: &Context) -> Outcome {
        let ip = self.ip.as_deref().map(parse_ip).transpose()?;
        let labels = self.namespace_labels()?;
        let client = context.client()?;
        context.block_on(async {
            let locked = self.locked(&client, context).await?;
            match ip {
                Some(ip) => {
                    let address = self.address(ip, &client, context).await?;
                    self.tell_address(&address, locked)?;
                }
                None => {
                    let families = self.families(labels, &client, context).await?;
                    self.tell(&families, locked)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// The labels that pools select namespaces by; none for a workload that has no namespace.
    fn namespace_labels(&self) -> anyhow::Result<Option<Labels>> {
        let mut labels = Labels::new();
        if let Some(namespace) = &self.namespace {
            // Every namespace has this one.
            labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.clone());
        }
        for label in &self.namespace_label {
            let (name, value) =
                label.split_once('=').with_context(|| format!("invalid label {label}"))?;
            labels.insert(name.to_owned(), value.to_owned());
        }
        Ok((!labels.is_empty()).then_some(labels))
    }

    async fn locked(&self, client: &Client, context: &Context) -> anyhow::Result<bool> {
        let found = client.get::<ClusterInformationSpec>("", "default", context.deadline()).await;
        match found {
            Ok(cluster) => Ok(is_locked(Some(&cluster))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn families(
        &self,
        labels: Option<Labels>,
        client: &Client,
        context: &Context,
    ) -> anyhow::Result<Vec<(Family, Explanation)>> {
        let allocator = Allocator::new(&**client.store());
        let request = AutoAssign {
            intended_use: self.intended_use,
            namespace_labels: labels,
            ..AutoAssign::new(&self.node)
        };
        let mut families = Vec::new();
        for (family, other) in [(Family::V4, self.ipv6), (Family::V6, self.ipv4)] {
            if !other {
                let explained = allocator.explain(&request, family, context.deadline()).await?;
                families.push((family, explained));
            }
        }
        Ok(families)
    }

    async fn address(
        &self,
        ip: IpAddr,
        client: &Client,
        context: &Context,
    ) -> anyhow::Result<Address> {
        let allocator = Allocator::new(&**client.store());
        let held = allocator.assignment_attributes(ip, context.deadline()).await;
        let cooling = matches!(held, Err(IpamError::InCooldown { .. }));
        let held = match held {
            Ok(held) => Some(held),
            Err(error)
                if matches!(error.kind(), IpamErrorKind::NotFound | IpamErrorKind::Conflict) =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let request = AssignIp {
            ip,
            host: self.node.clone(),
            handle: None,
            attributes: BTreeMap::new(),
            intended_use: Some(self.intended_use),
            max_per_handle: None,
            host_reserved: None,
            reuse: false,
            from: None,
        };
        let given = allocator.would_assign_ip(&request, context.deadline()).await?;
        let survey = Survey::read(client, context.deadline()).await?;
        Ok(Address {
            ip,
            held,
            cooling,
            reserved: survey.reserved.contains(ip),
            users: survey.users().remove(&ip).unwrap_or_default(),
            given: given.map(|block| block.to_string()),
        })
    }

    fn tell(&self, families: &[(Family, Explanation)], locked: bool) -> anyhow::Result<()> {
        if self.output == Format::Json {
            let families = families.iter().map(|(family, explained)| describe(*family, explained));
            return print_json(&json!({
                "node": self.node,
                "namespace": self.namespace,
                "locked": locked,
                "families": families.collect::<Vec<_>>(),
            }));
        }
        let mut text = String::new();
        if let Some((_, explained)) = families.first() {
            write_node(&mut text, &self.node, explained)?;
        }
        write_lock(&mut text, locked)?;
        for (family, explained) in families {
            write_family(&mut text, *family, explained)?;
        }
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn tell_address(&self, address: &Address, locked: bool) -> anyhow::Result<()> {
        let Address { ip, held, cooling, reserved, users, given } = address;
        if self.output == Format::Json {
            return print_json(&json!({
                "ip": ip,
                "node": self.node,
                "locked": locked,
                "allocated": held.is_some(),
                "handle": held.as_ref().and_then(|held| held.handle.as_ref()),
                "attributes": held.as_ref().map(|held| &held.active),
                "usedBy": users,
                "coolingDown": cooling,
                "reserved": reserved,
                "couldBeGiven": given.is_ok() && !locked,
                "block": given.as_ref().ok(),
                "reason": given.as_ref().err().map(reason),
            }));
        }
        let mut text = String::new();
        write_lock(&mut text, locked)?;
        match held {
            Some(held) => {
                let handle = held.handle.as_deref().unwrap_or("<none>");
                writeln!(text, "{ip} is allocated: handle {handle}, block {}", held.block)?;
                for (name, value) in &held.active {
                    writeln!(text, "  {name}: {value}")?;
                }
                if users.is_empty() {
                    writeln!(text, "Nobody uses it: see calicoctl ipam check.")?;
                }
            }
            None if *cooling => writeln!(text, "{ip} was released and is cooling down.")?,
            None => writeln!(text, "{ip} is not allocated.")?,
        }
        if !users.is_empty() {
            writeln!(text, "It is in use by {}.", users.join(", "))?;
        }
        if *reserved {
            writeln!(text, "It is reserved: only who asks for it gets it.")?;
        }
        match given {
            Ok(block) => {
                let node = &self.node;
                writeln!(
                    text,
                    "Node {node} could have it by asking for it, out of block {block}."
                )?;
            }
            Err(error) => {
                writeln!(text, "Node {} could not have it: {}", self.node, reason(error))?;
            }
        }
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }
}

fn parse_use(text: &str) -> Result<IntendedUse, String> {
    [IntendedUse::Workload, IntendedUse::Tunnel]
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| "it is Workload or Tunnel".to_owned())
}

fn write_lock(text: &mut String, locked: bool) -> std::fmt::Result {
    if locked {
        writeln!(
            text,
            "The datastore is locked: no address is given until it is unlocked (calicoctl datastore \
             unlock). Without the lock:"
        )?;
    }
    Ok(())
}

fn write_node(text: &mut String, node: &str, explained: &Explanation) -> std::fmt::Result {
    let labels: Vec<String> =
        explained.node_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    writeln!(text, "Node {node}, labels: {labels}")?;
    let config = &explained.config;
    let mut rules = Vec::new();
    if config.strict_affinity {
        rules.push("strict affinity: nodes take addresses only out of their own blocks".to_owned());
    }
    if !config.auto_allocate_blocks {
        rules.push("nodes claim no further blocks by themselves".to_owned());
    }
    rules.push(format!("at most {} blocks a node and family", explained.block_limit));
    if config.ip_cooldown_seconds > 0 {
        rules.push(format!("released addresses cool down for {} s", config.ip_cooldown_seconds));
    }
    writeln!(text, "Rules: {}", rules.join("; "))
}

fn write_family(text: &mut String, family: Family, explained: &Explanation) -> std::fmt::Result {
    writeln!(text, "\n{}", family_name(family))?;
    if explained.offers.is_empty() && explained.refusals.is_empty() {
        return writeln!(text, "  There is no pool of this family.");
    }
    for (at, offer) in explained.offers.iter().enumerate() {
        let PoolOffer { pool, report, own_blocks, free_own } = offer;
        writeln!(text, "  {}. pool {} {}", at + 1, pool.name, pool.cidr)?;
        let reserved = match report.reserved {
            0 => String::new(),
            reserved => format!(", {} addresses reserved", big(reserved)),
        };
        writeln!(
            text,
            "     {} of {} blocks of /{} are claimed{reserved}; {} addresses in use",
            report.blocks_used,
            big(report.blocks),
            pool.block_size,
            report.in_use,
        )?;
        let own = match own_blocks.as_slice() {
            [] => "no block of it is the node's own".to_owned(),
            blocks => {
                let names: Vec<String> = blocks.iter().take(8).map(ToString::to_string).collect();
                let more = blocks.len().saturating_sub(names.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("its own: {}{more}, with {free_own} free addresses", names.join(", "))
            }
        };
        writeln!(text, "     {own}")?;
    }
    for refusal in &explained.refusals {
        writeln!(
            text,
            "  -  pool {} {}: passed over, {}",
            refusal.pool.name,
            refusal.pool.cidr,
            why(refusal)
        )?;
    }
    match &explained.next {
        Ok(next) => writeln!(text, "  Next: {}", happens(next)),
        Err(error) => writeln!(text, "  Next: no address: {}", reason(error)),
    }
}

/// Why a pool is passed over, with what would have to be otherwise.
fn why(refusal: &PoolRefusal) -> String {
    let pool = &refusal.pool;
    let unmet = refusal.unmet.join(", ");
    match refusal.why {
        PassedOver::Node => {
            format!("{} ({}): the node misses {unmet}", refusal.why, pool.node_selector)
        }
        PassedOver::Namespace => {
            format!("{} ({}): the namespace misses {unmet}", refusal.why, pool.namespace_selector)
        }
        PassedOver::Use => {
            format!("{} (allowedUses: {})", refusal.why, pool.allowed_uses.join(", "))
        }
        why => why.to_string(),
    }
}

fn happens(next: &NextAddress) -> String {
    let NextAddress { address, block, pool, how } = next;
    let pool = pool.as_deref().unwrap_or("no pool");
    match how {
        HowTaken::Own => format!("{address} of pool {pool}, out of the node's own block {block}"),
        HowTaken::Claimed => {
            format!("{address} of pool {pool}, out of the new block {block}, which the node claims")
        }
        HowTaken::TakenOver(from) => format!(
            "{address} of pool {pool}, out of the empty block {block}, which the node takes over from {}",
            from.as_deref().unwrap_or("nobody")
        ),
        HowTaken::Borrowed(from) => format!(
            "{address} of pool {pool}, borrowed out of block {block} of {}",
            from.as_deref().unwrap_or("nobody")
        ),
    }
}

/// A failure in one line.
fn reason(error: &IpamError) -> String {
    error.to_string().replace('\n', "")
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// A family for programs.
fn describe(family: Family, explained: &Explanation) -> Value {
    let offer = |offer: &PoolOffer| {
        let (pool, report) = (&offer.pool, &offer.report);
        json!({
            "name": pool.name,
            "cidr": pool.cidr,
            "blocks": report.blocks.to_string(),
            "claimedBlocks": report.blocks_used,
            "ownBlocks": offer.own_blocks,
            "freeInOwnBlocks": offer.free_own,
            "inUse": report.in_use,
            "coolingDown": report.cooling,
            "reserved": report.reserved.to_string(),
        })
    };
    let refusal = |refusal: &PoolRefusal| {
        json!({
            "name": refusal.pool.name,
            "cidr": refusal.pool.cidr,
            "reason": why(refusal),
            "unmet": refusal.unmet,
        })
    };
    let next = match &explained.next {
        Err(error) => json!({ "reason": reason(error) }),
        Ok(next) => {
            let (how, owner) = match &next.how {
                HowTaken::Own => ("own", None),
                HowTaken::Claimed => ("claimed", None),
                HowTaken::TakenOver(from) => ("takenOver", from.as_deref()),
                HowTaken::Borrowed(from) => ("borrowed", from.as_deref()),
            };
            json!({
                "address": next.address,
                "block": next.block,
                "pool": next.pool,
                "how": how,
                "from": owner,
            })
        }
    };
    json!({
        "family": family_name(family),
        "blockLimit": explained.block_limit,
        "nodeLabels": explained.node_labels,
        "offered": explained.offers.iter().map(offer).collect::<Vec<_>>(),
        "passedOver": explained.refusals.iter().map(refusal).collect::<Vec<_>>(),
        "next": next,
    })
}
