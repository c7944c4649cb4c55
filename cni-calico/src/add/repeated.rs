//! ADD for a container that has an endpoint already (`reference/cni-plugin.md` section 3.2).

use cni::Error;
use cni_ipam::{fault, run};
use libcalico::store::{Change, Committed};

use super::{Add, Attached, Known, invalid_object, overtaken};
use crate::dataplane;
use crate::dataplane::verify::{self, Expected};
use crate::endpoint::{self, Stored};

impl Add<'_> {
    /// A repeated ADD for a container that has all it needs answers what it has. A pod is always
    /// set up anew, since its endpoint may be a former sandbox's.
    pub(super) async fn repeated(
        &self,
        mine: &Stored,
        known: &Known,
    ) -> Result<Option<Attached>, Error> {
        let identity = &self.attachment.identity;
        let spec = &mine.endpoint.spec;
        let addresses = endpoint::addresses(&mine.endpoint);
        if identity.pod().is_some()
            || spec.container_id != identity.container_id
            || addresses.is_empty()
        {
            return Ok(None);
        }
        let expected = Expected {
            ifname: &identity.ifname,
            mac: spec.mac.parse().ok(),
            mtu: None,
            addresses: &addresses,
            host_link: &spec.interface_name,
            routing: &self.attachment.routing,
            may_spoof: !spec.allow_spoofed_source_prefixes.is_empty(),
        };
        let links = async {
            let host = self.sockets.host.link(&spec.interface_name).await?;
            Ok(host.zip(self.sockets.container.link(&identity.ifname).await?))
        };
        let links = links.await.map_err(|error| dataplane::fault(&error))?;
        let (Some((host, container)), Some(mac)) = (links, expected.mac) else { return Ok(None) };
        let findings = self.sockets.verify(&expected).await?;
        // Nothing is torn down for the sake of a setting.
        if let Some(finding) = findings.iter().find(|finding| finding.code != verify::SETTING) {
            tracing::info!("setting the container up anew: {finding}");
            return Ok(None);
        }
        self.join_network(mine, known).await?;
        Ok(Some(Attached {
            host,
            mac,
            mtu: container.mtu,
            addresses,
            // COMPAT: upstream's clients compare the answers of both without the routes.
            routes: Vec::new(),
            dns: cni::Dns::default(),
        }))
    }

    /// Adds this network to the profiles of an endpoint that another network made.
    async fn join_network(&self, mine: &Stored, known: &Known) -> Result<(), Error> {
        let mut changes: Vec<Change> = Vec::new();
        if let Some(change) = self.attachment.endpoint.add_profile(mine) {
            changes.push(change.map_err(|error| invalid_object(&error))?);
        }
        changes.extend(self.profile(known)?);
        if changes.is_empty() {
            return Ok(());
        }
        let deadline = self.end.within(run::STORE_LIMIT);
        match self.datastore.store.commit(&changes, deadline).await {
            Ok(Committed::Done(_)) => Ok(()),
            Ok(Committed::Conflict(_)) => Err(overtaken()),
            Err(error) => Err(fault::store(&error)),
        }
    }
}
