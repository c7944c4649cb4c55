//! What is wrong with a resource, field by field (`reference/datamodel.md` sections 4.4 and 8).

use std::fmt;

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, as upstream names it: `IPPool.Spec.CIDR`, `Metadata.Name`.
    pub field: String,
    /// Where it stands, if its name doesn't say so: `spec.ingress[0].source.ports[0]`.
    pub path: Option<String>,
    /// Its value, as text.
    pub value: String,
    /// The rule that it breaks.
    pub reason: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = '{}' ({})", self.field, self.value, self.reason)?;
        match &self.path {
            Some(path) => write!(f, " at {path}"),
            None => Ok(()),
        }
    }
}

/// A resource that breaks rules: all of them, so that one attempt shows everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ValidationError {
    /// The resource, like `IPPool(pool-a)`.
    pub object: String,
    /// The fields; never empty.
    pub fields: Vec<FieldError>,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields.as_slice() {
            [field] => write!(f, "{}: error with field {field}", self.object),
            fields => {
                write!(f, "{}: error with the following fields:", self.object)?;
                fields.iter().try_for_each(|field| write!(f, "\n-  {field}"))
            }
        }
    }
}

/// Collects the errors of a resource.
#[derive(Debug, Default)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Notes that a field breaks a rule.
    pub fn add(
        &mut self,
        field: impl Into<String>,
        value: impl ToString,
        reason: impl Into<String>,
    ) {
        let (field, value) = (field.into(), value.to_string());
        self.0.push(FieldError { field, path: None, value, reason: reason.into() });
    }

    /// Notes that a field breaks a rule which stands deeper than its name says.
    pub fn add_at(
        &mut self,
        path: impl Into<String>,
        field: impl Into<String>,
        value: impl ToString,
        reason: impl Into<String>,
    ) {
        let (field, value, path) = (field.into(), value.to_string(), Some(path.into()));
        self.0.push(FieldError { field, path, value, reason: reason.into() });
    }

    /// Notes it unless `holds`.
    pub fn check(&mut self, holds: bool, field: &str, value: impl ToString, reason: &str) {
        if !holds {
            self.add(field, value, reason);
        }
    }

    /// Ok when nothing was noted.
    pub fn into_result(self, object: String) -> Result<(), ValidationError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(ValidationError { object, fields: self.0 }),
        }
    }
}
