//! The reader: strictness, types, order, omission. (The rules are compared with upstream's in
//! `tests/schema_golden.rs`.)

use serde_json::{Value, json};

use super::*;
use crate::resources::{Object, codec};

fn document(kind: &str, spec: Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": "x" }, "spec": spec })
}

fn spec(kind: &str, given: Value) -> String {
    let object = read(document(kind, given)).unwrap();
    String::from_utf8(codec::encode(&object.spec)).unwrap()
}

fn error(kind: &str, given: Value) -> String {
    read(document(kind, given)).unwrap_err().to_string()
}

#[test]
fn fields_come_into_upstreams_order_and_empty_ones_go() {
    let given = json!({
        "asNumber": "1.10", "peerIP": "192.0.2.1", "node": "", "filters": [], "password": null,
        "keepOriginalNextHop": false, "maxRestartTime": "120s", "ttlSecurity": 0.0,
    });
    let expected =
        r#"{"peerIP":"192.0.2.1","asNumber":65546,"maxRestartTime":"2m0s","ttlSecurity":0}"#;
    assert_eq!(spec("BGPPeer", given), expected);
    let given = json!({ "CIDR": "10.0.0.0/16", "NATOutgoing": true, "disabled": false });
    assert_eq!(spec("IPPool", given), r#"{"cidr":"10.0.0.0/16","natOutgoing":true}"#);
}

#[test]
fn numbers_and_booleans_become_text_where_text_is_wanted() {
    let mut given = document("Node", json!({}));
    given["metadata"]["labels"] = json!({ "b": true, "a": 3, "c": 1.5, "d": null, "e": "x" });
    let labels = read(given).unwrap().metadata.labels;
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("a", "3"), ("b", "true"), ("c", "1.5"), ("d", ""), ("e", "x")]);
}

#[test]
fn mistakes_are_named() {
    let unknown = "field in document is not recognized or is in the wrong location: colour";
    assert_eq!(error("IPPool", json!({ "colour": "red" })), unknown);
    assert_eq!(
        error("IPPool", json!({ "blockSize": "26" })),
        "spec.blockSize: must be a whole number, not the text \"26\""
    );
    assert_eq!(
        error("IPPool", json!({ "cidr": "10.0.0.0/8", "Cidr": "10.0.0.0/8" })),
        "spec.Cidr: the field is there twice, in another letter case; keep one of the two"
    );
    let rule = json!({ "action": "Allow", "source": { "ports": ["9:5"] } });
    assert_eq!(
        error("Profile", json!({ "ingress": [rule] })),
        "spec.ingress[0].source.ports[0]: must be a port: 0 to 65535, a range like \
         \"1000:2000\", or a name, not the text \"9:5\""
    );
    assert_eq!(
        read(json!({ "kind": "ippool", "apiVersion": API_VERSION })).unwrap_err().to_string(),
        "unknown resource type (ippool) and/or version (projectcalico.org/v3)"
    );
    assert_eq!(read(json!([])).unwrap_err().to_string(), "document: must be an object, not a list");
    let mut extra = document("BGPPeer", json!({}));
    extra["status"] = json!({});
    assert!(read(extra).unwrap_err().to_string().ends_with("wrong location: status"));
}

#[test]
fn what_another_release_wrote_stays() {
    let mut given = document("IPPool", json!({ "novel": [1], "cidr": "10.0.0.0/8" }));
    given["later"] = json!({ "b": 1 });
    given["metadata"]["future"] = json!(2);
    assert!(read(given.clone()).is_err());
    let stored = String::from_utf8(read_stored(given).unwrap().encode()).unwrap();
    assert_eq!(
        stored,
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"x","future":2},"spec":{"cidr":"10.0.0.0/8","novel":[1]},"later":{"b":1}}"#
    );
}

#[test]
fn every_table_names_each_field_once_and_every_kind_is_known() {
    fn walk(fields: &[Field]) -> usize {
        let mut names: Vec<String> = fields.iter().map(|f| f.name.to_lowercase()).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        let nested = fields.iter().map(|field| match field.shape {
            field::Shape::Object(fields) => walk(fields),
            field::Shape::List(entry) => walk(std::slice::from_ref(entry)),
            _ => 0,
        });
        count + nested.sum::<usize>()
    }
    let known: Vec<Kind> = Kind::all().filter(|kind| is_known(*kind)).collect();
    assert_eq!(known.len(), 22);
    let fields = known.into_iter().filter_map(kinds::schema).map(|schema| walk(schema.spec));
    assert!(fields.sum::<usize>() > 500);
}
