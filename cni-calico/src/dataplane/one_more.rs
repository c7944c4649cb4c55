//! One address more, or one less, on an interface that is in use.

use std::net::IpAddr;

use ipnet::IpNet;
use netutils::{DuplicateDetection, Family, Link, NetlinkError, RouteFilter};

use super::{Routing, Sockets, fault, host_route, own_table};

impl Sockets {
    /// Gives an interface one more address. `is_first` tells that it has none of the family yet:
    /// then the family's routes, neighbour and settings come with it.
    pub async fn add_one(
        &self,
        host: &Link,
        container: &Link,
        address: IpAddr,
        is_first: bool,
    ) -> Result<(), cni::Error> {
        if is_first {
            let routing = Routing::default();
            self.configure(host, container.index, &container.name, &[address], &routing).await?;
            return self.route(host, &[address], &routing).await;
        }
        self.add_beside(container, address).await.map_err(|error| fault(&error))?;
        host_route::ensure(&self.host, host, address).await
    }

    async fn add_beside(&self, container: &Link, address: IpAddr) -> Result<(), NetlinkError> {
        let net = IpNet::from(address);
        match self.container.add_address(container.index, net, DuplicateDetection::Skip).await {
            Err(error) if !error.is_exists() => return Err(error),
            _ => {}
        }
        if self.has_own_table(&container.name, address).await? {
            self.container.add_rule(net, own_table(&container.name)).await?;
        }
        Ok(())
    }

    /// Takes an address from an interface, as far as it is there; `left` are those that stay.
    pub async fn remove_one(
        &self,
        host: Option<&Link>,
        container: Option<&Link>,
        address: IpAddr,
        left: &[IpAddr],
    ) -> Result<(), cni::Error> {
        let removed = async {
            if let Some(host) = host {
                self.remove_host_route(host, address).await?;
            }
            match container {
                Some(container) => self.remove_inside(container, address, left).await,
                None => Ok(()),
            }
        };
        removed.await.map_err(|error| fault(&error))
    }

    async fn remove_host_route(&self, host: &Link, address: IpAddr) -> Result<(), NetlinkError> {
        let filter = RouteFilter {
            dst: Some(IpNet::from(address)),
            oif: Some(host.index),
            ..RouteFilter::default()
        };
        for route in self.host.routes(filter).await? {
            absent_is_fine(self.host.delete_route(&route).await)?;
        }
        Ok(())
    }

    async fn remove_inside(
        &self,
        container: &Link,
        address: IpAddr,
        left: &[IpAddr],
    ) -> Result<(), NetlinkError> {
        let net = IpNet::from(address);
        absent_is_fine(self.container.delete_address(container.index, net).await)?;
        if !self.has_own_table(&container.name, address).await? {
            return Ok(());
        }
        // Rules are deleted all together: those of the addresses that stay are made again.
        let table = own_table(&container.name);
        self.container.delete_rules(family(address), table).await?;
        for other in left.iter().filter(|other| other.is_ipv4() == address.is_ipv4()) {
            self.container.add_rule(IpNet::from(*other), table).await?;
        }
        Ok(())
    }

    /// Whether the interface's routes are in a table of their own.
    async fn has_own_table(&self, ifname: &str, address: IpAddr) -> Result<bool, NetlinkError> {
        let filter = RouteFilter {
            family: Some(family(address)),
            table: Some(own_table(ifname)),
            ..RouteFilter::default()
        };
        Ok(!self.container.routes(filter).await?.is_empty())
    }
}

fn family(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn absent_is_fine(outcome: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    outcome.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
}
