//! What an object of each kind may hold (`reference/datamodel.md` sections 5, 7 and 8).
//!
//! A kind has a table of its fields, which is data: their order, which is Go's, their shapes, when
//! they are left out, defaults and rules. One [`reader`] brings any value into the form in which
//! upstream stores it, one [`checker`] applies the rules. What a table can't say, rules across
//! fields and what a write fills in, is a function a kind. Kinds that have a type of their own keep
//! defaults and rules there; their tables only read.
//!
//! A new field of upstream's is a line in its kind's table, at the place where upstream writes it.
//!
//! [`read`] is for what a person wrote: it is strict. [`read_stored`] is for what a program made of
//! a stored object: it keeps the fields that it doesn't know.

mod checker;
mod field;
mod form;
mod go;
mod kinds;
mod path;
mod reader;
mod scalar;
#[cfg(test)]
mod tests;
mod view;

use serde_json::Value;

use self::checker::Checker;
use self::field::Field;
use self::path::Path;
use self::reader::{Reader, Unknown};
use super::validation::FieldErrors;
use super::{API_VERSION, AnyResource, Kind, ObjectMeta, Spec};

/// Why an input is no object that we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A value of another type than its field's.
    #[error("{path}: must be {expected}, not {found}")]
    WrongType {
        /// Where it stands; `document` at the top.
        path: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The kind or the version isn't Calico's.
    #[error("unknown resource type ({kind}) and/or version ({version})")]
    UnknownType {
        /// The `kind` field.
        kind: String,
        /// The `apiVersion` field.
        version: String,
    },
    /// The kind has no such field there.
    #[error("field in document is not recognized or is in the wrong location: {field}")]
    UnknownField {
        /// Its name alone, which is what upstream prints.
        field: String,
        /// Where it stands.
        path: String,
        /// The fields that there are, for who wants to guess what was meant.
        among: Vec<&'static str>,
    },
    /// A field stands there twice, in different letter case.
    #[error("{path}: the field is there twice, in another letter case; keep one of the two")]
    Twice {
        /// The second one.
        path: String,
    },
}

/// The members of every object.
const MEMBERS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// What a write does to an object before it is checked.
type Default = fn(&mut AnyResource);

/// Notes which rules an object breaks. The second one is the stored object, on an update.
type Rules = fn(&AnyResource, Option<&AnyResource>, &mut FieldErrors);

/// What an object of a kind may hold.
struct Schema {
    spec: &'static [Field],
    status: Status,
    /// What is filled in beyond the defaults of the table.
    default: Default,
    /// The rules beyond those of the table.
    check: Rules,
}

impl Schema {
    /// All of it is in the table.
    fn new(spec: &'static [Field]) -> Schema {
        Schema { spec, status: Status::None, default: |_| {}, check: |_, _, _| {} }
    }

    /// Defaults and rules are those of the type.
    fn typed<T: Spec>(spec: &'static [Field]) -> Schema {
        Schema::new(spec)
            .defaulted(AnyResource::default_as::<T>)
            .checked(AnyResource::validate_as::<T>)
    }

    fn defaulted(self, default: Default) -> Schema {
        Schema { default, ..self }
    }

    fn checked(self, check: Rules) -> Schema {
        Schema { check, ..self }
    }

    fn reporting(self, status: Status) -> Schema {
        Schema { status, ..self }
    }
}

/// The status of a kind.
#[derive(Clone, Copy)]
enum Status {
    /// It has none.
    None,
    /// Written when there is one.
    Given(&'static [Field]),
    /// Always written.
    Always(&'static [Field]),
}

/// Reads an object as a person wrote it, YAML or JSON turned into a value: every field must be one
/// of its kind and of its type. Names of fields match in any letter case; numbers and booleans
/// become text where text is wanted; fields come into upstream's order and spelling, and what
/// upstream doesn't write is left out. Defaults and rules are the client's.
pub fn read(input: Value) -> Result<AnyResource, InputError> {
    read_with(input, Unknown::Refused)
}

/// Reads an object that was stored and then changed by a program: as [`read`], but fields that the
/// kind doesn't have stay, since another release may have written them.
pub fn read_stored(input: Value) -> Result<AnyResource, InputError> {
    read_with(input, Unknown::Kept)
}

fn read_with(input: Value, unknown: Unknown) -> Result<AnyResource, InputError> {
    let mut input = match input {
        Value::Object(input) => input,
        other => {
            let found = match other {
                Value::Null => "nothing",
                Value::Array(_) => "a list",
                _ => "a single value",
            };
            let (path, found) = ("document".to_owned(), found.to_owned());
            return Err(InputError::WrongType { path, expected: "an object", found });
        }
    };
    let mut take = |name: &str| {
        let key = input.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
        key.and_then(|key| input.shift_remove(&key)).unwrap_or_default()
    };
    let (kind, version) = (take("kind"), take("apiVersion"));
    let (metadata, spec, status) = (take("metadata"), take("spec"), take("status"));
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind_name, version) = (name(&kind), name(&version));
    // COMPAT: the names of fields match in any letter case, those of kinds don't.
    let known = Kind::from_name(&kind_name)
        .filter(|kind| kind.name() == kind_name && version == API_VERSION)
        .and_then(|kind| Some((kind, kinds::schema(kind)?)));
    let Some((kind, schema)) = known else {
        return Err(InputError::UnknownType { kind: kind_name, version });
    };

    let mut reader = Reader { unknown, defaults: false, path: Path::new("metadata") };
    let metadata = read_metadata(&mut reader, metadata)?;
    reader.path = Path::new("spec");
    let spec = Value::Object(reader.object(schema.spec, spec)?);
    let given = Some(status).filter(|status| !status.is_null());
    if let (Status::None, Some(status)) = (schema.status, &given) {
        input.insert("status".to_owned(), status.clone());
    }
    let status = read_status(&mut reader, schema.status, given)?;
    if let (Unknown::Refused, Some(field)) = (unknown, input.keys().next()) {
        let (field, path) = (field.clone(), field.clone());
        return Err(InputError::UnknownField { field, path, among: MEMBERS.to_vec() });
    }
    Ok(AnyResource { kind, metadata, spec, status, extra: input })
}

fn read_metadata(reader: &mut Reader, input: Value) -> Result<ObjectMeta, InputError> {
    let read = reader.object(kinds::METADATA, input)?;
    // The table has the types of the struct: this can't fail but for a mistake of ours.
    serde_json::from_value(Value::Object(read)).map_err(|error| InputError::WrongType {
        path: "metadata".to_owned(),
        expected: "Kubernetes' metadata",
        found: error.to_string(),
    })
}

fn read_status(
    reader: &mut Reader,
    status: Status,
    given: Option<Value>,
) -> Result<Option<Value>, InputError> {
    reader.path = Path::new("status");
    Ok(match (status, given) {
        (Status::None, _) | (Status::Given(_), None) => None,
        (Status::Given(fields) | Status::Always(fields), given) => {
            Some(Value::Object(reader.object(fields, given.unwrap_or_default())?))
        }
    })
}

/// Brings spec and status into the stored form. What can't be read stays as it is.
fn settle(object: &mut AnyResource, schema: &Schema, defaults: bool) -> Result<(), InputError> {
    let mut reader = Reader { unknown: Unknown::Kept, defaults, path: Path::new("spec") };
    let spec = Value::Object(reader.object(schema.spec, object.spec.clone())?);
    if !matches!(schema.status, Status::None) {
        object.status = read_status(&mut reader, schema.status, object.status.clone())?;
    }
    object.spec = spec;
    Ok(())
}

/// Fills in what is left out, before a write, and brings the object into the stored form. What
/// can't be read stays as it is, and [`check`] says why.
pub(super) fn default_on_write(object: &mut AnyResource) {
    let Some(schema) = kinds::schema(object.kind) else { return };
    if settle(object, &schema, true).is_ok() {
        (schema.default)(object);
        // What was filled in beyond the tables comes into its place.
        let _ = settle(object, &schema, false);
    }
}

/// The rules of the object's kind. `old` is the stored object, on an update.
pub(super) fn check(object: &AnyResource, old: Option<&AnyResource>, errors: &mut FieldErrors) {
    let Some(schema) = kinds::schema(object.kind) else { return };
    match settle(&mut object.clone(), &schema, false) {
        Ok(()) => {}
        Err(InputError::WrongType { path, expected, found }) => {
            return errors.add(path, found, format!("must be {expected}"));
        }
        Err(error) => return errors.add(error.path(), "", error.to_string()),
    }
    Checker { errors: &mut *errors, path: Path::new("spec") }.object(schema.spec, &object.spec);
    (schema.check)(object, old, errors);
}

impl InputError {
    /// Where it stands in the document.
    pub fn path(&self) -> &str {
        match self {
            InputError::WrongType { path, .. }
            | InputError::UnknownField { path, .. }
            | InputError::Twice { path } => path,
            InputError::UnknownType { .. } => "kind",
        }
    }
}
