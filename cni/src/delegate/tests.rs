//! Delegates that are real programs: shell scripts in a folder of their own.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use super::*;
use crate::NetworkConfig;

/// Long enough for any script on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with one plugin, `plug`.
struct Bin(tempfile::TempDir);

impl Bin {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("plug");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Bin(folder)
    }

    fn delegate(&self) -> Delegate {
        Delegate::new(self.0.path().join("plug"))
    }

    fn add(&self, stdin: &[u8]) -> Result<AddResult, Error> {
        self.delegate().add(&request(), stdin, Instant::now() + PATIENCE)
    }

    fn del(&self) -> Result<(), Error> {
        self.delegate().del(&request(), b"{}", Instant::now() + PATIENCE)
    }
}

fn request() -> Request {
    Request {
        command: Command::Add,
        container_id: "cont-1".into(),
        netns: Some("/run/netns/a".into()),
        ifname: "eth0".into(),
        args: "A=1".parse().unwrap(),
        path: vec!["/x".into(), "/y".into()],
        netns_override: false,
        config: NetworkConfig::decode(r#"{"cniVersion": "0.3.1", "name": "n"}"#).unwrap(),
    }
}

#[test]
fn a_result_comes_back() {
    let bin = Bin::new(r#"echo '{"ips": [{"version": "4", "address": "10.0.0.5/24"}]}'"#);
    assert_eq!(bin.add(b"{}").unwrap().ips[0].address.to_string(), "10.0.0.5/24");
}

#[test]
fn it_gets_the_configuration_and_the_variables() {
    let bin = Bin::new(
        r#"cat > "$0.stdin"; env | grep ^CNI_ | sort > "$0.env"; echo '{"cniVersion": "1.0.0"}'"#,
    );
    let read = |name: &str| fs::read_to_string(bin.0.path().join(name)).unwrap();
    bin.add(br#"{"x": 1}"#).unwrap();
    assert_eq!(read("plug.stdin"), r#"{"x": 1}"#);
    assert_eq!(
        read("plug.env"),
        "CNI_ARGS=IgnoreUnknown=1;A=1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=cont-1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/a\nCNI_PATH=/x:/y\n"
    );
    let del = Request { netns: None, ..request() };
    let delegate = bin.delegate().args("B=2".parse().unwrap());
    delegate.del(&del, b"", Instant::now() + PATIENCE).unwrap();
    assert_eq!(
        read("plug.env"),
        "CNI_ARGS=IgnoreUnknown=1;B=2\nCNI_COMMAND=DEL\nCNI_CONTAINERID=cont-1\nCNI_IFNAME=eth0\nCNI_PATH=/x:/y\n"
    );
}

#[test]
fn an_empty_variable_of_ours_is_not_inherited() {
    let gc = Request {
        command: Command::Gc,
        container_id: String::new(),
        netns: None,
        ifname: String::new(),
        args: Args::default(),
        ..request()
    };
    let command = Delegate::new("plug").command(Command::Gc, &gc);
    let (removed, set): (Vec<_>, Vec<_>) =
        command.get_envs().partition(|(_, value)| value.is_none());
    let names = |variables: &[(&OsStr, _)]| -> Vec<_> {
        variables.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(&removed), ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]);
    assert_eq!(names(&set), ["CNI_ARGS", "CNI_COMMAND", "CNI_PATH"]);
}

#[test]
fn every_verb_is_passed_on() {
    let bin = Bin::new(r#"echo "$CNI_COMMAND" >> "$0.verbs""#);
    let (delegate, request, deadline) = (bin.delegate(), request(), Instant::now() + PATIENCE);
    delegate.del(&request, b"", deadline).unwrap();
    delegate.check(&request, b"", deadline).unwrap();
    delegate.gc(&request, b"", deadline).unwrap();
    delegate.status(&request, b"", deadline).unwrap();
    assert_eq!(
        fs::read_to_string(bin.0.path().join("plug.verbs")).unwrap(),
        "DEL\nCHECK\nGC\nSTATUS\n"
    );
}

#[test]
fn its_error_is_ours() {
    let expected = Error::new(11, "pool full").details("d");
    for status in [0, 1] {
        let script =
            format!(r#"echo '{{"code": 11, "msg": "pool full", "details": "d"}}'; exit {status}"#);
        assert_eq!(Bin::new(&script).add(b"{}"), Err(expected.clone()));
        assert_eq!(Bin::new(&script).del(), Err(expected.clone()));
    }
}

#[test]
fn a_failure_without_error_object_quotes_what_there_is() {
    let error = Bin::new("echo halfway; echo why >&2; exit 3").add(b"{}").unwrap_err();
    assert_eq!(error.code, code::DELEGATION);
    assert!(error.msg.contains("plug") && error.msg.contains('3'), "{error}");
    assert!(error.details.contains("halfway") && error.details.contains("why"), "{error:?}");
}

#[test]
fn an_answer_that_is_no_result_is_quoted_in_part() {
    for script in ["", "echo OK", "echo '{\"ips\": 5}'", "head -c 3000000 /dev/zero | tr '\\0' x"] {
        let error = Bin::new(script).add(b"{}").unwrap_err();
        assert_eq!(error.code, code::DELEGATION, "{script}");
        assert!(error.msg.contains("plug") && error.details.len() < 2000, "{error:?}");
    }
}

#[test]
fn large_streams_do_not_block_each_other() {
    // More than a pipe holds in all three directions, none of which waits for another.
    let bin = Bin::new(
        r#"head -c 1000000 /dev/zero | tr '\0' ' '; head -c 1000000 /dev/zero | tr '\0' ' ' >&2; cat > "$0.stdin"; echo '{}'"#,
    );
    assert_eq!(bin.add(&vec![b' '; 1_000_000]), Ok(AddResult::default()));
    assert_eq!(fs::metadata(bin.0.path().join("plug.stdin")).unwrap().len(), 1_000_000);
}

#[test]
fn input_that_nobody_reads_is_no_failure() {
    assert_eq!(Bin::new("echo '{}'").add(&vec![b' '; 1_000_000]), Ok(AddResult::default()));
}

#[test]
fn at_the_deadline_it_is_killed() {
    let bin = Bin::new("echo $$ > \"$0.pid\"\nexec sleep 60");
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = bin.delegate().add(&request(), b"{}", deadline).unwrap_err();
    assert_eq!(error.code, code::TRY_AGAIN_LATER);
    assert!(error.msg.contains("plug") && error.msg.contains("ADD"), "{error}");
    assert!(deadline.elapsed() < Duration::from_secs(30));
    // A script that was killed before it could write its id is gone as well.
    if let Ok(pid) = fs::read_to_string(bin.0.path().join("plug.pid")) {
        assert!(pid.trim().is_empty() || !Path::new(&format!("/proc/{}", pid.trim())).exists());
    }
}

#[test]
fn a_grandchild_that_keeps_the_pipes_is_not_waited_for() {
    let bin = Bin::new("sleep 60 & echo $! > \"$0.pid\"; echo '{}'");
    let started = Instant::now();
    let answer = bin.add(b"{}");
    let took = started.elapsed();
    let pid = fs::read_to_string(bin.0.path().join("plug.pid")).unwrap();
    let killed = std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
    assert_eq!(answer, Ok(AddResult::default()));
    assert!(killed.success() && took < Duration::from_secs(30), "{took:?}");
}

#[test]
fn a_program_that_is_being_written_is_tried_again() {
    let bin = Bin::new("exit 0");
    let program = bin.0.path().join("plug");
    let mut writer = Some(fs::OpenOptions::new().append(true).open(&program).unwrap());
    let mut pauses = 0;
    let deadline = Instant::now() + PATIENCE;
    let mut child = process::start(&mut std::process::Command::new(&program), deadline, |_| {
        pauses += 1;
        writer = None;
    })
    .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(pauses >= 1);
}

#[test]
fn a_program_that_stays_busy_is_given_up() {
    let bin = Bin::new("exit 0");
    let _writer = fs::OpenOptions::new().append(true).open(bin.0.path().join("plug")).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = bin.delegate().add(&request(), b"{}", deadline).unwrap_err();
    assert_eq!(error.code, code::DELEGATION);
    assert!(error.msg.contains("can't start"), "{error}");
}

#[test]
fn a_program_is_found_in_the_order_of_the_path() {
    let (first, second) = (Bin::new("exit 1"), Bin::new("exit 2"));
    let absent = first.0.path().join("absent");
    let path = [absent.clone(), first.0.path().into(), second.0.path().into()];
    assert_eq!(find("plug", &path), Ok(first.0.path().join("plug")));
    // A folder of that name is no program.
    fs::create_dir_all(absent.join("plug")).unwrap();
    assert_eq!(find("plug", &path), Ok(first.0.path().join("plug")));
}

#[test]
fn a_program_that_is_not_there_or_no_name_has_code_7() {
    let bin = Bin::new("");
    let path = [bin.0.path().to_owned()];
    for name in ["", "/bin/sh", "../plug", "a/b", "..", ".", "absent", "pl\0ug"] {
        let error = find(name, &path).unwrap_err();
        assert_eq!(error.code, code::INVALID_CONFIG, "{name}");
        assert!(error.msg.contains("ipam.type"), "{error}");
    }
    let message = find("absent", &path).unwrap_err().msg;
    assert!(
        message.contains("absent") && message.contains(&*path[0].to_string_lossy()),
        "{message}"
    );
}

#[test]
fn a_program_that_cannot_run_is_named() {
    let bin = Bin::new("");
    fs::set_permissions(bin.0.path().join("plug"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = bin.add(b"{}").unwrap_err();
    assert_eq!(error.code, code::DELEGATION);
    assert!(error.msg.contains("plug") && error.msg.contains("can't start"), "{error}");
}
