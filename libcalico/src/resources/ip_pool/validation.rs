//! The rules of pools (`reference/datamodel.md` sections 5 and 7.1), in upstream's words.

use super::{AllowedUse, AssignmentMode, EncapMode, IpPool};
use crate::resources::validation::FieldErrors;
use crate::selector::Selector;

use ipnet::IpNet;

/// Checks a pool whose defaults are filled in.
pub(super) fn validate(new: &IpPool, old: Option<&IpPool>, errors: &mut FieldErrors) {
    check_range(new, errors);
    check_modes(new, errors);
    check_uses(new, errors);
    check_selectors(new, errors);
    if let Some(old) = old {
        check_changes(new, old, errors);
    }
}

fn check_range(pool: &IpPool, errors: &mut FieldErrors) {
    let (field, cidr, size) = ("IPPool.Spec.CIDR", &pool.spec.cidr, pool.spec.block_size);
    if cidr.is_empty() {
        return errors.add(field, cidr, "IPPool CIDR must be specified");
    }
    let Some(net) = pool.spec.net() else {
        return errors.add(field, cidr, "IPPool CIDR must be a valid subnet");
    };
    errors.check(net == net.trunc(), field, cidr, "IPPool CIDR is not strictly masked");
    let (sizes, link_local, overlap) = match net {
        IpNet::V4(net) => {
            let link_local = net.addr().is_link_local() || covers_link_local_v4(net);
            (20..=32, link_local, "IPPool CIDR overlaps with IPv4 link local range 169.254.0.0/16")
        }
        IpNet::V6(net) => {
            let overlap = "IPPool CIDR overlaps with IPv6 link local range fe80::/10";
            (116..=128, overlaps_link_local_v6(net), overlap)
        }
    };
    errors.check(!link_local, "spec.cidr", cidr, overlap);
    if !sizes.contains(&size) {
        let reason = format!("must be {} to {}", sizes.start(), sizes.end());
        errors.add("spec.blockSize", size, reason);
    } else if !pool.spec.disabled && i64::from(net.prefix_len()) > size {
        let reason = "IP pool size is too small for use with Calico IPAM. It must be equal to or \
                      greater than the block size.";
        errors.add(field, cidr, reason);
    }
}

fn covers_link_local_v4(net: ipnet::Ipv4Net) -> bool {
    net.contains(&std::net::Ipv4Addr::new(169, 254, 0, 0))
}

fn overlaps_link_local_v6(net: ipnet::Ipv6Net) -> bool {
    let first = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    net.contains(&first) || net.addr().is_unicast_link_local()
}

fn check_modes(pool: &IpPool, errors: &mut FieldErrors) {
    let spec = &pool.spec;
    for (field, mode) in [("spec.ipipMode", &spec.ipip_mode), ("spec.vxlanMode", &spec.vxlan_mode)]
    {
        if let Some(EncapMode::Unknown(text)) = mode {
            errors.add(field, text, "must be Never, Always or CrossSubnet");
        }
    }
    if let Some(AssignmentMode::Unknown(text)) = &spec.assignment_mode {
        errors.add("spec.assignmentMode", text, "must be Automatic or Manual");
    }
    let on = |mode: &Option<EncapMode>| mode.as_ref().is_some_and(|mode| *mode != EncapMode::Never);
    let (ipip, vxlan) = (on(&spec.ipip_mode), on(&spec.vxlan_mode));
    let cidr = &spec.cidr;
    let both = "ipipMode and vxlanMode cannot both be enabled";
    errors.check(!(ipip && vxlan), "spec", cidr, both);
    let v6 = matches!(spec.net(), Some(IpNet::V6(_)));
    errors.check(!(ipip && v6), "spec.ipipMode", cidr, "IPIP is not supported on IPv6 pools");
    if spec.allowed_uses.contains(&AllowedUse::LoadBalancer) {
        let reason = "a LoadBalancer pool cannot have IPIP or VXLAN";
        errors.check(!ipip && !vxlan, "spec", cidr, reason);
        let reason = "disableBGPExport cannot be set on a LoadBalancer pool";
        errors.check(!spec.disable_bgp_export, "spec.disableBGPExport", true, reason);
    }
}

fn check_uses(pool: &IpPool, errors: &mut FieldErrors) {
    let uses = &pool.spec.allowed_uses;
    for (at, allowed) in uses.iter().enumerate() {
        let field = format!("spec.allowedUses[{at}]");
        if let AllowedUse::Unknown(text) = allowed {
            errors.add(&field, text, "must be Workload, Tunnel or LoadBalancer");
        }
        if uses.iter().take(at).any(|earlier| earlier == allowed) {
            errors.add(&field, format!("{allowed:?}"), "is there twice");
        }
    }
    let load_balancer = uses.contains(&AllowedUse::LoadBalancer);
    if load_balancer && uses.len() > 1 {
        let reason = "LoadBalancer cannot be combined with Workload or Tunnel allowed uses";
        errors.add("spec.allowedUses", format!("{uses:?}"), reason);
    }
    let node_selector = &pool.spec.node_selector;
    if load_balancer && node_selector != "all()" {
        let reason = "must be all() for a LoadBalancer pool";
        errors.add("spec.nodeSelector", node_selector, reason);
    }
    let namespaces = &pool.spec.namespace_selector;
    if uses.contains(&AllowedUse::Tunnel) && !namespaces.is_empty() {
        let reason = "IP Pool with AllowedUse Tunnel cannot have namespaceSelector";
        errors.add("spec.namespaceSelector", namespaces, reason);
    }
}

fn check_selectors(pool: &IpPool, errors: &mut FieldErrors) {
    let spec = &pool.spec;
    let selectors =
        [("NodeSelector", &spec.node_selector), ("NamespaceSelector", &spec.namespace_selector)];
    for (field, text) in selectors {
        if let Err(error) = Selector::parse(text) {
            errors.add(field, text, error.to_string());
        }
        errors.check(text.chars().count() <= 1024, field, text, "at most 1024 characters");
        errors.check(!text.contains("global("), field, text, "global() cannot be used here");
    }
}

fn check_changes(new: &IpPool, old: &IpPool, errors: &mut FieldErrors) {
    let same_range = match (new.spec.net(), old.spec.net()) {
        (Some(new), Some(old)) => new.trunc() == old.trunc(),
        _ => new.spec.cidr == old.spec.cidr,
    };
    let field = "IPPool.Spec.CIDR";
    errors.check(same_range, field, &new.spec.cidr, "IPPool CIDR cannot be modified");
    let (field, size) = ("IPPool.Spec.BlockSize", new.spec.block_size);
    let reason = "IPPool BlockSize cannot be modified";
    errors.check(size == old.spec.block_size, field, size, reason);
    let was_load_balancer = old.spec.allowed_uses.contains(&AllowedUse::LoadBalancer);
    let is_load_balancer = new.spec.allowed_uses.contains(&AllowedUse::LoadBalancer);
    if was_load_balancer && !is_load_balancer {
        let uses = format!("{:?}", new.spec.allowed_uses);
        // COMPAT: the misspelled name is upstream's, and scripts look for this text.
        let reason = "IPPool allowed use cannot be changed from LoadBalacer to Workload or Tunnel";
        errors.add("IPPool.Spec.AllowedUses", uses, reason);
    }
}
