//! What `-f` names: a file, a folder or standard input, with resources in it
//! (`reference/calicoctl.md` section 3.4).

pub mod yaml;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use libcalico::resources::schema::{self, InputError as InvalidObject};
use libcalico::resources::{API_VERSION, AnyResource, Kind};
use serde_json::{Map, Value};

use crate::kinds::{KindInfo, did_you_mean, nearest};

/// Flags that name files of resources.
#[derive(Debug, Args)]
pub struct Files {
    /// A file or folder of YAML or JSON, or - for standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<String>,
    /// Read the folders within the folder, too.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Take it for no failure when there is no resource in the file.
    #[arg(long)]
    pub skip_empty: bool,
}

/// What keeps us from reading resources.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InputError {
    #[error("no file: name one with -f FILE, or - for standard input")]
    NoFile,
    #[error("no resources specified in file {0}")]
    EmptyFile(String),
    #[error("no resources specified in directory {0}")]
    EmptyFolder(String),
    #[error("failed to execute command: cannot read {path}: {cause}")]
    Read { path: String, cause: std::io::Error },
    #[error("failed to execute command: {path}: {cause}")]
    Yaml { path: String, cause: yaml::YamlError },
    #[error("failed to execute command: {path}: line {line}: {reason}")]
    Object { path: String, line: usize, reason: String },
}

impl Files {
    /// The resources of the files, in their order; nothing when there are none and that is fine.
    pub fn read(&self) -> Result<Option<Vec<AnyResource>>, InputError> {
        let name = self.filename.as_deref().ok_or(InputError::NoFile)?;
        let path = Path::new(name);
        let is_folder = name != "-" && path.is_dir();
        let mut resources = Vec::new();
        if name == "-" {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            let read = read.map_err(|cause| (cause, "standard input"));
            resources.extend(self.resources_of(name, read.map(|_| bytes))?);
        } else {
            let paths = match is_folder {
                true => self.files_of(path)?,
                false => vec![path.to_owned()],
            };
            for path in paths {
                let shown = path.display().to_string();
                let bytes = fs::read(&path).map_err(|cause| (cause, shown.as_str()));
                resources.extend(self.resources_of(&shown, bytes)?);
            }
        }
        match (resources.is_empty(), self.skip_empty, is_folder) {
            (false, ..) => Ok(Some(resources)),
            (true, true, _) => Ok(None),
            (true, false, true) => Err(InputError::EmptyFolder(name.to_owned())),
            (true, false, false) => Err(InputError::EmptyFile(name.to_owned())),
        }
    }

    fn resources_of(
        &self,
        path: &str,
        bytes: Result<Vec<u8>, (std::io::Error, &str)>,
    ) -> Result<Vec<AnyResource>, InputError> {
        let no_read = |(cause, path): (std::io::Error, &str)| InputError::Read {
            path: path.to_owned(),
            cause,
        };
        let text = text_of(bytes.map_err(no_read)?).map_err(|error| no_read((error, path)))?;
        let documents = yaml::parse_with_lines(&text)
            .map_err(|cause| InputError::Yaml { path: path.to_owned(), cause })?;
        let mut resources = Vec::new();
        for yaml::Parsed { value, line } in documents {
            let no_object = |reason| InputError::Object { path: path.to_owned(), line, reason };
            for object in flatten(value).map_err(no_object)? {
                resources.push(resource(object).map_err(no_object)?);
            }
        }
        Ok(resources)
    }

    /// The files of a folder that hold resources, in the order of their names.
    fn files_of(&self, folder: &Path) -> Result<Vec<PathBuf>, InputError> {
        let no_read = |cause| InputError::Read { path: folder.display().to_string(), cause };
        let entries: Result<Vec<PathBuf>, std::io::Error> =
            fs::read_dir(folder).map_err(no_read)?.map(|entry| Ok(entry?.path())).collect();
        let mut entries = entries.map_err(no_read)?;
        entries.sort();
        let mut files = Vec::new();
        for path in entries {
            if path.is_dir() {
                // Not through links: they may lead back to where we are.
                if self.recursive && !path.is_symlink() {
                    files.extend(self.files_of(&path)?);
                }
            } else if has_resources(&path) {
                files.push(path);
            }
        }
        Ok(files)
    }
}

fn has_resources(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// What a file says: UTF-8, or UTF-16 that says so in its first character, as Windows' shells write.
fn text_of(bytes: Vec<u8>) -> std::io::Result<String> {
    let unit: fn([u8; 2]) -> u16 = match bytes.as_slice() {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let no_text = |error: std::string::FromUtf8Error| error.utf8_error();
            return String::from_utf8(bytes).map_err(|error| std::io::Error::other(no_text(error)));
        }
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text = String::from_utf16(&pairs.iter().copied().map(unit).collect::<Vec<u16>>());
    match rest.is_empty() {
        true => text.map_err(std::io::Error::other),
        false => Err(std::io::Error::other("invalid utf-16: half a character at the end")),
    }
}

/// The objects of a document: itself, the items of a list, or the elements of a sequence.
fn flatten(document: Value) -> Result<Vec<Value>, String> {
    let map = match document {
        Value::Array(list) => {
            let objects: Result<Vec<Vec<Value>>, String> = list.into_iter().map(flatten).collect();
            return Ok(objects?.concat());
        }
        Value::Object(map) => map,
        other => return Ok(vec![other]),
    };
    let kind = text(&map, "kind").to_owned();
    let Some(of) = kind.strip_suffix("List") else { return Ok(vec![Value::Object(map)]) };
    if !(of.is_empty() || Kind::from_name(of).is_some_and(|kind| KindInfo::of(kind).is_some())) {
        return Err(unknown_type(&kind, text(&map, "apiVersion")));
    }
    let version = text(&map, "apiVersion").to_owned();
    let mut items = Vec::new();
    for (name, value) in map {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("apiversion" | "kind" | "metadata", _) | ("items", Value::Null) => {}
            ("items", Value::Array(list)) => items = list,
            ("items", _) => return Err(format!("items of the {kind} is no list")),
            _ => return Err(not_recognised(&name)),
        }
    }
    let items: Result<Vec<Vec<Value>>, String> =
        items.into_iter().map(|item| flatten(with_type(item, of, &version))).collect();
    Ok(items?.concat())
}

/// An item of a typed list, which needn't repeat its type.
fn with_type(item: Value, kind: &str, version: &str) -> Value {
    match item {
        Value::Object(mut item) if !kind.is_empty() => {
            for (name, value) in [("kind", kind), ("apiVersion", version)] {
                if text(&item, name).is_empty() {
                    item.insert(name.to_owned(), value.into());
                }
            }
            Value::Object(item)
        }
        item => item,
    }
}

/// A resource as a person wrote it. What is wrong with it is told with its kind and name: there may
/// be many in a document.
fn resource(object: Value) -> Result<AnyResource, String> {
    let id = match &object {
        Value::Object(object) => {
            let named = object.iter().find(|(key, _)| key.eq_ignore_ascii_case("metadata"));
            let name = named.and_then(|(_, metadata)| metadata["name"].as_str());
            format!("{}({}): ", text(object, "kind"), name.unwrap_or_default())
        }
        _ => String::new(),
    };
    schema::read(object).map_err(|error| match &error {
        InvalidObject::UnknownType { kind, version } => unknown_type(kind, version),
        InvalidObject::UnknownField { field, path, among } => {
            let place = if path == field { String::new() } else { format!(" ({path})") };
            let meant = nearest(field, among.iter().copied());
            format!("{id}{error}{place}{}", did_you_mean(meant))
        }
        error => format!("{id}{error}"),
    })
}

/// A member that is text; its name may be in any letter case.
fn text<'a>(map: &'a Map<String, Value>, name: &str) -> &'a str {
    let member = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    member.and_then(|(_, value)| value.as_str()).unwrap_or_default()
}

fn not_recognised(name: &str) -> String {
    format!("field in document is not recognized or is in the wrong location: {name}")
}

fn unknown_type(kind: &str, version: &str) -> String {
    let base = format!("unknown resource type ({kind}) and/or version ({version})");
    let known = |kind: &Kind| KindInfo::of(*kind).is_some();
    let hint = match Kind::from_name(kind).filter(known) {
        _ if version == "v1" => ": resources of v1 go through calicoctl convert".to_owned(),
        Some(kind) if version == API_VERSION => did_you_mean(Some(kind.name())),
        Some(_) => format!(": apiVersion must be {API_VERSION}"),
        None => did_you_mean(nearest(kind, Kind::all().filter(known).map(Kind::name))),
    };
    base + &hint
}
