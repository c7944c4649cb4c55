//! A resource of any kind, with its spec and status as they are. Its defaults and its rules are
//! those of its kind's [`schema`].

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::codec::{self, DecodeError, null_as_default};
use super::resource::{API_VERSION, Object, Resource, Spec, describe, describe_key};
use super::validation::FieldErrors;
use super::{Extra, IpPoolSpec, Kind, ObjectMeta, TierSpec, policy, schema};
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

impl<'de> Deserialize<'de> for AnyResource {
    /// The kind is that of the `kind` field.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnyResource, D::Error> {
        let read = Read::deserialize(deserializer)?;
        let name = read.extra.get("kind").and_then(Value::as_str).unwrap_or_default();
        let unknown = || serde::de::Error::custom(format!("kind {name:?} is none of Calico's"));
        let kind = Kind::from_name(name).ok_or_else(unknown)?;
        Ok(AnyResource::from_read(kind, read))
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
        let mut resource = AnyResource::from_read(kind, read);
        resource.metadata.set_revision(document.revision);
        match kind {
            Kind::IpPool => resource.default_read_as::<IpPoolSpec>(),
            Kind::Tier => resource.default_read_as::<TierSpec>(),
            kind if policy::KINDS.contains(&kind) => policy::from_stored(&mut resource),
            _ => {}
        }
        Ok(resource)
    }

    fn encode(&self) -> Vec<u8> {
        let mut stored = AnyResource { metadata: self.metadata.for_storage(), ..self.clone() };
        if policy::KINDS.contains(&self.kind) {
            policy::to_stored(&mut stored);
        }
        codec::encode(&stored)
    }

    fn default_on_write(&mut self) {
        schema::default_on_write(self);
    }

    fn validate(&self, old: Option<&AnyResource>, errors: &mut FieldErrors) {
        schema::check(self, old, errors);
    }
}

impl AnyResource {
    /// Reads it as a kind that we know.
    pub fn to_typed<T: Spec>(&self) -> Result<Resource<T>, DecodeError> {
        let metadata = &self.metadata;
        let what = describe(self.kind, &metadata.namespace, &metadata.name);
        codec::decode(&codec::encode(self)).map_err(|error| DecodeError { what, ..error })
    }

    /// The defaults of a write of a kind that has a type. What can't be read as one stays as it is,
    /// and validation says why.
    pub(super) fn default_as<T: Spec>(&mut self) {
        self.change_as::<T>(T::default_on_write);
    }

    /// The defaults of a read of a kind that has a type.
    fn default_read_as<T: Spec>(&mut self) {
        self.change_as::<T>(T::default_on_read);
    }

    fn change_as<T: Spec>(&mut self, change: impl FnOnce(&mut Resource<T>)) {
        let Ok(mut typed) = self.to_typed::<T>() else { return };
        change(&mut typed);
        if let Ok(read) = codec::decode::<Read>(&codec::encode(&typed)) {
            *self = AnyResource::from_read(self.kind, read);
        }
    }

    /// The rules of a kind that we know.
    pub(super) fn validate_as<T: Spec>(&self, old: Option<&AnyResource>, errors: &mut FieldErrors) {
        let old = old.and_then(|old| old.to_typed::<T>().ok());
        match self.to_typed::<T>() {
            Ok(typed) => T::validate(&typed, old.as_ref(), errors),
            Err(error) => errors.add("spec", "", error.cause.to_string()),
        }
    }

    fn from_read(kind: Kind, read: Read) -> AnyResource {
        let Read { metadata, spec, status, mut extra } = read;
        extra.shift_remove("kind");
        extra.shift_remove("apiVersion");
        let spec = spec.unwrap_or_else(|| Value::Object(Extra::new()));
        AnyResource { kind, metadata, spec, status, extra }
    }
}
