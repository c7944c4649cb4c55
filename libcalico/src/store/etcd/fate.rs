//! What became of a commit whose answer was lost, judged from the documents as they are now.
//!
//! A transaction is all or nothing, so one revision at which all its changes are seen proves it.
//! Others may have changed the documents since; then the store's history is asked. Three cases look
//! like another one: somebody else's transaction that wrote exactly the same values under the same
//! guards, and somebody else's removal of all that we wanted to remove, count as ours, for what the
//! caller wanted is so; and what we created and somebody removed since looks as if it had never been,
//! and is created again.

use crate::store::{Action, Change, Document, Guard, Revision};

/// The documents of a commit at some revision, in the order of its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// The store's revision when they were read.
    pub(super) revision: Revision,
    /// Each of them, where it exists.
    pub(super) present: Vec<Option<Present>>,
}

/// One document with its history's ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Present {
    /// Its value.
    pub(super) value: Vec<u8>,
    /// The revision at which it was created.
    pub(super) created: Revision,
    /// The revision of its last change.
    pub(super) modified: Revision,
}

/// What the documents say of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was made, at this revision.
    Done(Revision),
    /// It wasn't made, and its guards hold: it may be sent again.
    NotMade,
    /// It wasn't made, and its guards don't hold any more.
    Overtaken,
    /// If it was made, then at this revision: see how the documents were then.
    AskAt(Revision),
    /// If it was made, it was the first change of the document with this index after this revision.
    AskAfter(usize, Revision),
}

impl State {
    /// The documents under their keys.
    pub(super) fn documents(self, changes: &[Change]) -> Vec<Option<Document>> {
        let pairs = changes.iter().zip(self.present);
        pairs
            .map(|(change, present)| {
                present.map(|Present { value, modified, .. }| Document {
                    key: change.key.clone(),
                    value,
                    revision: modified,
                })
            })
            .collect()
    }
}

/// Judges a commit from the present state of its documents.
pub(super) fn judge(changes: &[Change], state: &State) -> Verdict {
    if let Some(revision) = made_at(changes, state) {
        return Verdict::Done(revision);
    }
    let pairs = || changes.iter().zip(&state.present).enumerate();
    if pairs().all(|(_, (change, present))| {
        change.guard.holds(present.as_ref().map(|present| present.modified))
    }) {
        return Verdict::NotMade;
    }
    for (index, (change, present)) in pairs() {
        match (&change.action, change.guard, present) {
            (Action::Put(value), guard, Some(present)) if wrote(value, guard, present) => {
                return Verdict::AskAt(present.modified);
            }
            (Action::Put(_), Guard::Absent, Some(present)) => {
                return Verdict::AskAt(present.created);
            }
            (Action::Put(_), Guard::Revision(before), present)
                if present.as_ref().is_none_or(|present| present.modified > before) =>
            {
                return Verdict::AskAfter(index, before);
            }
            _ => {}
        }
    }
    Verdict::Overtaken
}

/// The revision at which all changes are seen to have been made together, if they are.
pub(super) fn made_at(changes: &[Change], state: &State) -> Option<Revision> {
    let mut made_at = None;
    let mut removes = false;
    for (change, present) in changes.iter().zip(&state.present) {
        match (&change.action, present) {
            (Action::Put(value), Some(present)) => {
                let same = made_at.is_none_or(|revision| revision == present.modified);
                if !same || !wrote(value, change.guard, present) {
                    return None;
                }
                made_at = Some(present.modified);
            }
            (Action::Put(_), None) | (Action::Delete, Some(_)) => return None,
            (Action::Delete, None) => removes = true,
            (Action::Check, _) => {}
        }
    }
    made_at.or(removes.then_some(state.revision))
}

/// Whether a document is what a put under this guard leaves.
fn wrote(value: &[u8], guard: Guard, present: &Present) -> bool {
    value == present.value
        && match guard {
            Guard::Any => true,
            Guard::Absent => present.created == present.modified,
            Guard::Revision(before) => present.modified > before,
        }
}

#[cfg(test)]
mod tests;
