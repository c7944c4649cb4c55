//! Upstream's sequences of writes (`reference/ipam.md` sections 3, 5 and 8), one request at a time,
//! in its order and with its gaps: an affinity before its block, a handle before its block and
//! after it. Inside a block both do the same.

use ipnet::IpNet;

use super::World;
use crate::ipam::Block;
use crate::ipam::affinity::{Affinity, AffinityState};
use crate::ipam::handle::Handle;
use crate::ipam::reservation::AddressFilter;
use crate::ipam::walk::Walk;
use crate::store::{AffinityOwner, Change, Committed, Document, Key, Prefix, Query, Revision};

/// Upstream tries a hundred times; so often nobody loses here.
const TRIES: usize = 100;

async fn get(world: &World, key: &Key) -> Option<Document> {
    world.read(&[Query::Key(key.clone())]).await.remove(0).pop()
}

async fn list(world: &World, prefix: Prefix) -> Vec<Document> {
    world.read(&[Query::Prefix(prefix)]).await.remove(0)
}

/// One write; answers the new revision, or nothing when the guard didn't hold.
async fn write(world: &World, change: Change) -> Option<Revision> {
    match world.commit(&[change]).await {
        Committed::Done(revision) => Some(revision),
        Committed::Conflict(_) => None,
    }
}

fn affinity(state: AffinityState) -> Vec<u8> {
    Affinity { state, ..Affinity::default() }.encode()
}

fn state_of(document: &Document) -> AffinityState {
    Affinity::decode(&document.value).expect("an affinity").state
}

fn block_of(document: &Document) -> Block {
    Block::decode(&document.value).expect("a block")
}

/// A block that was changed: its sequence number rises by one with the write.
fn updated(cidr: IpNet, revision: Revision, mut block: Block) -> Change {
    block.sequence_number += 1;
    Change::update(Key::Block(cidr), revision, block.encode())
}

/// What a try comes to.
enum Try<T> {
    Done(T),
    /// The same again.
    Conflict,
    /// Not this block.
    Other,
}

pub(super) async fn auto_assign(world: &World, host: &str, handle: &str) {
    let owner = AffinityOwner::host(host);
    let own = list(world, Prefix::Affinities(owner.clone(), None)).await;
    for document in own {
        let Key::Affinity(_, cidr) = document.key else { continue };
        for _ in 0..TRIES {
            match own_block(world, &owner, cidr).await {
                Try::Done((revision, block)) => {
                    if assign(world, cidr, Some((revision, block)), handle).await {
                        return;
                    }
                    break;
                }
                Try::Conflict => {}
                Try::Other => break,
            }
        }
    }
    for _ in 0..TRIES {
        let Some(cidr) = choose(world, &owner).await else { break };
        for _ in 0..TRIES {
            match claim(world, &owner, cidr).await {
                Try::Done((revision, block)) => {
                    if assign(world, cidr, Some((revision, block)), handle).await {
                        return;
                    }
                    break;
                }
                Try::Conflict => {}
                Try::Other => break,
            }
        }
    }
    for cidr in walk(host) {
        if assign(world, cidr, None, handle).await {
            return;
        }
    }
}

fn walk(host: &str) -> impl Iterator<Item = IpNet> {
    Walk::new(host, "10.0.0.0/29".parse().expect("a pool"), 30, 0).iter()
}

/// 5.3: the block that an affinity stands for.
async fn own_block(world: &World, owner: &AffinityOwner, cidr: IpNet) -> Try<(Revision, Block)> {
    let key = Key::Affinity(owner.clone(), cidr);
    let Some(found) = get(world, &key).await else { return Try::Other };
    resolve(world, owner, cidr, found.revision, state_of(&found)).await
}

async fn resolve(
    world: &World,
    owner: &AffinityOwner,
    cidr: IpNet,
    mut revision: Revision,
    state: AffinityState,
) -> Try<(Revision, Block)> {
    let key = Key::Affinity(owner.clone(), cidr);
    let pending =
        |revision| Change::update(key.clone(), revision, affinity(AffinityState::Pending));
    let confirmed =
        |revision| Change::update(key.clone(), revision, affinity(AffinityState::Confirmed));
    let Some(document) = get(world, &Key::Block(cidr)).await else {
        let Some(revision) = write(world, pending(revision)).await else { return Try::Conflict };
        return create(world, owner, cidr, revision).await;
    };
    let block = block_of(&document);
    if !block.is_owned_by(owner) {
        write(world, Change::delete(key.clone(), revision)).await;
        return Try::Other;
    }
    if state.is_confirmed() {
        return Try::Done((document.revision, block));
    }
    match write(world, pending(revision)).await {
        Some(written) => revision = written,
        None => return Try::Conflict,
    }
    let mut again = block.clone();
    again.sequence_number += 1;
    let Some(block_revision) = write(world, updated(cidr, document.revision, block)).await else {
        return Try::Conflict;
    };
    match write(world, confirmed(revision)).await {
        Some(_) => Try::Done((block_revision, again)),
        None => Try::Conflict,
    }
}

/// 5.2: creates the block of a pending affinity.
async fn create(
    world: &World,
    owner: &AffinityOwner,
    cidr: IpNet,
    pending: Revision,
) -> Try<(Revision, Block)> {
    let key = Key::Affinity(owner.clone(), cidr);
    let mut block = Block::new(cidr, Some(owner), None, world.now());
    let created = write(world, Change::create(Key::Block(cidr), block.encode())).await;
    let revision = match created {
        Some(revision) => revision,
        None => {
            let Some(document) = get(world, &Key::Block(cidr)).await else { return Try::Conflict };
            block = block_of(&document);
            if !block.is_owned_by(owner) {
                write(world, Change::delete(key, pending)).await;
                return Try::Other;
            }
            document.revision
        }
    };
    let confirm = Change::update(key.clone(), pending, affinity(AffinityState::Confirmed));
    if write(world, confirm).await.is_none() {
        let found = get(world, &key).await;
        if !found.is_some_and(|found| state_of(&found).is_confirmed()) {
            return Try::Conflict;
        }
    }
    Try::Done((revision, block))
}

/// 4.2: the first block of the walk that is missing, or ours with room; else an empty one of
/// somebody else's, which is then released.
async fn choose(world: &World, owner: &AffinityOwner) -> Option<IpNet> {
    let blocks = list(world, Prefix::Blocks(None)).await;
    let mut empty = Vec::new();
    for cidr in walk(&owner.name) {
        let found = blocks.iter().find(|document| document.key == Key::Block(cidr));
        let Some(block) = found.map(block_of) else { return Some(cidr) };
        if block.is_owned_by(owner) {
            if !block.unallocated.is_empty() {
                return Some(cidr);
            }
        } else if block.is_empty() {
            empty.push(block);
        }
    }
    for block in empty {
        let old = block.owned_for(world.now()).is_none_or(|age| age.whole_seconds() >= 60);
        let Some(victim) = block.owner().filter(|_| old) else { continue };
        let released = release(world, &victim, block.cidr, true, Some(block.sequence_number)).await;
        if released {
            return Some(block.cidr);
        }
    }
    None
}

/// 5.1 and on: a pending affinity, then its block.
async fn claim(world: &World, owner: &AffinityOwner, cidr: IpNet) -> Try<(Revision, Block)> {
    let key = Key::Affinity(owner.clone(), cidr);
    let create = Change::create(key.clone(), affinity(AffinityState::Pending));
    if let Some(revision) = write(world, create).await {
        return resolve(world, owner, cidr, revision, AffinityState::Pending).await;
    }
    let Some(found) = get(world, &key).await else { return Try::Conflict };
    if state_of(&found).is_confirmed() {
        return resolve(world, owner, cidr, found.revision, AffinityState::Confirmed).await;
    }
    let pending = Change::update(key, found.revision, affinity(AffinityState::Pending));
    match write(world, pending).await {
        Some(revision) => resolve(world, owner, cidr, revision, AffinityState::Pending).await,
        None => Try::Conflict,
    }
}

/// 3.6: the handle, then the block; after a lost race the handle back.
async fn assign(
    world: &World,
    cidr: IpNet,
    mut known: Option<(Revision, Block)>,
    handle: &str,
) -> bool {
    for _ in 0..TRIES {
        let (revision, mut block) = match known.take() {
            Some(known) => known,
            None => match get(world, &Key::Block(cidr)).await {
                Some(document) => (document.revision, block_of(&document)),
                None => return false,
            },
        };
        let attributes = Default::default();
        let ips = block.auto_assign(1, Some(handle), &attributes, &AddressFilter::default());
        if ips.is_empty() {
            return false;
        }
        increment(world, cidr, handle).await;
        if write(world, updated(cidr, revision, block)).await.is_some() {
            world.assigned(handle, ips);
            return true;
        }
        decrement(world, cidr, handle, 1).await;
    }
    false
}

async fn increment(world: &World, cidr: IpNet, handle: &str) {
    let key = Key::Handle(handle.to_owned());
    for _ in 0..TRIES {
        let found = get(world, &key).await;
        let mut value = found
            .as_ref()
            .map(|found| Handle::decode(&found.value).expect("a handle"))
            .unwrap_or_default();
        *value.block.entry(cidr.to_string()).or_default() += 1;
        let change = match found {
            Some(found) => Change::update(key.clone(), found.revision, value.encode()),
            None => Change::create(key.clone(), value.encode()),
        };
        if write(world, change).await.is_some() {
            return;
        }
    }
}

/// 8.5: a block that the handle doesn't name, or with too few addresses, is left alone.
async fn decrement(world: &World, cidr: IpNet, handle: &str, count: i64) {
    let key = Key::Handle(handle.to_owned());
    for _ in 0..TRIES {
        let Some(found) = get(world, &key).await else { return };
        let mut value = Handle::decode(&found.value).expect("a handle");
        let Some(entry) = value.block.get_mut(&cidr.to_string()) else { return };
        if *entry < count {
            return;
        }
        *entry -= count;
        if *entry == 0 {
            value.block.remove(&cidr.to_string());
        }
        let change = if value.is_empty() {
            Change::delete(key.clone(), found.revision)
        } else {
            Change::update(key.clone(), found.revision, value.encode())
        };
        if write(world, change).await.is_some() {
            return;
        }
    }
}

/// 8.2: the block, then the handle; where the block has nothing, the handle stays.
pub(super) async fn release_by_handle(world: &World, handle: &str) {
    let Some(found) = get(world, &Key::Handle(handle.to_owned())).await else { return };
    let value = Handle::decode(&found.value).expect("a handle");
    for cidr in value.blocks() {
        for _ in 0..TRIES {
            let Some(document) = get(world, &Key::Block(cidr)).await else { return };
            let mut block = block_of(&document);
            let released = block.release_by_handle(handle, None, world.now(), 0).len();
            if released == 0 {
                return;
            }
            let change = if block.is_empty() && block.affinity.is_none() {
                Change::delete(Key::Block(cidr), document.revision)
            } else {
                updated(cidr, document.revision, block)
            };
            if write(world, change).await.is_some() {
                decrement(world, cidr, handle, released as i64).await;
                break;
            }
        }
    }
}

pub(super) async fn release_affinity(
    world: &World,
    host: &str,
    cidr: IpNet,
    must_be_empty: bool,
) -> bool {
    release(world, &AffinityOwner::host(host), cidr, must_be_empty, None).await
}

/// 8.4: the affinity is marked, the block goes or loses its owner, the affinity goes.
async fn release(
    world: &World,
    owner: &AffinityOwner,
    cidr: IpNet,
    must_be_empty: bool,
    sequence: Option<u64>,
) -> bool {
    let key = Key::Affinity(owner.clone(), cidr);
    let Some(found) = get(world, &key).await else { return false };
    let Some(document) = get(world, &Key::Block(cidr)).await else { return false };
    let mut block = block_of(&document);
    if sequence.is_some_and(|sequence| sequence != block.sequence_number) {
        return false;
    }
    if block.affinity.is_some() && !block.is_owned_by(owner) {
        write(world, Change::delete(key, found.revision)).await;
        return false;
    }
    if must_be_empty && !block.is_empty() {
        return false;
    }
    let mark =
        Change::update(key.clone(), found.revision, affinity(AffinityState::PendingDeletion));
    let Some(marked) = write(world, mark).await else { return false };
    let change = if block.is_empty() {
        Change::delete(Key::Block(cidr), document.revision)
    } else {
        block.set_owner(None, world.now());
        updated(cidr, document.revision, block)
    };
    if write(world, change).await.is_none() {
        return false;
    }
    write(world, Change::delete(key, marked)).await.is_some()
}
