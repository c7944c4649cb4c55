//! `calicoctl` as an operator runs it, on both stores (`reference/calicoctl.md`): its first call on a
//! host, what it does for the plugin, and walks through Calico's documents.

#[path = "calicoctl/answers.rs"]
mod answers;
#[path = "calicoctl/first.rs"]
mod first;
#[path = "calicoctl/owed.rs"]
mod owed;
#[path = "calicoctl/walks.rs"]
mod walks;

use anyhow::{Result, ensure};
use tests::{Ctl, Network};

tests::on_both_stores! {
    tells_its_version
}

fn tells_its_version(network: &Network) -> Result<()> {
    let answer = network.ctl("version --client").ok()?;
    ensure!(answer.starts_with("Client Version:    "), "{answer:?}");
    Ok(())
}

/// Fails unless the call prints just this.
fn says(ctl: Ctl, expected: &str) -> Result<()> {
    let said = ctl.ok()?;
    ensure!(said == expected, "said\n{said}instead of\n{expected}");
    Ok(())
}
