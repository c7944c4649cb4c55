//! The host's route to an address of a container (`reference/cni-plugin.md` section 4.6).

use std::net::IpAddr;

use cni::code;
use ipnet::IpNet;
use netutils::{Link, Netlink, Route, RouteFilter, RouteKind, Scope};

use super::fault;

/// Makes sure that `address` leads to `link`.
///
/// A route that is there already and leads to the link is Felix's work, and right. One that leads
/// to a link which is gone, down, or another container's leftover is replaced; any other one is a
/// conflict that an operator must see.
pub async fn ensure(host: &Netlink, link: &Link, address: IpAddr) -> Result<(), cni::Error> {
    let dst = IpNet::from(address);
    let route = Route { oif: Some(link.index), scope: Scope::Link, ..Route::to(dst) };
    match host.add_route(&route).await {
        Ok(()) => return Ok(()),
        Err(error) if error.is_exists() => {}
        Err(error) => return Err(fault(&error)),
    }
    let filter = RouteFilter { dst: Some(dst), table: Some(route.table), ..RouteFilter::default() };
    let present = host.routes(filter).await.map_err(|error| fault(&error))?;
    if present.iter().any(|other| other.oif == Some(link.index) && other.gateway.is_none()) {
        return Ok(());
    }
    for other in &present {
        if let Some(owner) = in_use_by(host, other).await? {
            return Err(cni::Error::new(
                code::HOST_ROUTE_CONFLICT,
                format!(
                    "the host already routes {dst} to {owner}, so {} can't have that address: \
                     see `ip route show {dst}`, and remove the route if it is a leftover",
                    link.name
                ),
            ));
        }
    }
    for other in &present {
        tracing::warn!("replacing the stale route {other}");
        match host.delete_route(other).await {
            Err(error) if !error.is_not_found() => return Err(fault(&error)),
            _ => {}
        }
    }
    host.replace_route(&route).await.map_err(|error| fault(&error))
}

/// Who uses a route; none if it leads nowhere any more.
async fn in_use_by(host: &Netlink, route: &Route) -> Result<Option<String>, cni::Error> {
    if route.kind == RouteKind::Blackhole {
        // A blackhole for a whole block is BIRD's; for one address it is nobody's.
        return Ok(None);
    }
    let Some(index) = route.oif else {
        return Ok(Some("several next hops".into()));
    };
    let link = host.link_by_index(index).await.map_err(|error| fault(&error))?;
    Ok(link.filter(|link| link.up && link.lower_up).map(|link| match link.alias {
        Some(alias) => format!("{} ({alias})", link.name),
        None => link.name,
    }))
}
