//! Assigning one address that was asked for (`reference/ipam.md` section 7). Reservations, selectors
//! and the limit of blocks don't bind it; the pool's uses and strict affinity do.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::address;
use super::error::IpamError;
use super::handle::sanitize;
use super::operation::{Operation, Step};
use super::pool::{IntendedUse, Pool};
use super::request::{AssignIp, Assigned, Companion, check_handle, check_name};
use super::stage::{Env, Order, Stage};
use super::view::{Fact, View};
use crate::store::{AffinityOwner, AffinityType, Key, Query};

/// The assignment of one address as an operation.
pub(crate) struct AssignIpOperation<'a> {
    request: &'a AssignIp,
    companion: Option<Companion<'a>>,
    next: Option<Assigned>,
    done: Option<Assigned>,
}

impl<'a> AssignIpOperation<'a> {
    pub(crate) fn new(
        request: &'a AssignIp,
        companion: Option<Companion<'a>>,
    ) -> Result<AssignIpOperation<'a>, IpamError> {
        check_name("host", &request.host)?;
        check_handle(request.handle.as_deref())?;
        Ok(AssignIpOperation { request, companion, next: None, done: None })
    }

    fn owner(&self) -> AffinityOwner {
        let kind = match self.request.intended_use {
            Some(IntendedUse::LoadBalancer) => AffinityType::Virtual,
            _ => AffinityType::Host,
        };
        AffinityOwner { kind, name: self.request.host.clone() }
    }

    /// The enabled pool of the address.
    fn pool(&self, view: &View) -> Result<Pool, IpamError> {
        let ip = self.request.ip;
        let enabled: Vec<Pool> = view.pools().into_iter().filter(Pool::is_enabled).collect();
        let Some(pool) = enabled.iter().find(|pool| pool.cidr.contains(&ip)) else {
            let family = address::family_of(ip);
            let of_family = enabled.iter().filter(|pool| pool.family() == family);
            let pools = of_family.map(|pool| format!("{} {}", pool.name, pool.cidr)).collect();
            return Err(IpamError::NotInPool { ip, pools });
        };
        match self.request.intended_use {
            Some(intended_use) if !pool.allows(intended_use) => Err(IpamError::UseNotAllowed {
                ip,
                pool: pool.name.clone(),
                intended_use,
                allowed: pool.allowed_uses.clone(),
            }),
            _ => Ok(pool.clone()),
        }
    }

    /// Refuses an address above the handle's maximum. Answers what has to be read first.
    fn check_maximum(&self, stage: &mut Stage<'_>) -> Result<BTreeSet<Key>, IpamError> {
        let mut needs = BTreeSet::new();
        let (Some(id), Some(max)) = (&self.request.handle, self.request.max_per_handle) else {
            return Ok(needs);
        };
        let Fact::Present(_, handle) = stage.view.handle(id) else { return Ok(needs) };
        let family = address::family_of(self.request.ip);
        if handle.total(family) < i64::from(max) {
            return Ok(needs);
        }
        let mut held = 0;
        let blocks: Vec<(IpNet, i64)> = handle
            .block
            .iter()
            .filter_map(|(cidr, count)| Some((cidr.parse().ok()?, *count)))
            .collect();
        for (cidr, counted) in blocks {
            if crate::store::Family::of(&cidr) != family {
                continue;
            }
            match stage.block(cidr) {
                Fact::Unknown => {
                    needs.insert(Key::Block(cidr));
                }
                Fact::Present(_, staged) => {
                    let found = staged.block.addresses_of(id).len();
                    held += found;
                    // See `Search::void_overcounts`.
                    if counted > found as i64 {
                        staged.touch();
                    }
                }
                Fact::Absent | Fact::Damaged => {}
            }
        }
        if needs.is_empty() && held >= max as usize {
            let (handle, ip) = (id.clone(), self.request.ip);
            return Err(IpamError::HandleLimit { handle, ip, max });
        }
        Ok(needs)
    }
}

impl Operation for AssignIpOperation<'_> {
    type Answer = Assigned;

    fn name(&self) -> &'static str {
        "assign an address"
    }

    fn queries(&self) -> Vec<Query> {
        self.request.queries()
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Assigned>, IpamError> {
        if let Some(done) = self.done.take() {
            return Ok(Step::Done(done));
        }
        let request = self.request;
        let owner = self.owner();
        let pool = self.pool(view)?;
        let config = view.config()?;
        let Some(cidr) = address::block_of(request.ip, pool.block_size) else {
            return Err(IpamError::NotInPool { ip: request.ip, pools: vec![pool.name] });
        };
        let mut needs: BTreeSet<Key> = [Key::Block(cidr), Key::Affinity(owner.clone(), cidr)]
            .into_iter()
            .filter(|key| !view.knows(&Query::Key(key.clone())))
            .collect();
        let mut stage = Stage::new(view, env, config.ip_cooldown_seconds);
        if needs.is_empty() && holds_already(&mut stage, cidr, request) {
            return Ok(self.finish(cidr, &pool, stage, true));
        }
        needs.extend(self.check_maximum(&mut stage)?);
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        let staged = match stage.sound_block(cidr)? {
            Fact::Present(_, staged) => {
                if config.strict_affinity {
                    staged.block.check_owner(&owner)?;
                }
                staged
            }
            _ => {
                let (key, guard) = view.pool_guard(&pool.name);
                stage.check(key, guard);
                stage.claim_absent(cidr, &owner, request.host_reserved.as_ref())
            }
        };
        staged.block.assign(request.ip, request.handle.as_deref(), &request.attributes)?;
        staged.touch();
        let owned = staged.block.is_owned_by(&owner);
        if owned {
            stage.confirm_affinity(&owner, cidr);
        }
        if let Some(handle) = &request.handle {
            stage.handle(handle)?.add(cidr, 1);
        }
        Ok(self.finish(cidr, &pool, stage, false))
    }

    fn committed(&mut self) {
        self.done = self.next.take();
    }
}

impl AssignIpOperation<'_> {
    fn finish(
        &mut self,
        cidr: IpNet,
        pool: &Pool,
        mut stage: Stage<'_>,
        reused: bool,
    ) -> Step<Assigned> {
        let ip = self.request.ip;
        let sequence_number = match stage.block(cidr) {
            Fact::Present(_, staged) => staged.block.sequence_of(ip).unwrap_or(0),
            _ => 0,
        };
        let assigned = Assigned {
            address: ip,
            block_prefix_len: cidr.prefix_len(),
            pool: Some(pool.name.clone()),
            sequence_number,
            reused,
        };
        let idle = stage.is_idle();
        let mut changes = stage.into_changes(Order::Take);
        let own = changes.len();
        if let Some(companion) = self.companion {
            changes.extend(companion(std::slice::from_ref(&assigned)));
        }
        if idle && changes.len() == own {
            return Step::Done(assigned);
        }
        self.next = Some(assigned);
        Step::Commit { changes, own }
    }
}

/// Whether the handle has the address already, and that is no failure.
fn holds_already(stage: &mut Stage<'_>, cidr: IpNet, request: &AssignIp) -> bool {
    let Some(id) = request.handle.as_deref() else { return false };
    if !request.reuse && request.max_per_handle.is_none() {
        return false;
    }
    let Fact::Present(_, staged) = stage.block(cidr) else { return false };
    let record = staged.block.record(request.ip);
    let holds = matches!(record, Ok(Some(record)) if record.handle() == Some(sanitize(id)));
    if holds {
        staged.check();
    }
    holds
}
