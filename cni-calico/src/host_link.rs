//! The host's end of the pair: its name (`reference/cni-plugin.md` section 2.3), and the alias by
//! which DEL, CHECK and GC know whose it is.

use cni::code;
use cni_ipam::identity::{BY_HAND, Identity, Workload};
use libcalico::names;
use netutils::{Link, Netlink};

use crate::dataplane;

const MARK: &str = "calico-rs:";
/// The longest name of an interface, in bytes.
const NAME_MAX: usize = 15;
/// The longest alias, in bytes.
const ALIAS_MAX: usize = 255;

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
        HostLink::of(identity, &std::env::var("FELIX_INTERFACEPREFIX").unwrap_or_default())
    }

    fn of(identity: &Identity, prefixes: &str) -> Result<HostLink, cni::Error> {
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
        let by_hand = identity.workload == Workload::ByHand;
        Ok(HostLink { name, alternate, alias: alias(identity), container_id, ifname, by_hand })
    }

    /// Whose link this is. An interface of a container is the same in whatever network it was made,
    /// but not when it was made by hand; and a pod has one, whatever it is called.
    pub fn owner(&self, link: &Link) -> Owner {
        let is_ours = |marked: Marked<'_>| {
            marked.container_id == self.container_id
                && (marked.network == BY_HAND) == self.by_hand
                && (self.is_pod() || marked.ifname == self.ifname)
        };
        match link.alias.as_deref() {
            Some(alias) if alias == self.alias => Owner::Ours,
            Some(alias) if alias.starts_with(MARK) => match marked(link).is_some_and(is_ours) {
                true => Owner::Ours,
                false => Owner::Another,
            },
            _ => Owner::Unknown,
        }
    }

    fn is_pod(&self) -> bool {
        self.alternate.is_none()
    }

    /// Chooses the name for a new link, and the link of that name which must go first. `stored` is
    /// the name that the store remembers. A link that another container lives by is left alone;
    /// only a pod's may be taken, by the sandbox that replaces it.
    pub async fn choose(
        &self,
        host: &Netlink,
        stored: Option<&str>,
    ) -> Result<(String, Option<Link>), cni::Error> {
        for name in self.names(stored) {
            let link = host.link(name).await.map_err(|error| dataplane::fault(&error))?;
            if self.is_pod() || link.as_ref().is_none_or(|link| self.owner(link) != Owner::Another)
            {
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
    let mut parts = link.alias.as_deref()?.strip_prefix(MARK)?.splitn(3, '/');
    Some(Marked { network: parts.next()?, container_id: parts.next()?, ifname: parts.next()? })
}

fn alias(identity: &Identity) -> String {
    let Identity { network, container_id, ifname, .. } = identity;
    let alias = format!("{MARK}{network}/{container_id}/{ifname}");
    match alias.len() > ALIAS_MAX {
        true => format!("{MARK}{}", names::k8s_host_link("", network, container_id)),
        false => alias,
    }
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
        let pod = HostLink::of(&identity(Some(("shop", "cart-0")), "c1"), "").unwrap();
        assert_eq!(pod.name, "cali18582a65b10");
        assert_eq!(pod.alternate, None);
        let container = HostLink::of(&identity(None, "aaaaaaaaaaaabbbb"), "eni").unwrap();
        assert_eq!(container.name, "caliaaaaaaaaaaa");
    }

    #[test]
    fn containers_with_the_same_first_characters_have_different_alternates() {
        let one = HostLink::of(&identity(None, "aaaaaaaaaaaabbbb"), "").unwrap();
        let other = HostLink::of(&identity(None, "aaaaaaaaaaa01234"), "").unwrap();
        assert_eq!(one.name, other.name);
        assert_ne!(one.alternate, other.alternate);
        assert!(one.alternate.is_some_and(|name| name.starts_with("cali") && name.len() == 15));
    }

    #[test]
    fn what_is_attached_by_hand_and_by_a_runtime_is_kept_apart() {
        let runtime = HostLink::of(&identity(None, "c1"), "").unwrap();
        let by_hand = HostLink::of(&Identity::by_hand("node-1", "c1", "eth0"), "").unwrap();
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
        let error = HostLink::of(&identity(Some(("a", "b")), "c"), "weave0").unwrap_err();
        assert!(error.msg.contains("weave0"), "{}", error.msg);
    }

    #[test]
    fn the_alias_tells_the_attachment() {
        let ours = HostLink::of(&identity(None, "c1"), "").unwrap();
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
        let pod = HostLink::of(&identity(Some(("shop", "cart-0")), "c1"), "").unwrap();
        link.alias = Some("calico-rs:net-1/c1/net1".into());
        assert_eq!(pod.owner(&link), Owner::Ours);
    }
}
