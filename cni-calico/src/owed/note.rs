//! A note as a file: written so that no reader sees half of it, and read so that what is no note
//! keeps nobody from the others.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_ipam::identity::{BY_HAND, Identity, Workload};
use libcalico::names;
use serde::{Deserialize, Serialize};

use crate::release::Release;

/// The longest name of a file, less what is appended while it is written.
const NAME_MAX: usize = 220;
/// A note has some hundred bytes.
const SIZE_MAX: u64 = 64 << 10;
/// When a file that was never finished is nobody's any more.
const ABANDONED: Duration = Duration::from_secs(600);

/// A container whose endpoint and addresses are still in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    #[serde(rename = "network")]
    pub(crate) network: String,
    #[serde(rename = "node")]
    pub(crate) node: String,
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    #[serde(rename = "ifname")]
    ifname: String,
    #[serde(rename = "namespace")]
    namespace: String,
    #[serde(rename = "pod", skip_serializing_if = "Option::is_none", default)]
    pod: Option<String>,
    #[serde(rename = "ipam")]
    pub(crate) own_ipam: bool,
    /// The store that was away, as it calls itself; empty in notes of earlier versions.
    #[serde(rename = "store", default)]
    pub(crate) store: String,
}

/// A note and its file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) note: Note,
}

impl Note {
    pub(crate) fn of(release: &Release<'_>, store: &str) -> Note {
        let Release { identity, own_ipam, .. } = *release;
        Note {
            network: identity.network.clone(),
            node: identity.node.clone(),
            container_id: identity.container_id.clone(),
            ifname: identity.ifname.clone(),
            namespace: identity.namespace().into(),
            pod: identity.pod().map(str::to_owned),
            own_ipam,
            store: store.into(),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
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

    /// Whether paying it would take this attachment's endpoint or addresses back.
    pub(crate) fn is_about(&self, identity: &Identity) -> bool {
        self.network == identity.network
            && self.node == identity.node
            && self.container_id == identity.container_id
            && self.ifname == identity.ifname
    }

    /// One file an attachment. None of the parts can hold a colon, so no two make one name.
    fn file_name(&self) -> String {
        let Note { network, container_id, ifname, .. } = self;
        let name = format!("{network}:{container_id}:{ifname}");
        match name.len() > NAME_MAX {
            true => format!("{}:{ifname}.json", names::k8s_host_link("", network, container_id)),
            false => format!("{name}.json"),
        }
    }

    /// Writes it, durably.
    pub(crate) fn leave(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(self.file_name());
        // Written aside and renamed, so that no reader sees half of it.
        let aside = path.with_extension(format!("{}.new", std::process::id()));
        fault_points::reach!("owed.write");
        let mut options = OpenOptions::new();
        let mut file = options.create(true).write(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fault_points::reach!("owed.written");
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        fault_points::reach!("owed.renamed");
        File::open(folder)?.sync_all()
    }
}

/// The notes that are there, in the order of their names. What is no note is passed over with a
/// warning: it is for a person to look at.
pub(crate) fn all(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| match read(&path) {
            Ok(note) => Some(Found { path, note }),
            // Paid by somebody else meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(
                    "{} is no note of a release, passing it over: {error}",
                    path.display()
                );
                None
            }
        })
        .collect()
}

fn read(path: &Path) -> io::Result<Note> {
    // Not to hang on a pipe, nor to follow a link out of the folder.
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX).read_to_end(&mut bytes)?;
    decode(&bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

fn decode(bytes: &[u8]) -> Result<Note, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Removes what a killed process didn't finish writing. Its DEL was answered by nobody, so the
/// runtime calls again.
pub(crate) fn tidy(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_old = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
        if path.extension().is_some_and(|extension| extension == "new")
            && is_old().is_some_and(|age| age > ABANDONED)
        {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::endpoint::EndpointId;

    fn identity(network: &str, container_id: &str) -> Identity {
        Identity {
            workload: Workload::Pod { namespace: "shop".into(), name: "cart-0".into() },
            container_id: container_id.into(),
            ifname: "eth0".into(),
            node: "node-1".into(),
            network: network.into(),
        }
    }

    fn note(identity: &Identity, store: &str) -> Note {
        let endpoint = EndpointId::of(identity).ok();
        Note::of(&Release { identity, endpoint: endpoint.as_ref(), own_ipam: true }, store)
    }

    #[test]
    fn a_note_is_read_as_it_was_left_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("owed");
        assert_eq!(all(&folder), []);
        let identity = identity("net-1", "c1");
        let note = note(&identity, "etcd at http://127.0.0.1:2379");
        note.leave(&folder).unwrap();
        note.leave(&folder).unwrap();
        let read = all(&folder);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].note.identity(), identity);
        assert!(read[0].note.is_about(&identity));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&read[0].path)), (0o700, 0o600));
    }

    #[test]
    fn what_is_no_note_keeps_nobody_from_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        note(&identity("net-1", "c1"), "").leave(folder).unwrap();
        fs::write(folder.join("half.json"), "{\"network\":").unwrap();
        fs::write(folder.join("empty.json"), "").unwrap();
        fs::write(folder.join("foreign.json"), "[1]").unwrap();
        fs::write(folder.join("bytes.json"), b"\xff\x00").unwrap();
        fs::create_dir(folder.join("folder.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("link.json")).unwrap();
        assert_eq!(all(folder).len(), 1);
    }

    #[test]
    fn no_two_attachments_share_a_file_however_long_their_names_are() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(300);
        let attachments =
            [("a_b", "c"), ("a", "b_c"), ("a.b", "c"), (&long, "c"), (&long, "c2"), ("a", &long)];
        for (network, id) in attachments {
            note(&identity(network, id), "").leave(folder.path()).unwrap();
        }
        assert_eq!(all(folder.path()).len(), attachments.len());
    }

    #[test]
    fn only_what_was_abandoned_long_ago_is_tidied() {
        let folder = tempfile::tempdir().unwrap();
        let [young, old] = ["a.1.new", "b.2.new"].map(|name| folder.path().join(name));
        for path in [&young, &old] {
            fs::write(path, "{").unwrap();
        }
        let long_ago = std::time::SystemTime::now() - 2 * ABANDONED;
        File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        tidy(folder.path());
        assert!(young.exists() && !old.exists());
    }
}
