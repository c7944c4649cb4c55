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
}

impl<'a> ReleaseByHandle<'a> {
    pub(crate) fn new(handles: &'a [String], extra: Vec<Change>) -> ReleaseByHandle<'a> {
        let released = Vec::new();
        ReleaseByHandle { handles, likely: &[], extra, released, next: None, finished: false }
    }

    /// The same, with addresses that the handles probably have: their blocks are read at once.
    pub(crate) fn likely(self, likely: &'a [IpAddr]) -> ReleaseByHandle<'a> {
        ReleaseByHandle { likely, ..self }
    }

    /// Plans the release of one handle. Answers whether all of it fits.
    fn release(
        id: &str,
        stage: &mut Stage<'_>,
        pools: &[Pool],
        needs: &mut BTreeSet<Key>,
        released: &mut Vec<IpAddr>,
        cooldown: i64,
    ) -> Result<bool, IpamError> {
        let now = stage.env.now;
        let blocks: Vec<IpNet> = match stage.view.handle(id) {
            Fact::Present(_, handle) => handle.blocks().collect(),
            Fact::Damaged => {
                let key = Key::Handle(id.to_owned());
                return Err(stage.view.damaged(&key, &format!("handle {id}")));
            }
            Fact::Unknown | Fact::Absent => return Ok(true),
        };
        for cidr in blocks.iter().copied() {
            if matches!(stage.view.block(cidr), Fact::Unknown) {
                needs.insert(Key::Block(cidr));
                continue;
            }
            if !stage.has_room() {
                return Ok(false);
            }
            match stage.sound_block(cidr)? {
                Fact::Present(_, staged) => {
                    // The block is written even when the handle has nothing in it: an upstream
                    // process that counted an address there and is about to write it has to look
                    // again, and doesn't find the count that goes now.
                    let ips = staged.block.release_by_handle(id, None, now, cooldown);
                    staged.touch();
                    released.extend(&ips);
                    stage.handle(id)?.subtract(cidr, ips.len(), 0);
                    dispose(stage, pools, cidr, needs);
                }
                _ => {
                    stage.check_absent(cidr);
                    stage.handle(id)?.subtract(cidr, 0, 0);
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
            return Ok(Step::Done(std::mem::take(&mut self.released)));
        }
        let cooldown = view.config()?.ip_cooldown_seconds;
        let pools = view.pools();
        let mut stage = Stage::new(view, env, cooldown);
        let (mut needs, mut released, mut last) = (BTreeSet::new(), Vec::new(), true);
        let unique: BTreeSet<&String> = self.handles.iter().collect();
        for id in unique {
            last =
                last && Self::release(id, &mut stage, &pools, &mut needs, &mut released, cooldown)?;
        }
        if !needs.is_empty() {
            return Ok(Step::Read(needs.into_iter().map(Query::Key).collect()));
        }
        let idle = stage.is_idle();
        let mut changes = stage.into_changes(Order::Give);
        let own = changes.len();
        if last {
            changes.extend(self.extra.iter().cloned());
        }
        if idle && changes.len() == own {
            self.released.extend(released);
            return Ok(Step::Done(std::mem::take(&mut self.released)));
        }
        self.next = Some((released, last));
        Ok(Step::Commit { changes, own })
    }

    fn committed(&mut self) {
        if let Some((released, last)) = self.next.take() {
            self.released.extend(released);
            self.finished = last;
        }
    }
}
