//! The host's end of the pair: its name (`reference/cni-plugin.md` section 2.3), and the alias by
//! which DEL, CHECK and GC know whose it is.
//!
//! The alias reads `calico-rs:<network>/<container>/<interface>@<instant>`. The instant, in
//! nanoseconds since the host started, is that at which the ADD began: of two sandboxes of a pod, the
//! one that was added later has the link, in whatever order their ADDs come to it.

use std::time::Duration;

use cni::code;
use cni_ipam::identity::{BY_HAND, Identity, Workload};
use libcalico::names;
use netutils::{Link, Netlink};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::dataplane;

const MARK: &str = "calico-rs:";
/// The longest name of an interface, in bytes.
const NAME_MAX: usize = 15;
/// The longest alias, in bytes, and what of it the instant may take.
const ALIAS_MAX: usize = 255;
const INSTANT_MAX: usize = 21;

/// The names that an attachment's host end can have, and its alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// The name that upstream gives.
    pub name: String,
    /// The name for a container whose first eleven characters are another one's, and for the second
    /// interface of a container. Upstream would take the link away from its owner.
    pub alternate: Option<String>,
    /// What the link bears as its alias.
    pub alias: String,
    /// Whose it is, as the alias says it.
    attachment: String,
    /// When we began, in nanoseconds since the host started.
    began: u64,
    container_id: String,
    ifname: String,
    by_hand: bool,
}

/// What an alias says of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It belongs to this attachment.
    Ours,
    /// It belongs to another one.
    Another,
    /// It says nothing: upstream made the link, or we were killed before we marked it.
    Unknown,
}

/// The attachment that an alias names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked<'a> {
    /// The network's name.
    pub network: &'a str,
    /// `CNI_CONTAINERID`.
    pub container_id: &'a str,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
}

impl HostLink {
    /// The names for an attachment on this host, where `FELIX_INTERFACEPREFIX` is the same as
    /// Felix's.
    pub fn here(identity: &Identity) -> Result<HostLink, cni::Error> {
        let prefixes = std::env::var("FELIX_INTERFACEPREFIX").unwrap_or_default();
        HostLink::of(identity, &prefixes, since_boot())
    }

    fn of(identity: &Identity, prefixes: &str, began: u64) -> Result<HostLink, cni::Error> {
        let id = &identity.container_id;
        let (name, alternate) = match &identity.workload {
            Workload::Pod { namespace, name } => {
                (names::k8s_host_link(prefixes, namespace, name), None)
            }
            Workload::Container { .. } => {
                (names::cni_host_link(id), Some(names::k8s_host_link("", id, &identity.ifname)))
            }
            // Clear of the name that a runtime's CNI plugin gives the same container.
            Workload::ByHand => (
                names::k8s_host_link("", id, &identity.ifname),
                Some(names::k8s_host_link("", &identity.ifname, id)),
            ),
        };
        if name.len() > NAME_MAX {
            return Err(cni::Error::new(
                code::INVALID_ENVIRONMENT,
                format!(
                    "FELIX_INTERFACEPREFIX \"{prefixes}\" makes the interface name {name}, which is \
                     longer than {NAME_MAX} bytes: use a prefix of at most 4"
                ),
            ));
        }
        let (container_id, ifname) = (id.clone(), identity.ifname.clone());
        let attachment = attachment(identity);
        let alias = format!("{MARK}{attachment}@{began}");
        let by_hand = identity.workload == Workload::ByHand;
        Ok(HostLink { name, alternate, alias, attachment, began, container_id, ifname, by_hand })
    }

    /// Whose link this is. An interface of a container is the same in whatever network it was made,
    /// but not when it was made by hand; and a pod has one, whatever it is called.
    pub fn owner(&self, link: &Link) -> Owner {
        let is_ours = |marked: Marked<'_>| {
            marked.container_id == self.container_id
                && (marked.network == BY_HAND) == self.by_hand
                && (self.is_pod() || marked.ifname == self.ifname)
        };
        match mark(link) {
            Some((attachment, _)) if attachment == self.attachment => Owner::Ours,
            Some(_) if marked(link).is_some_and(is_ours) => Owner::Ours,
            Some(_) => Owner::Another,
            None => Owner::Unknown,
        }
    }

    /// Fails if a link was made by an ADD that began later than we did: what we know is out of date,
    /// and what we would make nobody waits for any more.
    fn check_newest(&self, link: &Link) -> Result<(), cni::Error> {
        match mark(link) {
            Some((attachment, Some(began))) if began > self.began => Err(cni::Error::new(
                code::TRY_AGAIN_LATER,
                format!(
                    "{} was made for {attachment} by an ADD that began later than this one: \
                     container {} has been replaced",
                    link.name, self.container_id
                ),
            )),
            _ => Ok(()),
        }
    }

    fn is_pod(&self) -> bool {
        self.alternate.is_none()
    }

    /// Chooses the name for a new link, and the link of that name which must go first. `stored` is
    /// the name that the store remembers, `taken` are names that it gives to others. A link that
    /// another container lives by is left alone; only a pod's may be taken, by the sandbox that
    /// replaces it.
    pub async fn choose(
        &self,
        host: &Netlink,
        stored: Option<&str>,
        taken: &[String],
    ) -> Result<(String, Option<Link>), cni::Error> {
        for name in self.names(stored) {
            let link = host.link(name).await.map_err(|error| dataplane::fault(&error))?;
            let is_taken = |link: &Link| match self.owner(link) {
                Owner::Ours => false,
                Owner::Another => true,
                Owner::Unknown => taken.contains(&link.name),
            };
            if self.is_pod() || !link.as_ref().is_some_and(is_taken) {
                link.iter().try_for_each(|link| self.check_newest(link))?;
                return Ok((name.to_owned(), link));
            }
        }
        Err(cni::Error::new(
            code::DATAPLANE,
            format!(
                "other containers have the interfaces {}: see `ip link show {}`",
                self.names(stored).join(" and "),
                self.name
            ),
        ))
    }

    fn names<'a>(&'a self, stored: Option<&'a str>) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::with_capacity(3);
        let ours = [Some(self.name.as_str()), self.alternate.as_deref()];
        for name in [stored].into_iter().chain(ours).flatten() {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The attachment's links that are there, under any of its names and that of the store.
    pub async fn find(
        &self,
        host: &Netlink,
        stored: Option<&str>,
    ) -> Result<Vec<Link>, cni::Error> {
        let mut found = Vec::new();
        for name in self.names(stored) {
            found.extend(host.link(name).await.map_err(|error| dataplane::fault(&error))?);
        }
        Ok(found)
    }
}

/// The attachment that a link's alias names, if we marked it.
pub fn marked(link: &Link) -> Option<Marked<'_>> {
    let mut parts = mark(link)?.0.splitn(3, '/');
    Some(Marked { network: parts.next()?, container_id: parts.next()?, ifname: parts.next()? })
}

/// What our mark says: whose the link is, and when the ADD began that made it. Versions before this
/// one didn't say when.
fn mark(link: &Link) -> Option<(&str, Option<u64>)> {
    let mark = link.alias.as_deref()?.strip_prefix(MARK)?;
    Some(match mark.rsplit_once('@') {
        Some((attachment, began)) if began.parse::<u64>().is_ok() => {
            (attachment, began.parse().ok())
        }
        _ => (mark, None),
    })
}

fn attachment(identity: &Identity) -> String {
    let Identity { network, container_id, ifname, .. } = identity;
    let attachment = format!("{network}/{container_id}/{ifname}");
    match MARK.len() + attachment.len() + INSTANT_MAX > ALIAS_MAX {
        true => names::k8s_host_link("", network, container_id),
        false => attachment,
    }
}

/// The nanoseconds since the host started, on a clock that nobody sets.
fn since_boot() -> u64 {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or(TimeSpec::new(0, 0)));
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pod: Option<(&str, &str)>, container_id: &str) -> Identity {
        let workload = match pod {
            Some((namespace, name)) => {
                Workload::Pod { namespace: namespace.into(), name: name.into() }
            }
            None => Workload::Container { namespace: "default".into() },
        };
        Identity {
            workload,
            container_id: container_id.into(),
            ifname: "eth0".into(),
            node: "node-1".into(),
            network: "net-1".into(),
        }
    }

    #[test]
    fn names_are_upstreams() {
        let pod = HostLink::of(&identity(Some(("shop", "cart-0")), "c1"), "", 1).unwrap();
        assert_eq!(pod.name, "cali18582a65b10");
        assert_eq!(pod.alternate, None);
        let container = HostLink::of(&identity(None, "aaaaaaaaaaaabbbb"), "eni", 1).unwrap();
        assert_eq!(container.name, "caliaaaaaaaaaaa");
    }

    #[test]
    fn containers_with_the_same_first_characters_have_different_alternates() {
        let one = HostLink::of(&identity(None, "aaaaaaaaaaaabbbb"), "", 1).unwrap();
        let other = HostLink::of(&identity(None, "aaaaaaaaaaa01234"), "", 1).unwrap();
        assert_eq!(one.name, other.name);
        assert_ne!(one.alternate, other.alternate);
        assert!(one.alternate.is_some_and(|name| name.starts_with("cali") && name.len() == 15));
    }

    #[test]
    fn what_is_attached_by_hand_and_by_a_runtime_is_kept_apart() {
        let runtime = HostLink::of(&identity(None, "c1"), "", 1).unwrap();
        let by_hand = HostLink::of(&Identity::by_hand("node-1", "c1", "eth0"), "", 1).unwrap();
        assert_ne!(runtime.name, by_hand.name);
        let mut link = Link::default();
        link.alias = Some(by_hand.alias.clone());
        assert_eq!((by_hand.owner(&link), runtime.owner(&link)), (Owner::Ours, Owner::Another));
        link.alias = Some(runtime.alias.clone());
        assert_eq!((by_hand.owner(&link), runtime.owner(&link)), (Owner::Another, Owner::Ours));
        assert!(!libcalico::names::is_valid_network_name(BY_HAND));
    }

    #[test]
    fn a_prefix_that_makes_too_long_a_name_is_refused() {
        let error = HostLink::of(&identity(Some(("a", "b")), "c"), "weave0", 1).unwrap_err();
        assert!(error.msg.contains("weave0"), "{}", error.msg);
    }

    #[test]
    fn the_alias_tells_the_attachment() {
        let ours = HostLink::of(&identity(None, "c1"), "", 1).unwrap();
        let mut link = Link::default();
        assert_eq!(ours.owner(&link), Owner::Unknown);
        link.alias = Some("uplink of rack 7".into());
        assert_eq!(ours.owner(&link), Owner::Unknown);
        link.alias = Some("calico-rs:net-1/c2/eth0".into());
        assert_eq!(ours.owner(&link), Owner::Another);
        assert_eq!(
            marked(&link),
            Some(Marked { network: "net-1", container_id: "c2", ifname: "eth0" })
        );
        link.alias = Some("calico-rs:net-1/c1/net1".into());
        assert_eq!(ours.owner(&link), Owner::Another);
        link.alias = Some("calico-rs:net-2/c1/eth0".into());
        assert_eq!(ours.owner(&link), Owner::Ours);
        link.alias = Some(ours.alias.clone());
        assert_eq!(ours.owner(&link), Owner::Ours);
        assert_eq!(ours.alias, "calico-rs:net-1/c1/eth0@1");
        link.alias = Some("calico-rs:net-1/c1/eth0@77".into());
        assert_eq!(ours.owner(&link), Owner::Ours);
        let pod = HostLink::of(&identity(Some(("shop", "cart-0")), "c1"), "", 1).unwrap();
        link.alias = Some("calico-rs:net-1/c1/net1".into());
        assert_eq!(pod.owner(&link), Owner::Ours);
    }

    #[test]
    fn of_two_adds_the_later_one_has_the_link() {
        let pod = |id, began| HostLink::of(&identity(Some(("a", "b")), id), "", began).unwrap();
        let mut link = Link::default();
        link.alias = Some(pod("new", 20).alias);
        assert!(pod("newest", 30).check_newest(&link).is_ok());
        let error = pod("old", 10).check_newest(&link).unwrap_err();
        assert_eq!(error.code, code::TRY_AGAIN_LATER);
        assert!(error.msg.contains("net-1/new/eth0"), "{}", error.msg);
        for alias in ["calico-rs:net-1/new/eth0", "calico-rs:net-1/new/a@b", "uplink@99"] {
            link.alias = Some(alias.into());
            assert!(pod("old", 10).check_newest(&link).is_ok(), "{alias}");
        }
    }

    #[test]
    fn a_mark_fits_into_an_alias_and_tells_attachments_apart_however_long_names_are() {
        let long = HostLink::of(&identity(None, &"c".repeat(300)), "", u64::MAX).unwrap();
        assert!(long.alias.len() <= ALIAS_MAX, "{}", long.alias);
        let mut link = Link::default();
        link.alias = Some(long.alias.clone());
        assert_eq!(long.owner(&link), Owner::Ours);
        let other = HostLink::of(&identity(None, &"d".repeat(300)), "", 1).unwrap();
        assert_eq!(other.owner(&link), Owner::Another);
    }
}
