//! The configuration file, `calicoctl.cfg` (`reference/calicoctl.md` section 3.2): where the
//! datastore is. When it is there, the environment isn't asked.
//!
//! Ours beside upstream's: `datastoreType: local`, and `localPath`, the file of the embedded store.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use libcalico::config::{Secret, Settings};
use libcalico::resources::API_VERSION;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::input::yaml;

/// Where it is, unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/calico/calicoctl.cfg";

/// The kind of the one object in it.
const KIND: &str = "CalicoAPIConfig";

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ConfigFileError {
    #[error("error reading config file: {path}: {cause}")]
    Read { path: String, cause: std::io::Error },
    #[error("invalid config file: {path}: {cause}")]
    Yaml { path: String, cause: yaml::YamlError },
    #[error("invalid config file: {path}: {cause}")]
    Fields { path: String, cause: serde_json::Error },
    #[error("invalid config file: {path}: it holds no object, but {value}: see conf/calicoctl.cfg")]
    NoObject { path: String, value: Value },
    #[error("invalid config file: {path}: it holds {count} documents instead of one")]
    Documents { path: String, count: usize },
    #[error(
        "invalid config file: {path}: unknown APIVersion '{value}': it must be '{API_VERSION}'"
    )]
    ApiVersion { path: String, value: String },
    #[error("invalid config file: {path}: expected kind '{KIND}', got '{value}'")]
    Kind { path: String, value: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(rename = "kind", default)]
    kind: String,
    #[serde(rename = "metadata", default)]
    _metadata: Value,
    #[serde(rename = "spec", default)]
    spec: Option<Map<String, Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Spec {
    #[serde(rename = "datastoreType")]
    datastore_type: Option<String>,
    #[serde(rename = "etcdEndpoints")]
    etcd_endpoints: Option<String>,
    #[serde(rename = "etcdDiscoverySrv")]
    etcd_discovery_srv: Option<String>,
    #[serde(rename = "etcdUsername")]
    etcd_username: Option<String>,
    #[serde(rename = "etcdPassword")]
    etcd_password: Option<String>,
    #[serde(rename = "etcdKeyFile")]
    etcd_key_file: Option<String>,
    #[serde(rename = "etcdCertFile")]
    etcd_cert_file: Option<String>,
    #[serde(rename = "etcdCACertFile")]
    etcd_ca_cert_file: Option<String>,
    #[serde(rename = "etcdKey")]
    etcd_key: Option<String>,
    #[serde(rename = "etcdCert")]
    etcd_cert: Option<String>,
    #[serde(rename = "etcdCACert")]
    etcd_ca_cert: Option<String>,
    #[serde(rename = "localPath")]
    local_path: Option<String>,
}

/// Settings of the Kubernetes API. They are known and have no effect: that datastore is refused by
/// its type.
const OF_KUBERNETES: [&str; 15] = [
    "kubeconfig",
    "kubeconfigInline",
    "k8sAPIEndpoint",
    "k8sKeyFile",
    "k8sCertFile",
    "k8sCAFile",
    "k8sAPIToken",
    "k8sInsecureSkipTLSVerify",
    "k8sDisableNodePoll",
    "k8sUsePodCIDR",
    "usePodCIDR",
    "k8sClientQPS",
    "k8sClientBurst",
    "k8sCurrentContext",
    "calicoAPIGroup",
];

/// The settings of a file; none when it is the default one and isn't there.
pub fn read(path: &str) -> Result<Option<Settings>, ConfigFileError> {
    match fs::read_to_string(Path::new(path)) {
        Ok(text) => parse(path, &text).map(Some),
        Err(cause) if cause.kind() == ErrorKind::NotFound && path == DEFAULT_PATH => Ok(None),
        Err(cause) => Err(ConfigFileError::Read { path: path.to_owned(), cause }),
    }
}

fn parse(path: &str, text: &str) -> Result<Settings, ConfigFileError> {
    let path = || path.to_owned();
    let mut documents =
        yaml::parse(text).map_err(|cause| ConfigFileError::Yaml { path: path(), cause })?;
    let count = documents.len();
    let value = documents.pop().filter(|_| count == 1);
    let value = value.ok_or_else(|| ConfigFileError::Documents { path: path(), count })?;
    if !value.is_object() {
        return Err(ConfigFileError::NoObject { path: path(), value });
    }
    let Document { api_version, kind, spec, .. } = serde_json::from_value(value)
        .map_err(|cause| ConfigFileError::Fields { path: path(), cause })?;
    if api_version != API_VERSION {
        return Err(ConfigFileError::ApiVersion { path: path(), value: api_version });
    }
    if kind != KIND {
        return Err(ConfigFileError::Kind { path: path(), value: kind });
    }
    let mut spec = spec.unwrap_or_default();
    spec.retain(|name, _| !OF_KUBERNETES.contains(&name.as_str()));
    for value in spec.values_mut().filter(|value| value.is_number() || value.is_boolean()) {
        // All of them are texts, a password of digits, too.
        *value = Value::String(value.to_string());
    }
    let spec: Spec = serde_json::from_value(Value::Object(spec))
        .map_err(|cause| ConfigFileError::Fields { path: path(), cause })?;
    Ok(Settings {
        datastore_type: spec.datastore_type,
        etcd_endpoints: spec.etcd_endpoints,
        etcd_discovery_srv: spec.etcd_discovery_srv,
        etcd_username: spec.etcd_username,
        etcd_password: spec.etcd_password.map(Secret::new),
        etcd_key_file: spec.etcd_key_file,
        etcd_cert_file: spec.etcd_cert_file,
        etcd_ca_cert_file: spec.etcd_ca_cert_file,
        etcd_key: spec.etcd_key.map(Secret::new),
        etcd_cert: spec.etcd_cert,
        etcd_ca_cert: spec.etcd_ca_cert,
        local_path: spec.local_path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\n";

    fn error(text: &str) -> String {
        parse("x.cfg", text).expect_err(text).to_string()
    }

    #[test]
    fn an_empty_metadata_is_fine() {
        let text = format!("{HEAD}spec:\n  datastoreType: etcdv3\n  etcdEndpoints: http://a:1\n");
        let settings = parse("x.cfg", &text).unwrap();
        assert_eq!(settings.datastore_type.as_deref(), Some("etcdv3"));
        assert_eq!(settings.etcd_endpoints.as_deref(), Some("http://a:1"));
        assert_eq!(parse("x.cfg", HEAD).unwrap(), Settings::default());
    }

    #[test]
    fn the_example_works_as_it_is() {
        let settings = parse("x.cfg", include_str!("../../conf/calicoctl.cfg")).unwrap();
        assert_eq!(settings.datastore_type.as_deref(), Some("local"));
    }

    #[test]
    fn keys_may_be_written_into_it() {
        let text = format!(
            "{HEAD}spec:\n  etcdKey: |\n    -----BEGIN\n    x\n  etcdCert: c\n  etcdPassword: 0123\n"
        );
        let settings = parse("x.cfg", &text).unwrap();
        assert_eq!(settings.etcd_password.unwrap().expose(), "83");
        assert_eq!(settings.etcd_key.unwrap().expose(), "-----BEGIN\nx\n");
        assert_eq!(settings.etcd_cert.as_deref(), Some("c"));
    }

    #[test]
    fn the_embedded_store_has_its_fields() {
        let text = format!("{HEAD}spec: {{datastoreType: local, localPath: /x.db}}\n");
        let settings = parse("x.cfg", &text).unwrap();
        assert_eq!(settings.local_path.as_deref(), Some("/x.db"));
    }

    #[test]
    fn what_is_unknown_is_refused() {
        let colour = error(&format!("{HEAD}spec:\n  colour: red\n"));
        assert!(
            colour.starts_with("invalid config file: x.cfg: unknown field `colour`"),
            "{colour}"
        );
        assert!(error(&HEAD.replace("/v3", "/v9")).contains("unknown APIVersion 'projectcalico"));
        assert!(error(&HEAD.replace("CalicoAPIConfig", "X")).contains("got 'X'"));
        assert!(error("").contains("0 documents"));
        assert!(error("x").contains("no object, but \"x\""), "{}", error("x"));
        assert!(error("a: [").contains("line "));
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        assert!(read("/nowhere/x.cfg").unwrap_err().to_string().contains("/nowhere/x.cfg"));
    }
}
