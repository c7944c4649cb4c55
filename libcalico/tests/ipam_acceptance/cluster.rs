//! A cluster to test against: a store, a clock that can be moved, and what tests put in.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ipnet::IpNet;
use libcalico::clock;
use libcalico::config::Settings;
use libcalico::ipam::check::{Severity, check};
use libcalico::ipam::{
    Allocator, AssignIp, Assigned, Assignment, AutoAssign, Block, IntendedUse, IpamConfig,
    IpamError, PoolRef, ReleaseGuard,
};
use libcalico::resources::Kind;
use libcalico::store::{
    Action, AffinityOwner, AffinityType, Change, Committed, Document, Guard, Key, MemoryStore,
    Prefix, Query, Revision, Snapshot, Store, StoreError, Watch,
};
use serde_json::{Value, json};

/// A store with pools, nodes and addresses.
pub struct Cluster {
    pub store: Arc<dyn Store>,
    /// The same store, where it is the one in memory.
    pub memory: Option<Arc<Watched>>,
    ahead: Arc<AtomicI64>,
    /// The folder of a local store; it goes with the cluster.
    _folder: Option<tempfile::TempDir>,
}

/// What may be said of a pool.
pub struct PoolSpec {
    name: String,
    spec: Value,
}

/// A pool with blocks of the default size that serves everybody.
pub fn pool(name: &str, cidr: &str) -> PoolSpec {
    PoolSpec { name: name.into(), spec: json!({ "cidr": cidr, "nodeSelector": "all()" }) }
}

impl PoolSpec {
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> PoolSpec {
        self.spec[field] = value.into();
        self
    }
    pub fn block_size(self, size: u8) -> PoolSpec {
        self.set("blockSize", size)
    }
    pub fn node_selector(self, selector: &str) -> PoolSpec {
        self.set("nodeSelector", selector)
    }
    pub fn namespace_selector(self, selector: &str) -> PoolSpec {
        self.set("namespaceSelector", selector)
    }
    pub fn disabled(self) -> PoolSpec {
        self.set("disabled", true)
    }
    pub fn uses(self, uses: &[&str]) -> PoolSpec {
        self.set("allowedUses", uses.to_vec())
    }
    pub fn manual(self) -> PoolSpec {
        self.set("assignmentMode", "Manual")
    }
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn cidrs(texts: &[&str]) -> Vec<PoolRef> {
    texts.iter().map(|text| PoolRef::Cidr(net(text))).collect()
}

pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub fn guard(address: IpAddr, handle: Option<&str>, sequence: Option<u64>) -> ReleaseGuard {
    ReleaseGuard { address, handle: handle.map(str::to_owned), sequence_number: sequence }
}

/// As many addresses as there are, without handle, out of the pools that fit.
pub fn wanted(host: &str, v4: u32, v6: u32) -> AutoAssign {
    AutoAssign { v4, v6, all_or_nothing: false, ..AutoAssign::new(host) }
}

/// Everything that was found, whether the call failed or not.
pub fn found(result: &Result<Assignment, IpamError>) -> usize {
    result.as_ref().map_or(0, |assignment| assignment.addresses().count())
}

/// What happens to the store just before a commit.
pub type Meddling = Box<dyn FnOnce(&MemoryStore) + Send>;

/// The store in memory, watched: it lets all others go first before each request, so that tasks of
/// one thread race; it remembers what was asked; and somebody can meddle before the next commits.
#[derive(Default)]
pub struct Watched {
    pub store: MemoryStore,
    pub asked: Mutex<Vec<Query>>,
    pub before_commits: Mutex<VecDeque<Meddling>>,
}

#[async_trait]
impl Store for Watched {
    async fn read(&self, queries: &[Query], deadline: Instant) -> Result<Snapshot, StoreError> {
        tokio::task::yield_now().await;
        self.asked.lock().expect("no panic").extend_from_slice(queries);
        self.store.read(queries, deadline).await
    }
    async fn commit(&self, changes: &[Change], deadline: Instant) -> Result<Committed, StoreError> {
        tokio::task::yield_now().await;
        let meddling = self.before_commits.lock().expect("no panic").pop_front();
        if let Some(meddling) = meddling {
            meddling(&self.store);
        }
        self.store.commit(changes, deadline).await
    }
    async fn watch(&self, prefix: &Prefix, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, after).await
    }
    fn describe(&self) -> String {
        self.store.describe()
    }
}

impl Cluster {
    pub fn memory() -> Cluster {
        let memory = Arc::new(Watched::default());
        let store = memory.clone();
        Cluster { store, memory: Some(memory), ahead: Arc::default(), _folder: None }
    }

    #[cfg(feature = "local")]
    pub fn local() -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            datastore_type: Some("local".to_owned()),
            local_path: Some(folder.path().join("calico.db").to_string_lossy().into_owned()),
            ..Settings::default()
        };
        Cluster::opened(settings, Some(folder))
    }

    /// The store of a server that runs already, which is emptied.
    pub fn etcd(url: &str) -> Cluster {
        let settings = Settings { etcd_endpoints: Some(url.to_owned()), ..Settings::default() };
        Cluster::opened(settings, None)
    }

    fn opened(settings: Settings, folder: Option<tempfile::TempDir>) -> Cluster {
        let store = settings.resolve().expect("settings").open().expect("a store");
        Cluster { store, memory: None, ahead: Arc::default(), _folder: folder }
    }

    pub async fn empty(&self) {
        for part in self.all(Prefix::All).await.chunks(100) {
            let change = |found: &Document| Change {
                key: found.key.clone(),
                guard: Guard::Any,
                action: Action::Delete,
            };
            let changes: Vec<Change> = part.iter().map(change).collect();
            self.store.commit(&changes, soon()).await.expect("the store takes it");
        }
    }

    /// The store in memory, for tests that count or meddle.
    pub fn watched(&self) -> &Watched {
        self.memory.as_deref().expect("this test runs on the store in memory")
    }

    /// Runs something and counts the reads and the commits that it asks for.
    pub async fn count<T>(&self, run: impl AsyncFnOnce() -> T) -> (T, u64, u64) {
        let store = &self.watched().store;
        let (reads, commits) = (store.reads(), store.commits());
        let result = run().await;
        (result, store.reads() - reads, store.commits() - commits)
    }

    /// Lets this happen just before the next commit that nothing was planned for yet.
    pub fn before_commit(&self, meddling: impl FnOnce(&MemoryStore) + Send + 'static) {
        let mut planned = self.watched().before_commits.lock().expect("no panic");
        planned.push_back(Box::new(meddling));
    }

    pub fn allocator(&self) -> Allocator<'_> {
        let ahead = self.ahead.clone();
        Allocator::with_clock(&*self.store, move || {
            clock::now() + time::Duration::seconds(ahead.load(Ordering::Relaxed))
        })
    }

    /// Moves the clock.
    pub fn wait(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    pub async fn put(&self, key: Key, value: Vec<u8>) {
        let change = Change { key, guard: Guard::Any, action: Action::Put(value) };
        self.store.commit(&[change], soon()).await.expect("the store takes it");
    }

    pub async fn delete(&self, key: Key) {
        let change = Change { key, guard: Guard::Any, action: Action::Delete };
        self.store.commit(&[change], soon()).await.expect("the store takes it");
    }

    pub async fn pool(&self, spec: PoolSpec) {
        let value =
            json!({ "kind": "IPPool", "metadata": { "name": spec.name }, "spec": spec.spec });
        self.put(Key::global(Kind::IpPool, spec.name), value.to_string().into_bytes()).await;
    }

    pub async fn delete_pool(&self, name: &str) {
        self.delete(Key::global(Kind::IpPool, name)).await;
    }

    pub async fn node(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let value = json!({ "kind": "Node", "metadata": { "name": name, "labels": labels } });
        self.put(Key::global(Kind::Node, name), value.to_string().into_bytes()).await;
    }

    pub async fn nodes(&self, names: &[&str]) {
        for name in names {
            self.node(name, &[]).await;
        }
    }

    pub async fn reserve(&self, cidrs: &[&str]) {
        let value = json!({ "kind": "IPReservation", "spec": { "reservedCIDRs": cidrs } });
        self.put(Key::global(Kind::IpReservation, "r"), value.to_string().into_bytes()).await;
    }

    pub async fn config(&self, change: impl FnOnce(&mut IpamConfig)) {
        let (mut config, revision) = self.allocator().config(soon()).await.expect("a config");
        change(&mut config);
        self.allocator().set_config(&config, revision, soon()).await.expect("it is valid");
    }

    pub async fn all(&self, prefix: Prefix) -> Vec<Document> {
        let snapshot = self.store.read(&[Query::Prefix(prefix)], soon()).await.expect("it reads");
        snapshot.results.into_iter().flatten().collect()
    }

    pub async fn blocks(&self) -> Vec<Block> {
        let documents = self.all(Prefix::Blocks(None)).await;
        documents.iter().map(|found| Block::decode(&found.value).expect("a block")).collect()
    }

    pub async fn block(&self, cidr: &str) -> Option<Block> {
        let query = [Query::Key(Key::Block(net(cidr)))];
        let found = self.store.read(&query, soon()).await.expect("it reads").results.remove(0);
        found.first().map(|found| Block::decode(&found.value).expect("a block"))
    }

    /// The blocks that an owner has an affinity for.
    pub async fn affinities(&self, owner: &AffinityOwner) -> Vec<IpNet> {
        let documents = self.all(Prefix::Affinities(owner.clone(), None)).await;
        let cidr = |found: Document| match found.key {
            Key::Affinity(_, cidr) => Some(cidr),
            _ => None,
        };
        documents.into_iter().filter_map(cidr).collect()
    }

    pub async fn all_affinities(&self) -> Vec<Document> {
        let mut found = self.all(Prefix::AllAffinities(AffinityType::Host)).await;
        found.extend(self.all(Prefix::AllAffinities(AffinityType::Virtual)).await);
        found
    }

    pub async fn handles(&self) -> Vec<String> {
        let id = |found: Document| match found.key {
            Key::Handle(id) => Some(id),
            _ => None,
        };
        self.all(Prefix::Handles(String::new())).await.into_iter().filter_map(id).collect()
    }

    /// One IPv4 address for a handle.
    pub async fn assign(&self, host: &str, handle: &str) -> Result<Assigned, IpamError> {
        let request = AutoAssign { handle: Some(handle.into()), ..AutoAssign::new(host) };
        let assignment = self.allocator().auto_assign(&request, None, None, soon()).await?;
        Ok(assignment.v4.addresses[0].clone())
    }

    pub async fn auto(&self, request: &AutoAssign) -> Result<Assignment, IpamError> {
        self.allocator().auto_assign(request, None, None, soon()).await
    }

    pub async fn assign_ip(
        &self,
        address: &str,
        host: &str,
        handle: Option<&str>,
    ) -> Result<Assigned, IpamError> {
        let request = self.ip_request(address, host, handle);
        self.allocator().assign_ip(&request, None, None, soon()).await
    }

    pub fn ip_request(&self, address: &str, host: &str, handle: Option<&str>) -> AssignIp {
        AssignIp {
            ip: ip(address),
            host: host.into(),
            handle: handle.map(str::to_owned),
            attributes: BTreeMap::new(),
            intended_use: Some(IntendedUse::Workload),
            max_per_handle: None,
            host_reserved: None,
            reuse: false,
            from: None,
        }
    }

    pub async fn release(&self, handle: &str) -> Vec<IpAddr> {
        let handles = [handle.to_owned()];
        let released = self.allocator().release_by_handle(&handles, None, Vec::new(), soon()).await;
        released.expect("it is released")
    }

    /// Releases an address without guards.
    pub async fn release_ip(&self, address: IpAddr) {
        let outcome = self
            .allocator()
            .release_ips(&[guard(address, None, None)], soon())
            .await
            .expect("it is released");
        assert!(outcome.error.is_none() && outcome.unallocated.is_empty(), "{outcome:?}");
    }

    /// Nothing is broken, and nothing is half-done.
    pub async fn consistent(&self) {
        let report = check(&self.all(Prefix::All).await);
        let problems: Vec<_> = report.at_least(Severity::HalfDone).collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}
