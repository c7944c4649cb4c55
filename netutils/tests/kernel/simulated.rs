//! A host and a container, made of two network namespaces without any way out.

use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use netutils::{CreatedPair, Device, End, Mac, Netlink, NetlinkError, Netns, Pair};
use nix::sched::{CloneFlags, unshare};

/// The hardware address that Calico gives to every host end.
pub const HOST_MAC: Mac = Mac::new([0xee; 6]);
/// A hardware address for containers.
pub const CONTAINER_MAC: Mac = Mac::new([0x02, 0, 0, 0, 0, 1]);

thread_local! {
    static ISOLATED: Cell<bool> = const { Cell::new(false) };
}

/// Takes the test's own thread out of the machine's network. Should the crate fail to enter a
/// namespace, the test then fails in here, and no setting or interface of the machine is touched.
fn isolate() {
    if !ISOLATED.replace(true) {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
    }
}

/// A new network namespace, which ends when the last handle of it is gone.
pub fn netns() -> Netns {
    isolate();
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
        Netns::current().unwrap()
    })
    .join()
    .unwrap()
}

/// A path that leads to the namespace while `netns` is open, like the one that a runtime passes.
pub fn path_of(netns: &Netns) -> PathBuf {
    Path::new("/proc/self/fd").join(netns.as_fd().as_raw_fd().to_string())
}

/// Two namespaces, each with a socket.
pub struct Simulation {
    pub host: Netlink,
    pub container: Netlink,
    pub container_ns: Netns,
}

impl Simulation {
    pub async fn new() -> Self {
        let container_ns = netns();
        let host = Netlink::open_in(&netns()).unwrap();
        let container = Netlink::open_in(&container_ns).unwrap();
        for socket in [&host, &container] {
            let lo = socket.link("lo").await.unwrap().unwrap();
            socket.set_up(lo.index).await.unwrap();
        }
        Self { host, container, container_ns }
    }

    /// A veth pair `name` and `eth0`, both ends up.
    pub async fn wire(&self, name: &str) -> CreatedPair {
        let created = self.create(&end(name, HOST_MAC), &end("eth0", CONTAINER_MAC)).await.unwrap();
        self.host.set_up(created.host.index).await.unwrap();
        self.container.set_up(created.container_index).await.unwrap();
        created
    }

    /// A veth pair with these ends, both down.
    pub async fn create(&self, host: &End, container: &End) -> Result<CreatedPair, NetlinkError> {
        self.host.create_pair(pair(host, container, &self.container_ns)).await
    }
}

/// The description of a veth pair.
pub fn pair<'a>(host: &'a End, container: &'a End, container_ns: &'a Netns) -> Pair<'a> {
    Pair { device: Device::Veth, host, host_alias: None, container, container_ns, queues: 1 }
}

pub fn end(name: &str, mac: Mac) -> End {
    End { name: name.into(), mac, mtu: Some(1440) }
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The outcome of something that must come to an end soon.
pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("not done after 20 s")
}
