//! The reader: strictness, types, order, omission. (The rules are compared with upstream's in
//! `tests/schema_golden.rs`.)

use proptest::prelude::*;
use serde_json::{Value, json};

use super::field::{Check, Shape};

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
         \"1000:2000\", or a name, not the text \"9:5\" (minimum port number (9) is greater than \
         maximum port number (5) in port range)"
    );
    // A value of a wrong type is told before a field that isn't known.
    assert_eq!(
        error("BGPPeer", json!({ "asNumber": 4_294_967_296_u64, "colour": "red" })),
        "spec.asNumber: must be an AS number, like 64512 or \"1.10\", of at most 4294967295, not \
         the number 4294967296 (cannot unmarshal number into Go value of type string)"
    );
    assert_eq!(
        read(json!({ "kind": "ippool", "apiVersion": API_VERSION })).unwrap_err().to_string(),
        "unknown resource type (ippool) and/or version (projectcalico.org/v3)"
    );
    assert_eq!(read(json!([])).unwrap_err().to_string(), "document: must be an object, not a list");
    let unknown = read(document("IPPool", json!({ "natOutgoin": true }))).unwrap_err();
    assert!(
        matches!(&unknown, InputError::UnknownField { path, among, .. }
            if path == "spec.natOutgoin" && among.contains(&"natOutgoing")),
        "{unknown:?}"
    );
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
    let known: Vec<Kind> = Kind::all().filter(|kind| kinds::schema(*kind).is_some()).collect();
    assert_eq!(known.len(), 22);
    let fields = known.into_iter().filter_map(kinds::schema).map(|schema| walk(schema.spec));
    assert!(fields.sum::<usize>() > 500);
}

/// A value of a shape, as a person may write it.
fn value(field: &'static Field) -> BoxedStrategy<Value> {
    let words = field.checks.iter().find_map(|check| match check {
        Check::OneOf(words) | Check::AnyCase(words) => Some(*words),
        _ => None,
    });
    let bare = |text: &'static str| Just(Value::from(text));
    match &field.shape {
        Shape::Text => match words {
            Some(words) => prop::sample::select(words).prop_map(Value::from).boxed(),
            None => prop_oneof![
                "[a-z0-9.:/*()'= ]{0,12}".prop_map(Value::from),
                any::<f32>().prop_map(Value::from),
                any::<bool>().prop_map(Value::from),
                bare("10.0.0.0/8"),
                bare("all()"),
            ]
            .boxed(),
        },
        Shape::Flag => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Whole(min, max) => (*min..=*max).prop_map(Value::from).boxed(),
        Shape::Number => {
            // serde_json reads floats of 17 digits with an error in the last one.
            let short = any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0));
            prop_oneof![short, any::<i64>().prop_map(Value::from), Just(json!(1e21))].boxed()
        }
        Shape::AsNumber => {
            prop_oneof![any::<u32>().prop_map(Value::from), bare("64512"), bare("1.10")].boxed()
        }
        Shape::Port => {
            let port = any::<u16>().prop_map(Value::from);
            prop_oneof![port, bare("80"), bare("1000:2000"), bare("7:7"), bare("http")].boxed()
        }
        Shape::ByteOrName => {
            prop_oneof![any::<u8>().prop_map(Value::from), bare("6"), bare("TCP")].boxed()
        }
        Shape::NumberOrText => {
            prop_oneof![any::<i32>().prop_map(Value::from), bare("80"), bare("http")].boxed()
        }
        Shape::Duration => any::<i64>().prop_map(|nanos| go::duration(nanos).into()).boxed(),
        Shape::Time => {
            prop_oneof![bare("2026-08-22T13:33:20Z"), bare("2026-08-22T13:33:20.5+02:00")].boxed()
        }
        Shape::Map => prop::collection::btree_map("[a-zA-Z./-]{1,8}", "[a-z<>&]{0,8}", 0..3)
            .prop_map(|map| json!(map))
            .boxed(),
        Shape::List(entry) => {
            prop::collection::vec(value(entry), 0..3).prop_map(Value::from).boxed()
        }
        Shape::Object(fields) => object(fields),
        Shape::Free => bare("free").boxed(),
    }
}

/// An object with some of the fields, in any order.
fn object(fields: &'static [Field]) -> BoxedStrategy<Value> {
    let fields: Vec<BoxedStrategy<Option<(String, Value)>>> = fields
        .iter()
        .map(|field| {
            let named = value(field).prop_map(|value| Some((field.name.to_owned(), value)));
            prop_oneof![3 => Just(None), 2 => named].boxed()
        })
        .collect();
    fields
        .prop_shuffle()
        .prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
        .boxed()
}

/// Any JSON.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:./-]{0,8}".prop_map(Value::from),
    ];
    let name = prop::sample::select(
        &["spec", "ingress", "source", "ports", "nets", "cidr", "NODE", "order", "exportV4", "x"][..],
    );
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn known() -> impl Strategy<Value = Kind> {
    let kinds: Vec<Kind> = Kind::all().filter(|kind| kinds::schema(*kind).is_some()).collect();
    prop::sample::select(kinds)
}

/// Writes an object as the client does, and returns the bytes.
fn written(object: &AnyResource) -> String {
    let mut object = object.clone();
    object.default_on_write();
    object.validate(None, &mut FieldErrors::default());
    String::from_utf8(object.encode()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What was read is stable: reading what it is written as changes nothing, and neither does
    /// writing what was written.
    #[test]
    fn reading_what_was_written_changes_nothing(
        (kind, spec) in known().prop_flat_map(|kind| {
            let fields = kinds::schema(kind).map(|schema| schema.spec).unwrap_or_default();
            (Just(kind), object(fields))
        })
    ) {
        let first = read(document(kind.name(), spec)).unwrap();
        let again = read(serde_json::to_value(&first).unwrap()).unwrap();
        prop_assert_eq!(first.encode(), again.encode());
        let stored = written(&first);
        let again = read_stored(serde_json::from_str(&stored).unwrap()).unwrap();
        prop_assert_eq!(written(&again), stored);
    }

    /// No input brings the reader or the rules down.
    #[test]
    fn anything_can_be_read_or_refused(kind in known(), spec in anything(), status in anything()) {
        let mut input = document(kind.name(), spec);
        input["status"] = status;
        let _ = read(input.clone());
        if let Ok(object) = read_stored(input.clone()) {
            written(&object);
        }
        let raw = AnyResource { status: None, ..AnyResource::new(kind, "x", input["spec"].take()) };
        written(&raw);
    }
}
