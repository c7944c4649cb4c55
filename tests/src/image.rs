//! A container image made by hand: one static program, no registry, no network.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The image's name.
pub(crate) const IMAGE: &str = "calico-rs.test/busybox:1";

/// What a container of this image runs: it waits until it is told to end.
pub(crate) const WAIT: [&str; 2] = ["/bin/sleep", "1000"];

/// Makes the root file system of the image in a tar archive: Debian's static busybox.
pub(crate) fn root(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("image-root");
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .context("copying /bin/busybox: is Debian's busybox-static installed?")?;
    for applet in ["sh", "sleep", "ping", "ip", "cat"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    let archive = dir.join("root.tar");
    tar(&root, &archive)?;
    Ok(archive)
}

/// Makes the image as an archive in OCI's layout.
pub(crate) fn oci(dir: &Path) -> Result<PathBuf> {
    let layout = dir.join("image");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let store = |bytes: &[u8], media: &str| -> Result<serde_json::Value> {
        let digest: String =
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(blobs.join(&digest), bytes)?;
        let media = format!("application/vnd.oci.image.{media}");
        Ok(json!({"mediaType": media, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let layer = store(&fs::read(root(dir)?)?, "layer.v1.tar")?;
    let config = json!({
        "architecture": architecture(), "os": "linux",
        "config": {"Cmd": WAIT, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}
    });
    let config = store(config.to_string().as_bytes(), "config.v1+json")?;
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let mut manifest = store(manifest.to_string().as_bytes(), "manifest.v1+json")?;
    manifest["annotations"] = json!({"io.containerd.image.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    let archive = dir.join("image.tar");
    tar(&layout, &archive)?;
    Ok(archive)
}

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    let status = Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .arg(".")
        .status()?;
    ensure!(status.success(), "tar of {}: {status}", folder.display());
    Ok(())
}

/// This machine's architecture, in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
