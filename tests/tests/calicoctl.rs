//! `calicoctl` as an operator runs it, on both stores (`reference/calicoctl.md`).

use anyhow::{Result, ensure};
use tests::Network;

tests::on_both_stores! {
    tells_its_version
}

fn tells_its_version(network: &Network) -> Result<()> {
    let answer = network.ctl("version --client").ok()?;
    ensure!(answer.starts_with("Client Version:    "), "{answer:?}");
    Ok(())
}
