//! What DEL owes the store: notes of containers that went while the store was away.
//!
//! A pod must not be stuck in Terminating because a server is gone. So DEL takes the node's side
//! down, leaves a note, and succeeds; the next verb of the network that reaches the store pays.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cni::{Error, code};
use cni_ipam::datastore::Datastore;
use cni_ipam::identity::{BY_HAND, Identity, Workload};
use cni_ipam::{lock, run};
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
                None if self.network == BY_HAND => Workload::ByHand,
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

/// Pays what is owed for the network on the node, as far as it goes; failures are logged, and the
/// note stays. The datastore is known to be ready.
pub async fn settle(network: &str, node: &str, datastore: &Datastore) {
    let _ = settle_but(network, node, None, datastore).await;
}

/// The same before an attachment is made. A note about this very attachment must be paid now: if
/// it were paid later, it would take the new one back. True if something was paid, so that what was
/// read before is read again.
pub async fn settle_before(identity: &Identity, datastore: &Datastore) -> Result<bool, Error> {
    let own = Note::of(identity, false).path(Path::new(FOLDER));
    settle_but(&identity.network, &identity.node, Some(&own), datastore).await
}

async fn settle_but(
    network: &str,
    node: &str,
    must: Option<&Path>,
    datastore: &Datastore,
) -> Result<bool, Error> {
    let folder = Path::new(FOLDER);
    let is_due = |note: &Note| note.network == network && note.node == node;
    if !notes(folder).iter().any(|(_, note)| is_due(note)) {
        return Ok(false);
    }
    let must = must.filter(|path| path.exists());
    // Who pays has the lock, so that nobody pays a note that another one has just paid.
    let path = folder.join("lock");
    let lock = match must {
        Some(_) => lock::acquire(&path.to_string_lossy()).await,
        None => lock::try_acquire(&path),
    };
    if lock.is_none() {
        return must.map_or(Ok(false), |path| Err(unpaid(path, "somebody else is at it")));
    }
    let mut due = notes(folder);
    due.retain(|(_, note)| is_due(note));
    // The one that can't wait comes first.
    due.sort_by_key(|(path, _)| Some(path.as_path()) != must);
    let mut paid = false;
    for (path, note) in due.into_iter().take(AT_ONCE) {
        let outcome = match pay(&note, datastore).await {
            Ok(()) => fs::remove_file(&path).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) => {
                paid = true;
                tracing::info!(ContainerID = note.container_id, "released what DEL owed the store");
            }
            Err(error) if must == Some(path.as_path()) => return Err(unpaid(&path, &error)),
            Err(error) => {
                tracing::warn!(ContainerID = note.container_id, "still owed to the store: {error}");
                break;
            }
        }
    }
    Ok(paid)
}

fn unpaid(note: &Path, why: &str) -> Error {
    Error::new(
        code::TRY_AGAIN_LATER,
        format!(
            "the store still has what the container had before, since DEL could not reach it \
             (note {}): {why}; try again",
            note.display()
        ),
    )
}

async fn pay(note: &Note, datastore: &Datastore) -> Result<(), ReleaseError> {
    let identity = note.identity();
    let endpoint = EndpointId::of(&identity, None).ok();
    let release =
        Release { identity: &identity, endpoint: endpoint.as_ref(), own_ipam: note.own_ipam };
    let deadline = run::deadline(run::DEL_STORE_LIMIT);
    let found = release.read(&*datastore.store, deadline).await?;
    release.carry_out(&*datastore.store, found, None, deadline).await
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
