//! NetworkSet and GlobalNetworkSet (`reference/datamodel.md` section 7.2).

use super::super::form::*;
use crate::resources::AnyResource;
use crate::resources::schema::field::Check::{Distinct, Form};
use crate::resources::schema::field::{Field, list, text};
use crate::resources::validation::FieldErrors;
use crate::resources::workload_endpoint::LABEL_NAMESPACE;

pub(super) const SPEC: &[Field] =
    &[list("nets", &text("").checked(&[Form(is_net, NET)])).called("Nets").checked(&[Distinct])];

/// Rules beyond the table.
pub(super) fn check(object: &AnyResource, _old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let free = !object.metadata.labels.contains_key(LABEL_NAMESPACE);
    let reason = "this label is Calico's own: it is the set's namespace";
    errors.check(free, "Metadata.Labels", LABEL_NAMESPACE, reason);
}
