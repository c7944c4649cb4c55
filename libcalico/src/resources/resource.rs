//! The envelope of a resource (`reference/datamodel.md` section 3), typed by its spec.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{self, DecodeError, null_as_default};
use super::validation::FieldErrors;
use super::{Extra, Kind, ObjectMeta};
use crate::store::{Document, Key};

/// The `apiVersion` of every kind.
pub const API_VERSION: &str = "projectcalico.org/v3";

/// The spec of a kind: its schema, its defaults and its rules.
pub trait Spec:
    Serialize + DeserializeOwned + Default + Clone + Debug + PartialEq + Send + Sync + 'static
{
    /// The kind that it is the spec of.
    const KIND: Kind;
    /// Its status: [`Extra`] where we only keep it.
    type Status: Serialize
        + DeserializeOwned
        + Default
        + Clone
        + Debug
        + PartialEq
        + Send
        + Sync
        + 'static;
    /// Whether a status is always written, as `{}` when it is empty.
    const STATUS_ALWAYS: bool = false;

    /// Fills in what is left out, before a write.
    fn default_on_write(_resource: &mut Resource<Self>) {}

    /// Fills in what older releases left out, after a read.
    fn default_on_read(_resource: &mut Resource<Self>) {}

    /// The rules of the kind. `old` is the stored object, on an update.
    fn validate(_new: &Resource<Self>, _old: Option<&Resource<Self>>, _errors: &mut FieldErrors) {}
}

/// A resource of a kind that we know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "", from = "Read<S>", into = "Written<S>")]
pub struct Resource<S: Spec> {
    /// Name, identity, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: S,
    /// What is.
    pub status: Option<S::Status>,
    /// Fields beside these that we don't know.
    pub extra: Extra,
}

/// A resource as it is read: `kind` and `apiVersion` are taken for granted.
#[derive(Deserialize)]
#[serde(bound = "")]
struct Read<S: Spec> {
    #[serde(rename = "metadata", default, deserialize_with = "null_as_default")]
    metadata: ObjectMeta,
    #[serde(rename = "spec", default, deserialize_with = "null_as_default")]
    spec: S,
    #[serde(rename = "status", default)]
    status: Option<S::Status>,
    #[serde(flatten)]
    extra: Extra,
}

/// A resource as it is written, in upstream's order of fields.
#[derive(Serialize)]
#[serde(bound = "")]
struct Written<S: Spec> {
    #[serde(rename = "kind")]
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    #[serde(rename = "metadata")]
    metadata: ObjectMeta,
    #[serde(rename = "spec")]
    spec: S,
    #[serde(rename = "status", skip_serializing_if = "Option::is_none")]
    status: Option<S::Status>,
    #[serde(flatten)]
    extra: Extra,
}

impl<S: Spec> From<Read<S>> for Resource<S> {
    fn from(read: Read<S>) -> Resource<S> {
        let Read { metadata, spec, status, mut extra } = read;
        extra.shift_remove("kind");
        extra.shift_remove("apiVersion");
        Resource { metadata, spec, status, extra }
    }
}

impl<S: Spec> From<Resource<S>> for Written<S> {
    fn from(resource: Resource<S>) -> Written<S> {
        let Resource { metadata, spec, status, extra } = resource;
        Written {
            kind: S::KIND.name(),
            api_version: API_VERSION,
            metadata,
            spec,
            status: status.or_else(|| S::STATUS_ALWAYS.then(S::Status::default)),
            extra,
        }
    }
}

impl<S: Spec> Resource<S> {
    /// A resource with this name, in no namespace.
    pub fn new(name: impl Into<String>, spec: S) -> Resource<S> {
        Resource { metadata: ObjectMeta::named(name), spec, status: None, extra: Extra::new() }
    }
}

/// What the client needs to know of a resource, of whatever kind.
pub trait Object: Clone + Debug + Send + Sync {
    /// Its kind.
    fn kind(&self) -> Kind;

    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;

    /// Its metadata, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// Reads a stored document: its resourceVersion becomes the document's revision, and what
    /// older releases left out is filled in.
    fn decode(document: &Document) -> Result<Self, DecodeError>;

    /// The bytes that are stored: `kind` and `apiVersion` forced, without resourceVersion.
    fn encode(&self) -> Vec<u8>;

    /// Fills in what is left out, before a write.
    fn default_on_write(&mut self);

    /// The rules of its kind. `old` is the stored object, on an update.
    fn validate(&self, old: Option<&Self>, errors: &mut FieldErrors);

    /// Its key.
    fn key(&self) -> Key {
        let metadata = self.metadata();
        key_of(self.kind(), &metadata.namespace, &metadata.name)
    }
}

/// The key of a resource; the namespace counts where the kind has namespaces.
pub fn key_of(kind: Kind, namespace: &str, name: &str) -> Key {
    match kind.namespaced() {
        true => Key::namespaced(kind, namespace, name),
        false => Key::global(kind, name),
    }
}

/// How messages name a resource: `IPPool(pool-a)`, `WorkloadEndpoint(shop/n1-k8s-web-eth0)`.
pub fn describe(kind: Kind, namespace: &str, name: &str) -> String {
    match kind.namespaced() {
        true => format!("{}({namespace}/{name})", kind.name()),
        false => format!("{}({name})", kind.name()),
    }
}

/// How messages name a document.
pub(crate) fn describe_key(key: &Key) -> String {
    match key {
        Key::Resource { kind, namespace, name } => {
            describe(*kind, namespace.as_deref().unwrap_or_default(), name)
        }
        other => other.path().unwrap_or_else(|_| format!("{other:?}")),
    }
}

impl<S: Spec> Object for Resource<S> {
    fn kind(&self) -> Kind {
        S::KIND
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn decode(document: &Document) -> Result<Resource<S>, DecodeError> {
        let mut resource: Resource<S> = codec::decode(&document.value)
            .map_err(|error| DecodeError { what: describe_key(&document.key), ..error })?;
        resource.metadata.set_revision(document.revision);
        S::default_on_read(&mut resource);
        Ok(resource)
    }

    fn encode(&self) -> Vec<u8> {
        let stored = Resource { metadata: self.metadata.for_storage(), ..self.clone() };
        codec::encode(&stored)
    }

    fn default_on_write(&mut self) {
        S::default_on_write(self);
    }

    fn validate(&self, old: Option<&Resource<S>>, errors: &mut FieldErrors) {
        S::validate(self, old, errors);
    }
}
