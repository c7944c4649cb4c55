//! The tables, a file a group of kinds.

mod bgp;
mod cluster;
mod felix_configuration;
mod host_endpoint;
mod ip_pool;
mod kube_controllers;
mod metadata;
mod network_set;
mod node;
mod node_status;
mod policy;
mod rule;
mod staged_kubernetes;
#[cfg(test)]
mod tests;
mod workload_endpoint;

use super::field::Check;
use super::{Schema, Status};
use crate::resources::validation::FieldErrors;
use crate::resources::{
    AnyResource, ClusterInformationSpec, IpPoolSpec, IpReservationSpec, IpamConfigurationSpec,
    Kind, NodeSpec, ProfileSpec, TierSpec, WorkloadEndpointSpec,
};

pub(super) use metadata::METADATA;

const ENABLED: &[Check] = &[Check::OneOf(&["Enabled", "Disabled"])];

/// Which routes of the cluster a program puts into the kernel.
const CLUSTER_ROUTES: &[Check] =
    &[Check::OneOf(&["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"])];

const ROUTE_PRIORITY: &[Check] = &[Check::Range(1, 2_147_483_646)];

/// The schema of a kind, if a person can write objects of it.
pub(super) fn schema(kind: Kind) -> Option<Schema> {
    use Status::{Always, Given};
    let policy =
        |spec| Schema::new(spec).defaulted(policy::default_on_write).checked(policy::check);
    Some(match kind {
        Kind::BgpConfiguration => Schema::new(bgp::CONFIGURATION).checked(bgp::check_configuration),
        Kind::BgpFilter => Schema::new(bgp::FILTER).checked(bgp::check_filter),
        Kind::BgpPeer => Schema::new(bgp::PEER).checked(bgp::check_peer),
        Kind::CalicoNodeStatus => {
            Schema::new(node_status::SPEC).reporting(Always(node_status::STATUS))
        }
        Kind::ClusterInformation => Schema::typed::<ClusterInformationSpec>(cluster::INFORMATION),
        Kind::FelixConfiguration => Schema::new(felix_configuration::SPEC)
            .defaulted(felix_configuration::default_on_write)
            .checked(felix_configuration::check),
        Kind::GlobalNetworkPolicy => policy(policy::GLOBAL),
        Kind::GlobalNetworkSet | Kind::NetworkSet => {
            Schema::new(network_set::SPEC).checked(network_set::check)
        }
        Kind::HostEndpoint => Schema::new(host_endpoint::SPEC).checked(host_endpoint::check),
        Kind::IpamConfiguration => {
            Schema::typed::<IpamConfigurationSpec>(cluster::IPAM_CONFIGURATION)
        }
        Kind::IpPool => {
            Schema::typed::<IpPoolSpec>(ip_pool::SPEC).reporting(Given(ip_pool::STATUS))
        }
        Kind::IpReservation => Schema::typed::<IpReservationSpec>(cluster::IP_RESERVATION),
        Kind::KubeControllersConfiguration => Schema::new(kube_controllers::SPEC)
            .checked(kube_controllers::check)
            .reporting(Always(kube_controllers::STATUS)),
        Kind::NetworkPolicy => policy(policy::NAMESPACED),
        Kind::Node => Schema::typed::<NodeSpec>(node::SPEC).reporting(Always(node::STATUS)),
        Kind::Profile => {
            Schema::typed::<ProfileSpec>(cluster::PROFILE).checked(cluster::check_profile)
        }
        Kind::StagedGlobalNetworkPolicy => policy(policy::STAGED_GLOBAL),
        Kind::StagedKubernetesNetworkPolicy => {
            Schema::new(staged_kubernetes::SPEC).checked(staged_kubernetes::check)
        }
        Kind::StagedNetworkPolicy => policy(policy::STAGED_NAMESPACED),
        Kind::Tier => Schema::typed::<TierSpec>(cluster::TIER).reporting(Always(&[])),
        Kind::WorkloadEndpoint => Schema::typed::<WorkloadEndpointSpec>(workload_endpoint::SPEC),
        Kind::BlockAffinity | Kind::IpamConfig | Kind::LiveMigration => return None,
    })
}

/// For kinds with one object.
fn must_be_default(object: &AnyResource, errors: &mut FieldErrors) {
    let name = &object.metadata.name;
    errors.check(name == "default", "Metadata.Name", name, "the name must be 'default'");
}
