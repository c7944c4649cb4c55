//! Resources on the command line, on both stores: what upstream's `calicoctl` was recorded to do,
//! and what we do better (`reference/calicoctl.md` sections 3 to 5, 9 to 11).

#[path = "calicoctl_resources/config.rs"]
mod config;
#[path = "calicoctl_resources/flows.rs"]
mod flows;
#[path = "calicoctl_resources/input.rs"]
mod input;
#[path = "calicoctl_resources/kinds.rs"]
mod kinds;
#[path = "calicoctl_resources/mask.rs"]
mod mask;
#[path = "calicoctl_resources/verbs.rs"]
mod verbs;

use anyhow::{Result, ensure};
use tests::Network;

/// Removes everything from the store of a network.
fn empty(network: &Network) -> Result<()> {
    let keys = network.store().dump()?.0.into_keys();
    network.store().write(&keys.map(|key| (key, None)).collect::<Vec<_>>())
}

/// Checks calls: the words, the exit status, and what standard output is, or standard error if the
/// call is to fail. An expectation that ends in `…` is only the beginning.
fn answers(network: &Network, calls: &[(&str, i32, &str)]) -> Result<()> {
    for (line, exit, expected) in calls {
        let answer = network.ctl(line).run()?;
        let said = if *exit == 0 { &answer.stdout } else { &answer.stderr };
        let fits = match expected.strip_suffix('…') {
            Some(beginning) => said.starts_with(beginning),
            None => said == expected,
        };
        ensure!(answer.exit == Some(*exit) && fits, "{line}: {answer:#?}\nnot {expected}");
    }
    Ok(())
}
