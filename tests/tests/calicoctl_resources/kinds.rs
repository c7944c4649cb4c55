//! Every recorded object of every kind: the same input gives the same printed YAML, JSON and
//! tables, and the same change of it later.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Ctl, Network, on_both_stores};

use crate::{empty, mask};

on_both_stores! {
    every_kind_is_shown_as_upstream_shows_it
}

/// Where we do something else on purpose: the file, the case, the member, and what is printed
/// instead; nothing where it isn't compared.
const BETTER: &[(&str, &str, &str, &str)] = &[
    // Upstream's tables of filters crash (exit status 2).
    ("BGPFilter", "action-only", "get_ps", FILTER_ONE),
    ("BGPFilter", "action-only", "get_wide", FILTER_ONE),
    ("BGPFilter", "rich", "get_ps", FILTER_RICH),
    ("BGPFilter", "rich", "get_wide", FILTER_RICH),
    ("BGPFilter", "rich", "list_ps", FILTER_RICH),
    // So do its wide tables of these.
    ("CalicoNodeStatus", "minimal", "get_wide", STATUS_MINIMAL),
    ("CalicoNodeStatus", "rich", "get_wide", STATUS_RICH),
    ("StagedKubernetesNetworkPolicy", "rich", "get_wide", STAGED_RICH),
    ("WorkloadEndpoint", "rich", "get_wide", ENDPOINT_RICH),
    // Upstream stores an empty selector for an unquoted !has(x) (section 9, 1).
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "etcd", ""),
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "get_yaml", ""),
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "get_yaml_export", ""),
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "get_json", ""),
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "get_ps", PEER_SELECTOR),
    ("BGPPeer", "seed-selector-unquoted-yaml-tag", "get_wide", PEER_SELECTOR),
];

const FILTER_ONE: &str = "\
NAME    NUMEXPORTV4   NUMIMPORTV4   NUMEXPORTV6   NUMIMPORTV6   \n\
f-one   1             0             0             0             \n\n";
const FILTER_RICH: &str = "\
NAME     NUMEXPORTV4   NUMIMPORTV4   NUMEXPORTV6   NUMIMPORTV6   \n\
f-rich   2             1             1             2             \n\n";
const STATUS_MINIMAL: &str = "\
NAME   NODE     CLASSES   \n\
st-1   node-1   Agent     \n\n";
const STATUS_RICH: &str = "\
NAME   NODE     CLASSES            \n\
st-2   node-2   Agent,BGP,Routes   \n\n";
const STAGED_RICH: &str = "\
NAMESPACE   NAME      PODSELECTOR\
\x20                                                                               \
\x20                                                                               \
\x20                                                               \n\
shop        sk-rich   &LabelSelector{MatchLabels:map[string]string{app: cart,},\
MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:tier,Operator:In,Values:[b a],},\
LabelSelectorRequirement{Key:old,Operator:DoesNotExist,Values:[],},},}   \n\n";
const ENDPOINT_RICH: &str = "\
NAMESPACE   NAME                       WORKLOAD   NODE     NETWORKS                      \
INTERFACE         PROFILES                 NATS                      \n\
shop        node--1-k8s-cart--0-eth0   cart-0     node-1   10.65.0.5/32,fd00:65::5/128   \
cali0123456789a   kns.shop,ksa.shop.sa-1   198.51.100.5->10.65.0.5   \n\n";
const PEER_SELECTOR: &str = "\
NAME          PEERIP   NODE                           ASN   \n\
peer-to-rrs            !has(i-am-a-route-reflector)   0     \n\n";

fn every_kind_is_shown_as_upstream_shows_it(network: &Network) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/objects");
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut play = Play { network, compared: 0, exceptions: 0, differences: Vec::new() };
    for file in files {
        let recording: Value = serde_json::from_slice(&fs::read(file.path())?)?;
        let kind = file.file_name().to_string_lossy().replace(".json", "");
        for case in recording["cases"].as_array().into_iter().flatten() {
            empty(network)?;
            play.case(&kind, case).with_context(|| format!("{kind}: {}", case["name"]))?;
        }
    }
    empty(network)?;
    let Play { differences, compared, exceptions, .. } = play;
    ensure!(differences.is_empty(), "{}\n{}", differences.len(), differences.join("\n\n"));
    ensure!(compared > 700, "only {compared} answers were compared");
    ensure!(exceptions == BETTER.len(), "{exceptions} exceptions of {}", BETTER.len());
    Ok(())
}

struct Play<'a> {
    network: &'a Network,
    compared: usize,
    exceptions: usize,
    differences: Vec<String>,
}

impl Play<'_> {
    fn case(&mut self, kind: &str, case: &Value) -> Result<()> {
        let name = case["name"].as_str().context("no name")?;
        if let Some(before) = case["before_yaml"].as_str() {
            self.run("apply -f -", before)?;
        }
        self.input(kind, name, case)?;
        let args = case["get_args"].as_array().into_iter().flatten();
        let args: Vec<&str> = args.filter_map(Value::as_str).collect();
        if args.is_empty() {
            return Ok(());
        }
        let list = [kind, "-A"];
        let list = if args.contains(&"-n") { &list[..] } else { &list[..1] };
        let in_namespace = match args.as_slice() {
            [.., "-n", namespace] => vec![kind, "-n", *namespace],
            _ => vec![kind],
        };
        for (member, words, output) in [
            ("get_yaml", &args[..], "yaml"),
            ("get_json", &args[..], "json"),
            ("get_ps", &args[..], "ps"),
            ("get_wide", &args[..], "wide"),
            ("list_yaml", &in_namespace[..], "yaml"),
            ("list_json", &in_namespace[..], "json"),
            ("list_ps", &in_namespace[..], "ps"),
            ("list_ps_all_namespaces", list, "ps"),
        ] {
            let words = words.iter().copied().chain(["-o", output]);
            self.compare(kind, name, member, &case[member], words)?;
        }
        let export = args.iter().chain(&["-o", "yaml", "--export"]).copied();
        self.compare(kind, name, "get_yaml_export", &case["get_yaml_export"], export)?;
        let update = &case["update"];
        if update.is_object() {
            let name = format!("{name}, update");
            self.input(kind, &name, update)?;
            let words = args.iter().chain(&["-o", "yaml"]).copied();
            self.compare(kind, &name, "get_yaml", &update["get_yaml"], words)?;
        }
        Ok(())
    }

    fn run(&self, line: &str, input: &str) -> Result<tests::Answer> {
        Ctl::new(self.network.store(), line.split(' ')).stdin(input).run()
    }

    /// Hands the input in; exit status, standard output and what is stored are compared.
    fn input(&mut self, kind: &str, name: &str, case: &Value) -> Result<()> {
        let command = case["command"].as_str().context("no command")?;
        let answer = self.run(command, case["input_yaml"].as_str().context("no input")?)?;
        let exit = case["exit"].as_i64();
        if answer.exit.map(i64::from) != exit || answer.stdout != case["stdout"] {
            self.differences.push(format!("{kind} {name} {command}: {answer:#?}"));
            return Ok(());
        }
        self.compared += 1;
        if self.better(kind, name, "etcd").is_some() {
            return Ok(());
        }
        let stored = self.network.store().dump()?;
        for pair in case["etcd"].as_array().into_iter().flatten() {
            let key = pair["key"].as_str().context("no key")?;
            let value: Value = serde_json::from_str(pair["value"].as_str().context("no value")?)?;
            let found = stored.0.get(key).map(|value| mask::document(value).to_string());
            if found != Some(mask::document(&value).to_string()) {
                self.differences.push(format!("{kind} {name}: stored {found:#?}\nnot {value}"));
            }
        }
        Ok(())
    }

    fn compare<'b>(
        &mut self,
        kind: &str,
        name: &str,
        member: &str,
        expected: &Value,
        words: impl Iterator<Item = &'b str>,
    ) -> Result<()> {
        let Some(expected) = expected.as_str() else { return Ok(()) };
        let expected = match self.better(kind, name, member) {
            Some("") => return Ok(()),
            Some(better) => better,
            None => expected,
        };
        let words = ["get"].into_iter().chain(words);
        let answer = Ctl::new(self.network.store(), words).run()?;
        self.compared += 1;
        let found = mask::text(&answer.stdout);
        if answer.exit != Some(0) || !answer.stderr.is_empty() || found != mask::text(expected) {
            let stderr = &answer.stderr;
            self.differences
                .push(format!("{kind} {name} {member}:\n{found}{stderr}\nnot\n{expected}"));
        }
        Ok(())
    }

    fn better(&mut self, kind: &str, name: &str, member: &str) -> Option<&'static str> {
        let better = BETTER.iter().find(|(a, b, c, _)| (*a, *b, *c) == (kind, name, member));
        self.exceptions += usize::from(better.is_some());
        better.map(|(.., instead)| *instead)
    }
}
