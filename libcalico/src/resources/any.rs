//! A resource of any kind, with its spec and status as they are.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::codec::{self, DecodeError, null_as_default};
use super::resource::{API_VERSION, Object, describe_key};
use super::validation::FieldErrors;
use super::{Extra, Kind, ObjectMeta};
use crate::store::{Document, Key};

/// A resource whose spec we only keep: its fields stay as they are and in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyResource {
    /// Its kind.
    pub kind: Kind,
    /// Name, identity, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: Value,
    /// What is.
    pub status: Option<Value>,
    /// Fields beside these.
    pub extra: Extra,
}

#[derive(Deserialize)]
struct Read {
    #[serde(rename = "metadata", default, deserialize_with = "null_as_default")]
    metadata: ObjectMeta,
    #[serde(rename = "spec", default)]
    spec: Option<Value>,
    #[serde(rename = "status", default)]
    status: Option<Value>,
    #[serde(flatten)]
    extra: Extra,
}

impl AnyResource {
    /// A resource of this kind with this name and spec.
    pub fn new(kind: Kind, name: impl Into<String>, spec: Value) -> AnyResource {
        let metadata = ObjectMeta::named(name);
        AnyResource { kind, metadata, spec, status: None, extra: Extra::new() }
    }
}

impl Serialize for AnyResource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind.name())?;
        map.serialize_entry("apiVersion", API_VERSION)?;
        map.serialize_entry("metadata", &self.metadata)?;
        map.serialize_entry("spec", &self.spec)?;
        if let Some(status) = &self.status {
            map.serialize_entry("status", status)?;
        }
        for (name, value) in &self.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Object for AnyResource {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    /// The kind is that of the document's key.
    fn decode(document: &Document) -> Result<AnyResource, DecodeError> {
        let what = || describe_key(&document.key);
        let Key::Resource { kind, .. } = document.key else {
            let cause = serde::de::Error::custom("this key is not that of a resource");
            return Err(DecodeError { what: what(), cause });
        };
        let read: Read = codec::decode(&document.value)
            .map_err(|error| DecodeError { what: what(), ..error })?;
        let Read { mut metadata, spec, status, mut extra } = read;
        metadata.set_revision(document.revision);
        extra.shift_remove("kind");
        extra.shift_remove("apiVersion");
        let spec = spec.unwrap_or_else(|| Value::Object(Extra::new()));
        Ok(AnyResource { kind, metadata, spec, status, extra })
    }

    fn encode(&self) -> Vec<u8> {
        codec::encode(&AnyResource { metadata: self.metadata.for_storage(), ..self.clone() })
    }

    fn default_on_write(&mut self) {}

    fn validate(&self, _old: Option<&AnyResource>, _errors: &mut FieldErrors) {}
}
