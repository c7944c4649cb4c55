//! ADD: a container gets its interface, its addresses and its endpoint
//! (`reference/cni-plugin.md` section 3).
//!
//! One read tells all that is known of the container and of IPAM; meanwhile the kernel is looked
//! at. Then the pair is born while one commit writes address, handle, endpoint and profile: all of
//! them or none. Whatever fails, [`Ladder`] takes back what was done, in reverse.

use std::net::IpAddr;
use std::path::Path;

use cni::{AddResult, Error, Interface, IpConfig, Request, Route, code};
use cni_ipam::add as ipam_add;
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::request::{self, Addresses};
use cni_ipam::{fault, lock, run};
use ipnet::IpNet;
use libcalico::ipam::{self, IpamError};
use libcalico::resources::ValidationError;
use libcalico::store::{Change, Committed, Document, Key, Query, Snapshot};
use netutils::{Link, Mac, sysctl};
use time::OffsetDateTime;

use crate::attachment::Attachment;
use crate::conf::Conf;
use crate::dataplane::{self, Sockets, Wanted};
use crate::delegate::Delegate;
use crate::endpoint::{self, Contents, Found, Stored};
use crate::ladder::{Ladder, StoreRung};
use crate::owed;

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// Attaches the container.
pub async fn add(conf: Conf, request: &Request) -> Result<AddResult, Error> {
    let attachment = Attachment::of(conf, request)?;
    attachment.check_add()?;
    let mtu = attachment.conf.mtu()?;
    let device = attachment.device()?;
    let previous = request.config.prev_result()?;
    let now = OffsetDateTime::now_utc();
    let shared = &attachment.conf.shared;
    let source = match attachment.has_own_ipam() {
        true => Source::Own(request::addresses(shared, &request.args, &attachment.identity, now)?),
        false => Source::Delegate(Delegate::find(request)?),
    };
    if let Source::Own(_) = source
        && shared.wants_ipv6()
        && !sysctl::ipv6_is_available()
    {
        return Err(Error::new(
            code::DATAPLANE,
            "ipam.assign_ipv6 is \"true\", but this host's kernel has IPv6 switched off \
             (/proc/sys/net/ipv6 is missing): switch it on, or leave assign_ipv6 out",
        ));
    }
    // The runtime gave a path for every ADD: the protocol insists on it.
    let path = request.netns.as_deref().unwrap_or(Path::new(""));
    let netns = dataplane::open_netns(path, request.netns_override)?;
    let datastore = datastore::open(shared, &attachment.identity.node)?;
    let sockets = Sockets::open(netns)?;

    let ladder = Ladder::new(&attachment, &datastore, &sockets);
    let work = Add {
        attachment: &attachment,
        datastore: &datastore,
        sockets: &sockets,
        ladder: &ladder,
        now,
    };
    let outcome = tokio::select! {
        outcome = work.attach(&source, Shape { mtu, device }) => outcome,
        error = run::interrupted(run::ADD_LIMIT) => Err(error),
    };
    match outcome {
        Ok(attached) => {
            Ok(attached.result(request, previous.unwrap_or_default(), &attachment.conf))
        }
        Err(error) => {
            ladder.descend().await;
            Err(error)
        }
    }
}

/// Where addresses come from.
enum Source {
    /// From our own IPAM, in this process.
    Own(Addresses),
    /// From another plugin.
    Delegate(Delegate),
}

/// What the pair looks like.
#[derive(Clone, Copy)]
struct Shape {
    mtu: Option<u32>,
    device: netutils::Device,
}

/// What an ADD made.
struct Attached {
    host_link: String,
    mac: String,
    addresses: Vec<IpAddr>,
    routes: Vec<Route>,
    dns: cni::Dns,
}

struct Add<'a> {
    attachment: &'a Attachment,
    datastore: &'a Datastore,
    sockets: &'a Sockets,
    ladder: &'a Ladder<'a>,
    now: OffsetDateTime,
}

/// What the store knows of the container.
struct Known {
    found: Found,
    has_profile: bool,
}

impl Add<'_> {
    async fn attach(&self, source: &Source, shape: Shape) -> Result<Attached, Error> {
        let shared = &self.attachment.conf.shared;
        let mut lock = match source {
            Source::Own(_) => lock::acquire(&shared.ipam_lock_file).await,
            Source::Delegate(_) => None,
        };
        // A note about this very container must be paid before it is attached again.
        let identity = &self.attachment.identity;
        owed::settle(&identity.network, &identity.node, self.datastore).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (known, prefetched) = self.read(source).await?;
            if let Some(mine) = &known.found.mine
                && let Some(attached) = self.repeated(mine, &known).await?
            {
                return Ok(attached);
            }
            let stored =
                known.found.mine.as_ref().map(|mine| mine.endpoint.spec.interface_name.as_str());
            let (host_link, stale) =
                self.attachment.host_link.choose(&self.sockets.host, stored).await?;
            self.check_ifname(stale.as_ref()).await?;

            let mac = Mac::random();
            let wanted = Wanted {
                host_name: &host_link,
                alias: &self.attachment.host_link.alias,
                ifname: &self.attachment.identity.ifname,
                mac,
                mtu: shape.mtu,
                queues: self.attachment.conf.queues(),
                device: shape.device,
            };
            self.ladder.begin_link(&host_link);
            let pair = self.sockets.create(&wanted, stale.as_ref());
            let written = self.assign(source, prefetched, &known, &host_link, mac);
            let (pair, written) = tokio::join!(pair, async {
                let written = written.await;
                drop(lock.take());
                written
            });
            let (assigned, pair) = match (written, pair) {
                (Ok(assigned), Ok(pair)) => (assigned, pair),
                (Err(Failure::Conflict), Ok(pair)) if attempt < ATTEMPTS => {
                    // The pair is remade: the next try may need another name.
                    self.sockets.undo(pair.host.index).await;
                    continue;
                }
                (_, Err(error)) => return Err(error),
                (Err(failure), _) => return Err(failure.into()),
            };
            let forwarding = self.attachment.conf.own.container_settings.allow_ip_forwarding;
            let ifname = &self.attachment.identity.ifname;
            self.sockets.configure(&pair, ifname, &assigned.addresses, forwarding).await?;
            return Ok(Attached {
                host_link,
                mac: mac.to_string(),
                addresses: assigned.addresses,
                routes: assigned.routes,
                dns: assigned.dns,
            });
        }
    }

    /// Reads all that is known of the container, and for our own IPAM.
    async fn read(&self, source: &Source) -> Result<(Known, Option<Snapshot>), Error> {
        let identity = &self.attachment.identity;
        let own = vec![
            self.attachment.endpoint.query(),
            Query::Key(endpoint::profile_key(&identity.network)),
        ];
        let deadline = run::deadline(run::STORE_LIMIT);
        let wanted = match source {
            Source::Own(wanted) => Some(wanted),
            Source::Delegate(_) => None,
        };
        let read = ipam_add::read(self.datastore, &identity.node, own, wanted, deadline).await?;
        datastore::ensure_ready(&read.cluster, &*self.datastore.store)?;
        let answer = |at: usize| read.own.get(at).map(Vec::as_slice).unwrap_or_default();
        let found =
            self.attachment.endpoint.find(answer(0)).map_err(|error| fault::damaged(&error))?;
        let known = Known { found, has_profile: !answer(1).is_empty() };
        Ok((known, wanted.is_some().then_some(read.ipam)))
    }

    /// A repeated ADD for a container that has all it needs answers what it has. A pod is always
    /// set up anew, since its endpoint may be a former sandbox's.
    async fn repeated(&self, mine: &Stored, known: &Known) -> Result<Option<Attached>, Error> {
        let identity = &self.attachment.identity;
        let spec = &mine.endpoint.spec;
        if identity.pod().is_some() || spec.container_id != identity.container_id {
            return Ok(None);
        }
        let container = &self.sockets.container;
        let link =
            container.link(&identity.ifname).await.map_err(|error| dataplane::fault(&error))?;
        let Some(link) = link else { return Ok(None) };
        let present =
            container.addresses(link.index).await.map_err(|error| dataplane::fault(&error))?;
        let addresses = endpoint::addresses(&mine.endpoint);
        let complete = !addresses.is_empty()
            && addresses
                .iter()
                .all(|address| present.iter().any(|there| there.net.addr() == *address));
        if !complete {
            return Ok(None);
        }
        self.join_network(mine, known).await?;
        Ok(Some(Attached {
            host_link: spec.interface_name.clone(),
            mac: spec.mac.clone(),
            addresses,
            routes: Vec::new(),
            dns: cni::Dns::default(),
        }))
    }

    /// Adds this network to the profiles of an endpoint that another network made.
    async fn join_network(&self, mine: &Stored, known: &Known) -> Result<(), Error> {
        let mut changes = Vec::new();
        if let Some(change) = self.attachment.endpoint.add_profile(mine) {
            changes.push(change.map_err(|error| invalid_object(&error))?);
        }
        changes.extend(self.profile(known)?);
        if changes.is_empty() {
            return Ok(());
        }
        let deadline = run::deadline(run::STORE_LIMIT);
        match self.datastore.store.commit(&changes, deadline).await {
            Ok(Committed::Done(_)) => Ok(()),
            Ok(Committed::Conflict(_)) => Err(overtaken()),
            Err(error) => Err(fault::store(&error)),
        }
    }

    /// The name in the container must be free, unless it is that of the pair which is replaced.
    async fn check_ifname(&self, stale: Option<&Link>) -> Result<(), Error> {
        let ifname = &self.attachment.identity.ifname;
        let container = &self.sockets.container;
        let link = container.link(ifname).await.map_err(|error| dataplane::fault(&error))?;
        let Some(link) = link else { return Ok(()) };
        let replaced = stale.is_some_and(|stale| stale.peer_index == Some(link.index));
        match replaced {
            true => Ok(()),
            false => Err(Error::new(
                code::DATAPLANE,
                format!(
                    "CNI_IFNAME {ifname} already exists in {}: give the interface another name, or \
                     remove it there",
                    self.sockets.netns.path().display()
                ),
            )),
        }
    }

    /// The change that makes the network's profile, if there is none.
    fn profile(&self, known: &Known) -> Result<Option<Change>, Error> {
        if known.has_profile || !self.attachment.makes_profile() {
            return Ok(None);
        }
        endpoint::create_profile(&self.attachment.identity, self.now)
            .map(Some)
            .map_err(|error| invalid_object(&error))
    }

    /// Gets addresses, and writes the endpoint and the profile.
    async fn assign(
        &self,
        source: &Source,
        prefetched: Option<Snapshot>,
        known: &Known,
        host_link: &str,
        mac: Mac,
    ) -> Result<Assigned, Failure> {
        let handle = self.attachment.identity.handle();
        self.ladder.begin_store(StoreRung {
            previous: known.found.mine.as_ref().map(|mine| mine.document.clone()),
            // What the handle had before this ADD stays with it.
            releases: matches!(source, Source::Own(_)) && !holds_addresses(&prefetched, &handle),
        });
        match source {
            Source::Own(wanted) => {
                // What could be invalid about the objects shows without addresses too.
                self.changes(known, host_link, mac, &[])?;
                let companion = |assigned: &[ipam::Assigned]| {
                    let addresses: Vec<IpAddr> = assigned.iter().map(|one| one.address).collect();
                    self.changes(known, host_link, mac, &addresses).unwrap_or_default()
                };
                // A container's second interface in the same network gets addresses of its own.
                let wanted = wanted.reusing(known.found.siblings.is_empty());
                let assigned = ipam_add::assign(
                    &*self.datastore.store,
                    &wanted,
                    prefetched,
                    Some(&companion),
                    run::deadline(run::STORE_LIMIT),
                )
                .await
                .map_err(|error| match error {
                    IpamError::CompanionConflict(_) => Failure::Conflict,
                    error => Failure::Error(fault::ipam(&error)),
                })?;
                Ok(Assigned {
                    addresses: assigned.iter().map(|assigned| assigned.address).collect(),
                    routes: assigned
                        .iter()
                        .map(|one| Route::to(ipam_add::with_prefix(&wanted, one)))
                        .collect(),
                    dns: cni::Dns::default(),
                })
            }
            Source::Delegate(delegate) => {
                self.ladder.begin_delegate(delegate);
                let result = delegate.add().await?;
                let addresses: Vec<IpAddr> =
                    result.ips.iter().map(|ip| ip.address.addr()).collect();
                if addresses.is_empty() {
                    let message = format!("{} gave no address", delegate.name());
                    return Err(Error::new(code::DELEGATION, message).into());
                }
                self.write(source, known, host_link, mac, &addresses).await?;
                Ok(Assigned { addresses, routes: result.routes, dns: result.dns })
            }
        }
    }

    /// The changes that write the endpoint and, where it is missing, the profile.
    fn changes(
        &self,
        known: &Known,
        host_link: &str,
        mac: Mac,
        addresses: &[IpAddr],
    ) -> Result<Vec<Change>, Error> {
        let contents =
            Contents { labels: &self.attachment.labels, addresses, host_link, mac, now: self.now };
        let mine = known.found.mine.as_ref();
        let endpoint = self.attachment.endpoint.write(mine, &contents);
        let endpoint = endpoint.map_err(|error| invalid_object(&error))?;
        Ok(std::iter::once(endpoint).chain(self.profile(known)?).collect())
    }

    /// Commits the changes on their own, for addresses that somebody else gave.
    async fn write(
        &self,
        source: &Source,
        known: &Known,
        host_link: &str,
        mac: Mac,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let deadline = run::deadline(run::STORE_LIMIT);
        let mut changes = self.changes(known, host_link, mac, addresses)?;
        for _ in 0..ATTEMPTS {
            match self.datastore.store.commit(&changes, deadline).await {
                Ok(Committed::Done(_)) => return Ok(()),
                Ok(Committed::Conflict(_)) => {
                    let (known, _) = self.read(source).await?;
                    changes = self.changes(&known, host_link, mac, addresses)?;
                }
                Err(error) => return Err(fault::store(&error)),
            }
        }
        Err(overtaken())
    }
}

/// What was assigned.
struct Assigned {
    addresses: Vec<IpAddr>,
    routes: Vec<Route>,
    dns: cni::Dns,
}

/// Why nothing was assigned.
enum Failure {
    /// Somebody changed the endpoint or the profile since we read it: read again.
    Conflict,
    /// For good.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Conflict => overtaken(),
            Failure::Error(error) => error,
        }
    }
}

fn overtaken() -> Error {
    Error::new(
        code::TRY_AGAIN_LATER,
        "the WorkloadEndpoint or the Profile was changed by somebody else meanwhile: try again",
    )
}

fn invalid_object(error: &ValidationError) -> Error {
    Error::new(code::INVALID_CONFIG, error.to_string())
}

/// Whether a handle is among what was read for IPAM.
fn holds_addresses(prefetched: &Option<Snapshot>, handle: &str) -> bool {
    let is_handle = |document: &Document| matches!(&document.key, Key::Handle(id) if id == handle);
    prefetched.as_ref().is_some_and(|snapshot| snapshot.results.iter().flatten().any(is_handle))
}

impl Attached {
    /// The answer: our interfaces and addresses behind those of the plugins before us.
    fn result(self, request: &Request, previous: AddResult, conf: &Conf) -> AddResult {
        let mut result = previous;
        let first = result.interfaces.len();
        result.interfaces.push(Interface { name: self.host_link, ..Interface::default() });
        result.interfaces.push(Interface {
            name: request.ifname.clone(),
            mac: self.mac,
            // COMPAT: the configured MTU; left out when it is the default.
            mtu: u32::try_from(conf.own.mtu).ok().filter(|mtu| *mtu != 0),
            sandbox: request
                .netns
                .as_ref()
                .map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default(),
            ..Interface::default()
        });
        result.ips.extend(self.addresses.iter().map(|address| IpConfig {
            interface: Some(first + 1),
            ..IpConfig::new(IpNet::from(*address))
        }));
        result.routes.extend(self.routes);
        if result.dns.is_empty() {
            result.dns = self.dns;
        }
        result
    }
}
