//! The store in etcd.

use std::time::Instant;

use async_trait::async_trait;

use super::{
    Change, Committed, Prefix, Query, Revision, Snapshot, Store, StoreError, StoreErrorKind, Watch,
};
use crate::config::EtcdConfig;

/// A store in etcd.
pub struct EtcdStore {}

impl EtcdStore {
    /// Prepares the store.
    pub fn new(_config: &EtcdConfig) -> Result<EtcdStore, StoreError> {
        Ok(EtcdStore {})
    }
}

#[async_trait]
impl Store for EtcdStore {
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
        "etcd".to_owned()
    }
}
