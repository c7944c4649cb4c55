//! An ADD that takes addresses from a former sandbox of its pod, and fails. Only the Kubernetes API
//! lets a pod name addresses, so no runtime can bring a program here yet: what is played is the
//! store's part of ADD, on a store of its own, and then the ladder.

use cni_ipam::conf::NetConf;
use cni_ipam::identity::{Identity, Workload};
use libcalico::ipam::check::check;
use libcalico::ipam::{Allocator, IpamErrorKind};
use libcalico::store::{Document, Prefix};
use netutils::{Netlink, Netns};

use super::*;
use crate::pod_inputs::Named;

const NODE: &str = "node-a";
const OLD: &str = "net-1.old";
const NEW: &str = "net-1.new";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limit() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// A store of the test's own, with a pool of each family.
struct Site {
    datastore: Datastore,
    sockets: Sockets,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let mut conf = NetConf { datastore_type: "local".into(), ..NetConf::default() };
        conf.local.path = Some(folder.path().join("calico.db"));
        conf.local.ipv4_pool_cidr = Some("10.65.0.0/16".parse().unwrap());
        conf.local.ipv6_pool_cidr = Some("fd00:65::/64".parse().unwrap());
        let datastore = datastore::open(&conf, NODE).unwrap();
        let netns = Netns::current().unwrap();
        // Nothing of a kernel is looked at.
        let (host, container) = (Netlink::open().unwrap(), Netlink::open().unwrap());
        let sockets = Sockets { host, container, netns };
        Site { datastore, sockets, _folder: folder }
    }

    /// A sandbox of the pod, which names these addresses.
    fn sandbox(&self, container_id: &str, addresses: &[&str]) -> Sandbox<'_> {
        let identity = Identity {
            workload: Workload::Pod { namespace: "shop".into(), name: "cart-0".into() },
            container_id: container_id.into(),
            ifname: "eth0".into(),
            node: NODE.into(),
            network: "net-1".into(),
        };
        let named: Vec<IpAddr> = addresses.iter().copied().map(ip).collect();
        let source = Source::Own(request::these(&named, &identity, clock::now()));
        let mut attachment = Attachment::by_hand(identity).unwrap();
        attachment.pod.addresses = Named::FromIpam(named);
        Sandbox { site: self, attachment, source }
    }

    fn allocator(&self) -> Allocator<'_> {
        Allocator::new(&*self.datastore.store)
    }

    /// What a handle has, in the order of the addresses; a handle that isn't there has nothing.
    async fn held(&self, handle: &str) -> String {
        let held = match self.allocator().ips_by_handle(handle, limit().end()).await {
            Err(error) if error.kind() == IpamErrorKind::NotFound => Vec::new(),
            held => held.unwrap(),
        };
        held.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The endpoints, once nothing contradicts itself.
    async fn endpoints(&self) -> Vec<Vec<u8>> {
        let all = [Query::Prefix(Prefix::All)];
        let snapshot = self.datastore.store.read(&all, limit().end()).await.unwrap();
        let documents: Vec<Document> = snapshot.results.into_iter().flatten().collect();
        let report = check(&documents);
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
        let endpoint = |document: &Document| {
            matches!(
                &document.key,
                Key::Resource { kind: libcalico::resources::Kind::WorkloadEndpoint, .. }
            )
        };
        documents.into_iter().filter(endpoint).map(|document| document.value).collect()
    }
}

struct Sandbox<'a> {
    site: &'a Site,
    attachment: Attachment,
    source: Source,
}

impl Sandbox<'_> {
    fn ladder(&self) -> Ladder<'_> {
        Ladder::new(&self.attachment, &self.site.datastore, &self.site.sockets)
    }

    /// The store's part of its ADD.
    async fn assign(&self, ladder: &Ladder<'_>) -> Result<Vec<IpAddr>, Error> {
        let Site { datastore, sockets, .. } = self.site;
        let (now, end) = (clock::now(), limit());
        let add = Add { attachment: &self.attachment, datastore, sockets, ladder, now, end };
        let (known, prefetched) = add.read(&self.source).await?;
        let ends = Ends { host_link: "cali0123456789a", mac: Mac::random() };
        let (decision, _decided) = Decision::open();
        let assigned = add.assign(&self.source, prefetched, &known, ends, decision).await?;
        Ok(assigned.addresses)
    }
}

#[tokio::test]
async fn fix_34_the_former_sandbox_has_its_addresses_again_when_the_add_fails() {
    let site = Site::new();
    let old = site.sandbox("old", &["10.65.0.7", "fd00:65::7", "10.65.0.8"]);
    old.assign(&old.ladder()).await.unwrap();
    let endpoints = site.endpoints().await;
    assert_eq!(site.held(OLD).await, "10.65.0.7 10.65.0.8 fd00:65::7");

    // Two of the former sandbox, and one that nobody has.
    let new = site.sandbox("new", &["10.65.0.7", "fd00:65::7", "10.65.1.9"]);
    let ladder = new.ladder();
    new.assign(&ladder).await.unwrap();
    assert_eq!(site.held(OLD).await, "10.65.0.8");
    assert_eq!(site.held(NEW).await, "10.65.0.7 10.65.1.9 fd00:65::7");
    assert_ne!(site.endpoints().await, endpoints);

    ladder.descend().await;
    assert_eq!(site.held(OLD).await, "10.65.0.7 10.65.0.8 fd00:65::7");
    assert_eq!(site.held(NEW).await, "");
    assert_eq!(site.endpoints().await, endpoints);
    // By its own name, so that its DEL releases them.
    let recorded = site.allocator().assignment_attributes(ip("10.65.0.7"), limit().end()).await;
    let recorded = recorded.unwrap();
    assert_eq!(recorded.handle.as_deref(), Some(OLD));
    assert_eq!(recorded.active.get("pod").map(String::as_str), Some("cart-0"));
}

#[tokio::test]
async fn fix_34_the_former_sandbox_keeps_its_addresses_when_nothing_was_taken() {
    let site = Site::new();
    let old = site.sandbox("old", &["10.65.0.7"]);
    old.assign(&old.ladder()).await.unwrap();
    let endpoints = site.endpoints().await;
    let other = site.sandbox("other", &["10.65.0.9"]);
    let requests = [request(&other, "net-1.other")];
    site.allocator().assign_ips(&requests, None, None, limit().end()).await.unwrap();

    let new = site.sandbox("new", &["10.65.0.7", "10.65.0.9"]);
    let ladder = new.ladder();
    let error = new.assign(&ladder).await.unwrap_err();
    assert!(error.msg.contains("10.65.0.9"), "{error}");
    ladder.descend().await;
    assert_eq!(site.held(OLD).await, "10.65.0.7");
    assert_eq!(site.held(NEW).await, "");
    assert_eq!(site.held("net-1.other").await, "10.65.0.9");
    assert_eq!(site.endpoints().await, endpoints);
}

#[tokio::test]
async fn fix_34_a_former_sandbox_that_is_gone_gets_nothing_of_an_add_that_took_nothing() {
    let site = Site::new();
    let old = site.sandbox("old", &["10.65.0.7"]);
    old.assign(&old.ladder()).await.unwrap();
    let other = site.sandbox("other", &["10.65.0.9"]);
    let requests = [request(&other, "net-1.other")];
    site.allocator().assign_ips(&requests, None, None, limit().end()).await.unwrap();
    let new = site.sandbox("new", &["10.65.0.7", "10.65.0.9"]);
    let ladder = new.ladder();
    new.assign(&ladder).await.map(drop).unwrap_err();
    // Its late DEL is the last one.
    let old_handle = [OLD.to_owned()];
    site.allocator().release_by_handle(&old_handle, None, Vec::new(), limit().end()).await.unwrap();
    ladder.descend().await;
    assert_eq!(site.held(OLD).await + &site.held(NEW).await, "");
}

#[tokio::test]
async fn fix_34_what_somebody_else_has_by_now_does_not_go_back() {
    let site = Site::new();
    let old = site.sandbox("old", &["10.65.0.7"]);
    old.assign(&old.ladder()).await.unwrap();
    let new = site.sandbox("new", &["10.65.0.7"]);
    let ladder = new.ladder();
    new.assign(&ladder).await.unwrap();
    // An operator released it, and somebody else was quicker than the undo.
    let new_handle = [NEW.to_owned()];
    site.allocator().release_by_handle(&new_handle, None, Vec::new(), limit().end()).await.unwrap();
    let requests = [request(&site.sandbox("other", &["10.65.0.7"]), "net-1.other")];
    site.allocator().assign_ips(&requests, None, None, limit().end()).await.unwrap();

    ladder.descend().await;
    assert_eq!(site.held("net-1.other").await, "10.65.0.7");
    assert_eq!(site.held(OLD).await + &site.held(NEW).await, "");
    site.endpoints().await;
}

/// The first request of a sandbox, as it stands.
fn request(sandbox: &Sandbox<'_>, handle: &str) -> libcalico::ipam::AssignIp {
    let Source::Own(Addresses::These(requests)) = &sandbox.source else { panic!("no address") };
    assert_eq!(requests[0].handle.as_deref(), Some(handle));
    requests[0].clone()
}
