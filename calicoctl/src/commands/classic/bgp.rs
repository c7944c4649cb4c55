//! `calicoctl default-node-as`, `calicoctl bgp-node-mesh`, and the later spelling `calicoctl bgp`:
//! BGPConfiguration `default` (`reference/calicoctl.md` section 1.1).

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use libcalico::resources::Kind;
use serde_json::{Value, json};

use super::{edit, peer};
use crate::commands::Outcome;
use crate::context::Context;

/// The AS number of nodes where nothing says another one.
pub const DEFAULT_AS: u32 = 64512;

/// The commands of `calicoctl bgp`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// BGP peers of every node.
    #[command(subcommand)]
    Peer(peer::Command),
    /// Prints whether every node peers with every other one, or sets it.
    NodeMesh(Mesh),
    /// Prints the AS number of nodes that have none of their own, or sets it.
    DefaultNodeAs(DefaultAs),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Peer(command) => peer::run(command, peer::Scope::Global, context),
        Command::NodeMesh(mesh) => mesh.run(context),
        Command::DefaultNodeAs(number) => number.run(context),
    }
}

/// An AS number: 64512, or 1.10 for 65546.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsNumber(pub u32);

impl FromStr for AsNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<AsNumber, String> {
        let number = match text.split_once('.') {
            None => text.parse().ok(),
            Some((high, low)) => high
                .parse::<u16>()
                .ok()
                .zip(low.parse::<u16>().ok())
                .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        };
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        number.filter(|_| digits).map(AsNumber).ok_or_else(|| {
            format!("an AS number is from 0 to 4294967295, or like 1.10; not {text:?}")
        })
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    /// As text.
    pub fn text(is_on: bool) -> &'static str {
        if is_on { "on" } else { "off" }
    }
}

/// `bgp-node-mesh`.
#[derive(Debug, Args)]
pub struct Mesh {
    /// What to set.
    #[arg(value_enum)]
    switch: Option<Switch>,
}

impl Mesh {
    /// Prints or sets.
    pub fn run(self, context: &Context) -> Outcome {
        let value = self.switch.map(|switch| json!(switch == Switch::On));
        let field = "nodeToNodeMeshEnabled";
        print_or_set(context, field, value, |stored| {
            Switch::text(stored.and_then(Value::as_bool).unwrap_or(true)).to_owned()
        })
    }
}

/// `default-node-as`.
#[derive(Debug, Args)]
pub struct DefaultAs {
    /// What to set.
    #[arg(value_name = "AS_NUM")]
    number: Option<AsNumber>,
}

impl DefaultAs {
    /// Prints or sets.
    pub fn run(self, context: &Context) -> Outcome {
        print_or_set(context, "asNumber", self.number.map(|number| json!(number.0)), |stored| {
            stored.map_or_else(|| DEFAULT_AS.to_string(), Value::to_string)
        })
    }
}

fn print_or_set(
    context: &Context,
    field: &str,
    value: Option<Value>,
    shown: impl Fn(Option<&Value>) -> String,
) -> Outcome {
    let (kind, name) = (Kind::BgpConfiguration, "default");
    match value {
        Some(value) => {
            let client = context.client_of_first_write()?;
            let fields = [(field, value)];
            context.block_on(async {
                Ok(edit::set(&client, kind, name, &fields, context.deadline()).await?)
            })?;
        }
        None => {
            let client = context.client()?;
            let spec = context.block_on(async {
                Ok(edit::spec(&client, kind, name, context.deadline()).await?)
            })?;
            let stored = spec.get(field).filter(|value| !value.is_null());
            writeln!(std::io::stdout().lock(), "{}", shown(stored))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_as_number_is_plain_or_dotted() {
        assert_eq!("64512".parse(), Ok(AsNumber(64512)));
        assert_eq!("4294967295".parse(), Ok(AsNumber(u32::MAX)));
        assert_eq!("1.10".parse(), Ok(AsNumber(65546)));
        for bad in ["", "4294967296", "-1", "+1", "1.65536", "1.2.3", "x", "1."] {
            assert!(bad.parse::<AsNumber>().is_err(), "{bad}");
        }
    }
}
