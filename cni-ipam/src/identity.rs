//! Whose address it is: orchestrator, workload, handle (`reference/cni-plugin.md` section 2).

use std::collections::BTreeMap;

use libcalico::names;

/// The network of the containers that an operator attaches by hand, with `calicoctl container`. No
/// network of CNI's can have this name, so neither side takes the other's for its own.
pub const BY_HAND: &str = "calicoctl:container";

/// A container's interface, as Calico identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who runs the container.
    pub workload: Workload,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// This node.
    pub node: String,
    /// The network's name.
    pub network: String,
}

/// The orchestrator, and what it calls the workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// Kubernetes: `K8S_POD_NAMESPACE` and `K8S_POD_NAME` were both given.
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        name: String,
    },
    /// Anything else: the container is all that is known.
    Container {
        /// `default`, or what `CNI_TEST_NAMESPACE` says.
        namespace: String,
    },
    /// A container that was attached by hand: the container is the workload.
    ByHand,
}

impl Identity {
    /// The identity of a container that is attached by hand.
    pub fn by_hand(node: &str, container_id: &str, ifname: &str) -> Identity {
        Identity {
            workload: Workload::ByHand,
            container_id: container_id.into(),
            ifname: ifname.into(),
            node: node.into(),
            network: BY_HAND.into(),
        }
    }

    /// The identity that a request speaks of, on this node.
    pub fn of(request: &cni::Request, node: &str) -> Identity {
        let arg = |key| request.args.get(key).filter(|value| !value.is_empty());
        let workload = match (arg("K8S_POD_NAMESPACE"), arg("K8S_POD_NAME")) {
            (Some(namespace), Some(name)) => {
                Workload::Pod { namespace: namespace.into(), name: name.into() }
            }
            _ => Workload::Container {
                namespace: arg("CNI_TEST_NAMESPACE").unwrap_or("default").into(),
            },
        };
        Identity {
            workload,
            container_id: request.container_id.clone(),
            ifname: request.ifname.clone(),
            node: node.into(),
            network: request.config.name.clone(),
        }
    }

    /// The namespace of the endpoint.
    pub fn namespace(&self) -> &str {
        match &self.workload {
            Workload::Pod { namespace, .. } | Workload::Container { namespace } => namespace,
            Workload::ByHand => "default",
        }
    }

    /// `k8s`, `cni`, or `docker` for what is attached by hand, whatever runs it.
    pub fn orchestrator(&self) -> &'static str {
        match self.workload {
            Workload::Pod { .. } => "k8s",
            Workload::Container { .. } => "cni",
            Workload::ByHand => "docker",
        }
    }

    /// The pod's name, where there is a pod.
    pub fn pod(&self) -> Option<&str> {
        match &self.workload {
            Workload::Pod { name, .. } => Some(name),
            Workload::Container { .. } | Workload::ByHand => None,
        }
    }

    /// The handle that owns the container's addresses.
    pub fn handle(&self) -> String {
        names::handle_id(&self.network, &self.container_id)
    }

    /// The handles that DEL releases: the present form, and the one of releases before 2.
    pub fn handles(&self) -> Vec<String> {
        let legacy = match &self.workload {
            Workload::Pod { namespace, name } => format!("{namespace}.{name}"),
            Workload::Container { .. } => self.container_id.clone(),
            Workload::ByHand => return vec![self.handle()],
        };
        vec![self.handle(), legacy]
    }

    /// What a block says of the address's owner (`reference/datamodel.md` section 6.5).
    pub fn attributes(&self, timestamp: String) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::from([
            ("node".to_owned(), self.node.clone()),
            ("timestamp".to_owned(), timestamp),
        ]);
        if let Workload::Pod { namespace, name } = &self.workload {
            attributes.insert("namespace".into(), namespace.clone());
            attributes.insert("pod".into(), name.clone());
        }
        attributes
    }
}
