//! Writes without I/O: a resource becomes a guarded change, or the list of what is wrong with it.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::names::is_valid_name;
use crate::resources::metadata::{validate_annotations, validate_labels};
use crate::resources::resource::describe;
use crate::resources::validation::FieldErrors;
use crate::resources::{DecodeError, Kind, Object, ValidationError};
use crate::store::{Change, Document};

/// The fields of an object's metadata, as messages name them.
const NAME: &str = "Metadata.Name";
const NAMESPACE: &str = "Metadata.Namespace";
const RESOURCE_VERSION: &str = "Metadata.ResourceVersion";

/// The change that writes a new object. Defaults, uid (unless it has one) and time of creation are
/// filled into the object, so that afterwards it is what is stored, but for the revision.
pub fn prepare_create<O: Object>(
    object: &mut O,
    now: OffsetDateTime,
    uid: Uuid,
) -> Result<Change, ValidationError> {
    object.default_on_write();
    let mut errors = FieldErrors::default();
    let metadata = object.metadata_mut();
    let must = "field must be set for a Create request";
    errors.check(!metadata.name.is_empty(), NAME, "", must);
    let revision = &metadata.resource_version;
    let must_not = "field must not be set for a Create request";
    errors.check(revision.is_empty(), RESOURCE_VERSION, revision, must_not);
    if metadata.uid.is_empty() {
        metadata.uid = uid.to_string();
    }
    metadata.creation_timestamp.get_or_insert(whole_seconds(now));
    check(object, None, errors)?;
    Ok(Change::create(object.key(), object.encode()))
}

/// The change that writes an object over the one at its resourceVersion. `old` is the stored
/// object where the caller has it: some rules only show against it.
pub fn prepare_update<O: Object>(
    object: &mut O,
    old: Option<&O>,
) -> Result<Change, ValidationError> {
    check_update_metadata(object)?;
    object.default_on_write();
    check(object, old, FieldErrors::default())?;
    let revision = object.metadata().revision().unwrap_or_default();
    Ok(Change::update(object.key(), revision, object.encode()))
}

/// Reads a stored resource: its resourceVersion is the document's revision, and what older
/// releases left out is filled in.
pub fn decode_document<O: Object>(document: &Document) -> Result<O, DecodeError> {
    O::decode(document)
}

/// What an update needs to have been read before: uid, time of creation and resourceVersion.
pub(super) fn check_update_metadata<O: Object>(object: &O) -> Result<(), ValidationError> {
    let metadata = object.metadata();
    let mut errors = FieldErrors::default();
    let must = "field must be set for an Update request";
    errors.check(!metadata.name.is_empty(), NAME, "", must);
    errors.check(!metadata.uid.is_empty(), "Metadata.UID", "", must);
    let created = metadata.creation_timestamp.is_some();
    errors.check(created, "Metadata.CreationTimestamp", "", must);
    let revision = &metadata.resource_version;
    match revision.is_empty() {
        true => errors.add(RESOURCE_VERSION, "", must),
        false => {
            let number = metadata.revision().is_some();
            errors.check(number, RESOURCE_VERSION, revision, "must be a revision number");
        }
    }
    errors.into_result(describe_object(object))
}

/// The rules of every object, and those of its kind.
fn check<O: Object>(
    object: &O,
    old: Option<&O>,
    mut errors: FieldErrors,
) -> Result<(), ValidationError> {
    let (kind, metadata) = (object.kind(), object.metadata());
    let (name, namespace) = (&metadata.name, &metadata.namespace);
    let reason = "must be at most 253 lower-case letters, digits, '-' and '.', and begin and end \
                  with a letter or digit";
    errors.check(name.is_empty() || is_valid_name(name), NAME, name, reason);
    match (kind.namespaced(), namespace.is_empty()) {
        (true, true) => {
            errors.add(NAMESPACE, "", "namespace is not specified on namespaced resource");
        }
        (true, false) => errors.check(is_valid_name(namespace), NAMESPACE, namespace, reason),
        (false, empty) => {
            let reason = "namespace is specified on a resource that has none";
            errors.check(empty, NAMESPACE, namespace, reason);
        }
    }
    validate_labels("Metadata.Labels", &metadata.labels, &mut errors);
    validate_annotations("Metadata.Annotations", &metadata.annotations, &mut errors);
    object.validate(old, &mut errors);
    errors.into_result(describe_object(object))
}

fn describe_object<O: Object>(object: &O) -> String {
    let (kind, metadata): (Kind, _) = (object.kind(), object.metadata());
    describe(kind, &metadata.namespace, &metadata.name)
}

/// Times are stored in whole seconds.
fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}
