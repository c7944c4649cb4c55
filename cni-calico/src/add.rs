//! ADD: a container gets its interface, its addresses and its endpoint
//! (`reference/cni-plugin.md` section 3).
//!
//! One read tells all that is known of the container and of IPAM; meanwhile the kernel is looked
//! at. Then the pair is born and configured while one commit writes address, handle, endpoint and
//! profile: all of them or none. The host's routes come last, so that nothing reaches the container
//! before the address is its own. Whatever fails, [`Ladder`] takes back what was done, in reverse.

mod answer;
mod assign;
mod repeated;

use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use cni::{AddResult, Error, Request, Route, code};
use cni_ipam::add as ipam_add;
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::request::{self, Addresses};
use cni_ipam::run::Deadline;
use cni_ipam::{fault, lock, recent, run};
use libcalico::clock;
use libcalico::resources::ValidationError;
use libcalico::store::{Key, Query, Snapshot};
use netutils::{CreatedPair, Link, Mac, NetlinkError, sysctl};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tracing::{Instrument, debug_span};

use assign::{Decision, Ends, Failure};

use crate::attachment::Attachment;
use crate::conf::Conf;
use crate::dataplane::{self, Sockets, Wanted};
use crate::delegate::Delegate;
use crate::endpoint::{self, Found, Stored};
use crate::host_link::Owner;
use crate::host_local;
use crate::ladder::Ladder;
use crate::pod_inputs::Named;
use crate::policy_wait::{PolicyWait, Programmed};
use crate::{owed, readiness, unmarked};

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// Attaches the container.
pub async fn add(conf: Conf, request: &Request, end: Deadline) -> Result<AddResult, Error> {
    let attachment = Attachment::for_add(conf, request)?;
    let shape = Shape {
        mtu: attachment.conf.mtu()?,
        device: attachment.device()?,
        queues: attachment.conf.queues()?,
        mac: attachment.mac()?,
    };
    let previous = request.config.prev_result()?;
    let now = clock::now();
    let shared = &attachment.conf.shared;
    let source = match attachment.has_own_ipam() {
        true => own_ipam(&attachment, request, now)?,
        false => Source::Delegate(Delegate::find(request)?.adding(host_local::for_addition(
            &request.config,
            // The Node has them, which only the Kubernetes API could tell.
            None,
        )?)),
    };
    if source.wants_ipv6() && !sysctl::ipv6_is_available() {
        return Err(Error::new(
            code::DATAPLANE,
            "an IPv6 address is asked for, but this host's kernel has IPv6 switched off \
             (/proc/sys/net/ipv6 is missing): switch it on, or leave ipam.assign_ipv6 out",
        ));
    }
    // The runtime gave a path for every ADD: the protocol insists on it.
    let path = request.netns.as_deref().unwrap_or(Path::new(""));
    let netns = dataplane::open_netns(path, request.netns_override)?;
    let datastore = datastore::open(shared, &attachment.identity.node)?;
    let sockets = Sockets::open(netns)?;
    let attached = attach(&attachment, &datastore, &sockets, &source, shape, now, end).await?;
    Ok(attached.result(request, previous.unwrap_or_default(), &attachment.conf.own.dns))
}

/// Attaches, or else takes back what was begun.
pub(crate) async fn attach(
    attachment: &Attachment,
    datastore: &Datastore,
    sockets: &Sockets,
    source: &Source,
    shape: Shape,
    now: OffsetDateTime,
    end: Deadline,
) -> Result<Attached, Error> {
    let ladder = Ladder::new(attachment, datastore, sockets);
    let work = Add { attachment, datastore, sockets, ladder: &ladder, now, end };
    let mut attaching = pin!(work.attach(source, shape));
    let outcome = tokio::select! {
        // Signals are watched before anything is begun.
        biased;
        why = run::interrupted(end) => {
            // What is on its way to the store can't be called back, and not be undone before it is
            // there.
            let arrived = async {
                tokio::select! {
                    biased;
                    _ = &mut attaching => {}
                    () = ladder.no_commit() => {}
                }
            };
            let _ = tokio::time::timeout(run::DEL_STORE_LIMIT, arrived).await;
            Err(why.error("what it began is undone"))
        }
        outcome = &mut attaching => outcome,
    };
    if outcome.is_err() {
        ladder.descend().instrument(debug_span!("undo")).await;
    }
    outcome
}

/// Where the addresses of our own IPAM's networks come from: from there, unless a pod brings its own.
fn own_ipam(
    attachment: &Attachment,
    request: &Request,
    now: OffsetDateTime,
) -> Result<Source, Error> {
    let Attachment { conf, identity, pod, .. } = attachment;
    Ok(match &pod.addresses {
        Named::None => Source::Own(request::addresses(&conf.shared, &request.args, identity, now)?),
        Named::FromIpam(addresses) => Source::Own(request::these(addresses, identity, now)),
        Named::WithoutIpam(addresses) => Source::Pod(addresses.clone()),
    })
}

/// Where addresses come from.
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(crate) enum Source {
    /// From our own IPAM, in this process.
    Own(Addresses),
    /// From the pod itself, and no IPAM knows of them.
    Pod(Vec<IpAddr>),
    /// From another plugin.
    Delegate(Delegate),
}

impl Source {
    /// Whether it is known to give an IPv6 address.
    fn wants_ipv6(&self) -> bool {
        match self {
            Source::Own(Addresses::Any(request)) => request.v6 > 0,
            Source::Own(Addresses::These(requests)) => requests.iter().any(|one| one.ip.is_ipv6()),
            Source::Pod(addresses) => addresses.iter().any(IpAddr::is_ipv6),
            Source::Delegate(_) => false,
        }
    }
}

/// What the pair looks like.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// As configured; none leaves it to the kernel.
    pub(crate) mtu: Option<u32>,
    /// Its kind.
    pub(crate) device: netutils::Device,
    /// Queues of each end.
    pub(crate) queues: u32,
    /// The MAC of the container's end.
    pub(crate) mac: Mac,
}

/// What an ADD made, as the kernel has it.
pub(crate) struct Attached {
    host: Link,
    /// The MAC of the container's end.
    mac: Mac,
    /// Its MTU.
    mtu: u32,
    /// The addresses, in the order of IPAM.
    pub(crate) addresses: Vec<IpAddr>,
    /// The host's routes to the addresses. Upstream repeats what IPAM says, of blocks that nobody
    /// routes to the container.
    routes: Vec<Route>,
    dns: cni::Dns,
}

struct Add<'a> {
    attachment: &'a Attachment,
    datastore: &'a Datastore,
    sockets: &'a Sockets,
    ladder: &'a Ladder<'a>,
    now: OffsetDateTime,
    end: Deadline,
}

/// A pair, and for which addresses it was configured while they were being committed.
struct Made {
    pair: CreatedPair,
    configured: Option<(Vec<IpAddr>, Result<(), Error>)>,
}

/// What the store knows of the container.
struct Known {
    found: Found,
    has_profile: bool,
}

impl Add<'_> {
    async fn attach(&self, source: &Source, shape: Shape) -> Result<Attached, Error> {
        let shared = &self.attachment.conf.shared;
        let gates = self.attachment.conf.gates()?;
        readiness::wait(&gates, self.end).instrument(debug_span!("gates")).await?;
        let identity = &self.attachment.identity;
        let (looking, mut lock);
        let source = match source {
            Source::Own(wanted) => {
                let taken = lock::acquire(&shared.ipam_lock_file, self.end);
                lock = taken.instrument(debug_span!("lock")).await;
                let likely = recent::blocks(lock.as_deref(), &identity.network);
                looking = Source::Own(wanted.looking_in(likely));
                &looking
            }
            Source::Pod(_) | Source::Delegate(_) => {
                lock = None;
                source
            }
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            // PERF: the kernel is asked while the store answers.
            let (read, taken) = tokio::join!(self.read(source), self.taken());
            let (mut known, mut prefetched) = read?;
            if attempt == 1 && owed::settle_before(identity, self.datastore, self.end).await? {
                (known, prefetched) = self.read(source).await?;
            }
            if let Some(mine) = &known.found.mine
                && let Some(attached) = self.repeated(mine, &known).await?
            {
                return Ok(attached);
            }
            let (host_link, stale) = self.choose_link(&known.found).await?;
            let stale = self.replaced(stale, taken?)?;

            let policy = self.policy_wait(&known)?;
            let mac = shape.mac;
            let wanted = Wanted {
                host_name: &host_link,
                alias: &self.attachment.host_link.alias,
                ifname: &identity.ifname,
                mac,
                mtu: shape.mtu,
                queues: shape.queues,
                device: shape.device,
            };
            self.ladder.begin_link(&host_link);
            let (decision, decided) = Decision::open();
            let made = self.make(&wanted, &stale, decided);
            let ends = Ends { host_link: &host_link, mac };
            let written = self.assign(source, prefetched, &known, ends, decision);
            let written = written.instrument(debug_span!("assign"));
            let (made, written) = tokio::join!(made, async {
                let written = written.await;
                if let Ok(assigned) = &written {
                    recent::keep(lock.as_deref(), &identity.network, &assigned.by_ipam);
                }
                drop(lock.take());
                written
            });
            let (assigned, made) = match (written, made) {
                (Ok(assigned), Ok(made)) => (assigned, made),
                (Err(Failure::Conflict), Ok(made)) if attempt < ATTEMPTS => {
                    // The pair is remade: the next try may need another name.
                    self.sockets.undo(made.pair.host.index).await;
                    continue;
                }
                (_, Err(error)) => {
                    // What has the name is somebody else's.
                    self.ladder.forget_link();
                    if dataplane::is_host_name_taken(&error) && attempt < ATTEMPTS {
                        self.ladder.descend().await;
                        continue;
                    }
                    return Err(dataplane::fault(&error));
                }
                (Err(failure), _) => return Err(failure.into()),
            };
            let pair = self.settled(made, &wanted, &assigned.addresses).await?;
            if let Some(policy) = policy {
                let addresses = &assigned.addresses;
                policy.wait(Programmed { host_link: &host_link, mac, addresses }, self.end).await;
            }
            return Ok(Attached {
                // Both ends were made alike.
                mtu: pair.host.mtu,
                host: pair.host,
                mac,
                routes: assigned.addresses.iter().map(|ip| Route::to((*ip).into())).collect(),
                addresses: assigned.addresses,
                dns: assigned.dns,
            });
        }
    }

    /// Makes the pair, and configures it for the addresses as soon as they are decided.
    async fn make(
        &self,
        wanted: &Wanted<'_>,
        stale: &[Link],
        decided: oneshot::Receiver<Vec<IpAddr>>,
    ) -> Result<Made, NetlinkError> {
        // PERF: the commit is sent before the kernel keeps this thread busy for 0.3 ms and more.
        tokio::task::yield_now().await;
        let pair = self.sockets.create(wanted, stale).instrument(debug_span!("link")).await?;
        // None were where the store's part failed before.
        let configured = match decided.await {
            Ok(addresses) => {
                let outcome = self.configure(&pair, wanted, &addresses).await;
                Some((addresses, outcome))
            }
            Err(_) => None,
        };
        Ok(Made { pair, configured })
    }

    async fn configure(
        &self,
        pair: &CreatedPair,
        wanted: &Wanted<'_>,
        addresses: &[IpAddr],
    ) -> Result<(), Error> {
        let routing = &self.attachment.routing;
        self.sockets
            .configure(&pair.host, pair.container_index, wanted.ifname, addresses, routing)
            .instrument(debug_span!("configure"))
            .await
    }

    /// The pair, configured for the addresses that were committed, and with routes to them.
    async fn settled(
        &self,
        made: Made,
        wanted: &Wanted<'_>,
        addresses: &[IpAddr],
    ) -> Result<CreatedPair, Error> {
        let Made { mut pair, configured } = made;
        match configured {
            Some((decided, outcome)) if decided == addresses => outcome?,
            Some(_) => {
                // Somebody else forestalled the first choice. A new pair has nothing of it.
                self.sockets.undo(pair.host.index).await;
                let remade = self.sockets.create(wanted, &[]).await;
                pair = remade.map_err(|error| dataplane::fault(&error))?;
                self.configure(&pair, wanted, addresses).await?;
            }
            None => self.configure(&pair, wanted, addresses).await?,
        }
        let routed = self.sockets.route(&pair.host, addresses, &self.attachment.routing);
        routed.instrument(debug_span!("route")).await?;
        Ok(pair)
    }

    /// Reads all that is known of the container, and for our own IPAM.
    async fn read(&self, source: &Source) -> Result<(Known, Option<Snapshot>), Error> {
        let identity = &self.attachment.identity;
        let own = vec![
            self.attachment.endpoint.query(),
            Query::Key(endpoint::profile_key(&identity.network)),
        ];
        let deadline = self.end.within(run::STORE_LIMIT);
        let wanted = match source {
            Source::Own(wanted) => Some(wanted),
            Source::Pod(_) | Source::Delegate(_) => None,
        };
        let read = ipam_add::read(self.datastore, &identity.node, own, wanted, deadline).await?;
        datastore::ensure_ready(&read.cluster, &*self.datastore.store)?;
        let answer = |at: usize| read.own.get(at).map(Vec::as_slice).unwrap_or_default();
        let found =
            self.attachment.endpoint.find(answer(0)).map_err(|error| fault::damaged(&error))?;
        let known = Known { found, has_profile: !answer(1).is_empty() };
        Ok((known, wanted.is_some().then_some(read.ipam)))
    }

    /// What to wait for once a pod has its network, if the configuration wants that.
    fn policy_wait(&self, known: &Known) -> Result<Option<PolicyWait>, Error> {
        let own = &self.attachment.conf.own;
        let seconds = u64::try_from(own.policy_setup_timeout_seconds).unwrap_or(0);
        if seconds == 0 || self.attachment.identity.pod().is_none() {
            return Ok(None);
        }
        let mine = known.found.mine.as_ref().map(|mine| mine.document.key.clone());
        let Key::Resource { name, namespace: Some(namespace), .. } =
            mine.unwrap_or_else(|| self.attachment.endpoint.key())
        else {
            return Ok(None);
        };
        let limit = Duration::from_secs(seconds);
        PolicyWait::begin(&own.endpoint_status_dir, limit, &namespace, &name)
            .map(Some)
            .map_err(|error| Error::new(code::INTERNAL, error.to_string()))
    }

    /// Chooses the name of the host's end, and the link of that name which must go first. A link that
    /// bears no mark is another container's if its endpoint says so: then upstream made it.
    async fn choose_link(&self, found: &Found) -> Result<(String, Option<Link>), Error> {
        let Attachment { host_link, endpoint, .. } = self.attachment;
        let host = &self.sockets.host;
        let name_of = |stored: &Stored| stored.endpoint.spec.interface_name.clone();
        let stored = found.mine.as_ref().map(name_of);
        let mut taken: Vec<String> = found.siblings.iter().map(name_of).collect();
        let chosen = host_link.choose(host, stored.as_deref(), &taken).await?;
        match &chosen.1 {
            Some(link) if host_link.owner(link) == Owner::Unknown => {}
            _ => return Ok(chosen),
        }
        let deadline = self.end.within(run::STORE_LIMIT);
        let namesakes = unmarked::namesakes(Some(endpoint), &*self.datastore.store, deadline).await;
        let namesakes = namesakes.map_err(|error| fault::store(&error))?;
        taken.extend(namesakes.into_iter().map(|named| named.name));
        host_link.choose(host, stored.as_deref(), &taken).await
    }

    /// What has the interface's name in the container already; of a pair, the host's end of it.
    async fn taken(&self) -> Result<Option<Option<Link>>, Error> {
        let Sockets { host, container, netns } = self.sockets;
        let taken = async {
            let link = container.link(&self.attachment.identity.ifname).await?;
            let Some(link) = link else { return Ok(None) };
            Ok(Some(dataplane::host_end(host, netns, &link).await?))
        };
        taken.await.map_err(|error| dataplane::fault(&error))
    }

    /// What a new pair replaces: the link that bears the host's name, and our own pair if its host
    /// end was renamed. Anything else that has the name in the container stays, and is an error.
    fn replaced(
        &self,
        by_name: Option<Link>,
        taken: Option<Option<Link>>,
    ) -> Result<Vec<Link>, Error> {
        let mut replaced = Vec::from_iter(by_name);
        match taken {
            None => Ok(replaced),
            Some(Some(end)) if replaced.iter().any(|link| link.index == end.index) => Ok(replaced),
            Some(Some(end)) if self.attachment.host_link.owner(&end) == Owner::Ours => {
                replaced.push(end);
                Ok(replaced)
            }
            Some(_) => Err(Error::new(
                code::DATAPLANE,
                format!(
                    "CNI_IFNAME {} already exists in {}: give the interface another name, or \
                     remove it there",
                    self.attachment.identity.ifname,
                    self.sockets.netns.path().display()
                ),
            )),
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

#[cfg(all(test, feature = "local"))]
mod tests;
