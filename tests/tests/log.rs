//! The log: what stands in it, what never does, and a file that many processes append to and rotate
//! (`reference/cni-plugin.md` section 8).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Answer, Call, Network, on_each_store, scene};

const FILE: &str = "/run/log/calico/cni.log";

/// The network's configuration with the log in a file at a level.
fn config(network: &Network, level: &str) -> Result<Value> {
    let mut config = network.config()?;
    config["log_level"] = json!(level);
    config["log_file_path"] = json!(FILE);
    Ok(config)
}

fn text(network: &Network) -> Result<String> {
    network.host().run(["cat", FILE])
}

/// Whether a line is one of ours from end to end: `2026-03-02 10:15:42.318 [INFO][4711] cni-plugin/…`.
fn is_whole(line: &str) -> bool {
    let mut words = line.splitn(4, ' ');
    let [Some(date), Some(time), Some(level), Some(rest)] =
        [words.next(), words.next(), words.next(), words.next()]
    else {
        return false;
    };
    let digits = |text: &str, form: &str| {
        text.len() == form.len()
            && text.chars().zip(form.chars()).all(|(c, f)| match f {
                '0' => c.is_ascii_digit(),
                f => c == f,
            })
    };
    digits(date, "0000-00-00")
        && digits(time, "00:00:00.000")
        && ["[DEBUG][", "[INFO][", "[WARN][", "[ERROR]["]
            .iter()
            .any(|start| level.starts_with(start))
        && level.ends_with(']')
        && (rest.starts_with("cni-plugin/") || rest.starts_with("ipam/"))
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[test]
fn the_file_has_the_lines_of_stderr_and_each_is_whole() {
    on_each_store("log", |network| {
        let pod = network.host().pod("p1")?;
        let call = |verb: &str| Ok(network.call(verb)?.pod(&pod).config(&config(network, "INFO")?));
        let call = |verb: &str| -> Result<Call> { call(verb) };
        let mut stderr = String::new();
        let add = call("ADD")?.run()?;
        stderr += &add.stderr;
        for verb in ["CHECK", "ADD", "DEL"] {
            let answer = call(verb)?.run()?;
            // CHECK has no result to compare with.
            ensure!(answer.exit == Some(i32::from(verb == "CHECK")), "{answer:#?}");
            stderr += &answer.stderr;
        }
        ensure!(text(network)? == stderr, "the file: {}\nstderr: {stderr}", text(network)?);
        for line in stderr.lines() {
            ensure!(is_whole(line), "{line}");
        }
        for part in ["ADD done", "DEL done", "CHECK failed: prevResult", "ContainerID=\"c1\""] {
            ensure!(stderr.contains(part), "{part} is not in {stderr}");
        }
        ensure!(!stderr.contains("[DEBUG]") && stderr.contains("[ERROR]"), "{stderr}");
        let file = network.host().path(FILE);
        ensure!(mode(&file)? == 0o600, "{FILE} has mode {:o}", mode(&file)?);
        let folder = file.parent().context("folder")?;
        ensure!(mode(folder)? == 0o700, "its folder has mode {:o}", mode(folder)?);
        Ok(())
    });
}

#[test]
fn at_debug_level_one_line_tells_how_long_each_step_took() {
    on_each_store("log-steps", |network| {
        let pod = network.host().pod("p1")?;
        let run = |verb: &str, level: &str| -> Result<String> {
            let answer = network.call(verb)?.pod(&pod).config(&config(network, level)?).run()?;
            ensure!(answer.exit == Some(0), "{answer:#?}");
            Ok(answer.stderr)
        };
        let steps = |stderr: &str, verb: &str| -> Result<Vec<String>> {
            let told = format!("{verb} took ");
            let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(&told)).collect();
            ensure!(lines.len() == 1, "{} such lines in {stderr}", lines.len());
            let (_, list) = lines[0].split_once(&told).context("no time")?;
            let (whole, list) = list.split_once(": ").context("no steps")?;
            let ms = |text: &str| -> Result<f64> {
                let number = text.strip_suffix(" ms").with_context(|| text.to_owned())?;
                Ok(number.parse()?)
            };
            let whole = ms(whole)?;
            let mut names = Vec::new();
            for step in list.split(", ") {
                let step = step.split(" (").next().unwrap_or_default();
                let (name, took) = step.split_once(' ').with_context(|| step.to_owned())?;
                ensure!(ms(took)? <= whole + 0.01, "{step} of {whole} ms");
                names.push(name.to_owned());
            }
            Ok(names)
        };
        let has = |names: &[String], wanted: &[&str]| {
            wanted.iter().all(|name| names.iter().any(|there| there == name))
        };
        let names = steps(&run("ADD", "debug")?, "ADD")?;
        let wanted = ["gates", "lock", "read", "assign", "link", "commit", "configure", "route"];
        ensure!(has(&names, &wanted), "{names:?}");
        let names = steps(&run("DEL", "Debug")?, "DEL")?;
        ensure!(has(&names, &["read", "links", "release", "commit"]), "{names:?}");
        for verb in ["ADD", "DEL"] {
            let stderr = run(verb, "info")?;
            ensure!(!stderr.contains(" took "), "{stderr}");
        }
        Ok(())
    });
}

/// What is wrong with the configuration is in the log that the same configuration names.
#[test]
fn a_configuration_that_is_refused_is_in_the_log() {
    scene("log-refused", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("p1")?;
        let mut refused = config(&network, "error")?;
        refused["mtu"] = json!("large");
        let answer = network.call("ADD")?.pod(&pod).config(&refused).run()?;
        answer.error()?;
        ensure!(text(&network)?.contains("ADD failed: ") && text(&network)?.contains("mtu"));
        ensure!(answer.stderr == text(&network)?, "{answer:#?}");
        // Where the fields of the log are what is wrong, stderr has it.
        refused["log_file_max_size"] = json!("10 MB");
        let answer = network.call("ADD")?.pod(&pod).config(&refused).run()?;
        let (code, message) = answer.error()?;
        ensure!(code == 6 && message.contains("log_file_max_size"), "{code} {message}");
        ensure!(answer.stderr.contains("log_file_max_size"), "{answer:#?}");
        Ok(())
    });
}

#[test]
fn a_log_file_that_can_not_be_used_is_no_failure() {
    scene("log-unusable", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("p1")?;
        for path in ["/run/netns", "/proc/nowhere/cni.log", "/run/nul\u{0}"] {
            let mut config = network.config()?;
            config["log_file_path"] = json!(path);
            let answer = network.call("ADD")?.pod(&pod).config(&config).run()?;
            ensure!(answer.exit == Some(0), "{answer:#?}");
            ensure!(answer.stderr.contains("can't be used"), "{path}: {answer:#?}");
            network.call("DEL")?.pod(&pod).config(&config).done()?;
        }
        Ok(())
    });
}

/// Another plugin's words don't pass for lines of ours.
#[test]
fn a_message_of_several_lines_is_one_line() {
    scene("log-lines", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("p1")?;
        let forged = r"2026-03-02 10:15:42.318 [INFO][1] cni-plugin/add.rs 1: all is well";
        let error = json!({"code": 77, "msg": format!("no lease\n{forged}\u{1b}[2J")});
        let script = format!("#!/bin/sh\ncat >/dev/null\nprintf %s '{error}'\nexit 1\n");
        network.host().install("forger", script)?;
        let mut config = config(&network, "info")?;
        config["ipam"] = json!({"type": "forger"});
        let answer = network.call("ADD")?.pod(&pod).config(&config).run()?;
        ensure!(answer.error()?.0 == 77);
        let log = text(&network)?;
        ensure!(!log.lines().any(|line| line == forged) && !log.contains('\u{1b}'), "{log}");
        ensure!(log.lines().all(is_whole) && log.contains("no lease\\n2026"), "{log}");
        Ok(())
    });
}

/// Everything in a configuration that nobody but its owner may see.
const SECRETS: [&str; 4] = ["S3CRET-pass", "S3CRET-token", "S3CRET-url", "S3CRET-key"];

#[test]
fn no_secret_is_ever_written() {
    scene("log-secrets", |scene| {
        let network = Network::etcd_with_password(scene)?;
        let pod = network.host().pod("p1")?;
        let mut good = config(&network, "debug")?;
        good["cniVersion"] = json!("1.1.0");
        good["cni.dev/valid-attachments"] = json!([]);
        good["etcd_username"] = json!("root");
        good["etcd_password"] = json!("pass");
        good["policy"] = json!({
            "k8s_auth_token": SECRETS[1], "k8s_client_key": "/etc/S3CRET-key.pem",
        });
        good["args"] = json!({"cni": {"token": SECRETS[1]}});
        let with = |member: &str, value: Value| {
            let mut config = good.clone();
            config[member] = value;
            config
        };
        let cases = [
            good.clone(),
            with("etcd_password", json!(SECRETS[0])),
            with("etcd_password", json!([SECRETS[0]])),
            with("etcd_username", json!({"of": SECRETS[0]})),
            with("policy", json!({"type": "zzz", "k8s_auth_token": SECRETS[1]})),
            with("policy", json!({"k8s_auth_token": [SECRETS[1]]})),
            with("etcd_endpoints", json!(format!("http://root:{}@127.0.0.1:2379", SECRETS[2]))),
            with("etcd_endpoints", json!(format!("127.0.0.1:2379?p={}@x", SECRETS[2]))),
            with("readiness_gates", json!([format!("http://u:{}@127.0.0.1:9/", SECRETS[2])])),
            with("readiness_gates", json!([format!("ftp://u:{}@127.0.0.1:9/", SECRETS[2])])),
            with("readiness_gates", json!([format!("https://u:{}@127.0.0.1:9/", SECRETS[2])])),
            with("readiness_gates", json!([format!("u:{}@127.0.0.1", SECRETS[2])])),
            with("etcd_key_file", json!("/etc/calico/none.pem")),
        ];
        let mut answers = 0;
        for config in &cases {
            // A gate that stays shut would be asked for half a minute.
            let verbs: &[&str] = match config["readiness_gates"].to_string().contains("http:") {
                true => &["DEL", "STATUS"],
                false => &["ADD", "CHECK", "DEL", "GC", "STATUS"],
            };
            for verb in verbs {
                let call = network.call(verb)?.pod(&pod).config(config);
                let Answer { stdout, stderr, .. } = call.run()?;
                let all = format!("{stdout}\n{stderr}\n{}", text(&network)?);
                for secret in SECRETS {
                    ensure!(!all.contains(secret), "{verb} of {config} wrote {secret}: {all}");
                }
                answers += 1;
            }
        }
        ensure!(answers > 50 && text(&network)?.contains("[DEBUG]"), "{answers} answers");
        Ok(())
    });
}

/// The log beside the present file, by number.
fn set_aside(network: &Network) -> Result<Vec<(u32, PathBuf)>> {
    let path = network.host().path(FILE);
    let mut files = Vec::new();
    for entry in fs::read_dir(path.parent().context("folder")?)? {
        let file = entry?.path();
        let name = file.file_name().context("name")?.to_string_lossy().into_owned();
        if let Some(number) = name.strip_prefix("cni.log.") {
            files.push((number.parse().with_context(|| name.clone())?, file));
        }
    }
    files.sort();
    Ok(files)
}

/// Each process writes a line of some 60 kB, so that a file is full after 17 of them.
#[test]
fn fifty_processes_at_once_rotate_a_file_and_no_line_is_lost_or_torn() {
    const AT_ONCE: usize = 50;
    const ROUNDS: usize = 4;
    scene("log-fifty", |scene| {
        let network = Network::standalone(scene)?;
        let mut config = config(&network, "info")?;
        config["log_file_max_size"] = json!(1);
        config["log_file_max_count"] = json!(100);
        let id = |number: usize| format!("n{number}-{}", "x".repeat(60_000));
        thread::scope(|scope| -> Result<()> {
            let works: Vec<_> = (0..AT_ONCE)
                .map(|worker| {
                    let (network, config) = (&network, &config);
                    scope.spawn(move || -> Result<()> {
                        for round in 0..ROUNDS {
                            let id = id(worker * ROUNDS + round);
                            network.call("DEL")?.config(config).container(&id).done()?;
                        }
                        Ok(())
                    })
                })
                .collect();
            works.into_iter().try_for_each(|work| work.join().expect("no panic"))
        })?;
        let files = set_aside(&network)?;
        let mut lines = text(&network)?;
        for (_, file) in &files {
            lines += &fs::read_to_string(file)?;
            // Full, and not much more: those that were already writing.
            let size = fs::metadata(file)?.len();
            ensure!((1 << 20..5 << 20).contains(&size), "{} has {size}", file.display());
        }
        ensure!((3..=12).contains(&files.len()), "{} files set aside", files.len());
        let mut seen = BTreeSet::new();
        for line in lines.lines().filter(|line| line.contains("DEL done")) {
            ensure!(is_whole(line), "torn: {:.200}", line);
            let (_, rest) = line.split_once("ContainerID=\"n").context("no id")?;
            let (number, rest) = rest.split_once('-').context("no number")?;
            let (padding, _) = rest.split_once('"').context("torn at its end")?;
            ensure!(padding.len() == 60_000, "torn: {} of its characters", padding.len());
            ensure!(seen.insert(number.parse::<usize>()?), "line {number} twice");
        }
        ensure!(seen.len() == AT_ONCE * ROUNDS, "{} lines of {}", seen.len(), AT_ONCE * ROUNDS);
        ensure!(lines.lines().all(is_whole), "a line that is none");

        // With a smaller number, only so many are kept.
        config["log_file_max_count"] = json!(2);
        while set_aside(&network)?.len() > 2 {
            network.call("DEL")?.config(&config).container(&id(0)).done()?;
        }
        let numbers: Vec<u32> =
            set_aside(&network)?.into_iter().map(|(number, _)| number).collect();
        ensure!(numbers == [1, 2], "{numbers:?}");
        Ok(())
    });
}
