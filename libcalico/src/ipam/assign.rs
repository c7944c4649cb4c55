//! Automatic assignment (`reference/ipam.md` section 3): the choice of pools, the host's own blocks
//! first, then new ones, then those of others. Both families are decided for one commit.

mod explain;
mod search;

use super::address;
use super::config::IpamConfig;
use super::error::{IpamError, PoolReport, Shortfall};
use super::operation::{Operation, Step};
use super::pool::{self, Choice, IntendedUse, Labels, PassedOver, PoolRequest};
use super::request::{
    Assigned, Assignment, AutoAssign, Companion, FamilyResult, check_handle, check_name,
};
use super::reservation::AddressFilter;
use super::stage::{Env, Order, Stage};
use super::view::{Fact, View};
use crate::resources::Kind;
use crate::store::{AffinityOwner, Family, Key, Query};
use std::collections::BTreeSet;

pub(crate) use explain::explain;
pub use explain::{Explanation, HowTaken, NextAddress, PoolOffer, PoolRefusal};
use search::{End, Search};

/// The cap on blocks per host when neither the configuration nor the request sets one.
const DEFAULT_MAX_BLOCKS: u64 = 20;

/// Automatic assignment as an operation.
pub(crate) struct AutoAssignOperation<'a> {
    request: &'a AutoAssign,
    companion: Option<Companion<'a>>,
    /// What earlier commits took.
    done: Assignment,
    /// What the commit of the last step takes, and whether it is the last one.
    next: Option<(Assignment, bool)>,
    finished: bool,
}

/// What both families share.
pub(super) struct Facts<'a> {
    pub request: &'a AutoAssign,
    pub owner: AffinityOwner,
    pub config: IpamConfig,
    pub filter: AddressFilter,
    pub labels: Labels,
    pub pools: Vec<pool::Pool>,
}

/// What was decided for one family.
#[derive(Default)]
struct FamilyPlan {
    result: FamilyResult,
    /// What must be known first.
    needs: BTreeSet<Key>,
    /// Whether a further commit can take more.
    more: bool,
    choice: Choice,
}

impl<'a> Facts<'a> {
    pub(super) fn new(request: &'a AutoAssign, view: &View) -> Result<Facts<'a>, IpamError> {
        let labels = match (request.intended_use, view.node(&request.host)) {
            (IntendedUse::LoadBalancer, _) => Labels::new(),
            (_, Fact::Present(_, labels)) => labels.clone(),
            (_, Fact::Damaged) => {
                let key = Key::global(Kind::Node, &request.host);
                return Err(view.damaged(&key, &format!("node {}", request.host)));
            }
            _ => return Err(IpamError::NodeNotFound { host: request.host.clone() }),
        };
        Ok(Facts {
            request,
            owner: request.owner(),
            config: view.config()?,
            filter: view.reserved(),
            labels,
            pools: view.pools(),
        })
    }

    /// The most blocks that the host may have in each family.
    pub(super) fn block_limit(&self) -> u64 {
        let positive = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        let asked = self.request.max_blocks_per_host.map(i64::from).and_then(positive);
        match (positive(self.config.max_blocks_per_host), asked) {
            (Some(config), Some(asked)) => config.min(asked),
            (limit, None) | (None, limit) => limit.unwrap_or(DEFAULT_MAX_BLOCKS),
        }
    }

    /// The pools of a family that the request may use.
    pub(super) fn choose_pools(&self, family: Family) -> Result<Choice, IpamError> {
        let request = self.request;
        let (requested, reserved) = match family {
            Family::V4 => (&request.v4_pools, &request.host_reserved_v4),
            Family::V6 => (&request.v6_pools, &request.host_reserved_v6),
        };
        let longest = address::max_prefix_len(family);
        let max_block_size = match reserved {
            None => longest,
            Some(reserved) => {
                let count = reserved.start_of_block.saturating_add(reserved.end_of_block);
                let bits = (u32::BITS - count.leading_zeros()) as u8;
                let wrong = IpamError::InvalidRequest("HostReservedAttr has wrong parameters");
                longest.checked_sub(bits).ok_or(wrong)?
            }
        };
        let none = Labels::new();
        pool::choose(
            &self.pools,
            &PoolRequest {
                family,
                requested,
                intended_use: request.intended_use,
                node_labels: &self.labels,
                namespace_labels: request.namespace_labels.as_ref().unwrap_or(&none),
                max_block_size,
                host: &request.host,
            },
        )
    }
}

impl<'a> AutoAssignOperation<'a> {
    pub(crate) fn new(
        request: &'a AutoAssign,
        companion: Option<Companion<'a>>,
    ) -> Result<AutoAssignOperation<'a>, IpamError> {
        check_name("host", &request.host)?;
        check_handle(request.handle.as_deref())?;
        let requested = |requested| FamilyResult { requested, ..FamilyResult::default() };
        let mut done = Assignment { v4: requested(request.v4), v6: requested(request.v6) };
        done.v4.host_reserved = request.host_reserved_v4.as_ref().map(|own| own.handle.clone());
        done.v6.host_reserved = request.host_reserved_v6.as_ref().map(|own| own.handle.clone());
        Ok(AutoAssignOperation { request, companion, done, next: None, finished: false })
    }

    /// Decides for one family, after what earlier commits took.
    fn plan_family(
        &self,
        family: Family,
        facts: &Facts<'_>,
        stage: &mut Stage<'_>,
    ) -> Result<FamilyPlan, IpamError> {
        let done = match family {
            Family::V4 => &self.done.v4,
            Family::V6 => &self.done.v6,
        };
        let mut plan = FamilyPlan { result: done.clone(), ..FamilyPlan::default() };
        let mut wanted =
            done.requested as usize - done.addresses.len().min(done.requested as usize);
        if wanted == 0 {
            return Ok(plan);
        }
        // What the handle has already it keeps, whether its pools still fit or not.
        let chosen = facts.choose_pools(family);
        plan.choice = chosen.as_ref().cloned().unwrap_or_default();
        let mut search = Search::new(family, facts, &plan.choice, stage);
        if done.addresses.is_empty() {
            let found = search.existing(wanted)?;
            wanted -= found.addresses.len().min(wanted);
            plan.result.addresses.extend(found.addresses);
            if let Some(most) = found.most_more {
                wanted = wanted.min(most);
            }
            if found.unknown {
                plan.needs = search.needs;
                return Ok(plan);
            }
            if wanted == 0 && chosen.is_err() {
                return Ok(plan);
            }
        } else if let Some(max) = self.request.max_per_handle {
            wanted = wanted.min((max as usize).saturating_sub(done.addresses.len()));
        }
        chosen?;
        let end = search.run(wanted)?;
        plan.needs = search.needs;
        plan.result.addresses.extend(search.taken);
        match end {
            End::Satisfied | End::Unknown => {}
            End::NoRoom => plan.more = true,
            End::Short(message) => plan.result.messages.push(message),
            End::Limit(limit) => {
                plan.result.messages.push(format!(
                    "Need to allocate an IPAM block but could not - limit of {limit} blocks \
                     reached for this node"
                ));
                let detail = Box::default();
                let host = facts.request.host.clone();
                plan.result.error = Some(IpamError::BlockLimit { host, limit, detail });
            }
            End::MayNotClaim => {
                plan.result.error = Some(IpamError::NoBlock { detail: Box::default() });
            }
        }
        Ok(plan)
    }

    /// The failure of a family that fell short, with all that explains it.
    fn explain(
        &self,
        family: Family,
        plan: &FamilyPlan,
        facts: &Facts<'_>,
        view: &View,
    ) -> IpamError {
        let text = plan.result.partial_fulfillment(family).unwrap_or_default();
        let pools = plan.choice.pools.iter().map(|pool| report(pool, facts, view)).collect();
        let passed_over = plan
            .choice
            .passed_over
            .iter()
            .filter(|(_, _, why)| *why != PassedOver::NotRequested)
            .cloned()
            .collect();
        let host = self.request.host.clone();
        let detail = Box::new(Shortfall { text, host, pools, passed_over });
        match &plan.result.error {
            Some(IpamError::BlockLimit { host, limit, .. }) => {
                IpamError::BlockLimit { host: host.clone(), limit: *limit, detail }
            }
            Some(IpamError::NoBlock { .. }) => IpamError::NoBlock { detail },
            _ => IpamError::Exhausted(detail),
        }
    }
}

impl Operation for AutoAssignOperation<'_> {
    type Answer = Assignment;

    fn name(&self) -> &'static str {
        "assign addresses"
    }

    fn queries(&self) -> Vec<Query> {
        self.request.queries()
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Assignment>, IpamError> {
        match self.decide(view, env) {
            // What earlier commits took stays taken, and is answered beside the failure.
            Err(error) if !self.request.all_or_nothing && self.done.addresses().count() > 0 => {
                let mut done = std::mem::take(&mut self.done);
                let v4_is_short = done.v4.addresses.len() < done.v4.requested as usize;
                let family = if v4_is_short { &mut done.v4 } else { &mut done.v6 };
                family.error = Some(error);
                Ok(Step::Done(done))
            }
            step => step,
        }
    }

    fn committed(&mut self) {
        if let Some((assignment, last)) = self.next.take() {
            self.done = assignment;
            self.finished = last;
        }
    }
}

impl AutoAssignOperation<'_> {
    fn decide(&mut self, view: &View, env: Env) -> Result<Step<Assignment>, IpamError> {
        if self.finished {
            return Ok(Step::Done(std::mem::take(&mut self.done)));
        }
        let facts = Facts::new(self.request, view)?;
        let mut stage = Stage::new(view, env, facts.config.ip_cooldown_seconds);
        let v4 = self.plan_family(Family::V4, &facts, &mut stage)?;
        // What was found of one family stays found when the other one fails: only all or nothing
        // and an IPv4 failure end the whole.
        let v6 = if v4.result.error.is_some() || v4.more {
            FamilyPlan { result: self.done.v6.clone(), more: v4.more, ..FamilyPlan::default() }
        } else {
            match self.plan_family(Family::V6, &facts, &mut stage) {
                Ok(plan) => plan,
                Err(error) if !self.request.all_or_nothing && !v4.result.addresses.is_empty() => {
                    let result = FamilyResult { error: Some(error), ..self.done.v6.clone() };
                    FamilyPlan { result, ..FamilyPlan::default() }
                }
                Err(error) => return Err(error),
            }
        };
        let needs: BTreeSet<Key> = v4.needs.union(&v6.needs).cloned().collect();
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        let more = v4.more || v6.more;
        let mut plans = [(Family::V4, v4), (Family::V6, v6)];
        if self.request.all_or_nothing && more {
            let addresses = u64::from(self.request.v4) + u64::from(self.request.v6);
            return Err(IpamError::TooMany { addresses });
        }
        let nothing = plans.iter().all(|(_, plan)| plan.result.addresses.is_empty());
        for (family, plan) in &mut plans {
            let short = plan.result.addresses.len() < plan.result.requested as usize;
            let failed = plan.result.error.is_some();
            if short && !plan.more && (self.request.all_or_nothing || failed) {
                let known = matches!(
                    plan.result.error,
                    None | Some(IpamError::BlockLimit { .. } | IpamError::NoBlock { .. })
                );
                let error = match &plan.result.error {
                    Some(error) if !known => error.clone(),
                    _ => self.explain(*family, plan, &facts, view),
                };
                if self.request.all_or_nothing || nothing {
                    return Err(error);
                }
                plan.result.error = Some(error);
            }
        }
        let [(_, v4), (_, v6)] = plans;
        let assignment = Assignment { v4: v4.result, v6: v6.result };
        self.commit(assignment, more, stage)
    }

    fn commit(
        &mut self,
        assignment: Assignment,
        more: bool,
        stage: Stage<'_>,
    ) -> Result<Step<Assignment>, IpamError> {
        let idle = stage.is_idle();
        let mut changes = stage.into_changes(Order::Take);
        let own = changes.len();
        if let Some(companion) = self.companion.filter(|_| !more) {
            let addresses: Vec<Assigned> = assignment.addresses().cloned().collect();
            changes.extend(companion(&addresses));
        }
        if idle && changes.len() == own {
            return Ok(Step::Done(assignment));
        }
        self.next = Some((assignment, !more));
        Ok(Step::Commit { changes, own })
    }
}

fn report(pool: &pool::Pool, facts: &Facts<'_>, view: &View) -> PoolReport {
    let mut report = PoolReport {
        name: pool.name.clone(),
        cidr: pool.cidr,
        blocks: address::block_count(pool.cidr, pool.block_size),
        blocks_used: 0,
        blocks_own: 0,
        in_use: 0,
        cooling: 0,
        borrowed: 0,
        free_elsewhere: 0,
        reserved: facts.filter.count_in(pool.cidr),
    };
    for block in view.all_blocks().filter(|block| pool.cidr.contains(&block.cidr)) {
        let own = block.is_owned_by(&facts.owner);
        let cooling = block.cooling_count() as u64;
        report.blocks_used += 1;
        report.blocks_own += u64::from(own);
        report.cooling += cooling;
        report.in_use += block.allocations.iter().flatten().count() as u64 - cooling;
        if !own {
            report.free_elsewhere += block.free_count(&facts.filter) as u64;
            report.borrowed += block
                .allocated()
                .filter(|(_, record)| record.secondary.get("node") == Some(&facts.request.host))
                .count() as u64;
        }
    }
    report
}
