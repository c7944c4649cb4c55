//! Which variables are demanded, and which values are taken.

use std::{collections::HashMap, os::unix::ffi::OsStringExt};

use super::*;

const FULL: [(&str, &str); 6] = [
    (CONTAINER_ID, "cont-1"),
    (NETNS, "/run/netns/a"),
    (IFNAME, "eth0"),
    (ARGS, "A=1"),
    (PATH, "/opt/cni/bin"),
    (NETNS_OVERRIDE, "1"),
];

/// Reads FULL with one variable changed.
fn read_with(command: Command, name: &str, to: &str) -> Result<Environment, Error> {
    let mut variables = HashMap::from(FULL);
    variables.insert(name, to);
    Environment::read(command, &|name| variables.get(name).map(OsString::from))
}

/// The code and message of what is wrong with one variable, if anything.
fn refusal(command: Command, name: &str, to: &str) -> Option<String> {
    let error = read_with(command, name, to).and_then(|environment| environment.check()).err()?;
    assert_eq!(error.code, code::INVALID_ENVIRONMENT);
    Some(error.msg)
}

#[test]
fn missing_variables_are_named_in_one_error() {
    for (command, missing) in [
        (Add, "[CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH]"),
        (Del, "[CNI_CONTAINERID, CNI_IFNAME, CNI_PATH]"),
        (Check, "[CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_PATH]"),
        (Gc, "[CNI_PATH]"),
        (Status, "[CNI_PATH]"),
    ] {
        for lookup in [|_: &str| None, |_: &str| Some(OsString::new())] {
            let error = Environment::read(command, &lookup).err().unwrap();
            assert_eq!(error.code, code::INVALID_ENVIRONMENT);
            assert!(error.msg.contains(missing), "{error}");
        }
    }
    assert!(Environment::read(Command::Version, &|_| None).is_ok());
}

#[test]
fn a_verb_sees_only_what_it_uses() {
    for command in [Gc, Status] {
        let environment = read_with(command, CONTAINER_ID, "/").unwrap();
        assert_eq!(environment.container_id, "");
        assert_eq!(environment.check(), Ok(()));
        assert_eq!(environment.path(), [PathBuf::from("/opt/cni/bin")]);
    }
}

#[test]
fn container_ids_follow_the_rule() {
    for id in ["a", "0", "A_b.c-d", &"a".repeat(300)] {
        assert_eq!(refusal(Add, CONTAINER_ID, id), None, "{id}");
    }
    for id in ["-x", ".x", "_x", "a/b", "a b", "ü", "a\n"] {
        let message = refusal(Del, CONTAINER_ID, id).unwrap();
        assert!(
            message.contains(CONTAINER_ID) && message.contains(&format!("{id:?}")),
            "{message}"
        );
    }
}

#[test]
fn interface_names_follow_the_rule() {
    for name in ["e", "eth0", "a23456789012345", "eth0.1", "-", "ü"] {
        assert_eq!(refusal(Add, IFNAME, name), None, "{name}");
    }
    for name in ["a234567890123456", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\u{a0}b", "üüüüüüüü"]
    {
        let message = refusal(Check, IFNAME, name).unwrap();
        assert!(message.contains(IFNAME) && message.contains(&format!("{name:?}")), "{message}");
    }
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    assert!(refusal(Add, CONTAINER_ID, &"/".repeat(100_000)).unwrap().len() < 400);
}

#[test]
fn a_value_that_is_no_text_is_named() {
    for (name, _) in FULL {
        let lookup = |asked: &str| {
            let value = if asked == name { vec![b'a', 0xff] } else { b"a".to_vec() };
            Some(OsString::from_vec(value))
        };
        let error = Environment::read(Add, &lookup).err().unwrap();
        assert_eq!(error.code, code::INVALID_ENVIRONMENT);
        assert!(error.msg.contains(name) && error.msg.contains("UTF-8"), "{error}");
    }
    let error = command(&|_| Some(OsString::from_vec(vec![0xff]))).unwrap_err();
    assert!(error.msg.contains(COMMAND), "{error}");
}

#[test]
fn the_verb_is_read() {
    assert_eq!(command(&|_| None), Ok(None));
    assert_eq!(command(&|_| Some("".into())), Ok(None));
    assert_eq!(command(&|_| Some("GC".into())), Ok(Some(Gc)));
    let error = command(&|_| Some("FROB".into())).unwrap_err();
    assert_eq!(error.code, code::INVALID_ENVIRONMENT);
    assert!(error.msg.contains("FROB") && error.msg.contains(COMMAND), "{error}");
}

#[test]
fn values_are_taken_apart() {
    let path = read_with(Add, PATH, ":/a::b:").unwrap().path();
    assert_eq!(path, [PathBuf::from("/a"), PathBuf::from("b")]);
    for (value, is) in
        [("1", true), ("TRUE", true), ("true", true), ("0", false), ("", false), ("yes", false)]
    {
        assert_eq!(read_with(Add, NETNS_OVERRIDE, value).unwrap().netns_override(), is, "{value}");
    }
    assert_eq!(
        read_with(Add, ARGS, "A").unwrap().args().unwrap_err().code,
        code::INVALID_ENVIRONMENT
    );
}
