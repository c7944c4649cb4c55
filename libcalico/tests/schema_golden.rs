//! Upstream's calicoctl was given these inputs: what it accepted we accept and store in the same
//! bytes, what it refused we refuse, for the same fields. Every golden object and every golden
//! validation, through the reader and the client, on a store in memory.

#[path = "support/yaml.rs"]
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libcalico::bootstrap;
use libcalico::client::{Client, ClientError, ErrorKind};
use libcalico::resources::{
    AnyResource, FieldError, InputError, IpPoolSpec, IpReservationSpec, IpamConfigurationSpec,
    Kind, NodeSpec, Object, ObjectMeta, ProfileSpec, Resource, Spec, TierSpec,
    WorkloadEndpointSpec, encode, schema,
};
use libcalico::store::{Key, MemoryStore};
use serde::Serialize;
use serde_json::Value;

/// What calicoctl itself decides, not the library: by `about`, with the reason.
const NOT_OURS: [(&str, &str); 3] = [
    ("namespace flag that disagrees", "the flag is calicoctl's"),
    ("ClusterInformation create", "the library creates it: only calicoctl may not"),
    ("rich-apply", "the library writes ClusterInformation: only calicoctl may not"),
];

/// Why an input was refused: the fields, each with what the reason says of its place.
#[derive(Debug)]
struct Refusal {
    fields: Vec<FieldError>,
    text: String,
}

impl From<InputError> for Refusal {
    fn from(error: InputError) -> Refusal {
        let text = error.to_string();
        let field = match error {
            InputError::UnknownField { field, .. } => field,
            error => error.path().to_owned(),
        };
        let field = FieldError { field, path: None, value: String::new(), reason: text.clone() };
        Refusal { fields: vec![field], text }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Refusal {
        let text = error.to_string();
        let fields = match error {
            ClientError::Validation(error) => error.fields,
            error => {
                let kind = error.kind();
                assert!(
                    !matches!(kind, ErrorKind::Internal | ErrorKind::Unavailable),
                    "not a refusal: {error}"
                );
                Vec::new()
            }
        };
        Refusal { fields, text }
    }
}

fn refusal(text: impl Into<String>) -> Refusal {
    Refusal { fields: Vec::new(), text: text.into() }
}

/// calicoctl as far as these inputs need it.
struct Ctl {
    store: MemoryStore,
    client: Client,
    /// Whether kinds that have a type are written by it, as the plugins do.
    typed: bool,
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Ctl {
    fn new(typed: bool) -> Ctl {
        let store = MemoryStore::new();
        Ctl { client: Client::new(Arc::new(store.clone())), store, typed }
    }

    async fn run(&self, argv: &[&str], input: &str) -> Result<(), Refusal> {
        bootstrap::ensure_initialised(&self.store, deadline()).await.unwrap();
        match argv {
            ["delete", kind, name] => self.delete(kind, name).await,
            [verb, "-f", "-", ..] => {
                let mut first = Ok(());
                for object in objects(input)? {
                    first = first.and(self.write(verb, object).await);
                }
                first
            }
            other => panic!("{other:?}"),
        }
    }

    async fn write(&self, verb: &str, mut object: AnyResource) -> Result<(), Refusal> {
        let given = object.metadata;
        object.metadata = ObjectMeta {
            name: given.name,
            namespace: given.namespace,
            labels: given.labels,
            annotations: given.annotations,
            resource_version: given.resource_version,
            ..ObjectMeta::default()
        };
        if object.kind.namespaced() && object.metadata.namespace.is_empty() {
            object.metadata.namespace = "default".to_owned();
        }
        match object.kind {
            Kind::IpPool if self.typed => self.put(verb, typed::<IpPoolSpec>(object)).await,
            Kind::IpReservation if self.typed => {
                self.put(verb, typed::<IpReservationSpec>(object)).await
            }
            Kind::IpamConfiguration if self.typed => {
                self.put(verb, typed::<IpamConfigurationSpec>(object)).await
            }
            Kind::Node if self.typed => self.put(verb, typed::<NodeSpec>(object)).await,
            Kind::Profile if self.typed => self.put(verb, typed::<ProfileSpec>(object)).await,
            Kind::Tier if self.typed => self.put(verb, typed::<TierSpec>(object)).await,
            Kind::WorkloadEndpoint if self.typed => {
                self.put(verb, typed::<WorkloadEndpointSpec>(object)).await
            }
            _ => self.put(verb, object).await,
        }
    }

    async fn put<O: Object + Serialize>(&self, verb: &str, object: O) -> Result<(), Refusal> {
        let written = match verb {
            "create" => self.client.create(object, deadline()).await?,
            "apply" => self.client.apply(object, deadline()).await?,
            "replace" => {
                let metadata = object.metadata();
                let (namespace, name) = (&metadata.namespace, &metadata.name);
                self.client.get_any(object.kind(), namespace, name, deadline()).await?;
                self.client.update(object, deadline()).await?
            }
            other => panic!("{other}"),
        };
        // What was written is in its settled form: reading it again changes nothing.
        let again = schema::read(serde_json::to_value(&written).unwrap()).unwrap();
        assert_eq!(again.encode(), written.encode(), "read(encode(x)) is stable");
        Ok(())
    }

    async fn delete(&self, kind: &str, name: &str) -> Result<(), Refusal> {
        let kind = match kind {
            "clusterinfo" => Kind::ClusterInformation,
            kind => Kind::from_name(kind).unwrap(),
        };
        self.client.delete_any(kind, "", name, None, deadline()).await?;
        Ok(())
    }

    /// What differs between the object at a key as it is read and as upstream's `get` printed it;
    /// what is printed can be read again.
    async fn compare_read(&self, key: &str, printed: &str) -> Option<String> {
        if printed.is_empty() {
            return None;
        }
        let Some(Key::Resource { kind, namespace, name }) = Key::parse(key) else {
            panic!("{key}")
        };
        let namespace = namespace.unwrap_or_default();
        let read = self.client.get_any(kind, &namespace, &name, deadline()).await.unwrap();
        let mask = |value: Value| {
            let mut value: Value = serde_json::from_str(&mask(&value.to_string())).unwrap();
            assert!(value["metadata"]["resourceVersion"].take().is_string());
            value.to_string()
        };
        let theirs: Value = serde_json::from_str(printed).unwrap();
        schema::read(theirs.clone()).unwrap();
        let (ours, theirs) = (mask(serde_json::to_value(&read).unwrap()), mask(theirs));
        (ours != theirs).then(|| format!("read as\n {ours}\n {theirs}"))
    }

    /// The value at a key, without what differs from run to run.
    fn stored(&self, key: &str) -> Option<String> {
        self.store.dump().get(key).map(|value| mask(&String::from_utf8_lossy(value)))
    }
}

fn typed<T: Spec>(object: AnyResource) -> Resource<T> {
    object.to_typed().unwrap()
}

/// The objects of an input, all of them or none.
fn objects(input: &str) -> Result<Vec<AnyResource>, Refusal> {
    let mut objects = Vec::new();
    for document in yaml::documents(input).map_err(refusal)? {
        let items = match document {
            Value::Array(items) => items,
            Value::Object(mut fields) if fields.contains_key("items") => {
                fields["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
            }
            other => vec![other],
        };
        for item in items {
            objects.push(schema::read(item)?);
        }
    }
    if objects.is_empty() { Err(refusal("no resources specified")) } else { Ok(objects) }
}

fn mask(value: &str) -> String {
    let mut masked: Value = serde_json::from_str(value).unwrap();
    for field in ["uid", "creationTimestamp"] {
        assert!(masked["metadata"][field].is_string(), "{field} of {value}");
        masked["metadata"][field] = Value::from("masked");
    }
    if !masked["spec"]["clusterGUID"].is_null() {
        masked["spec"]["clusterGUID"] = Value::from("masked");
    }
    String::from_utf8(encode(&masked)).unwrap()
}

/// The last part of a field's name, without index, in lower case.
fn stem(field: &str) -> String {
    let last = field.rsplit('.').next().unwrap_or(field);
    last.split('[').next().unwrap_or(last).to_lowercase()
}

/// Whether a field that upstream names is one of ours. Upstream has two names for many fields, one
/// of each of its layers, and names a rule across fields by the object: `spec`, `spec.exportV4[0]`,
/// the kind. We name each field once, and as precisely as we can.
fn is_same(upstream: &str, ours: &FieldError) -> bool {
    let place = ours.path.as_deref().unwrap_or_default();
    [ours.field.as_str(), place].into_iter().any(|ours| {
        let beneath = ours.strip_prefix(upstream).is_some_and(|rest| rest.starts_with(['.', '[']));
        upstream == ours || beneath || stem(upstream) == stem(ours)
    }) || upstream == "spec"
        || upstream.ends_with("Spec")
        || Kind::from_name(upstream).is_some()
}

fn golden(path: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    serde_json::from_slice(&fs::read(root.join(path)).unwrap()).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_not_ours(name: &str) -> bool {
    NOT_OURS.iter().any(|(about, _)| *about == name)
}

#[tokio::test]
async fn every_golden_object_is_stored_in_upstreams_bytes_and_read_as_upstream_reads_it() {
    for typed in [false, true] {
        compare_objects(typed).await;
    }
}

async fn compare_objects(typed: bool) {
    let mut compared: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/objects");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let file = file.file_name().into_string().unwrap();
        let content = golden(&format!("objects/{file}"));
        let counts = compared.entry(file.clone()).or_default();
        for case in list(&content, "cases") {
            let name = text(case, "name");
            if is_not_ours(name) {
                continue;
            }
            let ctl = Ctl::new(typed);
            if !text(case, "before_yaml").is_empty() {
                ctl.run(&["create", "-f", "-"], text(case, "before_yaml")).await.unwrap();
            }
            let steps = [("created", case), ("updated", &case["update"])];
            for (what, step) in steps.into_iter().filter(|(_, step)| !step.is_null()) {
                let argv: Vec<&str> = text(step, "command").split(' ').collect();
                let outcome = ctl.run(&argv, text(step, "input_yaml")).await;
                match (&outcome, step["exit"] == 0) {
                    (Ok(()), true) => {}
                    (Err(_), false) => {
                        counts.2 += 1;
                        continue;
                    }
                    (outcome, _) => {
                        wrong.push(format!("{file} {name} {what}: {outcome:?}"));
                        continue;
                    }
                }
                for stored in list(step, "etcd") {
                    let (key, value) = (text(stored, "key"), text(stored, "value"));
                    let (ours, theirs) = (ctl.stored(key), Some(mask(value)));
                    if ours != theirs {
                        wrong.push(format!("{file} {name} {what}:\n {ours:?}\n {theirs:?}"));
                    }
                    if let Some(difference) = ctl.compare_read(key, text(step, "get_json")).await {
                        wrong.push(format!("{file} {name} {what}: {difference}"));
                    }
                    match what {
                        "created" => counts.0 += 1,
                        _ => counts.1 += 1,
                    }
                }
            }
        }
    }
    let (created, updated, refused) =
        compared.values().fold((0, 0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1, sum.2 + of.2));
    eprintln!("kind: created, updated, refused as upstream");
    for (file, (created, updated, refused)) in &compared {
        eprintln!("{file}: {created}, {updated}, {refused}");
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((created, updated, refused), (87, 21, 10));
}

#[tokio::test]
async fn every_golden_validation_has_upstreams_answer_and_fields() {
    for typed in [false, true] {
        compare_validations(typed).await;
    }
}

async fn compare_validations(typed: bool) {
    let (mut accepted, mut refused, mut named) = (0, 0, 0);
    let mut wrong = Vec::new();
    let content = golden("validation.json");
    let cases = list(&content, "cases");
    assert_eq!(cases.len(), 340);
    for case in cases {
        let about = text(case, "about");
        if is_not_ours(about) {
            continue;
        }
        let ctl = Ctl::new(typed);
        if !text(case, "existing").is_empty() {
            ctl.run(&["create", "-f", "-"], text(case, "existing")).await.unwrap();
        }
        let argv: Vec<&str> = list(case, "argv").iter().filter_map(Value::as_str).collect();
        let theirs: Vec<&str> = list(case, "fields").iter().filter_map(Value::as_str).collect();
        match ctl.run(&argv, text(case, "input")).await {
            Ok(()) if case["accepted"] == true => {
                accepted += 1;
                for stored in list(case, "etcd") {
                    let (key, value) = (text(stored, "key"), text(stored, "value"));
                    let (ours, theirs) = (ctl.stored(key), Some(mask(value)));
                    if ours != theirs {
                        wrong.push(format!("{about}:\n {ours:?}\n {theirs:?}"));
                    }
                }
            }
            Err(refusal) if case["accepted"] == false => {
                refused += 1;
                if theirs.is_empty() {
                    continue;
                }
                named += 1;
                let missing =
                    theirs.iter().filter(|field| !refusal.fields.iter().any(|f| is_same(field, f)));
                let missing: Vec<_> = missing.collect();
                let extra: Vec<_> = refusal
                    .fields
                    .iter()
                    .filter(|field| !theirs.iter().any(|upstream| is_same(upstream, field)))
                    .collect();
                if !missing.is_empty() || !extra.is_empty() || refusal.fields.is_empty() {
                    wrong.push(format!("{about}: {theirs:?} and {}", refusal.text));
                }
            }
            outcome => wrong.push(format!("{about}: {outcome:?} where upstream {}", case["exit"])),
        }
    }
    eprintln!("{accepted} accepted, {refused} refused, {named} of them with fields");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((accepted, refused, named), (106, 232, 183));
}
