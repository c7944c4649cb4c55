//! The kinds of v3 resources: their names, their key segment and their scope.

/// A kind of v3 resource. The declaration order has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants are Calico's own kind names")]
pub enum Kind {
    BgpConfiguration,
    BgpFilter,
    BgpPeer,
    BlockAffinity,
    CalicoNodeStatus,
    ClusterInformation,
    FelixConfiguration,
    GlobalNetworkPolicy,
    GlobalNetworkSet,
    HostEndpoint,
    IpamConfig,
    IpamConfiguration,
    IpPool,
    IpReservation,
    KubeControllersConfiguration,
    LiveMigration,
    NetworkPolicy,
    NetworkSet,
    Node,
    Profile,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    StagedNetworkPolicy,
    Tier,
    WorkloadEndpoint,
}

/// One row a kind: the kind, its name, its plural (the key segment), whether it is namespaced.
const TABLE: &[(Kind, &str, &str, bool)] = &[
    (Kind::BgpConfiguration, "BGPConfiguration", "bgpconfigurations", false),
    (Kind::BgpFilter, "BGPFilter", "bgpfilters", false),
    (Kind::BgpPeer, "BGPPeer", "bgppeers", false),
    (Kind::BlockAffinity, "BlockAffinity", "blockaffinities", false),
    (Kind::CalicoNodeStatus, "CalicoNodeStatus", "caliconodestatuses", false),
    (Kind::ClusterInformation, "ClusterInformation", "clusterinformations", false),
    (Kind::FelixConfiguration, "FelixConfiguration", "felixconfigurations", false),
    (Kind::GlobalNetworkPolicy, "GlobalNetworkPolicy", "globalnetworkpolicies", false),
    (Kind::GlobalNetworkSet, "GlobalNetworkSet", "globalnetworksets", false),
    (Kind::HostEndpoint, "HostEndpoint", "hostendpoints", false),
    (Kind::IpamConfig, "IPAMConfig", "ipamconfigs", false),
    (Kind::IpamConfiguration, "IPAMConfiguration", "ipamconfigurations", false),
    (Kind::IpPool, "IPPool", "ippools", false),
    (Kind::IpReservation, "IPReservation", "ipreservations", false),
    (
        Kind::KubeControllersConfiguration,
        "KubeControllersConfiguration",
        "kubecontrollersconfigurations",
        false,
    ),
    (Kind::LiveMigration, "LiveMigration", "livemigrations", true),
    (Kind::NetworkPolicy, "NetworkPolicy", "networkpolicies", true),
    (Kind::NetworkSet, "NetworkSet", "networksets", true),
    (Kind::Node, "Node", "nodes", false),
    (Kind::Profile, "Profile", "profiles", false),
    (
        Kind::StagedGlobalNetworkPolicy,
        "StagedGlobalNetworkPolicy",
        "stagedglobalnetworkpolicies",
        false,
    ),
    (
        Kind::StagedKubernetesNetworkPolicy,
        "StagedKubernetesNetworkPolicy",
        "stagedkubernetesnetworkpolicies",
        true,
    ),
    (Kind::StagedNetworkPolicy, "StagedNetworkPolicy", "stagednetworkpolicies", true),
    (Kind::Tier, "Tier", "tiers", false),
    (Kind::WorkloadEndpoint, "WorkloadEndpoint", "workloadendpoints", true),
];

impl Kind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Kind> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Kind, &'static str, &'static str, bool) {
        // The table holds every variant: a test counts them.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// The name as it stands in the `kind` field, like `IPPool`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The segment of its keys, like `ippools`.
    pub fn plural(self) -> &'static str {
        self.row().2
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(self) -> bool {
        self.row().3
    }

    /// The kind with this plural.
    pub fn from_plural(plural: &str) -> Option<Kind> {
        TABLE.iter().find(|row| row.2 == plural).map(|row| row.0)
    }

    /// The kind with this name, in any case.
    pub fn from_name(name: &str) -> Option<Kind> {
        TABLE.iter().find(|row| row.1.eq_ignore_ascii_case(name)).map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_each_of_its_names() {
        for kind in Kind::all() {
            assert_eq!(Kind::from_plural(kind.plural()), Some(kind));
            assert_eq!(Kind::from_name(&kind.name().to_lowercase()), Some(kind));
        }
        assert_eq!(Kind::all().count(), Kind::WorkloadEndpoint as usize + 1);
    }
}
