//! Assigning addresses that were asked for (`reference/ipam.md` section 7). Reservations, selectors
//! and the limit of blocks don't bind them; the pool's uses and strict affinity do. Several are
//! taken in one commit, or none of them.

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
use crate::store::{AffinityOwner, AffinityType, Family, Key, Query};

/// The assignment of addresses that were asked for as an operation.
pub(crate) struct AssignIpOperation<'a> {
    requests: &'a [AssignIp],
    companion: Option<Companion<'a>>,
    next: Option<Vec<Assigned>>,
    done: Option<Vec<Assigned>>,
}

impl<'a> AssignIpOperation<'a> {
    pub(crate) fn new(
        requests: &'a [AssignIp],
        companion: Option<Companion<'a>>,
    ) -> Result<AssignIpOperation<'a>, IpamError> {
        for request in requests {
            check_name("host", &request.host)?;
            check_handle(request.handle.as_deref())?;
        }
        Ok(AssignIpOperation { requests, companion, next: None, done: None })
    }

    /// Plans one address. `None` when more has to be read first.
    fn plan(
        &self,
        request: &AssignIp,
        strict: bool,
        stage: &mut Stage<'_>,
        needs: &mut BTreeSet<Key>,
    ) -> Result<Option<Assigned>, IpamError> {
        let view = stage.view;
        let owner = request.owner();
        let pool = request.pool(view)?;
        let Some(cidr) = address::block_of(request.ip, pool.block_size) else {
            return Err(IpamError::NotInPool { ip: request.ip, pools: vec![pool.name] });
        };
        let mut unknown: BTreeSet<Key> = [Key::Block(cidr), Key::Affinity(owner.clone(), cidr)]
            .into_iter()
            .filter(|key| !view.knows(&Query::Key(key.clone())))
            .collect();
        if unknown.is_empty() && request.is_held(cidr, stage) {
            return Ok(Some(request.assigned(cidr, &pool, stage, true)));
        }
        request.check_maximum(stage, &mut unknown)?;
        if let Some(from) = &request.from
            && matches!(view.handle(from), Fact::Unknown)
        {
            unknown.insert(Key::Handle(from.clone()));
        }
        if !unknown.is_empty() {
            needs.extend(unknown);
            return Ok(None);
        }
        let staged = match stage.sound_block(cidr)? {
            Fact::Present(_, staged) => {
                if strict {
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
        let mut former = None;
        if let Some(from) = &request.from
            && staged.block.take_from(from, request.ip)?
        {
            former = Some((from, staged.block.addresses_of(from).len()));
        }
        staged.block.assign(request.ip, request.handle.as_deref(), &request.attributes)?;
        staged.touch();
        if staged.block.is_owned_by(&owner) {
            stage.confirm_affinity(&owner, cidr);
        }
        // A handle that is missing or can't be read must not keep the address.
        if let Some((from, left)) = former
            && matches!(view.handle(from), Fact::Present(..))
        {
            stage.handle(from)?.subtract(cidr, 1, left);
        }
        if let Some(handle) = &request.handle {
            stage.handle(handle)?.add(cidr, 1);
        }
        Ok(Some(request.assigned(cidr, &pool, stage, false)))
    }
}

impl AssignIp {
    fn owner(&self) -> AffinityOwner {
        let kind = match self.intended_use {
            Some(IntendedUse::LoadBalancer) => AffinityType::Virtual,
            _ => AffinityType::Host,
        };
        AffinityOwner { kind, name: self.host.clone() }
    }

    /// The enabled pool of the address.
    fn pool(&self, view: &View) -> Result<Pool, IpamError> {
        let ip = self.ip;
        let enabled: Vec<Pool> = view.pools().into_iter().filter(Pool::is_enabled).collect();
        let Some(pool) = enabled.iter().find(|pool| pool.cidr.contains(&ip)) else {
            let family = address::family_of(ip);
            let of_family = enabled.iter().filter(|pool| pool.family() == family);
            let pools = of_family.map(|pool| format!("{} {}", pool.name, pool.cidr)).collect();
            return Err(IpamError::NotInPool { ip, pools });
        };
        match self.intended_use {
            Some(intended_use) if !pool.allows(intended_use) => Err(IpamError::UseNotAllowed {
                ip,
                pool: pool.name.clone(),
                intended_use,
                allowed: pool.allowed_uses.clone(),
            }),
            _ => Ok(pool.clone()),
        }
    }

    /// Refuses an address above the handle's maximum, or says what has to be read to know.
    fn check_maximum(
        &self,
        stage: &mut Stage<'_>,
        needs: &mut BTreeSet<Key>,
    ) -> Result<(), IpamError> {
        let (Some(id), Some(max)) = (&self.handle, self.max_per_handle) else { return Ok(()) };
        let family = address::family_of(self.ip);
        let counted: Vec<(IpNet, i64)> = match stage.view.handle(id) {
            Fact::Present(_, handle) => handle
                .block
                .iter()
                .filter_map(|(cidr, count)| Some((cidr.parse().ok()?, *count)))
                .filter(|(cidr, _)| Family::of(cidr) == family)
                .collect(),
            _ => Vec::new(),
        };
        let mut held = 0;
        for (cidr, count) in counted {
            match stage.block(cidr) {
                Fact::Unknown => {
                    needs.insert(Key::Block(cidr));
                }
                Fact::Present(_, staged) => {
                    let found = staged.block.addresses_of(id).len();
                    held += found;
                    // See `Search::void_overcounts`.
                    if count > found as i64 {
                        staged.touch();
                    }
                }
                Fact::Absent | Fact::Damaged => {}
            }
        }
        if held >= max as usize {
            return Err(IpamError::HandleLimit { handle: id.clone(), ip: self.ip, max });
        }
        Ok(())
    }

    /// Whether the handle has the address already, and that is no failure.
    fn is_held(&self, cidr: IpNet, stage: &mut Stage<'_>) -> bool {
        let asked = self.reuse || self.max_per_handle.is_some();
        let Some(id) = self.handle.as_deref().filter(|_| asked) else { return false };
        let Fact::Present(_, staged) = stage.block(cidr) else { return false };
        let record = staged.block.record(self.ip);
        let holds = matches!(record, Ok(Some(record)) if record.handle() == Some(sanitize(id)));
        if holds {
            staged.check();
        }
        holds
    }

    fn assigned(&self, cidr: IpNet, pool: &Pool, stage: &mut Stage<'_>, reused: bool) -> Assigned {
        let sequence_number = match stage.block(cidr) {
            Fact::Present(_, staged) => staged.block.sequence_of(self.ip).unwrap_or(0),
            _ => 0,
        };
        Assigned {
            address: self.ip,
            block_prefix_len: cidr.prefix_len(),
            pool: Some(pool.name.clone()),
            sequence_number,
            reused,
        }
    }
}

impl Operation for AssignIpOperation<'_> {
    type Answer = Vec<Assigned>;

    fn name(&self) -> &'static str {
        "assign the requested addresses"
    }

    fn queries(&self) -> Vec<Query> {
        AssignIp::queries_of(self.requests)
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Vec<Assigned>>, IpamError> {
        if let Some(done) = self.done.take() {
            return Ok(Step::Done(done));
        }
        let config = view.config()?;
        let mut stage = Stage::new(view, env, config.ip_cooldown_seconds);
        let (mut needs, mut planned) = (BTreeSet::new(), Vec::new());
        for request in self.requests {
            planned.extend(self.plan(request, config.strict_affinity, &mut stage, &mut needs)?);
        }
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        let idle = stage.is_idle();
        let mut changes = stage.into_changes(Order::Take);
        let own = changes.len();
        changes.extend(self.companion.map(|companion| companion(&planned)).unwrap_or_default());
        if idle && changes.len() == own {
            return Ok(Step::Done(planned));
        }
        self.next = Some(planned);
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        self.done = self.next.take();
    }
}
