//! Reading, changing and writing back one object, again if somebody else was quicker.

use std::time::Instant;

use libcalico::bootstrap;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::{AnyResource, Extra, Kind, Object, Resource, Spec};
use serde_json::Value;

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: usize = 10;

/// Creates an object in a store that may be fresh.
pub async fn create<O: Object>(
    client: &Client,
    object: O,
    deadline: Instant,
) -> Result<O, ClientError> {
    bootstrap::ensure_initialised(&**client.store(), deadline).await?;
    client.create(object, deadline).await
}

/// Reads an object, if it is there.
pub async fn find<S: Spec>(
    client: &Client,
    name: &str,
    deadline: Instant,
) -> Result<Option<Resource<S>>, ClientError> {
    found(client.get::<S>("", name, deadline).await)
}

/// Reads the spec of an object of any kind; it is empty if there is none.
pub async fn spec(
    client: &Client,
    kind: Kind,
    name: &str,
    deadline: Instant,
) -> Result<Extra, ClientError> {
    let object = found(client.get_any(kind, "", name, deadline).await)?;
    Ok(match object.map(|object| object.spec) {
        Some(Value::Object(spec)) => spec,
        _ => Extra::new(),
    })
}

/// Changes the spec of an object of any kind, which is made if it isn't there. A field that is set
/// to null goes.
pub async fn set(
    client: &Client,
    kind: Kind,
    name: &str,
    fields: &[(&str, Value)],
    deadline: Instant,
) -> Result<(), ClientError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let written = match found(client.get_any(kind, "", name, deadline).await)? {
            Some(mut object) => {
                let mut spec = match object.spec {
                    Value::Object(spec) => spec,
                    _ => Extra::new(),
                };
                let before = spec.clone();
                put(&mut spec, fields);
                if spec == before {
                    return Ok(());
                }
                object.spec = Value::Object(spec);
                client.update(object, deadline).await
            }
            None => {
                let mut spec = Extra::new();
                put(&mut spec, fields);
                if spec.is_empty() {
                    return Ok(());
                }
                create(client, AnyResource::new(kind, name, Value::Object(spec)), deadline).await
            }
        };
        match written {
            Err(error) if is_race(&error) && attempt < ATTEMPTS => {}
            written => return written.map(drop),
        }
    }
}

fn put(spec: &mut Extra, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        match value {
            Value::Null => drop(spec.shift_remove(*name)),
            value => drop(spec.insert((*name).to_owned(), value.clone())),
        }
    }
}

/// Changes an object that is there, and returns it as it is stored then. `edit` may refuse.
pub async fn change<S: Spec, E: From<ClientError>>(
    client: &Client,
    namespace: &str,
    name: &str,
    deadline: Instant,
    edit: impl Fn(&mut Resource<S>) -> Result<(), E>,
) -> Result<Resource<S>, E> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let before = client.get::<S>(namespace, name, deadline).await?;
        let mut object = before.clone();
        edit(&mut object)?;
        if object == before {
            return Ok(object);
        }
        match client.update(object, deadline).await {
            Err(error) if is_race(&error) && attempt < ATTEMPTS => {}
            written => return Ok(written?),
        }
    }
}

fn is_race(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Conflict)
}

fn found<T>(read: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match read {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
