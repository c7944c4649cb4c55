//! `calicoctl config`: four settings over FelixConfiguration, BGPConfiguration and the pools
//! (`reference/calicoctl.md` section 2.6).

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use libcalico::client::Client;
use libcalico::resources::{EncapMode, Extra, IpPoolSpec, Kind};
use serde_json::{Value, json};

use super::bgp::{AsNumber, DEFAULT_AS, Switch};
use super::edit;
use crate::commands::Outcome;
use crate::context::Context;

/// The commands of `calicoctl config`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Changes a setting.
    Set {
        /// logLevel, nodeToNodeMesh, asNumber or ipip.
        name: String,
        /// What to set.
        value: String,
        #[command(flatten)]
        place: Place,
    },
    /// Prints a setting.
    Get {
        /// logLevel, nodeToNodeMesh, asNumber or ipip.
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Gives a setting its default; of a node, that of the cluster.
    Unset {
        /// logLevel, nodeToNodeMesh, asNumber or ipip.
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a setting is.
#[derive(Debug, Args)]
pub struct Place {
    /// Of this node, not of the cluster.
    #[arg(short, long, value_name = "NODE")]
    node: Option<String>,
    /// A component's own name of a setting, which is not checked.
    #[arg(long, value_enum)]
    raw: Option<Component>,
}

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// BIRD.
    Bgp,
    /// Felix.
    Felix,
}

impl Component {
    fn kind(self) -> Kind {
        match self {
            Component::Bgp => Kind::BgpConfiguration,
            Component::Felix => Kind::FelixConfiguration,
        }
    }
}

/// The settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    LogLevel,
    NodeToNodeMesh,
    AsNumber,
    Ipip,
}

/// A setting's name and what it may be, if it is one.
const NAMES: [(Name, &str); 4] = [
    (Name::LogLevel, "logLevel"),
    (Name::NodeToNodeMesh, "nodeToNodeMesh"),
    (Name::AsNumber, "asNumber"),
    (Name::Ipip, "ipip"),
];

/// A level as it was set, and as Felix and BIRD know it today. BIRD tells debug, info and nothing.
const LEVELS: [(&str, &str, &str); 6] = [
    ("none", "Fatal", "Fatal"),
    ("debug", "Debug", "Debug"),
    ("info", "Info", "Info"),
    ("warning", "Warning", "Fatal"),
    ("error", "Error", "Fatal"),
    ("critical", "Fatal", "Fatal"),
];

const LOG_FIELD: &str = "logSeverityScreen";

/// Fields of one kind, to be set there; null takes a field away.
type Change = (Kind, Vec<(&'static str, Value)>);

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Set { name, value, place } => match place.raw {
            Some(component) => set_raw(component, &name, raw_value(&value), &place, context),
            None => change(setting(&name, &place)?, Some(&value), &place, context),
        },
        Command::Unset { name, place } => match place.raw {
            Some(component) => set_raw(component, &name, Value::Null, &place, context),
            None => change(setting(&name, &place)?, None, &place, context),
        },
        Command::Get { name, place } => {
            let shown = match place.raw {
                Some(component) => {
                    let client = context.client()?;
                    context.block_on(get_raw(&client, component, &name, &place, context))?
                }
                None => {
                    let name = setting(&name, &place)?;
                    let client = context.client()?;
                    context.block_on(get(&client, name, &place, context))?
                }
            };
            writeln!(std::io::stdout().lock(), "{shown}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Place {
    /// The object that holds the settings.
    fn object(&self) -> String {
        match &self.node {
            Some(node) => format!("node.{node}"),
            None => "default".to_owned(),
        }
    }
}

/// The setting of this name, if it can be where it is looked for.
fn setting(name: &str, place: &Place) -> anyhow::Result<Name> {
    let found = NAMES.iter().find(|(_, known)| *known == name);
    let Some((found, _)) = found else {
        let all = NAMES.map(|(_, name)| name).join(", ");
        bail!("unrecognised config name {name:?}: the names are {all}");
    };
    if place.node.is_some() && *found != Name::LogLevel {
        bail!("--node should not be specified: {name} is the same for all nodes");
    }
    Ok(*found)
}

fn change(name: Name, value: Option<&str>, place: &Place, context: &Context) -> Outcome {
    let changes = changes(name, value)?;
    let client = context.client_of_first_write()?;
    context.block_on(async {
        for (kind, fields) in changes {
            edit::set(&client, kind, &place.object(), &fields, context.deadline()).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What changes when a setting gets a value, or loses it.
fn changes(name: Name, value: Option<&str>) -> anyhow::Result<Vec<Change>> {
    let (bgp, felix) = (Kind::BgpConfiguration, Kind::FelixConfiguration);
    let switch = |value: Option<&str>| match value {
        Some("on") => Ok(Value::Bool(true)),
        Some("off") => Ok(Value::Bool(false)),
        None => Ok(Value::Null),
        Some(other) => bail!("invalid value {other:?}: it is on or off"),
    };
    Ok(match name {
        Name::LogLevel => {
            let (of_felix, of_bgp) = match value {
                None => (Value::Null, Value::Null),
                Some(value) => {
                    let level = LEVELS.iter().find(|(level, ..)| *level == value);
                    let all = LEVELS.map(|(level, ..)| level).join(", ");
                    let (_, of_felix, of_bgp) =
                        level.with_context(|| format!("invalid value {value:?}: it is {all}"))?;
                    (json!(of_felix), json!(of_bgp))
                }
            };
            vec![(felix, vec![(LOG_FIELD, of_felix)]), (bgp, vec![(LOG_FIELD, of_bgp)])]
        }
        Name::NodeToNodeMesh => vec![(bgp, vec![("nodeToNodeMeshEnabled", switch(value)?)])],
        Name::AsNumber => {
            let number = value.map(str::parse::<AsNumber>).transpose().map_err(anyhow::Error::msg);
            let number = number?.map_or(Value::Null, |number| json!(number.0));
            vec![(bgp, vec![("asNumber", number)])]
        }
        Name::Ipip => vec![(felix, vec![("ipipEnabled", switch(value)?)])],
    })
}

async fn get(
    client: &Client,
    name: Name,
    place: &Place,
    context: &Context,
) -> anyhow::Result<String> {
    let deadline = context.deadline();
    let kind = match name {
        Name::LogLevel | Name::Ipip => Kind::FelixConfiguration,
        Name::NodeToNodeMesh | Name::AsNumber => Kind::BgpConfiguration,
    };
    if place.node.is_some()
        && let Some(level) = level(&edit::spec(client, kind, &place.object(), deadline).await?)
    {
        return Ok(level);
    }
    let spec = edit::spec(client, kind, "default", deadline).await?;
    let flag = |field: &str| spec.get(field).and_then(Value::as_bool);
    Ok(match name {
        Name::LogLevel => {
            let level = level(&spec).unwrap_or_else(|| "info".to_owned());
            match place.node {
                Some(_) => format!("{level} (inherited from global)"),
                None => level,
            }
        }
        Name::NodeToNodeMesh => {
            Switch::text(flag("nodeToNodeMeshEnabled").unwrap_or(true)).to_owned()
        }
        Name::AsNumber => {
            spec.get("asNumber").and_then(text).unwrap_or_else(|| DEFAULT_AS.to_string())
        }
        Name::Ipip => {
            // Where nobody decided, Felix goes by the pools.
            let is_on = match flag("ipipEnabled") {
                Some(is_on) => is_on,
                None => {
                    let pools = client.list::<IpPoolSpec>(None, deadline).await?.items;
                    pools.iter().any(|pool| {
                        let mode = &pool.spec.ipip_mode;
                        matches!(mode, Some(EncapMode::Always | EncapMode::CrossSubnet))
                    })
                }
            };
            Switch::text(is_on).to_owned()
        }
    })
}

/// The level that Felix logs at, in the early words.
fn level(spec: &Extra) -> Option<String> {
    let stored = spec.get(LOG_FIELD)?.as_str().filter(|level| !level.is_empty())?.to_lowercase();
    Some(match stored.as_str() {
        "trace" => "debug".to_owned(),
        "fatal" => "critical".to_owned(),
        _ => stored,
    })
}

async fn get_raw(
    client: &Client,
    component: Component,
    name: &str,
    place: &Place,
    context: &Context,
) -> anyhow::Result<String> {
    let deadline = context.deadline();
    let spec = edit::spec(client, component.kind(), &place.object(), deadline).await?;
    let value = spec.get(&raw_field(component, name));
    Ok(value.and_then(text).unwrap_or_else(|| "(unset)".to_owned()))
}

fn set_raw(
    component: Component,
    name: &str,
    value: Value,
    place: &Place,
    context: &Context,
) -> Outcome {
    let field = raw_field(component, name);
    let value = match value.get("enabled") {
        // What the mesh was stored as.
        Some(enabled) if component == Component::Bgp => enabled.clone(),
        _ => value,
    };
    let client = context.client_of_first_write()?;
    context.block_on(async {
        let fields = [(field.as_str(), value)];
        edit::set(&client, component.kind(), &place.object(), &fields, context.deadline()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Today's field of a component's own name.
fn raw_field(component: Component, name: &str) -> String {
    let known = match (component, name) {
        (Component::Felix, "IpInIpEnabled") => "ipipEnabled",
        (Component::Felix, "IpInIpMtu") => "ipipMTU",
        (Component::Bgp, "loglevel") => LOG_FIELD,
        (Component::Bgp, "as_num") => "asNumber",
        (Component::Bgp, "node_mesh") => "nodeToNodeMeshEnabled",
        _ => {
            let mut chars = name.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            return first.into_iter().chain(chars).collect();
        }
    };
    known.to_owned()
}

/// A raw value: what reads as a number, a switch or a structure is one.
fn raw_value(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(Value::Null | Value::String(_)) | Err(_) => json!(value),
        Ok(other) => other,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_felixs_and_birds() {
        let set = |value| {
            let changes = changes(Name::LogLevel, value).unwrap();
            changes.into_iter().map(|(_, fields)| fields[0].1.clone()).collect::<Vec<_>>()
        };
        assert_eq!(set(Some("warning")), [json!("Warning"), json!("Fatal")]);
        assert_eq!(set(Some("none")), [json!("Fatal"), json!("Fatal")]);
        assert_eq!(set(None), [Value::Null, Value::Null]);
        assert!(changes(Name::LogLevel, Some("loud")).is_err());
        assert!(changes(Name::Ipip, Some("maybe")).is_err());
        assert!(changes(Name::AsNumber, Some("x")).is_err());
    }

    #[test]
    fn raw_names_and_values_are_todays() {
        let felix = |name| raw_field(Component::Felix, name);
        assert_eq!(felix("LogSeverityScreen"), "logSeverityScreen");
        assert_eq!(felix("IpInIpEnabled"), "ipipEnabled");
        assert_eq!(raw_field(Component::Bgp, "loglevel"), "logSeverityScreen");
        assert_eq!(raw_value("true"), json!(true));
        assert_eq!(raw_value("Info"), json!("Info"));
        assert_eq!(raw_value("64512"), json!(64512));
    }
}
