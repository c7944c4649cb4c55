//! What DEL owes the store: notes of containers that went while the store was away.
//!
//! A pod must not be stuck in Terminating because a server is gone. So DEL takes the node's side
//! down, leaves a note, and succeeds; the next verb of the network that reaches the store pays, and
//! so may an operator's command. The notes are the node's own: a file each, for root alone.

pub(crate) mod note;

use std::fs;
use std::io;
use std::path::Path;

use cni::{Error, code};
use cni_ipam::datastore::Datastore;
use cni_ipam::identity::Identity;
use cni_ipam::lock;
use cni_ipam::run::Deadline;
use libcalico::store::Store;

use crate::endpoint::EndpointId;
use crate::release::{Release, ReleaseError};
use note::{Found, Note};

const FOLDER: &str = "/var/lib/calico/owed";
/// How many notes one verb pays, so that none waits for all the others.
const AT_ONCE: usize = 16;

/// Leaves a note, durably. `store` is the name of the store that is away.
pub(crate) fn leave(release: &Release<'_>, store: &str) -> io::Result<()> {
    let left = Note::of(release, store).leave(Path::new(FOLDER));
    left.map_err(|error| io::Error::new(error.kind(), format!("{FOLDER}: {error}")))
}

/// Pays what is owed for the network on the node, as far as it goes; failures are logged, and the
/// note stays. The datastore is known to be ready.
pub(crate) async fn settle(network: &str, node: &str, datastore: &Datastore, end: Deadline) {
    let is_due = |note: &Note| note.network == network && note.node == node;
    pay_all(&*datastore.store, is_due, end).await;
}

/// Pays what is owed to this store on the node, whatever the network: for an operator's command,
/// which knows the store and no network. Tells how many containers were released and how many notes
/// stay.
pub async fn settle_store(store: &dyn Store, node: &str, end: Deadline) -> (usize, usize) {
    let name = store.describe();
    // Another store has nothing of the container, and would be thought to be paid.
    pay_all(store, |note| note.node == node && note.store == name, end).await
}

/// Pays before an attachment is made. A note about this very attachment must be paid now: if it
/// were paid later, it would take the new one back. True if something was paid, so that what was
/// read before is read again.
pub(crate) async fn settle_before(
    identity: &Identity,
    datastore: &Datastore,
    end: Deadline,
) -> Result<bool, Error> {
    let folder = Path::new(FOLDER);
    // PERF: most nodes never owed anything.
    if !folder.exists() {
        return Ok(false);
    }
    let mine = |found: &Found| found.note.is_about(identity);
    let mut paid = false;
    if note::all(folder).iter().any(mine) {
        let _lock = lock::acquire(&folder.join("lock").to_string_lossy(), end).await;
        for found in note::all(folder).iter().filter(|found| mine(found)) {
            let settled = settle_one(&*datastore.store, found, end).await;
            settled.map_err(|why| unpaid(found, &why.msg))?;
            paid = true;
        }
    }
    let Identity { network, node, .. } = identity;
    let is_due = |note: &Note| note.network == *network && note.node == *node;
    let (others, _) = pay_all(&*datastore.store, is_due, end).await;
    Ok(paid || others > 0)
}

/// Pays the notes that are due, up to a number. One that can't be paid keeps no other waiting, unless
/// the store is away. Answers how many were paid and how many are left.
async fn pay_all(
    store: &dyn Store,
    is_due: impl Fn(&Note) -> bool,
    end: Deadline,
) -> (usize, usize) {
    let folder = Path::new(FOLDER);
    let due = || {
        let mut all = note::all(folder);
        all.retain(|found| is_due(&found.note));
        all
    };
    note::tidy(folder);
    if due().is_empty() {
        return (0, 0);
    }
    // Who pays has the lock, so that nobody pays a note that another one has just paid.
    let Some(_lock) = lock::try_acquire(&folder.join("lock")) else { return (0, due().len()) };
    let mut due = due();
    // Where each process begins elsewhere, all get their turn beside many that can't be paid.
    let first = std::process::id() as usize % due.len().max(1);
    due.rotate_left(first);
    let mut paid = 0;
    for found in due.iter().take(AT_ONCE) {
        match settle_one(store, found, end).await {
            Ok(()) => paid += 1,
            Err(why) => {
                let id = &found.note.container_id;
                tracing::warn!(ContainerID = id, "still owed to the store: {}", why.msg);
                if why.code == code::TRY_AGAIN_LATER {
                    break;
                }
            }
        }
    }
    (paid, due.len() - paid)
}

async fn settle_one(store: &dyn Store, found: &Found, end: Deadline) -> Result<(), Error> {
    pay(&found.note, store, end).await?;
    fault_points::reach!("owed.paid");
    fs::remove_file(&found.path).map_err(|error| {
        let path = found.path.display();
        Error::new(code::DATASTORE_WRITE, format!("{path} can't be removed: {error}"))
    })?;
    fault_points::reach!("owed.removed");
    let id = &found.note.container_id;
    tracing::info!(ContainerID = id, "released what DEL owed the store");
    Ok(())
}

/// Everything is guarded by what names the container: the endpoint by its id, the addresses by its
/// handle. What was given to somebody else meanwhile stays.
async fn pay(note: &Note, store: &dyn Store, end: Deadline) -> Result<(), ReleaseError> {
    let identity = note.identity();
    let endpoint = EndpointId::of(&identity).ok();
    let release =
        Release { identity: &identity, endpoint: endpoint.as_ref(), own_ipam: note.own_ipam };
    let deadline = end.within(cni_ipam::run::DEL_STORE_LIMIT);
    let found = release.read(store, deadline).await?;
    release.carry_out(store, found, None, deadline).await
}

fn unpaid(found: &Found, why: &str) -> Error {
    Error::new(
        code::TRY_AGAIN_LATER,
        format!(
            "the store still has what the container had before, since DEL could not reach it \
             (note {}): {why}; try again",
            found.path.display()
        ),
    )
}
