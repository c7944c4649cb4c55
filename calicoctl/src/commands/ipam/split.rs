//! `calicoctl ipam split` (`reference/calicoctl.md` 6.5). Everything is checked before the first
//! write (section 9, number 13), and the old pool goes in the commit that brings the new ones.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use libcalico::client::{Client, prepare_create};
use libcalico::clock;
use libcalico::resources::{ClusterInformation, IpPool, Kind, Object};
use libcalico::store::{Action, Change, Committed, Document, Guard, Key, Prefix, Query};
use serde_json::json;
use uuid::Uuid;

use super::survey::is_locked;
use super::{Format, print_json};
use crate::commands::Outcome;
use crate::context::Context;

/// The most new pools of one commit, beside the old one and the cluster.
const BATCH: usize = 100;
/// How often a split that somebody's change crossed is planned again.
const ATTEMPTS: usize = 5;

/// Flags of `ipam split`.
#[derive(Debug, Args)]
pub struct Split {
    /// Into how many parts: a power of two.
    number: String,
    /// The range of the pool.
    #[arg(long, value_name = "CIDR")]
    cidr: Option<String>,
    /// The name of the pool.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What a split changes.
struct Plan {
    old: IpPool,
    new: Vec<IpPool>,
    /// The commits, in their order.
    commits: Vec<Vec<Change>>,
}

impl Split {
    /// Splits.
    pub fn run(self, context: &Context) -> Outcome {
        if self.name.is_none() && self.cidr.is_none() {
            bail!(
                "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split"
            );
        }
        let number = self.number.parse::<u64>().ok().filter(|number| number.is_power_of_two());
        let number = number.with_context(|| {
            format!("number to split CIDR into is not a valid power of 2: {}", self.number)
        })?;
        let client = context.client()?;
        let plan = context.block_on(self.split(number, &client, context))?;
        self.tell(&plan)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn split(&self, number: u64, client: &Client, context: &Context) -> anyhow::Result<Plan> {
        for _ in 0..ATTEMPTS {
            let queries = [
                Query::Prefix(Prefix::kind(Kind::IpPool)),
                Query::Key(Key::global(Kind::ClusterInformation, "default")),
            ];
            let read = client.store().read(&queries, context.deadline()).await?;
            let (mut pools, mut cluster) = (Vec::new(), None);
            for document in read.results.iter().flatten() {
                match &document.key {
                    Key::Resource { kind: Kind::IpPool, .. } => {
                        pools.push(IpPool::decode(document)?)
                    }
                    _ => cluster = Some(document),
                }
            }
            let plan = self.plan(number, &pools, cluster)?;
            if commit(&plan, client, context).await? {
                return Ok(plan);
            }
        }
        bail!("the pool was changed again and again while it was split: try again")
    }

    fn plan(
        &self,
        number: u64,
        pools: &[IpPool],
        cluster: Option<&Document>,
    ) -> anyhow::Result<Plan> {
        let lock = cluster.context("the datastore has no ClusterInformation")?;
        ensure!(
            is_locked(Some(&ClusterInformation::decode(lock)?)),
            "the datastore is not locked: lock it first (calicoctl datastore migrate lock)"
        );
        let old = self.find(pools)?;
        let parts = parts(&old, number)?;
        let mut new = Vec::new();
        for (index, cidr) in parts.into_iter().enumerate() {
            let mut pool =
                IpPool::new(format!("split-{}-{index}", old.metadata.name), old.spec.clone());
            pool.spec.cidr = cidr.to_string();
            pool.spec.disabled = false;
            pool.metadata.labels = old.metadata.labels.clone();
            pool.metadata.annotations = old.metadata.annotations.clone();
            new.push(pool);
        }
        // A run that was interrupted has left some of them.
        let exists =
            |pool: &IpPool| pools.iter().find(|other| other.metadata.name == pool.metadata.name);
        let mut creates = Vec::new();
        for pool in &new {
            match exists(pool) {
                None => {
                    let now = clock::now();
                    creates.push(prepare_create(&mut pool.clone(), now, Uuid::new_v4())?);
                }
                Some(other) => ensure!(
                    other.spec == pool.spec,
                    "pool {} is there already, and is not the part {} of {}: rename it first",
                    other.metadata.name,
                    pool.spec.cidr,
                    old.metadata.name
                ),
            }
        }
        let commits = commits(&old, creates, lock)?;
        Ok(Plan { old, new, commits })
    }

    fn find(&self, pools: &[IpPool]) -> anyhow::Result<IpPool> {
        if let Some(name) = &self.name {
            let found = pools.iter().find(|pool| pool.metadata.name == *name);
            let found =
                found.with_context(|| format!("unable to find IP pool with the name {name}"))?;
            if let Some(cidr) = &self.cidr {
                let same = cidr.parse::<IpNet>().ok().map(|net| net.trunc()) == found.spec.net();
                ensure!(
                    same,
                    "IP pool {name} is {}, not {cidr}: give one of them",
                    found.spec.cidr
                );
            }
            return Ok(found.clone());
        }
        let text = self.cidr.as_deref().unwrap_or_default();
        let cidr: IpNet = text.parse().ok().with_context(|| format!("invalid CIDR: {text}"))?;
        let found = pools.iter().find(|pool| pool.spec.net() == Some(cidr.trunc()));
        found.cloned().with_context(|| format!("unable to find IP pool with the CIDR {text}"))
    }

    fn tell(&self, plan: &Plan) -> anyhow::Result<()> {
        let (name, number) = (&plan.old.metadata.name, plan.new.len());
        if self.output == Format::Json {
            let part =
                |pool: &IpPool| json!({ "name": pool.metadata.name, "cidr": pool.spec.cidr });
            let pools: Vec<_> = plan.new.iter().map(part).collect();
            return print_json(&json!({ "split": name, "pools": pools }));
        }
        let mut out = std::io::stdout().lock();
        // COMPAT: upstream ends neither this line nor the last one.
        write!(out, "IP Pool {name} was successfully split into {number} smaller pools.")?;
        for pool in &plan.new {
            writeln!(out, "Created {} with CIDR {}.", pool.metadata.name, pool.spec.cidr)?;
        }
        write!(out, "Please refer to the documentation for final steps.")?;
        Ok(out.flush()?)
    }
}

/// The ranges of the parts; refuses parts that are smaller than a block.
fn parts(old: &IpPool, number: u64) -> anyhow::Result<Vec<IpNet>> {
    let (name, text) = (&old.metadata.name, &old.spec.cidr);
    let cidr =
        old.spec.net().with_context(|| format!("the CIDR {text} of {name} is no network"))?;
    let bits = u8::try_from(number.trailing_zeros()).unwrap_or(u8::MAX);
    let length =
        cidr.prefix_len().checked_add(bits).filter(|length| *length <= cidr.max_prefix_len());
    let length = length.with_context(|| {
        format!("the CIDR {cidr} is not large enough to be split into {number} parts")
    })?;
    let block = old.spec.block_prefix_len().unwrap_or(cidr.max_prefix_len());
    ensure!(
        length <= block,
        "the CIDR {cidr} is not large enough to be split into {number} parts: they would be /{length}, \
         and its blocks are /{block}"
    );
    Ok(cidr.subnets(length)?.collect())
}

/// All at once where that fits. Else the old pool is disabled first and goes last, so that a run
/// that is interrupted can be repeated.
fn commits(
    old: &IpPool,
    creates: Vec<Change>,
    lock: &Document,
) -> anyhow::Result<Vec<Vec<Change>>> {
    let revision = old.metadata.revision().context("the pool has no revision")?;
    let locked = || Change {
        key: lock.key.clone(),
        guard: Guard::Revision(lock.revision),
        action: Action::Check,
    };
    if creates.len() <= BATCH {
        let mut all = vec![locked(), Change::delete(old.key(), revision)];
        all.extend(creates);
        return Ok(vec![all]);
    }
    let mut commits = Vec::new();
    if !old.spec.disabled {
        let mut disabled = old.clone();
        disabled.spec.disabled = true;
        commits.push(vec![locked(), Change::update(old.key(), revision, disabled.encode())]);
        // The pool is another one now: the rest is planned anew.
        return Ok(commits);
    }
    for some in creates.chunks(BATCH) {
        let unchanged = Guard::Revision(revision);
        let mut changes =
            vec![locked(), Change { key: old.key(), guard: unchanged, action: Action::Check }];
        changes.extend(some.iter().cloned());
        commits.push(changes);
    }
    commits.push(vec![locked(), Change::delete(old.key(), revision)]);
    Ok(commits)
}

/// Makes the commits. False if the split isn't over yet: somebody changed something, or the old pool
/// had to be disabled first.
async fn commit(plan: &Plan, client: &Client, context: &Context) -> anyhow::Result<bool> {
    let mut over = false;
    for changes in &plan.commits {
        let committed = client.store().commit(changes, context.deadline()).await?;
        if matches!(committed, Committed::Conflict(_)) {
            return Ok(false);
        }
        over = changes
            .iter()
            .any(|change| change.key == plan.old.key() && change.action == Action::Delete);
    }
    Ok(over)
}

#[cfg(test)]
mod tests {
    use libcalico::resources::IpPoolSpec;

    use super::*;

    fn pool(cidr: &str, block_size: i64) -> IpPool {
        let spec = IpPoolSpec { cidr: cidr.to_owned(), block_size, ..IpPoolSpec::default() };
        let mut pool = IpPool::new("p", spec);
        pool.metadata.set_revision(7);
        pool
    }

    #[test]
    fn parts_are_never_smaller_than_a_block() {
        let texts = |cidr: &str, number| -> Vec<String> {
            let parts = parts(&pool(cidr, 0), number).expect("parts");
            parts.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("10.0.0.0/24", 2), ["10.0.0.0/25", "10.0.0.128/25"]);
        assert_eq!(texts("10.0.0.0/24", 1), ["10.0.0.0/24"]);
        assert_eq!(texts("fd00::/121", 2), ["fd00::/122", "fd00::40/122"]);
        let text =
            |number| parts(&pool("10.0.0.0/24", 0), number).expect_err("too small").to_string();
        assert!(text(8).contains("they would be /27, and its blocks are /26"), "{}", text(8));
        assert_eq!(
            text(512),
            "the CIDR 10.0.0.0/24 is not large enough to be split into 512 parts"
        );
    }

    #[test]
    fn few_parts_come_with_the_end_of_the_old_pool_and_many_after_it_is_disabled() {
        let lock = Document {
            key: Key::global(Kind::ClusterInformation, "default"),
            value: Vec::new(),
            revision: 3,
        };
        let creates = |number: usize| -> Vec<Change> {
            let key = |index| Key::global(Kind::IpPool, format!("split-p-{index}"));
            (0..number).map(|index| Change::create(key(index), Vec::new())).collect()
        };
        let plan = |old: &IpPool, number| commits(old, creates(number), &lock).expect("a plan");
        let mut old = pool("10.0.0.0/8", 0);
        let few = plan(&old, 100);
        assert_eq!((few.len(), few[0].len()), (1, 102));
        assert_eq!(few[0][1], Change::delete(old.key(), 7));
        assert_eq!(plan(&old, 256).len(), 1, "only disabled, at first");
        old.spec.disabled = true;
        let many = plan(&old, 256);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [102, 102, 58, 2]);
        assert_eq!(many[3][1], Change::delete(old.key(), 7));
        assert!(many.iter().all(|changes| changes[0].guard == Guard::Revision(3)));
    }
}
