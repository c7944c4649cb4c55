//! Configurations: what is taken, what is refused, and with which code.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn config(text: &str) -> NetworkConfig {
    NetworkConfig::decode(text).unwrap()
}

fn refused(text: impl Into<Vec<u8>>, code: u32, named: &str) {
    let error = NetworkConfig::decode(text).unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.msg.contains(named), "{error}");
}

#[test]
fn common_members_are_read() {
    let text = r#"{"cniVersion": "0.3.1", "name": "net-1", "type": "calico", "ipam": {"type": "host-local"}}"#;
    let config = config(text);
    assert_eq!((config.version, config.version_given), (Version::V0_3_1, true));
    assert_eq!((config.name.as_str(), config.plugin_type.as_str()), ("net-1", "calico"));
    assert_eq!(config.ipam_type.as_deref(), Some("host-local"));
    assert_eq!(config.result_version(), Version::V0_3_1);
    assert_eq!(config.bytes, text.as_bytes());
}

#[test]
fn without_a_version_it_is_0_1_0_and_answered_as_0_2_0() {
    for text in [
        r#"{"name": "n"}"#,
        r#"{"name": "n", "cniVersion": ""}"#,
        r#"{"name": "n", "cniVersion": null}"#,
    ] {
        let config = config(text);
        assert_eq!((config.version, config.version_given), (Version::V0_1_0, false));
        assert_eq!(config.result_version(), Version::V0_2_0);
    }
    assert_eq!(config(r#"{"name": "n", "cniVersion": "0.1.0"}"#).result_version(), Version::V0_1_0);
}

#[test]
fn absent_ipam_is_none() {
    for ipam in ["null", "{}", r#"{"type": ""}"#, r#"{"type": null}"#] {
        assert_eq!(
            config(&format!(r#"{{"name": "n", "ipam": {ipam}}}"#)).ipam_type,
            None,
            "{ipam}"
        );
    }
}

#[test]
fn names_match_in_any_letter_case() {
    let config = config(
        r#"{"NAME": "net-1", "CniVersion": "1.1.0", "Type": "calico", "IPAM": {"Type": "x", "A": 1},
            "Ipam": {"TYPE": "host-local"}, "PrevResult": {"IPs": [{"Address": "10.0.0.1/24"}]},
            "CNI.dev/Valid-Attachments": [{"ContainerID": "c1", "IfName": "eth0"}]}"#,
    );
    assert_eq!((config.version, config.name.as_str()), (Version::V1_1_0, "net-1"));
    assert_eq!(config.plugin_type, "calico");
    assert_eq!(config.ipam_type.as_deref(), Some("host-local"));
    assert_eq!(config.prev_result().unwrap().unwrap().ips.len(), 1);
    assert_eq!(config.valid_attachments().unwrap().len(), 1);
}

#[test]
fn what_is_no_object_has_code_6() {
    for text in ["", " ", "not json", "[]", "7", "\"x\"", "{", "{}x", "{'name': 'n'}", "\u{feff}{}"]
    {
        refused(text, code::DECODING_FAILURE, "standard input");
    }
    refused(b"{\"name\": \"\xff\"}".to_vec(), code::DECODING_FAILURE, "standard input");
    refused("[".repeat(1 << 20), code::DECODING_FAILURE, "recursion limit");
    refused("{\"a\":".repeat(1 << 18), code::DECODING_FAILURE, "recursion limit");
}

#[test]
fn a_bad_name_has_code_7() {
    for text in ["{}", "null", r#"{"name": ""}"#, r#"{"name": null}"#] {
        refused(text, code::INVALID_CONFIG, "name is missing");
    }
    for name in ["bad name", "-n", ".n", "a/b", "ü", "n\\n"] {
        refused(format!(r#"{{"name": "{name}"}}"#), code::INVALID_CONFIG, "name");
    }
    config(r#"{"name": "0-a_b.C"}"#);
}

#[test]
fn a_member_of_a_wrong_type_has_code_6() {
    refused(r#"{"name": 1}"#, code::DECODING_FAILURE, "name must be a string");
    refused(r#"{"name": "n", "cniVersion": 1.0}"#, code::DECODING_FAILURE, "cniVersion");
    refused(r#"{"name": "n", "type": []}"#, code::DECODING_FAILURE, "type");
    refused(r#"{"name": "n", "ipam": "x"}"#, code::DECODING_FAILURE, "ipam");
    refused(r#"{"name": "n", "ipam": {"type": {}}}"#, code::DECODING_FAILURE, "ipam.type");
}

#[test]
fn an_unknown_version_has_code_1_and_both_lists() {
    for version in ["9.9.9", "1.0", "v1.0.0", "0.5.0"] {
        let error = NetworkConfig::decode(format!(r#"{{"name": "n", "cniVersion": "{version}"}}"#))
            .unwrap_err();
        assert_eq!(error.code, code::INCOMPATIBLE_VERSION);
        assert!(error.msg.contains(version), "{error}");
        assert!(
            error.details.contains(version) && error.details.contains("0.1.0, 0.2.0"),
            "{error:?}"
        );
    }
}

#[derive(Deserialize, Debug, PartialEq)]
struct Sample {
    #[serde(rename = "mtu", default)]
    mtu: u32,
    #[serde(rename = "ipam", default)]
    ipam: Ipam,
}

#[derive(Deserialize, Debug, PartialEq, Default)]
struct Ipam {
    #[serde(rename = "assign_ipv4", default)]
    assign_ipv4: String,
    #[serde(rename = "ipv4_pools", default)]
    ipv4_pools: Vec<String>,
}

fn sample(text: &str) -> Result<Sample, Error> {
    config(&format!(r#"{{"name": "n", {text}}}"#)).parse()
}

#[test]
fn the_plugin_reads_its_own_members() {
    let read = sample(
        r#""unknown": {}, "mtu": 1, "mtu": 1440, "ipam": {"type": "x", "assign_ipv4": null, "ipv4_pools": ["p"]}"#,
    );
    let ipam = Ipam { assign_ipv4: String::new(), ipv4_pools: vec!["p".into()] };
    assert_eq!(read, Ok(Sample { mtu: 1440, ipam }));
    assert_eq!(
        sample(r#""mtu": null, "ipam": null"#),
        Ok(Sample { mtu: 0, ipam: Ipam::default() })
    );
}

#[test]
fn a_member_that_does_not_fit_is_named_with_code_6() {
    for (text, path) in [
        (r#""mtu": "1500""#, "mtu: "),
        (r#""mtu": 1500.0"#, "mtu: "),
        (r#""mtu": -1"#, "mtu: "),
        (r#""ipam": {"assign_ipv4": true}"#, "ipam.assign_ipv4: "),
        (r#""ipam": {"ipv4_pools": ["p", 7]}"#, "ipam.ipv4_pools[1]: "),
    ] {
        let error = sample(text).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE);
        assert!(error.msg.contains(path), "{error}");
    }
}

#[test]
fn prev_result_is_of_the_configurations_version() {
    let prev = |version: &str, prev: &str| {
        config(&format!(r#"{{"name": "n", "cniVersion": "{version}", "prevResult": {prev}}}"#))
            .prev_result()
    };
    let old = prev("0.2.0", r#"{"ip4": {"ip": "10.0.0.1/24"}}"#).unwrap().unwrap();
    assert_eq!(old.ips[0].address.to_string(), "10.0.0.1/24");
    let new =
        prev("0.2.0", r#"{"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]}"#).unwrap();
    assert_eq!(new.unwrap().ips[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(prev("1.1.0", "null"), Ok(None));
    assert_eq!(prev("1.1.0", "{}"), Ok(Some(AddResult::default())));
    assert_eq!(config(r#"{"name": "n"}"#).prev_result(), Ok(None));
    let error = prev("1.1.0", r#"{"ips": 5}"#).unwrap_err();
    assert_eq!(error.code, code::DECODING_FAILURE);
    assert!(error.msg.contains("prevResult") && error.msg.contains("ips"), "{error}");
}

#[test]
fn valid_attachments_are_read_under_both_names() {
    let list = |text: &str| config(&format!(r#"{{"name": "n" {text}}}"#)).valid_attachments();
    let attachment = Attachment { container_id: "c1".into(), ifname: "eth0".into() };
    let json = r#"[{"containerID": "c1", "ifname": "eth0"}]"#;
    for name in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        assert_eq!(list(&format!(r#", "{name}": {json}"#)), Ok(vec![attachment.clone()]));
        assert_eq!(list(&format!(r#", "{name}": []"#)), Ok(vec![]));
        assert_eq!(list(&format!(r#", "{name}": null"#)), Ok(vec![]));
    }
    let both = format!(r#", "cni.dev/attachments": [], "cni.dev/valid-attachments": {json}"#);
    assert_eq!(list(&both), Ok(vec![attachment]));
}

#[test]
fn a_missing_or_broken_list_of_attachments_is_no_empty_list() {
    let list = |text: &str| config(&format!(r#"{{"name": "n" {text}}}"#)).valid_attachments();
    assert_eq!(list("").unwrap_err().code, code::INVALID_CONFIG);
    for value in ["{}", "\"\"", "[{}]", r#"[{"containerID": "c"}]"#, "[null]"] {
        let error = list(&format!(r#", "cni.dev/valid-attachments": {value}"#)).unwrap_err();
        assert_eq!(error.code, code::DECODING_FAILURE, "{value}");
        assert!(error.msg.contains("cni.dev/valid-attachments"), "{error}");
    }
}

#[test]
fn a_large_configuration_is_read_at_once() {
    let text =
        format!(r#"{{"name": "n", "x": [{}0]}}"#, r#"{"a": "b", "c": null},"#.repeat(50_000));
    assert!(text.len() > 1 << 20);
    let started = Instant::now();
    assert_eq!(config(&text).parse::<Sample>().unwrap().mtu, 0);
    // Unoptimised and on a busy machine; a quadratic step would take minutes.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// JSON with the names that we read, and any values.
fn any_document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["", "n", "0.2.0", "1.1.0", "10.0.0.1/24", "eth0"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop::sample::select(vec![
            "name",
            "cniVersion",
            "type",
            "ipam",
            "prevResult",
            "ips",
            "ip4",
            "ip",
            "address",
            "interfaces",
            "cni.dev/valid-attachments",
            "containerID",
            "ifname",
            "mtu",
            "dns",
            "routes",
            "dst",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

const CODES: [u32; 3] = [code::INCOMPATIBLE_VERSION, code::DECODING_FAILURE, code::INVALID_CONFIG];

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        if let Err(error) = NetworkConfig::decode(bytes) {
            prop_assert!(CODES.contains(&error.code), "{:?}", error);
        }
    }

    #[test]
    fn any_document_is_read_or_refused(mut document in any_document()) {
        if let Some(members) = document.as_object_mut() {
            members.insert("name".into(), "n".into());
        }
        let config = match NetworkConfig::decode(document.to_string()) {
            Ok(config) => config,
            Err(error) => {
                prop_assert!(CODES.contains(&error.code), "{:?}", error);
                return Ok(());
            }
        };
        let errors = [config.prev_result().err(), config.valid_attachments().err(), config.parse::<Sample>().err()];
        for error in errors.into_iter().flatten() {
            prop_assert!(CODES.contains(&error.code), "{:?}", error);
        }
    }
}
