//! The attachment as Calico's WorkloadEndpoint (`reference/cni-plugin.md` sections 2 and 6): which
//! stored endpoint is it, and what is written.

use std::net::IpAddr;

use cni::code;
use cni_ipam::identity::{Identity, Workload};
use ipnet::IpNet;
use libcalico::clock;
use libcalico::names::{self, WorkloadEndpointName};
use libcalico::resources::{
    DecodeError, Kind, Object, Profile, ValidationError, WorkloadEndpoint, WorkloadEndpointSpec,
};
use libcalico::store::{Change, Document, Key, Prefix, Query};
use netutils::Mac;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::pod_inputs::PodInputs;

/// Where the attachment's endpoint is in the store.
#[derive(Debug, Clone)]
pub struct EndpointId {
    name: WorkloadEndpointName,
    namespace: String,
    /// The profile that the endpoint gets: the network's own. Who attaches by hand chooses later.
    profile: Option<String>,
    container_id: String,
}

/// An endpoint as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The object.
    pub endpoint: WorkloadEndpoint,
    /// Its bytes and revision.
    pub document: Document,
}

/// The stored endpoints of a workload.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The attachment's own.
    pub mine: Option<Stored>,
    /// Those of the container's other interfaces.
    pub siblings: Vec<Stored>,
}

impl Stored {
    /// Reads a stored endpoint.
    pub fn read(document: &Document) -> Result<Stored, DecodeError> {
        let endpoint = WorkloadEndpoint::decode(document)?;
        Ok(Stored { endpoint, document: document.clone() })
    }

    /// Reads what taking an endpoint away needs: of a damaged one as much as is there, since a
    /// container must not outlive its network because of a typing error.
    pub fn read_damaged(document: &Document) -> Stored {
        Stored::read(document).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            let endpoint = salvage(document);
            Stored { endpoint, document: document.clone() }
        })
    }
}

/// What tells whose a damaged endpoint is, and what belongs to it.
fn salvage(document: &Document) -> WorkloadEndpoint {
    let value: Value = serde_json::from_slice(&document.value).unwrap_or_default();
    let spec = value.get("spec").cloned().unwrap_or_default();
    let text = |field: &str| spec.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let texts = |field: &str| {
        let list = spec.get(field).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (name, namespace) = match &document.key {
        Key::Resource { name, namespace, .. } => (name.clone(), namespace.clone()),
        _ => Default::default(),
    };
    let mut endpoint = WorkloadEndpoint::new(
        name,
        WorkloadEndpointSpec {
            orchestrator: text("orchestrator"),
            node: text("node"),
            container_id: text("containerID"),
            pod: text("pod"),
            endpoint: text("endpoint"),
            ip_networks: texts("ipNetworks"),
            profiles: texts("profiles"),
            interface_name: text("interfaceName"),
            ..WorkloadEndpointSpec::default()
        },
    );
    endpoint.metadata.namespace = namespace.unwrap_or_default();
    endpoint
}

impl Stored {
    /// The change that writes the endpoint with another spec.
    pub fn edited(
        &self,
        edit: impl FnOnce(&mut WorkloadEndpointSpec),
    ) -> Result<Change, ValidationError> {
        let mut endpoint = self.endpoint.clone();
        edit(&mut endpoint.spec);
        update(endpoint, self)
    }
}

impl EndpointId {
    /// The endpoint of an attachment, once its identifiers are known to make a valid name: upstream
    /// finds out after it has made the interface.
    pub fn of(identity: &Identity) -> Result<EndpointId, cni::Error> {
        let id = &identity.container_id;
        let invalid = |variable: &str, value: &str, rule: &str| {
            cni::Error::new(
                code::INVALID_ENVIRONMENT,
                format!(
                    "{variable} \"{value}\" can't be in the name of a WorkloadEndpoint: {rule}"
                ),
            )
        };
        if !names::is_valid_container_id(id) {
            return Err(invalid("CNI_CONTAINERID", id, "use letters, digits and '-'"));
        }
        let fields = WorkloadEndpointName {
            node: identity.node.clone(),
            orchestrator: identity.orchestrator().into(),
            endpoint: identity.ifname.clone(),
            pod: identity.pod().unwrap_or_default().into(),
            container_id: id.clone(),
            workload: match identity.workload {
                Workload::ByHand => id.clone(),
                Workload::Pod { .. } | Workload::Container { .. } => String::new(),
            },
        };
        let lower_case = "use lower-case letters, digits, '-' and '.'";
        let parts = [
            ("CNI_IFNAME", identity.ifname.as_str()),
            match identity.pod() {
                Some(pod) => ("CNI_ARGS: K8S_POD_NAME", pod),
                None => ("CNI_CONTAINERID", id.as_str()),
            },
            match identity.pod() {
                Some(_) => ("CNI_ARGS: K8S_POD_NAMESPACE", identity.namespace()),
                None => ("the namespace", identity.namespace()),
            },
        ];
        for (variable, value) in parts {
            if !names::is_valid_name(value) {
                return Err(invalid(variable, value, lower_case));
            }
        }
        let name = fields.name().map_err(|error| {
            cni::Error::new(code::INVALID_ENVIRONMENT, format!("endpoint name: {error}"))
        })?;
        if !names::is_valid_name(&name) {
            return Err(invalid("CNI_CONTAINERID", id, "the whole name may have 253 characters"));
        }
        Ok(EndpointId {
            name: fields,
            namespace: identity.namespace().to_owned(),
            profile: match identity.workload {
                Workload::ByHand => None,
                Workload::Pod { .. } | Workload::Container { .. } => Some(identity.network.clone()),
            },
            container_id: id.clone(),
        })
    }

    /// Asks for the endpoints of the workload on this node.
    pub fn query(&self) -> Query {
        let known = WorkloadEndpointName { endpoint: String::new(), ..self.name.clone() };
        Query::Prefix(Prefix::Resources {
            kind: Kind::WorkloadEndpoint,
            namespace: Some(self.namespace.clone()),
            // Can't fail: `of` has made the whole name.
            name_prefix: known.name_prefix().unwrap_or_default(),
        })
    }

    /// Asks for the endpoints of the containers on this node whose link would have the same name, by
    /// upstream's rule; none for a pod, since that has its link's name to itself.
    pub fn namesakes_query(&self) -> Option<Query> {
        if self.name.orchestrator != "cni" {
            return None;
        }
        let link = names::cni_host_link(&self.container_id);
        let known = WorkloadEndpointName {
            container_id: link.strip_prefix(names::LINK_PREFIX)?.to_owned(),
            endpoint: String::new(),
            ..self.name.clone()
        };
        let prefix = known.name_prefix().ok()?;
        Some(Query::Prefix(Prefix::Resources {
            kind: Kind::WorkloadEndpoint,
            namespace: Some(self.namespace.clone()),
            name_prefix: prefix.strip_suffix('-')?.to_owned(),
        }))
    }

    /// Tells the attachment's endpoint from its siblings. A pod has one endpoint, whatever its
    /// interface is called; another container has one for each interface.
    pub fn find(&self, documents: &[Document]) -> Result<Found, DecodeError> {
        let mut found = Found::default();
        for document in self.of_workload(documents) {
            self.sort(&mut found, Stored::read(document)?);
        }
        Ok(found)
    }

    /// The same for taking away, of endpoints that somebody damaged too.
    pub fn find_damaged(&self, documents: &[Document]) -> Found {
        let mut found = Found::default();
        for document in self.of_workload(documents) {
            self.sort(&mut found, Stored::read_damaged(document));
        }
        found
    }

    /// The prefix of pod `web` also begins the endpoints of pod `web-1`.
    fn of_workload<'a>(&self, documents: &'a [Document]) -> impl Iterator<Item = &'a Document> {
        let known = WorkloadEndpointName { endpoint: String::new(), ..self.name.clone() };
        documents.iter().filter(move |document| {
            matches!(&document.key, Key::Resource { name, .. } if known.matches(name).unwrap_or(false))
        })
    }

    fn sort(&self, found: &mut Found, stored: Stored) {
        let has_name = |key: &Key| match key {
            Key::Resource { name, .. } => self.name.matches(name).unwrap_or(false),
            _ => false,
        };
        let is_mine = self.name.orchestrator == "k8s"
            || stored.endpoint.spec.endpoint == self.name.endpoint
            || has_name(&stored.document.key);
        match is_mine && found.mine.is_none() {
            true => found.mine = Some(stored),
            false => found.siblings.push(stored),
        }
    }

    /// The key that a new endpoint gets.
    pub fn key(&self) -> Key {
        let name = self.name.name().unwrap_or_default();
        Key::namespaced(Kind::WorkloadEndpoint, &self.namespace, name)
    }

    /// Whether a stored endpoint is this container's: of a pod it may be another sandbox's.
    pub fn owns(&self, endpoint: &WorkloadEndpoint) -> bool {
        let id = &endpoint.spec.container_id;
        id.is_empty() || *id == self.container_id
    }
}

/// What a new or renewed endpoint says.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// Beside the two labels that every endpoint has.
    pub labels: &'a [(String, String)],
    /// What its pod says.
    pub pod: &'a PodInputs,
    /// In the order of IPAM.
    pub addresses: &'a [IpAddr],
    /// The host's end.
    pub host_link: &'a str,
    /// The container's MAC.
    pub mac: Mac,
    /// The clock.
    pub now: OffsetDateTime,
}

impl EndpointId {
    /// The change that writes the endpoint: over `previous`, or anew. What is no longer true of
    /// a pod's former sandbox goes; its identity stays.
    pub fn write(
        &self,
        previous: Option<&Stored>,
        contents: &Contents<'_>,
    ) -> Result<Change, ValidationError> {
        let mut endpoint = WorkloadEndpoint::new(
            self.name.name().unwrap_or_default(),
            WorkloadEndpointSpec {
                orchestrator: self.name.orchestrator.clone(),
                workload: self.name.workload.clone(),
                node: self.name.node.clone(),
                container_id: self.container_id.clone(),
                pod: match self.name.orchestrator.as_str() {
                    "k8s" => self.name.pod.clone(),
                    _ => String::new(),
                },
                endpoint: self.name.endpoint.clone(),
                ip_networks: contents
                    .addresses
                    .iter()
                    .map(|address| IpNet::from(*address).to_string())
                    .collect(),
                profiles: self.with_profile(&[]),
                interface_name: contents.host_link.into(),
                mac: contents.mac.to_string(),
                ..WorkloadEndpointSpec::default()
            },
        );
        endpoint.metadata.namespace = self.namespace.clone();
        endpoint.metadata.labels = contents.labels.iter().cloned().collect();
        contents.pod.fill(&mut endpoint, contents.addresses);
        let Some(previous) = previous else {
            return create(endpoint, contents.now);
        };
        let former = &previous.endpoint;
        endpoint.metadata = libcalico::resources::ObjectMeta {
            labels: endpoint.metadata.labels,
            generate_name: endpoint.metadata.generate_name,
            ..former.metadata.clone()
        };
        // The interface of the name stays the one that the endpoint was made for.
        endpoint.spec.endpoint = former.spec.endpoint.clone();
        if self.name.orchestrator != "k8s" {
            endpoint.spec.profiles = self.with_profile(&former.spec.profiles);
        }
        update(endpoint, previous)
    }

    /// The change that adds the network to an endpoint's profiles; none if it is there.
    pub fn add_profile(&self, stored: &Stored) -> Option<Result<Change, ValidationError>> {
        let former = &stored.endpoint.spec.profiles;
        let profiles = self.with_profile(former);
        if profiles == *former {
            return None;
        }
        Some(stored.edited(|spec| spec.profiles = profiles))
    }

    fn with_profile(&self, profiles: &[String]) -> Vec<String> {
        let mut profiles = profiles.to_vec();
        profiles.extend(self.profile.clone().filter(|profile| !profiles.contains(profile)));
        profiles
    }
}

/// Where the network's own profile is.
pub fn profile_key(network: &str) -> Key {
    Key::global(Kind::Profile, network)
}

/// The change that makes the network's own profile (`reference/cni-plugin.md` section 7).
pub fn create_profile(identity: &Identity, now: OffsetDateTime) -> Result<Change, ValidationError> {
    let is_pod = matches!(identity.workload, Workload::Pod { .. });
    create(Profile::for_network(&identity.network, is_pod), now)
}

fn create<T: Object>(mut object: T, now: OffsetDateTime) -> Result<Change, ValidationError> {
    libcalico::client::prepare_create(&mut object, now, Uuid::new_v4())
}

fn update(mut endpoint: WorkloadEndpoint, previous: &Stored) -> Result<Change, ValidationError> {
    // Written by hand, perhaps; an update insists on both.
    let metadata = &mut endpoint.metadata;
    if metadata.uid.is_empty() {
        metadata.uid = Uuid::new_v4().to_string();
    }
    metadata.creation_timestamp.get_or_insert_with(clock::now);
    libcalico::client::prepare_update(&mut endpoint, Some(&previous.endpoint))
}

/// The addresses of a stored endpoint.
pub fn addresses(endpoint: &WorkloadEndpoint) -> Vec<IpAddr> {
    endpoint
        .spec
        .ip_networks
        .iter()
        .filter_map(|net| {
            net.parse::<IpNet>().map(|net| net.addr()).or_else(|_| net.parse::<IpAddr>()).ok()
        })
        .collect()
}
