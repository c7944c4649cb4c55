//! `calicoctl convert`: Calico's v1 resources, and Kubernetes' NetworkPolicies, as v3 has them
//! (`reference/calicoctl.md` section 5.9).
//!
//! Nothing is asked of a datastore. Either all of a file is converted, or all that is wrong with it
//! is told and nothing is printed.

mod kubernetes;
mod object;
mod rules;
mod v1;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use libcalico::client::prepare_create;
use libcalico::clock;
use libcalico::resources::schema;
use object::ConvertError;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Outcome;
use crate::input::yaml;
use crate::output;

/// Flags of `convert`.
#[derive(Debug, Args)]
pub struct Convert {
    /// The file with the old resources, or - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: String,
    /// How the new ones are printed.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml, value_name = "FORMAT")]
    pub output: Format,
    /// Print what the rules of v3 refuse, too.
    #[arg(long)]
    pub ignore_validation: bool,
}

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Convert {
    /// Converts a file.
    pub fn run(self) -> Outcome {
        let name = &self.filename;
        let text = match name.as_str() {
            "-" => {
                let mut text = String::new();
                io::stdin().lock().read_to_string(&mut text).map(|_| text)
            }
            path => std::fs::read_to_string(path),
        };
        let text = text.with_context(|| format!("failed to execute command: open {name}"))?;
        let documents =
            yaml::parse(&text).with_context(|| format!("failed to execute command: {name}"))?;
        let inputs: Vec<&Value> = documents.iter().flat_map(flatten).collect();
        if inputs.is_empty() {
            bail!("no resources specified in file {name}");
        }
        let converted: Vec<_> = inputs.iter().map(|input| self.convert(input)).collect();
        let problems: Vec<String> = converted
            .iter()
            .zip(&inputs)
            .filter_map(|(result, input)| {
                result.as_ref().err().map(|error| format!("{}{error}", title(input)))
            })
            .collect();
        if !problems.is_empty() {
            bail!("failed to convert {name}: {}", problems.join("; "));
        }
        let mut objects: Vec<Value> = converted.into_iter().flatten().collect();
        let result = match (objects.len(), objects.pop()) {
            (1, Some(object)) => object,
            (_, last) => {
                objects.extend(last);
                json!({"apiVersion": "v1", "kind": "List", "items": objects, "metadata": {}})
            }
        };
        let mut out = io::stdout().lock();
        match self.output {
            Format::Yaml => write!(out, "{}", output::yaml::to_string(&result))?,
            Format::Json => writeln!(out, "{}", output::json::to_string(&result))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn convert(&self, input: &Value) -> Result<Value, String> {
        let converted = convert(input).map_err(|error| error.to_string())?;
        if !self.ignore_validation {
            validate(&converted)?;
        }
        Ok(converted)
    }
}

/// The objects in a document: itself, those of a list of Kubernetes', or those of an array, as
/// release 2 printed several.
fn flatten(document: &Value) -> Vec<&Value> {
    let is_list = || document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    match (document, document.get("items")) {
        (Value::Null, _) => Vec::new(),
        (Value::Array(list), _) => list.iter().flat_map(flatten).collect(),
        (_, Some(Value::Array(items))) if is_list() => items.iter().flat_map(flatten).collect(),
        (document, _) => vec![document],
    }
}

/// Converts an object of v1 or of Kubernetes.
pub fn convert(input: &Value) -> Result<Value, ConvertError> {
    let Value::Object(object) = input else { return Err(ConvertError::NoObject) };
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", kind) => v1::convert(kind, object),
        ("networking.k8s.io/v1", "NetworkPolicy") => kubernetes::convert(object),
        (version, kind) => {
            Err(ConvertError::Unknown { kind: kind.to_owned(), version: version.to_owned() })
        }
    }
}

/// Whether v3 would take it.
fn validate(converted: &Value) -> Result<(), String> {
    let mut resource = schema::read(converted.clone()).map_err(|error| error.to_string())?;
    let checked = prepare_create(&mut resource, clock::now(), Uuid::nil());
    checked.map(drop).map_err(|error| error.to_string())
}

/// How messages name an input.
fn title(input: &Value) -> String {
    let name =
        ["name", "cidr", "peerIP"].iter().find_map(|field| input["metadata"][field].as_str());
    match (input["kind"].as_str(), name) {
        (Some(kind), Some(name)) => format!("{kind} {name}: "),
        _ => String::new(),
    }
}
