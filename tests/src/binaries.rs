//! Where the binaries under test are.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// The folder that holds `calico`, `calico-ipam` and `calicoctl`: what `CALICO_RS_BIN_DIR` says, else the
/// profile's folder that the test executable was built into.
pub fn binary_dir() -> Result<PathBuf> {
    let dir = match env::var_os("CALICO_RS_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let exe = env::current_exe().context("no path to the test executable")?;
            let folder = exe.parent().context("test executable without a folder")?;
            // Tests are a folder deeper than programs.
            let above = folder.parent().context("test executable outside of a target folder")?;
            if folder.ends_with("deps") { above.to_owned() } else { folder.to_owned() }
        }
    };
    for name in ["calico", "calico-ipam", "calicoctl"] {
        ensure!(
            dir.join(name).is_file(),
            "no {name} in {}: run scripts/test, or cargo build --workspace, or set \
             CALICO_RS_BIN_DIR",
            dir.display()
        );
    }
    Ok(dir)
}

/// A tool that `scripts/test` has installed into the target folder: `cnitool`.
pub fn tool(name: &str) -> Result<PathBuf> {
    let exe = env::current_exe().context("no path to the test executable")?;
    let target = exe.ancestors().nth(3).context("test executable outside of a target folder")?;
    let path = target.join("tools").join(name);
    ensure!(path.is_file(), "no {}: run scripts/test, which installs it", path.display());
    Ok(path)
}
