//! Links that bear no mark of ours: of upstream's making, or of an ADD that was killed before it
//! marked its link. Whose they are is told by the store and by the MAC of their other end
//! (`reference/cni-plugin.md` sections 5.9 and 10, points 18 and 20).
//!
//! A path of a namespace, and the name of a link, may be another container's by now. What a present
//! container lives by is never taken; what is left of a former one goes.

use std::time::Instant;

use libcalico::names;
use libcalico::resources::WorkloadEndpoint;
use libcalico::store::{Store, StoreError};
use netutils::{Link, Mac};

use crate::dataplane::HOST_MAC;
use crate::endpoint::{EndpointId, Stored};
use crate::host_link;

/// A link that nobody marked.
#[derive(Debug)]
pub(crate) struct Unmarked {
    pub(crate) link: Link,
    /// Whether it has one of the attachment's names.
    pub(crate) named: bool,
    /// The MAC of its other end, where that is the interface in the namespace which the runtime
    /// names.
    pub(crate) inside: Option<Mac>,
}

/// What is known of links that nobody marked, beside their names: of upstream's making, or of an ADD
/// that was killed before it marked its link.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// The name of the link, as this attachment's endpoint says it.
    pub(crate) stored: Option<String>,
    /// The MACs that the container's end has by this attachment's endpoint and by the result of its
    /// ADD.
    pub(crate) macs: Vec<Mac>,
    /// The links that the endpoints of others name.
    pub(crate) others: Vec<Named>,
    /// Whether nothing but the name is needed: not for a pod, all of whose sandboxes share one, while
    /// its endpoint is another sandbox's or can't be read.
    pub(crate) by_name: bool,
}

/// A link as an endpoint names it.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// The MAC of the container's end.
    mac: Option<Mac>,
}

impl Named {
    pub(crate) fn by(endpoint: &WorkloadEndpoint) -> Named {
        let spec = &endpoint.spec;
        Named { name: spec.interface_name.clone(), mac: spec.mac.parse().ok() }
    }
}

impl Evidence {
    /// What an attachment's own endpoint says.
    pub(crate) fn of(own: &WorkloadEndpoint) -> Evidence {
        let Named { name, mac } = Named::by(own);
        Evidence {
            stored: Some(name),
            macs: Vec::from_iter(mac),
            others: Vec::new(),
            by_name: true,
        }
    }

    /// Whether an unmarked link is this attachment's.
    pub(crate) fn tells(&self, unmarked: &Unmarked) -> bool {
        self.tells_by(&unmarked.link.name, unmarked.named, unmarked.inside)
    }

    fn tells_by(&self, link: &str, named: bool, inside: Option<Mac>) -> bool {
        let is_known = |mac: &Mac| self.macs.contains(mac);
        if let Some(other) = self.others.iter().find(|other| other.name == link) {
            // Theirs, but if it is seen to be the former one's still.
            let differs = |mac: &Mac| other.mac.is_some_and(|theirs| theirs != *mac);
            return inside.is_some_and(|mac| is_known(&mac) && differs(&mac));
        }
        match inside {
            Some(mac) if is_known(&mac) => true,
            Some(_) if self.macs.is_empty() => named,
            // A container may have changed its MAC.
            Some(_) => named && self.stored.as_deref() == Some(link),
            None => named && self.by_name,
        }
    }
}

/// What the endpoints of other containers say whose link would have the same name: by upstream's rule
/// it is made of the first characters of the id.
pub(crate) async fn namesakes(
    endpoint: Option<&EndpointId>,
    store: &dyn Store,
    deadline: Instant,
) -> Result<Vec<Named>, StoreError> {
    let Some((endpoint, query)) = endpoint.and_then(|id| Some((id, id.namesakes_query()?))) else {
        return Ok(Vec::new());
    };
    let snapshot = store.read(&[query], deadline).await?;
    let stored = snapshot.results.iter().flatten().map(Stored::read_damaged);
    let others = stored.filter(|stored| !endpoint.owns(&stored.endpoint));
    Ok(others.map(|stored| Named::by(&stored.endpoint)).collect())
}

/// Whether a link looks like the host's end of a pair whose container's end is gone or was never
/// switched on. Who made it may still be at work: look again before it is removed.
pub(crate) fn is_abandoned(link: &Link) -> bool {
    host_link::marked(link).is_none()
        && link.alias.is_none()
        && link.group == 0
        && link.mac == Some(HOST_MAC)
        && !link.lower_up
        && matches!(link.kind.as_str(), "veth" | "netkit")
        && has_workload_name(
            &link.name,
            &std::env::var("FELIX_INTERFACEPREFIX").unwrap_or_default(),
        )
}

fn has_workload_name(name: &str, prefixes: &str) -> bool {
    let prefixes = prefixes.split(',').filter(|prefix| !prefix.is_empty());
    std::iter::once(names::LINK_PREFIX).chain(prefixes).any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
    const NEW: Mac = Mac::new([2, 0, 0, 0, 0, 2]);

    fn others(mac: Option<Mac>) -> Vec<Named> {
        vec![Named { name: "cali1".into(), mac }]
    }

    #[test]
    fn an_unmarked_link_goes_with_its_container_and_not_with_another() {
        let own = Evidence {
            stored: Some("cali1".into()),
            macs: vec![OLD],
            by_name: true,
            ..Evidence::default()
        };
        // (evidence, has the name, MAC inside) -> removed
        assert!(own.tells_by("cali1", true, Some(OLD)));
        assert!(own.tells_by("cali1", true, None));
        // The container changed its MAC; the link was renamed.
        assert!(own.tells_by("cali1", true, Some(NEW)));
        assert!(own.tells_by("renamed", false, Some(OLD)));
        // The path leads to somebody else by now.
        assert!(!own.tells_by("foreign0", false, Some(NEW)));
        assert!(!own.tells_by("cali2", true, Some(NEW)));

        let replaced = |macs: &[Mac], theirs| Evidence {
            macs: macs.to_vec(),
            others: others(theirs),
            ..Evidence::default()
        };
        assert!(!replaced(&[], Some(NEW)).tells_by("cali1", true, Some(NEW)));
        assert!(!replaced(&[OLD], Some(NEW)).tells_by("cali1", true, Some(NEW)));
        assert!(!replaced(&[OLD], Some(NEW)).tells_by("cali1", true, None));
        // The new one's endpoint is written, but the link is the old one's.
        assert!(replaced(&[OLD], Some(NEW)).tells_by("cali1", true, Some(OLD)));
        // Both have the MAC that their pod asks for, or it isn't known.
        assert!(!replaced(&[OLD], Some(OLD)).tells_by("cali1", true, Some(OLD)));
        assert!(!replaced(&[OLD], None).tells_by("cali1", true, Some(OLD)));

        let nothing = Evidence { by_name: true, ..Evidence::default() };
        assert!(
            nothing.tells_by("cali1", true, None) && nothing.tells_by("cali1", true, Some(NEW))
        );
        assert!(!nothing.tells_by("foreign0", false, Some(NEW)));
        let pod = Evidence::default();
        assert!(pod.tells_by("cali1", true, Some(OLD)) && !pod.tells_by("cali1", true, None));
    }

    #[test]
    fn only_ends_of_containers_without_a_carrier_are_abandoned() {
        let mut link = Link::default();
        link.name = "cali0123456789a".into();
        link.kind = "veth".into();
        link.mac = Some(HOST_MAC);
        assert!(is_abandoned(&link));
        let changed = |change: &dyn Fn(&mut Link)| {
            let mut link = link.clone();
            change(&mut link);
            is_abandoned(&link)
        };
        assert!(!changed(&|link| link.lower_up = true));
        assert!(!changed(&|link| link.name = "vxlan.calico".into()));
        assert!(!changed(&|link| link.kind = "dummy".into()));
        assert!(!changed(&|link| link.mac = Some(NEW)));
        assert!(!changed(&|link| link.alias = Some("calico-rs:net/c1/eth0@1".into())));
        assert!(!changed(&|link| link.alias = Some("an operator's".into())));
        assert!(!changed(&|link| link.group = 0xca00_0001));
        assert!(has_workload_name("eni1", "eni,veth") && has_workload_name("cali1", "eni"));
        assert!(!has_workload_name("eth0", "") && !has_workload_name("eth0", ","));
    }
}
