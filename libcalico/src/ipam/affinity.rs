//! The record that an owner has a block (`reference/datamodel.md` 6.2).

use serde::{Deserialize, Serialize};

use crate::resources::codec;
use crate::store::{AffinityOwner, AffinityType};

/// How far a claim or a release has come. We only ever write `Confirmed`: what upstream leaves in
/// the other states is repaired (`reference/ipam.md` 5.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AffinityState {
    /// The owner is about to create the block.
    #[serde(rename = "pending")]
    Pending,
    /// The owner has the block.
    #[serde(rename = "confirmed")]
    Confirmed,
    /// The owner is about to give the block up.
    #[serde(rename = "pendingDeletion")]
    PendingDeletion,
    /// Written by the oldest releases; counts as confirmed.
    #[default]
    #[serde(rename = "")]
    Unset,
    /// A word that this release doesn't know; kept, and treated like `Pending`.
    #[serde(untagged)]
    Other(String),
}

impl AffinityState {
    /// Whether the owner has the block for certain.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, AffinityState::Confirmed | AffinityState::Unset)
    }
}

/// The value of an affinity; its owner and its block are in the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// How far the claim is.
    #[serde(rename = "state", default, deserialize_with = "codec::null_as_default")]
    pub state: AffinityState,
    /// Upstream's two-phase delete on Kubernetes; false elsewhere.
    #[serde(rename = "deleted", default)]
    pub deleted: bool,
    /// What other releases may have written.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl Affinity {
    /// The only state that we write.
    pub fn confirmed() -> Affinity {
        Affinity { state: AffinityState::Confirmed, ..Affinity::default() }
    }

    /// Reads a stored value. The oldest releases stored nothing at all.
    pub fn decode(value: &[u8]) -> Result<Affinity, serde_json::Error> {
        if value.is_empty() {
            return Ok(Affinity::default());
        }
        serde_json::from_slice(value)
    }

    /// The JSON to store.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// The owner as a block names it: `host:node-1`, `virtual:load-balancer`.
pub fn owner_text(owner: &AffinityOwner) -> String {
    match owner.kind {
        AffinityType::Host => format!("host:{}", owner.name),
        AffinityType::Virtual => format!("virtual:{}", owner.name),
    }
}

/// The owner that a block names, if it is one of a known kind.
pub fn parse_owner(text: &str) -> Option<AffinityOwner> {
    let (kind, name) = text.split_once(':')?;
    let kind = match kind {
        "host" => AffinityType::Host,
        "virtual" => AffinityType::Virtual,
        _ => return None,
    };
    (!name.is_empty()).then(|| AffinityOwner { kind, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_and_nothing_counts_as_confirmed() {
        for text in [
            r#"{"state":"pending","deleted":false}"#,
            r#"{"state":"confirmed","deleted":false}"#,
            r#"{"state":"pendingDeletion","deleted":false}"#,
            r#"{"state":"later","deleted":false,"more":[1]}"#,
        ] {
            let affinity = Affinity::decode(text.as_bytes()).expect("decodes");
            assert_eq!(String::from_utf8_lossy(&affinity.encode()), text);
        }
        for text in ["", "{}", r#"{"state":null}"#, r#"{"state":""}"#] {
            let affinity = Affinity::decode(text.as_bytes()).expect("decodes");
            assert!(affinity.state.is_confirmed(), "{text}");
        }
    }

    #[test]
    fn owners_are_written_and_read() {
        let owner = AffinityOwner::host("a:b");
        assert_eq!(owner_text(&owner), "host:a:b");
        assert_eq!(parse_owner("host:a:b"), Some(owner));
        assert_eq!(parse_owner("host:"), None);
        assert_eq!(parse_owner("n1"), None);
    }
}
