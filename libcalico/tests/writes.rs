//! What upstream accepts we accept, and store the same bytes; what it refuses we refuse, for the
//! same field. Through the client, on a store in memory, typed and untyped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::{
    AnyResource, IpPool, IpReservation, IpamConfiguration, Kind, Node, Object, Profile, Tier,
    WorkloadEndpoint,
};
use libcalico::store::{MemoryStore, Query, Store};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    origin: String,
    about: String,
    existing: Vec<Value>,
    verb: String,
    input: Value,
    accepted: bool,
    fields: Vec<String>,
    stored: Option<String>,
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("data/writes.json")).unwrap();
    assert!(cases.len() >= 170);
    cases
}

/// What became of a case: what is stored, or which fields are wrong.
type Outcome = Result<String, Vec<String>>;

async fn run<O: Object + DeserializeOwned>(case: &Case) -> Outcome {
    let store = Arc::new(MemoryStore::new());
    let client = Client::new(store.clone());
    let deadline = Instant::now() + Duration::from_secs(60);
    for existing in &case.existing {
        let existing: AnyResource = serde_json::from_value(existing.clone()).unwrap();
        client.create(existing, deadline).await.unwrap();
    }
    // What is no object of its kind at all is refused by the reader.
    let object: O = serde_json::from_value(case.input.clone()).map_err(|_| Vec::new())?;
    let written = match case.verb.as_str() {
        "create" => client.create(object, deadline).await,
        "apply" => client.apply(object, deadline).await,
        verb => panic!("{verb}"),
    };
    match written {
        Ok(written) => {
            let query = Query::Key(written.key());
            let snapshot = store.read(&[query], deadline).await.unwrap();
            let document = snapshot.results[0].first().unwrap();
            assert_eq!(written.metadata().revision(), Some(document.revision));
            assert_eq!(written.encode(), document.value, "what is returned is what is stored");
            Ok(String::from_utf8(document.value.clone()).unwrap())
        }
        Err(ClientError::Validation(error)) => {
            Err(error.fields.into_iter().map(|field| field.field).collect())
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error}", case.about);
            Err(Vec::new())
        }
    }
}

/// The value without what differs from run to run.
fn mask(value: &str) -> String {
    let mut masked: Value = serde_json::from_str(value).unwrap();
    for field in ["uid", "creationTimestamp"] {
        assert!(masked["metadata"][field].is_string(), "{field} of {value}");
        masked["metadata"][field] = Value::from("masked");
    }
    String::from_utf8(libcalico::resources::encode(&masked)).unwrap()
}

/// The last part of a field's name, without index: upstream names a field in several ways.
fn stem(field: &str) -> String {
    let last = field.rsplit('.').next().unwrap_or(field);
    last.split('[').next().unwrap_or(last).to_lowercase()
}

fn check(case: &Case, outcome: &Outcome) {
    let Case { origin, about, accepted, fields, stored, .. } = case;
    match outcome {
        Ok(value) => {
            assert!(*accepted, "{origin}: {about}: refused upstream, stored by us: {value}");
            // Nothing is recorded where the write changed nothing.
            if let Some(stored) = stored {
                assert_eq!(mask(value), mask(stored), "{origin}: {about}");
            }
        }
        Err(wrong) => {
            assert!(!*accepted, "{origin}: {about}: stored upstream, refused by us: {wrong:?}");
            // A schema rule across fields is an error of the spec as a whole upstream.
            let precise: Vec<String> =
                fields.iter().map(|field| stem(field)).filter(|field| field != "spec").collect();
            let ours: Vec<String> = wrong.iter().map(|field| stem(field)).collect();
            let same = precise.iter().any(|field| ours.contains(field));
            assert!(
                precise.is_empty() || ours.is_empty() || same,
                "{origin}: {about}: upstream names {fields:?}, we name {wrong:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_upstream_accepts_is_stored_as_upstream_stores_it() {
    for case in cases() {
        let kind = Kind::from_name(case.input["kind"].as_str().unwrap()).unwrap();
        let typed = match kind {
            Kind::IpPool => run::<IpPool>(&case).await,
            Kind::IpReservation => run::<IpReservation>(&case).await,
            Kind::IpamConfiguration => run::<IpamConfiguration>(&case).await,
            Kind::Node => run::<Node>(&case).await,
            Kind::Profile => run::<Profile>(&case).await,
            Kind::Tier => run::<Tier>(&case).await,
            Kind::WorkloadEndpoint => run::<WorkloadEndpoint>(&case).await,
            other => panic!("{other:?}"),
        };
        check(&case, &typed);
        check(&case, &run::<AnyResource>(&case).await);
    }
}
