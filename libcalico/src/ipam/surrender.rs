//! Giving blocks up (`reference/ipam.md` 8.4 and section 10): a block and its affinity go in one
//! commit (T5). A block with addresses in use stays, without owner. What an interrupted release of
//! upstream's left behind goes, too.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::claim::pool_of;
use super::error::IpamError;
use super::operation::{Operation, Step};
use super::stage::{Env, Fate, Order, Stage};
use super::view::{Fact, View};
use crate::resources::Kind;
use crate::store::{AffinityOwner, AffinityType, Change, Family, Guard, Key, Prefix, Query};

/// Which affinities go.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    /// That of an owner for one block.
    One(AffinityOwner, IpNet),
    /// Those of an owner inside a network, which must be of an enabled pool.
    Within(AffinityOwner, IpNet),
    /// All of an owner.
    Owner(AffinityOwner),
    /// That of whoever owns a block.
    Block(IpNet),
    /// All inside a pool's network, of every owner.
    Pool(IpNet),
}

/// Under which conditions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions {
    /// Only if no address is in use or cools down.
    pub must_be_empty: bool,
    /// Only if the block's sequence number is this one.
    pub sequence_number: Option<u64>,
}

/// Gives affinities up.
pub(crate) struct Surrender {
    which: Which,
    conditions: Conditions,
    /// A further deletion, in the last commit.
    extra: Option<Change>,
    /// Those that are done, or failed.
    settled: BTreeSet<(AffinityOwner, IpNet)>,
    next: Vec<(AffinityOwner, IpNet)>,
    /// Whether the commit of the last step has the further deletion.
    with_extra: bool,
    error: Option<IpamError>,
}

impl Surrender {
    pub(crate) fn new(which: Which, conditions: Conditions, extra: Option<Change>) -> Surrender {
        let (settled, next) = (BTreeSet::new(), Vec::new());
        Surrender { which, conditions, extra, settled, next, with_extra: false, error: None }
    }

    fn targets(&self, view: &View) -> Result<Vec<(AffinityOwner, IpNet)>, IpamError> {
        let mut targets: Vec<(AffinityOwner, IpNet)> = match &self.which {
            Which::One(owner, cidr) => vec![(owner.clone(), *cidr)],
            Which::Block(cidr) => match view.block(*cidr) {
                Fact::Present(_, block) => {
                    block.owner().map(|owner| (owner, *cidr)).into_iter().collect()
                }
                Fact::Damaged => {
                    return Err(view.damaged(&Key::Block(*cidr), &format!("block {cidr}")));
                }
                Fact::Absent | Fact::Unknown => Vec::new(),
            },
            Which::Within(owner, cidr) => {
                pool_of(*cidr, view)?;
                let blocks = view.affinities_of(owner, Some(Family::of(cidr)));
                let inside = blocks.into_iter().filter(|block| cidr.contains(block));
                inside.map(|block| (owner.clone(), block)).collect()
            }
            Which::Owner(owner) => {
                let blocks = view.affinities_of(owner, None).into_iter();
                blocks.map(|block| (owner.clone(), block)).collect()
            }
            Which::Pool(cidr) => view
                .all_affinities()
                .filter(|(_, block)| cidr.contains(block))
                .map(|(owner, block)| (owner.clone(), block))
                .collect(),
        };
        targets.retain(|target| !self.settled.contains(target));
        Ok(targets)
    }

    /// Plans one. A failure leaves it as it is.
    fn plan(
        &self,
        owner: &AffinityOwner,
        cidr: IpNet,
        stage: &mut Stage<'_>,
    ) -> Result<(), IpamError> {
        let exists = !matches!(stage.view.affinity(owner, cidr), Fact::Absent);
        if !exists && matches!(self.which, Which::One(..)) {
            return Err(IpamError::NotFound {
                what: format!("the affinity of {} for block {cidr}", owner.name),
                detail: "",
            });
        }
        let now = stage.env.now;
        let staged = match stage.sound_block(cidr)? {
            Fact::Present(_, staged) => staged,
            _ => {
                stage.check_absent(cidr);
                stage.delete_affinity(owner, cidr);
                return Ok(());
            }
        };
        let block = &mut staged.block;
        if let Some(other) = block.affinity.clone().filter(|_| !block.is_owned_by(owner)) {
            // Stale: the block changed hands. Only our own record goes.
            stage.delete_affinity(owner, cidr);
            return match self.which {
                Which::One(..) => Err(IpamError::AlreadyClaimed { block: cidr, owner: other }),
                _ => Ok(()),
            };
        }
        if self.conditions.sequence_number.is_some_and(|asked| asked != block.sequence_number) {
            return Err(IpamError::BlockChanged { block: cidr });
        }
        if block.is_empty() {
            staged.fate = Fate::Delete;
        } else if self.conditions.must_be_empty {
            let cooling = block.cooling_count();
            let in_use = block.allocated().count() - cooling;
            return Err(IpamError::NotEmpty { block: cidr, in_use, cooling });
        } else {
            block.set_owner(None, now);
            staged.touch();
        }
        stage.delete_affinity(owner, cidr);
        Ok(())
    }
}

impl Operation for Surrender {
    type Answer = ();

    fn name(&self) -> &'static str {
        "give blocks up"
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![Query::Key(Key::IpamConfig)];
        match &self.which {
            Which::One(owner, cidr) => {
                queries.push(Query::Key(Key::Affinity(owner.clone(), *cidr)));
                queries.push(Query::Key(Key::Block(*cidr)));
            }
            Which::Block(cidr) => queries.push(Query::Key(Key::Block(*cidr))),
            Which::Within(owner, cidr) => {
                let family = Some(Family::of(cidr));
                queries.push(Query::Prefix(Prefix::kind(Kind::IpPool)));
                queries.push(Query::Prefix(Prefix::Affinities(owner.clone(), family)));
            }
            Which::Owner(owner) => {
                queries.push(Query::Prefix(Prefix::Affinities(owner.clone(), None)));
            }
            Which::Pool(_) => {
                queries.push(Query::Prefix(Prefix::AllAffinities(AffinityType::Host)));
                queries.push(Query::Prefix(Prefix::AllAffinities(AffinityType::Virtual)));
            }
        }
        queries
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<()>, IpamError> {
        let cooldown = view.config()?.ip_cooldown_seconds;
        loop {
            let targets = self.targets(view)?;
            if targets.is_empty() && self.extra.is_none() {
                return self.error.take().map_or(Ok(Step::Done(())), Err);
            }
            let needs: Vec<Query> = targets
                .iter()
                .take(64)
                .flat_map(|(owner, cidr)| {
                    [Key::Block(*cidr), Key::Affinity(owner.clone(), *cidr)].map(Query::Key)
                })
                .filter(|query| !view.knows(query))
                .take(64)
                .collect();
            if !needs.is_empty() {
                return Ok(Step::Read(needs));
            }
            let mut stage = Stage::new(view, env, cooldown);
            self.next.clear();
            let mut failed = Vec::new();
            for (owner, cidr) in targets.iter().take(64) {
                if !stage.has_room() {
                    break;
                }
                match self.plan(owner, *cidr, &mut stage) {
                    Ok(()) => self.next.push((owner.clone(), *cidr)),
                    Err(error) => failed.push(((owner.clone(), *cidr), error)),
                }
            }
            let planned = self.next.len() + failed.len();
            // One that failed may still have left a stale affinity to delete.
            for (target, error) in failed {
                let stale = matches!(error, IpamError::AlreadyClaimed { .. });
                self.error = Some(error);
                if stale {
                    self.next.push(target);
                } else {
                    self.settled.insert(target);
                }
            }
            if self.next.is_empty() && !targets.is_empty() {
                continue;
            }
            let mut changes = stage.into_changes(Order::Give);
            self.with_extra = planned == targets.len();
            if self.with_extra {
                changes.extend(self.extra.clone());
            }
            let own = changes.len();
            return Ok(Step::Commit { changes, own });
        }
    }

    fn committed(&mut self) {
        self.settled.extend(self.next.drain(..));
        if self.with_extra {
            self.extra = None;
        }
    }
}

/// The deletion of the marker that releases before 3.0 left of a host.
pub(crate) fn legacy_marker(host: &str) -> Change {
    Change {
        key: Key::LegacyHost(host.to_owned()),
        guard: Guard::Any,
        action: crate::store::Action::Delete,
    }
}
