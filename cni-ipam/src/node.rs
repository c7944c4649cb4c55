//! The name of this node (`reference/cni-plugin.md` section 1.4).

use std::io::ErrorKind;
use std::path::Path;

use crate::conf::NetConf;
use crate::datastore::{self, is_embedded};
use crate::file;

const NODENAME_FILE: &str = "/var/lib/calico/nodename";

/// This node's name: the first that isn't empty of `nodename`, the content of the nodename file,
/// `hostname` and, where the file may be missing, the host's own name.
///
/// The file is looked at only when it is the source, and its white space is cut off: upstream
/// insists on the file even when the name is given, and takes a final newline as part of the name.
pub fn name(conf: &NetConf) -> Result<String, cni::Error> {
    if !conf.nodename.is_empty() {
        return checked(&conf.nodename, "nodename");
    }
    let path = match conf.nodename_file.as_str() {
        "" => NODENAME_FILE,
        path => path,
    };
    match file::read_text(Path::new(path)) {
        Ok(content) if !content.trim().is_empty() => return checked(content.trim(), path),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let needed = !conf.nodename_file_optional && conf.hostname.is_empty();
            // The environment may name the store.
            if needed && !datastore::config(conf).is_ok_and(|config| is_embedded(&config)) {
                return Err(cni::Error::new(
                    cni::code::TRY_AGAIN_LATER,
                    format!(
                        "nodename file {path} does not exist: calico/node writes it when it \
                         starts; else set \"nodename\" or \"nodename_file_optional\": true"
                    ),
                ));
            }
        }
        Err(error) => {
            return Err(cni::Error::new(
                cni::code::IO_FAILURE,
                format!("nodename file {path} can't be read: {error}"),
            ));
        }
    }
    if !conf.hostname.is_empty() {
        return checked(&conf.hostname, "hostname");
    }
    checked(&host_name(), "the host's name")
}

/// The host's own name, trimmed and in lower case, as upstream takes it.
fn host_name() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().trim().to_lowercase())
        .unwrap_or_default()
}

fn checked(name: &str, source: &str) -> Result<String, cni::Error> {
    if libcalico::names::is_valid_name(name) {
        return Ok(name.to_owned());
    }
    Err(cni::Error::new(
        cni::code::INVALID_CONFIG,
        format!(
            "node name \"{name}\" from {source} is not a lower-case DNS name (letters, digits, \
             '-', '.', at most 253): set \"nodename\" to the name of the Node object",
            source = Path::new(source).display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn conf(nodename: &str, file: &str, hostname: &str) -> NetConf {
        NetConf {
            nodename: nodename.into(),
            nodename_file: file.into(),
            hostname: hostname.into(),
            etcd_endpoints: "http://127.0.0.1:2379".into(),
            ..NetConf::default()
        }
    }

    #[test]
    fn nodename_wins_and_its_file_need_not_exist() {
        assert_eq!(name(&conf("node-1", "/nonexistent", "h")).unwrap(), "node-1");
    }

    #[test]
    fn the_files_white_space_is_cut_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "node-2\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(name(&conf("", path, "h")).unwrap(), "node-2");
        fs::write(file.path(), " \n").unwrap();
        assert_eq!(name(&conf("", path, "from-hostname")).unwrap(), "from-hostname");
    }

    #[test]
    fn a_missing_file_is_a_matter_of_time_unless_it_is_optional() {
        let error = name(&conf("", "/nonexistent", "")).unwrap_err();
        assert_eq!(error.code, cni::code::TRY_AGAIN_LATER);
        assert!(error.msg.contains("/nonexistent"), "{}", error.msg);
        let mut optional = conf("", "/nonexistent", "");
        optional.nodename_file_optional = true;
        assert_eq!(name(&optional).unwrap(), host_name());
    }

    #[test]
    fn a_name_that_is_no_dns_name_is_refused_with_its_source() {
        let error = name(&conf("Node_1", "", "")).unwrap_err();
        assert_eq!(error.code, cni::code::INVALID_CONFIG);
        assert!(error.msg.contains("Node_1") && error.msg.contains("nodename"), "{}", error.msg);
    }
}
