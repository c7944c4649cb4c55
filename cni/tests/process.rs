//! The contract of a plugin as a process, on the `noop` example (which `cargo test -p cni` builds).

use std::{
    io::{self, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The example's program, which lies beside the folder of the tests' programs.
fn noop() -> Command {
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/noop");
    assert!(program.exists(), "{} is missing: cargo build -p cni --examples", program.display());
    let mut command = Command::new(program);
    command.env_clear();
    command
}

fn with_verb(verb: &str) -> Command {
    let mut command = noop();
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "cont-1")
        .env("CNI_NETNS", "/run/netns/none")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/opt/cni/bin");
    command
}

fn run(mut command: Command, stdin: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // The plugin may refuse before it has read everything.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn call(verb: &str, config: &Value) -> Output {
    run(with_verb(verb), config.to_string().as_bytes())
}

fn config(more: Value) -> Value {
    let mut config =
        json!({"cniVersion": "1.1.0", "name": "n", "type": "noop", "address": "10.0.0.5/24"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

/// The error object of a failed call, which must be the only document on standard output.
fn error(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(error["code"].as_u64().is_some_and(|code| code > 0), "{error}");
    assert!(error["msg"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    assert!(error["cniVersion"].is_string(), "{error}");
    error
}

#[test]
fn add_prints_the_result_in_the_configurations_version() {
    let output = call("ADD", &config(json!({})));
    let expected = "{\n    \"cniVersion\": \"1.1.0\",\n    \"ips\": [\n        {\n            \"address\": \"10.0.0.5/24\"\n        }\n    ]\n}";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));

    let output = call("ADD", &json!({"name": "n", "address": "10.0.0.5/24"}));
    let expected = json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.5/24"}, "dns": {}});
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected);
}

#[test]
fn other_verbs_print_nothing() {
    let config = config(json!({"cni.dev/valid-attachments": []}));
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        let output = call(verb, &config);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]), "{verb}");
    }
}

#[test]
fn a_failure_is_one_error_object() {
    let output = call("ADD", &config(json!({"address": "x"})));
    let expected = "{\n    \"cniVersion\": \"1.1.0\",\n    \"code\": 7,\n    \"msg\": \"address \\\"x\\\" is no CIDR\"\n}";
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), expected);
    assert_eq!(error(&output)["code"], 7);

    assert_eq!(error(&call("GC", &config(json!({}))))["code"], 7);
    assert_eq!(error(&call("STATUS", &config(json!({"panic": 1}))))["code"], 6);
}

#[test]
fn bad_input_has_its_code() {
    let code = |command: Command, stdin: &[u8]| error(&run(command, stdin))["code"].clone();
    assert_eq!(code(with_verb("ADD"), b"not json"), 6);
    assert_eq!(code(with_verb("ADD"), b"\xff\xfe"), 6);
    assert_eq!(code(with_verb("DEL"), "[".repeat(1_000_000).as_bytes()), 6);
    assert_eq!(code(with_verb("ADD"), &vec![b' '; 17 << 20]), 6);
    assert_eq!(code(with_verb("ADD"), b"{}"), 7);
    assert_eq!(code(with_verb("add"), b"{}"), 4);
    let mut command = noop();
    command.env("CNI_COMMAND", "ADD");
    assert_eq!(code(command, b"{}"), 4);
}

#[test]
fn without_a_verb_it_tells_about_itself() {
    let output = run(noop(), b"");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
    let about = String::from_utf8(output.stderr).unwrap();
    assert!(about.starts_with("CNI plugin noop\n") && about.contains("0.1.0, 0.2.0"), "{about}");
}

#[test]
fn version_answers_while_its_input_stays_open() {
    let mut command = noop();
    command.env("CNI_COMMAND", "VERSION").stdin(Stdio::piped()).stdout(Stdio::piped());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(open);
    assert!(started.elapsed() < Duration::from_secs(30));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["cniVersion"], "1.1.0");
    assert_eq!(answer["supportedVersions"].as_array().unwrap().len(), 7);
}

#[test]
fn a_panic_is_answered_with_its_text_and_place() {
    for (thread, text) in [("main", "asked to"), ("other", "asked to, elsewhere")] {
        for verb in ["ADD", "DEL"] {
            let output = call(verb, &config(json!({"cniVersion": "1.0.0", "panic": thread})));
            let error = error(&output);
            assert_eq!((&error["code"], &error["cniVersion"]), (&json!(999), &json!("1.0.0")));
            let message = error["msg"].as_str().unwrap();
            assert!(message.contains(text) && message.contains("noop.rs:"), "{message}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(text));
        }
    }
}

#[test]
fn a_panic_after_the_answer_changes_nothing() {
    for (address, status) in [("10.0.0.5/24", 0), ("x", 1)] {
        let mut command = with_verb("ADD");
        command.arg("--panic-late");
        let output = run(command, config(json!({"address": address})).to_string().as_bytes());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_ne!(answer["code"], 999);
        assert!(String::from_utf8_lossy(&output.stderr).contains("too late"));
    }
}

#[test]
fn the_self_test_needs_the_configuration_only() {
    let test = |stdin: &str| {
        let mut command = noop();
        command.arg("-t").env("CNI_COMMAND", "VERSION");
        run(command, stdin.as_bytes())
    };
    let output = test(r#"{"name": "n", "address": "x"}"#);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b""[..]));
    for stdin in ["x", "{}", r#"{"name": "n"}"#] {
        assert_eq!(error(&test(stdin))["code"], 100, "{stdin}");
    }
}

#[test]
fn a_reader_that_is_gone_is_no_panic() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = with_verb("ADD");
    command.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(config(json!({})).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("standard output") && !log.contains("panic"), "{log}");
}
