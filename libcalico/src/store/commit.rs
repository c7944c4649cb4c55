//! What every store asks of a commit before it begins: the same everywhere, so that a commit that
//! passes on one store passes on all.

use std::collections::HashSet;

use super::{Action, Change, Guard, Revision, StoreError, StoreErrorKind};

/// The most changes of a commit: etcd's default limit of operations in a transaction.
pub const MAX_CHANGES: usize = 128;

/// The most bytes of a commit, keys and values together: etcd's default limit of a request,
/// 1.5 MiB, of which the envelope takes a part (`reference/crates-and-floor.md` section 2).
pub const MAX_COMMIT_BYTES: usize = 1_570_000;

/// What the envelope of one change takes at most: two copies of the key besides, and the framing.
const CHANGE_OVERHEAD: usize = 64;

/// The paths of the changes, once they are known to be a commit.
pub(super) fn paths(changes: &[Change]) -> Result<Vec<String>, StoreError> {
    let invalid = |message: String| StoreError::new(StoreErrorKind::Invalid, message);
    if changes.len() > MAX_CHANGES {
        let count = changes.len();
        return Err(invalid(format!(
            "a commit of {count} changes is too large: a store takes {MAX_CHANGES} at once"
        )));
    }
    let paths = changes.iter().map(|change| change.key.path()).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::with_capacity(paths.len());
    let mut bytes = 0;
    for (change, path) in changes.iter().zip(&paths) {
        if !seen.insert(path.as_str()) {
            return Err(invalid(format!("a commit names the key {path} twice")));
        }
        let value = match &change.action {
            Action::Put(value) => value.len(),
            Action::Check | Action::Delete => 0,
        };
        bytes += 3 * path.len() + value + CHANGE_OVERHEAD;
    }
    if bytes > MAX_COMMIT_BYTES {
        let largest = paths.iter().zip(changes).max_by_key(|(_, change)| match &change.action {
            Action::Put(value) => value.len(),
            Action::Check | Action::Delete => 0,
        });
        let largest = largest.map(|(path, _)| path.as_str()).unwrap_or_default();
        return Err(invalid(format!(
            "a commit of {bytes} bytes is too large: a store takes {MAX_COMMIT_BYTES} at once; \
             the largest document is {largest}"
        )));
    }
    Ok(paths)
}

impl Guard {
    /// Whether it holds of a document that was last changed at `present`, or isn't there.
    pub(super) fn holds(self, present: Option<Revision>) -> bool {
        match self {
            Guard::Any => true,
            Guard::Absent => present.is_none(),
            Guard::Revision(revision) => present == Some(revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Key;

    fn put(id: &str, bytes: usize) -> Change {
        Change::create(Key::Handle(id.into()), vec![b'x'; bytes])
    }

    #[test]
    fn a_commit_within_the_limits_passes_and_one_beyond_names_its_size() {
        let many: Vec<_> = (0..=MAX_CHANGES).map(|n| put(&n.to_string(), 1)).collect();
        assert_eq!(paths(&many[1..]).unwrap().len(), MAX_CHANGES);
        let error = paths(&many).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Invalid);
        assert!(error.message.contains("129 changes"), "{error}");

        assert!(paths(&[put("a", 1_500_000), put("b", 60_000)]).is_ok());
        let error = paths(&[put("a", 60_000), put("b", 1_520_000)]).unwrap_err();
        assert!(error.message.contains("bytes") && error.message.ends_with("handle/b"), "{error}");
    }

    #[test]
    fn a_commit_names_a_key_once() {
        let error = paths(&[put("a", 1), put("b", 1), put("a", 2)]).unwrap_err();
        assert!(error.message.contains("handle/a twice"), "{error}");
    }
}
