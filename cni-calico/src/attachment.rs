//! What a request is about, once everything in it is known to be possible: validated before
//! anything is touched.

use cni::{Error, Request, code};
use cni_ipam::conf::NetConf;
use cni_ipam::identity::{Identity, Workload};
use cni_ipam::{asked, datastore, node};
use libcalico::names;
use netutils::{Device, Mac, MacError};

use crate::conf::{Conf, DeviceType, Own};
use crate::dataplane::{self, Routing};
use crate::endpoint::EndpointId;
use crate::host_link::HostLink;
use crate::host_local;
use crate::labels::{self, MesosLabels};
use crate::pod_inputs::PodInputs;

/// The IPAM plugin whose verbs are called in our own process.
pub const OWN_IPAM: &str = "calico-ipam";

/// A container's interface on this node.
pub struct Attachment {
    /// The configuration.
    pub conf: Conf,
    /// Whose interface it is.
    pub identity: Identity,
    /// Its endpoint in the store.
    pub endpoint: EndpointId,
    /// The host's end.
    pub host_link: HostLink,
    /// The endpoint's labels beside those that all have.
    pub labels: Vec<(String, String)>,
    /// What its pod asks for.
    pub pod: PodInputs,
    /// How packets get from it and to it.
    pub routing: Routing,
}

/// Whose interface a request is about, and the labels that Mesos gives it. Mesos also says the
/// namespace, on every verb: what upstream's DEL forgets.
pub fn identity(conf: &Conf, request: &Request, node: &str) -> (Identity, Vec<(String, String)>) {
    let mut identity = Identity::of(request, node);
    if identity.pod().is_some() {
        return (identity, Vec::new());
    }
    let MesosLabels { labels, namespace } = labels::mesos_labels(&conf.shared.args);
    if let Some(namespace) = namespace {
        identity.workload = Workload::Container { namespace };
    }
    (identity, labels)
}

impl Attachment {
    /// Reads what every verb needs.
    pub fn of(conf: Conf, request: &Request) -> Result<Attachment, Error> {
        // A wrong setting is named before a file that isn't there yet.
        datastore::config(&conf.shared)?;
        let node = node::name(&conf.shared)?;
        let (identity, labels) = identity(&conf, request, &node);
        let endpoint = EndpointId::of(&identity)?;
        let host_link = HostLink::here(&identity)?;
        // What the Kubernetes API would say: nothing yet.
        let pod = PodInputs::default();
        let mut routing = Routing {
            from_host: !pod.takes_over,
            forwarding: conf.own.container_settings.allow_ip_forwarding,
            ..Routing::default()
        };
        if identity.pod().is_some()
            && let Some(routes) = host_local::routes(&request.config)?
        {
            routing.set_destinations(&routes, conf.own.include_default_routes);
        }
        Ok(Attachment { conf, identity, endpoint, host_link, labels, pod, routing })
    }

    /// A container that is attached by hand, with the defaults of every setting.
    pub fn by_hand(identity: Identity) -> Result<Attachment, Error> {
        let mut shared = NetConf::default();
        shared.ipam.kind = OWN_IPAM.into();
        Ok(Attachment {
            conf: Conf { shared, own: Own::default() },
            endpoint: EndpointId::of(&identity)?,
            host_link: HostLink::here(&identity)?,
            labels: Vec::new(),
            pod: PodInputs::default(),
            routing: Routing::default(),
            identity,
        })
    }

    /// Reads what only ADD is asked for, beside what [`Attachment::of`] reads.
    pub fn for_add(conf: Conf, request: &Request) -> Result<Attachment, Error> {
        let mut attachment = Attachment::of(conf, request)?;
        attachment.check_add()?;
        attachment.labels.extend(asked::labels(&attachment.conf.shared)?);
        Ok(attachment)
    }

    /// The MAC of the container's end: the one that is asked for, or any.
    pub fn mac(&self) -> Result<Mac, Error> {
        if let Some(mac) = self.pod.mac {
            return Ok(mac);
        }
        let Some((field, text)) = asked::mac(&self.conf.shared)? else { return Ok(Mac::random()) };
        let invalid = |why: String| Error::new(code::INVALID_CONFIG, format!("{field}: {why}"));
        let mac: Mac = text.parse().map_err(|error: MacError| invalid(error.to_string()))?;
        match dataplane::is_for_container(mac) {
            true => Ok(mac),
            false => Err(invalid(format!("no container can have {mac}: ask for another one"))),
        }
    }

    /// Refuses what ADD could not carry through: upstream finds out when the interface is there.
    fn check_add(&self) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::new(code::INVALID_CONFIG, message));
        let network = &self.identity.network;
        if self.makes_profile() && !names::is_valid_name(network) {
            return invalid(format!(
                "name \"{network}\" can't be the name of a Profile, which the network gets without \
                 \"policy\": use lower-case letters, digits, '-' and '.'"
            ));
        }
        if self.identity.pod().is_some() {
            if !self.makes_profile() {
                return Err(Error::new(
                    code::UNSUPPORTED_FIELD,
                    "policy.type is \"k8s\", which needs the Kubernetes API, and that is not \
                     supported yet: leave \"policy\" out, and pods get the network's own profile",
                ));
            }
        } else if self.conf.own.feature_control.ip_addrs_no_ipam {
            return Err(Error::new(
                code::UNSUPPORTED_FIELD,
                "feature_control.ip_addrs_no_ipam is true, which only means something for pods of \
                 Kubernetes: leave it out",
            ));
        }
        if self.conf.shared.ipam.kind.is_empty() {
            return invalid("ipam.type is missing: write \"calico-ipam\"".into());
        }
        Ok(())
    }

    /// Whether the network has a profile of its own.
    pub fn makes_profile(&self) -> bool {
        self.conf.shared.policy.kind.is_empty() && self.identity.workload != Workload::ByHand
    }

    /// Whether addresses come from our own IPAM, in our own process.
    pub fn has_own_ipam(&self) -> bool {
        self.conf.shared.ipam.kind == OWN_IPAM
    }

    /// What the pair is made of.
    pub fn device(&self) -> Result<Device, Error> {
        Ok(match self.conf.device_type()? {
            DeviceType::Veth => Device::Veth,
            DeviceType::Netkit => Device::Netkit,
        })
    }
}
