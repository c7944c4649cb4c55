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
    let typed = |spec, default, check| Schema { spec, status: Status::None, default, check };
    let plain = |spec, check| Schema { spec, status: Status::None, default: nothing, check };
    let with = |schema, status| Schema { status, ..schema };
    Some(match kind {
        Kind::BgpConfiguration => plain(bgp::CONFIGURATION, bgp::check_configuration),
        Kind::BgpFilter => plain(bgp::FILTER, bgp::check_filter),
        Kind::BgpPeer => plain(bgp::PEER, bgp::check_peer),
        Kind::CalicoNodeStatus => {
            with(plain(node_status::SPEC, no_rules), Always(node_status::STATUS))
        }
        Kind::ClusterInformation => typed(
            cluster::INFORMATION,
            AnyResource::default_as::<ClusterInformationSpec>,
            AnyResource::validate_as::<ClusterInformationSpec>,
        ),
        Kind::FelixConfiguration => typed(
            felix_configuration::SPEC,
            felix_configuration::default_on_write,
            felix_configuration::check,
        ),
        Kind::GlobalNetworkPolicy => typed(policy::GLOBAL, policy::default_on_write, policy::check),
        Kind::GlobalNetworkSet | Kind::NetworkSet => plain(network_set::SPEC, network_set::check),
        Kind::HostEndpoint => plain(host_endpoint::SPEC, host_endpoint::check),
        Kind::IpamConfiguration => typed(
            cluster::IPAM_CONFIGURATION,
            AnyResource::default_as::<IpamConfigurationSpec>,
            AnyResource::validate_as::<IpamConfigurationSpec>,
        ),
        Kind::IpPool => with(
            typed(
                ip_pool::SPEC,
                AnyResource::default_as::<IpPoolSpec>,
                AnyResource::validate_as::<IpPoolSpec>,
            ),
            Given(ip_pool::STATUS),
        ),
        Kind::IpReservation => typed(
            cluster::IP_RESERVATION,
            AnyResource::default_as::<IpReservationSpec>,
            AnyResource::validate_as::<IpReservationSpec>,
        ),
        Kind::KubeControllersConfiguration => {
            let schema = plain(kube_controllers::SPEC, kube_controllers::check);
            with(schema, Always(kube_controllers::STATUS))
        }
        Kind::NetworkPolicy => typed(policy::NAMESPACED, policy::default_on_write, policy::check),
        Kind::Node => with(
            typed(
                node::SPEC,
                AnyResource::default_as::<NodeSpec>,
                AnyResource::validate_as::<NodeSpec>,
            ),
            Always(node::STATUS),
        ),
        Kind::Profile => {
            typed(cluster::PROFILE, AnyResource::default_as::<ProfileSpec>, cluster::check_profile)
        }
        Kind::StagedGlobalNetworkPolicy => {
            typed(policy::STAGED_GLOBAL, policy::default_on_write, policy::check)
        }
        Kind::StagedKubernetesNetworkPolicy => {
            plain(staged_kubernetes::SPEC, staged_kubernetes::check)
        }
        Kind::StagedNetworkPolicy => {
            typed(policy::STAGED_NAMESPACED, policy::default_on_write, policy::check)
        }
        Kind::Tier => with(
            typed(
                cluster::TIER,
                AnyResource::default_as::<TierSpec>,
                AnyResource::validate_as::<TierSpec>,
            ),
            Always(&[]),
        ),
        Kind::WorkloadEndpoint => typed(
            workload_endpoint::SPEC,
            AnyResource::default_as::<WorkloadEndpointSpec>,
            AnyResource::validate_as::<WorkloadEndpointSpec>,
        ),
        Kind::BlockAffinity | Kind::IpamConfig | Kind::LiveMigration => return None,
    })
}

/// For kinds whose defaults are all in their table.
fn nothing(_object: &mut AnyResource) {}

/// For kinds whose rules are all in their table.
fn no_rules(_object: &AnyResource, _old: Option<&AnyResource>, _errors: &mut FieldErrors) {}

/// For kinds with one object.
fn must_be_default(object: &AnyResource, errors: &mut FieldErrors) {
    let name = &object.metadata.name;
    errors.check(name == "default", "Metadata.Name", name, "the name must be 'default'");
}
