//! The interfaces of this host and their addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number: later ones were made later.
    pub index: u32,
    /// Whether it is up.
    pub is_up: bool,
    /// Its addresses, with the lengths of their prefixes, in the kernel's order.
    pub addresses: Vec<IpNet>,
}

/// The interfaces of the network namespace that this process is in.
pub fn list() -> io::Result<Vec<Interface>> {
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let name = entry.interface_name;
        // One that goes meanwhile has no number any more.
        let Ok(index) = if_nametoindex(name.as_str()) else { continue };
        let is_up = entry.flags.contains(InterfaceFlags::IFF_UP);
        let new = || Interface { name: name.clone(), index, is_up, addresses: Vec::new() };
        let interface = interfaces.entry(name.clone()).or_insert_with(new);
        let address = entry.address.as_ref().and_then(ip);
        let mask = entry.netmask.as_ref().and_then(ip);
        if let (Some(address), Some(mask)) = (address, mask) {
            interface.addresses.extend(IpNet::with_netmask(address, mask));
        }
    }
    Ok(interfaces.into_values().collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// The address that the kernel would send from to reach this name or address. No packet is sent.
pub fn source_to(destination: &str, is_v6: bool) -> io::Result<IpAddr> {
    let any: SocketAddr = if is_v6 { ([0; 16], 0).into() } else { ([0; 4], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect((destination, 80))?;
    Ok(socket.local_addr()?.ip())
}
