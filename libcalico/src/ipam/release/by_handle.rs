//! Releasing all that handles have (`reference/ipam.md` 8.2).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{dispose, possible_block_queries, release_queries};
use crate::ipam::error::IpamError;
use crate::ipam::operation::{Operation, Step};
use crate::ipam::pool::Pool;
use crate::ipam::stage::{Env, Order, Stage};
use crate::ipam::view::{Fact, View};
use crate::store::{Change, Key, Query};

/// Releases what several handles have, in one commit where that fits.
pub(crate) struct ReleaseByHandle<'a> {
    handles: &'a [String],
    /// Addresses that the handles probably have.
    likely: &'a [IpAddr],
    /// Further changes, for the last commit.
    extra: Vec<Change>,
    released: Vec<IpAddr>,
    /// What the commit of the last step releases, and whether it is the last one.
    next: Option<(Vec<IpAddr>, bool)>,
    finished: bool,
    /// What couldn't be released: the handle keeps counting it.
    error: Option<IpamError>,
}

/// What is decided for one commit.
struct Plan<'p> {
    pools: &'p [Pool],
    cooldown: i64,
    needs: BTreeSet<Key>,
    released: Vec<IpAddr>,
    error: Option<IpamError>,
}

impl<'a> ReleaseByHandle<'a> {
    pub(crate) fn new(handles: &'a [String], extra: Vec<Change>) -> ReleaseByHandle<'a> {
        let released = Vec::new();
        let (likely, next) = (&[][..], None);
        ReleaseByHandle { handles, likely, extra, released, next, finished: false, error: None }
    }

    /// The same, with addresses that the handles probably have: their blocks are read at once.
    pub(crate) fn likely(self, likely: &'a [IpAddr]) -> ReleaseByHandle<'a> {
        ReleaseByHandle { likely, ..self }
    }

    fn answer(&mut self) -> Result<Step<Vec<IpAddr>>, IpamError> {
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(Step::Done(std::mem::take(&mut self.released))),
        }
    }
}

impl Plan<'_> {
    /// Plans the release of one handle. Answers whether all of it fits. A block that can't be read
    /// doesn't keep the others.
    fn release(&mut self, id: &str, stage: &mut Stage<'_>) -> Result<bool, IpamError> {
        let now = stage.env.now;
        let blocks: Vec<IpNet> = match stage.view.handle(id) {
            Fact::Present(_, handle) => handle.blocks().collect(),
            Fact::Damaged => {
                let key = Key::Handle(id.to_owned());
                return Err(stage.view.damaged(&key, &format!("handle {id}")));
            }
            Fact::Unknown | Fact::Absent => return Ok(true),
        };
        for cidr in blocks {
            if matches!(stage.view.block(cidr), Fact::Unknown) {
                self.needs.insert(Key::Block(cidr));
                continue;
            }
            if !stage.has_room() {
                return Ok(false);
            }
            match stage.sound_block(cidr) {
                Ok(Fact::Present(_, staged)) => {
                    // The block is written even when the handle has nothing in it: an upstream
                    // process that counted an address there and is about to write it has to look
                    // again, and doesn't find the count that goes now.
                    let ips = staged.block.release_by_handle(id, None, now, self.cooldown);
                    staged.touch();
                    stage.handle(id)?.subtract(cidr, ips.len(), 0);
                    self.released.extend(ips);
                    dispose(stage, self.pools, cidr, &mut self.needs);
                }
                Ok(_) => {
                    stage.check_absent(cidr);
                    stage.handle(id)?.subtract(cidr, 0, 0);
                }
                Err(error) => {
                    self.error.get_or_insert(error);
                }
            }
        }
        // What is no CIDR leads nowhere.
        stage.handle(id)?.block.retain(|cidr, _| cidr.parse::<IpNet>().is_ok());
        Ok(true)
    }
}

impl Operation for ReleaseByHandle<'_> {
    type Answer = Vec<IpAddr>;

    fn name(&self) -> &'static str {
        "release addresses"
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = release_queries(self.handles);
        queries.extend(possible_block_queries(self.likely));
        queries
    }

    fn step(&mut self, view: &View, env: Env) -> Result<Step<Vec<IpAddr>>, IpamError> {
        if self.finished {
            return self.answer();
        }
        let cooldown = view.config()?.ip_cooldown_seconds;
        let pools = view.pools();
        let mut stage = Stage::new(view, env, cooldown);
        let (needs, released) = (BTreeSet::new(), Vec::new());
        let mut plan = Plan { pools: &pools, cooldown, needs, released, error: None };
        let mut last = true;
        let unique: BTreeSet<&String> = self.handles.iter().collect();
        for id in unique {
            last = last && plan.release(id, &mut stage)?;
        }
        if !plan.needs.is_empty() {
            return Ok(Step::Read(plan.needs.into_iter().map(Query::Key).collect()));
        }
        self.error = plan.error;
        let mut changes = stage.into_changes(Order::Give);
        let own = changes.len();
        if last {
            changes.extend(self.extra.iter().cloned());
        }
        if changes.is_empty() {
            return self.answer();
        }
        self.next = Some((plan.released, last));
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        if let Some((released, last)) = self.next.take() {
            self.released.extend(released);
            self.finished = last;
        }
    }
}
