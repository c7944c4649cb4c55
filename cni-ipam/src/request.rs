//! From the configuration to a request for addresses (`reference/ipam.md` section 14.3).

use std::net::IpAddr;

use cni::code;
use ipnet::IpNet;
use libcalico::ipam::{AssignIp, AutoAssign, IntendedUse, PoolRef};
use libcalico::resources::time::go_timestamp;
use libcalico::store::Query;
use time::OffsetDateTime;

use crate::asked;
use crate::conf::{self, NetConf};
use crate::identity::Identity;

/// What a container asks for.
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Addresses {
    /// One of each wanted family.
    Any(AutoAssign),
    /// These, all of them or none: `IP=` in `CNI_ARGS`, or what a pod names.
    These(Vec<AssignIp>),
}

impl Addresses {
    /// What IPAM reads first.
    pub fn queries(&self) -> Vec<Query> {
        match self {
            Addresses::Any(request) => request.queries(),
            Addresses::These(requests) => AssignIp::queries_of(requests),
        }
    }

    /// The same request, which answers the addresses that the handle has already, or doesn't.
    pub fn reusing(&self, reuse: bool) -> Addresses {
        match self {
            Addresses::Any(request) => Addresses::Any(AutoAssign { reuse, ..request.clone() }),
            Addresses::These(requests) => Addresses::These(requests.clone()),
        }
    }

    /// The same request, which looks in these blocks first.
    pub fn looking_in(&self, likely_blocks: Vec<IpNet>) -> Addresses {
        match self {
            Addresses::Any(request) => {
                Addresses::Any(AutoAssign { likely_blocks, ..request.clone() })
            }
            Addresses::These(requests) => Addresses::These(requests.clone()),
        }
    }

    /// The same request, where these addresses are taken from another handle, should that have them.
    pub fn taking(&self, addresses: &[IpAddr], from: &str) -> Addresses {
        match self {
            Addresses::Any(request) => Addresses::Any(request.clone()),
            Addresses::These(requests) => {
                let mut requests = requests.clone();
                for request in &mut requests {
                    request.from = addresses.contains(&request.ip).then(|| from.to_owned());
                }
                Addresses::These(requests)
            }
        }
    }
}

/// Reads what is asked for.
pub fn addresses(
    conf: &NetConf,
    args: &cni::Args,
    identity: &Identity,
    now: OffsetDateTime,
) -> Result<Addresses, cni::Error> {
    let asked = asked::addresses(conf, args)?;
    if !asked.is_empty() {
        return Ok(these(&asked, identity, now));
    }
    Ok(Addresses::Any(AutoAssign {
        handle: Some(identity.handle()),
        attributes: identity.attributes(go_timestamp(now)),
        reuse: true,
        ..any(conf, &identity.node)?
    }))
}

/// These addresses.
pub fn these(addresses: &[IpAddr], identity: &Identity, now: OffsetDateTime) -> Addresses {
    let attributes = identity.attributes(go_timestamp(now));
    let this = |ip: &IpAddr| AssignIp {
        ip: *ip,
        host: identity.node.clone(),
        handle: Some(identity.handle()),
        attributes: attributes.clone(),
        intended_use: Some(IntendedUse::Workload),
        max_per_handle: None,
        host_reserved: None,
        // COMPAT: a second ADD for the same address without a DEL fails, as upstream's does.
        reuse: false,
        from: None,
    };
    Addresses::These(addresses.iter().map(this).collect())
}

/// One address of each wanted family, for nobody yet.
pub fn any(conf: &NetConf, node: &str) -> Result<AutoAssign, cni::Error> {
    if !conf.wants_ipv4() && !conf.wants_ipv6() {
        return Err(cni::Error::new(
            code::INVALID_CONFIG,
            "ipam.assign_ipv4 is \"false\" and ipam.assign_ipv6 is not \"true\": no address is asked \
             for, set one of them to \"true\"",
        ));
    }
    Ok(AutoAssign {
        v4: conf.wants_ipv4().into(),
        v6: conf.wants_ipv6().into(),
        v4_pools: pools(&conf.ipam.ipv4_pools),
        v6_pools: pools(&conf.ipam.ipv6_pools),
        intended_use: IntendedUse::Workload,
        all_or_nothing: true,
        ..AutoAssign::new(node)
    })
}

fn pools(entries: &[String]) -> Vec<PoolRef> {
    entries
        .iter()
        .map(|entry| match conf::pool_cidr(entry) {
            Some(cidr) => PoolRef::Cidr(cidr),
            None => PoolRef::Name(entry.clone()),
        })
        .collect()
}
