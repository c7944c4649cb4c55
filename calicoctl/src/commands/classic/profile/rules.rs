//! `calicoctl profile P rule`: the ordered rules of a profile.

use std::cell::Cell;
use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use libcalico::resources::ProfileSpec;
use libcalico::resources::profile::Rule as Stored;
use serde::{Deserialize, Serialize};

use super::rule::{Known, Rule};
use super::{change, get};
use crate::commands::Outcome;
use crate::context::Context;

/// How a rule is written.
const RULE: &str = "\
RULE: (allow|deny) [(tcp|udp) [from [ports PORTS] [tag TAG] [cidr CIDR]] [to [ports PORTS] [tag TAG] [cidr CIDR]]
       | icmp [type TYPE [code CODE]] [from [tag TAG] [cidr CIDR]] [to [tag TAG] [cidr CIDR]]
       | [from [tag TAG] [cidr CIDR]] [to [tag TAG] [cidr CIDR]]]
PORTS: 80, or 80,443,8000:8099";

/// The commands of `calicoctl profile P rule`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the rules with their numbers.
    Show {
        /// The profile's name.
        profile: String,
    },
    /// Prints the rules as JSON.
    Json {
        /// The profile's name.
        profile: String,
    },
    /// Replaces the rules by those in the JSON on standard input.
    Update {
        /// The profile's name.
        profile: String,
    },
    /// Adds a rule.
    #[command(after_help = RULE)]
    Add {
        /// The profile's name.
        profile: String,
        /// For packets to an endpoint, or from one.
        #[arg(value_enum)]
        direction: Direction,
        /// Its number, from 1 on; the last one unless said otherwise.
        #[arg(long, value_name = "POSITION")]
        at: Option<usize>,
        /// What it says.
        #[arg(required = true, value_name = "RULE")]
        rule: Vec<String>,
    },
    /// Removes a rule.
    #[command(after_help = RULE)]
    Remove {
        /// The profile's name.
        profile: String,
        /// For packets to an endpoint, or from one.
        #[arg(value_enum)]
        direction: Direction,
        /// Its number.
        #[arg(long, value_name = "POSITION", conflicts_with = "rule")]
        at: Option<usize>,
        /// What it says.
        #[arg(required_unless_present = "at", value_name = "RULE")]
        rule: Vec<String>,
    },
}

/// Which packets a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// Those to an endpoint.
    Inbound,
    /// Those from an endpoint.
    Outbound,
}

impl Direction {
    fn rules(self, spec: &mut ProfileSpec) -> &mut Vec<Stored> {
        match self {
            Direction::Inbound => &mut spec.ingress,
            Direction::Outbound => &mut spec.egress,
        }
    }
}

/// The rules as a document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "id")]
    id: String,
    #[serde(rename = "inbound_rules")]
    inbound: Vec<Entry>,
    #[serde(rename = "outbound_rules")]
    outbound: Vec<Entry>,
}

/// A rule in the document. What the grammar can't say is there as it is stored, so that nothing is
/// lost on the way out and back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Stored {
        #[serde(rename = "v3")]
        rule: Stored,
    },
    Rule(Rule),
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Show { profile } => show(&profile, context),
        Command::Json { profile } => json(&profile, context),
        Command::Update { profile } => update(&profile, context),
        Command::Add { profile, direction, at, rule } => {
            add(&profile, direction, at, &Rule::parse(&rule)?, context)
        }
        Command::Remove { profile, direction, at: Some(at), .. } => {
            remove_at(&profile, direction, at, context)
        }
        Command::Remove { profile, direction, at: None, rule } => {
            remove(&profile, direction, &Rule::parse(&rule)?, context)
        }
    }
}

fn show(name: &str, context: &Context) -> Outcome {
    let client = context.client()?;
    let spec = context.block_on(get(&client, name, context))?.spec;
    let mut out = std::io::stdout().lock();
    for (heading, rules) in [("Inbound rules:", &spec.ingress), ("Outbound rules:", &spec.egress)] {
        writeln!(out, "{heading}")?;
        for (at, rule) in rules.iter().enumerate() {
            writeln!(out, " {:>3} {}", at + 1, Known::of(rule))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn json(name: &str, context: &Context) -> Outcome {
    let client = context.client()?;
    let spec = context.block_on(get(&client, name, context))?.spec;
    let entries = |rules: &[Stored]| {
        let entry = |rule: &Stored| match Known::of(rule) {
            Known::Rule(rule) => Entry::Rule(rule),
            Known::Other(rule) => Entry::Stored { rule },
        };
        rules.iter().map(entry).collect()
    };
    let document = Document {
        id: name.to_owned(),
        inbound: entries(&spec.ingress),
        outbound: entries(&spec.egress),
    };
    writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&document)?)?;
    Ok(ExitCode::SUCCESS)
}

fn update(name: &str, context: &Context) -> Outcome {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("failed to read the rules from stdin")?;
    let document: Document =
        serde_json::from_str(&text).context("the rules on stdin can't be read")?;
    if document.id != name {
        bail!("Rules JSON \"id\"={} doesn't match profile name {name}.", document.id);
    }
    let stored = |entries: Vec<Entry>| -> anyhow::Result<Vec<Stored>> {
        let stored = |entry| match entry {
            Entry::Rule(rule) => rule.to_stored(),
            Entry::Stored { rule } => Ok(rule),
        };
        entries.into_iter().map(stored).collect()
    };
    let (inbound, outbound) = (stored(document.inbound)?, stored(document.outbound)?);
    let client = context.client()?;
    context.block_on(change(&client, name, context, |profile| {
        profile.spec.ingress = inbound.clone();
        profile.spec.egress = outbound.clone();
        Ok(())
    }))?;
    writeln!(std::io::stdout().lock(), "Successfully updated rules on profile {name}")?;
    Ok(ExitCode::SUCCESS)
}

fn add(
    name: &str,
    direction: Direction,
    at: Option<usize>,
    rule: &Rule,
    context: &Context,
) -> Outcome {
    let stored = rule.to_stored()?;
    let is_present = Cell::new(false);
    let client = context.client()?;
    context.block_on(change(&client, name, context, |profile| {
        let rules = direction.rules(&mut profile.spec);
        is_present.set(position(rules, rule).is_some());
        if is_present.get() {
            return Ok(());
        }
        let at = at.unwrap_or(rules.len() + 1);
        match at.checked_sub(1).filter(|index| *index <= rules.len()) {
            Some(index) => rules.insert(index, stored.clone()),
            None => bail!("Position {at} is out-of-range."),
        }
        Ok(())
    }))?;
    if is_present.get() {
        writeln!(std::io::stdout().lock(), "Rule already present, skipping.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove_at(name: &str, direction: Direction, at: usize, context: &Context) -> Outcome {
    let client = context.client()?;
    context.block_on(change(&client, name, context, |profile| {
        let rules = direction.rules(&mut profile.spec);
        match at.checked_sub(1).filter(|index| *index < rules.len()) {
            Some(index) => drop(rules.remove(index)),
            None => bail!("Position {at} is out-of-range."),
        }
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

fn remove(name: &str, direction: Direction, rule: &Rule, context: &Context) -> Outcome {
    let client = context.client()?;
    context.block_on(change(&client, name, context, |profile| {
        let rules = direction.rules(&mut profile.spec);
        match position(rules, rule) {
            Some(index) => drop(rules.remove(index)),
            None => bail!("Rule not found."),
        }
        Ok(())
    }))?;
    Ok(ExitCode::SUCCESS)
}

/// Where a rule is that says the same.
fn position(rules: &[Stored], rule: &Rule) -> Option<usize> {
    rules
        .iter()
        .position(|stored| matches!(Known::of(stored), Known::Rule(known) if known == *rule))
}
