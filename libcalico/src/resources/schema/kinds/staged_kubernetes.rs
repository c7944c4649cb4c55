//! StagedKubernetesNetworkPolicy: Kubernetes' own NetworkPolicy, staged.

use super::policy::STAGED_ACTION;
use crate::resources::AnyResource;
use crate::resources::schema::field::{
    Field, TEXT, int32, list, map, number_or_text, object, text,
};
use crate::resources::schema::view::View;
use crate::resources::validation::FieldErrors;

pub(super) const SPEC: &[Field] = &[
    STAGED_ACTION,
    object("podSelector", SELECTOR).always(),
    list("ingress", &object("", &[PORTS, list("from", &object("", PEER))])),
    list("egress", &object("", &[PORTS, list("to", &object("", PEER))])),
    list("policyTypes", TEXT),
];

const SELECTOR: &[Field] = &[map("matchLabels"), list("matchExpressions", &object("", EXPRESSION))];

const EXPRESSION: &[Field] =
    &[text("key").always(), text("operator").always(), list("values", TEXT)];

const PORTS: Field = list(
    "ports",
    &object("", &[text("protocol").kept(), number_or_text("port").kept(), int32("endPort").kept()]),
);

const PEER: &[Field] = &[
    object("podSelector", SELECTOR).kept(),
    object("namespaceSelector", SELECTOR).kept(),
    object("ipBlock", &[text("cidr").always(), list("except", TEXT)]).kept(),
];

/// Rules beyond the table.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let spec = View(&object.spec);
    if spec.text("stagedAction") != "Delete" {
        return;
    }
    let fields = object.spec.as_object().into_iter().flat_map(|fields| fields.keys());
    let others = fields.filter(|field| match field.as_str() {
        "stagedAction" => false,
        "podSelector" => {
            spec.object("podSelector").0.as_object().is_some_and(|map| !map.is_empty())
        }
        _ => true,
    });
    let others: Vec<&str> = others.map(String::as_str).collect();
    let reason = "nothing else can be set with the staged action Delete";
    let label = "StagedKubernetesNetworkPolicySpec";
    errors.check(others.is_empty(), label, others.join(", "), reason);
}
