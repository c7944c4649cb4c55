//! Tier: the order in which policies are looked at (`reference/datamodel.md` sections 5 and 7.8).

use serde::{Deserialize, Serialize};

use super::codec::null_as_default;
use super::resource::{Resource, Spec};
use super::validation::FieldErrors;
use super::{Extra, Kind};

/// A tier.
pub type Tier = Resource<TierSpec>;

/// The tiers that every cluster has: name, default action, order.
pub const BUILT_IN: [(&str, &str, f64); 3] = [
    ("default", "Deny", 1_000_000.0),
    ("kube-admin", "Pass", 1_000.0),
    ("kube-baseline", "Pass", 10_000_000.0),
];

/// Where a tier stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TierSpec {
    /// Its place: lower is looked at first.
    #[serde(rename = "order", skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// `Deny` or `Pass`: what becomes of packets that no policy of it decides.
    #[serde(
        rename = "defaultAction",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub default_action: String,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Spec for TierSpec {
    const KIND: Kind = Kind::Tier;
    type Status = Extra;
    const STATUS_ALWAYS: bool = true;

    fn default_on_write(tier: &mut Tier) {
        tier.spec.order.get_or_insert(1_000_000.0);
        if tier.spec.default_action.is_empty() {
            tier.spec.default_action = "Deny".to_owned();
        }
    }

    fn default_on_read(tier: &mut Tier) {
        TierSpec::default_on_write(tier);
    }

    fn validate(new: &Tier, _old: Option<&Tier>, errors: &mut FieldErrors) {
        let (name, spec) = (new.metadata.name.as_str(), &new.spec);
        let short = name.len() <= 63 && !name.contains('.');
        let reason = "a tier's name has at most 63 characters and no dot";
        errors.check(short, "Metadata.Name", name, reason);
        let action = spec.default_action.as_str();
        let known = matches!(action, "Deny" | "Pass");
        errors.check(known, "spec.defaultAction", action, "must be Deny or Pass");
        for (built_in, action, order) in BUILT_IN {
            let same = spec.default_action == action && spec.order == Some(order);
            if name == built_in && !same {
                let reason = format!("must keep order {order} and default action {action}");
                errors.add("Tier", name, reason);
            }
        }
    }
}

/// The built-in tiers, to be created.
pub fn built_in() -> impl Iterator<Item = Tier> {
    BUILT_IN.into_iter().map(|(name, action, order)| {
        let spec = TierSpec {
            order: Some(order),
            default_action: action.to_owned(),
            ..TierSpec::default()
        };
        Tier::new(name, spec)
    })
}
