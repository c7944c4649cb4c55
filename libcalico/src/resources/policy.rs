//! What the four kinds of policies that are in a tier share: the label of their tier, and the
//! annotation that carries their name in the store (`reference/datamodel.md` sections 3.4 and 5).

use serde::Deserialize;
use serde_json::json;

use super::{AnyResource, Kind};

/// The kinds whose objects are in a tier.
pub const KINDS: [Kind; 4] = [
    Kind::NetworkPolicy,
    Kind::GlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
];

/// The label that tells a policy's tier; set on every write.
pub const LABEL_TIER: &str = "projectcalico.org/tier";

/// The tier of policies that name none.
pub const DEFAULT_TIER: &str = "default";

/// The annotation that tells a policy's name; only in the store.
const ANNOTATION: &str = "projectcalico.org/metadata";

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "name", default)]
    name: String,
}

/// The tier of a policy.
pub fn tier(policy: &AnyResource) -> &str {
    let tier = policy.spec.get("tier").and_then(|tier| tier.as_str()).unwrap_or_default();
    if tier.is_empty() { DEFAULT_TIER } else { tier }
}

/// What a write adds.
pub(super) fn to_stored(policy: &mut AnyResource) {
    let name = json!({ "name": policy.metadata.name }).to_string();
    policy.metadata.annotations.insert(ANNOTATION.to_owned(), name);
}

/// What a read takes away again, and what older releases left out.
pub(super) fn from_stored(policy: &mut AnyResource) {
    let tier = tier(policy).to_owned();
    let metadata = &mut policy.metadata;
    let named = metadata.annotations.remove(ANNOTATION);
    match named.and_then(|text| serde_json::from_str::<Named>(&text).ok()) {
        Some(Named { name }) if !name.is_empty() => metadata.name = name,
        // COMPAT: so the object is shown, but it stays at the key of its longer name.
        _ if tier == DEFAULT_TIER => {
            if let Some(short) = metadata.name.strip_prefix("default.") {
                metadata.name = short.to_owned();
            }
        }
        _ => {}
    }
    metadata.labels.entry(LABEL_TIER.to_owned()).or_insert(tier);
}
