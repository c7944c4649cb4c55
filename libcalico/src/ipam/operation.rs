//! The frame of every operation: pure steps, and the shell that reads, commits and starts again.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::error::IpamError;
use super::stage::Env;
use super::view::View;
use crate::store::{
    Action, Change, Committed, Document, Guard, Key, MAX_COMMIT_BYTES, Query, Snapshot, Store,
    StoreError, StoreErrorKind,
};

/// What an operation wants next.
#[derive(Debug)]
pub(crate) enum Step<A> {
    /// To know more.
    Read(Vec<Query>),
    /// To change something. The changes from `own` on are the caller's.
    Commit { changes: Vec<Change>, own: usize },
    /// Nothing: this is the answer.
    Done(A),
}

/// An operation: decides from what is known. `step` changes nothing but its notes on the commit
/// that it asks for, which count once `committed` is called; so it can be asked again after a
/// conflict, with newer facts.
pub(crate) trait Operation {
    type Answer;

    /// What to read first, all at one revision.
    fn queries(&self) -> Vec<Query>;

    /// The next step.
    fn step(&mut self, view: &View, env: Env) -> Result<Step<Self::Answer>, IpamError>;

    /// The commit of the last step was made.
    fn committed(&mut self);

    /// What it does, for messages.
    fn name(&self) -> &'static str;
}

/// The first pause after a lost race, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// After so many lost races everything is read anew: pools and configuration may have changed too.
const RACES_BEFORE_REREAD: u32 = 8;

/// Runs an operation until it is done or its time is over.
pub(crate) async fn run<O: Operation>(
    store: &dyn Store,
    operation: &mut O,
    prefetched: Option<Snapshot>,
    clock: &(dyn Fn() -> OffsetDateTime + Send + Sync),
    deadline: Instant,
) -> Result<O::Answer, IpamError> {
    let seed = rand::random();
    let queries = operation.queries();
    let mut view = View::default();
    match prefetched {
        // An answer to other questions would pass for "there is none".
        Some(snapshot) if snapshot.results.len() == queries.len() => {
            view.absorb(&queries, snapshot)
        }
        _ => view.absorb(&queries, read(store, &queries, deadline).await?),
    }
    let mut races = 0;
    loop {
        match operation.step(&view, Env { now: clock(), seed })? {
            Step::Done(answer) => return Ok(answer),
            Step::Read(queries) => view.absorb(&queries, read(store, &queries, deadline).await?),
            Step::Commit { changes, own } => match commit(store, &changes, deadline).await? {
                Committed::Done(revision) => {
                    view.absorb_commit(&changes, revision);
                    operation.committed();
                }
                Committed::Conflict(mut present) => {
                    races += 1;
                    let broken = changes.iter().zip(&present).skip(own);
                    if broken.into_iter().any(|(change, found)| !holds(change.guard, found)) {
                        return Err(IpamError::CompanionConflict(present.split_off(own)));
                    }
                    pause(races, operation.name(), deadline).await?;
                    if races % RACES_BEFORE_REREAD == 0 {
                        let queries = operation.queries();
                        view = View::default();
                        view.absorb(&queries, read(store, &queries, deadline).await?);
                    } else {
                        view.absorb_conflict(&changes, present);
                    }
                }
            },
        }
    }
}

/// What the next commit of an operation would be.
pub(crate) enum Preview<A> {
    /// These changes.
    Commit(Vec<Change>),
    /// Nothing would be changed.
    Done(A),
    /// It would fail.
    Fails(IpamError),
}

/// Takes an operation up to its first commit, and changes nothing. `more` is read beside what the
/// operation itself asks for, at the same revision. Answers what was seen, too.
pub(crate) async fn preview<O: Operation>(
    store: &dyn Store,
    operation: &mut O,
    more: &[Query],
    env: Env,
    deadline: Instant,
) -> Result<(View, Preview<O::Answer>), IpamError> {
    let queries: Vec<Query> = operation.queries().into_iter().chain(more.iter().cloned()).collect();
    let mut view = View::default();
    view.absorb(&queries, read(store, &queries, deadline).await?);
    loop {
        match operation.step(&view, env) {
            Ok(Step::Read(queries)) => {
                view.absorb(&queries, read(store, &queries, deadline).await?)
            }
            Ok(Step::Commit { changes, .. }) => return Ok((view, Preview::Commit(changes))),
            Ok(Step::Done(answer)) => return Ok((view, Preview::Done(answer))),
            Err(error) => return Ok((view, Preview::Fails(error))),
        }
    }
}

/// Reads, in as many round trips as the limits of a store's transaction ask for.
async fn read(
    store: &dyn Store,
    queries: &[Query],
    deadline: Instant,
) -> Result<Snapshot, StoreError> {
    if queries.is_empty() {
        return Ok(Snapshot::default());
    }
    store.read(queries, deadline).await
}

/// Commits. When the answer was lost, what is stored decides: no two writers write the same bytes
/// of a block, which hold its sequence number; a commit without blocks is told by its other values.
async fn commit(
    store: &dyn Store,
    changes: &[Change],
    deadline: Instant,
) -> Result<Committed, IpamError> {
    let error = match store.commit(changes, deadline).await {
        Err(error) if error.kind == StoreErrorKind::Unknown => error,
        Err(error) if error.kind == StoreErrorKind::Invalid => {
            return Err(too_large(changes).unwrap_or(IpamError::Store(error)));
        }
        result => return Ok(result?),
    };
    let queries: Vec<Query> = changes.iter().map(|change| Query::Key(change.key.clone())).collect();
    let Ok(snapshot) = store.read(&queries, deadline).await else { return Err(error.into()) };
    let revision = snapshot.revision;
    let present: Vec<Option<Document>> =
        snapshot.results.into_iter().map(|mut found| found.pop()).collect();
    let made = was_made(changes, &present);
    if !made {
        return Ok(Committed::Conflict(present));
    }
    let newest = present.iter().flatten().map(|found| found.revision).max();
    Ok(Committed::Done(newest.unwrap_or(revision)))
}

/// The largest block of a commit that a store doesn't take, if it alone takes most of the room.
fn too_large(changes: &[Change]) -> Option<IpamError> {
    let block = |change: &Change| match (&change.key, &change.action) {
        (Key::Block(block), Action::Put(value)) => Some((value.len(), *block)),
        _ => None,
    };
    let (bytes, block) = changes.iter().filter_map(block).max()?;
    (bytes > MAX_COMMIT_BYTES / 2).then_some(IpamError::BlockTooLarge { block, bytes })
}

fn was_made(changes: &[Change], present: &[Option<Document>]) -> bool {
    let pairs = || changes.iter().zip(present);
    let is_ours = |(change, found): (&Change, &Option<Document>)| match (&change.action, found) {
        (Action::Put(value), Some(found)) => found.value == *value,
        _ => false,
    };
    let is_block = |(change, _): &(&Change, &Option<Document>)| {
        matches!(change.key, Key::Block(_)) && matches!(change.action, Action::Put(_))
    };
    if pairs().any(|pair| is_block(&pair)) {
        return pairs().filter(is_block).any(is_ours);
    }
    if pairs().any(|(change, _)| matches!(change.action, Action::Put(_))) {
        return pairs().any(is_ours);
    }
    pairs().filter(|(change, _)| change.action == Action::Delete).all(|(_, found)| found.is_none())
}

fn holds(guard: Guard, found: &Option<Document>) -> bool {
    match guard {
        Guard::Any => true,
        Guard::Absent => found.is_none(),
        Guard::Revision(revision) => found.as_ref().is_some_and(|found| found.revision == revision),
    }
}

/// Waits a random part of a time that doubles with every lost race.
async fn pause(races: u32, what: &'static str, deadline: Instant) -> Result<(), IpamError> {
    let longest = FIRST_PAUSE.saturating_mul(1 << races.min(10)).min(LONGEST_PAUSE);
    let pause = longest.mul_f64(rand::random::<f64>());
    if Instant::now() + pause >= deadline {
        return Err(IpamError::Contention { what, attempts: races });
    }
    tokio::time::sleep(pause).await;
    Ok(())
}
