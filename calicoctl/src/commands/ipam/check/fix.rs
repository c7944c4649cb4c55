//! `ipam check --fix`: repairs what is provably safe, each repair as one guarded commit, and tells
//! what it did and what it left alone. An address in use is never touched.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use libcalico::client::Client;
use libcalico::clock;
use libcalico::ipam::repair::{self, Repair};
use libcalico::ipam::{Allocator, ReleaseGuard};
use libcalico::store::{Change, Committed};

use super::Findings;
use crate::commands::ipam::survey::Survey;
use crate::context::Context;
use crate::progress::doing;

/// How often the store is looked at again: a repair may make room for the next one.
const ROUNDS: usize = 10;

/// Repairs.
pub async fn run(
    client: &Client,
    survey: Survey,
    release_leaked: bool,
    quiet: bool,
    context: &Context,
) -> anyhow::Result<()> {
    let mut fixer = Fixer { client, context, quiet, done: 0 };
    fixer.say("\nRepairing...")?;
    let survey = fixer.repair(survey).await?;
    let left = match release_leaked {
        true => fixer.release(&survey).await?,
        false => Findings::of(&survey).leaked.len(),
    };
    if left > 0 {
        fixer.say(&format!(
            "  left alone: {left} addresses that nobody seems to use; lock the datastore (calicoctl \
             datastore lock) and use --release-leaked"
        ))?;
    }
    let done = fixer.done;
    fixer.say(&format!("Repaired {done} things."))
}

struct Fixer<'a> {
    client: &'a Client,
    context: &'a Context,
    quiet: bool,
    done: usize,
}

impl Fixer<'_> {
    /// Tells something; beside JSON on standard output, on standard error.
    fn say(&self, text: &str) -> anyhow::Result<()> {
        match self.quiet {
            true => eprintln!("{text}"),
            false => writeln!(std::io::stdout(), "{text}")?,
        }
        Ok(())
    }

    /// Repairs what the checker's objects tell. Answers what there is afterwards.
    async fn repair(&mut self, mut survey: Survey) -> anyhow::Result<Survey> {
        let mut crossed = Vec::new();
        for _ in 0..ROUNDS {
            let now = clock::now();
            let plan = repair::plan(&survey.documents, survey.is_locked(), now);
            if plan.repairs.is_empty() {
                for text in plan.left_alone {
                    self.say(&format!("  left alone: {text}"))?;
                }
                return Ok(survey);
            }
            crossed = doing("repairing", self.commit(plan.repairs)).await?;
            survey = Survey::read(self.client, self.context.deadline()).await?;
        }
        for text in crossed {
            self.say(&format!("  left alone: {text}: others were faster; try again"))?;
        }
        Ok(survey)
    }

    /// Makes the repairs that touch no document twice; the texts of those that others crossed.
    async fn commit(&mut self, repairs: Vec<Repair>) -> anyhow::Result<Vec<String>> {
        let (mut written, mut crossed) = (HashSet::new(), Vec::new());
        for repair in repairs {
            let touches = |change: &Change| written.contains(&change.key);
            if repair.changes.iter().any(touches) {
                continue;
            }
            let deadline = self.context.deadline();
            match self.client.store().commit(&repair.changes, deadline).await? {
                Committed::Done(_) => {
                    self.done += 1;
                    self.say(&format!("  {}", repair.text))?;
                    written.extend(repair.changes.into_iter().map(|change| change.key));
                }
                Committed::Conflict(_) => crossed.push(repair.text),
            }
        }
        Ok(crossed)
    }

    /// Gives addresses back that nobody uses, as far as that is certain: their node is gone, or the
    /// datastore is locked. Answers how many it left.
    async fn release(&mut self, survey: &Survey) -> anyhow::Result<usize> {
        let locked = survey.is_locked();
        let nodes: BTreeSet<&str> =
            survey.nodes.iter().map(|node| node.metadata.name.as_str()).collect();
        let leaked = Findings::of(survey).leaked;
        let is_gone =
            |node: Option<&String>| node.is_some_and(|node| !nodes.contains(node.as_str()));
        let guards: Vec<ReleaseGuard> = leaked
            .iter()
            .filter(|(_, record)| locked || is_gone(record.secondary.get("node")))
            .map(|(ip, record)| {
                let block = survey.blocks.values().find(|block| block.cidr.contains(ip));
                ReleaseGuard {
                    address: *ip,
                    handle: Some(record.handle().unwrap_or_default().to_owned()),
                    sequence_number: block.and_then(|block| block.sequence_of(*ip).ok()),
                }
            })
            .collect();
        if guards.is_empty() {
            return Ok(leaked.len());
        }
        let allocator = Allocator::new(&**self.client.store());
        let release = allocator.release_ips(&guards, self.context.deadline());
        let outcome = doing("releasing addresses", release).await?;
        for guard in &outcome.processed {
            self.say(&format!("  address {}: released, as nobody uses it", guard.address))?;
        }
        if let Some(error) = &outcome.error {
            self.say(&format!("  left alone: {error}"))?;
        }
        self.done += outcome.processed.len();
        Ok(leaked.len() - outcome.processed.len())
    }
}
