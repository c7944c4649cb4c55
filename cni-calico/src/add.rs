//! ADD: a container gets its interface, its addresses and its endpoint
//! (`reference/cni-plugin.md` section 3).
//!
//! One read tells all that is known of the container and of IPAM; meanwhile the kernel is looked
//! at. Then the pair is born while one commit writes address, handle, endpoint and profile: all of
//! them or none. Whatever fails, [`Ladder`] takes back what was done, in reverse.

mod assign;
mod repeated;

use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;

use cni::{AddResult, Error, Interface, IpConfig, Request, Route, code};
use cni_ipam::add as ipam_add;
use cni_ipam::datastore::{self, Datastore};
use cni_ipam::request::{self, Addresses};
use cni_ipam::run::Deadline;
use cni_ipam::{fault, lock, run};
use ipnet::IpNet;
use libcalico::resources::ValidationError;
use libcalico::store::{Query, Snapshot};
use netutils::{Link, Mac, sysctl};
use time::OffsetDateTime;

use assign::{Ends, Failure};

use crate::attachment::Attachment;
use crate::conf::Conf;
use crate::dataplane::{self, Sockets, Wanted};
use crate::delegate::Delegate;
use crate::endpoint::{self, Found};
use crate::host_link::Owner;
use crate::ladder::Ladder;
use crate::{owed, readiness};

/// How often a change that somebody else forestalled is tried again.
const ATTEMPTS: u32 = 6;

/// Attaches the container.
pub async fn add(conf: Conf, request: &Request, end: Deadline) -> Result<AddResult, Error> {
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
        end,
    };
    let mut attaching = pin!(work.attach(&source, Shape { mtu, device }));
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
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
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
    end: Deadline,
}

/// What the store knows of the container.
struct Known {
    found: Found,
    has_profile: bool,
}

impl Add<'_> {
    async fn attach(&self, source: &Source, shape: Shape) -> Result<Attached, Error> {
        let shared = &self.attachment.conf.shared;
        readiness::wait(&self.attachment.conf.gates()?, self.end).await?;
        let mut lock = match source {
            Source::Own(_) => lock::acquire(&shared.ipam_lock_file, self.end).await,
            Source::Delegate(_) => None,
        };
        let identity = &self.attachment.identity;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (mut known, mut prefetched) = self.read(source).await?;
            if attempt == 1 && owed::settle_before(identity, self.datastore, self.end).await? {
                (known, prefetched) = self.read(source).await?;
            }
            if let Some(mine) = &known.found.mine
                && let Some(attached) = self.repeated(mine, &known).await?
            {
                return Ok(attached);
            }
            let stored =
                known.found.mine.as_ref().map(|mine| mine.endpoint.spec.interface_name.as_str());
            let (host_link, stale) =
                self.attachment.host_link.choose(&self.sockets.host, stored).await?;
            let stale = self.replaced(stale).await?;

            let mac = Mac::random();
            let wanted = Wanted {
                host_name: &host_link,
                alias: &self.attachment.host_link.alias,
                ifname: &identity.ifname,
                mac,
                mtu: shape.mtu,
                queues: self.attachment.conf.queues(),
                device: shape.device,
            };
            self.ladder.begin_link(&host_link);
            let pair = self.sockets.create(&wanted, &stale);
            let ends = Ends { host_link: &host_link, mac };
            let written = self.assign(source, prefetched, &known, ends);
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
            let forwarding = self.attachment.conf.own.container_settings.allow_ip_forwarding;
            self.sockets
                .configure(&pair, &identity.ifname, &assigned.addresses, forwarding)
                .await?;
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
        let deadline = self.end.within(run::STORE_LIMIT);
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

    /// What a new pair replaces: the link that bears the host's name, and our own pair if its host
    /// end was renamed. Anything else that has the name in the container stays, and is an error.
    async fn replaced(&self, by_name: Option<Link>) -> Result<Vec<Link>, Error> {
        let Sockets { host, container, netns } = self.sockets;
        let ifname = &self.attachment.identity.ifname;
        let taken = async {
            let Some(link) = container.link(ifname).await? else { return Ok(None) };
            Ok(Some(dataplane::host_end(host, netns, &link).await?))
        };
        let taken = taken.await.map_err(|error| dataplane::fault(&error))?;
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
                    "CNI_IFNAME {ifname} already exists in {}: give the interface another name, or \
                     remove it there",
                    netns.path().display()
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
