//! `calicoctl profile P tag`: labels without a value, which the profile's endpoints get.

use std::cell::Cell;
use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use super::{change, get};
use crate::commands::Outcome;
use crate::context::Context;

/// The commands of `calicoctl profile P tag`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the tags, one a line.
    Show {
        /// The profile's name.
        profile: String,
    },
    /// Adds a tag.
    Add {
        /// The profile's name.
        profile: String,
        /// The tag.
        tag: String,
    },
    /// Removes a tag.
    Remove {
        /// The profile's name.
        profile: String,
        /// The tag.
        tag: String,
    },
}

/// Does what the command says.
pub fn run(command: Command, context: &Context) -> Outcome {
    let client = context.client()?;
    let mut out = std::io::stdout().lock();
    match command {
        Command::Show { profile } => {
            let profile = context.block_on(get(&client, &profile, context))?;
            // A label with a value is no tag: rules can't name it as one.
            for (label, _) in profile.spec.labels_to_apply.iter().filter(|tag| tag.1.is_empty()) {
                writeln!(out, "{label}")?;
            }
        }
        Command::Add { profile, tag } => {
            context.block_on(change(&client, &profile, context, |stored| {
                if let Some(value) = stored.spec.labels_to_apply.get(&tag)
                    && !value.is_empty()
                {
                    bail!("profile {profile} has the label {tag}={value}: a tag has no value");
                }
                stored.spec.labels_to_apply.insert(tag.clone(), String::new());
                Ok(())
            }))?;
            writeln!(out, "Tag {tag} added to profile {profile}")?;
        }
        Command::Remove { profile, tag } => {
            let was_there = Cell::new(false);
            context.block_on(change(&client, &profile, context, |stored| {
                let labels = &mut stored.spec.labels_to_apply;
                was_there.set(labels.get(&tag).is_some_and(String::is_empty));
                if was_there.get() {
                    labels.remove(&tag);
                }
                Ok(())
            }))?;
            if !was_there.get() {
                bail!("Tag {tag} is not on profile {profile}");
            }
            writeln!(out, "Tag {tag} removed from profile {profile}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
