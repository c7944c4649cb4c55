//! The network configuration from standard input: the few members that every plugin has, and the
//! whole document for the plugin's own types (`cni-plugin.md` section 1.1). Members are read as Go's
//! decoder reads them.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{AddResult, Attachment, Error, Version, code, error, json};

/// A network configuration, valid as far as the protocol goes.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The document as it came: what a delegate gets on its standard input.
    pub bytes: Vec<u8>,
    /// `cniVersion`, 0.1.0 if it is absent or empty.
    pub version: Version,
    /// Whether `cniVersion` was there. See [`NetworkConfig::result_version`].
    pub version_given: bool,
    /// `name`: the network's.
    pub name: String,
    /// `type`: the name of the plugin's program; may be empty.
    pub plugin_type: String,
    /// `ipam.type`: the name of the IPAM plugin's program, if there is one.
    pub ipam_type: Option<String>,
    document: Value,
}

impl NetworkConfig {
    /// Decodes and validates a document. Codes: 6 if it is no JSON object or a member has a wrong
    /// type, 7 for a bad name, 1 for an unknown version.
    pub fn decode(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        Document::decode(bytes.into())?.validate()
    }

    /// The whole document, as it came: see [`crate::member`].
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The member of this name; none if it is absent or null.
    pub fn member(&self, name: &str) -> Option<&Value> {
        json::member(&self.document, name)
    }

    /// The plugin's own view of the document. A `null` counts as absent, so `#[serde(default)]`
    /// covers both.
    ///
    /// A failure has code 6, and its message the path of the member at fault (but no value that
    /// looks secret).
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        json::typed(self.document.clone()).map_err(|cause| {
            Error::new(
                code::DECODING_FAILURE,
                format!("network configuration {}: {cause}", self.name),
            )
        })
    }

    /// The result of the plugins before this one in the chain or, for CHECK and DEL, of the ADD.
    pub fn prev_result(&self) -> Result<Option<AddResult>, Error> {
        match self.member("prevResult") {
            None => Ok(None),
            Some(value) => AddResult::from_value(value.clone(), self.result_version())
                .map(Some)
                .map_err(|error| Error { msg: format!("prevResult: {}", error.msg), ..error }),
        }
    }

    /// GC: the attachments that must stay. The list must be there, even if empty: taking its
    /// absence for an empty list would remove the network of every running container.
    pub fn valid_attachments(&self) -> Result<Vec<Attachment>, Error> {
        // The specification of 1.1.0 used both names, and libcni writes both.
        const NAMES: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let members = self.document.as_object();
        let found = NAMES.iter().find_map(|name| Some((name, json::find(members?, name)?)));
        match found {
            None => Err(Error::new(
                code::INVALID_CONFIG,
                format!(
                    "network configuration {} has no {}: GC needs the list of attachments to keep, \
                     even if empty",
                    self.name, NAMES[0]
                ),
            )),
            // Go writes a list without elements as null.
            Some((_, Value::Null)) => Ok(Vec::new()),
            Some((name, list)) => json::read_member(name, Some(list)),
        }
    }

    /// The version in which results and errors are answered.
    pub fn result_version(&self) -> Version {
        // COMPAT: without a version upstream checks the configuration as 0.1.0 and answers as
        // 0.2.0.
        if self.version_given { self.version } else { Version::V0_2_0 }
    }
}

/// A JSON object that is not validated yet. Validation comes in steps, because upstream checks
/// parts of the environment in between, and the first failure decides the code.
pub(crate) struct Document {
    bytes: Vec<u8>,
    members: Map<String, Value>,
}

impl Document {
    /// Decodes bytes that must hold one JSON object (or `null`, which Go takes for an empty one).
    pub(crate) fn decode(bytes: Vec<u8>) -> Result<Self, Error> {
        let refuse = |cause: String| {
            Error::new(
                code::DECODING_FAILURE,
                format!("network configuration on standard input is no JSON object: {cause}"),
            )
        };
        let members = match json::decode(&bytes).map_err(|cause| refuse(cause.to_string()))? {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            Value::Array(_) => return Err(refuse("it is a list".into())),
            _ => return Err(refuse("it is a single value".into())),
        };
        Ok(Document { bytes, members })
    }

    /// The network's name, which must be there and valid.
    pub(crate) fn name(&self) -> Result<&str, Error> {
        let name = text(&self.members, "name")?;
        let invalid = |cause: String| {
            Error::new(code::INVALID_CONFIG, format!("network configuration: {cause}"))
        };
        if name.is_empty() {
            return Err(invalid("name is missing; give the network one".into()));
        }
        if !is_identifier(name) {
            return Err(invalid(format!(
                "name {:?} must start with a letter or digit and go on with those, '_', '.' or '-'",
                error::excerpt(name)
            )));
        }
        Ok(name)
    }

    /// The configuration's version; `None` if it is absent or empty.
    pub(crate) fn version(&self) -> Result<Option<Version>, Error> {
        match text(&self.members, "cniVersion")? {
            "" => Ok(None),
            version => version.parse().map(Some).map_err(|_| {
                let version = error::excerpt(version);
                Error::new(
                    code::INCOMPATIBLE_VERSION,
                    format!("cniVersion {version:?} of the network configuration is not supported"),
                )
                .details(format!("config is {version:?}, plugin supports [{}]", Version::list()))
            }),
        }
    }

    /// The version for an answer to this document, whatever is wrong with it.
    pub(crate) fn answer_version(&self) -> Version {
        match self.version() {
            Ok(Some(version)) => version,
            Ok(None) => Version::V0_2_0,
            Err(_) => Version::LATEST,
        }
    }

    /// Checks everything.
    pub(crate) fn validate(self) -> Result<NetworkConfig, Error> {
        let name = self.name()?.to_owned();
        let version = self.version()?;
        let plugin_type = text(&self.members, "type")?.to_owned();
        let document = Value::Object(self.members);
        let Common { ipam: Ipam { kind: ipam_type } } = json::read_member("", Some(&document))?;
        Ok(NetworkConfig {
            bytes: self.bytes,
            version: version.unwrap_or(Version::V0_1_0),
            version_given: version.is_some(),
            name,
            plugin_type,
            ipam_type: Some(ipam_type).filter(|name| !name.is_empty()),
            document,
        })
    }
}

/// What the protocol itself knows of nested objects.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Common {
    #[serde(rename = "ipam")]
    ipam: Ipam,
}

/// What it knows of the IPAM plugin.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type")]
    kind: String,
}

/// A text member; empty if it is absent or null.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    match json::find(members, name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Error::new(
            code::DECODING_FAILURE,
            format!("network configuration: {name} must be a string"),
        )),
    }
}

/// Whether a text is a valid container id or network name.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests;
