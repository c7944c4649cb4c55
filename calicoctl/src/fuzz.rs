//! Whatever a person writes or another program answers: read or refused, never a panic.

use std::fs;

use libcalico::resources::codec;
use serde_json::Value;

use crate::commands::convert;
use crate::commands::datastore::file;
use crate::commands::node::bird::table::Table;
use crate::config_file;
use crate::input::{Files, yaml};
use crate::kinds::Facts;
use crate::output;
use crate::output::template::Template;

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

/// Golden objects as JSON, and the same as YAML.
fn objects() -> Vec<Vec<u8>> {
    let json = fuzz::objects_with(&["apiVersion", "kind", "metadata"], 40);
    let values = json.iter().filter_map(|text| serde_json::from_slice::<Value>(text).ok());
    let yaml: Vec<_> = values.map(|value| output::yaml::to_string(&value).into_bytes()).collect();
    json.into_iter().chain(yaml).collect()
}

#[test]
fn yaml_is_read_as_it_is_written() {
    fuzz::run("yaml", &objects(), |bytes| {
        let Ok(documents) = yaml::parse(text(bytes)) else { return };
        for document in documents {
            let written = output::yaml::to_string(&document);
            let again = yaml::parse(&written);
            let again = again.unwrap_or_else(|error| panic!("{written:?} can't be read: {error}"));
            let stored: Value = serde_json::from_slice(&codec::encode(&document)).expect("JSON");
            assert_eq!(again, [stored], "{written}");
        }
    });
}

#[test]
fn files_of_resources() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resources.yaml");
    let filename = Some(path.to_string_lossy().into_owned());
    let files = Files { filename, recursive: false, skip_empty: true };
    fuzz::run("resource-file", &objects(), |bytes| {
        fs::write(&path, bytes).unwrap();
        for resource in files.read().into_iter().flatten().flatten() {
            let _ = output::yaml::to_string(&resource);
            let _ = output::json::to_string(&resource);
        }
    });
}

#[test]
fn configuration_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calicoctl.cfg");
    fuzz::run("calicoctl-configuration", &[], |bytes| {
        fs::write(&path, bytes).unwrap();
        if let Err(error) = config_file::read(&path.to_string_lossy()) {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    });
}

#[test]
fn objects_of_former_releases() {
    fuzz::run("convert", &[], |bytes| {
        for object in yaml::parse(text(bytes)).into_iter().flatten() {
            let _ = convert::convert(&object);
        }
    });
}

#[test]
fn templates() {
    let object = serde_json::json!({
        "kind": "IPPool", "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"cidr": "10.0.0.0/16", "blockSize": 26, "list": ["a", {"b": null}]},
    });
    fuzz::run("template", &[], |bytes| {
        if let Ok(template) = Template::parse(text(bytes)) {
            let _ = template.render(object.clone(), &Facts::default());
        }
    });
}

#[test]
fn files_of_a_migration() {
    fuzz::run("migration-file", &[], |bytes| {
        let Ok(content) = file::parse("file", text(bytes)) else { return };
        for resource in &content.resources {
            let _ = file::key_of_resource(resource);
        }
    });
}

#[test]
fn answers_of_bird() {
    fuzz::run("bird", &[], |bytes| {
        let _ = Table::parse(text(bytes).lines());
    });
}
