//! The store in a file.

use std::time::Instant;

use async_trait::async_trait;

use super::{
    Change, Committed, Prefix, Query, Revision, Snapshot, Store, StoreError, StoreErrorKind, Watch,
};
use std::path::Path;

/// A store in a file.
pub struct LocalStore {}

impl LocalStore {
    /// Prepares the store.
    pub fn new(_path: &Path) -> LocalStore {
        LocalStore {}
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn read(&self, _queries: &[Query], _deadline: Instant) -> Result<Snapshot, StoreError> {
        Err(StoreError::new(StoreErrorKind::Invalid, "not yet written"))
    }
    async fn commit(
        &self,
        _changes: &[Change],
        _deadline: Instant,
    ) -> Result<Committed, StoreError> {
        Err(StoreError::new(StoreErrorKind::Invalid, "not yet written"))
    }
    async fn watch(
        &self,
        _prefix: &Prefix,
        _after: Revision,
    ) -> Result<Box<dyn Watch>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Invalid, "not yet written"))
    }
    fn describe(&self) -> String {
        "local store".to_owned()
    }
}
