//! What must be there before an object that names it: the tier of a new policy, the filters of a
//! BGP peer (`reference/datamodel.md` section 5). It is checked in the same commit, so that it
//! can't go in between.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Instant;

use super::{ATTEMPTS, Client, ClientError};
use crate::bootstrap;
use crate::resources::validation::FieldErrors;
use crate::resources::{AnyResource, Kind, Object, policy, tier};
use crate::store::{Action, Change, Committed, Document, Guard, Key, Query, Revision};

impl Client {
    /// Writes an object whose kind may name others.
    pub(super) async fn commit_with_references(
        &self,
        change: Change,
        deadline: Instant,
    ) -> Result<Revision, ClientError> {
        let references = references(&change)?;
        if references.is_empty() {
            return self.commit(change, deadline).await;
        }
        let queries: Vec<Query> = references.iter().cloned().map(Query::Key).collect();
        for _ in 0..ATTEMPTS {
            let found = self.store.read(&queries, deadline).await?.results;
            let found: Vec<Document> = found.into_iter().flatten().collect();
            let is_there = |key: &&Key| found.iter().any(|document| document.key == **key);
            let missing: Vec<&Key> = references.iter().filter(|key| !is_there(key)).collect();
            if missing.iter().any(|key| is_built_in(key)) {
                bootstrap::ensure_initialised(&*self.store, deadline).await?;
                continue;
            }
            if !missing.is_empty() {
                return Err(self.missing(&change.key, &missing));
            }
            let mut changes: Vec<Change> = found
                .into_iter()
                .map(|document| Change {
                    key: document.key,
                    guard: Guard::Revision(document.revision),
                    action: Action::Check,
                })
                .collect();
            changes.push(change.clone());
            match self.store.commit(&changes, deadline).await {
                Err(error) => return self.look_up(&change, error, deadline).await,
                Ok(Committed::Done(revision)) => return Ok(revision),
                Ok(Committed::Conflict(present)) => {
                    let present = present.into_iter().last().flatten();
                    if let Some(error) = self.refusal(&change, present.map(|found| found.revision))
                    {
                        return Err(error);
                    }
                }
            }
        }
        Err(ClientError::Conflict { id: super::id(&change.key) })
    }

    /// Why the object can't be written without these.
    fn missing(&self, key: &Key, missing: &[&Key]) -> ClientError {
        if let [tier @ Key::Resource { kind: Kind::Tier, .. }, ..] = missing {
            return ClientError::NotFound { id: super::id(tier), store: self.store.describe() };
        }
        let names: Vec<&str> = missing.iter().filter_map(|key| name(key)).collect();
        let mut errors = FieldErrors::default();
        errors.add("BGPPeer.Spec.Filters", names.join(", "), "BGPFilter(s) not found");
        match errors.into_result(super::id(key)) {
            Err(error) => error.into(),
            Ok(()) => ClientError::Conflict { id: super::id(key) },
        }
    }
}

/// The objects that an object names and that must be there.
fn references(change: &Change) -> Result<Vec<Key>, ClientError> {
    let (Key::Resource { kind, .. }, Action::Put(value)) = (&change.key, &change.action) else {
        return Ok(Vec::new());
    };
    let read = || {
        let (key, value) = (change.key.clone(), value.clone());
        AnyResource::decode(&Document { key, value, revision: 0 })
    };
    Ok(match kind {
        Kind::BgpPeer => {
            let peer = read()?;
            let filters = peer.spec.get("filters").and_then(|filters| filters.as_array());
            let names = filters.into_iter().flatten().filter_map(|name| name.as_str());
            // A commit names a key once.
            let names: BTreeSet<&str> = names.collect();
            names.into_iter().map(|name| Key::global(Kind::BgpFilter, name)).collect()
        }
        // COMPAT: an update may move a policy into a tier that isn't there.
        kind if policy::KINDS.contains(kind) && change.guard == Guard::Absent => {
            vec![Key::global(Kind::Tier, policy::tier(&read()?))]
        }
        _ => Vec::new(),
    })
}

fn is_built_in(key: &Key) -> bool {
    matches!(key, Key::Resource { kind: Kind::Tier, name, .. }
        if tier::BUILT_IN.iter().any(|(built_in, ..)| built_in == name))
}

fn name(key: &Key) -> Option<&str> {
    match key {
        Key::Resource { name, .. } => Some(name),
        _ => None,
    }
}

/// Refuses to write or remove what mirrors an object of Kubernetes.
pub(super) fn check_ours(operation: &'static str, key: &Key) -> Result<(), ClientError> {
    match key {
        Key::Resource { kind: Kind::NetworkPolicy, name, .. }
            if name.starts_with("knp.default.") =>
        {
            let reason = "kubernetes network policies must be managed through the kubernetes API";
            let (id, reason) = (super::id(key), reason.to_owned());
            Err(ClientError::NotSupported { operation, id, reason })
        }
        _ => Ok(()),
    }
}
