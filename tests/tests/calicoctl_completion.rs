//! `calicoctl completion` and `calicoctl man`: the scripts parse and complete, each command has a
//! page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use tests::{Ctl, Stores, scene};

/// What bash offers for these words.
const ASK_BASH: &str = r#"
. /var/lib/calicoctl.bash
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_calicoctl calicoctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn shells_take_the_scripts() {
    scene("completion", |scene| {
        let host = scene.host("node-a")?;
        let store = Stores::Local(host.clone());
        for shell in ["bash", "zsh", "fish"] {
            let script = Ctl::new(&store, ["completion", shell]).ok()?;
            for word in ["node", "checksystem", "init-only", "convert"] {
                ensure!(script.contains(word), "no {word} for {shell}");
            }
            let path = format!("/var/lib/calicoctl.{shell}");
            host.write(&path, script)?;
            // Bash is always there; the others where somebody has installed them.
            let is_there =
                ["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).join(shell).exists());
            ensure!(shell != "bash" || is_there, "no bash");
            if is_there {
                host.run([shell, "-n", &path])?;
            }
        }
        host.write("/var/lib/ask.bash", ASK_BASH)?;
        let offered = |words: &[&str]| -> Result<BTreeSet<String>> {
            let ask = ["bash", "/var/lib/ask.bash", "calicoctl"];
            let text = host.run(ask.into_iter().chain(words.iter().copied()))?;
            Ok(text.lines().map(str::to_owned).collect())
        };
        ensure!(offered(&["node", "ch"])? == BTreeSet::from(["checksystem".to_owned()]));
        let flags = offered(&["node", "run", "--"])?;
        ensure!(flags.contains("--init-only") && flags.contains("--ip6"), "{flags:?}");
        let error = Ctl::new(&store, ["completion", "tcsh"]).refused()?;
        ensure!(error.contains("bash"), "{error}");
        Ok(())
    });
}

#[test]
fn each_command_has_a_page() {
    scene("man", |scene| {
        let host = scene.host("node-a")?;
        Ctl::new(&Stores::Local(host.clone()), ["man", "/var/lib/man/man1"]).ok()?;
        let mut pages = BTreeSet::new();
        for entry in fs::read_dir(host.path("/var/lib/man/man1"))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            ensure!(text.contains(".TH ") && text.contains(".SH NAME"), "{}", path.display());
            pages.insert(
                path.file_name().map(|name| name.display().to_string()).unwrap_or_default(),
            );
        }
        for page in
            ["calicoctl.1", "calicoctl-node.1", "calicoctl-node-run.1", "calicoctl-convert.1"]
        {
            ensure!(pages.contains(page), "no {page} in {pages:?}");
        }
        let text = fs::read_to_string(host.path("/var/lib/man/man1/calicoctl-node-run.1"))?;
        ensure!(text.contains("init\\-only") || text.contains("init-only"), "{text}");
        Ok(())
    });
}
