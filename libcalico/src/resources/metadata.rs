//! The metadata of every resource: Kubernetes' ObjectMeta (`reference/datamodel.md` section 3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::Extra;
use super::codec::{is_zero, null_as_default};
use crate::store::Revision;

/// Labels or annotations, in the order in which they are written.
pub type StringMap = BTreeMap<String, String>;

/// Name, identity, labels and annotations of a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectMeta {
    /// Its name, unique in its kind and namespace.
    #[serde(
        rename = "name",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// The stem of a generated name; of a pod's, on its endpoint.
    #[serde(
        rename = "generateName",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub generate_name: String,
    /// Its namespace; empty for kinds without.
    #[serde(
        rename = "namespace",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub namespace: String,
    /// Its identity, given at creation.
    #[serde(
        rename = "uid",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub uid: String,
    /// The revision of the stored value, as text. Never stored: it is carried beside the value.
    #[serde(
        rename = "resourceVersion",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub resource_version: String,
    /// Counts changes of the spec where Kubernetes keeps the object.
    #[serde(
        rename = "generation",
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_zero"
    )]
    pub generation: i64,
    /// When it was created, in whole seconds.
    #[serde(
        rename = "creationTimestamp",
        with = "super::time::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub creation_timestamp: Option<OffsetDateTime>,
    /// Set while something still has to be done before it can go.
    #[serde(
        rename = "deletionTimestamp",
        with = "super::time::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub deletion_timestamp: Option<OffsetDateTime>,
    /// How long its removal may take.
    #[serde(rename = "deletionGracePeriodSeconds", skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// What selectors look at.
    #[serde(
        rename = "labels",
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: StringMap,
    /// Notes that nothing selects by.
    #[serde(
        rename = "annotations",
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: StringMap,
    /// The objects that it goes with.
    #[serde(
        rename = "ownerReferences",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub owner_references: Vec<Value>,
    /// Who must agree before it can go.
    #[serde(
        rename = "finalizers",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub finalizers: Vec<String>,
    /// Who wrote which field, where Kubernetes keeps the object.
    #[serde(
        rename = "managedFields",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub managed_fields: Vec<Value>,
    /// Fields that we don't know.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ObjectMeta {
    /// Metadata with this name.
    pub fn named(name: impl Into<String>) -> ObjectMeta {
        ObjectMeta { name: name.into(), ..ObjectMeta::default() }
    }

    /// The revision of the stored value: `None` when there is none or it is no number.
    pub fn revision(&self) -> Option<Revision> {
        self.resource_version.parse().ok()
    }

    /// Notes the revision at which the value was read or written.
    pub fn set_revision(&mut self, revision: Revision) {
        self.resource_version = revision.to_string();
    }

    /// The metadata as it is stored: without what is carried beside the value.
    pub(crate) fn for_storage(&self) -> ObjectMeta {
        let mut stored = ObjectMeta { resource_version: String::new(), ..self.clone() };
        stored.extra.shift_remove("selfLink");
        stored
    }
}

/// Notes what is wrong with labels: a key is a Kubernetes qualified name, a value a Kubernetes
/// label value.
pub(crate) fn validate_labels(
    field: &str,
    labels: &StringMap,
    errors: &mut super::validation::FieldErrors,
) {
    for (key, value) in labels {
        let reason = "the key must be a name of at most 63 letters, digits, '-', '_' and '.', with \
                      an optional DNS prefix and '/'";
        errors.check(is_qualified_name(key), field, key, reason);
        let reason =
            format!("the value of {key} must be at most 63 letters, digits, '-', '_', '.'");
        errors.check(value.is_empty() || is_name_part(value), field, value, &reason);
    }
}

/// The most bytes that the annotations of an object may have together.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Notes what is wrong with annotations.
pub(crate) fn validate_annotations(
    field: &str,
    annotations: &StringMap,
    errors: &mut super::validation::FieldErrors,
) {
    for key in annotations.keys() {
        let reason = "the key must be a name of at most 63 letters, digits, '-', '_' and '.', with \
                      an optional DNS prefix and '/'";
        errors.check(is_qualified_name(&key.to_lowercase()), field, key, reason);
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    errors.check(size <= MAX_ANNOTATIONS, field, size, "at most 262144 bytes together");
}

/// `name` or `prefix/name`, as Kubernetes has it for the keys of labels and annotations.
pub(crate) fn is_qualified_name(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => crate::names::is_valid_name(prefix) && is_name_part(name),
        None => is_name_part(key),
    }
}

fn is_name_part(text: &str) -> bool {
    let ends = |b: &u8| b.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(ends)
        && bytes.last().is_some_and(ends)
        && bytes.iter().all(|b| ends(b) || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::validation::FieldErrors;

    #[test]
    fn keys_are_judged_as_kubernetes_does() {
        for good in ["a", "A_b.c-1", "projectcalico.org/namespace", "a.b/C", &"x".repeat(63)] {
            assert!(is_qualified_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "/a", "a/", "A.b/c", "a/b/c", "ü", &"x".repeat(64)] {
            assert!(!is_qualified_name(bad), "{bad}");
        }
    }

    #[test]
    fn label_values_may_be_empty_but_not_long() {
        let fails = |value: &str| {
            let mut errors = FieldErrors::default();
            let labels = StringMap::from([("a".to_owned(), value.to_owned())]);
            validate_labels("Metadata.Labels", &labels, &mut errors);
            errors.into_result(String::new()).is_err()
        };
        assert!(!fails("") && !fails("x_Y.z-1"));
        assert!(fails("a b") && fails("-a") && fails(&"x".repeat(64)));
    }

    #[test]
    fn annotations_have_a_limit_together() {
        let fails = |key: &str, size: usize| {
            let mut errors = FieldErrors::default();
            let annotations = StringMap::from([(key.to_owned(), "x".repeat(size))]);
            validate_annotations("Metadata.Annotations", &annotations, &mut errors);
            errors.into_result(String::new()).is_err()
        };
        assert!(!fails("Example.com/A", MAX_ANNOTATIONS - 13));
        assert!(fails("Example.com/A", MAX_ANNOTATIONS - 12));
        assert!(fails("a b", 1));
    }
}
