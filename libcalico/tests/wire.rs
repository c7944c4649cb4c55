//! Our bytes are upstream's bytes: every resource in the golden files is read into our type,
//! written, and compared.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use libcalico::resources::{
    AnyResource, ClusterInformation, IpPool, IpReservation, IpamConfiguration, Kind, Node, Object,
    Profile, Tier, WorkloadEndpoint,
};
use libcalico::store::{Document, Key};
use serde_json::Value;

/// Every stored value under a node of a golden file: objects with `key` and `value`.
fn collect(node: &Value, found: &mut Vec<(String, String)>) {
    match node {
        Value::Object(fields) => {
            if let (Some(Value::String(key)), Some(Value::String(value))) =
                (fields.get("key"), fields.get("value"))
            {
                found.push((key.clone(), value.clone()));
            }
            fields.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The resources of every golden file, with the file that each is from.
fn golden_resources() -> Vec<(String, Document)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut files = vec![root.join("validation.json")];
    for folder in ["objects", "cni", "ipam"] {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut resources = Vec::new();
    for file in files {
        let content: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        collect(&content, &mut found);
        for (path, value) in found {
            let Some(key @ Key::Resource { .. }) = Key::parse(&path) else { continue };
            let document = Document { key, value: value.into_bytes(), revision: 7 };
            resources.push((file.display().to_string(), document));
        }
    }
    resources
}

fn check<T: Object>(file: &str, document: &Document) {
    let resource = T::decode(document).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(resource.metadata().revision(), Some(7), "{file}: {:?}", document.key);
    assert_eq!(resource.key(), document.key, "{file}");
    let bytes = String::from_utf8(resource.encode()).unwrap();
    assert_eq!(bytes, String::from_utf8_lossy(&document.value), "{file}: {:?}", document.key);
}

#[test]
fn every_recorded_resource_is_written_as_it_was_read() {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for (file, document) in golden_resources() {
        check::<AnyResource>(&file, &document);
        let Key::Resource { kind, .. } = document.key else { unreachable!() };
        *counts.entry(kind).or_default() += 1;
        match kind {
            Kind::ClusterInformation => check::<ClusterInformation>(&file, &document),
            Kind::IpPool => check::<IpPool>(&file, &document),
            Kind::IpReservation => check::<IpReservation>(&file, &document),
            Kind::IpamConfiguration => check::<IpamConfiguration>(&file, &document),
            Kind::Node => check::<Node>(&file, &document),
            Kind::Profile => check::<Profile>(&file, &document),
            Kind::Tier => check::<Tier>(&file, &document),
            Kind::WorkloadEndpoint => check::<WorkloadEndpoint>(&file, &document),
            _ => {}
        }
    }
    // So that a file that moved or a reader that finds nothing doesn't pass for success.
    for (kind, least) in [
        (Kind::ClusterInformation, 140),
        (Kind::IpPool, 500),
        (Kind::IpReservation, 6),
        (Kind::IpamConfiguration, 7),
        (Kind::Node, 150),
        (Kind::Profile, 80),
        (Kind::Tier, 400),
        (Kind::WorkloadEndpoint, 50),
        (Kind::FelixConfiguration, 9),
        (Kind::NetworkPolicy, 9),
    ] {
        assert!(counts.get(&kind).is_some_and(|count| *count >= least), "{kind:?}: {counts:?}");
    }
}

#[test]
fn unknown_fields_nulls_and_foreign_order_survive_or_settle() {
    let value = br#"{"metadata":{"uid":"u","name":"p","labels":null,"selfLink":"/x","future":{"b":1,"a":2},
        "resourceVersion":"3","creationTimestamp":null},"later":[1],
        "spec":{"blockSize":26,"cidr":"10.0.0.0/24","allowedUses":null,"nodeSelector":null,"novel":18446744073709551615}}"#;
    let document = Document {
        key: Key::global(Kind::IpPool, "p"),
        value: value.to_vec(),
        revision: 9_007_199_254_740_993,
    };
    let pool = IpPool::decode(&document).unwrap();
    assert_eq!(pool.metadata.resource_version, "9007199254740993");
    assert_eq!(
        String::from_utf8(pool.encode()).unwrap(),
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","uid":"u","future":{"b":1,"a":2}},"spec":{"cidr":"10.0.0.0/24","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic","novel":18446744073709551615},"later":[1]}"#
    );
}

#[test]
fn a_value_that_is_no_resource_is_named_in_the_error() {
    let document =
        Document { key: Key::global(Kind::IpPool, "p"), value: b"{".to_vec(), revision: 1 };
    let error = IpPool::decode(&document).unwrap_err().to_string();
    assert!(error.starts_with("cannot read the stored IPPool(p): "), "{error}");
    let empty = Document { value: Vec::new(), ..document };
    assert!(IpPool::decode(&empty).is_err());
}
