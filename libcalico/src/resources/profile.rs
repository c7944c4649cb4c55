//! Profile: rules and labels for the endpoints that name it (`reference/datamodel.md` section 7.8,
//! `reference/cni-plugin.md` section 7).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::codec::null_as_default;
use super::metadata::StringMap;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// A profile.
pub type Profile = Resource<ProfileSpec>;

/// The profile that is always there and never stored: it allows everything.
pub const DEFAULT_ALLOW: &str = "projectcalico-default-allow";

/// What a profile does to its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProfileSpec {
    /// Rules for packets to an endpoint.
    #[serde(
        rename = "ingress",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ingress: Vec<Rule>,
    /// Rules for packets from an endpoint.
    #[serde(
        rename = "egress",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub egress: Vec<Rule>,
    /// Labels that the endpoints inherit.
    #[serde(
        rename = "labelsToApply",
        deserialize_with = "null_as_default",
        skip_serializing_if = "StringMap::is_empty"
    )]
    pub labels_to_apply: StringMap,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A rule, with its fields as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rule(pub Extra);

impl Rule {
    /// Allows everything.
    pub fn allow() -> Rule {
        Rule(Extra::from_iter([("action".to_owned(), json!("Allow"))]))
    }

    /// Allows what comes from the endpoints that a selector matches.
    pub fn allow_from(selector: &str) -> Rule {
        let mut rule = Rule::allow();
        rule.0.insert("source".to_owned(), json!({ "selector": selector }));
        rule
    }
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;
    type Status = Extra;

    fn validate(new: &Profile, _old: Option<&Profile>, errors: &mut FieldErrors) {
        let name = &new.metadata.name;
        let reason = "this profile is built in and cannot be written";
        errors.check(name != DEFAULT_ALLOW, "Metadata.Name", name, reason);
        super::metadata::validate_labels("LabelsToApply", &new.spec.labels_to_apply, errors);
    }
}

impl Profile {
    /// The profile [`DEFAULT_ALLOW`], as a read shows it.
    pub fn default_allow() -> Profile {
        let spec = ProfileSpec {
            ingress: vec![Rule::allow()],
            egress: vec![Rule::allow()],
            ..ProfileSpec::default()
        };
        let mut profile = Profile::new(DEFAULT_ALLOW, spec);
        profile.metadata.set_revision(1);
        profile
    }

    /// The profile that the network plugin makes for a network without policy: its endpoints, and
    /// only they unless `any_source`, may reach each other, and everything may be reached from
    /// them. Pods of Kubernetes may be reached from anywhere: that is `any_source`.
    pub fn for_network(network: &str, any_source: bool) -> Profile {
        let ingress = match any_source {
            true => Rule::allow(),
            false => Rule::allow_from(&format!("has({network})")),
        };
        let spec = ProfileSpec {
            ingress: vec![ingress],
            egress: vec![Rule::allow()],
            labels_to_apply: StringMap::from([(network.to_owned(), String::new())]),
            ..ProfileSpec::default()
        };
        Profile::new(network, spec)
    }
}
