//! Where the time of a call goes: the plugin's own steps, and what it asks of the kernel and of the
//! store.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::launch::page_faults;
use crate::rounds::Stage;
use crate::site::Rival;
use crate::statistics::quantile;

/// The steps of a verb: medians over many calls, in milliseconds. Steps overlap, and one may be part
/// of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Steps {
    /// Who.
    pub rival: Rival,
    /// `ADD` or `DEL`.
    pub verb: String,
    /// How many calls.
    pub calls: usize,
    /// From the start of the process to its end, as its caller sees it.
    pub wall_ms: f64,
    /// The verb, as the plugin sees it. The rest is the start and the end of the process.
    pub verb_ms: f64,
    /// Each step, in the order in which they end.
    pub steps: Vec<(String, f64)>,
}

/// What one call asks of the kernel and of the store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counts {
    /// Who.
    pub rival: Rival,
    /// `ADD` or `DEL`.
    pub verb: String,
    /// Pages that were touched for the first time, by all processes: each costs a visit of the kernel.
    pub page_faults: u64,
    /// System calls, of all processes; none without `strace`.
    pub syscalls: Option<u64>,
    /// Netlink requests that were sent.
    pub netlink: Option<u64>,
    /// `fsync` and `fdatasync`.
    pub syncs: Option<u64>,
    /// Programs that were started, itself among them.
    pub programs: Option<u64>,
    /// Threads and processes that were started beside it.
    pub children: Option<u64>,
    /// Requests to etcd, as it counts them itself; none of other stores.
    pub requests: Option<u64>,
}

impl Steps {
    /// ADD and DEL of `count` containers.
    pub fn of(stage: &Stage, count: usize, round: usize) -> Result<[Steps; 2]> {
        let mut told = ["ADD", "DEL"].map(|verb| (verb, Vec::new(), Vec::new()));
        for at in 0..count {
            let pod = stage.pods(1, round + at).pop().context("no namespace")?;
            let mut answer = None;
            for (verb, walls, lines) in &mut told {
                let call = stage.site.telling_call(verb, &pod, answer.as_deref())?;
                let outcome = stage.site.within(|| Ok(call.run()?))?;
                walls.push(outcome.wall.as_secs_f64() * 1e3);
                lines.push(parse_steps(verb, &outcome.stderr)?);
                answer = Some(outcome.stdout);
            }
        }
        Ok(told.map(|(verb, walls, lines)| {
            let (verb_ms, steps) = medians(&lines);
            let wall_ms = quantile(&walls, 0.5);
            Steps {
                rival: stage.site.rival,
                verb: verb.into(),
                calls: count,
                wall_ms,
                verb_ms,
                steps,
            }
        }))
    }
}

impl Counts {
    /// Before anything is counted.
    fn nothing(rival: Rival, verb: &str) -> Counts {
        Counts {
            rival,
            verb: verb.to_owned(),
            page_faults: 0,
            syscalls: None,
            netlink: None,
            syncs: None,
            programs: None,
            children: None,
            requests: None,
        }
    }

    /// One ADD and one DEL in the steady state. The traces stay in `folder`.
    pub fn of(stage: &Stage, has_strace: bool, folder: &Path, round: usize) -> Result<[Counts; 2]> {
        let site = &stage.site;
        let mut counts = ["ADD", "DEL"].map(|verb| Counts::nothing(site.rival, verb));
        // One round is traced, another one counted by etcd: it may not like to be slowed down.
        for (traced, round) in [(false, round), (true, round + 1)] {
            let pod = stage.pods(1, round).pop().context("no namespace")?;
            let mut answer = None;
            for count in &mut counts {
                let mut call = site.call(&count.verb, &pod, answer.as_deref())?;
                if traced && has_strace {
                    let tracer = ["strace", "-f", "-r", "-yy", "-o", "/run/trace"];
                    call.argv.splice(0..0, tracer.map(Into::into));
                    // It finds itself by the path.
                    call.env.push(("PATH".to_owned(), "/usr/bin:/bin".to_owned()));
                }
                let requests = || site.etcd.as_ref().map(|etcd| etcd.requests()).transpose();
                let is_counted = !traced && site.rival == Rival::Etcd;
                let before = if is_counted { requests()? } else { None };
                let faults = page_faults()?;
                answer = Some(site.within(|| Ok(call.run()?))?.stdout);
                if !traced {
                    count.page_faults = page_faults()? - faults;
                }
                if let Some(before) = before {
                    let total = |all: BTreeMap<String, u64>| all.values().sum::<u64>();
                    count.requests = Some(total(requests()?.unwrap_or_default()) - total(before));
                }
                if traced && has_strace {
                    let path = site.host.path("/run/trace");
                    let text = fs::read(&path).with_context(|| path.display().to_string())?;
                    count.trace(&String::from_utf8_lossy(&text));
                    let name = format!("{}-{}.strace", count.verb, site.host.name());
                    fs::write(folder.join(name), text).context("keeping a trace")?;
                }
            }
        }
        Ok(counts)
    }

    /// Counts what `strace -f -r -yy` has written: a line a call, or two where another thread's line
    /// came in between.
    fn trace(&mut self, text: &str) {
        let calls: Vec<(&str, &str)> = text.lines().filter_map(system_call).collect();
        let count = |is: &dyn Fn(&str, &str) -> bool| {
            Some(calls.iter().filter(|(name, rest)| is(name, rest)).count() as u64)
        };
        self.syscalls = Some(calls.len() as u64);
        self.netlink = count(&|name, rest| name.starts_with("send") && rest.contains("<NETLINK:"));
        self.syncs = count(&|name, _| matches!(name, "fsync" | "fdatasync"));
        self.programs = count(&|name, _| name == "execve");
        self.children = count(&|name, _| matches!(name, "clone" | "clone3" | "fork" | "vfork"));
    }
}

/// The name of the system call that begins on this line, and the rest of the line.
fn system_call(line: &str) -> Option<(&str, &str)> {
    // The process, and how long the last call was ago.
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    let (name, arguments) = rest.split_once('(')?;
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, arguments))
}

/// What the plugin says at level `debug`: `ADD took 3.12 ms: read 0.51 ms, link 0.72 ms (2 times)`.
fn parse_steps(verb: &str, log: &str) -> Result<Vec<(String, f64)>> {
    let begin = format!("{verb} took ");
    let told = log.lines().find_map(|line| line.split_once(&begin));
    let (_, told) = told.with_context(|| format!("{verb} tells no times: {log}"))?;
    let (whole, steps) = told.split_once(": ").unwrap_or((told, ""));
    let mut all = vec![(String::new(), milliseconds(whole)?)];
    for step in steps.split(", ").filter(|step| !step.is_empty()) {
        let (name, took) = step.split_once(' ').with_context(|| step.to_owned())?;
        all.push((name.to_owned(), milliseconds(took)?));
    }
    Ok(all)
}

fn milliseconds(text: &str) -> Result<f64> {
    let number = text.split(" ms").next().unwrap_or_default();
    ensure!(number.len() < text.len(), "{text:?} are no milliseconds");
    number.parse().with_context(|| text.to_owned())
}

/// The medians of the whole and of each step. A step that a call didn't have took it no time.
fn medians(lines: &[Vec<(String, f64)>]) -> (f64, Vec<(String, f64)>) {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in lines.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let median = |name: &str| {
        let of = |line: &Vec<(String, f64)>| {
            line.iter().find(|step| step.0 == name).map_or(0.0, |step| step.1)
        };
        quantile(&lines.iter().map(of).collect::<Vec<_>>(), 0.5)
    };
    let steps = names.iter().filter(|name| !name.is_empty());
    let steps = steps.map(|&name| (name.to_owned(), median(name))).collect();
    (median(""), steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_the_plugin_writes_them() {
        let log = "2026-11-21T22:00:00Z DEBUG ADD took 3.12 ms: read 0.51 ms, \
                   link 0.70 ms (2 times)\nanother line";
        let steps = parse_steps("ADD", log).unwrap();
        let expected = [("", 3.12), ("read", 0.51), ("link", 0.7)];
        assert_eq!(steps, expected.map(|(name, ms)| (name.to_owned(), ms)));
        assert!(parse_steps("DEL", log).is_err());
        assert_eq!(parse_steps("DEL", "DEL took 1.0 ms").unwrap().len(), 1);
        assert!(parse_steps("DEL", "DEL took 1.0 s").is_err());
    }

    #[test]
    fn a_step_that_is_missing_counts_as_nothing() {
        let line = |steps: &[(&str, f64)]| {
            steps.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect::<Vec<_>>()
        };
        let lines = [
            line(&[("", 3.0), ("read", 1.0)]),
            line(&[("", 2.0), ("read", 2.0), ("undo", 9.0)]),
            line(&[("", 1.0), ("read", 3.0)]),
        ];
        let (whole, steps) = medians(&lines);
        assert_eq!((whole, steps), (2.0, line(&[("read", 2.0), ("undo", 0.0)])));
    }

    #[test]
    fn a_trace_is_counted() {
        let text = "\
5      0.000027 execve(\"/opt/cni/bin/calico\", [\"calico\"], 0x7ffd /* 5 vars */) = 0
5      0.000027 brk(NULL)                            = 0x1
5      0.000027 sendto(7<NETLINK:[ROUTE:5]>, [{nlmsg_len=32}], 32, 0, NULL, 0 <unfinished ...>
6      0.000027 sendto(9<TCP:[127.0.0.1:5->127.0.0.1:2379]>, \"a(b\", 3, MSG_NOSIGNAL, NULL, 0) = 3
5      0.000027 <... sendto resumed>)                = 32
5      0.000027 fdatasync(4</var/lib/calico/calico.db>) = 0
5      0.000027 clone3({flags=CLONE_VM}, 88)         = 6
5      0.000027 --- SIGCHLD {si_signo=SIGCHLD} ---
6      0.000027 +++ exited with 0 +++
5      0.000027 exit_group(0)                        = ?
";
        let mut counts = Counts::nothing(Rival::Local, "ADD");
        counts.trace(text);
        assert_eq!(counts.syscalls, Some(7));
        assert_eq!(counts.netlink, Some(1));
        assert_eq!(counts.syncs, Some(1));
        assert_eq!(counts.programs, Some(1));
        assert_eq!(counts.children, Some(1));
    }
}
