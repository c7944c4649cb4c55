//! The typed client: get, list, create, update, apply and delete of resources, with their defaults
//! and rules (`reference/datamodel.md` section 5).
//!
//! [`prepare`] has the part without I/O, for who puts resources into one commit with other
//! documents. [`Client`] is the shell around it. What needs more than its own object has a file
//! of its own: nodes, pools and tiers.

mod error;
mod ip_pool;
mod node;
pub mod prepare;
mod references;
#[cfg(test)]
mod tests;
mod tier;

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::bootstrap;
use crate::clock;
use crate::resources::resource::{describe, key_of};
use crate::resources::{AnyResource, Kind, Object, Resource, Spec, profile};
use crate::store::{
    Action, Change, Committed, Document, Guard, Key, Prefix, Query, Revision, Store, StoreError,
    StoreErrorKind,
};

pub use error::{ClientError, ErrorKind};
pub use ip_pool::check_fits;
pub use prepare::{decode_document, prepare_create, prepare_update};

/// How often a change that somebody else's crossed is tried again.
const ATTEMPTS: usize = 10;

/// Reads and writes resources in a store. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
}

/// The objects of a kind, in the order of their names, and the revision at which they were read.
#[derive(Debug, Clone, PartialEq)]
pub struct List<O> {
    /// The objects. What can't be read is left out, and a warning is logged.
    pub items: Vec<O>,
    /// The store's revision at the time.
    pub revision: Revision,
}

impl Client {
    /// A client of this store.
    pub fn new(store: Arc<dyn Store>) -> Client {
        Client { store }
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Reads an object. The namespace is empty for kinds without.
    pub async fn get<S: Spec>(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Resource<S>, ClientError> {
        self.read(key_of(S::KIND, namespace, name), deadline).await
    }

    /// Reads an object of any kind.
    pub async fn get_any(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<AnyResource, ClientError> {
        self.read(key_of(kind, namespace, name), deadline).await
    }

    /// Reads the objects of a kind: of one namespace, or of all where none is given.
    pub async fn list<S: Spec>(
        &self,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> Result<List<Resource<S>>, ClientError> {
        self.read_all(S::KIND, namespace, deadline).await
    }

    /// Reads the objects of any kind.
    pub async fn list_any(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> Result<List<AnyResource>, ClientError> {
        self.read_all(kind, namespace, deadline).await
    }

    /// Writes an object that isn't there yet, and returns it as it is stored.
    pub async fn create<O: Object>(
        &self,
        mut object: O,
        deadline: Instant,
    ) -> Result<O, ClientError> {
        let change = prepare_create(&mut object, clock::now(), Uuid::new_v4())?;
        let revision = match object.kind() {
            Kind::IpPool => self.create_pool(change, deadline).await?,
            Kind::Node => {
                bootstrap::ensure_initialised(&*self.store, deadline).await?;
                self.commit(change, deadline).await?
            }
            _ => {
                references::check_ours("Create", &change.key)?;
                self.commit_with_references(change, deadline).await?
            }
        };
        object.metadata_mut().set_revision(revision);
        Ok(object)
    }

    /// Writes an object over the one that it was made from: its resourceVersion must still be that
    /// of the stored one. Returns it as it is stored.
    pub async fn update<O: Object>(
        &self,
        mut object: O,
        deadline: Instant,
    ) -> Result<O, ClientError> {
        prepare::check_update_metadata(&object)?;
        let old: O = self.read(object.key(), deadline).await?;
        let change = prepare_update(&mut object, Some(&old))?;
        let revision = self.commit_with_references(change, deadline).await?;
        object.metadata_mut().set_revision(revision);
        Ok(object)
    }

    /// Creates an object, or writes it over the stored one whatever that is. Its identity and its
    /// time of creation stay.
    pub async fn apply<O: Object>(
        &self,
        mut object: O,
        deadline: Instant,
    ) -> Result<O, ClientError> {
        // An endpoint may come without its name, which is computed.
        object.default_on_write();
        if object.metadata().name.is_empty() {
            return self.create(object, deadline).await;
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let written = match self.read::<O>(object.key(), deadline).await {
                Ok(old) => {
                    let mut object = object.clone();
                    let (new, old) = (object.metadata_mut(), old.metadata());
                    new.uid = old.uid.clone();
                    new.creation_timestamp = old.creation_timestamp;
                    new.resource_version = old.resource_version.clone();
                    self.update(object, deadline).await
                }
                // What can't be created can only be missing.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        && references::check_ours("Create", &object.key()).is_ok() =>
                {
                    self.create(object.clone(), deadline).await
                }
                Err(error) => Err(error),
            };
            match written {
                Err(error) if error.is_race() && attempts < ATTEMPTS => continue,
                written => return written,
            }
        }
    }

    /// Removes an object and returns what it was: that at `revision`, or whatever is there. A pool
    /// goes by [`Client::delete_pool`] and a node by [`Client::delete_node`].
    pub async fn delete<S: Spec>(
        &self,
        namespace: &str,
        name: &str,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<Resource<S>, ClientError> {
        self.remove(key_of(S::KIND, namespace, name), revision, deadline).await
    }

    /// Removes an object of any kind; see [`Client::delete`].
    pub async fn delete_any(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<AnyResource, ClientError> {
        self.remove(key_of(kind, namespace, name), revision, deadline).await
    }

    async fn read<O: Object>(&self, key: Key, deadline: Instant) -> Result<O, ClientError> {
        if let Some(built_in) = built_in_document(&key) {
            return Ok(O::decode(&built_in)?);
        }
        let document = self.read_document(&key, deadline).await?;
        let not_found = || ClientError::NotFound { id: id(&key), store: self.store.describe() };
        Ok(O::decode(&document.ok_or_else(not_found)?)?)
    }

    async fn read_document(
        &self,
        key: &Key,
        deadline: Instant,
    ) -> Result<Option<Document>, StoreError> {
        let mut snapshot = self.store.read(&[Query::Key(key.clone())], deadline).await?;
        Ok(snapshot.results.pop().and_then(|mut found| found.pop()))
    }

    async fn read_all<O: Object>(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        deadline: Instant,
    ) -> Result<List<O>, ClientError> {
        let namespace = namespace.filter(|_| kind.namespaced()).map(str::to_owned);
        let prefix = Prefix::Resources { kind, namespace, name_prefix: String::new() };
        let snapshot = self.store.read(&[Query::Prefix(prefix)], deadline).await?;
        let documents = snapshot.results.into_iter().flatten();
        let documents =
            documents.chain(built_in_document(&key_of(kind, "", profile::DEFAULT_ALLOW)));
        let items = documents.filter_map(|document| {
            let read = O::decode(&document);
            read.inspect_err(|error| tracing::warn!("left out of a list: {error}")).ok()
        });
        Ok(List { items: items.collect(), revision: snapshot.revision })
    }

    /// Makes one change.
    async fn commit(&self, change: Change, deadline: Instant) -> Result<Revision, ClientError> {
        let committed = match self.store.commit(std::slice::from_ref(&change), deadline).await {
            Err(error) => return self.look_up(&change, error, deadline).await,
            Ok(committed) => committed,
        };
        let present = match committed {
            Committed::Done(revision) => return Ok(revision),
            Committed::Conflict(present) => present.into_iter().flatten().next(),
        };
        let refusal = self.refusal(&change, present.map(|document| document.revision));
        Err(refusal.unwrap_or(ClientError::Conflict { id: id(&change.key) }))
    }

    /// Why a change can't be made of what is there; `None` when it can.
    fn refusal(&self, change: &Change, present: Option<Revision>) -> Option<ClientError> {
        let id = id(&change.key);
        match (change.guard, present) {
            (Guard::Any, _) | (Guard::Absent, None) => None,
            (Guard::Revision(revision), Some(present)) if revision == present => None,
            (Guard::Absent, Some(_)) => Some(ClientError::AlreadyExists { id }),
            (_, None) => Some(ClientError::NotFound { id, store: self.store.describe() }),
            (_, Some(_)) => Some(ClientError::Conflict { id }),
        }
    }

    /// When the fate of a change is unknown, what is stored tells.
    async fn look_up(
        &self,
        change: &Change,
        error: StoreError,
        deadline: Instant,
    ) -> Result<Revision, ClientError> {
        if error.kind != StoreErrorKind::Unknown {
            return Err(error.into());
        }
        match (&change.action, self.read_document(&change.key, deadline).await?) {
            (Action::Put(value), Some(found)) if found.value == *value => Ok(found.revision),
            (Action::Delete, None) => Ok(0),
            _ => Err(error.into()),
        }
    }

    async fn remove<O: Object>(
        &self,
        key: Key,
        revision: Option<Revision>,
        deadline: Instant,
    ) -> Result<O, ClientError> {
        self.check_removable(&key, deadline).await?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let old: O = self.read(key.clone(), deadline).await?;
            let at = revision.or(old.metadata().revision()).unwrap_or_default();
            match self.commit(Change::delete(key.clone(), at), deadline).await {
                Ok(_) => return Ok(old),
                Err(error) if revision.is_none() && error.is_race() && attempts < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Refuses to remove what must stay, or what must go another way.
    async fn check_removable(&self, key: &Key, deadline: Instant) -> Result<(), ClientError> {
        let Key::Resource { kind, name, .. } = key else { return Ok(()) };
        let reason = match kind {
            Kind::IpPool => "its blocks must be released with it".to_owned(),
            Kind::Node => {
                "its endpoints, addresses and blocks must go with it: use Client::delete_node"
                    .to_owned()
            }
            Kind::ClusterInformation => "it is the cluster's identity: read-only".to_owned(),
            Kind::NetworkPolicy => return references::check_ours("Delete", key),
            Kind::Profile if name == profile::DEFAULT_ALLOW => "it is built in".to_owned(),
            Kind::Tier => match self.why_tier_stays(name, deadline).await? {
                Some(reason) => reason,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        Err(ClientError::NotSupported { operation: "Delete", id: id(key), reason })
    }
}

/// How messages name a key.
fn id(key: &Key) -> String {
    match key {
        Key::Resource { kind, namespace, name } => {
            describe(*kind, namespace.as_deref().unwrap_or_default(), name)
        }
        other => other.path().unwrap_or_else(|_| format!("{other:?}")),
    }
}

/// The profile that is always there: it is never stored, and nothing stored takes its place.
fn built_in_document(key: &Key) -> Option<Document> {
    let profile = crate::resources::Profile::default_allow();
    (*key == profile.key()).then(|| Document {
        key: key.clone(),
        value: profile.encode(),
        revision: 1,
    })
}
