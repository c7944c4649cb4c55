//! `calicoctl bgppeer` and `calicoctl node bgppeer`: BGPPeers without a selector, of every node or of
//! this one (`reference/calicoctl.md` sections 1.1 and 2.5).

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use libcalico::client::{Client, ErrorKind};
use libcalico::resources::{AnyResource, Kind};
use serde_json::{Value, json};

use super::bgp::AsNumber;
use super::pool::Families;
use super::{edit, table};
use crate::commands::Outcome;
use crate::commands::v1_names;
use crate::context::Context;
use crate::this_node;

/// The commands about BGP peers.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Adds a peer.
    Add {
        /// Its address.
        #[arg(value_name = "PEER_IP")]
        ip: IpAddr,
        /// The word `as`.
        #[arg(value_parser = ["as"], hide_possible_values = true, value_name = "as")]
        word: String,
        /// Its AS number.
        #[arg(value_name = "AS_NUM")]
        number: AsNumber,
    },
    /// Removes a peer.
    Remove {
        /// Its address.
        #[arg(value_name = "PEER_IP")]
        ip: IpAddr,
    },
    /// Shows the peers.
    Show(Families),
}

/// Whose peers are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every node's.
    Global,
    /// One node's.
    Node(String),
}

impl Scope {
    fn has(&self, spec: &Value) -> bool {
        let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default();
        let node = match self {
            Scope::Global => "",
            Scope::Node(node) => node,
        };
        text("node") == node && text("nodeSelector").is_empty()
    }

    fn object_name(&self, ip: IpAddr) -> String {
        match self {
            Scope::Global => v1_names::address(ip),
            Scope::Node(node) => format!("{node}.{}", v1_names::address(ip)),
        }
    }
}

/// Does what the command says.
pub fn run(command: Command, scope: Scope, context: &Context) -> Outcome {
    match command {
        Command::Add { ip, number, .. } => add(&scope, ip, number, context),
        Command::Remove { ip } => remove(&scope, ip, context),
        Command::Show(families) => show(&scope, families, context),
    }
}

/// The same of this node's peers.
pub fn run_here(command: Command, context: &Context) -> Outcome {
    run(command, Scope::Node(this_node::name()?), context)
}

/// A peer that is there gets the number.
fn add(scope: &Scope, ip: IpAddr, number: AsNumber, context: &Context) -> Outcome {
    let client = context.client_of_first_write()?;
    context.block_on(async {
        let known = peers(&client, context).await?;
        let known = known.iter().find(|peer| scope.has(&peer.spec) && ip_of(peer) == Some(ip));
        let deadline = context.deadline();
        match known {
            Some(peer) => {
                let fields = [("asNumber", json!(number.0))];
                let name = &peer.metadata.name;
                edit::set(&client, Kind::BgpPeer, name, &fields, deadline).await?;
            }
            None => {
                let mut spec = serde_json::Map::new();
                if let Scope::Node(node) = scope {
                    spec.insert("node".into(), json!(node));
                }
                spec.insert("peerIP".into(), json!(ip.to_string()));
                spec.insert("asNumber".into(), json!(number.0));
                let name = scope.object_name(ip);
                let peer = AnyResource::new(Kind::BgpPeer, name, Value::Object(spec));
                edit::create(&client, peer, deadline).await?;
            }
        }
        Ok(())
    })?;
    let whose = match scope {
        Scope::Global => "global",
        Scope::Node(_) => "node",
    };
    writeln!(std::io::stdout().lock(), "BGP peer added to {whose} configuration")?;
    Ok(ExitCode::SUCCESS)
}

fn remove(scope: &Scope, ip: IpAddr, context: &Context) -> Outcome {
    let client = context.client()?;
    let removed = context.block_on(async {
        let mut removed = 0;
        for peer in peers(&client, context).await? {
            if scope.has(&peer.spec) && ip_of(&peer) == Some(ip) {
                let name = &peer.metadata.name;
                match client.delete_any(Kind::BgpPeer, "", name, None, context.deadline()).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => removed += 1,
                }
            }
        }
        Ok(removed)
    })?;
    match (scope, removed) {
        (Scope::Global, 0) => bail!("{ip} is not a globally configured peer."),
        (Scope::Node(_), 0) => bail!("{ip} is not a configured peer for this node."),
        (Scope::Global, _) => {
            writeln!(std::io::stdout().lock(), "BGP peer removed from global configuration")?;
        }
        (Scope::Node(_), _) => {
            writeln!(std::io::stdout().lock(), "BGP peer removed from node configuration")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(scope: &Scope, families: Families, context: &Context) -> Outcome {
    let client = context.client()?;
    let peers = context.block_on(peers(&client, context))?;
    let mut out = std::io::stdout().lock();
    for number in families.numbers() {
        let of_family = peers.iter().filter(|peer| scope.has(&peer.spec)).filter_map(|peer| {
            let is_v4 = ip_of(peer)?.is_ipv4();
            let shown = |field: &str| match peer.spec.get(field) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (is_v4 == (number == 4)).then(|| [shown("peerIP"), shown("asNumber")])
        });
        let rows: Vec<[String; 2]> = of_family.collect();
        match (scope, rows.is_empty()) {
            (Scope::Global, true) => writeln!(out, "No global IPv{number} BGP Peers defined.")?,
            (Scope::Node(_), true) => {
                writeln!(out, "No IPv{number} BGP Peers defined for this node.")?;
            }
            (Scope::Global, false) => {
                let heading = format!("Global IPv{number} BGP Peer");
                write!(out, "{}", table::left([&heading, "AS Num"], rows))?;
            }
            (Scope::Node(_), false) => {
                let heading = format!("Node specific IPv{number} BGP Peer");
                write!(out, "{}", table::centred([&heading, "AS Num"], rows))?;
            }
        }
    }
    let is_set = |spec: &Value, field| spec.get(field).is_some_and(|value| *value != json!(""));
    let selected = peers
        .iter()
        .filter(|peer| is_set(&peer.spec, "nodeSelector") || is_set(&peer.spec, "peerSelector"));
    match selected.count() {
        0 => {}
        count => eprintln!(
            "{count} more with selectors are not shown here: see calicoctl get bgppeers -o wide"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

async fn peers(client: &Client, context: &Context) -> anyhow::Result<Vec<AnyResource>> {
    Ok(client.list_any(Kind::BgpPeer, None, context.deadline()).await?.items)
}

/// The peer's address; it may be followed by a port.
fn ip_of(peer: &AnyResource) -> Option<IpAddr> {
    let text = peer.spec.get("peerIP")?.as_str()?;
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip()))
        .ok()
}
