//! ClusterInformation, IPAMConfiguration, IPReservation, Profile and Tier
//! (`reference/datamodel.md` sections 7.2 and 7.8): defaults and rules are those of their types,
//! but for the rules of a profile.

use super::super::view::View;
use super::rule::{self, Place, RULE};
use crate::resources::schema::field::{Field, TEXT, flag, int, list, map, number, object, text};
use crate::resources::validation::FieldErrors;
use crate::resources::{AnyResource, ProfileSpec};

pub(super) const INFORMATION: &[Field] = &[
    text("clusterGUID"),
    text("clusterType"),
    text("calicoVersion"),
    flag("datastoreReady").kept(),
    text("variant"),
];

pub(super) const IPAM_CONFIGURATION: &[Field] = &[
    flag("strictAffinity").always(),
    int("maxBlocksPerHost"),
    flag("autoAllocateBlocks").always(),
    text("kubeVirtVMAddressPersistence"),
    int("ipCooldownSeconds"),
];

pub(super) const IP_RESERVATION: &[Field] = &[list("reservedCIDRs", TEXT)];

pub(super) const TIER: &[Field] = &[number("order").kept(), text("defaultAction")];

pub(super) const PROFILE: &[Field] =
    &[list("ingress", &object("", RULE)), list("egress", &object("", RULE)), map("labelsToApply")];

/// Rules of Profile.
pub(super) fn check_profile(
    object: &AnyResource,
    old: Option<&AnyResource>,
    errors: &mut FieldErrors,
) {
    object.validate_as::<ProfileSpec>(old, errors);
    for direction in ["ingress", "egress"] {
        let place = Place { direction, global: false, profile: true };
        rule::check_rules(place, View(&object.spec), errors);
    }
}
