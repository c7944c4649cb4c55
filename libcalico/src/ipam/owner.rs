//! The owners of an allocated address (`reference/ipam.md` 11.1): a virtual machine that migrates
//! has an active one and an alternate one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::address;
use super::error::IpamError;
use super::handle::sanitize;
use super::operation::{Operation, Step};
use super::stage::{Env, Order, Stage};
use super::view::{Fact, View};
use crate::resources::Kind;
use crate::store::{Key, Prefix, Query};

/// The attributes of an owner.
pub type Attributes = BTreeMap<String, String>;

/// An owner, as preconditions tell it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The pod; empty for nobody.
    pub pod: String,
    /// Its namespace; empty for nobody.
    pub namespace: String,
}

/// What becomes of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideUpdate {
    /// The owner's new attributes; they replace the old ones.
    pub set: Option<Attributes>,
    /// There is no owner any more.
    pub clear: bool,
    /// The present owner must be this one.
    pub expected: Option<Owner>,
    /// There must be no owner now.
    pub verify_empty: bool,
}

/// What becomes of both sides. Preconditions count only for a side that changes; all are checked
/// before anything changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerUpdates {
    /// The active owner.
    pub active: SideUpdate,
    /// The alternate owner.
    pub alternate: SideUpdate,
}

/// What is recorded of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentAttributes {
    /// Its handle.
    pub handle: Option<String>,
    /// The attributes of the active owner.
    pub active: Attributes,
    /// Those of the alternate owner.
    pub alternate: Attributes,
    /// Its block.
    pub block: ipnet::IpNet,
    /// The sequence number that it was assigned under.
    pub sequence_number: u64,
}

impl SideUpdate {
    fn validate(&self, active: bool) -> Result<(), IpamError> {
        if self.clear && self.set.is_some() {
            return Err(IpamError::InvalidRequest(if active {
                "cannot set both ClearActiveOwner=true and ActiveOwnerAttrs: these are mutually exclusive"
            } else {
                "cannot set both ClearAlternateOwner=true and AlternateOwnerAttrs: these are mutually exclusive"
            }));
        }
        if self.verify_empty && self.expected.is_some() {
            return Err(IpamError::InvalidRequest(if active {
                "cannot set both ExpectedActiveOwner and VerifyActiveOwnerEmpty: these are mutually exclusive"
            } else {
                "cannot set both ExpectedAlternateOwner and VerifyAlternateOwnerEmpty: these are mutually exclusive"
            }));
        }
        Ok(())
    }

    fn changes(&self) -> bool {
        self.clear || self.set.is_some()
    }

    fn check(&self, found: &Attributes, field: &'static str) -> Result<(), IpamError> {
        if !self.changes() {
            return Ok(());
        }
        let value = |name: &str| found.get(name).cloned().unwrap_or_default();
        let present = Owner { pod: value("pod"), namespace: value("namespace") };
        let holds = match &self.expected {
            Some(expected) if *expected == Owner::default() => found.is_empty(),
            Some(expected) => *expected == present,
            None => !self.verify_empty || found.is_empty(),
        };
        if holds {
            return Ok(());
        }
        let expected = self.expected.clone().unwrap_or_default();
        Err(IpamError::OwnerMismatch {
            field,
            expected: describe(&expected),
            found: describe(&present),
        })
    }

    fn apply(&self, attributes: &mut Attributes) {
        if self.clear {
            attributes.clear();
        } else if let Some(set) = &self.set {
            attributes.clone_from(set);
        }
    }
}

fn describe(owner: &Owner) -> String {
    format!("pod={} namespace={}", owner.pod, owner.namespace)
}

/// The block of an address that is in a pool, disabled ones included.
fn block_of(ip: IpAddr, view: &View) -> Result<ipnet::IpNet, IpamError> {
    view.pools()
        .iter()
        .find(|pool| pool.cidr.contains(&ip))
        .and_then(|pool| address::block_of(ip, pool.block_size))
        .ok_or_else(|| IpamError::NotFound {
            what: format!("an IP pool for address {ip}"),
            detail: "No valid IPPool",
        })
}

fn pool_queries() -> Vec<Query> {
    vec![Query::Key(Key::IpamConfig), Query::Prefix(Prefix::kind(Kind::IpPool))]
}

/// Changes the owners of an address.
pub(crate) struct SetOwnerAttributes<'a> {
    ip: IpAddr,
    handle: &'a str,
    updates: &'a OwnerUpdates,
    finished: bool,
}

impl<'a> SetOwnerAttributes<'a> {
    pub(crate) fn new(
        ip: IpAddr,
        handle: &'a str,
        updates: &'a OwnerUpdates,
    ) -> Result<SetOwnerAttributes<'a>, IpamError> {
        updates.active.validate(true)?;
        updates.alternate.validate(false)?;
        Ok(SetOwnerAttributes { ip, handle, updates, finished: false })
    }
}

impl Operation for SetOwnerAttributes<'_> {
    type Answer = ();

    fn name(&self) -> &'static str {
        "set the owner of an address"
    }

    fn queries(&self) -> Vec<Query> {
        pool_queries()
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<()>, IpamError> {
        let (ip, updates) = (self.ip, self.updates);
        if self.finished {
            return Ok(Step::Done(()));
        }
        let cidr = block_of(ip, view)?;
        let mut stage = Stage::new(view, env, view.config()?.ip_cooldown_seconds);
        let staged = match stage.sound_block(cidr)? {
            Fact::Unknown => return Ok(Step::Read(vec![Query::Key(Key::Block(cidr))])),
            Fact::Present(_, staged) => staged,
            _ => return Err(unassigned(ip)),
        };
        let handle = sanitize(self.handle);
        let record = staged.block.record_mut(ip)?.ok_or_else(|| unassigned(ip))?;
        if record.released_at.is_some() || record.handle() != Some(handle) {
            return Err(IpamError::OtherHandle { ip, handle: handle.to_owned() });
        }
        updates.active.check(&record.secondary, "ActiveOwnerAttrs")?;
        updates.alternate.check(&record.alternate_owner_attrs, "AlternateOwnerAttrs")?;
        if !updates.active.changes() && !updates.alternate.changes() {
            return Ok(Step::Done(()));
        }
        updates.active.apply(&mut record.secondary);
        updates.alternate.apply(&mut record.alternate_owner_attrs);
        staged.touch();
        let changes = stage.into_changes(Order::Take);
        let own = changes.len();
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        self.finished = true;
    }
}

fn unassigned(ip: IpAddr) -> IpamError {
    IpamError::NotFound {
        what: format!("an assignment of address {ip}"),
        detail: "IP is unassigned",
    }
}

/// Reads what is recorded of an address.
pub(crate) struct ReadAttributes(pub(crate) IpAddr);

impl Operation for ReadAttributes {
    type Answer = AssignmentAttributes;

    fn name(&self) -> &'static str {
        "read the attributes of an address"
    }

    fn queries(&self) -> Vec<Query> {
        pool_queries()
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<AssignmentAttributes>, IpamError> {
        let ip = self.0;
        let cidr = block_of(ip, view)?;
        let mut stage = Stage::new(view, env, view.config()?.ip_cooldown_seconds);
        let block = match stage.sound_block(cidr)? {
            Fact::Unknown => return Ok(Step::Read(vec![Query::Key(Key::Block(cidr))])),
            Fact::Present(_, staged) => &staged.block,
            _ => {
                return Err(IpamError::NotFound {
                    what: format!("block {cidr} of address {ip}"),
                    detail: "nothing was ever assigned from it",
                });
            }
        };
        let record = block.record(ip)?.ok_or_else(|| unassigned(ip))?;
        if record.released_at.is_some() {
            return Err(IpamError::InCooldown { ip });
        }
        Ok(Step::Done(AssignmentAttributes {
            handle: record.handle().map(str::to_owned),
            active: record.secondary.clone(),
            alternate: record.alternate_owner_attrs.clone(),
            block: cidr,
            sequence_number: block.sequence_of(ip)?,
        }))
    }

    fn committed(&mut self) {}
}

/// Reads the addresses of a handle.
pub(crate) struct IpsByHandle<'a>(pub(crate) &'a str);

impl Operation for IpsByHandle<'_> {
    type Answer = Vec<IpAddr>;

    fn name(&self) -> &'static str {
        "read the addresses of a handle"
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Key(Key::IpamConfig), Query::Key(Key::Handle(self.0.to_owned()))]
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Vec<IpAddr>>, IpamError> {
        let id = self.0;
        let key = Key::Handle(id.to_owned());
        let blocks: Vec<_> = match view.handle(id) {
            Fact::Present(_, handle) => handle.blocks().collect(),
            Fact::Damaged => return Err(view.damaged(&key, &format!("handle {id}"))),
            Fact::Absent | Fact::Unknown => {
                return Err(IpamError::NotFound { what: format!("handle {id}"), detail: "" });
            }
        };
        let mut stage = Stage::new(view, env, view.config()?.ip_cooldown_seconds);
        let (mut ips, mut needs) = (Vec::new(), Vec::new());
        for cidr in blocks {
            match stage.block(cidr) {
                Fact::Unknown => needs.push(Query::Key(Key::Block(cidr))),
                Fact::Present(_, staged) => ips.extend(staged.block.addresses_of(id)),
                Fact::Absent | Fact::Damaged => {}
            }
        }
        if needs.is_empty() { Ok(Step::Done(ips)) } else { Ok(Step::Read(needs)) }
    }

    fn committed(&mut self) {}
}
