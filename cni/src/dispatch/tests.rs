//! From variables and bytes to a request or a refusal. Whole processes are in
//! `cni/tests/process.rs`.

use std::{collections::HashMap, ffi::OsString, io};

use proptest::prelude::*;

use super::*;
use crate::golden;

/// Prepares a call out of given variables and standard input.
fn prepare_with(variables: &[(&str, &str)], stdin: &[u8]) -> Result<Call, Refusal> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    prepare(Input {
        lookup: &|name| variables.get(name).map(OsString::from),
        stdin: Box::new(io::Cursor::new(stdin.to_vec())),
        stdin_is_terminal: false,
    })
}

fn variables(command: &str) -> [(&str, &str); 6] {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "cont-1"),
        ("CNI_NETNS", "b"),
        ("CNI_IFNAME", "c"),
        ("CNI_ARGS", "K8S_POD_NAME=cart-0"),
        ("CNI_PATH", "d"),
    ]
}

fn request(command: &str, stdin: &str) -> Request {
    match prepare_with(&variables(command), stdin.as_bytes()) {
        Ok(Call::Verb(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn refusal(variables: &[(&str, &str)], stdin: &[u8]) -> (u32, Version) {
    match prepare_with(variables, stdin) {
        Err(refusal) => (refusal.error.code, refusal.version),
        other => panic!("{other:?}"),
    }
}

fn version_answer(stdin: &[u8]) -> String {
    match prepare_with(&[("CNI_COMMAND", "VERSION")], stdin) {
        Ok(Call::Version(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_has_what_was_given() {
    let request = request("ADD", r#"{"cniVersion": "1.0.0", "name": "n"}"#);
    assert_eq!((request.command, request.container_id.as_str()), (Command::Add, "cont-1"));
    assert_eq!((request.netns, request.ifname.as_str()), (Some("b".into()), "c"));
    assert_eq!(request.args.get("K8S_POD_NAME"), Some("cart-0"));
    assert_eq!(request.path, [PathBuf::from("d")]);
    assert_eq!(request.config.name, "n");
    assert!(!request.netns_override);
}

#[test]
fn del_may_come_with_or_without_a_namespace() {
    assert_eq!(request("DEL", r#"{"name": "n"}"#).netns, Some("b".into()));
    for netns in [None, Some("")] {
        let mut variables = variables("DEL").to_vec();
        variables.retain(|(name, _)| *name != "CNI_NETNS");
        variables.extend(netns.map(|netns| ("CNI_NETNS", netns)));
        match prepare_with(&variables, br#"{"name": "n"}"#) {
            Ok(Call::Verb(request)) => assert_eq!(request.netns, None),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn recorded_refusals_have_upstreams_codes() {
    let mut compared = 0;
    for step in golden::steps("errors.json") {
        let Some(expected) =
            step["cni_error_code"].as_u64().filter(|code| [1, 4, 6, 7].contains(code))
        else {
            continue;
        };
        let stdin = step["do"]["stdin"].as_str().unwrap();
        let command = step["do"]["env"]["CNI_COMMAND"].as_str().unwrap();
        if stdin.contains("1.1.0") && ["GC", "STATUS"].contains(&command) {
            // Upstream doesn't know 1.1.0; we do.
            continue;
        }
        let environment = step["do"]["env"].as_object().unwrap();
        let variables: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let (code, _) = refusal(&variables, stdin.as_bytes());
        assert_eq!(u64::from(code), expected, "{}", step["note"]);
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} refusals");
}

#[test]
fn of_several_faults_the_first_in_upstreams_order_counts() {
    let mut variables = variables("ADD").to_vec();
    let code = |variables: &[(&str, &str)], stdin: &str| refusal(variables, stdin.as_bytes()).0;
    variables[1].1 = "/bad";
    variables[4].1 = "bad";
    assert_eq!(code(&variables, "x"), code::DECODING_FAILURE);
    assert_eq!(code(&variables, r#"{"cniVersion": "9"}"#), code::INVALID_CONFIG);
    assert_eq!(code(&variables, r#"{"cniVersion": "9", "name": "n"}"#), code::INVALID_ENVIRONMENT);
    variables[1].1 = "good";
    assert_eq!(code(&variables, r#"{"cniVersion": "9", "name": "n"}"#), code::INCOMPATIBLE_VERSION);
    assert_eq!(code(&variables, r#"{"name": "n"}"#), code::INVALID_ENVIRONMENT);
    variables[2].1 = "";
    assert_eq!(code(&variables, "x"), code::INVALID_ENVIRONMENT);
}

#[test]
fn verbs_need_their_version() {
    let works = |command: &str, version: Version| {
        let stdin = format!(r#"{{"cniVersion": "{version}", "name": "n"}}"#);
        match prepare_with(&variables(command), stdin.as_bytes()) {
            Ok(Call::Verb(_)) => true,
            Err(refusal) => {
                assert_eq!(refusal.error.code, code::INCOMPATIBLE_VERSION);
                assert!(refusal.error.msg.contains(command), "{}", refusal.error);
                assert_eq!(refusal.version, version);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    for version in Version::ALL {
        assert!(works("ADD", version) && works("DEL", version));
        assert_eq!(works("CHECK", version), version >= Version::V0_4_0);
        assert_eq!(works("GC", version), version >= Version::V1_1_0);
        assert_eq!(works("STATUS", version), version >= Version::V1_1_0);
    }
    assert_eq!(refusal(&variables("CHECK"), br#"{"name": "n"}"#).0, code::INCOMPATIBLE_VERSION);
}

#[test]
fn errors_are_answered_in_the_configurations_version() {
    let version = |stdin: &str| refusal(&variables("ADD"), stdin.as_bytes()).1;
    assert_eq!(version(r#"{"cniVersion": "0.3.1"}"#), Version::V0_3_1);
    assert_eq!(version("{}"), Version::V0_2_0);
    assert_eq!(version(r#"{"cniVersion": "9.9.9", "name": "n"}"#), Version::LATEST);
    assert_eq!(version("x"), Version::LATEST);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("on fire"))
    }
}

#[test]
fn unreadable_input_has_code_5() {
    let variables = HashMap::from(variables("ADD"));
    let refusal = prepare(Input {
        lookup: &|name| variables.get(name).map(OsString::from),
        stdin: Box::new(Broken),
        stdin_is_terminal: false,
    })
    .unwrap_err();
    assert_eq!(refusal.error.code, code::IO_FAILURE);
    assert!(refusal.error.msg.contains("on fire"), "{}", refusal.error);
}

#[test]
fn endless_input_is_refused() {
    let variables = HashMap::from(variables("ADD"));
    let refusal = prepare(Input {
        lookup: &|name| variables.get(name).map(OsString::from),
        stdin: Box::new(io::repeat(b' ')),
        stdin_is_terminal: false,
    })
    .unwrap_err();
    assert_eq!(refusal.error.code, code::DECODING_FAILURE);
    assert!(refusal.error.msg.contains("larger"), "{}", refusal.error);
}

#[test]
fn without_a_verb_the_plugin_tells_about_itself() {
    assert!(matches!(prepare_with(&[], b""), Ok(Call::About)));
    assert!(matches!(prepare_with(&[("CNI_COMMAND", "")], b"x"), Ok(Call::About)));
}

#[test]
fn version_repeats_the_callers() {
    let answer = |version: &str| {
        format!(
            "{{\"cniVersion\":\"{version}\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}}\n"
        )
    };
    assert_eq!(version_answer(br#"{"cniVersion": "0.4.0"}"#), answer("0.4.0"));
    assert_eq!(version_answer(br#"{"cniVersion": "1.2.0"}"#), answer("1.2.0"));
    for other in [
        "",
        "x",
        "{}",
        "[]",
        r#"{"cniVersion": 1}"#,
        r#"{"cniVersion": ""}"#,
        r#"{"cniVersion": "<a>"}"#,
    ] {
        assert_eq!(version_answer(other.as_bytes()), answer("1.1.0"), "{other}");
    }
}

#[test]
fn version_does_not_read_a_terminal() {
    let call = prepare(Input {
        lookup: &|name| (name == "CNI_COMMAND").then(|| "VERSION".into()),
        stdin: Box::new(Unreachable),
        stdin_is_terminal: true,
    });
    assert!(matches!(call, Ok(Call::Version(_))));
}

struct Unreachable;

impl Read for Unreachable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("read a terminal");
    }
}

proptest! {
    #[test]
    fn any_environment_and_input_gives_a_call_or_a_code(
        command in prop::sample::select(vec!["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "x"]),
        container_id in ".{0,8}", netns in ".{0,8}", ifname in ".{0,17}", args in "[A=;IP]{0,8}",
        stdin in prop_oneof![any::<Vec<u8>>(), Just(br#"{"cniVersion": "1.1.0", "name": "n"}"#.to_vec())],
    ) {
        let variables = [
            ("CNI_COMMAND", command), ("CNI_CONTAINERID", &container_id), ("CNI_NETNS", &netns),
            ("CNI_IFNAME", &ifname), ("CNI_ARGS", &args), ("CNI_PATH", "d"),
        ];
        if let Err(refusal) = prepare_with(&variables, &stdin) {
            prop_assert!([1, 4, 6, 7].contains(&refusal.error.code), "{:?}", refusal);
            prop_assert!(!refusal.error.msg.is_empty());
        }
    }
}
