//! Which tiers can go: not those that every cluster has, and none that policies are in.

use std::time::Instant;

use super::{Client, ClientError};
use crate::resources::{AnyResource, Object, policy, tier};
use crate::store::{Prefix, Query};

impl Client {
    /// Why a tier can't be removed; `None` when it can.
    pub(super) async fn why_tier_stays(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<String>, ClientError> {
        if tier::BUILT_IN.iter().any(|(built_in, ..)| *built_in == name) {
            return Ok(Some(format!("Cannot delete {name} tier")));
        }
        let queries = policy::KINDS.map(|kind| Query::Prefix(Prefix::kind(kind)));
        let snapshot = self.store.read(&queries, deadline).await?;
        let mut policies = snapshot.results.iter().flatten();
        let used = policies.any(|document| {
            let policy = AnyResource::decode(document);
            policy.is_ok_and(|policy| policy::tier(&policy) == name)
        });
        Ok(used.then(|| "Cannot delete a non-empty tier".to_owned()))
    }
}
