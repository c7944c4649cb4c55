//! NetworkPolicy, GlobalNetworkPolicy and their staged forms (`reference/datamodel.md` sections 5
//! and 7.10).

use serde_json::{Value, json};

use super::super::view::View;
use super::rule::{self, Place, RULE};
use crate::names;
use crate::resources::policy::{self, DEFAULT_TIER, LABEL_TIER};
use crate::resources::schema::field::Check::{Distinct, Form, MaxItems, MinItems, OneOf, Selector};
use crate::resources::schema::field::{Field, flag, list, number, object, text};
use crate::resources::validation::FieldErrors;
use crate::resources::{AnyResource, Kind};

const TIER: Field =
    text("tier").checked(&[Form(names::is_valid_name, TIER_NAME)]).or_text(DEFAULT_TIER);
const TIER_NAME: &str = "must be the name of a tier";
const ORDER: Field = number("order").kept();
const INGRESS: Field = list("ingress", &object("", RULE)).checked(&[MaxItems(1024)]);
const EGRESS: Field = list("egress", &object("", RULE)).checked(&[MaxItems(1024)]);
const SELECTOR: Field = text("selector").called("Selector").checked(&[Selector]);
const TYPES: Field = list("types", &text("").checked(&[OneOf(&["Ingress", "Egress"])])).checked(&[
    MinItems(1),
    MaxItems(2),
    Distinct,
]);
const DO_NOT_TRACK: Field = flag("doNotTrack");
const PRE_DNAT: Field = flag("preDNAT");
const APPLY_ON_FORWARD: Field = flag("applyOnForward");
const SERVICE_ACCOUNT_SELECTOR: Field =
    text("serviceAccountSelector").called("ServiceAccountSelector").checked(&[Selector]);
const NAMESPACE_SELECTOR: Field =
    text("namespaceSelector").called("NamespaceSelector").checked(&[Selector]);
const PERFORMANCE_HINTS: Field =
    list("performanceHints", &text("").checked(&[OneOf(&["AssumeNeededOnEveryNode"])]))
        .checked(&[Distinct]);
pub(super) const STAGED_ACTION: Field =
    text("stagedAction").checked(&[OneOf(&["Set", "Delete", "Learn", "Ignore"])]).or_text("Set");

pub(super) const NAMESPACED: &[Field] =
    &[TIER, ORDER, INGRESS, EGRESS, SELECTOR, TYPES, SERVICE_ACCOUNT_SELECTOR, PERFORMANCE_HINTS];

pub(super) const GLOBAL: &[Field] = &[
    TIER,
    ORDER,
    INGRESS,
    EGRESS,
    SELECTOR,
    TYPES,
    DO_NOT_TRACK,
    PRE_DNAT,
    APPLY_ON_FORWARD,
    SERVICE_ACCOUNT_SELECTOR,
    NAMESPACE_SELECTOR,
    PERFORMANCE_HINTS,
];

pub(super) const STAGED_NAMESPACED: &[Field] = &[
    STAGED_ACTION,
    TIER,
    ORDER,
    INGRESS,
    EGRESS,
    SELECTOR,
    TYPES,
    SERVICE_ACCOUNT_SELECTOR,
    PERFORMANCE_HINTS,
];

pub(super) const STAGED_GLOBAL: &[Field] = &[
    STAGED_ACTION,
    TIER,
    ORDER,
    INGRESS,
    EGRESS,
    SELECTOR,
    TYPES,
    DO_NOT_TRACK,
    PRE_DNAT,
    APPLY_ON_FORWARD,
    SERVICE_ACCOUNT_SELECTOR,
    NAMESPACE_SELECTOR,
    PERFORMANCE_HINTS,
];

/// What a write fills in: the types that follow from the rules, and the label of the tier.
pub(super) fn default_on_write(object: &mut AnyResource) {
    let spec = View(&object.spec);
    let deletes = spec.text("stagedAction") == "Delete";
    let (ingress, egress) = (!spec.list("ingress").is_empty(), !spec.list("egress").is_empty());
    if spec.list("types").is_empty() && !deletes {
        let types = match (ingress, egress) {
            (_, false) => json!(["Ingress"]),
            (false, true) => json!(["Egress"]),
            (true, true) => json!(["Ingress", "Egress"]),
        };
        set(object, "types", types);
    }
    let tier = policy::tier(object).to_owned();
    object.metadata.labels.insert(LABEL_TIER.to_owned(), tier);
}

/// Sets a field of the spec, which comes into its place when the table is read again.
fn set(object: &mut AnyResource, field: &str, value: Value) {
    if let Some(spec) = object.spec.as_object_mut() {
        spec.insert(field.to_owned(), value);
    }
}

/// Rules of the four kinds across fields.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let (kind, name, spec) = (object.kind, &object.metadata.name, View(&object.spec));
    let global = matches!(kind, Kind::GlobalNetworkPolicy | Kind::StagedGlobalNetworkPolicy);
    // What is no name at all has its own error.
    if names::is_valid_name(name) && !is_policy_name(name, global) {
        let reason = match global {
            true => "a policy's name has at most one dot",
            false => {
                "a policy's name has at most one dot, unless it begins with knp.default. or \
                      ossg.default."
            }
        };
        errors.add("Metadata.Name", name, reason);
    }
    if spec.text("stagedAction") == "Delete" {
        let fields = object.spec.as_object().into_iter().flat_map(|fields| fields.keys());
        let others = fields.filter(|field| !matches!(field.as_str(), "stagedAction" | "tier"));
        let others: Vec<&str> = others.map(String::as_str).collect();
        let reason = "only tier can be set with the staged action Delete";
        let label = format!("{}Spec", kind.name());
        errors.check(others.is_empty(), &label, others.join(", "), reason);
        return;
    }
    if global {
        check_hosts(spec, errors);
    }
    for direction in ["ingress", "egress"] {
        rule::check_rules(Place { direction, global, profile: false }, spec, errors);
    }
}

/// Rules of policies that act on hosts before conntrack or before DNAT.
fn check_hosts(spec: View, errors: &mut FieldErrors) {
    let (untracked, early) = (spec.flag("doNotTrack"), spec.flag("preDNAT"));
    if untracked && early {
        errors.add("spec.preDNAT", "true", "cannot be set with doNotTrack");
    }
    if early && !spec.list("egress").is_empty() {
        errors.add("spec.egress", spec.shown("egress"), "a preDNAT policy has no egress rules");
    }
    if early && spec.texts("types").any(|kind| kind == "Egress") {
        errors.add("spec.types", spec.shown("types"), "a preDNAT policy has no type Egress");
    }
    if (untracked || early) && !spec.flag("applyOnForward") {
        let reason = "must be true with doNotTrack or preDNAT";
        errors.add("spec.applyOnForward", "false", reason);
    }
}

/// Whether a policy can have this name: a part, or a tier and a part; in a namespace also what was
/// made of another system's policy.
fn is_policy_name(name: &str, global: bool) -> bool {
    let foreign = name.starts_with("knp.default.") || name.starts_with("ossg.default.");
    name.matches('.').count() <= 1 || foreign && !global
}
