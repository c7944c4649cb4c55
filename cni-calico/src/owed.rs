//! What DEL owes the store: notes of containers that went while the store was away.
//!
//! A pod must not be stuck in Terminating because a server is gone. So DEL takes the node's side
//! down, leaves a note, and succeeds; the next verb of the network that reaches the store pays.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cni_ipam::datastore::Datastore;
use cni_ipam::identity::{Identity, Workload};
use cni_ipam::run;
use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointId;
use crate::release::{Release, ReleaseError};

const FOLDER: &str = "/var/lib/calico/owed";
/// How many notes one verb pays, so that none waits for all the others.
const AT_ONCE: usize = 16;

/// A container whose endpoint and addresses are still in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(rename = "network")]
    network: String,
    #[serde(rename = "node")]
    node: String,
    #[serde(rename = "containerID")]
    container_id: String,
    #[serde(rename = "ifname")]
    ifname: String,
    #[serde(rename = "namespace")]
    namespace: String,
    #[serde(rename = "pod", skip_serializing_if = "Option::is_none", default)]
    pod: Option<String>,
    #[serde(rename = "ipam")]
    own_ipam: bool,
}

impl Note {
    fn of(identity: &Identity, own_ipam: bool) -> Note {
        Note {
            network: identity.network.clone(),
            node: identity.node.clone(),
            container_id: identity.container_id.clone(),
            ifname: identity.ifname.clone(),
            namespace: identity.namespace().into(),
            pod: identity.pod().map(str::to_owned),
            own_ipam,
        }
    }

    fn identity(&self) -> Identity {
        let namespace = self.namespace.clone();
        Identity {
            workload: match &self.pod {
                Some(name) => Workload::Pod { namespace, name: name.clone() },
                None => Workload::Container { namespace },
            },
            container_id: self.container_id.clone(),
            ifname: self.ifname.clone(),
            node: self.node.clone(),
            network: self.network.clone(),
        }
    }

    /// All parts are names without a slash, so this is one file.
    fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}_{}_{}.json", self.network, self.container_id, self.ifname))
    }
}

/// Leaves a note, durably.
pub fn leave(identity: &Identity, own_ipam: bool) -> io::Result<()> {
    leave_in(Path::new(FOLDER), &Note::of(identity, own_ipam))
}

fn leave_in(folder: &Path, note: &Note) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = note.path(folder);
    // Written aside and renamed, so that no reader sees half of it.
    let aside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::File::create(&aside)?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(&aside, &path)?;
    fs::File::open(folder)?.sync_all()
}

/// Pays what is owed for this network on this node, as far as it goes; failures are logged, and the
/// note stays.
pub async fn settle(network: &str, node: &str, datastore: &Datastore) {
    for (path, note) in notes(Path::new(FOLDER)).into_iter().take(AT_ONCE) {
        if note.network != network || note.node != node {
            continue;
        }
        match pay(&note, datastore).await {
            Ok(()) => {
                tracing::info!(ContainerID = note.container_id, "released what DEL owed the store");
                if let Err(error) = fs::remove_file(&path) {
                    tracing::warn!("note {} can't be removed: {error}", path.display());
                }
            }
            Err(error) => {
                tracing::warn!(ContainerID = note.container_id, "still owed to the store: {error}");
                return;
            }
        }
    }
}

async fn pay(note: &Note, datastore: &Datastore) -> Result<(), ReleaseError> {
    let identity = note.identity();
    let endpoint = EndpointId::of(&identity, None).ok();
    let release =
        Release { identity: &identity, endpoint: endpoint.as_ref(), own_ipam: note.own_ipam };
    let deadline = run::deadline(run::DEL_STORE_LIMIT);
    let found = release.read(&*datastore.store, deadline).await?;
    release.carry_out(&*datastore.store, found, deadline).await
}

/// The notes that are there; what is no note is passed over.
fn notes(folder: &Path) -> Vec<(PathBuf, Note)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| {
            let note = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, note))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_left_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("owed");
        assert_eq!(notes(&folder), []);
        let pod = Workload::Pod { namespace: "shop".into(), name: "cart-0".into() };
        let identity = Identity {
            workload: pod,
            container_id: "c1".into(),
            ifname: "eth0".into(),
            node: "node-1".into(),
            network: "net-1".into(),
        };
        let note = Note::of(&identity, true);
        leave_in(&folder, &note).unwrap();
        leave_in(&folder, &note).unwrap();
        fs::write(folder.join("half.json"), "{").unwrap();
        let read = notes(&folder);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].1.identity(), identity);
    }
}
